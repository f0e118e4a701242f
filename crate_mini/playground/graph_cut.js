// MaskCut on a small photograph: join patches that are alike, look at the second eigenvector, cut, paint, cut again.
// data: {grid, eps, tau, patch: [row, column], pictures: [{name, photo, cosines}, …]}; cosines holds those of all pairs
// of patches i < j, row by row, as 16-bit numbers (low byte first) in base64: -1 at 0 and 1 at 65535.

"use strict";

function play(kit, data) {
  const g = data.grid;
  const n = g * g;
  const pictures = data.pictures.map(({ name, photo, cosines }) => {
    const bytes = Uint8Array.from(atob(cosines), (c) => c.charCodeAt(0));
    const rows = Array.from({ length: n }, () => new Float64Array(n).fill(1));
    for (let i = 0, at = 0; i < n; i++) {
      for (let j = i + 1; j < n; j++, at += 2) rows[i][j] = rows[j][i] = (bytes[at] + 256 * bytes[at + 1]) / 32767.5 - 1;
    }
    return { name, photo, rows };
  });
  let patch = data.patch[0] * g + data.patch[1];
  const atPatch = (i) => [(i % g) + 0.5, g - Math.floor(i / g) - 0.5]; // rows run down, the plot's y runs up
  const cell = (i) => {
    const [x, y] = atPatch(i);
    return [[x - 0.5, y - 0.5], [x + 0.5, y - 0.5], [x + 0.5, y + 0.5], [x - 0.5, y + 0.5]];
  };

  // ---- the same as crate_mini.maskcut, for a grid so small that the whole spectrum is at hand
  const secondVector = (cosines, tau, painted) => {
    const joined = (i, j) => !painted[i] && !painted[j] && cosines[i][j] > tau;
    const A = Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => (joined(i, j) ? 1 : data.eps)));
    const root = A.map((row) => 1 / Math.sqrt(row.reduce((a, b) => a + b, 0)));
    const { values, vectors } = kit.linalg.eigh(A.map((row, i) => row.map((a, j) => root[i] * a * root[j])));
    const v = root.map((r, i) => r * vectors[i][n - 2]);
    const length = kit.linalg.norm(v);
    return { value: 1 - values[n - 2], v: v.map((e) => e / length) };
  };
  const largest = (v) => {
    const [low, high] = [Math.min(...v), Math.max(...v)];
    return v.findIndex((e) => e >= high - 1e-4 * (high - low));
  };
  const piece = (above, seed) => {
    const found = above.map(() => false);
    const open = [seed];
    found[seed] = true;
    while (open.length) {
      const i = open.pop();
      const [r, c] = [Math.floor(i / g), i % g];
      for (const [a, b] of [[r - 1, c], [r + 1, c], [r, c - 1], [r, c + 1]]) {
        const j = a * g + b;
        if (a >= 0 && a < g && b >= 0 && b < g && above[j] && !found[j]) { found[j] = true; open.push(j); }
      }
    }
    return found;
  };
  const split = (v) => {
    const mean = v.reduce((a, b) => a + b, 0) / n;
    let above = v.map((e) => e > mean);
    const corners = [0, g - 1, n - g, n - 1].filter((i) => above[i]).length;
    const turned = corners >= 3 || (corners === 2 && !above[largest(v.map(Math.abs))]);
    const up = turned ? v.map((e) => -e) : v;
    if (turned) above = above.map((a) => !a);
    const seed = largest(up);
    return { up, mean: turned ? -mean : mean, seed, found: piece(above, seed) };
  };
  const count = (mask) => mask.filter(Boolean).length;
  const search = (cosines, tau, rounds) => {
    const cuts = [];
    const painted = Array(n).fill(false);
    const pairs = cosines.reduce((sum, row, i) => sum + row.filter((c, j) => j !== i && c > tau).length, 0);
    const share = pairs / (n * (n - 1));
    if (share === 0 || share === 1) return { cuts, share };
    for (let r = 0; r < rounds; r++) {
      const { value, v } = secondVector(cosines, tau, painted);
      const cut = { value, ...split(v), dropped: "" };
      cut.mask = cut.found.map((f, i) => f && !painted[i]);
      const again = cuts.some(({ found }) => {
        const both = count(found.map((f, i) => f && cut.found[i]));
        return both / (count(found) + count(cut.found) - both) > 0.5;
      });
      if (again) cut.dropped = "again";
      else if (r > 0 && count(cut.found) <= 0.01 * n) cut.dropped = "small";
      else if (r > 0 && !count(cut.mask)) cut.dropped = "again";
      cuts.push(cut);
      if (cut.dropped) break;
      cut.mask.forEach((m, i) => { if (m) painted[i] = true; });
    }
    return { cuts, share };
  };

  // ---- what the reader may change
  const picture = kit.choice({ label: "picture", options: pictures.map(({ name }, i) => [i, name]), value: 0 });
  const tau = kit.slider({ label: "τ", min: 0, max: 0.95, step: 0.01, value: data.tau, format: (v) => v.toFixed(2) });
  const cutNumber = kit.choice({ label: "cut", options: [[1, "first"], [2, "second"], [3, "third"]], value: 1 });
  const show = kit.choice({ label: "show", options: [["vector", "eigenvector"], ["graph", "neighbours"]], value: "vector" });

  const square = { x: [0, g], y: [0, g], equal: true, bare: true, height: 240 };
  const photo = kit.plot({ ...square, title: "the masks so far", alt: "The photograph, with the patches of each mask tinted" });
  const map = kit.plot({ ...square, title: " ", alt: "The second eigenvector, red on the object's side, or the patches that are joined to the marked one" });
  const readouts = {
    share: kit.readout({ label: "pairs joined" }),
    value: kit.readout({ label: "second eigenvalue" }),
    size: kit.readout({ label: "patches in the mask" }),
  };
  const note = kit.note();

  const choose = (x, y) => {
    const column = Math.min(g - 1, Math.max(0, Math.floor(x)));
    const row = Math.min(g - 1, Math.max(0, Math.floor(g - y)));
    patch = row * g + column;
    show.set("graph");
  };
  const ring = photo.handle({ at: atPatch(patch), label: "the patch", r: 7, move: choose });
  const press = (x, y) => { choose(x, y); ring.at = atPatch(patch); };
  photo.hover({ press });
  map.hover({ press });

  const rowsOf = (list) => Array.from({ length: g }, (_, r) => list.slice(r * g, (r + 1) * g));
  const tints = ["orange", "blue", "green"].map((name) => kit.colours[name]);
  let last = {};

  kit.draw(() => {
    const { photo: href, rows: cosines } = pictures[picture.value];
    const asked = `${picture.value} ${tau.value} ${cutNumber.value}`;
    if (last.asked !== asked) last = { asked, ...search(cosines, tau.value, cutNumber.value) };
    const { cuts, share } = last;
    const cut = cuts.at(-1);

    photo.image(href);
    cuts.forEach(({ mask, dropped }, r) => {
      if (!dropped) mask.forEach((m, i) => { if (m) photo.polygon(cell(i), { color: tints[r], fillOpacity: 0.5, width: 0.5 }); });
    });
    map.options.title = show.value === "vector" ? "second eigenvector, and the seed" : "joined to the marked patch";
    map.layOut();
    if (show.value === "graph") {
      const painted = cosines.map((_, i) => cuts.slice(0, -1).some(({ mask }) => mask[i]));
      const joined = [...cosines[patch]].map((c, i) => (!painted[i] && !painted[patch] && c > tau.value ? 1 : 0));
      map.heat(rowsOf(joined), { low: -0.25, high: 1.1 });
      map.polygon(cell(patch), { color: kit.colours.orange, fillOpacity: 0, width: 2.5 });
    } else if (cut) {
      const reach = Math.max(...cut.up.map((e) => Math.abs(e - cut.mean)));
      map.heat(rowsOf(cut.up.map((e) => e - cut.mean)), { low: -reach, high: reach, colours: "diverging" });
      map.polygon(cell(cut.seed), { color: "#000", fillOpacity: 0, width: 2.5 });
    }

    readouts.share.set(`${(100 * share).toFixed(1)} %`);
    readouts.value.set(cut ? cut.value.toFixed(4) : "none");
    readouts.size.set(cut && !cut.dropped ? String(count(cut.mask)) : "none");
    if (share === 1) note.set("Everything is joined to everything: there is nothing to cut.");
    else if (share === 0) note.set("Nothing is joined to anything: there is nothing to cut.");
    else if (cut.dropped === "again") note.set("The search is over: this cut finds an earlier object again.");
    else if (cut.dropped === "small") note.set("The search is over: this cut finds a scrap of the image, too small to count.");
    else if (cut.value < 0.02) note.set("The graph falls into pieces that hang together by ε alone: cutting costs next to nothing, and a scrap may be cut off for an object.");
    else if (share > 0.8) note.set("Nearly everything is joined. The cut has little to go by.");
    else if (cutNumber.value > 1) note.set("What earlier cuts found is painted over: those patches have no neighbours any more.");
    else note.set("Red is the object's side; its strongest patch, the seed, is framed. Move the ring: are the neighbours of an object patch on the object?");
  });
}
