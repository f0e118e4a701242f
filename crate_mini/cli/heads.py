"""``crate-mini evaluate heads``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from crate_mini import heads
from crate_mini.cli.common import COUNT, add_data, add_evaluation, model_and_images, report
from crate_mini.data import ImageSet
from crate_mini.model import CRATE
from crate_mini.results import plain, provenance

_plain = partial(plain, digits=4)


def add(kinds: argparse._SubParsersAction) -> None:
    """Add the kind to the parser of ``evaluate``."""
    p = kinds.add_parser(
        "heads",
        help="which head finds which part, or the object, beside random subspaces",
        description="AUROC of every head's map for the pixels of every part (of the object, where a set has no parts), "
        "with intervals that hold for all heads and parts at once; beside it random subspaces of the same tokens and "
        "every head's map of another picture.",
    )
    add_evaluation(p)
    add_data(p, "embedded")
    p.add_argument("--by", choices=heads.BY, default="attention", help="what a map is made of")
    p.add_argument("--random", type=COUNT, metavar="N", default=64, help="random subspaces a layer")
    p.add_argument("--batch-size", type=COUNT, metavar="N", default=64, help="images a forward pass")
    p.set_defaults(run=_heads)


def _heads(a: argparse.Namespace) -> None:
    model, images, device = model_and_images(a)
    if a.random < (fewest := max(3, model.config.heads)):
        raise ValueError(
            f"--random must be at least {fewest} for a network of {model.config.heads} heads a layer"
        )
    result = provenance(device, weights=a.weights, untrained_weights=a.untrained)
    result |= {"data": images.name, "images": len(images), "image_size": a.image_size, "by": a.by}
    result["heads"] = score(model, images, by=a.by, random=a.random, seed=a.seed, batch_size=a.batch_size)
    report(a, result, _print)


def score(
    model: CRATE,
    images: ImageSet,
    *,
    by: str = "attention",
    random: int = 64,
    seed: int = 0,
    batch_size: int = 64,
) -> dict[str, dict[str, Any]]:
    """All numbers of one network on one set, as JSON types: by what a part is told apart from, see ``heads.WITHIN``.

    Raises:
        ValueError: the set has neither parts nor masks.
    """
    if images.parts is not None:
        labels, names = images.parts, images.part_names
        kinds: Sequence[str] = tuple(heads.WITHIN)
    elif images.masks is not None:
        labels, names, kinds = images.masks, ("background", "object"), ("image",)
    else:
        raise ValueError(f"the set {images.name!r} has neither parts nor masks to score heads against")
    c = model.config
    pixels = heads.pixel_counts(labels.cpu(), c.patch_size, len(names))
    settings = {"by": by, "batch_size": batch_size}
    maps = heads.head_maps(model, images.images, **settings)
    p = model.blocks[0].attention.head_dim
    bases = heads.random_bases(c.depth, random, c.dim, p, seed=seed)
    pool_maps = heads.head_maps(model, images.images, bases=bases, **settings)
    found = {}
    for within in kinds:
        scores = heads.part_scores(maps, pixels, within)
        moved = scores.new_full(scores.shape, torch.nan)  # of a single picture: there is no other
        if len(images) > 1:
            moved = heads.part_scores(heads.shuffle_pictures(maps), pixels, within)
        pool = heads.mean_seen(heads.part_scores(pool_maps, pixels, within))
        stands = heads.standing(heads.mean_seen(scores), pool)
        fair = heads.choose_and_report(scores.flatten(1, 2))
        found[within] = {
            "parts": list(names[1:]),
            "pictures": (~scores[:, 0, 0].isnan()).sum(0).tolist(),
            "ceiling": _plain(heads.mean_seen(heads.part_ceiling(pixels, within))),
            **{k: _plain(v) for k, v in heads.simultaneous(scores).items()},
            "another_picture": {k: _plain(v) for k, v in heads.simultaneous(scores - moved).items()},
            "random": {
                "subspaces": random,
                "mean": _plain(pool.mean(1)),
                "std": _plain(pool.std(1)),
                # of as many as the network has heads, wherever they are
                "best": _plain(_lucky(pool.flatten(0, 1).T, maps.shape[1] * maps.shape[2])),
                "p": _plain(stands["p"]),
                "threshold": _plain(stands["threshold"]),
            },
            "best_head": {k: _plain(v) for k, v in fair.items()},
        }
    return found


def _lucky(pool: torch.Tensor, heads_tried: int) -> torch.Tensor:
    """The expected best of as many of the pool, part by part; NaN for a part that no picture shows."""
    known = ~pool.isnan().any(1)
    found = torch.full((len(pool),), torch.nan, dtype=pool.dtype)
    found[known] = heads.best_of(pool[known], min(heads_tried, pool.shape[1]))
    return found


def _print(result: dict[str, Any]) -> None:
    for within, kept in result["heads"].items():
        _print_parts(within, kept)


def _print_parts(within: str, kept: dict[str, Any]) -> None:
    print(f"\n{heads.WITHIN[within]}: AUROC of the best head, chosen on one half and scored on the other")
    print(f"  {'part':<10} {'pictures':>8} {'best head':>10} {'best of as many random':>23} {'ceiling':>8}")
    for i, name in enumerate(kept["parts"]):
        values = kept["best_head"]["reported"][i], kept["random"]["best"][i], kept["ceiling"][i]
        shown = ["–" if v is None else f"{v:.3f}" for v in values]
        print(f"  {name:<10} {kept['pictures'][i]:>8} {shown[0]:>10} {shown[1]:>23} {shown[2]:>8}")
