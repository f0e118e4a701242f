// A stack of attention layers on tokens near K subspaces: signal to noise by layer, against the theorem's law.
// data: {n, K, p, tau, seed}. Bases are orthonormal and orthogonal to each other, so that a token is nothing but its
// coordinates in the K subspaces, and all is computed on these: C[k] holds those of head k, token by token.

function play(kit, data) {
  const { n, K, p, tau } = data;
  const labels = Array.from({ length: n }, (_, i) => Math.floor((i * K) / n));
  const dice = kit.random(data.seed);
  const normals = Array.from({ length: K }, () => Float64Array.from(dice.normals(n * p)));

  const drawTokens = (delta) =>
    normals.map((list, k) => list.map((v, at) => (labels[Math.floor(at / p)] === k ? v : delta * v)));
  const energy = (Ck, i) => {
    let sum = 0;
    for (let at = i * p; at < (i + 1) * p; at++) sum += Ck[at] * Ck[at];
    return sum;
  };
  const lengths = (C) => labels.map((_, i) => Math.sqrt(C.reduce((sum, Ck) => sum + energy(Ck, i), 0)));

  // mean over the classes of the length within the own subspace over the length outside
  const ratio = (C) => {
    const [inside, outside] = [new Array(K).fill(0), new Array(K).fill(0)];
    labels.forEach((own, i) => C.forEach((Ck, k) => { (k === own ? inside : outside)[own] += energy(Ck, i); }));
    return inside.reduce((sum, v, k) => sum + Math.sqrt(v / outside[k]), 0) / K;
  };

  // one row of attention at a time: where token i looks in one head, and what it gathers there
  const look = (Ck, i, kind, weights) => {
    const hard = kind === "hard";
    const beta = hard ? 1 : 1 / Math.sqrt(p);
    let top = -Infinity;
    for (let j = 0; j < n; j++) {
      let score = 0;
      for (let c = 0; c < p; c++) score += Ck[i * p + c] * Ck[j * p + c];
      weights[j] = beta * score;
      top = Math.max(top, weights[j]);
    }
    let sum = 0;
    for (let j = 0; j < n; j++) sum += weights[j] = Math.exp(weights[j] - top);
    for (let j = 0; j < n; j++) {
      weights[j] /= sum;
      if (hard) weights[j] = weights[j] > tau ? tau : 0;
    }
  };

  const layer = (C, eta, kind, seen) => {
    const mean = kind === "centred" ? 1 / n : 0; // what is taken off every weight
    const weights = new Float64Array(n);
    return C.map((Ck, k) => {
      const next = Float64Array.from(Ck);
      for (let i = 0; i < n; i++) {
        look(Ck, i, kind, weights);
        for (let j = 0; j < n; j++) {
          const share = eta * (weights[j] - mean);
          if (share === 0) continue;
          for (let c = 0; c < p; c++) next[i * p + c] += share * Ck[j * p + c];
        }
        if (labels[i] === k) seen.own += weights[i] / n;
        else {
          if (weights[i] > 0.5) seen.itself += 1 / (n * (K - 1));
          else if (weights.some((w) => w > 0.5)) seen.another += 1 / (n * (K - 1));
        }
      }
      return next;
    });
  };

  const rescaled = (C, first) => {
    const now = lengths(C);
    return C.map((Ck) => Ck.map((v, at) => (v * first[Math.floor(at / p)]) / now[Math.floor(at / p)]));
  };

  let known = { key: "" };
  const stack = (delta, eta, depth, kind, keep) => {
    const key = [delta, eta, kind, keep].join();
    if (known.key !== key) {
      const C = drawTokens(delta);
      known = { key, C, first: lengths(C), ratios: [ratio(C)], seen: [] };
    }
    while (known.seen.length < depth) {
      const seen = { own: 0, itself: 0, another: 0 };
      known.C = layer(known.C, eta, kind, seen);
      if (keep) known.C = rescaled(known.C, known.first);
      known.ratios.push(ratio(known.C));
      known.seen.push(seen);
    }
    return { ratios: known.ratios.slice(0, depth + 1), seen: known.seen.slice(0, depth) };
  };

  const delta = kit.slider({ label: "noise δ", min: 0.05, max: 0.8, step: 0.01, value: 0.2 });
  const eta = kit.slider({ label: "step η", min: 0.05, max: 1, step: 0.05, value: 0.5 });
  const depth = kit.slider({ label: "layers", min: 1, max: 24, step: 1, value: 16 });
  const attention = kit.choice({
    label: "attention",
    options: [["hard", `threshold τ = ${tau}`], ["soft", "softmax, β = 1/√p"], ["centred", "softmax − mean"]],
  });
  const keep = kit.check({ label: "rescale after every layer" });

  const curve = kit.plot({
    x: [0, 16], y: [0.3, 100], ylog: true, height: 260, xlabel: "layer", ylabel: "signal to noise",
    alt: "Signal-to-noise ratio by layer, and the law: the same factor in every layer",
  });
  const shares = kit.plot({
    x: [0, 16], y: [0, 112], height: 260, xlabel: "layer", ylabel: "looks in foreign heads (%)",
    alt: "Share of looks in foreign heads that end on the token itself, and on one other token, by layer",
  });
  const law = kit.readout({ label: "the law: times" });
  const start = kit.readout({ label: "at the start" });
  const highest = kit.readout({ label: "highest" });
  const where = kit.readout({ label: "at layer" });
  const end = kit.readout({ label: "at the end" });
  const self = kit.readout({ label: "own head: looks at itself" });
  const note = kit.note();

  kit.draw(() => {
    const [d, L, hard] = [delta.value, depth.value, attention.value === "hard"];
    const { ratios, seen } = stack(d, eta.value, L, attention.value, keep.value);
    const rate = 1 + eta.value * (hard ? tau : 1);
    const expected = ratios.map((_, l) => ratios[0] * rate ** l);
    const peak = ratios.indexOf(Math.max(...ratios));

    const top = Math.min(Math.max(...expected), 100 * Math.max(...ratios));
    curve.range({ x: [0, L], y: [0.8 * Math.min(...ratios), 1.3 * Math.max(top, ...ratios)] });
    curve.line(expected.map((v, l) => [l, v]), { color: kit.colours.quiet, dash: "5 4", width: 1.5, label: "the law" });
    curve.line(ratios.map((v, l) => [l, v]), { color: kit.colours.blue, width: 2.5, label: "measured" });
    curve.dots(ratios.map((v, l) => [l, v]), { color: kit.colours.blue, r: 3 });
    shares.range({ x: [0, L] });
    for (const [name, label, color] of [["itself", "on itself", kit.colours.green], ["another", "on one other", kit.colours.red]]) {
      const points = seen.map((at, l) => [l + 1, 100 * at[name]]);
      shares.line(points, { color });
      shares.dots(points, { color, r: 3 });
      const most = points.reduce((a, b) => (b[1] >= a[1] ? b : a));
      if (most[1] > 2) shares.text(most, label, { color, anchor: most[0] > L / 2 ? "end" : "start", dy: -8 });
    }

    law.set(rate.toFixed(3));
    start.set(ratios[0].toPrecision(3));
    highest.set(ratios[peak].toPrecision(3));
    where.set(String(peak));
    end.set(ratios[L].toPrecision(3));
    self.set(`${(100 * seen[0].own / (hard ? tau : 1)).toFixed(1)} %`);

    const loud = seen[L - 1].another > 0.02;
    const stuck = seen[0].itself > 0.25;
    const onLaw = Math.abs(ratios[L] / expected[L] - 1) < 0.05;
    if (attention.value === "centred") {
      note.set(peak < L
        ? "Without the mean the ratio grows for longer, but not to the end. Rescale after every layer."
        : "The plain mean of all tokens is taken off what a token gathers. Nothing adds up any more, and the ratio grows to the end.");
    } else if (!hard) {
      note.set(peak < L
        ? `The ratio rises to layer ${peak} and falls again: in foreign heads every token gathers the mean of the tokens that live there, in every layer the same, and it adds up. Take off the mean.`
        : "The ratio rises to the end. Take more layers, or a longer step, and it turns.");
    } else if (stuck) {
      note.set("Too noisy from the start: in foreign heads many tokens look at themselves, so that noise grows as the signal does.");
    } else if (onLaw) {
      note.set("On the law. In its own head every token looks at itself, in the others at nobody: no token learns from another.");
    } else if (loud) {
      note.set(`In foreign heads tokens lock on one token of another class and add it to themselves: noise as large as a signal. ${keep.value ? "A smaller δ helps." : "Now rescale after every layer."}`);
    } else {
      note.set("Below the law: not every token looks at itself alone.");
    }
  });
}
