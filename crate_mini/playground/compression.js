// One step on the compression rate of tokens in the plane, near two lines that are heads of dimension one.
// data: tokens [[x, y], …], bases K x d x p, labels [0 or 1, …].

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
  const unit = (Z) => Z.map((z) => z.map((v) => v / (kit.linalg.norm(z) || 1)));

  const step = kit.choice({
    label: "step",
    options: [["exact", "exact"], ["neumann", "Neumann"], ["softmax", "softmax"], ["plus", "Z + MSSA"]],
  });
  const epsSq = kit.slider({ label: "ε²", min: 0.01, max: 2, value: 0.5, log: true });
  const share = kit.slider({ label: "κγ", min: -1, max: 1, step: 0.05, value: 0.5 });
  const beta = kit.slider({ label: "β", min: 0.3, max: 30, value: 4, log: true });

  const plot = kit.plot({
    x: [-2.4, 2.4], y: [-2.4, 2.4], equal: true, height: 340,
    alt: "Tokens near two lines in the plane, and where one step takes them",
  });
  const curves = kit.plot({
    x: [-1, 1], y: [-60, 60], height: 340, xlabel: "κγ", ylabel: "change of the rate (%)",
    alt: "Change of the compression rate in per cent against the step, for tokens as they are and at length one",
  });
  const limit = kit.readout({ label: "largest γσ²" });
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

    for (const Uk of U) {
      const [x, y] = [Uk[0][0], Uk[1][0]];
      plot.line([[-9 * x, -9 * y], [9 * x, 9 * y]], { color: kit.colours.line, width: 1.5 });
    }
    const colour = (i) => [kit.colours.blue, kit.colours.orange][data.labels[i]];
    Z.forEach((from, i) => plot.line([from, moved[i]], { color: kit.colours.quiet, width: 1 }));
    Z.forEach((from, i) => plot.dots([from], { color: colour(i), r: 2.5, opacity: 0.35 }));
    moved.forEach((to, i) => plot.dots([to], { color: colour(i), r: 4 }));

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
        exact: "κγ below zero: uphill, against the derivation. The tokens spread.",
        neumann: "κγ below zero: uphill while γσ² stays below one; beyond, even this sign is not reliable.",
        softmax: "κγ below zero: tokens run away from those that resemble them, and leave their lines.",
        plus: "Minus attention: the rate as it is falls, for the tokens only get shorter. They leave their lines.",
      }[step.value]);
    } else {
      note.set({
        exact: "One linear map for all: each direction shrinks, the weaker one more. No token is put on its line.",
        neumann: s < 1
          ? "γσ² is below one: the series converges, and the step is close to the exact one."
          : up
            ? "γσ² is above one: strong directions grow, and the rate goes up instead of down."
            : "γσ² is above one: the series does not converge, and the step is no longer to be trusted.",
        softmax: "Each token goes part of the way to what it gathers. In the wrong head it sees only noise, which averages out.",
        plus: up
          ? "As they are, the tokens cost more: they got longer. Compare the rate at length one with the softmax step."
          : "Z plus attention.",
      }[step.value]);
    }
  });
}
