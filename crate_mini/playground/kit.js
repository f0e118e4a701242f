// The kit of the playgrounds. Plain functions: Python wraps them, and a playground's own file, in one scope.
// A playground defines function play(kit, data); what the kit offers is listed at the end, in makeKit.

"use strict";

const SVG = "http://www.w3.org/2000/svg";

// ---- numbers ---------------------------------------------------------------------------------------------

// About three significant digits, without trailing zeros.
function shortNumber(v) {
  if (!Number.isFinite(v)) return v > 0 ? "∞" : v < 0 ? "−∞" : "not a number";
  const size = Math.abs(v);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? v.toExponential(1) : String(Number(v.toPrecision(3)));
  return text.replace("-", "−");
}

const linalg = {
  identity: (n) => Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => (i === j ? 1 : 0))),
  transpose: (A) => A[0].map((_, j) => A.map((row) => row[j])),
  matmul(A, B) {
    const columns = linalg.transpose(B);
    return A.map((row) => columns.map((column) => linalg.dot(row, column)));
  },
  dot: (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0),
  norm: (a) => Math.hypot(...a),
  add: (A, B, scaleB = 1) => A.map((row, i) => row.map((v, j) => v + scaleB * B[i][j])),
  scale: (A, s) => A.map((row) => row.map((v) => v * s)),
  gram: (Z) => linalg.matmul(linalg.transpose(Z), Z),

  // Cholesky factor of a symmetric positive definite matrix.
  cholesky(S) {
    const L = S.map((row) => row.map(() => 0));
    for (let i = 0; i < S.length; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = S[i][j];
        for (let k = 0; k < j; k++) sum -= L[i][k] * L[j][k];
        if (i === j && !(sum > 0)) throw new Error("the matrix is not positive definite");
        L[i][j] = i === j ? Math.sqrt(sum) : sum / L[j][j];
      }
    }
    return L;
  },
  logdet: (S) => 2 * linalg.cholesky(S).reduce((sum, row, i) => sum + Math.log(row[i]), 0),

  // Inverse by Gauss-Jordan elimination with pivoting.
  inverse(S) {
    const n = S.length;
    const A = S.map((row, i) => [...row, ...linalg.identity(n)[i]]);
    for (let c = 0; c < n; c++) {
      let pivot = c;
      for (let r = c + 1; r < n; r++) if (Math.abs(A[r][c]) > Math.abs(A[pivot][c])) pivot = r;
      if (A[pivot][c] === 0) throw new Error("the matrix is singular");
      [A[c], A[pivot]] = [A[pivot], A[c]];
      A[c] = A[c].map((v) => v / A[c][c]);
      for (let r = 0; r < n; r++) {
        if (r !== c) A[r] = A[r].map((v, j) => v - A[r][c] * A[c][j]);
      }
    }
    return A.map((row) => row.slice(n));
  },

  // Eigenvalues, ascending, and eigenvectors as columns, of a symmetric matrix: cyclic Jacobi rotations.
  eigh(S) {
    const n = S.length;
    const A = S.map((row) => [...row]);
    const V = linalg.identity(n);
    const off = () => A.reduce((sum, row, i) => sum + row.reduce((s, v, j) => s + (i === j ? 0 : v * v), 0), 0);
    const total = A.flat().reduce((s, v) => s + v * v, 0);
    for (let sweep = 0; sweep < 60 && off() > 1e-28 * total; sweep++) {
      for (let p = 0; p < n; p++) {
        for (let q = p + 1; q < n; q++) {
          if (A[p][q] === 0) continue;
          const theta = (A[q][q] - A[p][p]) / (2 * A[p][q]);
          const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
          const c = 1 / Math.hypot(t, 1);
          const s = t * c;
          for (let k = 0; k < n; k++) [A[k][p], A[k][q]] = [c * A[k][p] - s * A[k][q], s * A[k][p] + c * A[k][q]];
          for (let k = 0; k < n; k++) [A[p][k], A[q][k]] = [c * A[p][k] - s * A[q][k], s * A[p][k] + c * A[q][k]];
          for (let k = 0; k < n; k++) [V[k][p], V[k][q]] = [c * V[k][p] - s * V[k][q], s * V[k][p] + c * V[k][q]];
        }
      }
    }
    const order = A.map((_, i) => i).sort((i, j) => A[i][i] - A[j][j]);
    return { values: order.map((i) => A[i][i]), vectors: V.map((row) => order.map((i) => row[i])) };
  },
  softmaxRows: (A) =>
    A.map((row) => {
      const top = Math.max(...row);
      const weights = row.map((v) => Math.exp(v - top));
      const sum = weights.reduce((a, b) => a + b, 0);
      return weights.map((v) => v / sum);
    }),
};

