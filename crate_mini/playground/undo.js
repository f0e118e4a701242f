// There and back: a step of attention, and what minus, plus, LayerNorm and repetition make of the way back.
// data: {Z: tokens (n, d) of length sqrt(d), U: bases (K, d, p), labels: the subspace of each token, most: largest step}.

function play(kit, data) {
  const { matmul, transpose, add, scale, norm, softmaxRows } = kit.linalg;
  const [Z, U] = [data.Z, data.U];
  const [d, p] = [Z[0].length, U[0][0].length];
  const size = (A) => Math.hypot(...A.flat());
  const normed = (A) => A.map((row) => row.map((v) => (v * Math.sqrt(d)) / norm(row)));

  // the sum over heads of softmax(Zk Zk' / sqrt(p)) Zk Uk'
  const mssa = (X) =>
    U.map((basis) => {
      const Zk = matmul(X, basis);
      const looks = softmaxRows(scale(matmul(Zk, transpose(Zk)), 1 / Math.sqrt(p)));
      return matmul(matmul(looks, Zk), transpose(basis));
    }).reduce((A, B) => add(A, B));

  const onward = mssa(Z);
  const back = (c, sign, layerNorm, times) => {
    const Y = add(Z, onward, c);
    let X = Y;
    for (let t = 0; t < times; t++) X = add(Y, mssa(layerNorm ? normed(X) : X), sign * c);
    return { Y, X, left: size(add(X, Z, -1)) / size(add(Y, Z, -1)) };
  };

  const step = kit.slider({ label: "size of the step c", min: 0.05, max: data.most, step: 0.05, value: 0.5 });
  const way = kit.choice({ label: "the way back", options: [["minus", "minus"], ["plus", "plus"]] });
  const layerNorm = kit.check({ label: "LayerNorm before attention", value: true });
  const times = kit.slider({ label: "times", min: 1, max: 6, step: 1, value: 1 });

  const places = kit.plot({ x: [-5.5, 5.5], y: [-5.5, 5.5], height: 290, equal: true, bare: true, title: "tokens: there (grey), and back", alt: "Tokens in two of their directions: where they start as rings, the step as grey arrows, where the way back ends as dots" });
  const curve = kit.plot({ x: [0, data.most], y: [0, 320], height: 290, title: "left of the step (%)", xlabel: "size of the step c", alt: "What the chosen way back leaves, in per cent of the step, against the size of the step" });
  for (const plot of [places, curve]) plot.figure.style.flex = "1 1 260px";
  const left = kit.readout({ label: "left of the step" });
  const moved = kit.readout({ label: "the step, of the tokens' length" });
  const note = kit.note();

  const grid = Array.from({ length: 16 }, (_, i) => ((i + 1) * data.most) / 16);
  let known = { key: "" };
  const curves = (t) => {
    const key = String(t);
    if (known.key !== key) {
      const ways = [[-1, true], [-1, false], [1, true], [1, false]];
      known = { key, of: ways.map(([sign, ln]) => ({ sign, ln, points: grid.map((c) => [c, Math.min(1e4, 100 * back(c, sign, ln, t).left)]) })) };
    }
    return known.of;
  };
  // two directions to look at: the first of each of two subspaces
  const look = (row) => [0, 1].map((k) => row.reduce((sum, v, j) => sum + v * U[k][j][0], 0));
  const inks = [kit.colours.blue, kit.colours.orange, kit.colours.quiet, kit.colours.quiet];

  kit.draw(() => {
    const sign = way.value === "minus" ? -1 : 1;
    const { Y, X, left: rest } = back(step.value, sign, layerNorm.value, times.value);
    const once = back(step.value, sign, layerNorm.value, 1).left;
    Z.forEach((row, i) => {
      if (data.labels[i] > 1) return;
      const [from, over, end] = [row, Y[i], X[i]].map(look);
      places.arrow(from, over, { color: kit.colours.quiet, width: 1.2 });
      places.line([over, end], { color: inks[data.labels[i]], width: 1, dash: "2 2" });
      places.circle(from, 0.14, { color: inks[data.labels[i]], fillOpacity: 0, width: 1.5 });
      places.dots([end], { color: inks[data.labels[i]], r: 3.5 });
    });
    for (const { sign: s, ln, points } of curves(times.value)) {
      const chosen = s === sign && ln === layerNorm.value;
      const color = s < 0 ? kit.colours.blue : kit.colours.red;
      curve.line(points, { color, width: chosen ? 3 : 1.5, dash: ln ? undefined : "5 4", opacity: chosen ? 1 : 0.45, label: `${s < 0 ? "minus" : "plus"}${ln ? "" : ", no LayerNorm"}` });
    }
    curve.hline(100);
    curve.dots([[step.value, Math.min(318, 100 * rest)]], { color: kit.colours.ink, r: 5 });
    left.set(rest > 100 ? "more than 100 times" : `${(100 * rest).toFixed(rest < 0.1 ? 1 : 0)} %`);
    moved.set(`${((100 * size(add(Y, Z, -1))) / size(Z)).toFixed(0)} %`);
    note.set(
      sign > 0
        ? "Plus goes on where the step went: at least twice the step is left. Rings and dots are far apart."
        : !layerNorm.value
          ? rest > 1
            ? "Without the LayerNorm attention sees longer tokens on the way back, and takes back too much: worse than doing nothing, which leaves 100 %."
            : "A small step is undone without the LayerNorm, too. Make it larger."
          : times.value > 1
            ? rest < once
              ? `Each time attention looks where the last guess was. Once leaves ${(100 * once).toFixed(0)} %, ${times.value} times ${(100 * rest).toFixed(0)} %.`
              : "So large a step cannot be gone back by repeating: each guess is worse than the last. Make it smaller."
            : "Minus undoes most of the step: the dots lie in their rings. Try plus, then take the LayerNorm away, then go back several times.",
    );
  });
}
