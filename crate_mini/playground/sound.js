// A word in noise: its picture, where it is the louder part, a map over it, and what is heard through that map.
// data: {rate, hop, window, points, bands, frames, range, lowest, patches: a side; snrs, word, label, speech, and noises:
// {name: samples}, as base64 of eight-bit mu-law; maps: {noise: {name: for every snr the values of all patches}}}.
// Everything is computed here but the maps, which are a network's.

function play(kit, data) {
  const { hop: HOP, window: WINDOW, points: POINTS, bands: BANDS, frames: FRAMES, patches: SIDE } = data;
  const BINS = POINTS / 2 + 1;
  const LENGTH = HOP * (FRAMES - 1);

  const decode = (text) => Float64Array.from(atob(text), (c) => {
    const code = (c.charCodeAt(0) - 128) / 127;
    return (Math.sign(code) * (256 ** Math.abs(code) - 1)) / 255;
  });
  const power = (x) => x.reduce((sum, v) => sum + v * v, 0);

  // ---- Fourier transforms of a power of two, in place
  const fft = (re, im) => {
    for (let i = 1, j = 0; i < POINTS; i++) {
      let bit = POINTS >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
    }
    for (let size = 2; size <= POINTS; size *= 2) {
      const angle = (-2 * Math.PI) / size;
      for (let k = 0; k < size / 2; k++) {
        const [c, s] = [Math.cos(angle * k), Math.sin(angle * k)];
        for (let a = k; a < POINTS; a += size) {
          const b = a + size / 2;
          const [x, y] = [re[b] * c - im[b] * s, re[b] * s + im[b] * c];
          [re[b], im[b], re[a], im[a]] = [re[a] - x, im[a] - y, re[a] + x, im[a] + y];
        }
      }
    }
  };
  const hann = Float64Array.from({ length: POINTS }, (_, i) => {
    const at = i - (POINTS - WINDOW) / 2;
    return at >= 0 && at < WINDOW ? 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / WINDOW) : 0;
  });

  // frames of [real, imaginary], centred on every hop
  const spectrogram = (x) =>
    Array.from({ length: FRAMES }, (_, t) => {
      const [re, im] = [new Float64Array(POINTS), new Float64Array(POINTS)];
      for (let i = 0; i < POINTS; i++) re[i] = hann[i] * (x[t * HOP + i - POINTS / 2] ?? 0);
      fft(re, im);
      return [re, im];
    });

  // ---- bands: triangles that are equally wide in mel, the highest first
  const mel = (f) => 2595 * Math.log10(1 + f / 700);
  const [low, high] = [mel(data.lowest), mel(data.rate / 2)];
  const edges = Array.from({ length: BANDS + 2 }, (_, i) => 700 * (10 ** ((low + ((high - low) * i) / (BANDS + 1)) / 2595) - 1));
  const bank = Array.from({ length: BANDS }, (_, b) => {
    const [from, top, to] = edges.slice(BANDS - 1 - b, BANDS + 2 - b);
    const row = Array.from({ length: BINS }, (_, k) => {
      const f = (k * data.rate) / POINTS;
      return Math.max(0, Math.min((f - from) / (top - from), (to - f) / (to - top)));
    });
    const sum = row.reduce((a, b) => a + b, 0);
    return row.map((v, k) => [k, v / sum]).filter(([, v]) => v > 0);
  });
  const cells = (frames) =>
    bank.map((row) => frames.map(([re, im]) => row.reduce((sum, [k, w]) => sum + w * (re[k] ** 2 + im[k] ** 2), 0)));
  const picture = (cell) => {
    const loudest = Math.max(...cell.map((row) => Math.max(...row)));
    return cell.map((row) => row.map((v) => Math.max(0, 1 + (10 / data.range) * Math.log10(Math.max(v / loudest, 1e-30)))));
  };

  // what is heard of frames through gains of cells
  const through = (frames, gains) => {
    const total = new Float64Array(BINS);
    for (const row of bank) for (const [k, w] of row) total[k] += w;
    const [out, norm] = [new Float64Array(LENGTH), new Float64Array(LENGTH)];
    frames.forEach(([re, im], t) => {
      const gain = new Float64Array(BINS);
      bank.forEach((row, b) => row.forEach(([k, w]) => { gain[k] += (w / total[k]) * gains[b][t]; }));
      // the inverse transform is the transform of the conjugate
      const [x, y] = [new Float64Array(POINTS), new Float64Array(POINTS)];
      for (let k = 0; k < POINTS; k++) {
        const g = gain[k < BINS ? k : POINTS - k];
        [x[k], y[k]] = [re[k] * g, -im[k] * g];
      }
      fft(x, y);
      for (let i = 0; i < POINTS; i++) {
        const at = t * HOP + i - POINTS / 2;
        if (at < 0 || at >= LENGTH) continue;
        out[at] += (hann[i] * x[i]) / POINTS;
        norm[at] += hann[i] ** 2;
      }
    });
    return out.map((v, i) => v / Math.max(norm[i], 1e-9));
  };

  const speech = decode(data.speech);
  const said = { frames: spectrogram(speech) };
  said.cells = cells(said.frames);
  const noises = Object.fromEntries(Object.entries(data.noises).map(([name, text]) => {
    const samples = decode(text);
    return [name, { samples, frames: spectrogram(samples) }];
  }));
  // power of the word over its own length, as loud as the noise over the clip
  const spoken = speech.filter((v) => v !== 0).length;
  const perSample = power(speech) / spoken;

  const byPatch = (rows) => {
    const size = BANDS / SIDE;
    return Array.from({ length: SIDE * SIDE }, (_, p) => {
      let sum = 0;
      for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) sum += rows[Math.floor(p / SIDE) * size + i][(p % SIDE) * size + j];
      return sum;
    });
  };
  const toCells = (values) => Array.from({ length: BANDS }, (_, i) => Array.from({ length: FRAMES }, (_, j) =>
    values[Math.floor((i * SIDE) / BANDS) * SIDE + Math.floor((j * SIDE) / FRAMES)]));

  // ---- controls
  const noise = kit.choice({ label: "hidden in", options: Object.keys(data.noises).map((name) => [name, name === "white" ? "white noise" : name]) });
  const snr = kit.slider({ label: "word over noise (dB)", min: data.snrs[0], max: data.snrs[data.snrs.length - 1], step: data.snrs[1] - data.snrs[0], value: data.start });
  const names = [...Object.keys(data.maps[Object.keys(data.maps)[0]]), "loudness", "the truth"];
  const source = kit.choice({ label: "listen through", options: names.map((name) => [name, name]) });
  const share = kit.slider({ label: "patches kept (%)", min: 5, max: 100, step: 5, value: 20 });

  const shape = { x: [0, FRAMES], y: [0, BANDS], height: 210, bare: true };
  const seen = kit.plot({ ...shape, title: "what the network sees", alt: "The picture of the clip: frequency upwards, time to the right" });
  const truth = kit.plot({ ...shape, title: "where the word is louder", alt: "The ideal binary mask" });
  const shown = kit.plot({ ...shape, title: "the map", alt: "The map that is listened through, one value a patch; the patches that are kept are framed" });
  for (const plot of [seen, truth, shown]) plot.figure.style.flex = "1 1 200px";
  const ranks = kit.readout({ label: "AUROC" });
  const gains = kit.readout({ label: "through the map the word gains" });
  const clip = kit.audio({ label: "The clip" });
  const heard = kit.audio({ label: "Through the map" });
  const note = kit.note();

  const decibels = (a, b) => 10 * Math.log10(Math.max(a, 1e-12) / Math.max(b, 1e-12));

  kit.draw(() => {
    const { samples, frames } = noises[noise.value];
    const at = data.snrs.reduce((best, v, i) => (Math.abs(v - snr.value) < Math.abs(data.snrs[best] - snr.value) ? i : best), 0);
    const level = Math.sqrt((perSample * LENGTH) / power(samples)) * 10 ** (-data.snrs[at] / 20);
    const loud = frames.map(([re, im]) => [re.map((v) => v * level), im.map((v) => v * level)]);
    const sum = said.frames.map(([re, im], t) => [re.map((v, k) => v + loud[t][0][k]), im.map((v, k) => v + loud[t][1][k])]);
    const grey = picture(cells(sum));
    const over = cells(loud);
    const loudest = Math.max(...said.cells.map((row) => Math.max(...row)));
    const mask = said.cells.map((row, i) => row.map((v, j) => (v > over[i][j] && v > loudest * 10 ** (-data.range / 10) ? 1 : 0)));

    const inside = byPatch(mask);
    const size = (BANDS / SIDE) ** 2;
    const values = source.value === "the truth" ? inside : source.value === "loudness" ? byPatch(grey) : data.maps[noise.value][source.value][at];
    const order = values.map((_, p) => p).sort((a, b) => values[b] - values[a] || a - b);
    const kept = values.map(() => 0);
    for (const p of order.slice(0, Math.max(1, Math.round((share.value / 100) * values.length)))) kept[p] = 1;
    const open = toCells(kept);

    seen.heat(grey, { low: 0, high: 1 });
    truth.heat(mask, { low: 0, high: 1 });
    shown.heat(toCells(values));
    const step = FRAMES / SIDE;
    kept.forEach((yes, p) => {
      if (!yes) return;
      const [x, y] = [(p % SIDE) * step, BANDS - (Math.floor(p / SIDE) + 1) * step];
      shown.polygon([[x, y], [x + step, y], [x + step, y + step], [x, y + step]], { color: "#fff", fillOpacity: 0, width: 1.5 });
    });

    const [word, rest] = [through(said.frames, open), through(loud, open)];
    const mix = speech.map((v, i) => v + level * samples[i]);
    const auroc = kit.auroc(values, inside, inside.map((v) => size - v));
    ranks.set(auroc.toFixed(2));
    const [then, now] = [decibels(power(speech), level ** 2 * power(samples)), decibels(power(word), power(rest))];
    gains.set(`${now < then ? "−" : "+"}${Math.abs(now - then).toFixed(1)} dB`);
    clip.set(mix, data.rate);
    heard.set(word.map((v, i) => v + rest[i]), data.rate);
    note.set(
      source.value === "the truth"
        ? "This map knows the answer: the share of every patch in which the word is louder. No map on this grid can rank better."
        : source.value === "loudness"
          ? `The loudest patches, without any network: ${auroc.toFixed(2)}. Turn the noise up, and see whether the network's maps hold out longer.`
          : `A map of ${auroc.toFixed(2)}; 0.5 is chance. Play both sounds, then take loudness in its place.`,
    );
  });
}
