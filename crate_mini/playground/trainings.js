// Two kinds of network, every training a dot: does one kind lie above the other, and how often would chance do that?
// data: {measures: [[key, text], …], kinds: [{name, values: {key: [score of each training, …]}}, …], first, second}

function play(kit, data) {
  const names = data.kinds.map((k) => [k.name, k.name]);
  const measure = kit.choice({ label: "score", options: data.measures, value: data.measures[0][0] });
  const first = kit.choice({ label: "network", options: names, value: data.first });
  const second = kit.choice({ label: "against", options: names, value: data.second });

  const rows = data.kinds.length;
  const dots = kit.plot({
    x: [0, 1], y: [-0.7, rows - 0.3], height: 50 + 22 * rows, xlabel: "AUROC, a dot a training",
    ylabel: "", yticks: false, alt: "Scores of all trainings, a row a kind of network, the two that are compared in colour",
  });
  const gap = kit.readout({ label: "difference of means" });
  const won = kit.readout({ label: "pairs in which the first is higher" });
  const note = kit.note();
  const mean = (v) => v.reduce((a, b) => a + b, 0) / v.length;
  const choose = (n, k) => (k ? (choose(n, k - 1) * (n - k + 1)) / k : 1);

  kit.draw(() => {
    const of = (name) => data.kinds.find((k) => k.name === name).values[measure.value];
    const all = data.kinds.flatMap((k) => k.values[measure.value]);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const room = 0.06 * (high - low) || 0.01;
    dots.range({ x: [low - room - 0.8 * (high - low), high + room], y: [-0.7, rows - 0.3] }); // names stand on the left
    data.kinds.forEach(({ name, values }, i) => {
      const y = rows - 1 - i;
      const colour =
        name === first.value ? kit.colours.blue : name === second.value ? kit.colours.orange : kit.colours.quiet;
      dots.dots(values[measure.value].map((v) => [v, y]), { color: colour, r: 4.5 });
      dots.text([low - room, y], name, { color: colour, anchor: "end", size: 12, dy: 4 });
    });

    const [a, b] = [of(first.value), of(second.value)];
    const difference = mean(a) - mean(b);
    const higher = a.flatMap((x) => b.map((y) => x > y)).filter(Boolean).length;
    gap.set((difference < 0 ? "−" : "+") + Math.abs(difference).toFixed(3));
    won.set(`${higher} of ${a.length * b.length}`);
    const apart = higher === a.length * b.length || a.every((x) => b.every((y) => x < y));
    const ways = Math.round(choose(a.length + b.length, a.length));
    if (first.value === second.value) note.set("A network against itself: choose another.");
    else if (!apart) note.set("The two overlap: which is higher depends on the training.");
    else if (a.length < 2 || b.length < 2)
      note.set(`They do not overlap, and one of them is a single training: chance alone does this once in ${ways} times, for either order.`);
    else
      note.set(`They do not overlap. If the two kinds were alike, chance alone would put all of the first on one side once in ${ways} times.`);
  });
}
