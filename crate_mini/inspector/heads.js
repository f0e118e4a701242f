// The head viewer. Plain functions: Python wraps them in a scope of their own (playground/library.py), and the page calls
// mountHeadViewers(id).
// The data they read is described in contract.py. Where patches can be asked, patches.js stands in the same scope, and
// where a page holds the models too, crate.js and photo.js; nothing here needs them otherwise.

"use strict";

const CONTRACT = "crate-mini/heads";
const VERSION = 4;
const LARGE = 640; // pixels on the longer side of the large picture, at least
const SMALL = 200; // and of one head's tile
const IGNORE = 255;
const DIM = 0.3; // background in the colours of tokens
const CENTRE_WIDTH = 0.25; // standard deviation of the bell in the middle, in sides of the image
const DWELL = 150; // milliseconds that the pointer rests on a picture before a model is run for it
const PATIENCE = 15_000; // milliseconds until the kernel is asked once more, and the reader told why there is no answer
const MOST_PATCHES = 1600; // beyond, running a model takes too long to wait for
const OFFER = "or drop or paste one here; it stays in this page";

class Overtaken extends Error {}

// ---- numbers: no page needed -----------------------------------------------------------------------------

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// One head's map: `t` from 0 (its lowest value) to 1 (its highest), `x` the attention itself. Null: not finite.
// Of the class token (token 0) from the bytes that Python prepared; where there are none, and for the token of any
// patch, from queries and keys. Undefined: the model has yet to run on the picture. One more than the heads is their mean.
function headMap(model, image, layer, head, token) {
  if (head === model.heads) return meanMap(model, image, layer, token);
  const entry = model.maps[image];
  if (token || !entry.values) {
    if (!pairsOf(model, image, layer)) return undefined;
    const n = entry.grid[0] * entry.grid[1];
    return mapOf(entry.grid, attentionOf(pairsOf(model, image, layer), n, model.heads, head, token));
  }
  entry.bytes ??= bytesOf(entry.values);
  const [h, w] = entry.grid;
  const index = layer * model.heads + head;
  const low = entry.low[index];
  const high = entry.high[index];
  if (low === null) return null;
  const t = new Float64Array(h * w);
  const x = new Float64Array(h * w);
  for (let i = 0; i < h * w; i++) {
    t[i] = (entry.bytes[index * h * w + i] / 255) ** 2;
    x[i] = low + (high - low) * t[i];
  }
  return { h, w, t, x, low, high };
}

// The mean of a layer's heads, the map that the book scores where it chooses no head.
function meanMap(model, image, layer, token) {
  const maps = Array.from({ length: model.heads }, (_, head) => headMap(model, image, layer, head, token));
  if (maps.includes(undefined)) return undefined;
  if (maps.includes(null)) return null;
  return mapOf(model.maps[image].grid, maps[0].x.map((_, i) => maps.reduce((sum, { x }) => sum + x[i], 0) / model.heads));
}

// Brightness by rank, from 0 to 1, equal values alike: what AUROC counts, for only the order matters to it.
function byRank(map) {
  const sorted = Array.from(map.x).sort((a, b) => a - b);
  const places = new Map();
  sorted.forEach((value, i) => {
    const [sum, count] = places.get(value) ?? [0, 0];
    places.set(value, [sum + i, count + 1]);
  });
  const t = map.x.map((value) => {
    const [sum, count] = places.get(value);
    return sum / count / Math.max(1, map.x.length - 1);
  });
  return { ...map, t };
}

function mapOf([h, w], x) {
  if (!x.every(Number.isFinite)) return null;
  const [low, high] = [Math.min(...x), Math.max(...x)];
  return { h, w, t: x.map((value) => (value - low) / (high - low || 1)), x, low, high };
}

// Patches from the one that is attended to most. Of equals, the first comes first.
function ranked({ x }) {
  return Array.from(x.keys()).sort((a, b) => x[b] - x[a] || a - b);
}

function firstOf(order, count) {
  const mask = new Uint8Array(order.length);
  for (const i of order.slice(0, count)) mask[i] = 1;
  return mask;
}

// The fewest patches that hold `share` of the attention (DINO's rule).
function massMask(map, share) {
  const order = ranked(map);
  const total = order.reduce((sum, i) => sum + map.x[i], 0);
  let held = 0;
  let count = 0;
  while (count < order.length && held < share * total) held += map.x[order[count++]];
  return firstOf(order, count);
}

// As many patches as the object would fill.
function areaMask(map, { object, total, pixels }) {
  return firstOf(ranked(map), Math.max(1, Math.round((total * object.length) / pixels)));
}

// The mask of the threshold that fits the object best; equal values stand or fall together. As stats.curve_best_iou.
function bestMask(map, { object, counted, total }) {
  const order = ranked(map);
  let [hit, marked, best, keep] = [0, 0, -1, 0];
  order.forEach((i, place) => {
    hit += object[i];
    marked += counted[i];
    const fits = hit / (marked + total - hit);
    if (map.x[i] !== map.x[order[place + 1]] && fits > best) [best, keep] = [fits, place + 1];
  });
  return firstOf(order, keep);
}

// A mask by one of the rules above: `counts` of the true outline are needed by all but the first.
function maskOf(map, rule, share, counts) {
  if (rule === "area") return areaMask(map, counts);
  if (rule === "best") return bestMask(map, counts);
  return massMask(map, share);
}

// A bell in the middle of the image, which saw nothing: the control of every score. As segmentation.baselines.centre_map.
function centreMap([h, w]) {
  const x = new Float64Array(h * w);
  for (let i = 0; i < h * w; i++) {
    const [down, across] = [(Math.floor(i / w) + 0.5) / h - 0.5, ((i % w) + 0.5) / w - 0.5];
    x[i] = Math.exp(-(down ** 2 + across ** 2) / (2 * CENTRE_WIDTH ** 2));
  }
  return mapOf([h, w], x);
}

// What a layer does to all tokens of an image: `zeros` and `rate` (NaN where not finite), and the patches as colours,
// RGB bytes. From Python or, for the reader's own photo, from the model's run in this page with Python's axes.
function layerFacts(model, image, layer) {
  const { strip } = model;
  const { grid: [h, w], record } = model.maps[image];
  const prepared = strip.images[image];
  if (!prepared && !record) return undefined; // the model has yet to run
  if (prepared) {
    prepared.bytes ??= bytesOf(prepared.colours);
    const colours = prepared.bytes.subarray(3 * layer * h * w, 3 * (layer + 1) * h * w);
    return { zeros: prepared.zeros[layer] ?? NaN, rate: prepared.rates[layer] ?? NaN, colours };
  }
  const number = model.layers[layer];
  const { keys, zeros } = record.layers[number];
  return { zeros, rate: model.running.rate(record, number, strip.eps_sq), colours: tokenColours(keys, strip.axes[layer], h * w) };
}

