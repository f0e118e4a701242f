// One step on the compression rate. Every token is a dot: how long it is within its own subspace, and outside it.
// data: tokens n x d, bases K x d x p that are orthonormal and span the space, labels [k, …]; step, the one to begin with.

function play(kit, data) {
  const { matmul, transpose, identity, scale, add, softmaxRows, gram, inverse, logdet, eigh } = kit.linalg;
  const U = data.bases;
  const n = data.tokens.length;
  const p = U[0][0].length;

  // ---- the same functions as in crate_mini.compression and crate_mini.rates, for tokens as rows
  const rate = (Z, gamma) =>
    U.reduce((sum, Uk) => sum + 0.5 * logdet(add(identity(p), gram(matmul(Z, Uk)), gamma)), 0);
  const strongest = (Z, gamma) => Math.max(...U.map((Uk) => gamma * Math.max(...eigh(gram(matmul(Z, Uk))).values)));
  const overHeads = (Z, ofHead) =>
    U.map((Uk) => matmul(ofHead(matmul(Z, Uk)), transpose(Uk))).reduce((A, B) => add(A, B));
  const exact = (Z, gamma) =>
    overHeads(Z, (Zk) => scale(matmul(Zk, inverse(add(identity(p), gram(Zk), gamma))), gamma));
  const neumann = (Z, gamma) => overHeads(Z, (Zk) => scale(add(Zk, matmul(Zk, gram(Zk)), -gamma), gamma));
  const gathered = (Z, beta) =>
    overHeads(Z, (Zk) => matmul(softmaxRows(scale(matmul(Zk, transpose(Zk)), beta)), Zk));
  // length within the own subspace and outside it, for every token
  const places = (Z) => {
    const lengths = U.map((Uk) => matmul(Z, Uk).map((row) => kit.linalg.norm(row)));
    return Z.map((_, i) => {
      const own = lengths[data.labels[i]][i];
      return [own, Math.hypot(...lengths.filter((_, k) => k !== data.labels[i]).map((of) => of[i]))];
    });
  };
  const percent = (at) => {
    const shares = at.map(([own, out]) => (out * out) / (own * own + out * out || 1));
    return `${((100 * shares.reduce((a, b) => a + b, 0)) / n).toFixed(1)} %`;
  };
  const unit = (Z) => Z.map((z) => z.map((v) => v / (kit.linalg.norm(z) || 1)));

  const step = kit.choice({
    label: "step",
    options: [["exact", "exact"], ["neumann", "Neumann"], ["softmax", "softmax"], ["plus", "Z + MSSA"]],
    value: data.step,
  });
  const epsSq = kit.slider({ label: "ε²", min: 0.01, max: 2, value: 0.5, log: true });
  const share = kit.slider({ label: "κγ", min: -1, max: 1, step: 0.05, value: 0.5 });
  const beta = kit.slider({ label: "β", min: 0.3, max: 30, value: 8, log: true });

  const plot = kit.plot({
    x: [0, 1.25], y: [0, 1.25], equal: true, height: 340,
    xlabel: "length within its own subspace", ylabel: "length outside it",
    alt: "Every token before and after one step: its length within its own subspace and outside it",
  });
  const curves = kit.plot({
    x: [-1, 1], y: [-60, 60], height: 340, xlabel: "κγ", ylabel: "change of the rate (%)",
    alt: "Change of the compression rate in per cent against the step, for tokens as they are and at length one",
  });
  const limit = kit.readout({ label: "largest γσ²" });
  const outside = kit.readout({ label: "outside" });
  const raw = kit.readout({ label: "rate" });
  const normed = kit.readout({ label: "rate at length one" });
  const note = kit.note();

  kit.draw(() => {
    const Z = data.tokens;
    const gamma = p / (n * epsSq.value);
    const c = share.value;
    const soft = step.value === "softmax" || step.value === "plus";
    beta.show(soft);
    // every step is Z plus a multiple of one direction
    const direction = {
      exact: () => scale(exact(Z, gamma), -1 / gamma),
      neumann: () => scale(neumann(Z, gamma), -1 / gamma),
      softmax: () => add(gathered(Z, beta.value), Z, -1),
      plus: () => gathered(Z, beta.value),
    }[step.value]();
    const moved = add(Z, direction, c);

    const [start, end] = [places(Z), places(moved)];
    const farthest = Math.max(1.05, ...end.flat());
    plot.range({ x: [0, 1.1 * Math.min(3, farthest)], y: [0, 1.1 * Math.min(3, farthest)] });
    const colour = (i) => ["blue", "orange", "green", "purple"].map((name) => kit.colours[name])[data.labels[i] % 4];
    start.forEach((from, i) => plot.line([from, end[i]], { color: kit.colours.quiet, width: 0.7 }));
    start.forEach((from, i) => plot.dots([from], { color: colour(i), r: 2.5, opacity: 0.45 }));
    end.forEach((to, i) => plot.dots([to], { color: colour(i), r: 4 }));
    outside.set(`${percent(start)} → ${percent(end)}`);

    const s = strongest(Z, gamma);
    const [before, after] = [rate(Z, gamma), rate(moved, gamma)];
    const [unitBefore, unitAfter] = [rate(unit(Z), gamma), rate(unit(moved), gamma)];
    limit.set(s.toFixed(2));
    raw.set(`${before.toFixed(2)} → ${after.toFixed(2)}`);
    normed.set(`${unitBefore.toFixed(2)} → ${unitAfter.toFixed(2)}`);
    const changes = (t) => {
      const end = add(Z, direction, t);
      return [100 * (rate(end, gamma) / before - 1), 100 * (rate(unit(end), gamma) / unitBefore - 1)];
    };
    const sweep = Array.from({ length: 41 }, (_, i) => (i - 20) / 20);
    const values = sweep.map(changes);
    const reach = Math.min(200, Math.max(10, ...values.flat().map(Math.abs)));
    curves.range({ y: [-1.1 * Math.min(reach, 100), 1.1 * reach] });
    curves.hline(0, { color: kit.colours.quiet, width: 1 });
    curves.vline(c, { color: kit.colours.quiet, width: 1 });
    [["as they are", kit.colours.purple], ["at length one", kit.colours.green]].forEach(([label, color], i) => {
      curves.line(sweep.map((t, k) => [t, values[k][i]]), { color, width: 2, label });
      curves.dots([[c, changes(c)[i]]], { color, r: 4.5 });
    });

    const up = after > before;
    if (c === 0) note.set("No step at all.");
    else if (c < 0) {
      note.set({
        exact: "κγ below zero: uphill, against the derivation. The tokens grow.",
        neumann: "κγ below zero: uphill while γσ² stays below one; beyond, even this sign is not reliable.",
        softmax: "κγ below zero: tokens run away from what they gather.",
        plus: "Minus attention: the tokens lose length, and so the rate as they are. Look at it at length one.",
      }[step.value]);
    } else {
      note.set({
        exact: "One linear map for all: what is within and what is outside shrink nearly alike.",
        neumann: s < 1
          ? "γσ² is below one: the series converges, and the step is close to the exact one."
          : up
            ? "γσ² is above one: strong directions grow, and the rate goes up instead of down."
            : "γσ² is above one: the series does not converge, and the step is no longer to be trusted.",
        softmax: "Each token goes part of the way to what it gathers. Change β: too flat and all shrinks, too sharp and nothing moves, in between the dots fall more than they go left.",
        plus: up
          ? "As they are, the tokens cost more: they got longer. Compare the rate at length one with the softmax step."
          : "Z plus attention.",
      }[step.value]);
    }
  });
}
