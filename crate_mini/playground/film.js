// A training as a film: where every head looks on held-out pictures, epoch by epoch, beside the true outline.
// data: {side, epochs, heads: [name], head, right: [accuracy or null, one an epoch], guessing,
//        pictures: [{name, photo, outline: [[[x, y]]], cover, maps: [hex of every head's map, one an epoch], shares}]}

function play(kit, data) {
  const { side, epochs, pictures } = data;
  const n = side * side;
  const picture = kit.choice({ label: "picture", options: pictures.map(({ name }, i) => [String(i), `${i + 1}: ${name}`]), value: "0" });
  const frame = kit.slider({ label: "epoch", min: 0, max: epochs.length - 1, step: 1, value: epochs.length - 1, format: (f) => String(epochs[f]) });
  const head = kit.choice({ label: "head", options: data.heads.map((name, i) => [String(i), name]), value: String(data.head) });
  const lit = kit.check({ label: "light the picture by the map" });

  const square = { x: [0, 1], y: [0, 1], equal: true, bare: true, height: 235 };
  const map = kit.plot({ ...square, title: "attention of the class token", alt: "The chosen head's attention on the picture as a heat map, with the true outline of the animal" });
  const photo = kit.plot({ ...square, title: "the picture", alt: "The picture, with the true outline of the animal" });
  const curve = kit.plot({
    x: [0, epochs.at(-1)], y: [0, 1], height: 235, xlabel: "epoch", ylabel: "share",
    title: "solid: on the animal, dashed: names right",
    alt: "By epoch, the share of the head's attention that lies on the animal, and the share of names that are right",
  });
  const on = kit.readout({ label: "attention on the animal" });
  const cover = kit.readout({ label: "the animal covers (grey line)" });
  const right = kit.readout({ label: "names right" });
  const note = kit.note();
  const percent = (v) => `${Math.round(100 * v)} %`;

  const values = (hex, k) => Array.from({ length: n }, (_, i) => parseInt(hex.slice(2 * (k * n + i), 2 * (k * n + i) + 2), 16) / 255);
  const rows = (list) => Array.from({ length: side }, (_, r) => list.slice(r * side, (r + 1) * side));
  const draw = (plot, outline) => {
    for (const line of outline) {
      plot.line(line, { color: "#000", width: 3 });
      plot.line(line, { color: "#fff", width: 1.4 });
    }
  };

  kit.draw(() => {
    const shown = pictures[Number(picture.value)];
    const [f, k] = [Math.round(frame.value), Number(head.value)];
    const share = shown.shares[f][k];
    const now = values(shown.maps[f], k);
    photo.image(shown.photo);
    draw(photo, shown.outline);
    if (lit.value) {
      map.image(shown.photo);
      now.forEach((v, i) => {
        const [x, y] = [(i % side) / side, 1 - Math.floor(i / side) / side];
        const step = 1 / side;
        const opacity = 0.94 * (1 - Math.sqrt(v));
        map.polygon([[x, y], [x + step, y], [x + step, y - step], [x, y - step]], { color: "#000", fillOpacity: opacity, width: 0 });
      });
    } else map.heat(rows(now), { low: 0, high: 1 });
    draw(map, shown.outline);

    const { blue, orange, quiet } = kit.colours;
    const names = epochs.map((e, i) => [e, data.right[i]]).filter(([, v]) => v !== null);
    curve.hline(shown.cover, { color: quiet });
    curve.vline(epochs[f], { color: quiet, width: 1 });
    curve.line(epochs.map((e, i) => [e, shown.shares[i][k]]), { color: blue, width: 2.5 });
    curve.line(names, { color: orange, width: 2, dash: "5 3" });
    curve.dots([[epochs[f], share]], { color: blue, r: 5 });

    on.set(percent(share));
    cover.set(percent(shown.cover));
    right.set(data.right[f] === null ? "not measured" : percent(data.right[f]));
    const times = share / shown.cover;
    note.set(
      (epochs[f] === 0 ? "Before the first step: " : `After epoch ${epochs[f]}: `) +
        (times > 1.25
          ? `this head gives a patch of the ${shown.name} ${times.toFixed(1)} times its even share of attention.`
          : times < 0.8
            ? `this head looks away from the ${shown.name}.`
            : `this head gives the ${shown.name} about its even share, as if it saw no animal.`),
    );
  });
}
