"""The numbers in book/training_at_scale.md, worked out from counted multiply-adds and written between its marks.

python tools/scale_table.py           print what the page should hold
python tools/scale_table.py --write   put it there
"""

from __future__ import annotations

import argparse
from pathlib import Path

import page_blocks

from crate_mini.model import CRATEConfig
from crate_mini.operations import ACCELERATORS, multiply_adds, published_share, training_multiply_adds
from crate_mini.recipes import get_recipe
from crate_mini.registry import model_config

PAGE = Path(__file__).resolve().parent.parent / "book" / "training_at_scale.md"
IMAGES, CLASSES = 14_200_000, 21_841
SHARE = 0.3  # assumed
PRICE = 2.0  # US dollars for an hour of an A100, assumed
GPUS = 8
MODELS = {
    "CRATE-S/8": ("crate_small_8", 1.0),
    "CRATE-S/8, half of the patches": ("crate_small_8", 0.5),
    "CRATE-B/8": ("crate_base_8", 1.0),
    "ViT-S/8": ("vit_small_8", 1.0),
    "ViT-B/8": ("vit_base_8", 1.0),
}
LABELS = {"feed": "ISTA", "patches": "patches to tokens"}
SETS = {
    "Tiny-ImageNet": (100_000, 64),
    "ImageNet-1K": (1_281_167, 64),
    "ImageNet-1K ": (1_281_167, 224),
    "ImageNet-21k": (IMAGES, 224),
}


def shape(name: str) -> CRATEConfig:
    """A model of the segmentation paper as it is pre-trained."""
    return model_config(name, num_classes=CLASSES)


def number(value: float) -> str:
    """Two or three digits, with separators."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.2g}"


def percent(share: float) -> str:
    """Two digits of it."""
    return f"{100 * share:.2g} %"


def worked() -> str:
    """One estimate, line by line."""
    config, recipe = shape("crate_small_8"), get_recipe("imagenet21k_lion").recipe
    local = recipe.batch_size // GPUS
    forward = {k: v / local / 1e9 for k, v in multiply_adds(config, batch=local).items()}
    step = training_multiply_adds(config, batch=local)
    total = step * IMAGES * recipe.epochs
    peak = ACCELERATORS["A100"].peak
    hours = total / (SHARE * peak) / 3600
    return "\n".join(
        [
            "| step | arithmetic | |",
            "|---|---|---:|",
            f"| tokens | (224 / 8)² patches + 1 | {config.grid**2 + 1} |",
            *(
                f"| {LABELS.get(name, name)} | 10⁹ multiply-adds an image, forward | {value:.2f} |"
                for name, value in forward.items()
            ),
            f"| forward | the sum | {sum(forward.values()):.2f} |",
            f"| a training step | × 3, for the way back | {step / 1e9:.1f} |",
            f"| the training | × {IMAGES / 1e6:.1f} · 10⁶ images × {recipe.epochs} epochs "
            f"| {total / 1e18:.1f} · 10¹⁸ |",
            f"| an A100 | {percent(SHARE)} of {peak / 1e12:.0f} · 10¹² a second | {SHARE * peak / 1e12:.0f} · 10¹² |",
            f"| GPU hours | the one divided by the other, / 3600 | {number(hours)} |",
            f"| days on {GPUS} A100 | / {GPUS} / 24 | {number(hours / GPUS / 24)} |",
            f"| dollars | GPU hours × {PRICE:.0f} | {number(hours * PRICE)} |",
        ]
    )


def table() -> str:
    """Hours and cost of the segmentation paper's models, at the assumed share and at the published one."""
    recipe = get_recipe("imagenet21k_lion").recipe
    low = published_share()
    lines = [
        f"| model | 10⁹ an image and step | A100 hours at {percent(SHARE)} | dollars "
        f"| A100 hours at {percent(low)} | dollars |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for label, (name, keep) in MODELS.items():
        step = training_multiply_adds(shape(name), batch=recipe.batch_size // GPUS, keep_patches=keep)
        total = step * IMAGES * recipe.epochs
        cells = [f"{step / 1e9:.1f}"]
        for share in (SHARE, low):
            hours = total / (share * ACCELERATORS["A100"].peak) / 3600
            cells += [number(hours), number(hours * PRICE)]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def memory() -> str:
    """What a set takes on the device, as uint8."""
    lines = ["| set | images | side | gigabytes |", "|---|---:|---:|---:|"]
    for name, (images, side) in SETS.items():
        lines.append(f"| {name.strip()} | {images:,} | {side} | {number(images * 3 * side**2 / 1e9)} |")
    return "\n".join(lines)


BLOCKS = {"worked": worked, "table": table, "memory": memory}


def fill(text: str) -> str:
    """The page's text with every block as it should be. Raises ValueError where one has no place in it."""
    return page_blocks.fill(text, BLOCKS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(block() for block in BLOCKS.values()))
