// How many trainings a claim needs: so many of each network, drawn about a true difference, and what a test makes of it.
// data: {ratios, power, t, difference, spread, trainings}
//   power[n - 2][i]: how often Welch's test over n trainings a side decides, at a difference of ratios[i] spreads;
//   t[f - 1]: the 97.5 % quantile of Student's t with f degrees of freedom; the rest: where the controls start.

function play(kit, data) {
  const most = data.power.length + 1;
  const points = (v) => v.toFixed(1);
  const gap = kit.slider({ label: "true difference (points)", min: 0, max: 20, step: 0.5, value: data.difference, format: points });
  const spread = kit.slider({ label: "spread of trainings (points)", min: 0.5, max: 12, step: 0.1, value: data.spread, format: points });
  const count = kit.slider({ label: "trainings a side", min: 2, max: most, step: 1, value: data.trainings, format: String });
  let seed = 1;
  kit.button({ label: "Train again", press: () => { seed += 1; } });

  const dots = kit.plot({
    x: [0, 1], y: [-0.7, 2.6], height: 230, xlabel: "score (points, from the ViT's true one)", ylabel: "", yticks: false,
    alt: "Scores of the drawn trainings of both networks, and their difference with its interval",
  });
  const curve = kit.plot({
    x: [2, most], y: [0, 1], height: 230, xlabel: "trainings a side", ylabel: "chance to decide",
    alt: "How often a test decides, against the number of trainings a side",
  });
  const found = kit.readout({ label: "difference found" });
  const range = kit.readout({ label: "its 95 % interval" });
  const decides = kit.readout({ label: "chance to decide" });
  const wrong = kit.readout({ label: "one pair in the wrong order" });
  const note = kit.note();

  // between two places of a list, linearly
  const between = (list, place) => {
    const i = Math.min(list.length - 2, Math.max(0, Math.floor(place)));
    return list[i] + Math.min(1, place - i) * (list[i + 1] - list[i]);
  };
  const last = data.ratios[data.ratios.length - 1];
  const power = (ratio, n) => between(data.power[n - 2], (Math.min(ratio, last) / last) * (data.ratios.length - 1));
  // the quantile is nearly linear in one over the degrees of freedom
  const quantile = (f) => {
    const low = Math.min(data.t.length - 1, Math.max(1, Math.floor(f)));
    const [a, b] = [1 / low, 1 / (low + 1)];
    return data.t[low - 1] + ((a - 1 / f) / (a - b)) * (data.t[low] - data.t[low - 1]);
  };
  // the normal distribution function (Abramowitz and Stegun 7.1.26)
  const below = (z) => {
    const x = Math.abs(z) / Math.SQRT2;
    const t = 1 / (1 + 0.3275911 * x);
    const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * Math.exp(-x * x);
    return z < 0 ? tail / 2 : 1 - tail / 2;
  };
  const moments = (values) => {
    const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
    return [mean, values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (values.length - 1)];
  };

  kit.draw(() => {
    const [d, s, n] = [gap.value, spread.value, Math.round(count.value)];
    const { blue, orange, quiet, ink } = kit.colours;
    // the same luck, whatever the sliders say: they move the trainings, "Train again" draws others
    const { normal } = kit.random(seed);
    const luck = Array.from({ length: 2 * most }, () => normal());
    const crate = luck.slice(0, n).map((v) => d + s * v);
    const vit = luck.slice(most, most + n).map((v) => s * v);
    const [[a, va], [b, vb]] = [moments(crate), moments(vit)];
    const [ea, eb] = [va / n, vb / n];
    const freedom = ((ea + eb) ** 2 * (n - 1)) / (ea ** 2 + eb ** 2);
    const half = quantile(freedom) * Math.sqrt(ea + eb);
    const ends = [a - b - half, a - b + half];

    const everything = [...crate, ...vit, ...ends, 0];
    const room = 0.08 * (Math.max(...everything) - Math.min(...everything));
    dots.range({ x: [Math.min(...everything) - room, Math.max(...everything) + room] });
    dots.vline(0, { color: quiet, width: 1, dash: "4 3" });
    dots.dots(crate.map((v) => [v, 2]), { color: blue, r: 4.5 });
    dots.dots(vit.map((v) => [v, 1]), { color: orange, r: 4.5 });
    dots.line([[ends[0], 0], [ends[1], 0]], { color: ink, width: 3 });
    dots.dots([[a - b, 0]], { color: ink, r: 5 });
    const left = Math.min(...everything) - room;
    [["CRATE", 2, blue], ["ViT", 1, orange], ["CRATE − ViT", 0, ink]].forEach(([name, y, color]) =>
      dots.text([left, y], name, { color, dx: 4, dy: -9 }),
    );

    const all = Array.from({ length: most - 1 }, (_, i) => [i + 2, power(d / s, i + 2)]);
    const chance = power(d / s, n);
    curve.line(all, { color: ink, width: 2 });
    curve.hline(0.8, { label: "four times in five" });
    curve.dots([[n, chance]], { color: ink, r: 5 });

    const signed = (v) => (v < 0 ? "−" : "+") + Math.abs(v).toFixed(1);
    const percent = (v) => `${Math.round(100 * v)} %`;
    found.set(signed(a - b));
    range.set(`${signed(ends[0])} to ${signed(ends[1])}`);
    decides.set(percent(chance));
    wrong.set(percent(below(-d / (s * Math.SQRT2))));
    const clear = ends[0] > 0 || ends[1] < 0;
    note.set(
      d === 0
        ? clear
          ? "Decided, though there is nothing to find: this happens once in twenty times at most."
          : "Not decided, and rightly: there is nothing to find."
        : !clear
          ? "Not decided: the interval holds 0, although a difference is there."
          : a < b
            ? "Decided, for the wrong side."
            : "Decided: the interval leaves 0 out, on the right side.",
    );
  });
}