// As crate_mini.token_pca: components 2 to 4 are red, green and blue, the negative side of the first is dimmed.
function tokenColours(keys, axes, n) {
  const colours = new Uint8ClampedArray(3 * n).fill(128);
  if (!axes || !keys.every(Number.isFinite)) return colours;
  const values = new Float32Array(bytesOf(axes.values).buffer);
  const m = values.length / 5;
  for (let i = 0; i < n; i++) {
    const scores = [1, 2, 3, 4].map((c) => {
      let sum = 0;
      for (let j = 0; j < m; j++) sum += (keys[(i + 1) * m + j] - values[j]) * values[c * m + j];
      return sum;
    });
    for (let c = 0; c < 3; c++) {
      const t = (scores[c + 1] - axes.low[c]) / (axes.high[c] - axes.low[c] || 1);
      colours[3 * i + c] = 255 * Math.min(1, Math.max(0, t)) * (scores[0] > 0 ? 1 : DIM);
    }
  }
  return colours;
}

function decodeTruth({ width, height, runs }) {
  const pixels = new Uint8Array(width * height);
  for (let i = 0, at = 0; i < runs.length; i += 2) {
    pixels.fill(runs[i], at, at + runs[i + 1]);
    at += runs[i + 1];
  }
  return { width, height, pixels };
}

// Pixels of the object, and pixels that count, under each patch (nearest neighbour: a pixel has one patch).
function countPatches(truth, h, w) {
  const object = new Float64Array(h * w);
  const counted = new Float64Array(h * w);
  for (let y = 0, i = 0; y < truth.height; y++) {
    const row = Math.floor((y * h) / truth.height) * w;
    for (let x = 0; x < truth.width; x++, i++) {
      if (truth.pixels[i] === IGNORE) continue;
      const patch = row + Math.floor((x * w) / truth.width);
      counted[patch]++;
      if (truth.pixels[i] === 1) object[patch]++;
    }
  }
  return { object, counted, total: object.reduce((a, b) => a + b, 0), pixels: truth.pixels.length };
}

function iou(mask, { object, counted, total }) {
  let both = 0;
  let predicted = 0;
  mask.forEach((on, i) => {
    if (on) {
      both += object[i];
      predicted += counted[i];
    }
  });
  return both / (predicted + total - both); // NaN where neither has a pixel
}

// How often a pixel of the object gets more attention than one beside it; ties count half. As crate_mini.stats.auroc.
function auroc({ x }, { object, counted }) {
  const order = Array.from(x.keys()).sort((a, b) => x[a] - x[b]);
  let [won, below, all] = [0, 0, 0];
  for (let i = 0; i < order.length; ) {
    let [inside, outside] = [0, 0];
    for (const value = x[order[i]]; i < order.length && x[order[i]] === value; i++) {
      inside += object[order[i]];
      outside += counted[order[i]] - object[order[i]];
    }
    won += inside * (below + outside / 2);
    below += outside;
    all += inside;
  }
  return won / (all * below); // NaN where there is no object, or nothing else
}

// Bicubic enlargement along one axis, as PyTorch's interpolate(mode="bicubic", align_corners=False) has it.
function cubicTaps(n, N) {
  const a = -0.75;
  const near = (d) => ((a + 2) * d - (a + 3)) * d * d + 1;
  const far = (d) => ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  const index = new Int32Array(4 * N);
  const weight = new Float64Array(4 * N);
  for (let i = 0; i < N; i++) {
    const s = ((i + 0.5) * n) / N - 0.5;
    const base = Math.floor(s);
    const f = s - base;
    [far(f + 1), near(f), near(1 - f), far(2 - f)].forEach((value, k) => {
      index[4 * i + k] = Math.min(n - 1, Math.max(0, base - 1 + k));
      weight[4 * i + k] = value;
    });
  }
  return { index, weight };
}

function enlarge(t, h, w, H, W, smooth) {
  const out = new Float64Array(H * W);
  if (!smooth) {
    for (let y = 0, i = 0; y < H; y++) {
      for (let x = 0; x < W; x++) out[i++] = t[Math.floor((y * h) / H) * w + Math.floor((x * w) / W)];
    }
    return out;
  }
  const across = cubicTaps(w, W);
  const down = cubicTaps(h, H);
  const rows = new Float64Array(h * W);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < W; x++) {
      let sum = 0;
      for (let k = 4 * x; k < 4 * x + 4; k++) sum += across.weight[k] * t[y * w + across.index[k]];
      rows[y * W + x] = sum;
    }
  }
  for (let y = 0; y < H; y++) {
    for (let k = 4 * y; k < 4 * y + 4; k++) {
      const weight = down.weight[k];
      const from = down.index[k] * W;
      for (let x = 0; x < W; x++) out[y * W + x] += weight * rows[from + x];
    }
  }
  return out;
}

// ---- pictures --------------------------------------------------------------------------------------------

// A size that is a whole multiple of the grid, so that patches have sharp, equal edges.
function setSize(canvas, h, w, side) {
  const scale = Math.ceil(side / Math.max(h, w));
  const [W, H] = [w * scale, h * scale];
  if (canvas.width !== W || canvas.height !== H) Object.assign(canvas, { width: W, height: H });
  return scale;
}

function paintHead(canvas, side, photo, map, grid, settings) {
  const [h, w] = grid;
  const scale = setSize(canvas, h, w, side);
  const pen = canvas.getContext("2d");
  if (map === undefined) return paintGrey(canvas, pen, photo, 0.7);
  if (map === null) return paintBroken(canvas, pen);
  if (settings.view === "mask") return paintMask(canvas, pen, photo, map, scale, settings.mask);
  if (settings.view === "overlay") paintGrey(canvas, pen, photo, 0.15);
  if (settings.view === "lit") {
    pen.imageSmoothingQuality = "high";
    pen.drawImage(photo, 0, 0, canvas.width, canvas.height);
  }
  pen.drawImage(heatLayer(canvas.width, canvas.height, map, settings), 0, 0);
}

// The 256 colours as one 32-bit number each: four times fewer writes a pixel than by bytes.
function palette(colours, view) {
  const words = new Uint32Array(256);
  const rgba = new Uint8ClampedArray(words.buffer);
  for (let i = 0; i < 256; i++) {
    if (view === "lit") {
      rgba[4 * i + 3] = 255 * 0.92 * (1 - (i / 255) ** 0.8); // darkness, as crate_mini.figures.spotlight has it
      continue;
    }
    rgba.set(colours.subarray(3 * i, 3 * i + 3), 4 * i);
    // Over a photo, what is attended to shows its colour and the rest stays a photo.
    rgba[4 * i + 3] = view === "heat" ? 255 : 255 * (0.15 + (0.55 * i) / 255);
  }
  return words;
}

// Over a photo, the 98th percentile has the full colour already: one bright patch must not leave the rest in the dark.
function fullFrom(shown, view) {
  return view === "heat" ? 1 : Array.from(shown).sort((a, b) => a - b)[Math.floor(0.98 * (shown.length - 1))] || 1;
}

