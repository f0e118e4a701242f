// Agree and spread: a small linear network learns from pairs of views, and what they share is what it says.
// data: {scenes, animals, pictures: a vector for every scene and animal, scene by scene, views: two noisy copies of
// them, W: the first weights, eps_sq, rate: of a step, steps}. What is said of a picture x is W x at length one.

function play(kit, data) {
  const { matmul, transpose, gram, identity, scale, add, inverse, logdet } = kit.linalg;
  const [S, A, n, P] = [data.scenes, data.animals, data.pictures.length, data.W.length];
  const sum = (list) => list.reduce((a, b) => a + b, 0);
  const inner = (a, b) => sum(a.map((v, i) => v * b[i]));
  const c = P / (n * data.eps_sq);
  const most = 0.5 * P * Math.log(1 + (n * c) / P); // the largest rate of n rows of length one

  // rows W x and the same at length one
  const say = (X, W) => {
    const raw = matmul(X, transpose(W));
    return { raw, unit: raw.map((row) => scale([row], 1 / Math.hypot(...row))[0]) };
  };
  const rate = (F) => 0.5 * logdet(add(identity(P), gram(F), c)) / most;
  const aligned = (F, G) => sum(F.map((row, i) => inner(row, G[i]))) / n;

  // gradient with respect to W through the length: what is across the row, over how long it was
  const through = (X, { raw, unit }, toUnit) => {
    const across = toUnit.map((g, i) => {
      const along = inner(g, unit[i]);
      return g.map((v, j) => (v - along * unit[i][j]) / Math.hypot(...raw[i]));
    });
    return matmul(transpose(across), X);
  };

  // the second views: of the same pictures, or of the same animals k scenes on
  const partners = (t, share) => {
    if (share === "picture") return data.views[1];
    const k = 1 + (t % (S - 1));
    return data.views[1].map((_, i) => data.views[1][(i + k * A) % n]);
  };

  const step = (W, t, share, weight) => {
    const [X, Y] = [data.views[0], partners(t, share)];
    const [f, g] = [say(X, W), say(Y, W)];
    const pull = scale(matmul(f.unit, inverse(add(identity(P), gram(f.unit), c))), (weight * c) / most);
    const toF = f.unit.map((_, i) => g.unit[i].map((v, j) => v / n + pull[i][j]));
    const toG = scale(f.unit, 1 / n);
    const up = add(through(X, f, toF), through(Y, g, toG));
    return { W: add(W, up, data.rate), aligned: aligned(f.unit, g.unit) };
  };

  let known = { key: "" };
  const trained = (steps, share, weight) => {
    const key = [share, weight].join();
    if (known.key !== key) known = { key, at: [{ W: data.W }] };
    while (known.at.length <= steps + 1) {
      const last = known.at[known.at.length - 1];
      const next = step(last.W, known.at.length - 1, share, weight);
      last.aligned = next.aligned;
      known.at.push({ W: next.W });
    }
    return known.at.slice(0, steps + 1);
  };

  // two-way analysis of variance: shares that come with the scene, with the animal, with neither alone
  const shares = (F) => {
    const at = (s, a, j) => F[s * A + a][j];
    const [scenes, animals] = [[...Array(S).keys()], [...Array(A).keys()]];
    let [bScene, bAnimal, rest] = [0, 0, 0];
    for (let j = 0; j < P; j++) {
      const mean = sum(F.map((row) => row[j])) / n;
      const byScene = scenes.map((s) => sum(animals.map((a) => at(s, a, j))) / A - mean);
      const byAnimal = animals.map((a) => sum(scenes.map((s) => at(s, a, j))) / S - mean);
      bScene += sum(byScene.map((v) => v * v)) / (S - 1);
      bAnimal += sum(byAnimal.map((v) => v * v)) / (A - 1);
      for (const s of scenes) for (const a of animals) rest += (at(s, a, j) - mean - byScene[s] - byAnimal[a]) ** 2 / ((S - 1) * (A - 1));
    }
    const parts = [Math.max(bScene - rest / A, 0), Math.max(bAnimal - rest / S, 0), rest];
    return parts.map((part) => part / Math.max(sum(parts), 1e-12));
  };

  const share = kit.choice({
    label: "the two views are",
    options: [["picture", "two crops of one picture"], ["animal", "two pictures of one animal"]],
  });
  const weight = kit.slider({ label: "weight of the rate", min: 0, max: 2, step: 0.1, value: 1 });
  const steps = kit.slider({ label: "steps", min: 0, max: data.steps, step: 1, value: 0 });

  const circle = { x: [-1.35, 1.35], y: [-1.35, 1.35], height: 250, equal: true, bare: true };
  const colours = [kit.colours.blue, kit.colours.red, kit.colours.green, kit.colours.ink];
  const inks = Array.from({ length: Math.max(S, A) }, (_, k) => `hsl(${Math.round((360 * k) / Math.max(S, A))} 65% 50%)`);
  const byScene = kit.plot({ ...circle, title: "a colour a scene", alt: "What is said of every picture, on a circle, coloured by scene" });
  const byAnimal = kit.plot({ ...circle, title: "a colour an animal", alt: "The same, coloured by animal" });
  const curve = kit.plot({ x: [0, data.steps], y: [0, 104], height: 250, xlabel: "step", ylabel: "%", alt: "Share of the variance that comes with the scene and with the animal, by step" });
  for (const plot of [byScene, byAnimal, curve]) plot.figure.style.flex = "1 1 200px";
  const agree = kit.readout({ label: "agreement C" });
  const spread = kit.readout({ label: "rate, of the largest" });
  const ofScene = kit.readout({ label: "comes with the scene" });
  const ofAnimal = kit.readout({ label: "comes with the animal" });
  const note = kit.note();

  kit.draw(() => {
    const way = trained(steps.value, share.value, weight.value);
    const said = way.map(({ W }) => say(data.pictures, W).unit);
    const now = said[said.length - 1];
    const found = said.map(shares);
    const [scene, animal] = found[found.length - 1];
    for (const [plot, of] of [[byScene, (i) => Math.floor(i / A)], [byAnimal, (i) => i % A]]) {
      plot.circle([0, 0], 1, { color: kit.colours.quiet, fillOpacity: 0 });
      // a little apart, so that what lies on one place is seen
      plot.dots(now.map(([x, y], i) => [x * (0.85 + 0.3 * ((i * 7) % n) / n), y * (0.85 + 0.3 * ((i * 7) % n) / n)]), { r: 4, color: now.map((_, i) => inks[of(i)]) });
    }
    for (const [k, label, color] of [[0, "scene", colours[0]], [1, "animal", colours[1]]]) {
      const points = found.map((parts, t) => [t, 100 * parts[k]]);
      curve.line(points, { color, width: 2.5 });
      curve.text(points[points.length - 1], label, { color, anchor: steps.value > data.steps / 2 ? "end" : "start", dy: -6 });
    }
    const close = rate(say(data.views[0], way[way.length - 1].W).unit);
    agree.set(way[way.length - 1].aligned.toFixed(2));
    spread.set(`${(100 * close).toFixed(0)} %`);
    ofScene.set(`${(100 * scene).toFixed(0)} %`);
    ofAnimal.set(`${(100 * animal).toFixed(0)} %`);
    note.set(
      steps.value === 0
        ? "Nothing is learned yet. Move the steps to the end, and look which colours come together."
        : steps.value < data.steps / 4
          ? "Go on to the end."
          : weight.value === 0
            ? "Without the rate nothing keeps pictures apart: they gather at few places, and the rate falls."
            : share.value === "picture"
              ? "The two views agree, and pictures are spread: the loss has all it asks for. It was the scene that they agreed about. Now show two pictures of one animal."
              : "The scene no longer helps to agree. The same loss, the same network: now it says the animal.",
    );
  });
}
