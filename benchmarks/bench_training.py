"""Our training loop against the published loop's way of working: images a second, memory, use of the hardware.

Same network, same weights to start from, same images, same batch, same share of the patches on both sides; the two
take turns, epoch by epoch, in one process. The share of the hardware is counted multiply-adds a second over those of
one matrix product in the same precision at the step's own shape: all tokens of a batch by the width by the width, for
the flagship with a quarter of its patches 4160 x 384 x 384.

*Published way*: the formula operation by operation, every softmax matrix formed and all three products of ISTA, all
patches embedded before some are left out; fp16 autocast with a gradient scaler on a GPU, float32 on a CPU; each image
read from its file and augmented on its own (random resized crop, flip, to tensor; PIL through torchvision) in the
workers of a DataLoader.

*Ours*: :func:`crate_mini.training.train` as it is. It has read the files once, at the start, holds them as uint8 on
the device and augments whole batches there.

    python benchmarks/bench_training.py --keep-patches 0.25 --threads 1 --compile    the flagship: minutes on one core
    python benchmarks/bench_training.py --recipe animals                             another network
    python benchmarks/bench_training.py --steps 1 --rounds 1 --batch 16 --no-write   a quick look
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from bench_blocks import PlainCRATE
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from crate_mini import data
from crate_mini.data import ImageSet
from crate_mini.model import CRATE, CRATEConfig
from crate_mini.operations import training_multiply_adds
from crate_mini.recipes import get_recipe
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.training import OPTIMIZERS, Recipe, default_device, draw_patches, train

DRAWN = 1024  # images; an epoch repeats them
PRODUCTS = 20  # of which the fastest counts
RESULTS = Path(__file__).resolve().parent.parent / "results" / "benchmarks"


class PublishedLoop:
    """Trains a plain network for some steps at a time, with everything that happens between two images."""

    def __init__(
        self, model: CRATE, folder: Path, recipe: Recipe, workers: int, device: torch.device
    ) -> None:
        config = model.config
        self.plain, self.recipe, self.device = PlainCRATE(model).to(device), recipe, device
        augmentation = transforms.Compose([
            transforms.RandomResizedCrop(config.image_size, scale=recipe.crop_area),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),  # the network normalises
        ])  # fmt: skip
        self.loader = DataLoader(
            ImageFolder(folder, augmentation), recipe.batch_size, shuffle=True, drop_last=True, num_workers=workers,
            pin_memory=device.type == "cuda",
        )  # fmt: skip
        self.optimizer = OPTIMIZERS[recipe.optimizer](
            model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        self.patches, self.generator = config.grid**2, torch.Generator().manual_seed(0)
        self.half = device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half)

    def step(self, images: Tensor, labels: Tensor) -> None:
        images = images.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        share = self.recipe.keep_patches
        kept = draw_patches(len(images), self.patches, share, self.generator, device=self.device)
        with torch.autocast(self.device.type, torch.float16, enabled=self.half):
            logits = self.plain(images, kept)
            loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def images_per_second(self, steps: int) -> float:
        """Over ``steps`` steps, from the moment that the workers have delivered their first batch."""
        batches = self._forever()
        self.plain.train()
        self.step(*next(batches))
        synchronise(self.device)
        began = time.perf_counter()
        for _ in range(steps):
            self.step(*next(batches))
        synchronise(self.device)
        return steps * self.recipe.batch_size / (time.perf_counter() - began)

    def _forever(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory(device: torch.device, run: Callable[[], object]) -> float | None:
    """Largest number of bytes that lay on a GPU while ``run`` ran; None on a CPU."""
    if device.type != "cuda":
        run()
        return None
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated()


def kept_for_backward(
    network: nn.Module, images: Tensor, patches: Tensor | None, precision: torch.dtype | None
) -> int:
    """Bytes that a forward pass keeps for the backward pass, parameters not counted, each storage once."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    enabled = precision is not None
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast(images.device.type, precision or torch.bfloat16, enabled=enabled),
    ):
        loss = (
            network(images, patches).float().square().mean()
        )  # held, so that no storage is freed and used again
    del loss
    return sum(kept.values())


def own_shape(config: CRATEConfig, batch: int, keep_patches: float) -> tuple[int, int, int]:
    """Of the product that a training step is made of: all tokens of a batch, width by width."""
    tokens = 1 + max(1, round(keep_patches * config.grid**2))
    return batch * tokens, config.dim, config.dim