// The same seed gives the same numbers (mulberry32; normal by Box and Muller).
function random(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return { uniform, normal, normals: (n) => Array.from({ length: n }, normal) };
}

// Chance that an object pixel scores higher than a background pixel, ties half: patches with so many pixels of each.
function auroc(scores, objects, background) {
  const order = scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a]);
  let [tp, fp, area] = [0, 0, 0];
  for (let i = 0; i < order.length; ) {
    let [rise, run] = [0, 0];
    const value = scores[order[i]];
    for (; i < order.length && scores[order[i]] === value; i++) {
      rise += objects[order[i]];
      run += background[order[i]];
    }
    area += (tp + rise / 2) * run;
    tp += rise;
    fp += run;
  }
  return area / (tp * fp);
}

// ---- colours ---------------------------------------------------------------------------------------------

const COLOUR_STOPS = {
  viridis: ["440154", "482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"],
  diverging: ["2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7", "fddbc7", "f4a582", "d6604d", "b2182b"],
};

function colourAt(name, t) {
  const stops = COLOUR_STOPS[name];
  const at = Math.min(1, Math.max(0, t)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at));
  const channel = (stop, c) => parseInt(stop.slice(2 * c, 2 * c + 2), 16);
  return [0, 1, 2].map((c) => Math.round(channel(stops[i], c) + (at - i) * (channel(stops[i + 1], c) - channel(stops[i], c))));
}

// ---- plots -----------------------------------------------------------------------------------------------

function svgElement(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(key, value);
  }
  if (text !== undefined) element.textContent = text;
  return element;
}

function linearTicks(lo, hi, count) {
  const raw = (hi - lo) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + 1e-9 * step; i++) ticks.push(i * step);
  return ticks;
}

function logTicks(lo, hi, count) {
  const [first, last] = [Math.ceil(Math.log10(lo) - 1e-9), Math.floor(Math.log10(hi) + 1e-9)];
  const stride = Math.max(1, Math.ceil((last - first) / count));
  const ticks = [];
  for (let e = first; e <= last; e += stride) ticks.push(10 ** e);
  if (ticks.length >= 2) return ticks;
  return [1, 2, 5].flatMap((m) => [m * 10 ** (first - 1), m * 10 ** first]).filter((v) => v >= lo && v <= hi).sort((a, b) => a - b);
}

let plotCount = 0;

class Plot {
  constructor(kit, options) {
    this.kit = kit;
    this.options = { height: 260, ...options };
    this.x = options.x ?? [0, 1];
    this.y = options.y ?? [0, 1];
    this.handles = [];
    this.svg = svgElement("svg", { role: "img", "aria-label": options.alt ?? options.title ?? "plot" });
    this.clip = `cp-clip-${kit.id}-${plotCount++}`;
    // four layers that stay; what is in them is drawn anew, except the handles, which would lose the focus
    [this.axes, this.marks, this.top, this.grips] = [{}, { "clip-path": `url(#${this.clip})` }, {}, {}].map((a) => svgElement("g", a));
    this.svg.append(this.axes, this.marks, this.top, this.grips);
    this.figure = document.createElement("figure");
    this.figure.append(this.svg);
  }

  range({ x, y }) {
    if (x) this.x = x;
    if (y) this.y = y;
    this.layOut();
  }

  // Measure, set the scales, and draw the axes on an empty sheet.
  clear() {
    this.width = Math.max(160, this.figure.clientWidth || 400);
    this.height = this.options.height;
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.svg.style.height = `${this.height}px`;
    this.legend = [];
    this.layOut();
  }

