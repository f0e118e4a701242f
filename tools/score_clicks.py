"""How many clicks until the mask is good, for networks and for what needs none: ``results/clicks/*.json``.

    python tools/score_clicks.py                    drawn animals, and every set of photographs that is at hand
    python tools/score_clicks.py --sets embedded --networks none crate_mini_all_lion_s0  a part of it

The rule is that of crate_mini.clicks. Layer, head and threshold are chosen on other images than those that are scored:
for drawings on the val split, for photographs on the training split of the pets. Drawings have a seed of their own, at
which nobody looked. What is compared on photographs was written down before: ``results/clicks/plan.json``. Networks are
the family's pairs of CRATE and the ViT of as many parameters, and untrained ones of their shapes. They see 128 pixels a
side; colours are taken and masks are compared at 64. Other rows of a file stay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from scipy.ndimage import label as regions
from torch import Tensor

from crate_mini import clicks, data
from crate_mini.clicks import Guide
from crate_mini.data import DataError, ImageSet
from crate_mini.data.imageset import IGNORE
from crate_mini.model import CRATE
from crate_mini.results import add_dirty, commit, plain, provenance, require_clean, write
from crate_mini.segmentation.evaluation import untrained_twin
from crate_mini.stats import mean_interval
from crate_mini.weights import list_pretrained, load_pretrained

RESULTS = Path(__file__).resolve().parent.parent / "results" / "clicks"
PAIRS = (
    ("crate_mini_all_lion_s0", "vit_mini_6_all_lion_s0"),
    ("crate_mini_all_lion_s1", "vit_mini_6_all_lion_s1"),
    ("crate_mini_all_lion_s2", "vit_mini_6_all_lion_s2"),
)
"""The family's trainings of CRATE and of the ViT, two by two of one recipe."""
NANO = {"crate_nano_embedded": "CRATE", "crate_nano_embedded_s1": "CRATE", "vit_nano_embedded": "ViT"}
"""Networks that were trained on drawings; scored on these alone."""
TWINS = ("crate_mini_all_lion_s0", "vit_mini_6_all_lion_s0")  # scored untrained, too
SEEDS = (0,)  # of the untrained ones
SIZE, VIEW, SEED, LEAST, DRAWS = 128, 64, 19, 0.04, 1
WEIGHTS = (0.2, 0.4, 0.8)
"""Of places, and of tokens, beside colours."""
BLURS = (0.0, 1.0)
CHOSEN_ON = dict.fromkeys(("embedded", "embedded_nano"), ("embedded", "val", 16))
PHOTOGRAPHS = ("pets", "train", 16)
SETS = {
    "embedded": ("embedded", "test", 48),
    "embedded_nano": ("embedded", "test", 48),
    "pets": ("pets", "test", 48),
    "horses": ("horses", "test", 48),
    "voc2012": ("voc2012", "val", 60),
    "coco": ("coco", "val", 48),
}


@lru_cache
def pictures(name: str, split: str, n: int | None) -> ImageSet:
    """Images with one object each: the mask, or the largest connected region of a class; small objects left out."""
    found = data.load(name, split, image_size=SIZE, n=n, seed=SEED, progress=False)
    masks = found.masks
    if found.part_names and name != "embedded":
        masks = torch.stack([largest_region(parts) for parts in found.parts])
    share = (masks == 1).sum((1, 2)) / (masks <= 1).sum((1, 2)).clamp(min=1)
    kept = (share >= LEAST).nonzero()[:, 0]
    return replace(found, masks=masks).subset(kept)


