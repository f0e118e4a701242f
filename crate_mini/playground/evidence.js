// Two networks held against each other: is their difference more than the luck of the images?
// data: {measures: [[key, text], …], networks: [{name, scores: {key: [mean, low, high]}}, …], first, second}
// The interval of a difference is formed as if each network had images of its own: its squared half-widths add up.

function play(kit, data) {
  const names = data.networks.map((n) => [n.name, n.name]);
  const measure = kit.choice({ label: "score", options: data.measures, value: data.measures[0][0] });
  const first = kit.choice({ label: "network", options: names, value: data.first });
  const second = kit.choice({ label: "against", options: names, value: data.second });

  const rows = data.networks.length;
  const bars = kit.plot({
    x: [0, 1], y: [-0.7, rows - 0.3], height: 60 + 26 * rows, xlabel: "score, with its 95 % interval over images",
    ylabel: "", yticks: false, alt: "Scores of all networks with their intervals, the two that are compared in colour",
  });
  const gap = kit.readout({ label: "difference" });
  const range = kit.readout({ label: "its 95 % interval" });
  const note = kit.note();

  kit.draw(() => {
    const key = measure.value;
    const of = (name) => data.networks.find((n) => n.name === name).scores[key];
    const all = data.networks.map((n) => n.scores[key]);
    const [low, high] = [Math.min(...all.map((v) => v[1])), Math.max(...all.map((v) => v[2]))];
    const room = 0.15 * (high - low);
    // names stand left of the dots, in half of the width
    bars.range({ x: [low - room - 1.1 * (high - low), high + room], y: [-0.7, rows - 0.3] });
    data.networks.forEach(({ name, scores }, i) => {
      const y = rows - 1 - i;
      const [mean, lo, hi] = scores[key];
      const colour =
        name === first.value ? kit.colours.blue : name === second.value ? kit.colours.orange : kit.colours.quiet;
      bars.line([[lo, y], [hi, y]], { color: colour, width: 2.5 });
      bars.dots([[mean, y]], { color: colour, r: 4 });
      bars.text([low - room, y], name, { color: colour, anchor: "end", size: 12, dy: 4 });
    });

    const [a, b] = [of(first.value), of(second.value)];
    const difference = a[0] - b[0];
    const half = Math.hypot((a[2] - a[1]) / 2, (b[2] - b[1]) / 2);
    const signed = (v) => (v < 0 ? "−" : "+") + Math.abs(v).toFixed(3);
    gap.set(signed(difference));
    range.set(`${signed(difference - half)} to ${signed(difference + half)}`);
    if (first.value === second.value) note.set("A network against itself: choose another.");
    else if (Math.abs(difference) > half)
      note.set(
        "More than the luck of the images. Whether it is more than the luck of the training, only further seeds can say.",
      );
    else note.set("The interval holds 0: on these images the two cannot be told apart by this score.");
  });
}