def product_rate(device: torch.device, precision: torch.dtype, shape: tuple[int, int, int]) -> float:
    """Multiply-adds a second of one matrix product of a shape: what can be had, by the fastest of :data:`PRODUCTS`."""
    rows, inner, columns = shape
    a = torch.randn(rows, inner, device=device).to(precision)
    b = torch.randn(inner, columns, device=device).to(precision)
    times = []
    for _ in range(PRODUCTS):
        synchronise(device)
        began = time.perf_counter()
        a @ b
        synchronise(device)
        times.append(time.perf_counter() - began)
    return rows * inner * columns / min(times)


def spread(values: list[float], digits: int) -> dict[str, float]:
    """Median and range over the rounds."""
    return {
        "median": round(median(values), digits),
        "lowest": round(min(values), digits),
        "highest": round(max(values), digits),
    }


def check_equal(model: CRATE, plain: PlainCRATE, images: Tensor, patches: Tensor | None) -> float:
    """Relative difference of the two networks' logits; raises if they are not the same function."""
    with torch.no_grad():
        a, b = model.eval()(images, patches), plain.eval()(images, patches)
    difference = ((a - b).norm() / b.norm()).item()
    if not difference < 1e-3:
        raise AssertionError(f"the two networks differ by {difference:.1e}; their times mean nothing")
    return difference


def write_files(images: ImageSet, folder: Path) -> None:
    """The images as JPEG files in one folder for each class."""
    for i, (image, label) in enumerate(zip(images.images, images.labels.tolist(), strict=True)):
        to = folder / f"{label:04d}"
        to.mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(to / f"{i:06d}.jpg", quality=90)


def memory_kept(
    ours: CRATE, published: PublishedLoop, images: Tensor, patches: Tensor | None, half: torch.dtype | None
) -> dict[str, int]:
    """Bytes that either side keeps for the backward pass of one batch."""
    theirs = torch.float16 if published.half else None
    return {
        "ours": kept_for_backward(ours.train(), images, patches, half),
        "published": kept_for_backward(published.plain.train(), images, patches, theirs),
    }


def measure(
    a: argparse.Namespace,
    images: ImageSet,
    folder: Path,
    device: torch.device,
    precision: str,
    compiled: bool,
) -> dict:
    """One setting of ours against the published way, epoch by epoch in turn, and products alone after each turn."""
    named = get_recipe(a.recipe)
    recipe = replace(
        named.recipe, epochs=a.rounds + 1, batch_size=a.batch, precision=precision, compile=compiled, clip_norm=None,
        keep_patches=a.keep_patches,
    )  # fmt: skip
    ours, theirs = (named.create_model(len(images.classes)).to(device) for _ in range(2))
    published = PublishedLoop(theirs, folder, recipe, a.workers, device)
    batch = images.images[: a.batch].to(device)
    patches = draw_patches(
        len(batch), ours.config.grid**2, recipe.keep_patches, torch.Generator().manual_seed(0), device=device
    )
    few = (batch[:8], None if patches is None else patches[:8])
    difference = check_equal(ours, PlainCRATE(ours), *few)
    half = {"bfloat16": torch.bfloat16}.get(precision)
    kept = memory_kept(ours, published, batch, patches, half)
    shape = own_shape(ours.config, a.batch, recipe.keep_patches)
    rates: dict[str, list[float]] = {"published": [], "product": []}
    peaks: dict[str, float | None] = {}

    def their_turn(epoch: int, _: CRATE) -> None:
        rate: list[float] = rates["published"]
        peaks["published"] = peak_memory(device, lambda: rate.append(published.images_per_second(a.steps)))
        rates["product"].append(product_rate(device, half or torch.float32, shape))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    one = images.subset([0])
    run = train(ours, images, one, recipe, device=device, progress=False, on_epoch=their_turn)
    peaks["ours"] = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    rates["ours"] = [a.steps * a.batch / seconds for seconds in run["seconds"]]
    operations = training_multiply_adds(ours.config, batch=a.batch, keep_patches=recipe.keep_patches)
    row = {
        "device": device.type,
        "precision": precision,
        "compile": compiled,
        "published_precision": "float16" if published.half else "float32",
        "keep_patches": recipe.keep_patches,
        **compare(rates, shape, operations),
        "kept_for_backward_bytes": kept,
        "kept_ratio": round(kept["published"] / kept["ours"], 3),
        "peak_bytes": peaks,
        "relative_difference_float32": float(f"{difference:.1e}"),
    }
    if peaks["ours"]:
        row["peak_ratio"] = round(peaks["published"] / peaks["ours"], 3)
    return row


