// Two classes on two lines through the origin, in two dimensions: what the rates say about the angle between the
// lines, and what sparsity adds about the axes. data: {eps_sq, offsets: [[…], […]]}, the tokens' places within
// their class in units of its spread.
function play(kit, data) {
  const { colours } = kit;
  const degrees = (v) => `${Math.round(v)}°`.replace("-", "−");
  const between = kit.slider({ label: "angle between the classes", min: 0, max: 90, step: 1, value: 35, format: degrees });
  const spread = kit.slider({ label: "spread within a class", min: 0, max: 20, step: 1, value: 5, format: degrees });
  const turn = kit.slider({ label: "turn everything", min: -90, max: 90, step: 1, value: 25, format: degrees });
  const weight = kit.slider({ label: "λ, weight of sparsity", min: 0, max: 1, step: 0.05, value: 0 });

  const picture = kit.plot({ x: [-1.15, 1.15], y: [-1.15, 1.15], equal: true, height: 230, title: "the tokens", alt: "Tokens of two classes on the unit circle, with the axes." });
  const overAngle = kit.plot({ x: [0, 90], y: [0, 4], height: 230, xlabel: "angle between the classes (°)", title: "rates (nats)", alt: "R, its sum over classes, and their difference, over the angle between the classes." });
  const overTurn = kit.plot({ x: [-90, 90], y: [-0.6, 1.4], height: 230, xlabel: "turn (°)", title: "what is to be maximised", alt: "Rate reduction, constant, and sparse rate reduction, over the turn of all tokens." });

  const shown = Object.fromEntries(["R", "R of the classes", "ΔR", "non-zeros a token", "ΔR − λ·ℓ1"].map((label) => [label, kit.readout({ label })]));
  const note = kit.note();

  // Every other token points the other way, so that a class is a line and not a ray.
  const tokens = (angle, width, turned) =>
    data.offsets.map((offsets, k) =>
      offsets.map((offset, i) => {
        const a = ((turned + k * angle + width * offset) * Math.PI) / 180;
        const sign = i % 2 ? -1 : 1;
        return [sign * Math.cos(a), sign * Math.sin(a)];
      }),
    );
  const rate = (Z) => {
    const gram = kit.linalg.scale(kit.linalg.gram(Z), 2 / (Z.length * data.eps_sq));
    return 0.5 * kit.linalg.logdet(kit.linalg.add(kit.linalg.identity(2), gram));
  };
  const measure = (classes) => {
    const all = classes.flat();
    const whole = rate(all);
    const parts = classes.reduce((sum, Z) => sum + (Z.length / all.length) * rate(Z), 0);
    const entries = all.flat().map(Math.abs);
    const l1 = entries.reduce((a, b) => a + b, 0) / all.length;
    const l0 = entries.filter((v) => v > 1e-9).length / all.length;
    return { whole, parts, gain: whole - parts, l1, l0 };
  };
  const steps = (lo, hi, count) => Array.from({ length: count + 1 }, (_, i) => lo + ((hi - lo) * i) / count);
  const advice = (now) => {
    const off = Math.abs(turn.value) % 90;
    if (between.value < 85) return "Open the angle between the classes. R grows, the rate of the classes stays: ΔR is largest at 90°.";
    if (weight.value === 0) return "The best angle. Turn everything: no rate moves, every turn is as good. Now give λ some weight.";
    if (Math.min(off, 90 - off) > 0) return "With λ above zero the turn matters. Follow the orange curve to one of its peaks: there each class has an axis of its own.";
    return now.l0 < 1.5 ? "Aligned: every token has a single non-zero entry, at no loss of ΔR." : "Aligned, at no loss of ΔR. The spread keeps the small entries from being zero: take it away and count again.";
  };

  kit.draw(() => {
    const classes = tokens(between.value, spread.value, turn.value);
    const now = measure(classes);
    const [first, second] = [colours.blue, colours.orange];
    for (const axis of [[[-1.1, 0], [1.1, 0]], [[0, -1.1], [0, 1.1]]]) picture.line(axis, { color: colours.quiet, width: 1 });
    picture.circle([0, 0], 1, { color: colours.line, fillOpacity: 0 });
    [first, second].forEach((color, k) => {
      const [[x, y]] = tokens(between.value, 0, turn.value)[k];
      picture.line([[-x, -y], [x, y]], { color, width: 1.5, opacity: 0.6 });
      picture.dots(classes[k], { color, r: 4, opacity: 0.8 });
    });

    const angles = steps(0, 90, 60).map((a) => [a, measure(tokens(a, spread.value, turn.value))]);
    overAngle.line(angles.map(([a, m]) => [a, m.whole]), { color: colours.blue, label: "R" });
    overAngle.line(angles.map(([a, m]) => [a, m.parts]), { color: colours.green, label: "R of the classes", dash: "6 3" });
    overAngle.line(angles.map(([a, m]) => [a, m.gain]), { color: colours.red, width: 2.5, label: "ΔR" });
    overAngle.vline(between.value);
    overAngle.dots([[between.value, now.gain]], { color: colours.red, r: 5 });

    const turns = steps(-90, 90, 180).map((t) => [t, measure(tokens(between.value, spread.value, t))]);
    const sparse = (m) => m.gain - weight.value * m.l1;
    overTurn.line(turns.map(([t, m]) => [t, m.gain]), { color: colours.red, label: "ΔR" });
    overTurn.line(turns.map(([t, m]) => [t, sparse(m)]), { color: colours.orange, width: 2.5, label: "ΔR − λ·ℓ1" });
    overTurn.vline(turn.value);
    overTurn.dots([[turn.value, sparse(now)]], { color: colours.orange, r: 5 });

    shown.R.set(now.whole.toFixed(3));
    shown["R of the classes"].set(now.parts.toFixed(3));
    shown["ΔR"].set(now.gain.toFixed(3));
    shown["non-zeros a token"].set(now.l0.toFixed(2));
    shown["ΔR − λ·ℓ1"].set(sparse(now).toFixed(3));
    note.set(advice(now));
  });
}
