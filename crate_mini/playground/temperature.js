// One head's scores at any temperature: what moves, and what cannot.
// data: {picture: an address, side, heads: [{name, scores}, …], start, objects, background}: the scores of all patches
// and how many pixels of object and of background each patch holds.

function play(kit, data) {
  const n = data.side ** 2;
  const sum = (list) => list.reduce((a, b) => a + b, 0);
  const [P, N] = [sum(data.objects), sum(data.background)];

  const softmax = (scores, T) => kit.linalg.softmaxRows([scores.map((s) => s / T)])[0];
  const spread = (q) => Math.exp(-sum(q.map((v) => (v > 0 ? v * Math.log(v) : 0))));
  const byScore = (scores) => scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a] || a - b);

  // the fewest patches that hold the share
  const massKept = (q, order, share) => {
    let before = 0;
    let count = 0;
    while (count < n && before < share) before += q[order[count++]];
    return order.slice(0, count);
  };
  const patchKept = (order, share) => order.slice(0, Math.max(1, Math.round(share * n)));

  const iou = (kept) => {
    const [inside, outside] = [sum(kept.map((i) => data.objects[i])), sum(kept.map((i) => data.background[i]))];
    return inside / (P + outside);
  };

  const percent = (v) => `${Math.round(100 * v)} %`;
  const options = data.heads.map(({ name }, i) => [String(i), name]);
  const head = kit.choice({ label: "head", options, value: String(data.start) });
  const temperature = kit.slider({ label: "temperature", min: 0.1, max: 10, value: 1, log: true, format: (v) => v.toFixed(2) });
  const share = kit.slider({ label: "share", min: 0.05, max: 0.95, step: 0.05, value: 0.6, format: percent });

  const square = { x: [0, 1], y: [0, 1], height: 220, equal: true, bare: true };
  const map = kit.plot({ ...square, title: "attention", alt: "The map of the head at this temperature" });
  const mass = kit.plot({ ...square, title: "mask: share of attention", alt: "The picture, lit where the mask by attention is" });
  const fixed = kit.plot({ ...square, title: "mask: share of patches", alt: "The picture, lit where the mask by patches is" });
  // three pictures in a row where the page has room for them
  for (const plot of [map, mass, fixed]) plot.figure.style.flex = "1 1 180px";
  const wide = kit.readout({ label: "patches the map rests on" });
  const massScore = kit.readout({ label: "IoU, share of attention" });
  const patchScore = kit.readout({ label: "IoU, share of patches" });
  const ranking = kit.readout({ label: "AUROC" });
  const note = kit.note();

  // the picture in the dark, but for the patches that are kept
  const lit = (plot, kept) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [data.side, data.side];
    const pixels = new ImageData(data.side, data.side);
    for (let i = 0; i < n; i++) pixels.data[4 * i + 3] = 195;
    for (const i of kept) pixels.data[4 * i + 3] = 0;
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    plot.image(data.picture);
    plot.image(canvas.toDataURL(), { pixelated: true });
  };

  kit.draw(() => {
    const { scores } = data.heads[Number(head.value)];
    const q = softmax(scores, temperature.value);
    const order = byScore(scores);
    const [a, b] = [massKept(q, order, share.value), patchKept(order, share.value)];
    map.heat(Array.from({ length: data.side }, (_, y) => q.slice(y * data.side, (y + 1) * data.side)));
    lit(mass, a);
    lit(fixed, b);
    wide.set(spread(q).toFixed(1));
    massScore.set(iou(a).toFixed(3));
    patchScore.set(iou(b).toFixed(3));
    // of the scores themselves, so that no rounding of a sharp softmax makes ties
    ranking.set(kit.auroc(scores, data.objects, data.background).toFixed(3));
    note.set(
      `The mask by attention holds ${a.length} of ${n} patches, the mask by patches ${b.length}, and the object covers ` +
        `about ${Math.round((n * P) / (P + N))}. ` +
        (temperature.value > 1.05
          ? "Hotter: the map flattens and the first mask grows. The order of patches is the old one, so nothing else moves."
          : temperature.value < 0.95
            ? "Colder: the map sharpens and the first mask shrinks. The order of patches is the old one, so nothing else moves."
            : "This is the network's own map. Slide the temperature: which of the three scores moves?"),
    );
  });
}
