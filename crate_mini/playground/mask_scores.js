// What a mask of fixed area can score, and what it scores by chance.
// data: {area, share, heads, side}: where the controls start. All numbers are exact: a random mask of m of n patches
// hits an object of s patches in h of them with the hypergeometric probability.

function play(kit, data) {
  const logs = [0]; // logarithms of factorials
  const logFactorial = (n) => {
    while (logs.length <= n) logs.push(logs[logs.length - 1] + Math.log(logs.length));
    return logs[n];
  };
  const logChoose = (n, k) => logFactorial(n) - logFactorial(k) - logFactorial(n - k);
  const size = (share, n) => Math.max(1, Math.round(share * n));

  // [[IoU, probability], …] of one random mask
  const law = (area, share, n) => {
    const [s, m] = [size(area, n), size(share, n)];
    const rows = [];
    for (let h = Math.max(0, m + s - n); h <= Math.min(m, s); h++)
      rows.push([h / (m + s - h), Math.exp(logChoose(s, h) + logChoose(n - s, m - h) - logChoose(n, m))]);
    return rows;
  };
  // the same for the best of K
  const best = (rows, K) => {
    let [sum, last] = [0, 0];
    return rows.map(([x, p]) => {
      sum = Math.min(1, sum + p);
      const now = sum ** K;
      const mass = now - last;
      last = now;
      return [x, mass];
    });
  };
  const mean = (rows) => rows.reduce((sum, [x, p]) => sum + x * p, 0) / rows.reduce((sum, [, p]) => sum + p, 0);
  const ceiling = (area, share, n) => {
    const [s, m] = [size(area, n), size(share, n)];
    return Math.min(s, m) / Math.max(s, m);
  };

  const percent = (v) => `${Math.round(100 * v)} %`;
  const object = kit.slider({ label: "object", min: 0.02, max: 0.98, step: 0.01, value: data.area, format: percent });
  const kept = kit.slider({ label: "mask", min: 0.02, max: 1, step: 0.01, value: data.share, format: percent });
  const heads = kit.slider({ label: "heads", min: 1, max: 24, step: 1, value: data.heads, format: (v) => String(v) });
  const sides = [4, 8, 16, 28].map((v) => [String(v), `${v} × ${v}`]);
  const grid = kit.choice({ label: "patches", options: sides, value: String(data.side) });

  const byArea = kit.plot({
    x: [0, 1], y: [0, 1], height: 300, xlabel: "share of the image that is object", ylabel: "IoU",
    alt: "Ceiling, chance and whole-image score of a mask of fixed area against the area of the object",
  });
  const spread = kit.plot({
    x: [0, 1], y: [0, 1], height: 300, xlabel: "IoU of a random mask", ylabel: "probability (highest = 1)",
    alt: "Distribution of the IoU of one random mask and of the best of several",
  });
  const top = kit.readout({ label: "ceiling" });
  const one = kit.readout({ label: "chance" });
  const many = kit.readout({ label: "best of all heads, by chance" });
  const all = kit.readout({ label: "whole image" });
  const note = kit.note();

  kit.draw(() => {
    const n = Number(grid.value) ** 2;
    const K = Math.round(heads.value);
    const [a, P] = [object.value, kept.value];
    const { blue, orange, green, purple, quiet } = kit.colours;
    const areas = Array.from({ length: 49 }, (_, i) => 0.02 + 0.02 * i);
    const curve = (f) => areas.map((x) => [x, f(x)]);

    byArea.vline(a, { color: quiet, width: 1 });
    const chance = (x) => mean(law(x, P, n));
    const chosen = (x) => mean(best(law(x, P, n), K));
    byArea.line(curve((x) => size(x, n) / n), { color: green, width: 1.5, dash: "2 3" });
    byArea.line(curve((x) => ceiling(x, P, n)), { color: orange, width: 2 });
    byArea.line(curve(chosen), { color: purple, width: 2, dash: "5 3" });
    byArea.line(curve(chance), { color: blue, width: 2 });
    // names stand at the curves; a legend would lie on them
    byArea.text([0.93 * P, 0.93], "ceiling", { color: orange, anchor: P > 0.3 ? "end" : "start", dx: P > 0.3 ? -4 : 14 });
    byArea.text([0.99, 0.99], "whole image", { color: green, anchor: "end", dx: -8, dy: 4 });
    byArea.text([0.72, chosen(0.72)], `best of ${K}`, { color: purple, anchor: "end", dx: -6, dy: -8 });
    byArea.text([0.72, chance(0.72)], "chance", { color: blue, anchor: "start", dx: 2, dy: 18 });

    const rows = law(a, P, n);
    const tops = best(rows, K);
    const scaled = (r) => {
      const high = Math.max(...r.map(([, p]) => p));
      return r.filter(([, p]) => p > 1e-6 * high).map(([x, p]) => [x, p / high]);
    };
    spread.line(scaled(rows), { color: blue, width: 2, label: "one mask" });
    spread.line(scaled(tops), { color: purple, width: 2, dash: "5 3", label: `best of ${K}` });
    spread.vline(ceiling(a, P, n), { color: orange, width: 2 });

    const [c, r, b] = [ceiling(a, P, n), mean(rows), mean(tops)];
    top.set(c.toFixed(3));
    one.set(r.toFixed(3));
    many.set(b.toFixed(3));
    all.set((size(a, n) / n).toFixed(3));
    const room = c - b;
    note.set(
      room < 0.005
        ? "Chance and ceiling meet: under these settings the score says nothing."
        : `All that a network can show lies between ${b.toFixed(2)} and ${c.toFixed(2)}: ` +
          (a < P
            ? "the mask is larger than the object, so even a perfect ranking cannot reach 1."
            : a > P
              ? "the mask is smaller than the object, so even a perfect ranking cannot reach 1."
              : "mask and object have one size, and only then can a perfect ranking reach 1."),
    );
  });
}