  layOut() {
    const { title, xlabel, ylabel, equal, bare, xlog, ylog, yticks = true } = this.options;
    const m = bare
      ? { left: 2, right: 2, top: title ? 22 : 2, bottom: 2 }
      : { left: ylabel ? 58 : 42, right: 12, top: title ? 26 : 10, bottom: xlabel ? 40 : 24 };
    const [w, h] = [this.width - m.left - m.right, this.height - m.top - m.bottom];
    let [x, y] = [this.x, this.y];
    if (equal) {
      // one unit is as long across as up: widen the range that has room
      const unit = Math.max((x[1] - x[0]) / w, (y[1] - y[0]) / h);
      const widen = ([lo, hi], pixels) => [(lo + hi - unit * pixels) / 2, (lo + hi + unit * pixels) / 2];
      [x, y] = [widen(x, w), widen(y, h)];
    }
    const scale = ([lo, hi], from, length, log) => {
      const f = log ? Math.log10 : (v) => v;
      return (v) => from + (length * (f(v) - f(lo))) / (f(hi) - f(lo));
    };
    this.sx = scale(x, m.left, w, xlog);
    this.sy = scale(y, m.top + h, -h, ylog);
    this.unscale = (px, py) => {
      const back = ([lo, hi], t, log) => (log ? lo * (hi / lo) ** t : lo + (hi - lo) * t);
      return [back(x, (px - m.left) / w, xlog), back(y, (m.top + h - py) / h, ylog)];
    };
    this.shown = { x, y };
    this.box = { left: m.left, top: m.top, w, h };

    const { axes } = this;
    for (const layer of [axes, this.marks, this.top]) layer.replaceChildren();
    const clip = svgElement("clipPath", { id: this.clip });
    clip.append(svgElement("rect", { x: m.left, y: m.top, width: w, height: h }));
    axes.append(clip);
    if (!bare) {
      const line = (x1, y1, x2, y2) => axes.append(svgElement("line", { x1, y1, x2, y2, stroke: "var(--line)" }));
      const tickX = xlog ? logTicks(...x, w / 60) : linearTicks(...x, w / 60);
      const tickY = !yticks ? [] : ylog ? logTicks(...y, h / 36) : linearTicks(...y, h / 36);
      for (const v of tickX) {
        line(this.sx(v), m.top, this.sx(v), m.top + h);
        axes.append(svgElement("text", { x: this.sx(v), y: m.top + h + 17, "text-anchor": "middle" }, shortNumber(v)));
      }
      for (const v of tickY) {
        line(m.left, this.sy(v), m.left + w, this.sy(v));
        axes.append(svgElement("text", { x: m.left - 6, y: this.sy(v) + 4, "text-anchor": "end" }, shortNumber(v)));
      }
      if (xlabel) axes.append(svgElement("text", { x: m.left + w / 2, y: this.height - 6, "text-anchor": "middle" }, xlabel));
      if (ylabel) {
        const [px, py] = [12, m.top + h / 2];
        axes.append(svgElement("text", { x: px, y: py, "text-anchor": "middle", transform: `rotate(-90 ${px} ${py})` }, ylabel));
      }
    }
    if (title) {
      const text = svgElement("text", { x: m.left, y: 14, class: "cp-heading" }, title);
      axes.append(text);
      const room = w + m.right;
      // on a phone a long one is set narrower, and not cut off
      if (text.getComputedTextLength() > room) for (const [name, v] of [["textLength", room], ["lengthAdjust", "spacingAndGlyphs"]]) text.setAttribute(name, v);
    }
  }

  finish() {
    this.legend.forEach(({ label, color, dash }, i) => {
      const [px, py] = [this.box.left + this.box.w - 8, this.box.top + 14 + 16 * i];
      const text = svgElement("text", { x: px - 24, y: py, "text-anchor": "end", style: "paint-order: stroke; stroke: var(--paper); stroke-width: 3px" }, label);
      this.top.append(text, svgElement("line", { x1: px - 18, x2: px, y1: py - 4, y2: py - 4, stroke: color, "stroke-width": 2.5, "stroke-dasharray": dash }));
    });
    for (const handle of this.handles) handle.draw();
  }

