"""What the parts of ISTA are worth in the shipped network: accuracy with one of them changed at a time.

Nothing is trained again. Every variant keeps all weights but what its name says, in every layer, and names
held-out images of Tiny-ImageNet. Chapter 04 reads what this writes.

    CRATE_MINI_DATA=... python tools/measure_sparsification.py
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from crate_mini import data
from crate_mini.model import CRATE, Block
from crate_mini.passes import run
from crate_mini.recorder import record
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.sparsification import ISTA, sparse_code
from crate_mini.stats import normal_interval
from crate_mini.weights import load_pretrained

RESULT = Path(__file__).resolve().parent.parent / "results" / "derivation" / "sparsification.json"


class Solved(ISTA):
    """The LASSO's solution, as near as 100 accelerated steps come, in place of one step."""

    def forward(self, Y: Tensor) -> Tensor:
        """Sparse codes of the tokens."""
        return sparse_code(Y, self.D, self.lam, steps=100)


def no_step(block: Block) -> None:
    """The token's own ReLU: no gradient step and no threshold."""
    block.feed.step = 0.0


def fresh_dictionary(block: Block) -> None:
    """D as at the start of training, drawn anew."""
    block.feed.D.copy_(ISTA(block.feed.D.shape[0]).D)


def soft(block: Block) -> None:
    """Soft threshold in place of the ReLU."""
    block.feed.proximal = "soft"


def solved(block: Block) -> None:
    """Solve the problem instead of taking one step."""
    block.feed.__class__ = Solved


def with_lam(lam: float) -> Callable[[Block], None]:
    """Another threshold."""

    def change(block: Block) -> None:
        block.feed.lam = lam

    return change


VARIANTS = {
    "as trained": lambda block: None,
    "lam 0": with_lam(0.0),
    "lam 1": with_lam(1.0),
    "lam 3": with_lam(3.0),
    "lam 10": with_lam(10.0),
    "no gradient step": no_step,
    "fresh dictionary": fresh_dictionary,
    "soft threshold": soft,
    "problem solved": solved,
}


def measure(model: CRATE, change: Callable[[Block], None], images: data.ImageSet) -> dict:
    """Right answers, image by image, and the share of zeros after each layer."""
    model = copy.deepcopy(model)
    for block in model.blocks:
        change(block)

    def look(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        seen = record(model, batch, ["tokens_out"])
        zeros = [(z == 0).float().mean((1, 2)) for z in seen["tokens_out"].values()]
        return {"named": seen["logits"].argmax(-1), "zeros": torch.stack(zeros, 1)}

    found = run(model, images, look, batch_size=125)
    return {"right": (found["named"] == images.labels).tolist(), "zeros": found["zeros"].mean(0).tolist()}


def main() -> None:
    """Measure all variants and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="crate_mini_all_lion_s0")
    parser.add_argument("--data", default="tiny-imagenet")
    parser.add_argument("--n", type=int, default=1250, help="images to draw")
    parser.add_argument("--out", type=Path, default=RESULT)
    add_dirty(parser)
    arguments = parser.parse_args()
    require_clean(arguments.dirty)
    torch.manual_seed(0)
    model = load_pretrained(arguments.weights).requires_grad_(False)
    images = data.load(arguments.data, "val", n=arguments.n)
    found = {name: measure(model, change, images) for name, change in VARIANTS.items()}
    base = torch.tensor(found["as trained"]["right"], dtype=torch.float64)
    variants = {}
    for name, got in found.items():
        right = torch.tensor(got["right"], dtype=torch.float64)
        change = right - base
        low, high = normal_interval(change.mean().item(), change.std().item(), len(change))
        variants[name] = {
            "top1": right.mean().item(),
            # of the difference, paired by image: both variants saw the same ones
            "change": change.mean().item(),
            "change_95": (high - low) / 2,
            "zeros_by_layer": [round(z, 4) for z in got["zeros"]],
        }
    facts = provenance(weights=arguments.weights, data=f"{arguments.data}/val", images=len(images), seed=0)
    write(arguments.out, facts | {"variants": variants}, allow_dirty=arguments.dirty)
    for name, v in variants.items():
        print(f"{name:<18} {v['top1']:.3f}  {v['change']:+.3f} ± {v['change_95']:.3f}  {v['zeros_by_layer']}")


if __name__ == "__main__":
    main()
