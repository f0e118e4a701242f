// How many balls of radius ε does it take to cover a cloud of points, and what does the coding rate say?
// data: { points: [[x, y], …] } with mean zero and second moment one in every direction.

function play(kit, data) {
  const { linalg, colours } = kit;
  const EPS = [0.15, 1.5];

  const decimals = (v) => v.toFixed(2);
  const first = kit.slider({ label: "Spread along one axis", min: 0, max: 1, step: 0.01, value: 0.9, format: decimals });
  const second = kit.slider({ label: "Spread along the other", min: 0, max: 1, step: 0.01, value: 0.35, format: decimals });
  const turn = kit.slider({ label: "Rotation", min: 0, max: 180, step: 1, value: 25, format: (v) => `${v}°` });
  const eps = kit.slider({ label: "Radius ε of a ball", min: EPS[0], max: EPS[1], value: 0.32, log: true, format: decimals });

  const cloud = kit.plot({ x: [-2.1, 2.1], y: [-1.75, 1.75], equal: true, height: 300, title: "The cloud, and balls that cover its ellipse" });
  const curve = kit.plot({ x: EPS, y: [0, 5.2], xlog: true, height: 300, xlabel: "radius ε of a ball", title: "How many nats it takes" });

  const balls = kit.readout({ label: "balls" });
  const logBalls = kit.readout({ label: "ln(balls)" });
  const rate = kit.readout({ label: "coding rate R" });
  const note = kit.note();

  // Points of an ellipse, dense beside balls of radius one, densest on the rim.
  function ellipsePoints(a, b) {
    const points = [];
    const rings = Math.ceil(5 * Math.max(a, b));
    for (let k = 0; k <= rings; k++) {
      const f = rings ? k / rings : 0;
      const count = Math.max(1, Math.ceil(2 * Math.PI * Math.max(a, b) * f * (k === rings ? 10 : 5)));
      for (let i = 0; i < count; i++) {
        const t = (2 * Math.PI * i) / count;
        points.push([a * f * Math.cos(t), b * f * Math.sin(t)]);
      }
    }
    return points;
  }

  // The balls of one lattice that are needed: those that meet the ellipse, less those whose share others cover.
  function latticeCover(points, height, u, v, limit) {
    const [dy, dx] = [height, 2 * Math.sqrt(2 * height - height * height)];
    const nodes = new Map();
    const times = new Array(points.length).fill(0);
    const reach = 1.0001;
    points.forEach(([x, y], k) => {
      for (let j = Math.ceil((y - reach) / dy - v); j <= Math.floor((y + reach) / dy - v); j++) {
        const rest = reach * reach - (y - (j + v) * dy) ** 2;
        if (rest < 0) continue;
        const shift = u + (j & 1) / 2;
        const half = Math.sqrt(rest);
        for (let i = Math.ceil((x - half) / dx - shift); i <= Math.floor((x + half) / dx - shift); i++) {
          const key = 4096 * j + i;
          if (!nodes.has(key)) nodes.set(key, { at: [(i + shift) * dx, (j + v) * dy], covers: [] });
          nodes.get(key).covers.push(k);
          times[k]++;
        }
      }
    });
    const kept = [];
    for (const node of [...nodes.values()].sort((p, q) => p.covers.length - q.covers.length)) {
      if (node.covers.every((k) => times[k] > 1)) for (const k of node.covers) times[k]--;
      else kept.push(node.at);
      if (kept.length >= limit) return null;
    }
    return kept;
  }

  // The smallest cover by balls of radius one among eighty lattices that differ in shape, place and direction.
  const covers = new Map();
  const keyOf = (a, b) => `${a.toFixed(4)} ${b.toFixed(4)}`;
  function cover(a, b) {
    const key = keyOf(a, b);
    if (covers.has(key)) return covers.get(key);
    let best = null;
    for (const swapped of [false, true]) {
      const points = swapped ? ellipsePoints(b, a) : ellipsePoints(a, b);
      for (const height of [1.5, 1.6, 1.35, 1.2, 1.0]) {
        for (const u of [0, 0.25]) {
          for (const v of [0, 0.25, 0.5, 0.75]) {
            const found = latticeCover(points, height, u, v, best ? best.length : Infinity);
            if (found) best = swapped ? found.map(([x, y]) => [y, x]) : found;
          }
        }
      }
    }
    if (covers.size > 4000) covers.clear();
    covers.set(key, best);
    return best;
  }

  const codingRate = (Z, epsSq) => {
    const [n, d] = [Z.length, Z[0].length];
    return 0.5 * linalg.logdet(linalg.add(linalg.identity(d), linalg.gram(Z), d / (n * epsSq)));
  };

  // Radii of the curves, large ones first: few balls are quickly found.
  const radii = Array.from({ length: 19 }, (_, i) => EPS[1] * (EPS[0] / EPS[1]) ** (i / 18));

  // What there is time for now; the rest of the curve follows in the next frames, so that a slider never sticks.
  function ballCurve(a, b) {
    const [points, start] = [[], performance.now()];
    for (const r of radii) {
      if (!covers.has(keyOf(a / r, b / r)) && performance.now() - start > 12) {
        kit.redraw();
        break;
      }
      points.push([r, Math.log(cover(a / r, b / r).length)]);
    }
    return points;
  }

  kit.draw(() => {
    const angle = (turn.value * Math.PI) / 180;
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    const rotate = ([x, y]) => [c * x - s * y, s * x + c * y];
    const e = eps.value;
    // the ellipse of the typical vectors: semi-axes √d times the spread, d = 2
    const [a, b] = [Math.SQRT2 * first.value, Math.SQRT2 * second.value];

    const Z = data.points.map(([x, y]) => rotate([first.value * x, second.value * y]));
    const centres = cover(a / e, b / e).map(([x, y]) => rotate([e * x, e * y]));
    const rim = Array.from({ length: 120 }, (_, i) => (2 * Math.PI * i) / 120).map((t) => rotate([a * Math.cos(t), b * Math.sin(t)]));
    for (const centre of centres) cloud.circle(centre, e, { color: colours.orange, fillOpacity: 0.1, width: 1.2 });
    cloud.dots(Z, { color: colours.blue, r: 1.8, opacity: 0.75 });
    cloud.polygon(rim, { color: colours.blue, fillOpacity: 0.06, width: 1.6 });
    cloud.dots(centres, { color: colours.orange, r: 1.6 });

    const R = codingRate(Z, e * e);
    const N = centres.length;
    curve.line(radii.map((r) => [r, codingRate(Z, r * r)]), { color: colours.blue, width: 2.5, label: "coding rate R" });
    curve.line(ballCurve(a, b), { color: colours.orange, width: 1.6, dash: "5 3", label: "ln(balls)" });
    curve.vline(e);
    curve.dots([[e, R]], { color: colours.blue, r: 5 });
    curve.dots([[e, Math.log(N)]], { color: colours.orange, r: 5 });

    balls.set(String(N));
    logBalls.set(decimals(Math.log(N)));
    rate.set(decimals(R));
    const wide = [a, b].filter((axis) => axis > e).length;
    note.set([
      "Neither half-axis reaches beyond one ball: naming the ball says almost nothing. Make ε smaller, or the cloud larger.",
      "One half-axis is longer than ε, the other fits into a ball: the balls form a row. Half the radius, about twice the balls: both numbers gain about ln 2 = 0.69.",
      "Both half-axes are longer than ε. Half the radius, about four times the balls: both numbers gain up to 2 ln 2 = 1.39.",
    ][wide]);
  });
}
