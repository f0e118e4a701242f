// The head viewer in small: one picture, one slider, a map for each network. Its data are those of heads.js, which stands
// in the same scope with patches.js, crate.js and photo.js; what it has beside them, glance.py says.

class Glance {
  constructor(root, data) {
    Object.assign(this, { root, data, colours: bytesOf(data.colours), layer: data.start.layer[0] });
    this.truth = data.images[0].truth && decodeTruth(data.images[0].truth);
    if (this.truth) this.truth.path = outline(this.truth.pixels, this.truth.height, this.truth.width);
    this.photo = new Image();
    this.photo.src = data.images[0].src;
    this.own = null; // the reader's photo: its title, and a record of every network
    this.build();
  }

  async start() {
    await this.photo.decode();
    this.draw();
  }

  build() {
    const { data } = this;
    const last = data.models[0].layers.length - 1;
    const panel = (name) => {
      const canvas = el("canvas", { role: "img" });
      const note = el("span");
      return { canvas, note, figure: el("figure", {}, canvas, el("figcaption", {}, el("strong", {}, name), note)) };
    };
    this.input = panel("The picture");
    this.panels = data.models.map(({ name }) => panel(name));
    this.number = el("output");
    this.slider = el("input", {
      type: "range", min: 0, max: last, step: 1, value: this.layer, "aria-label": "layer",
      oninput: (event) => {
        this.layer = Number(event.target.value);
        this.draw();
      },
    });
    this.said = el("p", { class: "cg-said", "aria-live": "polite" });
    this.status = el("span", { class: "ch-status", role: "status" }, OFFER);
    const file = acceptPhotos(this.root, (blob, name) => this.addPhoto(blob, name));
    this.back = el("button", { type: "button", onclick: () => this.forget() }, "Back to the drawing");
    this.back.hidden = true;
    const row = el("div", { class: "cg-row" }, this.input.figure, ...this.panels.map(({ figure }) => figure));
    row.style.setProperty("--columns", 1 + data.models.length);
    this.body = el(
      "div",
      { class: "ch-body", role: "group", "aria-label": "A picture, and what a head of each network attends to" },
      row,
      el(
        "label", { class: "ch-slider" }, el("span", {}, "layer"), this.number, this.slider,
        el("span", {}, `${data.models[0].layers[0]}–${data.models[0].layers[last]}`),
      ),
      this.said,
      el(
        "div", { class: "ch-yours" }, file,
        el("button", { type: "button", onclick: () => file.click() }, "Your own photo"), this.back, this.status,
      ),
    );
    this.body.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
  }

  // The map of the head that is shown of model m, from the run in this page or from the bytes that Python prepared.
  mapOf(model, m) {
    if (!this.own) return headMap(model, 0, this.layer, 0, 0);
    const { grid, layers } = this.own.records[m];
    const pair = layers[model.layers[this.layer]];
    const { heads } = model.network.config;
    return mapOf(grid, attentionOf(pair, grid[0] * grid[1], heads, this.data.shown[m][this.layer], 0));
  }

  draw() {
    const { data, layer } = this;
    const photo = this.own?.view ?? this.photo;
    const title = this.own?.title ?? data.images[0].title;
    const truth = this.own ? null : this.truth;
    show(this.number, String(data.models[0].layers[layer]));
    data.models.forEach((model, m) => {
      const { canvas, note } = this.panels[m];
      const map = this.mapOf(model, m);
      const grid = this.own?.records[m].grid ?? model.maps[0].grid;
      paintHead(canvas, LARGE / 2, photo, map, grid, { view: "overlay", smooth: true, ranks: true, colours: this.colours });
      if (truth && map) strokeOutline(canvas, truth.path, truth.height, truth.width, [["#000a", 1.6], ["#ff9a52", 0.8]]);
      canvas.setAttribute("aria-label", `${title}: ${model.name}, layer ${model.layers[layer]}`);
      show(note, `head ${data.shown[m][layer]}`);
    });
    const { canvas } = this.input;
    const first = this.panels[0].canvas;
    Object.assign(canvas, { width: first.width, height: first.height });
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(photo, 0, 0, canvas.width, canvas.height);
    canvas.setAttribute("aria-label", title);
    show(this.input.note, title);
    show(this.said, this.sentence());
    this.back.hidden = !this.own;
    this.root.dataset.shown = JSON.stringify({ layer, own: Boolean(this.own) });
  }

  // What is to be seen, in words: how well the maps fit what is outlined, or what the networks take a photo for.
  sentence() {
    const { data, layer, own } = this;
    if (own) {
      return data.models
        .map(({ name, network: { classes } }, m) => {
          const { chances } = own.records[m];
          const best = chances.indexOf(Math.max(...chances));
          return classes.length ? `${name} takes it for: ${classes[best]} (${percent(chances[best])}).` : "";
        })
        .join(" ");
    }
    if (!data.scores) return "";
    const each = data.models.map(({ name }, m) => [name, data.scores[m][layer]]);
    if (data.middle !== null) each.push(["a map that is only brighter in the middle", data.middle]);
    const scores = each.map(([name, score]) => `${name} ${Math.round(100 * score)} %`).join(", ");
    return `How often a pixel of the ${data.thing} outranks one of the background, where chance is 50 %: ${scores}.`;
  }

  tell(text) {
    show(this.status, text);
    return new Promise((done) => setTimeout(done));
  }

  async addPhoto(blob, name) {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const say = async (text) => {
      if (turn !== this.turn) throw new Overtaken();
      await this.tell(text);
    };
    const { photo, models } = this.data;
    try {
      await say(`Reading ${name} …`);
      const { pixels, view } = await readPhoto(blob, name, photo.side, photo.patch);
      const records = [];
      for (const [m, model] of models.entries()) {
        await say(`Loading ${model.name} …`);
        model.running ??= await networkOf(this.root, model, m);
        const depth = model.network.config.depth;
        records.push(await model.running.run(pixels, (l) => say(`${model.name}: layer ${l + 1} of ${depth} …`)));
      }
      await say("Your photo stays in this page.");
      this.own = { title: name, view, records };
      this.draw();
    } catch (error) {
      if (error instanceof Overtaken) return;
      show(this.status, error instanceof PhotoError ? error.message : `${name} could not be shown: ${error.message}`);
    }
  }

  forget() {
    this.turn = (this.turn ?? 0) + 1;
    this.own = null;
    show(this.status, OFFER);
    this.draw();
  }
}

function mountGlances(id) {
  mountAll(id, "glance", (root, data) => new Glance(root, data));
}