  mark(name, attributes, text) {
    const element = svgElement(name, attributes, text);
    this.marks.append(element);
    return element;
  }

  points(list) {
    return list.filter((p) => p.every(Number.isFinite)).map(([x, y]) => `${this.sx(x).toFixed(2)},${this.sy(y).toFixed(2)}`).join(" ");
  }

  line(list, { color = "var(--blue)", width = 2, dash, label, opacity } = {}) {
    if (label) this.legend.push({ label, color, dash });
    this.mark("polyline", { points: this.points(list), fill: "none", stroke: color, "stroke-width": width, "stroke-dasharray": dash, "stroke-linejoin": "round", opacity });
  }

  dots(list, { color = "var(--blue)", r = 3, opacity = 1, stroke } = {}) {
    list.forEach(([x, y], i) => {
      const fill = Array.isArray(color) ? color[i] : color;
      this.mark("circle", { cx: this.sx(x), cy: this.sy(y), r, fill, opacity, stroke });
    });
  }

  circle([x, y], radius, { color = "var(--blue)", fillOpacity = 0.12, width = 1, dash } = {}) {
    const [rx, ry] = [Math.abs(this.sx(x + radius) - this.sx(x)), Math.abs(this.sy(y + radius) - this.sy(y))];
    this.mark("ellipse", { cx: this.sx(x), cy: this.sy(y), rx, ry, fill: color, "fill-opacity": fillOpacity, stroke: color, "stroke-width": width, "stroke-dasharray": dash });
  }

  polygon(list, { color = "var(--blue)", fillOpacity = 0.15, width = 1.5, dash } = {}) {
    this.mark("polygon", { points: this.points(list), fill: color, "fill-opacity": fillOpacity, stroke: color, "stroke-width": width, "stroke-dasharray": dash });
  }

  arrow([x1, y1], [x2, y2], { color = "var(--ink)", width = 1.75, opacity } = {}) {
    const [a, b, c, d] = [this.sx(x1), this.sy(y1), this.sx(x2), this.sy(y2)];
    const length = Math.hypot(c - a, d - b);
    if (!(length > 0.5)) return;
    const [ux, uy] = [(c - a) / length, (d - b) / length];
    const head = Math.min(7, 0.5 * length);
    const [ex, ey] = [c - head * ux, d - head * uy];
    this.mark("line", { x1: a, y1: b, x2: ex, y2: ey, stroke: color, "stroke-width": width, opacity });
    const corner = (side) => `${ex - side * 0.5 * head * uy},${ey + side * 0.5 * head * ux}`;
    this.mark("polygon", { points: `${c},${d} ${corner(1)} ${corner(-1)}`, fill: color, opacity });
  }

  text([x, y], string, { color = "var(--ink)", anchor = "start", size = 11.5, dx = 0, dy = 0 } = {}) {
    const style = `fill: ${color}; font-size: ${size}px; paint-order: stroke; stroke: var(--paper); stroke-width: 3px`;
    this.top.append(svgElement("text", { x: this.sx(x) + dx, y: this.sy(y) + dy, "text-anchor": anchor, style }, string));
  }

  // Bars from zero (or the lower edge); width in units of x.
  bars(list, { color = "var(--blue)", width = 0.8, opacity = 1 } = {}) {
    const base = Math.max(this.shown.y[0], Math.min(this.shown.y[1], this.options.ylog ? this.shown.y[0] : 0));
    list.forEach(([x, height], i) => {
      const [left, right] = [this.sx(x - width / 2), this.sx(x + width / 2)];
      const [a, b] = [this.sy(base), this.sy(height)];
      const fill = Array.isArray(color) ? color[i] : color;
      this.mark("rect", { x: left, width: Math.max(0.5, right - left), y: Math.min(a, b), height: Math.abs(a - b), fill, opacity });
    });
  }

