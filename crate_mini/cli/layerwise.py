"""``crate-mini layerwise``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from crate_mini.cli.common import DEFAULTS, WEIGHTS, add_data, model_and_images
from crate_mini.layerwise import NORMALISE, curve, measure
from crate_mini.outputs import write_atomically
from crate_mini.provenance import provenance, result_text
from crate_mini.training import evaluate


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    p = commands.add_parser("layerwise", help="R^c, R and sparsity by layer and head", **DEFAULTS)
    p.add_argument("--weights", default="crate_mini_animals", help=WEIGHTS)
    add_data(p, "tiny-imagenet-animals")
    p.add_argument("--split", help="by default the last the set has")
    p.add_argument("--n", type=int, help="images to draw; by default all")
    p.add_argument("--seed", type=int, default=0, help="of the draw")
    p.add_argument("--untrained", action="store_true", help="fresh random weights of the same architecture")
    p.add_argument(
        "--eps-sq", type=float, nargs="+", default=[0.01], help="squared precision, one or several"
    )
    p.add_argument(
        "--normalise", nargs="+", choices=NORMALISE, default=list(NORMALISE), help="how tokens are scaled"
    )
    p.add_argument("--lam", type=float, default=0.1, help="nats for each non-zero entry, in the objective")
    p.add_argument("--near-zero", type=float, default=0.01, help="in units of the tokens' root mean square")
    p.add_argument("--batch-size", type=int, default=32, help="images a forward pass")
    p.add_argument("--device", help="by default the best there is")
    p.add_argument("--out", type=Path, help="write the numbers, with their provenance, to this JSON file")
    p.set_defaults(run=_layerwise)


def _layerwise(a: argparse.Namespace) -> None:
    model, images, device = model_and_images(a)
    result = provenance(device, weights=a.weights, data=images.name, seed=a.seed)
    result |= {"image_size": a.image_size, "untrained": a.untrained}
    if images.classes and images.classes == getattr(model, "classes", ()):
        result["accuracy"] = evaluate(model, images)
    result |= measure(
        model, images, eps_sq=a.eps_sq, normalise=a.normalise, lam=a.lam, near_zero=a.near_zero,
        batch_size=a.batch_size, progress=True,
    )  # fmt: skip
    _print_layers(result, a.normalise, a.eps_sq)
    if a.out is not None:
        write_atomically(a.out, lambda temporary: temporary.write_text(result_text(result), encoding="utf-8"))


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
