// ISTA in two dimensions: the token and its two atoms, the path of the code, and the objective along it.

function play(kit, data) {
  const { colours } = kit;
  const [LOW, HIGH] = [-0.8, 2];
  const token = kit.plot({ x: [LOW, HIGH], y: [LOW, HIGH], equal: true, height: 250, title: "The token (drag it) and its atoms", alt: "The plane of tokens: the token, which can be moved, the two atoms, and what the code of each step stands for." });
  const code = kit.plot({ x: [LOW, HIGH], y: [LOW, HIGH], equal: true, height: 250, title: "The code (red: before the threshold)", xlabel: "how much of atom 1", ylabel: "how much of atom 2", alt: "The plane of codes: level lines of the objective, and the path of the code over them." });
  const fall = kit.plot({ x: [0, 1], y: [0, 1], height: 190, title: "The objective", xlabel: "step", alt: "The objective after each step." });

  const lam = kit.slider({ label: "λ, price of code", min: 0, max: 1, step: 0.01, value: data.lam });
  const length = kit.slider({ label: "step η × ‖D‖²", min: 0.05, max: 3, step: 0.05, value: data.step });
  const angle = kit.slider({ label: "angle of the atoms", min: 20, max: 160, step: 1, value: data.angle, format: (v) => `${v}°` });
  const count = kit.slider({ label: "number of steps", min: 1, max: 40, step: 1, value: data.steps });
  const kind = kit.choice({ label: "threshold", options: [["relu", "ReLU, z ≥ 0"], ["soft", "soft, any sign"]], value: "relu" });

  const shown = {
    eta: kit.readout({ label: "η" }),
    reached: kit.readout({ label: "objective reached" }),
    least: kit.readout({ label: "least possible" }),
    code: kit.readout({ label: "code" }),
  };
  const note = kit.note();
  const handle = token.handle({ at: data.y, label: "the token y" });

  // everything about the problem that the controls now describe
  function problem() {
    const turn = (angle.value * Math.PI) / 180;
    const atoms = [[1, 0], [Math.cos(turn), Math.sin(turn)]];
    const y = handle.at;
    const cosine = atoms[1][0];
    const bound = 1 + Math.abs(cosine); // the larger eigenvalue of D'D
    const relu = kind.value === "relu";
    const make = (z) => [z[0] + z[1] * cosine, z[1] * atoms[1][1]];
    const objective = (z) => {
      const r = make(z).map((v, i) => y[i] - v);
      return 0.5 * kit.linalg.dot(r, r) + lam.value * (Math.abs(z[0]) + Math.abs(z[1]));
    };
    const prox = (v, t) => (relu ? Math.max(v - t, 0) : Math.sign(v) * Math.max(Math.abs(v) - t, 0));
    const downhill = (z, eta) => {
      const r = make(z).map((v, i) => y[i] - v);
      return z.map((v, i) => v + eta * kit.linalg.dot(atoms[i], r));
    };
    const step = (z, eta) => downhill(z, eta).map((v) => prox(v, eta * lam.value));
    let best = [0, 0];
    for (let i = 0; i < 3000; i++) best = step(best, 1 / bound);
    return { atoms, y, bound, relu, make, objective, downhill, step, best };
  }

  // A level line is found ray by ray from the lowest point: the objective only rises on the way out.
  function levelLines({ objective, best, relu }) {
    const lowest = objective(best);
    for (const above of [0.01, 0.05, 0.15, 0.35, 0.7, 1.2, 2, 3.2, 5]) {
      let run = [];
      const finish = () => { code.line(run, { color: colours.quiet, width: 1, opacity: 0.55 }); run = []; };
      for (let i = 0; i <= 180; i++) {
        const u = [Math.cos((i * Math.PI) / 90), Math.sin((i * Math.PI) / 90)];
        const at = (r) => best.map((v, k) => v + r * u[k]);
        let far = 6;
        if (relu) u.forEach((c, k) => { if (c < -1e-9) far = Math.min(far, best[k] / -c); });
        if (objective(at(far)) < lowest + above) { finish(); continue; } // leaves the allowed quarter first
        let near = 0;
        for (let k = 0; k < 30; k++) {
          const middle = (near + far) / 2;
          if (objective(at(middle)) < lowest + above) near = middle; else far = middle;
        }
        run.push(at(near));
      }
      finish();
    }
  }

  kit.draw(() => {
    const p = problem();
    const eta = length.value / p.bound;
    const path = [p.y];
    for (let i = 0; i < count.value; i++) path.push(p.step(path[i], eta));
    const values = path.map((z) => (p.relu && Math.min(...z) < 0 ? Infinity : p.objective(z)));
    const last = path[count.value];
    const least = p.objective(p.best);

    if (p.relu) token.polygon([[0, 0], ...p.atoms.map((a) => a.map((v) => 9 * v))], { color: colours.blue, fillOpacity: 0.07, width: 0 });
    p.atoms.forEach((a, i) => {
      token.arrow([0, 0], a, { color: colours.quiet });
      token.text(a, `atom ${i + 1}`, { color: colours.quiet, dx: 5, dy: i ? -4 : 14 });
    });
    token.line(path.slice(1).map(p.make), { color: colours.blue, width: 1.2 });
    token.dots(path.slice(1).map(p.make), { color: colours.blue, r: 2.5 });
    token.text(handle.at, "y", { color: colours.orange, dx: 11, dy: -7 });

    if (p.relu) {
      const grey = { color: colours.quiet, fillOpacity: 0.12, width: 0 };
      code.polygon([[-9, -9], [0, -9], [0, 9], [-9, 9]], grey);
      code.polygon([[0, -9], [9, -9], [9, 0], [0, 0]], grey);
    }
    levelLines(p);
    code.hline(0, { dash: "none" });
    code.vline(0, { dash: "none" });
    const seen = path.map((z) => z.map((v) => Math.min(1e4, Math.max(-1e4, v))));
    code.line(seen, { color: colours.blue, width: 1.2 });
    code.dots(seen.slice(1), { color: colours.blue, r: 2.5 });
    code.arrow(p.y, p.downhill(p.y, eta), { color: colours.red });
    code.dots([p.y], { color: colours.orange, r: 5 });
    code.text(p.y, "start: z = y", { color: colours.orange, dx: 8, dy: -6 });
    code.circle(p.best, 0.06, { color: colours.green, fillOpacity: 0, width: 2 });

    const finite = values.filter((v) => Number.isFinite(v));
    const top = Math.min(Math.max(...finite, least), 4 * Math.max(finite[0] ?? 1, least) + 0.1);
    fall.range({ x: [0, count.value], y: [0, 1.08 * top] });
    fall.hline(least, { color: colours.green });
    fall.text([count.value, least], "least possible", { color: colours.green, anchor: "end", dx: -4, dy: 15 });
    const curve = values.map((v, i) => [i, Math.min(v, 1e6)]).filter((_, i) => Number.isFinite(values[i]));
    fall.line(curve, { color: colours.blue });
    fall.dots(curve, { color: colours.blue, r: 2.5 });

    shown.eta.set(eta.toFixed(3));
    shown.reached.set(values[count.value] < 1e6 ? values[count.value].toFixed(4) : "beyond a million");
    shown.least.set(least.toFixed(4));
    shown.code.set(Math.max(...last.map(Math.abs)) < 1e4 ? `${last.map((v) => v.toFixed(2)).join(", ")}`.replaceAll("-", "−") : "out of sight");

    note.set(tell(p, path, values, least));
  });

  function tell(p, path, values, least) {
    const last = path[count.value];
    const before = path[count.value - 1];
    const moved = Math.hypot(last[0] - before[0], last[1] - before[1]);
    const off = last.filter((v) => v === 0).length;
    const zeros = off === 2 ? " Both entries are zero: λ asks more than the token is worth." : off ? " One entry is exactly zero: that atom is not used." : "";
    const outside = p.relu && Math.min(...p.y) < 0 ? " The token has a negative entry, so the start is not a point of the problem." : "";
    if (length.value <= 1) return `Up to 1 each step minimises a bound of the objective, which falls from step to step.${zeros}${outside}`;
    if (length.value <= 2) return `Between 1 and 2 a step may overshoot, and the objective still falls.${zeros}${outside}`;
    if (!(values[count.value] < 50 * (least + 0.1))) return `Beyond 2 a step overshoots by more than it came to mend: the code runs away.${p.relu ? " Make the angle acute." : " Try the ReLU."}`;
    if (moved > 1e-3) return `Beyond 2 the code no longer settles.${p.relu ? " It hops, and the ReLU keeps it from running away." : ""}${zeros}`;
    return `Beyond 2, and it settles all the same: ${p.relu ? "with an atom switched off, the step is short enough for the other." : "nothing pulls along the steep direction yet."}${zeros}`;
  }
}
