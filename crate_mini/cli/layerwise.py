"""``crate-mini layerwise``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from crate_mini.cli.common import (
    COUNT,
    NOT_NEGATIVE,
    add_data,
    add_evaluation,
    model_and_images,
    number,
    report,
)
from crate_mini.layerwise import NORMALISE, curve, measure
from crate_mini.results import provenance
from crate_mini.training import evaluate

# what float32 can tell from nothing, beside tokens whose length is about one
EPS_SQ = number(lambda x: 1e-12 <= x <= 1e12, "be positive, from 1e-12 to 1e12")


def fill(p: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    add_evaluation(p)
    add_data(p, None, None)
    p.add_argument(
        "--eps-sq",
        type=EPS_SQ,
        metavar="X",
        nargs="+",
        default=[0.01],
        help="squared precision, one or several",
    )
    p.add_argument(
        "--normalise", nargs="+", choices=NORMALISE, default=list(NORMALISE), help="how tokens are scaled"
    )
    p.add_argument(
        "--lam",
        type=NOT_NEGATIVE,
        metavar="X",
        default=0.1,
        help="nats for each non-zero entry, in the objective",
    )
    p.add_argument(
        "--near-zero",
        type=NOT_NEGATIVE,
        metavar="X",
        default=0.01,
        help="in units of the tokens' root mean square",
    )
    p.add_argument("--batch-size", type=COUNT, metavar="N", default=32, help="images a forward pass")
    p.set_defaults(run=_layerwise)


def _layerwise(a: argparse.Namespace) -> None:
    model, images, device = model_and_images(a)
    result = provenance(device, weights=a.weights, data=images.name, seed=a.seed)
    result |= {"image_size": a.image_size, "untrained": a.untrained}
    if images.classes and images.classes == getattr(model, "classes", ()):
        result["accuracy"] = evaluate(model, images)
    result |= measure(
        model, images, eps_sq=a.eps_sq, normalise=a.normalise, lam=a.lam, near_zero=a.near_zero,
        batch_size=a.batch_size
    )  # fmt: skip
    report(a, result, lambda result: _print_layers(result, a.normalise, a.eps_sq))


def _print_layers(result: dict, normalise: Sequence[str], precisions: Sequence[float]) -> None:
    """A table for each reading: R^c where the released code takes it and where the caption does, and its change."""
    zeros = curve(result, "zeros", "tokens_out")["mean"]
    for eps_sq in precisions:
        for name in normalise:
            print(f"\nR^c in nats, {NORMALISE[name]}; eps_sq {eps_sq:g}; mean over {result['images']} images")
            print("  layer   what attention sees   after attention   change   falls in   zeros after ISTA")
            seen, after = (
                curve(result, "Rc", p, name, eps_sq)["mean"] for p in ("attention_in", "tokens_mid")
            )
            change, lower = (
                curve(result, q, "compress", name, eps_sq)["mean"] for q in ("Rc", "share_lower")
            )
            for i in range(len(zeros)):
                print(
                    f"  {i:>5}   {seen[i]:>19.1f}   {after[i]:>15.1f}   {change[i]:>+6.1f}   {lower[i]:>8.0%}"
                    f"   {zeros[i]:>16.1%}"
                )