  hline(y, options = {}) {
    this.line([[this.shown.x[0], y], [this.shown.x[1], y]], { color: "var(--quiet)", width: 1, dash: "4 3", ...options, label: undefined });
    if (options.label) this.text([this.shown.x[0], y], options.label, { color: options.color ?? "var(--quiet)", dx: 4, dy: -4 });
  }

  vline(x, options = {}) {
    this.line([[x, this.shown.y[0]], [x, this.shown.y[1]]], { color: "var(--quiet)", width: 1, dash: "4 3", ...options, label: undefined });
    if (options.label) this.text([x, this.shown.y[1]], options.label, { color: options.color ?? "var(--quiet)", dx: 4, dy: 12 });
  }

  // A matrix as coloured cells over the whole plot, first row on top.
  heat(rows, { low, high, colours = "viridis", opacity = 1 } = {}) {
    const values = rows.flat().filter(Number.isFinite);
    const [lo, hi] = [low ?? Math.min(...values), high ?? Math.max(...values)];
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [rows[0].length, rows.length];
    const pixels = new ImageData(canvas.width, canvas.height);
    rows.flat().forEach((v, i) => {
      const rgb = Number.isFinite(v) ? colourAt(colours, hi > lo ? (v - lo) / (hi - lo) : 0.5) : [160, 160, 160];
      pixels.data.set([...rgb, 255], 4 * i);
    });
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    this.image(canvas.toDataURL(), { opacity, pixelated: true });
  }

  // A picture over the whole plot.
  image(href, { opacity = 1, pixelated = false } = {}) {
    const [x, y] = [this.sx(this.x[0]), this.sy(this.y[1])];
    const [width, height] = [this.sx(this.x[1]) - x, this.sy(this.y[0]) - y];
    this.mark("image", { href, x, y, width, height, opacity, preserveAspectRatio: "none", style: pixelated ? "image-rendering: pixelated" : null });
  }

  position(event) {
    const frame = this.svg.getBoundingClientRect();
    const zoom = this.width / frame.width;
    return this.unscale((event.clientX - frame.left) * zoom, (event.clientY - frame.top) * zoom);
  }

  // What to do when the pointer is over the plot, in the plot's units; leave() when it has gone.
  hover({ move, leave, press }) {
    this.svg.addEventListener("pointermove", (event) => { move?.(...this.position(event)); this.kit.redraw(); });
    this.svg.addEventListener("pointerleave", () => { leave?.(); this.kit.redraw(); });
    this.svg.addEventListener("click", (event) => { press?.(...this.position(event)); this.kit.redraw(); });
  }

  // A point that the reader moves, by pointer or by arrow keys. move(x, y) may return another place.
  handle({ at, label, move, color = "var(--orange)", r = 8 }) {
    this.svg.setAttribute("role", "group"); // an image has no parts that a reader could reach
    const dot = svgElement("circle", { r, fill: color, "fill-opacity": 0.85, stroke: "var(--paper)", "stroke-width": 2, class: "cp-handle", tabindex: 0, role: "slider", "aria-label": label, "aria-valuenow": 0 });
    const handle = {
      at: [...at],
      draw: () => {
        const [x, y] = handle.at;
        dot.setAttribute("cx", this.sx(x));
        dot.setAttribute("cy", this.sy(y));
        dot.setAttribute("aria-valuetext", `${shortNumber(x)}, ${shortNumber(y)}`);
      },
      set: (x, y) => {
        const inside = (v, [lo, hi]) => Math.min(hi, Math.max(lo, v));
        const asked = [inside(x, this.shown.x), inside(y, this.shown.y)];
        handle.at = move?.(...asked) ?? asked;
        this.kit.redraw();
      },
    };
    dot.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      dot.focus({ preventScroll: true });
      const follow = (e) => handle.set(...this.position(e));
      const stop = () => {
        window.removeEventListener("pointermove", follow);
        window.removeEventListener("pointerup", stop);
        window.removeEventListener("pointercancel", stop);
      };
      window.addEventListener("pointermove", follow);
      window.addEventListener("pointerup", stop);
      window.addEventListener("pointercancel", stop);
    });
    dot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const size = event.shiftKey ? 0.1 : 0.02;
      const [[x0, x1], [y0, y1]] = [this.shown.x, this.shown.y];
      handle.set(handle.at[0] + step[0] * size * (x1 - x0), handle.at[1] + step[1] * size * (y1 - y0));
    });
    this.grips.append(dot);
    this.handles.push(handle);
    return handle;
  }
}