def compare(rates: dict[str, list[float]], shape: tuple[int, int, int], operations: float) -> dict:
    """Images a second, the ratio of the two sides round by round, and the share of the products' rate.

    Args:
        rates: of every round, the first of which warms up: images a second of ``ours`` and ``published``, and
            multiply-adds a second of the ``product`` alone, of which the fastest stands for what can be had.
        shape: of that product.
        operations: multiply-adds that an image costs.
    """
    ours, published = rates["ours"][1:], rates["published"][1:]
    best = max(rates["product"])
    ratios = [x / y for x, y in zip(ours, published, strict=True)]
    return {
        "images_per_second": {"ours": spread(ours, 1), "published": spread(published, 1)},
        "ratio": spread(ratios, 3),
        "product": {"shape": list(shape), "multiply_adds_per_second": float(f"{best:.4g}")},
        "utilisation": {
            "ours": spread([rate * operations / best for rate in ours], 4),
            "published": spread([rate * operations / best for rate in published], 4),
        },
    }


def show(row: dict) -> str:
    """Two lines: what was reached, and what it is measured by."""
    name = f"{row['precision']}{', compiled' if row['compile'] else ''}"
    rates, use, ratio = row["images_per_second"], row["utilisation"], row["ratio"]
    memory = row.get("peak_ratio", row["kept_ratio"])
    shape = " x ".join(str(side) for side in row["product"]["shape"])
    rate = row["product"]["multiply_adds_per_second"] / 1e9
    return (
        f"{row['device']:5} {name:19} {_range(rates['ours'])} images/s, published way "
        f"{_range(rates['published'])} in {row['published_precision']}: {_range(ratio, '.2f')} times, "
        f"1/{memory:.2f} of the memory\n"
        f"{'':25} {_range(use['ours'], '.1%')} of the {rate:.0f} * 10^9 multiply-adds/s of a {row['precision']} "
        f"product {shape} (published way {use['published']['median']:.1%}); "
        f"{row['keep_patches']:.0%} of the patches on both sides"
    )


def _range(values: dict[str, float], form: str = ".1f") -> str:
    return f"{values['median']:{form}} ({values['lowest']:{form}} to {values['highest']:{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    device = default_device()
    gpu = device.type == "cuda"
    parser.add_argument("--recipe", default="flagship", help="names the network")
    parser.add_argument("--batch", type=int, help="by default the recipe's")
    parser.add_argument("--keep-patches", type=float, help="share of them in a step; by default the recipe's")
    parser.add_argument("--steps", type=int, default=100 if gpu else 3, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each, after one to warm up")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="of the published loader"
    )
    parser.add_argument("--threads", type=int, help="CPU threads; torch's choice if not given")
    parser.add_argument("--compile", action="store_true", help="also compiled by torch.compile")
    parser.add_argument(
        "--precision", nargs="+", choices=("float32", "bfloat16"), default=["bfloat16"], help="of ours"
    )
    result = RESULTS / ("training_gpu.json" if gpu else "training.json")
    parser.add_argument("--no-write", action="store_true", help=f"do not write {result.name}")
    add_dirty(parser)
    a = parser.parse_args()
    if not a.no_write:
        require_clean(a.dirty)
    if a.threads:
        torch.set_num_threads(a.threads)
    named = get_recipe(a.recipe)
    a.batch = a.batch or named.recipe.batch_size
    a.keep_patches = named.recipe.keep_patches if a.keep_patches is None else a.keep_patches
    size = named.image_size
    needed = a.batch * a.steps
    images = data.load("embedded", "train", image_size=size, n=min(needed, DRAWN))
    images = images.subset(torch.arange(needed) % len(images))

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_files(images, Path(folder))
        settings = [
            (precision, compiled) for compiled in (False, True)[: 1 + a.compile] for precision in a.precision
        ]
        for precision, compiled in settings:
            rows.append(measure(a, images, Path(folder), device, precision, compiled))
            print(show(rows[-1]), flush=True)
    if not a.no_write:
        setting = {
            "recipe": a.recipe,
            "batch": a.batch,
            "keep_patches": a.keep_patches,
            "steps": a.steps,
            "rounds": a.rounds,
            "workers": a.workers,
        }
        facts = provenance(device, setting=setting, rows=rows)
        write(result, facts, allow_dirty=a.dirty)


if __name__ == "__main__":
    main()
