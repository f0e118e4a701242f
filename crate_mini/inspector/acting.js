// Acting on networks: click an object, mute a head, hold an atom. Its data are those of acting.py; heads.js, patches.js and
// crate.js stand in the same scope.

const SHOWN = 256; // pixels of a panel, at least
const ATOMS = 8; // strongest ones of a patch that are listed
const CLASSES = 4; // likeliest ones that are listed

// ---- the rule of crate_mini.clicks --------------------------------------------------------------------------

// As PyTorch's interpolate(mode="bilinear", align_corners=False).
function bilinear(t, h, w, H, W) {
  const taps = (n, N) =>
    Array.from({ length: N }, (_, i) => {
      const s = Math.max(0, ((i + 0.5) * n) / N - 0.5);
      const low = Math.floor(s);
      return [low, Math.min(n - 1, low + 1), s - low];
    });
  const across = taps(w, W);
  const out = new Float64Array(H * W);
  taps(h, H).forEach(([y0, y1, fy], y) => {
    across.forEach(([x0, x1, fx], x) => {
      const top = t[y0 * w + x0] * (1 - fx) + t[y0 * w + x1] * fx;
      const bottom = t[y1 * w + x0] * (1 - fx) + t[y1 * w + x1] * fx;
      out[y * W + x] = top * (1 - fy) + bottom * fy;
    });
  });
  return out;
}

function joined(answers, join) {
  const out = answers[0].slice();
  for (const answer of answers.slice(1)) {
    for (let i = 0; i < out.length; i++) out[i] = join === "max" ? Math.max(out[i], answer[i]) : out[i] + answer[i];
  }
  return join === "max" ? out : out.map((v) => v / answers.length);
}

// From clicks {answer, positive} to a mask: near enough to the positive ones, and nearer than to the negative ones.
function clickedMask(clicks, { threshold, join }) {
  const [inside, outside] = [true, false].map((sign) => clicks.filter((c) => c.positive === sign).map((c) => c.answer));
  if (!inside.length) return null;
  const near = joined(inside, join);
  const far = outside.length ? joined(outside, join) : null;
  return Uint8Array.from(near, (v, i) => (v >= threshold && (!far || v > far[i]) ? 1 : 0));
}

// What the mask and the truth share, and where they differ; pixels that are not counted are left out.
function compareMasks(mask, truth) {
  const [missed, wrong] = [[], []];
  let both = 0;
  truth.forEach((t, i) => {
    if (t > 1) return;
    if (t === 1 && mask[i]) both++;
    else if (t === 1) missed.push(i);
    else if (mask[i]) wrong.push(i);
  });
  return { iou: both / (both + missed.length + wrong.length), missed, wrong };
}

// ---- what answers a click -----------------------------------------------------------------------------------

// The logarithm of a patch's attention over the highest, of one head or of the mean of all; itself never behind.
function attentionAnswer(record, network, option, patch) {
  const [layer, head] = option.split(", ");
  const { heads } = network.config;
  const n = record.grid[0] * record.grid[1];
  const asked = head === "mean" ? Array.from({ length: heads }, (_, k) => k) : [Number(head)];
  const rows = asked.map((k) => attentionOf(record.layers[Number(layer)], n, heads, k, patch + 1));
  const row = rows[0].map((_, i) => Math.log(rows.reduce((sum, of) => sum + of[i], 0) / rows.length));
  const top = Math.max(...row);
  row[patch] = top;
  return row.map((v) => v - top);
}

// Cosine similarity of the tokens that leave a layer, less their mean where the option says so.
function tokensAnswer(record, network, option, patch) {
  const [layer, centred] = option.split(", ");
  const { dim: d } = network.config;
  const n = record.grid[0] * record.grid[1];
  const tokens = record.layers[Number(layer)].tokens.slice(d);
  if (centred) {
    for (let j = 0; j < d; j++) {
      let mean = 0;
      for (let i = 0; i < n; i++) mean += tokens[i * d + j] / n;
      for (let i = 0; i < n; i++) tokens[i * d + j] -= mean;
    }
  }
  const inner = (a, b) => {
    let sum = 0;
    for (let j = 0; j < d; j++) sum += tokens[a * d + j] * tokens[b * d + j];
    return sum;
  };
  const length = Float64Array.from({ length: n }, (_, i) => Math.sqrt(inner(i, i)));
  const row = length.map((l, i) => inner(i, patch) / (l * length[patch]));
  row[patch] = Math.max(...row);
  return row;
}

