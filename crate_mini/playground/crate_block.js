// One photograph through a network, half step by half step.
// data: {grid, channels, photo, layer, patch: [row, column], length: [[…]], zeros: [[…]], likeness: base64}; the lists
// run over half steps (before layer 0, then compressed and sparsified of every layer) and patches, row by row.
// likeness holds, for every half step, the cosines of all pairs i < j as bytes, -1 at 0 and 1 at 255.

"use strict";

function play(kit, data) {
  const g = data.grid;
  const n = g * g;
  const depth = (data.length.length - 1) / 2;
  const bytes = Uint8Array.from(atob(data.likeness), (c) => c.charCodeAt(0));
  const perStep = (n * (n - 1)) / 2;
  const cosine = (step, i, j) => {
    if (i === j) return 1;
    const [a, b] = i < j ? [i, j] : [j, i];
    return bytes[step * perStep + a * n - (a * (a + 1)) / 2 + (b - a - 1)] / 127.5 - 1;
  };
  const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
  const atPatch = (i) => [(i % g) + 0.5, g - Math.floor(i / g) - 0.5]; // rows run down, the plot's y runs up
  let patch = data.patch[0] * g + data.patch[1];

  const layer = kit.slider({ label: "layer", min: 0, max: depth - 1, step: 1, value: data.layer, format: String });
  const stage = kit.choice({ label: "stage", options: [[0, "before"], [1, "compressed"], [2, "sparsified"]], value: 0 });
  const what = kit.choice({ label: "show", options: [["likeness", "likeness"], ["length", "length"], ["zeros", "zeros"]], value: "likeness" });
  kit.button({
    label: "half a step on",
    press: () => {
      if (stage.value < 2) stage.set(stage.value + 1);
      else if (layer.value < depth - 1) { layer.set(layer.value + 1); stage.set(1); } else { layer.set(0); stage.set(0); }
    },
  });

  const square = { x: [0, g], y: [0, g], equal: true, bare: true, height: 250 };
  const photo = kit.plot({ ...square, title: "the photograph", alt: "The photograph, with the chosen patch marked" });
  const map = kit.plot({ ...square, title: " ", alt: "The chosen quantity for every patch" });
  const path = kit.plot({ x: [-0.5, 2 * depth + 0.5], y: [0, 1], height: 180, xlabel: "half steps, two to a layer", alt: "The mean of the quantity over the image, by half step" });
  const readouts = {
    here: kit.readout({ label: "this patch" }),
    mean: kit.readout({ label: "mean over the image" }),
    most: kit.readout({ label: "most alike" }),
  };
  const note = kit.note();

  const choose = (x, y) => {
    const column = Math.min(g - 1, Math.max(0, Math.floor(x)));
    const row = Math.min(g - 1, Math.max(0, Math.floor(g - y)));
    patch = row * g + column;
  };
  const ring = photo.handle({ at: atPatch(patch), label: "the patch", r: 7, move: choose });
  const press = (x, y) => { choose(x, y); ring.at = atPatch(patch); };
  photo.hover({ press });
  map.hover({ press });

  const values = {
    likeness: (step) => Array.from({ length: n }, (_, j) => cosine(step, patch, j)),
    length: (step) => data.length[step],
    zeros: (step) => data.zeros[step].map((z) => z / data.channels),
  };
  const others = (list) => list.filter((_, j) => j !== patch);
  const average = (step) => mean(what.value === "likeness" ? others(values.likeness(step)) : values[what.value](step));
  const titles = {
    likeness: "likeness to the marked patch",
    length: "length of the token",
    zeros: "share of zeros in the token",
  };
  const show = (v) => (what.value === "zeros" ? `${(100 * v).toFixed(0)} %` : v.toFixed(2));
  const notes = [
    (step) => (step === 0
      ? "Patch and position, nothing else yet. No entry is zero."
      : "As it left the ISTA of the layer before: mostly zeros, nothing negative."),
    () => "Attention has added something to every entry: no zeros now, and some entries are negative.",
    () => "ISTA has emptied the tokens again. This is what the next layer gets.",
  ];

  kit.draw(() => {
    const step = 2 * layer.value + stage.value;
    const now = values[what.value](step);
    photo.image(data.photo);
    const rows = Array.from({ length: g }, (_, r) => now.slice(r * g, (r + 1) * g));
    const rest = others(now);
    map.options.title = titles[what.value];
    map.layOut();
    map.heat(rows, { low: Math.min(...rest), high: Math.max(...rest) });
    for (const plot of [photo, map]) {
      const [x, y] = atPatch(patch);
      plot.polygon([[x - 0.5, y - 0.5], [x + 0.5, y - 0.5], [x + 0.5, y + 0.5], [x - 0.5, y + 0.5]], { color: kit.colours.orange, fillOpacity: 0, width: 2.5 });
    }
    const curve = data.length.map((_, s) => [s, average(s)]);
    const top = Math.max(...curve.map((p) => p[1]));
    const bottom = Math.min(0, ...curve.map((p) => p[1]));
    path.options.title = `mean ${what.value === "zeros" ? "share of zeros" : what.value}, by half step`;
    path.range({ y: [1.08 * bottom, 1.12 * top] });
    path.line(curve, { color: kit.colours.quiet, width: 1.5 });
    path.dots(curve, { color: curve.map((_, s) => (s === 0 ? kit.colours.quiet : s % 2 ? kit.colours.orange : kit.colours.blue)), r: 3.5 });
    path.dots([[step, average(step)]], { color: "none", r: 8, stroke: kit.colours.ink });
    readouts.here.show(what.value !== "likeness");
    readouts.most.show(what.value === "likeness");
    readouts.here.set(show(now[patch]));
    readouts.mean.set(show(average(step)));
    readouts.most.set(show(Math.max(...rest)));
    note.set(notes[stage.value](step));
  });
}
