"""MaskCut's masks, end to end: the iterative solver against SciPy's dense generalised eigenproblem.

Both sides get the same tokens of the same photographs, 60 x 60 patches (480 pixels, patch 8), and return up to three
masks. The one is :func:`crate_mini.maskcut.maskcut`. The other is the procedure as it is published, with
``scipy.linalg.eigh(D - A, D, subset_by_index=[1, 1])`` for every cut and the features of painted patches zeroed in
between; both judge their eigenvectors by the same rules. They alternate image by image, so that a busy machine slows
both. Whatever masks differ (IoU below 0.99) are listed with the gap between the second and third eigenvalue, which
says how well the cut is determined.

    python benchmarks/bench_maskcut.py                             the full measurement: about 15 minutes
    python benchmarks/bench_maskcut.py --images 2 --no-write       a quick look
    python benchmarks/bench_maskcut.py --data embedded             where no photographs are at hand
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import Tensor
from tqdm.auto import tqdm

from crate_mini import data
from crate_mini.maskcut import Round, affinity, maskcut_rounds
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.token_pca import patch_features
from crate_mini.weights import load_pretrained

RESULT = Path(__file__).resolve().parent.parent / "results" / "benchmarks" / "maskcut.json"
SIZE, PEER = 480, "scipy.linalg.eigh(D - A, D, subset_by_index=[1, 1])"


def seconds(run: Callable[[], list[Round]]) -> tuple[float, list[Round]]:
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result


def compare(ours: list[Round], peer: list[Round]) -> float:
    """Smallest IoU of masks of the same place; 0 where one side has a mask that the other lacks."""
    a, b = ([r.mask for r in side if not r.dropped] for side in (ours, peer))
    if len(a) != len(b):
        return 0.0
    return min((((x & y).sum() / (x | y).sum()).item() for x, y in zip(a, b, strict=True)), default=1.0)


def gaps(features: Tensor, rounds: list[Round]) -> list[float]:
    """Distance of the second from the third eigenvalue, cut by cut, in float64."""
    alive = torch.ones(len(features), 1)
    found = []
    for cut in rounds:
        A = affinity(features * alive)
        root = A.sum(1).rsqrt()
        values = torch.linalg.eigvalsh(root[:, None] * A * root)
        found.append(float(values[-2] - values[-3]))
        alive[cut.mask.flatten()] = 0
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--weights", default="crate_mini_all_lion_s0")
    parser.add_argument("--layer", type=int, default=-2)
    parser.add_argument("--data", default="pets")
    parser.add_argument("--threads", type=int, help="CPU threads; torch's choice if not given")
    parser.add_argument("--no-write", action="store_true", help=f"do not write {RESULT.name}")
    add_dirty(parser)
    a = parser.parse_args()
    if not a.no_write:
        require_clean(a.dirty)
    if a.threads:
        torch.set_num_threads(a.threads)
    model = load_pretrained(a.weights)
    images = data.load(a.data, "test", image_size=SIZE, n=a.images)
    grid = (SIZE // model.config.patch_size,) * 2
    rows = []
    for i in tqdm(range(len(images))):
        (features,) = patch_features(model, images.images[i : i + 1], [a.layer]).values()
        sides = {"iterative": None, "dense": None}
        for solver in list(sides)[:: 1 if i % 2 else -1]:
            sides[solver] = seconds(lambda s=solver, f=features[0]: maskcut_rounds(f, grid, solver=s))
        (ours_s, ours), (peer_s, peer) = sides["iterative"], sides["dense"]
        row = {
            "ours_s": round(ours_s, 3),
            "peer_s": round(peer_s, 2),
            "ratio": round(peer_s / ours_s, 1),
            "cuts": len(ours),
            "products": [r.products for r in ours],
            "worst_iou": round(compare(ours, peer), 4),
        }
        if row["worst_iou"] < 0.99:
            row |= {"image": i, "gaps": gaps(features[0], ours)}
        rows.append(row)
    ratios = [r["ratio"] for r in rows]
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    result = provenance(
        "cpu",
        peer=PEER,
        setting={
            "weights": a.weights, "layer": a.layer, "data": images.name, "images": len(images),
            "patches": grid[0] * grid[1], "n_masks": 3,
        },
        ours_s=round(median(r["ours_s"] for r in rows), 3),
        peer_s=round(median(r["peer_s"] for r in rows), 2),
        ratio=round(sum(r["peer_s"] for r in rows) / sum(r["ours_s"] for r in rows), 1),
        ratio_quartiles=[round(low, 1), round(high, 1)],
        equal=sum(r["worst_iou"] >= 0.99 for r in rows),
        rows=rows,
    )  # fmt: skip
    print(
        f"{result['ours_s']:.2f} s against {result['peer_s']:.1f} s an image (medians): {result['ratio']:.0f} times "
        f"({low:.0f} to {high:.0f}); masks equal (IoU 0.99 and above) on {result['equal']} of {len(rows)} images"
    )
    for r in rows:
        if r["worst_iou"] < 0.99:
            print(f"  image {r['image']}: IoU {r['worst_iou']}, gaps {r['gaps']}")
    if not a.no_write:
        write(RESULT, result, allow_dirty=a.dirty)


if __name__ == "__main__":
    main()