def views(found: ImageSet) -> tuple[Tensor, list[Tensor]]:
    """Pictures and masks at the size at which colours are taken and masks compared."""
    step = SIZE // VIEW
    small = F.avg_pool2d(found.images.float(), step).round().byte()
    return small, list(found.masks[:, step // 2 :: step, step // 2 :: step])


def largest_region(parts: Tensor) -> Tensor:
    """1 on the largest connected region of a class."""
    best, most = torch.zeros_like(parts, dtype=torch.bool), 0
    for c in parts.unique().tolist():
        if c in (0, IGNORE):
            continue
        numbered = torch.from_numpy(regions(parts.numpy() == c)[0])
        counts = numbered.flatten().bincount()
        counts[0] = 0
        if counts.max() > most:
            best, most = numbered == counts.argmax(), int(counts.max())
    return torch.where(parts == IGNORE, parts, best.to(parts.dtype))


def plain_guides(found: ImageSet) -> dict[str, Callable[[int], Mapping[str, Guide]]]:
    """What needs no network; the last one knows the object."""
    (pixels, truths), grid = views(found), (SIZE // 8, SIZE // 8)
    return {
        "disc": lambda i: {"": clicks.disc_guide((VIEW, VIEW))},
        "colour": lambda i: {f"blur {b:g}": clicks.colour_guide(pixels[i], blur=b) for b in BLURS},
        "growing": lambda i: {f"blur {b:g}": clicks.growing_guide(pixels[i], blur=b) for b in BLURS},
        "colour and place": lambda i: {
            f"blur {b:g}, place {p:g}": clicks.colour_guide(pixels[i], blur=b, place=p)
            for b in BLURS
            for p in WEIGHTS
        },
        "known patches": lambda i: {"": clicks.known_patches(truths[i], grid)},
    }


def network_guides(model: CRATE, found: ImageSet) -> dict[str, Callable[[int], Mapping[str, Guide]]]:
    """By kind, those of one network; pictures are run anew only where there are many."""
    pixels = views(found)[0]

    @lru_cache(maxsize=32)
    def seen(i: int) -> dict[str, dict[str, Guide]]:
        return clicks.network_guides(model, found.images[i])

    def with_colour(i: int) -> dict[str, Guide]:
        return {
            f"{option}, weight {weight:g}": clicks.with_colour(guide, pixels[i], blur=1.0, weight=weight)
            for option, guide in seen(i)["tokens"].items()
            if option.endswith("centred")
            for weight in WEIGHTS
        }

    kinds = ("attention", "tokens", "embedding")
    return {kind: lambda i, kind=kind: seen(i)[kind] for kind in kinds} | {"colour and tokens": with_colour}


Guides = Mapping[str, Callable[[int], Mapping[str, Guide]]]


def chosen(guides: Guides, found: ImageSet) -> dict[str, dict[str, Any]]:
    """For each kind of guide the option, threshold and join that do best."""
    return {kind: clicks.choose(of, views(found)[1], seed=SEED) for kind, of in guides.items()}


def score(choices: Mapping[str, Mapping[str, Any]], guides: Guides, found: ImageSet) -> dict[str, Any]:
    """For each kind of guide what was chosen, and its clicks."""
    rows = {}
    for kind, choice in choices.items():
        how = (choice[k] for k in ("option", "threshold", "join"))
        played = clicks.games(guides[kind], views(found)[1], *how, draws=DRAWS, seed=SEED + 1)
        numbers = [[game.number() for game in of] for of in played]
        first = torch.tensor([[game.ious[0] for game in of] for of in played]).mean(1)
        rows[kind] = {
            "option": choice["option"],
            "join": choice["join"],
            "threshold": plain(choice["threshold"]),
            "chosen_with": {k: plain(choice[k], 4) for k in ("first_iou", "clicks")},
            "clicks": plain(list(mean_interval(torch.tensor(numbers).double().mean(1))), 4),
            "first_iou": plain(list(mean_interval(first)), 4),
            "reached": plain(sum(g.reached() for of in played for g in of) / sum(map(len, played)), 4),
            "numbers": [n for of in numbers for n in of],
        }
        said = f"{kind:18} {choice['option']:22} {rows[kind]['clicks']} first {rows[kind]['first_iou']}"
        print(f"  {said}", flush=True)
    return rows


def networks(name: str) -> dict[str, dict[str, Any]]:
    """Everything that is scored on a set, by name."""
    if name == "embedded_nano":
        return {file: {"kind": kind, "pair": None, "seed": None} for file, kind in NANO.items()}
    found: dict[str, dict[str, Any]] = {"none": {"kind": "none"}}
    shipped = list_pretrained()  # a row of weights that have left the package stays as it is
    found |= {
        name: {"kind": kind, "pair": i, "seed": None}
        for i, pair in enumerate(PAIRS)
        for kind, name in zip(("CRATE", "ViT"), pair, strict=True)
        if name in shipped
    }
    for kind, name in zip(("CRATE", "ViT"), TWINS, strict=True):
        found |= {f"{name}/untrained{s}": {"kind": kind, "pair": None, "seed": s} for s in SEEDS}
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="what is scored")
    parser.add_argument("--networks", nargs="+", help="rows to score, by name; all if nothing is said")
    add_dirty(parser)
    args = parser.parse_args()
    require_clean(args.dirty)
    torch.set_num_threads(1)
    together = [[name] for name in args.sets if name in CHOSEN_ON]
    together.append([name for name in args.sets if name not in CHOSEN_ON])
    for names in filter(None, together):
        try:
            chosen_on = pictures(*CHOSEN_ON.get(names[0], PHOTOGRAPHS))
            sets = {name: pictures(*SETS[name]) for name in names}
        except DataError as error:
            print(f"{', '.join(names)}: left out, {error}")
            continue
        score_sets(chosen_on, sets, args.networks, args.dirty)


def score_sets(
    chosen_on: ImageSet, sets: Mapping[str, ImageSet], only: list[str] | None, dirty: bool
) -> None:
    """One file for each set; everything is chosen once."""
    written: dict[str, dict[str, Any]] = {}
    for name, found in sets.items():
        about = {"images": len(found), "draws": DRAWS, "size": SIZE, "view": VIEW, "seed": SEED, "least": LEAST,
                 "chosen_on": list(CHOSEN_ON.get(name, PHOTOGRAPHS)[:2]), "chosen_images": len(chosen_on),
                 "goal": clicks.GOAL, "most": clicks.MOST}  # fmt: skip
        path = RESULTS / f"{name}.json"
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else {}
        written[name] = {"about": about | provenance("cpu"), "rows": rows}
    order = networks(next(iter(sets)))
    for row, about in order.items():
        if only and row not in only:
            continue
        about |= {"commit": commit()}
        file, _, seed = row.partition("/untrained")
        if row == "none":
            guides_of = plain_guides
        else:
            model = load_pretrained(file)
            if seed:
                model = untrained_twin(model, seed=int(seed))
            guides_of = partial(network_guides, model)
            about |= {"sha256": None if seed else list_pretrained()[file]["sha256"]}
        choices = chosen(guides_of(chosen_on), chosen_on)
        for name, found in sets.items():
            print(row, name, flush=True)
            rows = written[name]["rows"] | {row: about | score(choices, guides_of(found), found)}
            written[name]["rows"] = {key: rows[key] for key in order if key in rows}
            write(RESULTS / f"{name}.json", written[name], allow_dirty=dirty)


if __name__ == "__main__":
    main()