function heatLayer(W, H, map, { view, smooth, colours, ranks }) {
  const shown = ranks ? byRank(map).t : map.t;
  const t = enlarge(shown, map.h, map.w, H, W, smooth);
  const full = fullFrom(shown, view);
  const shades = palette(colours, view);
  const picture = new ImageData(W, H);
  const words = new Uint32Array(picture.data.buffer);
  const shade = new Uint8ClampedArray(1); // rounds, and keeps what bicubic overshoots within 0 to 255
  for (let i = 0; i < t.length; i++) {
    shade[0] = (255 * t[i]) / full;
    words[i] = shades[shade[0]];
  }
  const layer = document.createElement("canvas");
  layer.width = W;
  layer.height = H;
  layer.getContext("2d").putImageData(picture, 0, 0);
  return layer;
}

// The photo without its colours, under a veil so that what lies on top stands out.
function paintGrey(canvas, pen, photo, veil) {
  pen.globalCompositeOperation = "source-over";
  pen.imageSmoothingQuality = "high";
  pen.drawImage(photo, 0, 0, canvas.width, canvas.height);
  pen.globalCompositeOperation = "saturation";
  pen.fillStyle = "hsl(0 0% 50%)";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.globalCompositeOperation = "source-over";
  pen.fillStyle = `rgb(12 14 20 / ${veil})`;
  pen.fillRect(0, 0, canvas.width, canvas.height);
}

function paintMask(canvas, pen, photo, { h, w }, scale, mask) {
  paintGrey(canvas, pen, photo, 0.7);
  pen.save();
  const inside = new Path2D();
  mask.forEach((on, i) => on && inside.rect((i % w) * scale, Math.floor(i / w) * scale, scale, scale));
  pen.clip(inside);
  pen.drawImage(photo, 0, 0, canvas.width, canvas.height);
  pen.restore();
  strokeOutline(canvas, outline(mask, h, w), h, w, [["#fff", 1]]);
}

