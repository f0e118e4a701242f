// A model of crate_mini.model, run in the page: CRATE, the ViT, and what lies between (MSSA or MHSA, ISTA or MLP). What
// else there is, network.py refuses by name.
// Weights come as contract.py describes. All arithmetic is in float64, on weights that were rounded to half
// precision once; tokens are rows of flat arrays, weights are (out, in) as PyTorch keeps them. Needs patches.js beside it.

// ---- arithmetic ------------------------------------------------------------------------------------------

// x (n, k) times the transpose of W (m, k), plus bias (m). Two rows and four outputs at a time stay in registers;
// where they do not divide n or m, the last ones are computed twice.
function linear(x, n, k, W, m, bias) {
  const out = new Float64Array(n * m);
  for (let o = 0; o < m; o += 4) {
    const [o1, o2, o3] = [Math.min(o + 1, m - 1), Math.min(o + 2, m - 1), Math.min(o + 3, m - 1)];
    const [w0, w1, w2, w3] = [o * k, o1 * k, o2 * k, o3 * k];
    const [c0, c1, c2, c3] = bias ? [bias[o], bias[o1], bias[o2], bias[o3]] : [0, 0, 0, 0];
    for (let i = 0; i < n; i += 2) {
      const j = Math.min(i + 1, n - 1);
      const [xi, xj] = [i * k, j * k];
      let [a0, a1, a2, a3] = [c0, c1, c2, c3];
      let [b0, b1, b2, b3] = [c0, c1, c2, c3];
      for (let q = 0; q < k; q++) {
        const a = x[xi + q];
        const b = x[xj + q];
        const u0 = W[w0 + q];
        const u1 = W[w1 + q];
        const u2 = W[w2 + q];
        const u3 = W[w3 + q];
        a0 += a * u0; b0 += b * u0;
        a1 += a * u1; b1 += b * u1;
        a2 += a * u2; b2 += b * u2;
        a3 += a * u3; b3 += b * u3;
      }
      const [yi, yj] = [i * m, j * m];
      out[yi + o] = a0; out[yi + o1] = a1; out[yi + o2] = a2; out[yi + o3] = a3;
      out[yj + o] = b0; out[yj + o1] = b1; out[yj + o2] = b2; out[yj + o3] = b3;
    }
  }
  return out;
}

function transpose(x, n, m) {
  const out = new Float64Array(n * m);
  for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) out[j * n + i] = x[i * m + j];
  return out;
}

// Columns `from` to `from + width` of x (n, m), as an array of their own.
function columns(x, n, m, from, width) {
  const out = new Float64Array(n * width);
  for (let i = 0; i < n; i++) out.set(x.subarray(i * m + from, i * m + from + width), i * width);
  return out;
}

function layerNorm(x, n, d, weight, bias) {
  const out = new Float64Array(n * d);
  for (let i = 0; i < n; i++) {
    let mean = 0;
    let square = 0;
    for (let j = i * d; j < (i + 1) * d; j++) mean += x[j] / d;
    for (let j = i * d; j < (i + 1) * d; j++) square += (x[j] - mean) ** 2 / d;
    const scale = 1 / Math.sqrt(square + 1e-5); // PyTorch's epsilon
    for (let j = 0; j < d; j++) out[i * d + j] = (x[i * d + j] - mean) * scale * weight[j] + bias[j];
  }
  return out;
}

function addTo(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
  return x;
}

function shareOfZeros(x) {
  let zeros = 0;
  for (let i = 0; i < x.length; i++) zeros += x[i] === 0;
  return x.every(Number.isFinite) ? zeros / x.length : NaN;
}

// Of a symmetric positive definite matrix (n, n), which is overwritten by its Cholesky factor.
function logDet(S, n) {
  let sum = 0;
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let s = S[i * n + j];
      for (let k = 0; k < j; k++) s -= S[i * n + k] * S[j * n + k];
      S[i * n + j] = i === j ? Math.sqrt(s) : s / S[j * n + j];
    }
    sum += 2 * Math.log(S[j * n + j]);
  }
  return sum;
}

// The error function to 1.5e-7 (Abramowitz & Stegun 7.1.26), for the ViT's GELU.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - poly * Math.exp(-x * x));
}

// Weights as contract.py packs them: zlib over the high bytes of all numbers, then the low bytes of all.
async function unpackHalves(base64) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser is too old to unpack the model; browsers since 2023 can");
  }
  try {
    const packed = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
    const words = new Uint16Array(bytes.length / 2);
    for (let i = 0; i < words.length; i++) words[i] = (bytes[i] << 8) | bytes[words.length + i];
    return halves(words);
  } catch (error) {
    throw new Error(`the weights in this page are damaged, load it again (${error.message})`);
  }
}

class Unloaded extends Error {}

// The m-th network of a viewer. Its weights stand in the page or, in the book, in a file beside it, which is loaded when
// it is first needed and which several pages share.
async function networkOf(root, model, m) {
  const { dataset, textContent } = root.querySelector(`script[data-weights="${m}"]`);
  return new Network(model.network, await unpackHalves(dataset.file ? await weightsFile(dataset.file) : textContent));
}

