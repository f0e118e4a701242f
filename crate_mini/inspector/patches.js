// What any patch attends to, from the queries and keys of one layer, (n + 1, K p) each, the class token first. They come
// from a run of the model in this page (crate.js), with the page, or from the kernel of a notebook.

function softmaxRows(x, n, m) {
  for (let i = 0; i < n; i++) {
    let top = -Infinity;
    let sum = 0;
    for (let j = i * m; j < (i + 1) * m; j++) top = Math.max(top, x[j]); // NaN stays NaN
    for (let j = i * m; j < (i + 1) * m; j++) sum += x[j] = Math.exp(x[j] - top);
    for (let j = i * m; j < (i + 1) * m; j++) x[j] /= sum;
  }
  return x;
}

// Attention of one token on n patches, the class token left out, for one of K heads. Token 0 is the class token, token
// i + 1 is patch i.
function attentionOf({ queries, keys }, n, K, head, token) {
  const m = keys.length / (n + 1);
  const p = m / K;
  const x = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    for (let j = head * p; j < (head + 1) * p; j++) x[i] += queries[token * m + j] * keys[(i + 1) * m + j];
    x[i] /= Math.sqrt(p);
  }
  return softmaxRows(x, 1, n);
}

// Queries and keys of a layer (a position) of an image, or undefined where the page does not have them.
function pairsOf(model, image, layer) {
  const { record, pairs } = model.maps[image];
  if (record) return record.layers[model.layers[layer]];
  const pair = pairs?.[layer];
  if (!pair) return undefined;
  if (!pair.ready) {
    const keys = halves(new Uint16Array(bytesOf(pair.keys).buffer));
    pair.ready = { keys, queries: pair.queries === null ? keys : halves(new Uint16Array(bytesOf(pair.queries).buffer)) };
  }
  return pair.ready;
}

// Half precision: a sign bit, five bits of exponent, ten of fraction.
function halves(words) {
  const out = new Float64Array(words.length);
  const powers = Float64Array.from({ length: 32 }, (_, e) => 2 ** (Math.max(e, 1) - 25));
  for (let i = 0; i < words.length; i++) {
    const exponent = (words[i] >> 10) & 31;
    const fraction = words[i] & 1023;
    const size =
      exponent === 31 ? (fraction ? NaN : Infinity) : (exponent ? 1024 + fraction : fraction) * powers[exponent];
    out[i] = words[i] & 32768 ? -size : size;
  }
  return out;
}