function paintBroken(canvas, pen) {
  const { width: W, height: H } = canvas;
  pen.fillStyle = "#8a8f98";
  pen.fillRect(0, 0, W, H);
  pen.strokeStyle = "#6c717b";
  pen.lineWidth = W / 40;
  pen.beginPath();
  for (let x = -H; x < W; x += W / 14) {
    pen.moveTo(x, H);
    pen.lineTo(x + H, 0);
  }
  pen.stroke();
  pen.font = `600 ${Math.round(W / 6)}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillStyle = "#16181d";
  pen.fillText("NaN", W / 2, H / 2);
}

// The edge between 1 and everything else, as a path in pixels of the mask.
function outline(mask, h, w) {
  const on = (y, x) => y >= 0 && x >= 0 && y < h && x < w && mask[y * w + x] === 1;
  const path = new Path2D();
  const trace = (n, m, differ, line) => {
    for (let i = 0; i <= n; i++) {
      for (let j = 0; j < m; j++) {
        if (!differ(i, j)) continue;
        const start = j;
        while (j < m && differ(i, j)) j++;
        line(i, start, j);
      }
    }
  };
  trace(h, w, (y, x) => on(y - 1, x) !== on(y, x), (y, a, b) => { path.moveTo(a, y); path.lineTo(b, y); });
  trace(w, h, (x, y) => on(y, x - 1) !== on(y, x), (x, a, b) => { path.moveTo(x, a); path.lineTo(x, b); });
  return path;
}

// Strokes are [colour, width]; a small picture is shown smaller still, so its lines are relatively thicker.
function strokeOutline(canvas, path, h, w, strokes) {
  const pen = canvas.getContext("2d");
  const scaled = new Path2D();
  scaled.addPath(path, new DOMMatrix([canvas.width / w, 0, 0, canvas.height / h, 0, 0]));
  const unit = Math.max(canvas.width, canvas.height) < LARGE ? 2.2 : 3;
  pen.lineCap = "square";
  for (const [colour, width] of strokes) {
    pen.strokeStyle = colour;
    pen.lineWidth = unit * width;
    pen.stroke(scaled);
  }
}

// ---- the page --------------------------------------------------------------------------------------------

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function percent(value) {
  const p = 100 * value;
  return `${p >= 10 ? p.toFixed(0) : p >= 1 ? p.toFixed(1) : p.toPrecision(1)} %`;
}

function show(node, text) {
  if (node.textContent !== text) node.textContent = text; // screen readers hear changes only
}

// Labelled radio buttons: one choice, arrow keys move it, and every reader knows what they are.
function choice(name, legend, options, current, onPick) {
  return el(
    "fieldset",
    { class: "ch-choice" },
    el("legend", { class: "ch-hidden" }, legend),
    ...options.map(([value, label]) =>
      el(
        "label",
        {},
        el("input", { type: "radio", name, value, checked: value === current, onchange: () => onPick(value) }),
        el("span", {}, label),
      ),
    ),
  );
}

class HeadViewer {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    // Radio buttons group by name, and one output may be on the page twice.
    this.prefix = `${root.id}-${Math.random().toString(36).slice(2)}`;
    this.colours = bytesOf(data.colours);
    // Trainings of one network have its name, and share a panel.
    const names = [...new Set(data.models.map(({ name }) => name))];
    this.trainings = names.map((name) => data.models.filter((model) => model.name === name));
    const first = this.trainings.map(([model]) => this.firstOf(model));
    this.state = {
      image: data.start.image,
      view: data.start.view,
      rule: "mass",
      share: data.start.share,
      smooth: true,
      ranks: false,
      truth: true,
      together: names.length > 1,
      training: first.map(() => 0),
      layer: first.map(([layer]) => layer),
      head: first.map(([, head]) => head),
      preview: first.map(() => null),
      // The patch whose attention is on show, as a place in the picture from 0 to 1 so that models with other
      // grids can follow; null is the class token. `spot` is kept, `hover` is under the pointer.
      spot: null,
      hover: null,
    };
    this.photos = data.images.map(({ src }) => {
      const photo = new Image();
      photo.src = src;
      return photo;
    });
    this.truths = data.images.map(({ truth }) => {
      if (!truth) return null;
      const decoded = decodeTruth(truth);
      decoded.path = outline(decoded.pixels, decoded.height, decoded.width);
      decoded.counts = new Map();
      return decoded;
    });
    this.build();
  }

  // The layer (a position) and the head with which a model begins.
  firstOf(model) {
    const m = this.data.models.indexOf(model);
    return [this.data.start.layer[m], this.data.start.head[m]];
  }

  // The models on show, one a panel.
  get models() {
    return this.trainings.map((trainings, m) => trainings[this.state.training[m]]);
  }

  async start() {
    await Promise.all(this.photos.map((photo) => photo.decode()));
    this.thumbs.forEach((canvas, i) => this.drawThumb(canvas, this.photos[i]));
    this.draw();
  }

  // The middle of a picture: an image, or a canvas where the picture came after the page.
  drawThumb(canvas, photo) {
    const [width, height] = [photo.naturalWidth ?? photo.width, photo.naturalHeight ?? photo.height];
    const side = Math.min(width, height);
    canvas.getContext("2d").drawImage(photo, (width - side) / 2, (height - side) / 2, side, side, 0, 0, 112, 112);
  }

  // -- building, once --

  build() {
    const { data } = this;
    this.body = el("div", { class: "ch-body", role: "group", "aria-label": "What each attention head attends to" });
    // JupyterLab takes arrow keys for its own unless the focused element itself says no; the root's word is not enough.
    this.body.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
    this.body.append(this.buildToolbar());
    this.title = el("span", { class: "ch-title" });
    this.thumbs = [];
    this.pictures = el("fieldset", { class: "ch-thumbs" }, el("legend", { class: "ch-hidden" }, "Image"), this.title);
    if (data.images.length > 1) data.images.forEach((_, i) => this.addThumb(i));
    this.body.append(this.pictures);
    if (data.photo) this.body.append(this.buildYours());
    if (data.patches) this.body.append(this.buildFrom());
    this.panels = this.models.map((model, m) => this.buildPanel(model, m));
    this.body.append(
      el("div", { class: `ch-panels${this.panels.length === 1 ? " ch-single" : ""}` }, ...this.panels.map((p) => p.box)),
    );
  }

  addThumb(i) {
    const { title } = this.data.images[i];
    const canvas = el("canvas", { width: 112, height: 112, "aria-hidden": "true" });
    const input = el("input", {
      type: "radio",
      name: `${this.prefix}-image`,
      checked: i === this.state.image,
      "aria-label": title,
      onchange: () => this.set({ image: i }),
    });
    this.thumbs.push(canvas);
    this.title.before(el("label", { title }, input, canvas));
    return { canvas, input };
  }

  // Where the reader's own photo comes in: button, camera, drop, paste.
  buildYours() {
    const file = acceptPhotos(this.root, (blob, name) => this.addPhoto(blob, name));
    this.status = el("span", { class: "ch-status", role: "status" }, OFFER);
    this.camera = el("div", { class: "ch-camera", hidden: true });
    const buttons = [el("button", { type: "button", onclick: () => file.click() }, "Your own photo")];
    if (navigator.mediaDevices?.getUserMedia) {
      buttons.push(el("button", { type: "button", onclick: () => this.openCamera() }, "Camera"));
    }
    return el("div", { class: "ch-yours" }, file, ...buttons, this.status, this.camera);
  }

  // Whose attention is on show, and the way back to the class token.
  buildFrom() {
    this.fromText = el("span", { "aria-live": "polite" });
    this.back = el("button", { type: "button", onclick: () => this.leaveSpot() }, "Back to the class token");
    return el("div", { class: "ch-from" }, this.fromText, this.back);
  }

  buildToolbar() {
    const { state, prefix } = this;
    const views = [["heat", "Heat map"], ["lit", "Lit"], ["overlay", "Overlay"], ["mask", "Mask"]];
    const details = [["smooth", "Smooth"], ["patches", "Patches"]];
    this.detail = choice(`${prefix}-detail`, "Detail", details, "smooth", (v) => this.set({ smooth: v === "smooth" }));
    this.shareText = el("output");
    this.shareInput = el("input", {
      type: "range", min: 20, max: 90, step: 5, value: Math.round(100 * state.share),
      "aria-label": "Share of the attention that the mask holds",
      oninput: (event) => this.set({ share: event.target.value / 100 }),
    });
    this.share = el("label", { class: "ch-slider" }, el("span", {}, "share of attention"), this.shareInput, this.shareText);
    // The last two need the true outline, and say so where they are used.
    const rules = [["mass", "Share"], ["area", "Equal area"], ["best", "Best threshold"]];
    this.rules = choice(`${prefix}-rule`, "What the mask holds", rules, state.rule, (rule) => this.set({ rule }));
    const tick = (key, label, title = "") =>
      el(
        "label",
        { class: "ch-tick", title },
        el("input", { type: "checkbox", checked: state[key], onchange: (e) => this.set({ [key]: e.target.checked }) }),
        label,
      );
    this.ranksTick = tick("ranks", "by rank", "As many patches of each colour: only their order counts, as for AUROC");
    const bar = el(
      "div",
      { class: "ch-toolbar" },
      choice(`${prefix}-view`, "View", views, state.view, (view) => this.set({ view })),
      this.detail,
      this.ranksTick,
      this.rules,
      this.share,
    );
    if (this.truths.some(Boolean)) bar.append((this.truthTick = tick("truth", "true outline")));
    if (this.trainings.length > 1) bar.append(tick("together", "move layers together"));
    return bar;
  }

  buildPanel(model, m) {
    const { data, state } = this;
    const last = model.layers.length - 1;
    const who = model.name ? `${model.name}, ` : "";
    const panel = {
      layer: el("input", {
        type: "range", min: 0, max: last, step: 1, value: state.layer[m], "aria-label": `${who}layer`,
        disabled: last === 0,
        oninput: (event) => this.moveLayer(m, Number(event.target.value)),
      }),
      layerText: el("output"),
      large: data.patches ? this.buildPicture(m) : el("canvas", { role: "img" }),
      facts: el("p", { class: "ch-facts", "aria-live": "polite" }),
      control: el("p", { class: "ch-control", hidden: true, title: "A map that saw nothing and is only brighter in the middle" }),
      answer: el("p", { class: "ch-answer", hidden: true }),
      scale: el("div", { class: "ch-scale", "aria-hidden": "true" }, el("span"), el("i"), el("span")),
      tiles: [],
    };
    const stops = Array.from({ length: 9 }, (_, i) => {
      const c = 3 * Math.round((255 * i) / 8);
      return `rgb(${this.colours[c]} ${this.colours[c + 1]} ${this.colours[c + 2]})`;
    });
    panel.scale.querySelector("i").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    // The mean of several heads comes last, in words only: it is seen in the large picture.
    for (let k = 0; k < model.heads + (model.heads > 1); k++) {
      const mean = k === model.heads;
      const canvas = mean ? "" : el("canvas", { "aria-hidden": "true" });
      const label = el("span", {}, headName(model, k));
      const score = el("span", { class: "ch-score" });
      const button = el(
        "button",
        {
          type: "button",
          class: mean ? "ch-mean" : "",
          onclick: () => this.lock(m, k),
          onfocus: () => this.preview(m, k),
          onblur: () => this.preview(m, null),
          onpointerenter: (event) => event.pointerType === "mouse" && this.preview(m, k),
          onpointerleave: () => this.preview(m, this.focused(m)),
        },
        canvas,
        el("span", { class: "ch-label" }, label, score),
      );
      panel.tiles.push({ button, canvas, score });
    }
    panel.strip = model.strip ? this.buildStrip(model, m) : "";
    panel.grid = el(
      "div",
      { class: "ch-tiles", role: "group", "aria-label": `${who}heads`, onkeydown: (event) => this.moveFocus(event, m) },
      ...panel.tiles.map((tile) => tile.button),
    );
    panel.box = el(
      "section",
      { class: "ch-panel", "aria-label": model.name || "model" },
      el(
        "div",
        { class: "ch-head" },
        model.name ? el("strong", { class: "ch-name" }, model.name) : "",
        this.buildTrainings(m, who),
        el(
          "label",
          { class: "ch-slider" },
          el("span", {}, "layer"),
          panel.layerText,
          panel.layer,
          el("span", {}, last ? `${model.layers[0]}–${model.layers[last]}` : ""),
        ),
      ),
      panel.strip && panel.strip.box,
      el("div", { class: "ch-look" }, el("div", { class: "ch-large" }, panel.large), panel.scale, panel.facts, panel.control, panel.answer),
      panel.grid,
    );
    return panel;
  }

  // Which training of a network is on show, where there are several.
  buildTrainings(m, who) {
    if (this.trainings[m].length === 1) return "";
    const { layer, head, training } = this.state;
    const pick = ({ target }) => {
      const untouched = String([layer[m], head[m]]) === String(this.firstOf(this.models[m]));
      training[m] = Number(target.value);
      if (untouched) [layer[m], head[m]] = this.firstOf(this.models[m]);
      this.schedule();
    };
    return el(
      "select",
      { class: "ch-training", "aria-label": `${who}which training`, title: "The same network, trained anew: a head's number means nothing there", onchange: pick },
      ...this.trainings[m].map(({ training }, i) => el("option", { value: i }, training)),
    );
  }

  // All layers side by side: tokens as colours, and below each a bar for its zeros and one for its rate. A click goes
  // to the layer; the slider above does the same by keyboard.
  buildStrip(model, m) {
    const cells = model.layers.map((number, l) => {
      const canvas = el("canvas");
      const bars = [el("i"), el("i")];
      const cell = el(
        "div",
        { class: "ch-cell", title: `layer ${number}`, onclick: () => this.moveLayer(m, l) },
        canvas,
        ...bars.map((bar) => el("span", { class: "ch-bar" }, bar)),
      );
      return { cell, canvas, bars };
    });
    const [zeros, rate] = [el("span"), el("span")];
    const text = el(
      "p", { class: "ch-legend", "aria-live": "polite" },
      el("span", { title: "Components 2 to 4 of all tokens as red, green, blue; dim where the first is negative" }, "tokens as colours"),
      el("span", { title: "Share of exact zeros in the tokens that leave the layer" }, el("i"), zeros),
      el("span", { title: "Coding rate of the tokens that attention sees, in the layer's subspaces" }, el("i"), rate),
    );
    const row = el("div", { class: "ch-strip", "aria-hidden": "true" }, ...cells.map(({ cell }) => cell));
    row.style.gridTemplateColumns = `repeat(${cells.length}, minmax(0, 1fr))`;
    const box = el("div", { class: "ch-layers" }, row, text);
    return { box, cells, zeros, rate };
  }

  // A picture that answers for its patches: hover to preview, click to keep, arrow keys to go from patch to patch.
  buildPicture(m) {
    const place = ({ clientX, clientY }) => {
      const box = canvas.getBoundingClientRect();
      return this.middle(m, (clientX - box.left) / box.width, (clientY - box.top) / box.height);
    };
    const canvas = el("canvas", {
      role: "application",
      tabindex: 0,
      "aria-roledescription": "picture",
      onpointermove: (event) => event.pointerType === "mouse" && this.hoverSpot(place(event)),
      onpointerleave: () => this.hoverSpot(null),
      onclick: (event) => {
        const spot = place(event);
        const kept = this.state.spot && this.middle(m, ...this.state.spot);
        if (String(spot) === String(kept)) this.leaveSpot();
        else this.keepSpot(spot);
      },
      onkeydown: (event) => this.moveSpot(event, m),
    });
    return canvas;
  }

  // -- what the reader does --

  set(change) {
    Object.assign(this.state, change);
    this.schedule();
  }

  moveLayer(m, position) {
    const { layer, together } = this.state;
    layer[m] = position;
    if (together) {
      const depth = position / Math.max(1, this.models[m].layers.length - 1);
      this.models.forEach((other, o) => {
        if (o !== m) layer[o] = Math.round(depth * (other.layers.length - 1));
      });
    }
    this.schedule();
  }

  preview(m, k) {
    this.state.preview[m] = k;
    this.schedule();
  }

  lock(m, k) {
    this.state.head[m] = k;
    this.schedule();
  }

  // The head that the keyboard is on, if any.
  focused(m) {
    const at = this.panels[m].tiles.findIndex(({ button }) => button.matches(":focus-visible"));
    return at < 0 ? null : at;
  }

  // The middle of the patch of model m at a place in the picture.
  middle(m, x, y) {
    const [h, w] = this.models[m].maps[this.state.image].grid;
    const inside = (value, n) => (Math.min(n - 1, Math.max(0, Math.floor(value * n))) + 0.5) / n;
    return [inside(x, w), inside(y, h)];
  }

  hoverSpot(spot) {
    if (String(spot) === String(this.state.hover)) return;
    this.set({ hover: spot });
    clearTimeout(this.dwell);
    if (spot) this.dwell = setTimeout(() => this.fetchPairs(), DWELL);
  }

  keepSpot(spot) {
    this.set({ spot });
    this.fetchPairs();
  }

  leaveSpot() {
    this.set({ spot: null, hover: null });
  }

  moveSpot(event, m) {
    const { spot } = this.state;
    if (event.key === "Escape" && spot) {
      event.preventDefault();
      event.stopPropagation();
      return this.leaveSpot();
    }
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const [h, w] = this.models[m].maps[this.state.image].grid;
    const [x, y] = spot ?? [0.5, 0.5]; // the first key goes to the middle
    this.keepSpot(this.middle(m, ...(spot ? [x + step[0] / w, y + step[1] / h] : [x, y])));
  }

  // The token of model m that is looked from: 0 the class token, i + 1 patch i. The class token as long as there are no
  // queries and keys of the layer on show.
  tokenOf(m) {
    const { hover, spot, image, layer } = this.state;
    const model = this.models[m];
    const [h, w] = model.maps[image].grid;
    const place = hover ?? spot;
    return place && pairsOf(model, image, layer[m]) ? 1 + Math.floor(place[1] * h) * w + Math.floor(place[0] * w) : 0;
  }

  moveFocus(event, m) {
    const { tiles } = this.panels[m];
    const at = tiles.findIndex(({ button }) => button.matches(":focus"));
    const columns = tiles.filter(({ button }) => button.offsetTop === tiles[0].button.offsetTop).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const to = step ? at + step : { Home: 0, End: tiles.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    tiles[to]?.button.focus();
  }

  // -- the reader's own photo --

  // A picture that the kernel ran: entries of image, maps and strips as in the contract. Each comes once, even where
  // the notebook runs the script that brings it again.
  async receive({ number, image, maps, strips }) {
    this.received ??= new Set();
    if (this.received.has(number)) return;
    this.received.add(number);
    const photo = new Image();
    photo.src = image.src;
    await photo.decode();
    this.data.models.forEach((model, m) => {
      model.maps.push(maps[m]);
      model.strip?.images.push(strips[m]);
    });
    this.addImage(image, photo);
  }

  // One more picture at the end, whose maps are there already, and show it.
  addImage(image, photo) {
    const { images } = this.data;
    if (!this.thumbs.length) images.forEach((_, i) => this.drawThumb(this.addThumb(i).canvas, this.photos[i]));
    images.push(image);
    this.photos.push(photo);
    this.truths.push(null);
    const { canvas, input } = this.addThumb(images.length - 1);
    this.drawThumb(canvas, photo);
    input.checked = true;
    this.set({ image: images.length - 1, spot: null, hover: null }); // a new picture begins with the class token
  }

  // Read a picture, run every model on it, show it. A later picture overtakes an earlier one that is still at work;
  // whatever goes wrong is said, and everything else stays as it was.
  async addPhoto(blob, name) {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const { data, models } = this;
    const { photo } = data;
    const say = async (text) => {
      if (turn !== this.turn) throw new Overtaken();
      await this.tell(text);
    };
    const began = performance.now();
    try {
      await say(`Reading ${name} …`);
      const { pixels, view, from } = await readPhoto(blob, name, photo.side, photo.patch);
      const records = [];
      for (const [m, model] of models.entries()) {
        await say("Unpacking the model …");
        model.running ??= await this.unpack(model);
        const depth = model.network.config.depth;
        records[m] = await model.running.run(pixels, (l) => say(`${called(model)}: layer ${l + 1} of ${depth} …`));
      }
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      await say(`${from}, read as ${pixels.width} × ${pixels.height}, in ${seconds} s. It stays in this page.`);
      this.trainings.forEach((trainings, m) => {
        for (const model of trainings) {
          // another training runs when it is looked at
          model.maps.push({ grid: records[m].grid, record: model === models[m] ? records[m] : undefined });
          model.strip?.images.push(null); // computed when it is drawn
        }
      });
      this.addImage({ title: name, width: view.width, height: view.height, truth: null, pixels }, view);
    } catch (error) {
      if (error instanceof Overtaken) return;
      show(this.status, error instanceof PhotoError ? error.message : `${name} could not be shown: ${error.message}`);
    }
  }

  // -- queries and keys: patches can be asked once they are there --

  // Of the picture and layers on show, for models that have none yet: from a run in this page, or from the kernel.
  fetchPairs() {
    if (this.data.patches === "page") return this.runShown();
    if (this.data.patches === "kernel") this.askKernel();
  }

  // Models without queries and keys of the layer on show.
  lacking() {
    const { image, layer } = this.state;
    return this.models.filter((model, m) => !pairsOf(model, image, layer[m]));
  }

  // One question at a time, by `send`, which a notebook's widget sets (live.js); the answer comes back to receivePairs.
  // Without one, the question is put again after a while.
  askKernel() {
    const { image, layer } = this.state;
    const wanted = this.lacking().map((model) => [this.data.models.indexOf(model), layer[this.models.indexOf(model)]]);
    if (!this.send || !wanted.length || this.asking?.refused === String([image, wanted])) return;
    if (this.asking && performance.now() < this.asking.until) return;
    this.asking = { until: performance.now() + PATIENCE, late: Boolean(this.asking?.until) };
    this.send({ image, wanted });
    setTimeout(() => this.schedule(), PATIENCE);
    this.schedule();
  }

  // The kernel's answer: as in the contract, for every model and layer (a position) that were asked for, or why there is
  // none.
  receivePairs({ image, wanted, pairs, error }) {
    this.asking = error ? { error, refused: String([image, wanted]) } : undefined;
    pairs?.forEach((pair, i) => (this.data.models[wanted[i][0]].maps[image].pairs[wanted[i][1]] ??= pair));
    this.schedule(); // and whatever is still lacking is asked for then
  }

  // Run the models on the picture on show, if they have not been.
  async runShown() {
    const { images } = this.data;
    const { image } = this.state;
    const waiting = this.models.filter(({ maps }) => !maps[image].record);
    if (!waiting.length || images[image].refused) return;
    if (images[image].running) return images[image].running;
    return (images[image].running = this.runOn(image, waiting));
  }

  async runOn(image, waiting) {
    const { images } = this.data;
    try {
      const pixels = images[image].pixels ?? this.pixelsOf(image);
      for (const model of waiting) {
        await this.tell("Unpacking the model …");
        model.running ??= await this.unpack(model);
        const { depth } = model.network.config;
        const progress = (l) => this.tell(`${called(model)}: layer ${l + 1} of ${depth} …`);
        model.maps[image].record = await model.running.run(pixels, progress);
      }
      show(this.status, OFFER);
    } catch (error) {
      images[image].refused = true;
      // a connection that broke may come back
      if (error instanceof Unloaded) setTimeout(() => (images[image].refused = false), PATIENCE);
      const lacking = waiting.some(({ maps }) => !maps[image].values);
      const what = lacking ? "This training cannot be shown here" : "The patches of this picture cannot be asked";
      show(this.status, `${what}: ${error.message}`);
    }
    images[image].running = undefined;
    this.schedule();
  }

  // Pixels of a prepared picture, those that Python's model had.
  pixelsOf(image) {
    const photo = this.photos[image];
    const { width, height } = this.data.images[image];
    for (const { maps, network } of this.models) {
      const [h, w] = maps[image].grid;
      if (h * network.config.patch !== height || w * network.config.patch !== width) {
        throw new Error("it was made smaller for this page.");
      }
      if (h * w > MOST_PATCHES) throw new Error(`it has ${h * w} of them, which would take too long.`);
    }
    const canvas = el("canvas", { width, height });
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(photo, 0, 0);
    return pen.getImageData(0, 0, width, height);
  }

  // Say something and let the page draw and answer before going on.
  tell(text) {
    show(this.status, text);
    return new Promise((done) => setTimeout(done));
  }

  unpack(model) {
    return networkOf(this.root, model, this.data.models.indexOf(model));
  }

  async openCamera() {
    if (this.stopCamera) return;
    this.stopCamera = () => {};
    try {
      const stream = await cameraStream();
      const video = el("video", { autoplay: true, playsinline: true, "aria-label": "What the camera sees" });
      video.muted = true;
      video.srcObject = stream;
      this.stopCamera = () => {
        stream.getTracks().forEach((track) => track.stop());
        this.camera.replaceChildren();
        this.camera.hidden = true;
        this.stopCamera = undefined;
      };
      const take = async () => {
        const blob = await frameOf(video);
        this.stopCamera();
        this.addPhoto(blob, "The camera's picture");
      };
      const shutter = el("button", { type: "button", onclick: take, disabled: true }, "Take the picture");
      video.addEventListener("loadeddata", () => {
        shutter.disabled = false;
        shutter.focus();
      });
      this.camera.append(video, shutter, el("button", { type: "button", onclick: () => this.stopCamera() }, "Cancel"));
      this.camera.hidden = false;
    } catch (error) {
      this.stopCamera = undefined;
      show(this.status, error.message);
    }
  }

  // -- drawing --

  schedule() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = undefined;
      this.draw();
    });
  }

  draw() {
    const { data, state, models } = this;
    const masking = state.view === "mask";
    const rule = this.ruleNow();
    this.body.dataset.view = state.view;
    this.detail.hidden = this.ranksTick.hidden = masking;
    this.rules.hidden = !masking || !this.truths[state.image];
    this.share.hidden = !masking || rule !== "mass";
    show(this.shareText, `${Math.round(100 * state.share)} %`);
    show(this.title, data.images[state.image].title);
    if (this.truthTick) this.truthTick.style.visibility = this.truths[state.image] ? "" : "hidden";
    const { image, view, share, smooth, ranks, truth } = state;
    models.forEach((model, m) => {
      const panel = this.panels[m];
      panel.layer.value = state.layer[m];
      show(panel.layerText, String(model.layers[state.layer[m]]));
      const there = Boolean(model.maps[image].record);
      const now = [image, view, rule, share, smooth, ranks, truth, state.training[m], there, state.layer[m], this.tokenOf(m)];
      const drawn = JSON.stringify(now);
      if (panel.drawn !== drawn) this.drawTiles(model, m);
      panel.drawn = drawn;
      if (panel.strip) this.drawStrip(model, m);
      this.drawLarge(model, m);
    });
    if (data.patches) this.drawFrom();
    const { training, layer, head, preview, spot } = state;
    const token = models.map((_, o) => this.tokenOf(o));
    const shown = { image, view, rule, share, smooth, ranks, truth, training, layer, head, preview, spot, token };
    this.root.dataset.shown = JSON.stringify(shown);
    if (this.panels.some(({ tiles }) => tiles[0].map === undefined)) this.runShown();
  }

  // How masks are made: as was chosen, or by their share where nothing is outlined.
  ruleNow() {
    return this.truths[this.state.image] ? this.state.rule : "mass";
  }

  drawFrom() {
    const { image, spot, hover } = this.state;
    const tokens = this.models.map((_, m) => this.tokenOf(m));
    const m = tokens.findIndex(Boolean);
    let text = "Attention of the class token. Point at a patch of a large picture for its own; click to keep it.";
    if (m >= 0) {
      const [, w] = this.models[m].maps[image].grid;
      const patch = tokens[m] - 1;
      text = `Attention of the patch in row ${Math.floor(patch / w) + 1}, column ${(patch % w) + 1}.`;
    }
    const why = this.whyNot(Boolean(spot ?? hover));
    show(this.fromText, why ? `${m >= 0 ? text : "Attention of the class token."} ${why}` : text);
    this.back.style.visibility = spot ? "" : "hidden"; // its room stays, so that nothing moves under the pointer
    if (spot) this.fetchPairs(); // the picture or the layer may be another one now
  }

  // Why a patch is not answered for, where it is not and the page does not say so elsewhere.
  whyNot(asked) {
    const { models } = this;
    const { patches } = this.data;
    const { image } = this.state;
    const lacking = this.lacking();
    if (!lacking.length) return "";
    if (patches === "prepared") {
      return lacking
        .map(({ name, layers, maps }) => {
          const there = layers.filter((_, l) => maps[image].pairs?.[l]);
          const where = there.length ? `in layers ${there.join(", ")} only` : "in none of its layers";
          return `${name && models.length > 1 ? `${name}: patches` : "Patches"} can be asked ${where}, for the size of this page.`;
        })
        .join(" ");
    }
    if (patches === "page") return this.state.spot && !this.data.images[image].refused ? "The network is at work …" : "";
    if (patches !== "kernel" || !asked) return "";
    if (!this.send) return "Patches need a running kernel: run the cell again.";
    if (this.asking?.error) return `The kernel could not answer: ${this.asking.error}`;
    if (!this.asking?.late) return "Asking the kernel …";
    return "The kernel does not answer. It may be at work on another cell; if it is gone, run this cell again.";
  }

  drawTiles(model, m) {
    const { image, view, share, smooth, ranks, layer } = this.state;
    const grid = model.maps[image].grid;
    const panel = this.panels[m];
    const rule = this.ruleNow();
    const counts = this.countsOf(image, grid);
    const masking = view === "mask";
    const scoresOf = (map, mask) => (!map || !counts ? {} : { iou: mask && iou(mask, counts), auroc: auroc(map, counts) });
    panel.tiles.forEach((tile, k) => {
      tile.token = this.tokenOf(m);
      tile.map = headMap(model, image, layer[m], k, tile.token);
      tile.settings = { view, smooth, ranks, colours: this.colours };
      if (masking && tile.map) tile.settings.mask = maskOf(tile.map, rule, share, counts);
      tile.scores = scoresOf(tile.map, tile.settings.mask);
      const [name, value] = masking ? ["IoU", tile.scores.iou] : ["AUROC", tile.scores.auroc];
      const score = Number.isFinite(value) ? value.toFixed(2) : "";
      show(tile.score, score);
      tile.score.title = name;
      tile.button.setAttribute(
        "aria-label", `${headName(model, k)}${tile.map === null ? ", not a number" : ""}${score && `, ${name} ${score}`}`,
      );
      if (tile.canvas) this.paint(tile.canvas, SMALL, tile, grid);
    });
    // What saw nothing, by the same rules, on the same patches.
    panel.control.hidden = !counts;
    if (counts) {
      const blind = centreMap(grid);
      const text = `Centre prior${told(scoresOf(blind, masking && maskOf(blind, rule, share, counts)))}`;
      show(panel.control, masking && rule === "best" ? `${text} · both thresholds are found with the outline` : text);
    }
  }

  // What is outlined, counted by patch, or undefined.
  countsOf(image, grid) {
    const truth = this.truths[image];
    if (truth && !truth.counts.has(String(grid))) truth.counts.set(String(grid), countPatches(truth, ...grid));
    return truth?.counts.get(String(grid));
  }

  drawStrip(model, m) {
    const { strip } = this.panels[m];
    const { image, layer } = this.state;
    const [h, w] = model.maps[image].grid;
    const from = model.strip.images[image] ?? model.maps[image].record;
    if (strip.image !== image || strip.model !== model || strip.from !== from) {
      Object.assign(strip, { image, model, from });
      const unknown = { colours: new Uint8Array(3 * h * w).fill(128) };
      strip.facts = model.layers.map((_, l) => layerFacts(model, image, l) ?? unknown);
      const most = Math.max(...strip.facts.map(({ rate }) => rate || 0)) || 1;
      strip.cells.forEach(({ canvas, bars }, l) => {
        const { colours, zeros, rate } = strip.facts[l];
        Object.assign(canvas, { width: w, height: h });
        const picture = new ImageData(w, h);
        for (let i = 0; i < h * w; i++) picture.data.set([...colours.subarray(3 * i, 3 * i + 3), 255], 4 * i);
        canvas.getContext("2d").putImageData(picture, 0, 0);
        bars[0].style.height = `${100 * (zeros || 0)}%`;
        bars[1].style.height = `${(100 * (rate || 0)) / most}%`;
      });
    }
    strip.cells.forEach(({ cell }, l) => cell.classList.toggle("ch-here", l === layer[m]));
    const { zeros, rate } = strip.facts[layer[m]];
    const or = (value, text) => (Number.isFinite(value) ? text(value) : value === undefined ? "…" : "not a number (NaN)");
    show(strip.zeros, `zeros ${or(zeros, percent)}`);
    show(strip.rate, `rate ${or(rate, (r) => `${r.toFixed(0)} nats`)}`);
  }

  drawLarge(model, m) {
    const { data, state } = this;
    const panel = this.panels[m];
    const shown = state.preview[m] ?? state.head[m];
    panel.tiles.forEach(({ button }, k) => {
      button.setAttribute("aria-pressed", String(k === state.head[m]));
      button.classList.toggle("ch-shown", k === shown);
      button.tabIndex = k === state.head[m] ? 0 : -1;
    });
    const tile = panel.tiles[shown];
    this.paint(panel.large, LARGE, tile, model.maps[state.image].grid);
    const number = model.layers[state.layer[m]];
    panel.large.setAttribute(
      "aria-label",
      `${data.images[state.image].title}: ${model.name ? `${called(model)}, ` : ""}layer ${number}, ${headName(model, shown)}, ${state.view}${state.ranks && state.view !== "mask" ? " by rank" : ""}` +
        (data.patches ? ". Arrow keys go from patch to patch, Escape back to the class token" : ""),
    );
    show(panel.facts, this.factsOf(tile, shown === model.heads ? "Mean" : `Head ${shown}`));
    const answer = this.answerOf(model);
    panel.answer.hidden = !answer;
    show(panel.answer, answer);
    panel.scale.hidden = state.view === "mask";
    panel.scale.style.visibility = tile.map ? "" : "hidden"; // nothing moves under the pointer
    if (tile.map) {
      const [low, high] = panel.scale.querySelectorAll("span");
      show(low, state.ranks ? "lowest" : percent(tile.map.low));
      const from = tile.map.low + (tile.map.high - tile.map.low) * fullFrom(tile.map.t, state.view);
      show(high, state.ranks ? "highest" : `${from < tile.map.high ? "≥ " : ""}${percent(from)}`);
    }
  }

  paint(canvas, side, { map, settings, token }, grid) {
    paintHead(canvas, side, this.photos[this.state.image], map, grid, settings);
    const truth = this.truths[this.state.image];
    if (truth && this.state.truth && map) {
      strokeOutline(canvas, truth.path, truth.height, truth.width, [["rgb(0 0 0 / 0.6)", 1.9], ["#ff9a52", 1]]);
    }
    if (token) {
      const [h, w] = grid;
      const asked = new Path2D();
      asked.rect((token - 1) % w, Math.floor((token - 1) / w), 1, 1);
      strokeOutline(canvas, asked, h, w, [["#000", 2.4], ["#fff", 1.2]]);
    }
  }

  // What the model takes the picture for, where the page ran it.
  answerOf(model) {
    const { record } = model.maps[this.state.image];
    const { classes } = model.network ?? {};
    if (!record || !classes?.length) return "";
    if (!record.chances.every(Number.isFinite)) return "Sees: not a number (NaN)";
    const order = Array.from(record.chances.keys()).sort((a, b) => record.chances[b] - record.chances[a]);
    return `Sees: ${order.slice(0, 3).map((c) => `${classes[c]} ${percent(record.chances[c]).replace(" ", "\u00a0")}`).join(" · ")}`;
  }

  factsOf({ map, settings, scores }, name) {
    if (map === undefined) return `${name} · ${this.data.images[this.state.image].refused ? "not computed" : "the network is at work …"}`;
    if (map === null) return `${name} · not a number (NaN)`;
    if (!settings.mask) {
      const times = map.high * map.x.length;
      const peak = `peak ${times.toFixed(times < 10 ? 1 : 0)} ×`;
      // one line on a phone, with an outline and without: what is below must not move
      return `${name}${Number.isFinite(scores.auroc) ? `${told(scores)} · ${peak}` : ` · ${peak} an even share`}`;
    }
    const area = percent(settings.mask.reduce((a, b) => a + b, 0) / settings.mask.length);
    const rule = {
      mass: `${Math.round(100 * this.state.share)} % of attention on ${area} of the image`,
      area: `as large as the object: ${area} of the image`,
      best: `best threshold: ${area} of the image`,
    }[this.ruleNow()];
    return `${name} · ${rule}${told(scores)}`;
  }
}

// Scores in words; one that is no number says nothing.
function told({ iou: overlap, auroc: ranks }) {
  const [first, second] = [["IoU", overlap], ["AUROC", ranks]].map(([name, v]) => (Number.isFinite(v) ? ` · ${name} ${v.toFixed(2)}` : ""));
  return first + second;
}

function headName(model, k) {
  return k === model.heads ? "mean of the heads" : `head ${k}`;
}

function called({ name, training }) {
  return [name || "The model", training].filter(Boolean).join(", ");
}

function mountHeadViewers(id) {
  mountAll(id, "headViewer", (root, data) => new HeadViewer(root, data));
}

// Every root with this id that has no viewer yet: a notebook may show one output in two places. The viewer is kept at the
// root under a name.
function mountAll(id, name, make) {
  for (const root of document.querySelectorAll(`[id="${id}"]`)) if (!root[name]) mountAt(root, name, make);
}

function mountAt(root, name, make) {
  root.querySelector(".ch-body")?.remove(); // left over where a page was saved with its viewer open
  const fallback = root.querySelector(".ch-fallback");
  const fail = (error) => {
    fallback.hidden = false;
    fallback.append(el("p", { role: "alert" }, `The head viewer could not start: ${error.message}`));
  };
  try {
    const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    if (data.contract !== CONTRACT || data.version !== VERSION) {
      throw new Error(`this script reads ${CONTRACT} ${VERSION}, the data are ${data.contract} ${data.version}`);
    }
    const viewer = make(root, data);
    root[name] = viewer;
    viewer.start().then(() => {
      fallback.hidden = true;
      root.append(viewer.body);
    }, fail);
    return viewer;
  } catch (error) {
    fail(error);
    return undefined;
  }
}