// As a script, for a page that was opened from disk may load one and may fetch nothing.
function weightsFile(path) {
  const name = path.split("/").pop();
  return new Promise((done, fail) => {
    const known = () => window.crateWeights?.[name];
    if (known()) return done(known());
    const missing = () => fail(new Unloaded(`the model's file ${name} could not be loaded`));
    document.head.append(el("script", { src: path, onload: () => (known() ? done(known()) : missing()), onerror: missing }));
  });
}

// ---- the operators, by the names that they have in a config -----------------------------------------------

// Queries, keys and values. In CRATE all three are the same projection.
const PROJECT = {
  mssa(network, name, x, n) {
    const { dim: d, heads, head_dim: p } = network.config;
    const projected = network.linear(name, x, n, d, heads * p);
    return { queries: projected, keys: projected, values: projected };
  },
  mhsa(network, name, x, n) {
    const { dim: d, heads, head_dim: p } = network.config;
    const m = heads * p;
    const all = network.linear(name, x, n, d, 3 * m);
    const [queries, keys, values] = [0, 1, 2].map((part) => columns(all, n, 3 * m, part * m, m));
    return { queries, keys, values };
  },
};

// Of y, tokens behind the LayerNorm; `tokens` are those before it, for a skip connection.
const FEED = {
  ista(network, name, y, n) {
    const { dim: d, step, lam, proximal } = network.config;
    const threshold = step * lam;
    return linear(y, n, d, network.weights.get(`${name}.step`), d).map((v) => {
      if (proximal === "relu") return Math.max(v - threshold, 0);
      return Math.sign(v) * Math.max(Math.abs(v) - threshold, 0);
    });
  },
  mlp(network, name, y, n, tokens) {
    const { dim: d, mlp_ratio: ratio } = network.config;
    const hidden = network.linear(`${name}.0`, y, n, d, ratio * d);
    for (let i = 0; i < hidden.length; i++) hidden[i] *= 0.5 * (1 + erf(hidden[i] * Math.SQRT1_2));
    return addTo(network.linear(`${name}.2`, hidden, n, ratio * d, d), tokens);
  },
};

// ---- the model -------------------------------------------------------------------------------------------

class Network {
  constructor({ config, tensors }, numbers) {
    this.config = config;
    this.weights = new Map();
    let at = 0;
    for (const [name, shape] of tensors) {
      const size = shape.reduce((a, b) => a * b, 1);
      this.weights.set(name, numbers.subarray(at, at + size));
      at += size;
    }
    if (at !== numbers.length) throw new Error(`the page has ${numbers.length} weights, the model ${at}`);
    if (!(config.attention in PROJECT)) throw new Error(`this page cannot run the attention "${config.attention}"`);
    if (!(config.feed in FEED)) throw new Error(`this page cannot run the feed "${config.feed}"`);
    for (let l = 0; l < config.depth; l++) if (config.feed === "ista") this.foldStep(l);
  }

  // ISTA's gradient step is linear: y + step (y - y D') D = y M. Kept as M', for linear().
  foldStep(layer) {
    const { dim: d, step } = this.config;
    const D = this.weights.get(`blocks.${layer}.feed.D`);
    const gram = linear(transpose(D, d, d), d, d, transpose(D, d, d), d); // D'D, symmetric
    const folded = transpose(D, d, d);
    for (let i = 0; i < d * d; i++) folded[i] = step * (folded[i] - gram[i]);
    for (let i = 0; i < d; i++) folded[i * d + i] += 1;
    this.weights.set(`blocks.${layer}.feed.step`, folded);
  }

  linear(name, x, n, k, m) {
    return linear(x, n, k, this.weights.get(`${name}.weight`), m, this.weights.get(`${name}.bias`));
  }

  norm(name, x, n, d) {
    return layerNorm(x, n, d, this.weights.get(`${name}.weight`), this.weights.get(`${name}.bias`));
  }

  // Pixels, RGBA row by row with sides that are multiples of the patch, to tokens: class token first.
  embed({ width, height, data }) {
    const { patch: P, dim: d, mean, std } = this.config;
    const [h, w] = [height / P, width / P];
    const raw = new Float64Array(h * w * 3 * P * P);
    let i = 0;
    for (let row = 0; row < h; row++) {
      for (let column = 0; column < w; column++) {
        for (let y = row * P; y < (row + 1) * P; y++) {
          for (let x = column * P; x < (column + 1) * P; x++) {
            for (let c = 0; c < 3; c++) raw[i++] = (data[4 * (y * width + x) + c] / 255 - mean[c]) / std[c];
          }
        }
      }
    }
    const n = h * w;
    const pixels = this.norm("embed.0", raw, n, 3 * P * P);
    const patches = this.norm("embed.2", this.linear("embed.1", pixels, n, 3 * P * P, d), n, d);
    const tokens = new Float64Array((n + 1) * d);
    tokens.set(this.weights.get("cls_token"));
    tokens.set(patches, d);
    return addTo(tokens, this.positions(h, w));
  }

