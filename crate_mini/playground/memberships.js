// TSSA shares the tokens out among its heads: memberships at any temperature.
// data: {picture: an address, side, tokens, energies: a row of patches for each head, start: a head, objects,
// background}.

function play(kit, data) {
  const K = data.energies.length;
  const n = data.side ** 2;
  const sum = (list) => list.reduce((a, b) => a + b, 0);

  // by patch: a softmax over the heads
  const memberships = (T) => {
    const rows = Array.from({ length: n }, (_, i) => data.energies.map((row) => T * row[i]));
    return kit.linalg.transpose(kit.linalg.softmaxRows(rows));
  };

  const options = data.energies.map((_, k) => [String(k), `head ${k}`]);
  const head = kit.choice({ label: "head", options, value: String(data.start) });
  const temperature = kit.slider({
    label: "temperature τ", min: 1, max: data.tokens, value: data.tokens / 4, log: true, format: (v) => v.toFixed(v < 10 ? 1 : 0),
  });

  const square = { x: [0, 1], y: [0, 1], height: 240, equal: true, bare: true };
  const picture = kit.plot({ ...square, title: "the picture, outlined", alt: "A drawn animal with its true outline" });
  const map = kit.plot({ ...square, title: "membership, 0 to 1", alt: "How much of each patch belongs to the head" });
  for (const plot of [picture, map]) plot.figure.style.flex = "1 1 200px";
  const largest = kit.readout({ label: "largest membership of a patch, mean" });
  const ranking = kit.readout({ label: "AUROC of this head" });
  const note = kit.note();

  kit.draw(() => {
    const Pi = memberships(temperature.value);
    const own = Pi[Number(head.value)];
    const mean = sum(own.map((_, i) => Math.max(...Pi.map((row) => row[i])))) / n;
    picture.image(data.picture);
    map.heat(Array.from({ length: data.side }, (_, y) => own.slice(y * data.side, (y + 1) * data.side)), { low: 0, high: 1 });
    largest.set(mean.toFixed(3));
    ranking.set(kit.auroc(own, data.objects, data.background).toFixed(3));
    const quarter = data.tokens / 4;
    note.set(
      temperature.value <= 1.5
        ? `Here training starts as published: every patch belongs to all ${K} heads alike, 1/${K} = ${(1 / K).toFixed(3)} each.`
        : temperature.value < 0.6 * quarter
          ? "The heads begin to share the patches out."
          : temperature.value < 1.7 * quarter
            ? `About a quarter of the ${data.tokens} tokens: most patches have a head of their own. Go through the heads: does one of them hold the animal, or the ground? Then turn τ down to 1.`
            : "Nearly all or nothing: each patch belongs to one head.",
    );
  });
}
