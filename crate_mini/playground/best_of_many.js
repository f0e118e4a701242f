// How high the best of k random subspaces scores, beside the learned heads.
// data: {parts: [name], random: [[score of every random subspace], one row a part], heads: [[score of every head]]}

function play(kit, data) {
  const R = data.random[0].length;
  const H = data.heads[0].length;
  const part = kit.choice({ label: "part", options: data.parts.map((name, i) => [String(i), name]), value: "0" });
  const looks = kit.slider({ label: "looks", min: 1, max: Math.min(64, R), step: 1, value: 1, format: String });

  const where = kit.plot({
    x: [0, 1], y: [0, 1], height: 250, xlabel: "AUROC of the best of them", ylabel: "chance",
    alt: "How the best score of so many random subspaces is spread, with the learned heads as lines",
  });
  const rise = kit.plot({
    x: [1, Math.min(64, R)], y: [0, 1], height: 250, xlabel: "looks", ylabel: "best AUROC, on average",
    alt: "The average best score against the number of subspaces looked at, with the best learned head as a line",
  });
  const average = kit.readout({ label: "best of them, on average" });
  const learned = kit.readout({ label: `best of ${H} learned heads` });
  const chance = kit.readout({ label: "chance that they reach it" });
  const note = kit.note();

  // The chance that all of k drawn, without putting back, are among the r lowest of R: C(r, k) / C(R, k).
  function allBelow(r, k) {
    if (r < k) return 0;
    let share = 1;
    for (let i = 0; i < k; i++) share *= (r - i) / (R - i);
    return share;
  }
  const bestOf = (ranked, k) =>
    ranked.reduce((sum, v, i) => sum + v * (allBelow(i + 1, k) - allBelow(i, k)), 0);

  kit.draw(() => {
    const ranked = [...data.random[Number(part.value)]].sort((a, b) => a - b);
    const own = [...data.heads[Number(part.value)]].sort((a, b) => a - b);
    const top = own[H - 1];
    const k = looks.value;
    const { blue, orange, quiet } = kit.colours;

    const low = Math.floor(20 * Math.min(ranked[0], own[0])) / 20;
    const high = Math.ceil(20 * Math.max(ranked[R - 1], top)) / 20;
    const bins = Math.round((high - low) / 0.025);
    const width = (high - low) / bins;
    const mass = Array(bins).fill(0);
    ranked.forEach((v, i) => {
      mass[Math.min(bins - 1, Math.floor((v - low) / width))] += allBelow(i + 1, k) - allBelow(i, k);
    });
    where.range({ x: [low, high], y: [0, 1.35 * Math.max(...mass)] });
    where.bars(mass.map((m, i) => [low + (i + 0.5) * width, m]), { color: quiet, width: 0.9 * width });
    own.slice(0, -1).forEach((v) => where.vline(v, { color: blue, width: 1 }));
    where.line([[top, 0], [top, 1.1 * Math.max(...mass)]], { color: blue, width: 3, label: "best learned head" });

    const mean = bestOf(ranked, k);
    const curve = Array.from({ length: Math.min(64, R) }, (_, i) => [i + 1, bestOf(ranked, i + 1)]);
    const heights = [...curve.map(([, y]) => y), top];
    rise.range({ y: [Math.min(...heights) - 0.03, Math.max(...heights) + 0.09] });
    rise.line([[1, top], [curve.length, top]], { color: blue, width: 2, label: "best learned head" });
    rise.line(curve, { color: orange, width: 2.5, label: "best of the random" });
    rise.dots([[k, mean]], { color: orange, r: 5 });

    const reach = 1 - allBelow(ranked.filter((v) => v < top).length, k);
    average.set(mean.toFixed(3));
    learned.set(top.toFixed(3));
    chance.set(`${(100 * reach).toFixed(1)} %`);
    const enough = curve.find(([, y]) => y >= top);
    const name = data.parts[Number(part.value)];
    note.set(
      (k < H ? `The network chose among ${H} heads; give chance as many looks. ` : "") +
        (enough
          ? `For ${name}, the best of ${enough[0]} random subspaces is already as good as the best learned head.`
          : `For ${name}, the best of ${curve.length} random subspaces stays below the best learned head on average.`),
    );
  });
}
