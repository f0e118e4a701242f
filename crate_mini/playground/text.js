// A causal CRATE that writes: what comes next after the text that stands here, and one unit held while it goes on.
// data: {config: {alphabet, length, dim, heads, head_dim, depth, step, lam}, tensors: name and shape of each, weights:
// half-precision numbers as crate_mini.chapters.chapter_16 packs them, start: the first text, held: units worth a try,
// [name, layer, unit, highest value], seed}.

function play(kit, data) {
  const { alphabet, length, dim: d, heads: K, head_dim: p, depth, step, lam } = data.config;
  const letters = [...alphabet];
  const numberOf = new Map(letters.map((c, i) => [c, i]));
  const W = {};
  let ready = false;

  // ---- weights: zlib over the high bytes of all numbers, then the low bytes of all

  const half = (w) => {
    const [sign, exponent, fraction] = [w & 0x8000 ? -1 : 1, (w >> 10) & 31, w & 1023];
    return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
  };
  const unpack = async (base64) => {
    const packed = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const n = bytes.length / 2;
    let at = 0;
    for (const [name, shape] of data.tensors) {
      const size = shape.reduce((a, b) => a * b, 1);
      W[name] = Float64Array.from({ length: size }, (_, i) => half((bytes[at + i] << 8) | bytes[n + at + i]));
      at += size;
    }
    for (let l = 0; l < depth; l++) W[`${l}.move`] = moveMatrix(W[`encoder.blocks.${l}.feed.D`]);
  };
  // (D - D'D)', so that ISTA's step is y + step * (y times it), thresholded
  const moveMatrix = (D) => {
    const M = new Float64Array(d * d);
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        let sum = 0;
        for (let k = 0; k < d; k++) sum += D[k * d + i] * D[k * d + j];
        M[j * d + i] = D[i * d + j] - sum;
      }
    }
    return M;
  };

  // ---- the forward pass, tokens as rows of flat arrays

  const linear = (x, n, weight, bias) => {
    const [k, m] = [x.length / n, weight.length / (x.length / n)];
    const out = new Float64Array(n * m);
    for (let i = 0; i < n; i++) {
      for (let o = 0; o < m; o++) {
        let sum = bias ? bias[o] : 0;
        for (let q = 0; q < k; q++) sum += x[i * k + q] * weight[o * k + q];
        out[i * m + o] = sum;
      }
    }
    return out;
  };
  const norm = (x, n, name) => {
    const out = new Float64Array(n * d);
    for (let i = 0; i < n; i++) {
      const row = x.subarray(i * d, (i + 1) * d);
      const mean = row.reduce((a, b) => a + b, 0) / d;
      const scale = 1 / Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / d + 1e-5);
      for (let j = 0; j < d; j++) out[i * d + j] = (row[j] - mean) * scale * W[`${name}.weight`][j] + W[`${name}.bias`][j];
    }
    return out;
  };
  // each token gathers from itself and from those before it, in every subspace
  const gather = (z, n) => {
    const out = new Float64Array(z.length);
    const m = K * p;
    for (let k = 0; k < K; k++) {
      for (let i = 0; i < n; i++) {
        const scores = [];
        for (let j = 0; j <= i; j++) {
          let s = 0;
          for (let q = k * p; q < (k + 1) * p; q++) s += z[i * m + q] * z[j * m + q];
          scores.push(s / Math.sqrt(p));
        }
        const most = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - most));
        const total = weights.reduce((a, b) => a + b, 0);
        for (let j = 0; j <= i; j++) {
          const a = weights[j] / total;
          for (let q = k * p; q < (k + 1) * p; q++) out[i * m + q] += a * z[j * m + q];
        }
      }
    }
    return out;
  };
  // logits of what follows each character; unit `held.unit` of layer `held.layer` stays at `held.value`
  const forward = (numbers, held) => {
    const n = numbers.length;
    let Z = new Float64Array(n * d);
    numbers.forEach((c, i) => {
      for (let j = 0; j < d; j++) Z[i * d + j] = W["embedding.words.weight"][c * d + j] + W["embedding.position"][i * d + j];
    });
    for (let l = 0; l < depth; l++) {
      const block = `encoder.blocks.${l}`;
      const z = linear(norm(Z, n, `${block}.norm1`), n, W[`${block}.attention.project.weight`]);
      const moved = linear(gather(z, n), n, W[`${block}.attention.out.weight`], W[`${block}.attention.out.bias`]);
      const Y = norm(Z.map((v, i) => v + moved[i]), n, `${block}.norm2`);
      const change = linear(Y, n, W[`${l}.move`]);
      Z = Y.map((v, i) => Math.max(0, v + step * change[i] - step * lam));
      if (held && held.layer === l) for (let i = 0; i < n; i++) Z[i * d + held.unit] = held.value;
    }
    return linear(norm(Z, n, "encoder.norm"), n, W["embedding.words.weight"]);
  };
  const softmax = (logits, temperature) => {
    const most = Math.max(...logits);
    const weights = Array.from(logits, (v) => Math.exp((v - most) / temperature));
    const total = weights.reduce((a, b) => a + b, 0);
    return weights.map((w) => w / total);
  };

  // ---- the page

  const text = kit.text({ label: "text", value: data.start, rows: 9 });
  const next = kit.plot({ x: [-0.6, 7.6], y: [0, 1], height: 150, bare: true, title: "what may come next", alt: "Probabilities of the eight likeliest next characters" });
  const nats = kit.readout({ label: "nats a character" });
  const capitals = kit.readout({ label: "capitals, of the letters" });
  const note = kit.note();
  const which = kit.choice({ label: "hold a unit", options: [[-1, "none"], ...data.held.map(([name], i) => [i, name])] });
  const value = kit.slider({ label: "at, of its highest value", min: 0, max: 1.5, step: 0.05, value: 1 });
  const heat = kit.slider({ label: "temperature", min: 0.2, max: 1.5, step: 0.05, value: 0.8 });
  const draws = kit.random(data.seed);
  const known = () => [...text.value].map((c) => numberOf.get(c)).filter((c) => c !== undefined);
  const heldNow = () => {
    if (which.value < 0) return null;
    const [, layer, unit, most] = data.held[which.value];
    return { layer, unit, value: value.value * most };
  };
  const begun = (numbers) => (numbers.length ? numbers : [numberOf.get("\n") ?? 0]);

  let timer = null;
  let left = 0;
  const stop = () => {
    clearTimeout(timer);
    timer = null;
    go.label("Type on");
  };
  const type = () => {
    const seen = begun(known()).slice(-length);
    const logits = forward(seen, heldNow());
    const P = softmax(logits.subarray(logits.length - letters.length), heat.value);
    let u = draws.uniform();
    let c = 0;
    while (c < P.length - 1 && u >= P[c]) u -= P[c++];
    text.set(text.value + letters[c]);
    left--;
    if (left > 0) timer = setTimeout(type, 15);
    else stop();
  };
  const go = kit.button({
    label: "Type on",
    press: () => {
      if (!ready) return;
      if (timer !== null) return stop();
      left = 300;
      go.label("Stop");
      type();
    },
  });
  kit.button({ label: "Begin again", press: () => { stop(); text.set(data.start); } });

  const named = (c) => ({ "\n": "↵", " ": "␣" })[c] ?? c;
  kit.draw(() => {
    if (!ready) return note.set("The network is being unpacked.");
    const numbers = begun(known());
    const seen = numbers.slice(-length);
    const logits = forward(seen, heldNow());
    const V = letters.length;
    const at = (i) => logits.subarray(i * V, (i + 1) * V);
    const P = softmax(at(seen.length - 1), heat.value);
    const order = P.map((_, i) => i).sort((a, b) => P[b] - P[a]).slice(0, 8);
    next.bars(order.map((c, i) => [i, P[c]]), { color: kit.colours.blue });
    order.forEach((c, i) => next.text([i, P[c]], named(letters[c]), { anchor: "middle", dy: P[c] > 0.85 ? 14 : -5, size: 14, color: kit.colours.ink }));
    let sum = 0;
    for (let i = 1; i < seen.length; i++) sum -= Math.log(softmax(at(i - 1), 1)[seen[i]]);
    nats.set(seen.length > 1 ? (sum / (seen.length - 1)).toFixed(2) : "–");
    const written = [...text.value].slice(-300).filter((c) => /\p{L}/u.test(c));
    capitals.set(written.length ? `${((100 * written.filter((c) => c !== c.toLowerCase()).length) / written.length).toFixed(0)} %` : "–");
    const strange = [...new Set([...text.value].filter((c) => !numberOf.has(c)))];
    note.set(
      strange.length
        ? `It has never seen ${strange.slice(0, 5).join(" ")} and passes over it.`
        : which.value >= 0
          ? `One of ${d} numbers of layer ${data.held[which.value][1] + 1} now stands still, at every character. Let it type, and see what changes.`
          : "Write something of your own, or let it type on. The number says how surprised it is by the last characters.",
    );
  });
  unpack(data.weights).then(() => { ready = true; kit.redraw(); }, () => note.set("This browser cannot unpack the network; browsers since 2023 can."));
}