// Samples as the address of a WAV file: 44 bytes of header, then 16 bits a sample.
function soundAddress(samples, rate) {
  const bytes = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const words = (at, text) => [...text].forEach((c, i) => bytes.setUint8(at + i, c.charCodeAt(0)));
  words(0, "RIFF");
  words(8, "WAVEfmt ");
  words(36, "data");
  for (const [at, value] of [[4, 36 + 2 * samples.length], [16, 16], [24, rate], [28, 2 * rate], [40, 2 * samples.length]]) bytes.setUint32(at, value, true);
  for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) bytes.setUint16(at, value, true);
  const most = samples.reduce((a, v) => Math.max(a, Math.abs(v)), 1e-9);
  samples.forEach((v, i) => bytes.setInt16(44 + 2 * i, Math.round((30000 * v) / most), true));
  let text = "";
  for (let i = 0; i < bytes.byteLength; i++) text += String.fromCharCode(bytes.getUint8(i));
  return `data:audio/wav;base64,${btoa(text)}`;
}

// ---- the page --------------------------------------------------------------------------------------------

function pageElement(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function makeKit(root) {
  const body = pageElement("div", "cp-body");
  const places = {};
  for (const name of ["plots", "readouts", "notes", "controls"]) {
    places[name] = pageElement("div", `cp-${name}`);
    body.append(places[name]);
  }
  root.append(body);
  const plots = [];
  const draws = [];
  let waiting = false;
  let controls = 0;

  const drawAll = () => {
    waiting = false;
    for (const plot of plots) plot.clear();
    for (const draw of draws) draw();
    for (const plot of plots) plot.finish();
  };
  // many changes before the next frame make one drawing
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(drawAll);
  };
  const showing = (element) => ({ show: (yes) => { element.hidden = !yes; } });

  const kit = {
    id: root.id,
    linalg,
    auroc,
    random,
    shortNumber,
    redraw,
    colours: Object.fromEntries(["blue", "orange", "green", "red", "purple", "ink", "quiet", "line"].map((c) => [c, `var(--${c})`])),

    slider({ label, min, max, step = (max - min) / 100, value, log = false, format = shortNumber }) {
      const [inward, outward] = log ? [Math.log, Math.exp] : [(v) => v, (v) => v];
      const line = pageElement("label", "cp-slider");
      const input = pageElement("input");
      const shown = pageElement("output");
      Object.assign(input, { type: "range", min: inward(min), max: inward(max), step: log ? (Math.log(max) - Math.log(min)) / 200 : step });
      input.setAttribute("aria-label", label);
      input.id = `${root.id}-${controls++}`;
      let current = value;
      const show = () => {
        shown.textContent = format(current);
        input.setAttribute("aria-valuetext", format(current));
      };
      const control = {
        get value() { return current; },
        set(v) {
          current = Math.min(max, Math.max(min, v));
          input.value = inward(current);
          show();
          redraw();
        },
        ...showing(line),
      };
      input.addEventListener("input", () => { current = outward(Number(input.value)); show(); redraw(); });
      input.playSet = control.set; // for tests: set by value, on a logarithmic scale too
      line.append(pageElement("span", "", label), input, shown);
      places.controls.append(line);
      input.value = inward(value);
      show();
      return control;
    },

    choice({ label, options, value }) {
      const set = pageElement("fieldset", "cp-choice");
      set.append(pageElement("legend", "", label));
      let current = value ?? options[0][0];
      let mark;
      if (options.length <= 4) {
        const row = pageElement("div", "cp-options");
        const inputs = options.map(([v, text], i) => {
          const line = pageElement("label");
          const input = pageElement("input");
          Object.assign(input, { type: "radio", name: `${root.id}-choice-${controls}`, value: i });
          input.addEventListener("change", () => { current = v; redraw(); });
          line.append(input, pageElement("span", "", text));
          row.append(line);
          return input;
        });
        mark = () => { inputs[options.findIndex(([v]) => v === current)].checked = true; };
        set.append(row);
      } else {
        const select = pageElement("select");
        select.setAttribute("aria-label", label);
        for (const [, text] of options) select.append(pageElement("option", "", text));
        select.addEventListener("change", () => { current = options[select.selectedIndex][0]; redraw(); });
        mark = () => { select.selectedIndex = options.findIndex(([v]) => v === current); };
        set.append(select);
      }
      controls++;
      mark();
      places.controls.append(set);
      return {
        get value() { return current; },
        set(v) { current = v; mark(); redraw(); },
        ...showing(set),
      };
    },

    check({ label, value = false }) {
      const line = pageElement("label", "cp-tick");
      const input = pageElement("input");
      Object.assign(input, { type: "checkbox", checked: value });
      input.addEventListener("change", redraw);
      line.append(input, pageElement("span", "", label));
      places.controls.append(line);
      return {
        get value() { return input.checked; },
        set(v) { input.checked = v; redraw(); },
        ...showing(line),
      };
    },

    // A text that the reader writes, too; it stands above the plots.
    text({ label, value = "", rows = 8 }) {
      const area = pageElement("textarea", "cp-text");
      Object.assign(area, { value, rows, spellcheck: false });
      area.setAttribute("aria-label", label);
      area.addEventListener("input", redraw);
      body.prepend(area);
      return {
        get value() { return area.value; },
        set(v) {
          area.value = v;
          area.scrollTop = area.scrollHeight;
          redraw();
        },
        ...showing(area),
      };
    },

    button({ label, press }) {
      const button = pageElement("button", "", label);
      button.type = "button";
      button.addEventListener("click", () => { press(); redraw(); });
      places.controls.append(button);
      return { label: (text) => { button.textContent = text; }, ...showing(button) };
    },

    plot(options) {
      const plot = new Plot(kit, options);
      plots.push(plot);
      places.plots.append(plot.figure);
      return plot;
    },

    readout({ label }) {
      const box = pageElement("div", "cp-readout");
      const value = pageElement("output");
      box.append(pageElement("span", "", label), value);
      box.dataset.label = label;
      places.readouts.append(box);
      return {
        set: (text) => { value.textContent = typeof text === "number" ? shortNumber(text) : text; },
        ...showing(box),
      };
    },

    // Something to hear: samples become a sound of 16 bits, as loud as can be, in the page itself.
    audio({ label }) {
      const line = pageElement("div", "cp-audio");
      const player = pageElement("audio");
      Object.assign(player, { controls: true, preload: "metadata" });
      player.setAttribute("aria-label", label);
      line.append(pageElement("span", "", label), player);
      places.controls.append(line);
      let last = "";
      return {
        set(samples, rate) {
          const source = soundAddress(samples, rate);
          if (source === last) return; // so that what plays is not cut off
          last = source;
          player.src = source;
        },
        ...showing(line),
      };
    },

    note() {
      const line = pageElement("p", "cp-note");
      line.setAttribute("aria-live", "polite");
      places.notes.append(line);
      return { set: (text) => { if (line.textContent !== text) line.textContent = text; } };
    },

    draw(fn) { draws.push(fn); },
  };

  return { kit, drawAll, redraw, places };
}

function mountPlayground(id, play) {
  const root = document.getElementById(id);
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const { kit, drawAll, redraw, places } = makeKit(root);
  // JupyterLab takes arrow keys for itself unless the element in focus says that it needs them.
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
  play(kit, data);
  root.querySelector(".cp-fallback").remove();
  for (const place of Object.values(places)) place.hidden = !place.children.length;
  drawAll();
  let width = places.plots.clientWidth;
  new ResizeObserver(() => {
    if (places.plots.clientWidth !== width) {
      width = places.plots.clientWidth;
      redraw();
    }
  }).observe(places.plots);
}
