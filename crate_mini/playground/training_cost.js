// What a training costs: multiply-adds counted from the model's shape, and the hours that a GPU needs for them.
// data: {sets: [[name, images, side, epochs, classes, batch]], models: [[name, dim, depth, attention, feed]],
// devices: [[name, multiply-adds a second]], share}. The sums are those of crate_mini.operations, for the operators that
// are counted here; others are refused by name.

"use strict";

// Linear maps of an attention (d x d each), and multiply-adds of a feed for so many tokens.
const MAPS = { mssa: 2, mhsa: 4 };
const FEEDS = {
  ista: (tokens, d) => tokens * d * d + d ** 3,
  mlp: (tokens, d) => 8 * tokens * d * d,
};

function known(table, name) {
  if (name in table) return table[name];
  throw new Error(`this page cannot count the operator "${name}"; it knows ${Object.keys(table).join(", ")}`);
}

// Multiply-adds of one forward pass of a batch, by part.
function countForward({ dim: d, depth: L, attention, feed }, { patch, side, classes, batch, kept }) {
  const all = (side / patch) ** 2;
  const patches = Math.max(1, roundHalfEven(kept * all));
  const tokens = batch * (patches + 1);
  return {
    patches: batch * patches * 3 * patch * patch * d,
    maps: L * known(MAPS, attention) * tokens * d * d,
    attention: L * 2 * tokens * (patches + 1) * d,
    feed: L * known(FEEDS, feed)(tokens, d),
    classifier: batch * d * classes,
  };
}

// As Python rounds.
function roundHalfEven(x) {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + (low % 2) : Math.round(x);
}

const UNITS = [["years", 365 * 86400], ["days", 86400], ["hours", 3600], ["minutes", 60], ["seconds", 1]];

function duration(seconds) {
  const [name, size] = UNITS.find(([, s]) => seconds >= 2 * s) ?? UNITS.at(-1);
  return `${(seconds / size).toPrecision(2).replace(/\.0$/, "").replace(/^(\d+)e\+(\d+)$/, (t) => Number(t).toFixed(0))} ${name}`;
}

function scientific(v) {
  const power = Math.floor(Math.log10(v));
  const digits = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  return `${(v / 10 ** power).toFixed(2)} · 10${String(power).replace(/\d/g, (c) => digits[c])}`;
}

function play(kit, data) {
  const { blue, orange, green, purple, red, quiet, line } = kit.colours;
  const set = kit.choice({ label: "pictures", options: data.sets.map(([name], i) => [i, name]), value: 0 });
  const model = kit.choice({ label: "model", options: data.models.map(([name], i) => [i, name]), value: 0 });
  const patch = kit.choice({ label: "patch", options: [4, 8, 16, 32].map((p) => [p, String(p)]), value: 4 });
  const kept = kit.slider({ label: "patches kept", min: 0.1, max: 1, step: 0.1, value: 1, format: (v) => `${Math.round(100 * v)} %` });
  const share = kit.slider({ label: "share of the peak reached", min: 0.02, max: 0.6, step: 0.01, value: data.share, format: (v) => `${Math.round(100 * v)} %` });

  const parts = [
    ["patches", "patches to tokens", purple],
    ["maps", "linear maps", blue],
    ["attention", "attention", orange],
    ["feed", "ISTA or MLP", green],
    ["classifier", "classifier", red],
  ];
  const [first, last] = [60, 10 * 365 * 86400];
  const n = data.devices.length;
  // what the last slider moves comes last, next to it on a phone
  const work = kit.plot({ x: [-1, 126], y: [-0.6, parts.length + 0.35], height: 230, bare: true, title: "where the multiply-adds go", alt: "Share of the multiply-adds in each part of the model" });
  const times = kit.plot({ x: [first, last], xlog: true, y: [-0.75, n + 0.35], height: 230, bare: true, title: "time on one device", alt: "Time of the training on each device, on a scale from a minute to ten years" });
  const tokens = kit.readout({ label: "tokens" });
  const each = kit.readout({ label: "multiply-adds an image and step" });
  const total = kit.readout({ label: "in all" });
  const note = kit.note();

  kit.draw(() => {
    const [name, images, side, epochs, classes, batch] = data.sets[set.value];
    const [who, dim, depth, attention, feed] = data.models[model.value];
    const shape = { patch: patch.value, side, classes, batch, kept: kept.value };
    const counts = countForward({ dim, depth, attention, feed }, shape);
    const forward = Object.values(counts).reduce((a, b) => a + b, 0);
    const step = (3 * forward) / batch;
    const all = step * images * epochs;

    for (const [at, label] of [[60, "minute"], [3600, "hour"], [86400, "day"], [30 * 86400, "month"], [365 * 86400, "year"]]) {
      times.line([[at, -0.15], [at, n + 0.1]], { color: line, width: 1 });
      times.text([at, -0.15], label, { color: quiet, anchor: at === 60 ? "start" : "middle", dy: 15 });
    }
    data.devices.forEach(([device, peak], i) => {
      const seconds = all / (share.value * peak);
      const y = n - 1 - i;
      const end = Math.min(last, Math.max(1.15 * first, seconds));
      times.polygon([[first, y + 0.1], [end, y + 0.1], [end, y + 0.5], [first, y + 0.5]], { color: blue, fillOpacity: 0.75, width: 0.5 });
      times.text([first, y + 0.5], `${device}: ${duration(seconds)}`, { dx: 2, dy: -4 });
    });

    parts.forEach(([key, label, color], i) => {
      const percent = (100 * counts[key]) / forward;
      const y = parts.length - 1 - i;
      work.polygon([[0, y], [percent, y], [percent, y + 0.42], [0, y + 0.42]], { color, fillOpacity: 0.75, width: 0.5 });
      work.text([0, y + 0.42], key === "feed" ? feed.toUpperCase() : label, { dx: 2, dy: -4 });
      work.text([percent, y], `${percent.toFixed(percent < 1 ? 1 : 0)} %`, { dx: 5, dy: -1, color: quiet });
    });

    const patches = Math.max(1, roundHalfEven(kept.value * (side / patch.value) ** 2));
    tokens.set((patches + 1).toLocaleString("en"));
    each.set(scientific(step));
    total.set(scientific(all));
    const look = counts.attention / forward;
    note.set(
      look > 0.4
        ? `Attention is ${Math.round(100 * look)} % of the work: it grows with the square of the tokens. Try larger patches, or keep fewer.`
        : patches < 20
          ? `${patches} patches are little to look at: cheap, and the maps of the class token are as coarse.`
          : `${epochs} epochs of ${images.toLocaleString("en")} pictures. Halve the side of a patch: four times the tokens.`,
    );
  });
}