// Colour growing: a pixel is as alike as the least alike one on the best way to it.
function growingAnswer(lab, side, pixel) {
  const near = new Float64Array(side * side);
  for (let i = 0; i < near.length; i++) {
    let square = 0;
    for (let c = 0; c < 3; c++) square += ((c ? 2 : 1) * (lab[3 * i + c] - lab[3 * pixel + c]) / 255) ** 2;
    near[i] = -Math.sqrt(square);
  }
  const out = new Float64Array(near.length).fill(near.reduce((a, b) => Math.min(a, b)));
  out[pixel] = near[pixel];
  const waiting = [pixel];
  while (waiting.length) {
    const i = waiting.pop();
    const x = i % side;
    for (const j of [i - side, i + side, x ? i - 1 : -1, x < side - 1 ? i + 1 : -1]) {
      if (j < 0 || j >= out.length) continue;
      const v = Math.min(out[i], near[j]);
      if (v > out[j]) {
        out[j] = v;
        waiting.push(j);
      }
    }
  }
  return out;
}

// Random numbers from a seed, evenly in [0, 1).
function dice(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// ---- the page -----------------------------------------------------------------------------------------------

const ACTS = [["click", "Click an object"], ["head", "Mute a head"], ["atom", "Hold an atom"]];
const ASK = {
  click: "Click inside the animal, then inside what is missed, and outside where too much is taken.",
  head: "Move the weight: 0 mutes the head, 1 leaves it as it is.",
  atom: "Click a patch, choose one of its atoms, and hold it: at 1 as loud as it ever is on these pictures.",
};

class Acting {
  constructor(root, data) {
    const { width, height } = data.pictures[0];
    Object.assign(this, { root, data, size: [width, height], colours: bytesOf(data.colours), turn: 0, games: 0 });
    this.photos = data.pictures.map(({ src }) => Object.assign(new Image(), { src }));
    this.truths = data.pictures.map(({ truth }) => decodeTruth(truth).pixels);
    this.paths = this.truths.map((truth) => outline(truth, data.view, data.view));
    this.labs = data.pictures.map(({ lab }) => bytesOf(lab));
    this.records = data.models.map(() => []);
    this.state = {
      act: "click", picture: 0, kind: "tokens", positive: true, model: 0, layer: 0, head: 0, weight: 1, patch: null,
      unit: null, value: null,
    };
    this.forget();
    this.build();
  }

  async start() {
    await Promise.all(this.photos.map((photo) => photo.decode()));
    this.draw();
  }

  forget() {
    this.clicks = this.names().map(() => []);
    this.after = null;
    this.played = null;
  }

  names() {
    return [...this.data.models.map(({ name }) => name), "colour growing"];
  }

  // ---- what is in the page

  build() {
    const { data, state } = this;
    const set = (key, draw = () => this.draw()) => (value) => {
      state[key] = value;
      draw();
    };
    const thumbs = el(
      "fieldset", { class: "ch-thumbs" }, el("legend", { class: "ch-hidden" }, "picture"),
      ...data.pictures.map(({ src, title }, i) =>
        el(
          "label", { title },
          el("input", { type: "radio", name: `${this.root.id}-picture`, checked: i === 0, "aria-label": title, onchange: () => this.pick(i) }),
          el("img", { src, alt: "", width: 48, height: 48 }),
        ),
      ),
    );
    this.panels = {};
    const panel = (key, name) => {
      const canvas = el("canvas", { role: "img" });
      const note = el("span");
      const title = el("strong", {}, name);
      this.panels[key] = { canvas, note, title, figure: el("figure", {}, canvas, el("figcaption", {}, title, note)) };
      return this.panels[key].figure;
    };
    const input = panel("input", "the picture");
    this.cursor = null;
    Object.entries({ tabindex: 0, role: "application" }).forEach(([k, v]) => this.panels.input.canvas.setAttribute(k, v));
    this.panels.input.canvas.addEventListener("pointerdown", (event) => this.pointed(event));
    this.panels.input.canvas.addEventListener("keydown", (event) => this.keyed(event));
    const button = (label, onclick) => el("button", { type: "button", onclick }, label);
    const slider = (label, key, options, onPick) => {
      const output = el("output");
      const range = el("input", { type: "range", "aria-label": label, ...options, oninput: ({ target }) => onPick(Number(target.value)) });
      this[`${key}Slider`] = { range, output };
      return el("label", { class: "ch-slider" }, el("span", {}, label), output, range);
    };
    const last = data.models.map(({ network }) => network.config.depth - 1);
    const models = (name) => choice(`${this.root.id}-${name}`, "network", data.models.map((m, i) => [i, m.name]), 0, (i) => this.choose(i));
    this.sections = {
      click: [
        el("div", { class: "ch-toolbar" },
          choice(`${this.root.id}-kind`, "what answers in a network", [["tokens", "alike tokens"], ["attention", "attention"]], state.kind, set("kind", () => this.again())),
          choice(`${this.root.id}-sign`, "the next click", [[true, "inside"], [false, "outside"]], true, set("positive", () => {})),
          el("div", { class: "ch-yours" }, button("Let a script click", () => this.script()), button("Start again", () => this.again())),
        ),
      ],
      head: [
        el("div", { class: "ch-toolbar" }, models("head-of"),
          slider("layer", "layer", { min: 0, max: last[0], step: 1, value: 0 }, (v) => this.setHead({ layer: v })),
          slider("head", "head", { min: 0, max: data.models[0].network.config.heads - 1, step: 1, value: 0 }, (v) => this.setHead({ head: v })),
          slider("weight", "weight", { min: 0, max: 3, step: 0.25, value: 1 }, (v) => this.setHead({ weight: v })),
        ),
      ],
      atom: [
        el("div", { class: "ch-toolbar" },
          slider("layer", "atomLayer", { min: 0, max: last[0], step: 1, value: 0 }, (v) => this.setAtom({ layer: v, unit: null, value: null })),
          slider("held at", "value", { min: -1, max: 20, step: 1, value: -1 }, (v) => this.setAtom({ value: v < 0 ? null : v / 10 })),
          button("Let it go", () => this.setAtom({ value: null })),
        ),
      ],
    };
    this.toolbar = el("div", { class: "ca-tools" }, ...Object.values(this.sections).flat());
    this.list = el("div", { class: "ca-atoms", role: "group", "aria-label": "the strongest atoms of this patch" });
    this.bars = el("div", { class: "ca-bars" });
    this.gallery = el("div", { class: "ca-gallery" });
    const others = [panel("one", ""), panel("two", ""), panel("three", "")];
    this.row = el("div", { class: "ca-row" }, input, ...others);
    this.said = el("p", { class: "ca-said", "aria-live": "polite" });
    this.status = el("span", { class: "ch-status", role: "status" });
    this.body = el(
      "div", { class: "ch-body", role: "group", "aria-label": "Act on a network" },
      el("div", { class: "ch-toolbar" }, choice(`${this.root.id}-act`, "what to do", ACTS, state.act, (act) => this.turnTo(act)), thumbs),
      this.toolbar, this.row, this.list, this.bars, this.gallery, this.said, this.status,
    );
    this.body.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
  }

  // ---- what the reader does

  turnTo(act) {
    Object.assign(this.state, { act, layer: act === "click" ? 0 : this.data.models[0].network.config.depth - 2, unit: null, value: null, weight: 1 });
    this.forget();
    this.draw();
    if (act !== "click") this.attempt(() => this.ready());
  }

  pick(picture) {
    Object.assign(this.state, { picture, patch: null, unit: null, value: null });
    this.again();
  }

  choose(model) {
    const { config } = this.data.models[model].network;
    const { state } = this;
    Object.assign(state, { model, head: Math.min(state.head, config.heads - 1), weight: 1 });
    this.headSlider.range.max = config.heads - 1;
    this.after = null;
    this.attempt(() => this.ready());
  }

  again() {
    this.forget();
    this.draw();
    if (this.state.act !== "click") this.attempt(() => this.ready());
  }

  setHead(change) {
    Object.assign(this.state, change);
    const { layer, head, weight } = this.state;
    this.attempt(() => this.actOn({ layer, weights: Array.from({ length: head + 1 }, (_, k) => (k === head ? weight : 1)) }));
  }

  setAtom(change) {
    Object.assign(this.state, change);
    const { layer, unit, value } = this.state;
    if (unit === null || value === null) {
      this.after = null;
      this.attempt(() => this.ready());
    } else this.attempt(() => this.actOn({ layer, unit, value: value * this.loudest() }));
  }

  pointed(event) {
    const box = event.target.getBoundingClientRect();
    const share = (at, from, length) => Math.min(0.9999, Math.max(0, (at - from) / length));
    this.clicked(share(event.clientY, box.top, box.height), share(event.clientX, box.left, box.width));
  }

  // Arrow keys move a cross from patch to patch, Enter clicks there.
  keyed(event) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const [y, x] = (this.cursor ??= [0.53, 0.53]);
    if (step) this.cursor = [y + step[0] / 16, x + step[1] / 16].map((v) => Math.min(0.97, Math.max(0.03, v)));
    else if (event.key === "Enter" || event.key === " ") this.clicked(y, x);
    else return;
    event.preventDefault();
    this.draw();
  }

  clicked(y, x) {
    const { state } = this;
    if (state.act === "head") return;
    if (state.act === "atom") {
      const [h, w] = this.grid();
      Object.assign(state, { patch: Math.floor(y * h) * w + Math.floor(x * w), unit: null, value: null });
      this.after = null;
      this.attempt(() => this.ready());
      return;
    }
    if (this.played) this.forget();
    this.attempt(async () => {
      await this.ready(this.data.models.map((_, m) => m));
      this.names().forEach((_, g) => this.clicks[g].push({ y, x, positive: state.positive, answer: this.answer(g, y, x) }));
    });
  }

  // ---- what is computed

  // One thing after the other; what is overtaken by a later wish is left.
  async attempt(what) {
    const turn = ++this.turn;
    this.pause = async (text) => {
      show(this.status, text);
      await new Promise((done) => setTimeout(done));
      if (turn !== this.turn) throw new Overtaken();
    };
    try {
      await what();
      show(this.status, "");
      this.draw();
    } catch (error) {
      if (!(error instanceof Overtaken)) show(this.status, `This could not be shown: ${error.message}`);
    }
  }

  pixels(picture) {
    const canvas = Object.assign(document.createElement("canvas"), { width: this.size[0], height: this.size[1] });
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(this.photos[picture], 0, 0);
    return pen.getImageData(0, 0, ...this.size);
  }

  async running(m) {
    const model = this.data.models[m];
    await this.pause(`Loading ${model.name} …`);
    return (model.running ??= await networkOf(this.root, model, m));
  }

  // The networks have seen the picture, those that are shown if nothing is said.
  async ready(models = [this.state.act === "atom" ? 0 : this.state.model], picture = this.state.picture) {
    for (const m of models) {
      if (this.records[m][picture]) continue;
      const network = await this.running(m);
      const { name } = this.data.models[m];
      this.records[m][picture] = await network.run(this.pixels(picture), (l) => this.pause(`${name}: layer ${l + 1} …`));
    }
  }

  async actOn(act) {
    await this.ready();
    const m = this.state.act === "atom" ? 0 : this.state.model;
    const network = await this.running(m);
    this.after = await network.run(this.pixels(this.state.picture), (l) => this.pause(`layer ${l + 1} …`), act);
  }

  grid() {
    const { patch } = this.data.models[0].network.config;
    return [this.size[1] / patch, this.size[0] / patch];
  }

  // What guide g answers to a click, at the size at which masks are compared.
  answer(g, y, x) {
    const { data, state } = this;
    const { view } = data;
    if (g === data.models.length) return growingAnswer(this.labs[state.picture], view, Math.floor(y * view) * view + Math.floor(x * view));
    const [h, w] = this.grid();
    const { network, guides } = data.models[g];
    const of = state.kind === "tokens" ? tokensAnswer : attentionAnswer;
    const row = of(this.records[g][state.picture], network, guides[state.kind].option, Math.floor(y * h) * w + Math.floor(x * w));
    return bilinear(row, h, w, view, view);
  }

  rule(g) {
    const { data, state } = this;
    return g === data.models.length ? data.growing : data.models[g].guides[state.kind];
  }

  // Every guide plays alone: a random pixel of the object, then one of the larger of what is missed and wrongly taken.
  script() {
    this.attempt(async () => {
      await this.ready(this.data.models.map((_, m) => m));
      const { view, goal, most } = this.data;
      const truth = this.truths[this.state.picture];
      const seed = 1000 * this.state.picture + this.games++;
      this.forget();
      this.played = [];
      for (const [g, name] of this.names().entries()) {
        await this.pause(`${name} plays …`);
        const random = dice(seed);
        let [wanted, positive, iou] = [[...truth.keys()].filter((i) => truth[i] === 1), true, 0];
        while (this.clicks[g].length < most) {
          const i = wanted[Math.floor(random() * wanted.length)];
          const [y, x] = [(Math.floor(i / view) + 0.5) / view, ((i % view) + 0.5) / view];
          this.clicks[g].push({ y, x, positive, answer: this.answer(g, y, x) });
          const found = compareMasks(clickedMask(this.clicks[g], this.rule(g)), truth);
          iou = found.iou;
          if (iou >= goal || !(found.missed.length + found.wrong.length)) break;
          positive = found.missed.length >= found.wrong.length;
          wanted = positive ? found.missed : found.wrong;
        }
        this.played.push({ reached: iou >= goal, clicks: this.clicks[g].length });
      }
    });
  }

  // How much a unit fires at each patch of a picture.
  firing(picture, layer, unit) {
    const record = this.records[0][picture];
    const { dim: d } = this.data.models[0].network.config;
    const { tokens } = record.layers[layer];
    return Float64Array.from({ length: tokens.length / d - 1 }, (_, i) => tokens[(i + 1) * d + unit]);
  }

  along(picture, layer) {
    const { direction, network } = this.data.models[0];
    const { dim: d } = network.config;
    const { tokens } = this.records[0][picture].layers[layer];
    return Float64Array.from({ length: tokens.length / d - 1 }, (_, i) => direction.reduce((sum, u, j) => sum + u * tokens[(i + 1) * d + j], 0));
  }

  // The most that the unit fires on any of the pictures that the network has seen.
  loudest() {
    const { layer, unit } = this.state;
    return Math.max(...this.records[0].map((_, picture) => Math.max(...this.firing(picture, layer, unit))));
  }

  // ---- what is shown

  draw() {
    const { state } = this;
    for (const [act, nodes] of Object.entries(this.sections)) for (const node of nodes) node.hidden = act !== state.act;
    this.list.hidden = this.gallery.hidden = state.act !== "atom";
    this.bars.hidden = state.act === "click";
    this.drawInput();
    ({ click: () => this.drawClicks(), head: () => this.drawHead(), atom: () => this.drawAtom() })[state.act]();
    this.root.dataset.shown = JSON.stringify(this.facts());
  }

  // For tests, and for nobody else.
  facts() {
    const { act, picture, layer, head, weight, patch, unit, value } = this.state;
    return {
      act, picture, layer, head, weight, patch, unit, value, clicks: this.clicks.map((c) => c.length), ious: this.ious ?? [],
      played: this.played, chances: this.after ? Array.from(this.after.chances) : null,
    };
  }

  plainPicture(canvas) {
    setSize(canvas, 1, 1, SHOWN);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.photos[this.state.picture], 0, 0, canvas.width, canvas.height);
    return pen;
  }

  drawInput() {
    const { data, state } = this;
    const { canvas, note } = this.panels.input;
    const pen = this.plainPicture(canvas);
    strokeOutline(canvas, this.paths[state.picture], data.view, data.view, [["#000a", 1.2], ["#ff9a52", 0.6]]);
    if (state.act === "click" && !this.played) this.drawDots(pen, canvas, this.clicks[0]);
    const [h, w] = this.grid();
    const box = (y, x, colour) => {
      Object.assign(pen, { strokeStyle: colour, lineWidth: 2 });
      pen.strokeRect(Math.floor(x * w) * (canvas.width / w), Math.floor(y * h) * (canvas.height / h), canvas.width / w, canvas.height / h);
    };
    if (state.act === "atom" && state.patch !== null) box((Math.floor(state.patch / w) + 0.5) / h, ((state.patch % w) + 0.5) / w, "#fff");
    if (this.cursor && state.act !== "head") box(...this.cursor, "#ff9a52");
    canvas.setAttribute("aria-label", `${data.pictures[state.picture].title}; arrow keys move, Enter clicks`);
    canvas.style.cursor = state.act === "head" ? "default" : "crosshair";
    show(note, data.pictures[state.picture].title);
    show(this.said, ASK[state.act]);
  }

  drawDots(pen, canvas, clicks) {
    for (const { y, x, positive } of clicks) {
      pen.beginPath();
      pen.arc(x * canvas.width, y * canvas.height, 5, 0, 2 * Math.PI);
      Object.assign(pen, { fillStyle: positive ? "#35c79d" : "#ff5a3c", strokeStyle: "#fff", lineWidth: 1.5 });
      pen.fill();
      pen.stroke();
    }
  }

  drawClicks() {
    const { data, state } = this;
    const { view } = data;
    const photo = this.photos[state.picture];
    this.ious = [];
    ["one", "two", "three"].forEach((key, g) => {
      const { canvas, note, title, figure } = this.panels[key];
      figure.hidden = g >= this.names().length;
      if (figure.hidden) return;
      show(title, this.names()[g]);
      const mask = this.clicks[g].length ? clickedMask(this.clicks[g], this.rule(g)) : null;
      if (!mask) {
        paintGrey(canvas, this.plainPicture(canvas), photo, 0.7);
        show(note, "");
        canvas.setAttribute("aria-label", `${this.names()[g]}: no mask yet`);
        return;
      }
      const scale = setSize(canvas, view, view, SHOWN);
      const pen = canvas.getContext("2d");
      paintMask(canvas, pen, photo, { h: view, w: view }, scale, mask);
      strokeOutline(canvas, this.paths[state.picture], view, view, [["#000a", 1.2], ["#ff9a52", 0.6]]);
      if (this.played) this.drawDots(pen, canvas, this.clicks[g]);
      const { iou } = compareMasks(mask, this.truths[state.picture]);
      this.ious.push(iou);
      const { reached, clicks } = this.played?.[g] ?? { reached: iou >= data.goal, clicks: this.clicks[g].length };
      show(note, `IoU ${iou.toFixed(2)}, ${clicks} ${clicks === 1 ? "click" : "clicks"}${this.played && !reached ? ", given up" : ""}`);
      canvas.setAttribute("aria-label", `${this.names()[g]}: mask with IoU ${iou.toFixed(2)}`);
    });
    if (this.played) {
      const each = this.names().map((name, g) => `${name} ${this.played[g].reached ? this.played[g].clicks : `more than ${data.most}`}`);
      show(this.said, `Clicks to an IoU of ${data.goal}: ${each.join(", ")}. Each guide was shown its own mistakes; the first click was the same.`);
    }
  }

  // What the class token looks at in the last layer, mean of all heads.
  drawMap(key, name, record, network) {
    const { canvas, note, title, figure } = this.panels[key];
    figure.hidden = !record;
    if (!record) return;
    const { heads, depth } = network.config;
    const [h, w] = record.grid;
    const rows = Array.from({ length: heads }, (_, k) => attentionOf(record.layers[depth - 1], h * w, heads, k, 0));
    const map = mapOf(record.grid, rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / heads));
    paintHead(canvas, SHOWN, this.photos[this.state.picture], map, record.grid, { view: "overlay", smooth: true, colours: this.colours });
    strokeOutline(canvas, this.paths[this.state.picture], this.data.view, this.data.view, [["#000a", 1.2], ["#ff9a52", 0.6]]);
    show(title, name);
    show(note, `attention of the class token, layer ${depth - 1}`);
    canvas.setAttribute("aria-label", `${name}: attention of the class token in the last layer`);
  }

  drawBars(before, network) {
    this.bars.replaceChildren();
    if (!before) return;
    const after = (this.after ?? before).chances;
    const order = before.chances.map((_, c) => c);
    const likely = Array.from(order).sort((a, b) => Math.max(before.chances[b], after[b]) - Math.max(before.chances[a], after[a])).slice(0, CLASSES);
    for (const c of likely) {
      this.bars.append(
        el("div", { class: "ca-bar" }, el("span", {}, this.data.models[0].network.classes[c]),
          el("i", {}, el("b", { style: `width: ${100 * before.chances[c]}%` }), el("u", { style: `width: ${100 * after[c]}%` })),
          el("output", {}, this.after ? `${percent(before.chances[c])} → ${percent(after[c])}` : percent(before.chances[c]))),
      );
    }
  }

  changed(before) {
    if (!this.after || !before) return "";
    const moved = before.chances.reduce((sum, p, c) => sum + Math.abs(p - this.after.chances[c]), 0) / 2;
    return `${percent(moved)} of the probability went to other classes.`;
  }

  drawHead() {
    const { data, state } = this;
    const { network, name } = data.models[state.model];
    const before = this.records[state.model][state.picture];
    const { layer, head, weight } = state;
    for (const [key, value] of [["layer", layer], ["head", head], ["weight", weight]]) {
      this[`${key}Slider`].range.value = value;
      show(this[`${key}Slider`].output, key === "weight" ? weight.toFixed(2) : String(value));
    }
    this.drawMap("one", `${name} as it is`, before, network);
    this.drawMap("two", `layer ${layer}, head ${head} × ${weight}`, this.after, network);
    this.panels.three.figure.hidden = true;
    this.drawBars(before, network);
    if (this.after) show(this.said, this.changed(before));
  }

  drawAtom() {
    const { data, state } = this;
    const { network } = data.models[0];
    const before = this.records[0][state.picture];
    const { layer, unit, value, patch } = state;
    this.atomLayerSlider.range.value = layer;
    show(this.atomLayerSlider.output, String(layer));
    this.valueSlider.range.value = value === null ? -1 : 10 * value;
    this.valueSlider.range.disabled = unit === null;
    show(this.valueSlider.output, value === null ? "free" : `× ${value.toFixed(1)}`);
    this.list.replaceChildren();
    this.gallery.replaceChildren();
    this.drawMap("one", "as it is", before, network);
    this.drawMap("two", unit === null ? "" : `atom ${unit} held`, this.after, network);
    this.panels.three.figure.hidden = true;
    this.drawBars(before, network);
    if (!before || patch === null) return;
    const { dim: d } = network.config;
    const here = before.layers[layer].tokens.subarray((patch + 1) * d, (patch + 2) * d);
    const strongest = Array.from(here.keys()).filter((a) => here[a] > 0).sort((a, b) => here[b] - here[a]).slice(0, ATOMS);
    for (const a of strongest) {
      this.list.append(el("button", { type: "button", "aria-pressed": String(a === unit), onclick: () => this.attempt(async () => {
        for (const i of data.pictures.keys()) await this.ready([0], i);
        Object.assign(state, { unit: a, value: null });
        this.after = null;
      }) }, `atom ${a}`, el("span", {}, here[a].toFixed(1))));
    }
    if (unit === null) return;
    const rows = [[`atom ${unit} fires`, (i) => this.firing(i, layer, unit)], ["a random direction", (i) => this.along(i, layer)]];
    for (const [name, of] of rows) {
      const maps = data.pictures.map((_, i) => of(i));
      const [low, high] = [Math.min, Math.max].map((f) => f(...maps.map((map) => f(...map))));
      const row = el("div", { class: "ca-strip" }, el("span", {}, name));
      maps.forEach((x, i) => {
        const canvas = el("canvas", { role: "img", "aria-label": `${name}: ${data.pictures[i].title}` });
        const [h, w] = before.grid;
        const map = { h, w, x, t: x.map((v) => (v - low) / (high - low || 1)) };
        paintHead(canvas, 96, this.photos[i], map, before.grid, { view: "overlay", smooth: true, colours: this.colours });
        row.append(canvas);
      });
      this.gallery.append(row);
    }
    show(this.said, this.after ? this.changed(before) : "Where it fires on all pictures, and a random direction beside it. Now hold it.");
  }
}

function mountActing(id) {
  mountAll(id, "acting", (root, data) => new Acting(root, data));
}
