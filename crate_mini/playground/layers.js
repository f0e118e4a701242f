// R^c by layer and the spectrum behind it: before and after attention, head by head.
// data: {p, models: {name: {zeros: [L], spectra: {normalisation: {before, after}}}}}, a spectrum being, by layer and
// head, 1000 times the logarithm of the energy (mean square of the coordinates) in each direction, falling.

function play(kit, data) {
  const names = Object.keys(data.models);
  const L = data.models[names[0]].zeros.length;
  const K = data.models[names[0]].spectra.none.before[0].length;
  const energies = (row) => row.map((v) => Math.exp(v / 1000));
  // ½ Σ log(1 + p/(n ε²) σ²), with σ²/n the energy of a direction
  const rate = (row, epsSq) => 0.5 * energies(row).reduce((sum, e) => sum + Math.log1p((data.p * e) / epsSq), 0);

  const checkpoint = kit.choice({ label: "network", options: names.map((n) => [n, n]) });
  const normalise = kit.choice({
    label: "tokens",
    options: [["none", "as they are"], ["token", "length one"], ["head", "length one per head"]],
  });
  const layer = kit.slider({ label: "layer", min: 0, max: L - 1, step: 1, value: Math.min(4, L - 1), format: (v) => String(v) });
  const head = kit.choice({
    label: "head",
    options: [["all", "all heads"], ...Array.from({ length: K }, (_, k) => [String(k), `head ${k}`])],
  });
  const epsSq = kit.slider({ label: "ε²", min: 0.0001, max: 100, value: 0.01, log: true });

  const byLayer = kit.plot({
    x: [-0.3, L - 0.7], y: [0, 1], height: 290, xlabel: "layer", ylabel: "Rᶜ (nats)",
    alt: "Compression rate by layer, before and after attention",
  });
  const spectrum = kit.plot({
    x: [0.5, data.p + 0.5], y: [1e-6, 1], ylog: true, height: 290, xlabel: "direction", ylabel: "energy",
    alt: "Energy of the tokens by direction in the chosen heads, before and after attention",
  });
  const before = kit.readout({ label: "Rᶜ before" });
  const after = kit.readout({ label: "Rᶜ after" });
  const change = kit.readout({ label: "change" });
  const zeros = kit.readout({ label: "zeros after ISTA" });
  const note = kit.note();

  kit.draw(() => {
    const model = data.models[checkpoint.value];
    const found = model.spectra[normalise.value];
    const chosen = head.value === "all" ? Array.from({ length: K }, (_, k) => k) : [Number(head.value)];
    const total = (place, l) => chosen.reduce((sum, k) => sum + rate(found[place][l][k], epsSq.value), 0);
    const curve = (place) => Array.from({ length: L }, (_, l) => [l, total(place, l)]);
    const [start, end] = [curve("before"), curve("after")];
    const { blue, orange, quiet } = kit.colours;

    const heights = [...start, ...end].map(([, y]) => y);
    const room = 0.1 * (Math.max(...heights) - Math.min(...heights)) || 1;
    byLayer.range({ y: [Math.min(...heights) - room, Math.max(...heights) + 2.5 * room] });
    byLayer.vline(layer.value, { color: quiet, width: 1 });
    byLayer.line(start, { color: orange, width: 2, dash: "5 3", label: "before attention" });
    byLayer.line(end, { color: blue, width: 2, label: "after" });
    byLayer.dots(start, { color: orange, r: 3 });
    byLayer.dots(end, { color: blue, r: 3 });

    const rows = (place) => chosen.map((k) => energies(found[place][layer.value][k]));
    const level = epsSq.value / data.p;
    const all = [...rows("before"), ...rows("after")].flat();
    const lowest = Math.max(1e-7, Math.min(level, ...all));
    spectrum.range({ y: [lowest / 2, 3 * Math.max(level, ...all)] });
    const width = chosen.length > 1 ? 1 : 2;
    const points = (row) => row.map((e, i) => [i + 1, Math.max(e, lowest / 2)]);
    rows("before").forEach((row) => spectrum.line(points(row), { color: orange, width, dash: "5 3" }));
    rows("after").forEach((row) => spectrum.line(points(row), { color: blue, width }));
    spectrum.hline(level, { color: quiet, width: 1.5, label: "ε²/p" });

    const [a, b] = [start[layer.value][1], end[layer.value][1]];
    before.set(a.toFixed(1));
    after.set(b.toFixed(1));
    change.set(`${b < a ? "−" : "+"}${Math.abs(b - a).toFixed(1)}`);
    zeros.set(`${(100 * model.zeros[layer.value]).toFixed(0)} %`);
    const up = start.filter(([l, y]) => end[l][1] > y).length;
    const who = chosen.length > 1 ? "Attention" : "In this head attention";
    note.set(
      `${who} raises Rᶜ in ${up} of ${L} layers by this reading. ` +
        {
          none: "Lengths count here, and attention makes tokens longer. Now put them at length one.",
          token: "Directions alone count here. Put the tokens back as they are, and look at the same layer.",
          head: "The released code's scaling: every head counts alike, however little of the tokens it holds.",
        }[normalise.value],
    );
  });
}