  // The position embedding, enlarged or shrunk to another grid as PyTorch's bicubic interpolation does.
  positions(h, w) {
    const { grid: g, dim: d } = this.config;
    const own = this.weights.get("position");
    if (h === g && w === g) return own;
    const out = new Float64Array((h * w + 1) * d);
    out.set(own.subarray(0, d));
    const planes = transpose(own.subarray(d), g * g, d);
    for (let j = 0; j < d; j++) {
      const plane = enlarge(planes.subarray(j * g * g, (j + 1) * g * g), g, g, h, w, true);
      for (let i = 0; i < h * w; i++) out[(i + 1) * d + j] = plane[i];
    }
    return out;
  }

  // Queries, keys and values (n, K p) of one layer.
  project(layer, x, n) {
    return PROJECT[this.config.attention](this, `blocks.${layer}.attention.project`, x, n);
  }

  // `weights` of the heads: how often what each of them adds is counted, once if nothing is said.
  attend(layer, { queries, keys, values }, n, weights = []) {
    const { dim: d, heads, head_dim: p } = this.config;
    const m = heads * p;
    const joined = new Float64Array(n * m);
    for (let k = 0; k < heads; k++) {
      const [q, key, value] = [queries, keys, values].map((x) => columns(x, n, m, k * p, p));
      for (let i = 0; i < q.length; i++) q[i] /= Math.sqrt(p);
      const attention = softmaxRows(linear(q, n, p, key, n), n, n);
      const head = linear(attention, n, n, transpose(value, n, p), p).map((v) => v * (weights[k] ?? 1));
      for (let i = 0; i < n; i++) joined.set(head.subarray(i * p, (i + 1) * p), i * m + k * p);
    }
    if (this.config.tied) {
      return linear(joined, n, m, transpose(this.weights.get(`blocks.${layer}.attention.project.weight`), m, d), d);
    }
    return this.linear(`blocks.${layer}.attention.out`, joined, n, m, d);
  }

  // Tokens that leave the layer, of tokens between the operators.
  feed(layer, tokens, n) {
    const y = this.norm(`blocks.${layer}.norm2`, tokens, n, this.config.dim);
    return FEED[this.config.feed](this, `blocks.${layer}.feed`, y, n, tokens);
  }

  // The whole forward pass. `pause(layer)` is awaited before every layer, so that the page stays alive. Who acts on the
  // network says in which layer: `weights` of its heads, or the `value` at which a `unit` of its tokens is held.
  async run(pixels, pause = () => {}, act = {}) {
    const { dim: d, patch, depth, keep, move } = this.config;
    const grid = [pixels.height / patch, pixels.width / patch];
    const n = grid[0] * grid[1] + 1;
    const layers = [];
    let tokens = this.embed(pixels);
    for (let l = 0; l < depth; l++) {
      await pause(l);
      const projected = this.project(l, this.norm(`blocks.${l}.norm1`, tokens, n, d), n);
      layers.push({ queries: projected.queries, keys: projected.keys });
      const here = act.layer === l ? act : {};
      const moved = this.attend(l, projected, n, here.weights);
      tokens = this.feed(l, tokens.map((t, i) => keep * t + move * moved[i]), n);
      if (here.unit !== undefined) for (let i = here.unit; i < tokens.length; i += d) tokens[i] = here.value;
      layers[l].zeros = shareOfZeros(tokens);
      layers[l].tokens = tokens;
    }
    const logits = this.answer(tokens, n);
    return { grid, layers, logits, chances: softmaxRows(logits.slice(), 1, logits.length) };
  }

  // Logits: of the class token, or of the mean of all others.
  answer(tokens, n) {
    const { dim: d, num_classes: classes, readout } = this.config;
    if (readout === "class") return this.linear("head", this.norm("norm", tokens.subarray(0, d), 1, d), 1, d, classes);
    const patches = this.norm("norm", tokens.subarray(d), n - 1, d);
    const mean = new Float64Array(d);
    for (let i = 0; i < patches.length; i++) mean[i % d] += patches[i] / (n - 1);
    return this.linear("head", mean, 1, d, classes);
  }

  // Coding rate of the projections that attention is computed from, summed over heads, in nats:
  // sum_k 1/2 log det(I + p / (n eps_sq) X_k' X_k).
  rate({ layers, grid }, layer, epsSq) {
    const { heads, head_dim: p } = this.config;
    const n = grid[0] * grid[1] + 1;
    let rate = 0;
    for (let k = 0; k < heads; k++) {
      const x = transpose(columns(layers[layer].keys, n, heads * p, k * p, p), n, p);
      const gram = linear(x, p, n, x, p);
      for (let i = 0; i < p * p; i++) gram[i] *= p / (n * epsSq);
      for (let i = 0; i < p; i++) gram[i * p + i] += 1;
      rate += 0.5 * logDet(gram, p);
    }
    return rate;
  }

  // What one token looks at: its attention on the patches, the class token left out, for one head.
  // Token 0 is the class token, token i + 1 is patch i.
  attention({ layers, grid: [h, w] }, layer, head, token = 0) {
    return attentionOf(layers[layer], h * w, this.config.heads, head, token);
  }
}
