// Where the parameters of a CRATE are, and those of a ViT of the same shape. data: {image: side in pixels,
// published: [[width, layers, patch, classes, name]], the models of the papers}.

"use strict";

// Parameters by part; the same sums as crate_mini.model builds.
function countModel(d, L, patch, classes, image) {
  const P = 3 * patch ** 2;
  const n = (image / patch) ** 2;
  const around = { patches: 2 * P + (P * d + d) + 2 * d, positions: (n + 1) * d + d };
  const classifier = 2 * d + (d * classes + classes);
  return {
    crate: { ...around, layers: L * (3 * d * d + 5 * d), classifier },
    vit: { ...around, layers: L * (12 * d * d + 13 * d), classifier },
  };
}

// Round numbers from zero, about four of them.
function ticks(end) {
  const power = 10 ** Math.floor(Math.log10(end / 3));
  const step = power * [1, 2, 5, 10].find((m) => 4 * m * power >= end);
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
}

function play(kit, data) {
  const whole = (v) => v.toLocaleString("en");
  const width = kit.slider({ label: "width d", min: 64, max: 1024, step: 64, value: 384, format: whole });
  const layers = kit.slider({ label: "layers L", min: 1, max: 24, step: 1, value: 12, format: whole });
  const patch = kit.choice({ label: "patch", options: [4, 8, 16, 32].map((p) => [p, String(p)]), value: 8 });
  const classes = kit.choice({ label: "classes", options: [10, 1000, 21842].map((c) => [c, whole(c)]), value: 21842 });

  const parts = [
    ["layers", "layers", kit.colours.blue],
    ["classifier", "classifier", kit.colours.orange],
    ["patches", "patches to tokens", kit.colours.green],
    ["positions", "positions, class token", kit.colours.purple],
  ];
  const plot = kit.plot({ x: [0, 1], y: [-0.55, 4.3], height: 235, bare: true, alt: "Two bars, CRATE and ViT, made of the parameters of their parts" });
  const total = { crate: kit.readout({ label: "CRATE" }), vit: kit.readout({ label: "ViT" }) };
  const ratio = kit.readout({ label: "CRATE / ViT" });
  const inLayers = kit.readout({ label: "of CRATE's, in its layers" });
  const note = kit.note();

  kit.draw(() => {
    const counts = countModel(width.value, layers.value, patch.value, classes.value, data.image);
    const sums = {};
    for (const family of ["crate", "vit"]) sums[family] = Object.values(counts[family]).reduce((a, b) => a + b, 0);
    const end = sums.vit / 1e6;
    plot.range({ x: [-0.01 * end, 1.04 * end] });
    for (const v of ticks(end)) {
      plot.line([[v, 0], [v, 2.5]], { color: kit.colours.line, width: 1 });
      plot.text([v, 0], v === 0 ? "0" : `${kit.shortNumber(v)} M`, { color: kit.colours.quiet, anchor: v === 0 ? "start" : "middle", dy: 15 });
    }
    [["crate", 1.35, "CRATE"], ["vit", 0.1, "ViT"]].forEach(([family, low, name]) => {
      let left = 0;
      for (const [key, , color] of parts) {
        const right = left + counts[family][key] / 1e6;
        plot.polygon([[left, low], [right, low], [right, low + 0.75], [left, low + 0.75]], { color, fillOpacity: 0.75, width: 0.5 });
        left = right;
      }
      plot.text([0, low + 0.75], name, { dy: -5, dx: 2 });
      total[family].set(whole(sums[family]));
    });
    for (const [, label, color] of parts) plot.line([], { label, color, width: 6 });
    ratio.set(`${Math.round((100 * sums.crate) / sums.vit)} %`);
    inLayers.set(`${Math.round((100 * counts.crate.layers) / sums.crate)} %`);
    const known = data.published.find(([d, L, p, C]) => d === width.value && L === layers.value && p === patch.value && C === classes.value);
    const share = counts.crate.classifier / sums.crate;
    note.set(
      known ? `This is ${known[4]}: ${(sums.crate / 1e6).toFixed(2)} million.`
        : share > 0.5 ? "Most of this CRATE is its classifier: it is small because its layers are."
          : sums.crate < 0.28 * sums.vit ? "Deep and wide, the layers are all that counts: a quarter of the ViT."
            : "No published model has this shape. Width counts squared, depth and classes only once."
    );
  });
}
