"""Our training loop against the published loop's way of working: images a second, memory, use of the hardware.

Same network, same weights to start from, same images, same batch; the two take turns, epoch by epoch, in one process.

*Published way*: the formula operation by operation, every softmax matrix formed and all three products of ISTA; fp16
autocast with a gradient scaler on a GPU, float32 on a CPU; each image read from its file and augmented on its own
(random resized crop, flip, to tensor, normalise; PIL through torchvision) in the workers of a DataLoader.

*Ours*: :func:`crate_mini.training.train` as it is. It has read the files once, at the start, holds them as uint8 on
the device and augments whole batches there.

    python benchmarks/bench_training.py                             the full measurement
    python benchmarks/bench_training.py --steps 4 --rounds 2 --batch 16 --no-write    a quick look
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
from bench_blocks import PlainBlock
from einops import rearrange
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from crate_mini import data
from crate_mini.data import ImageSet
from crate_mini.model import CRATE
from crate_mini.operations import training_multiply_adds
from crate_mini.recipes import get_recipe
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.training import Recipe, default_device, train

DRAWN = 1024  # images; an epoch repeats them
RESULTS = Path(__file__).resolve().parent.parent / "results" / "benchmarks"


class PlainCRATE(nn.Module):
    """The network written plainly over the parameters of ``model``; takes images that are normalised already."""

    def __init__(self, model: CRATE) -> None:
        super().__init__()
        self.of = model
        self.blocks = nn.ModuleList(PlainBlock(block) for block in model.blocks)

    def forward(self, images: Tensor) -> Tensor:
        p = self.of.config.patch_size
        Z = self.of.embed(rearrange(images, "b c (h i) (w j) -> b (h w) (i j c)", i=p, j=p))
        Z = torch.cat([self.of.cls_token.expand(len(Z), -1, -1), Z], 1) + self.of.position
        for block in self.blocks:
            Z = block(Z)
        return self.of.head(self.of.norm(Z[:, 0]))


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
            transforms.ToTensor(),
            transforms.Normalize(config.mean, config.std),
        ])  # fmt: skip
        self.loader = DataLoader(
            ImageFolder(folder, augmentation), recipe.batch_size, shuffle=True, drop_last=True, num_workers=workers,
            pin_memory=device.type == "cuda",
        )  # fmt: skip
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        self.half = device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half)

    def step(self, images: Tensor, labels: Tensor) -> None:
        images = images.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.float16, enabled=self.half):
            loss = F.cross_entropy(self.plain(images), labels, label_smoothing=self.recipe.label_smoothing)
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


def kept_for_backward(network: nn.Module, images: Tensor, precision: torch.dtype | None) -> int:
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
        loss = network(images).float().square().mean()  # held, so that no storage is freed and used again
    del loss
    return sum(kept.values())


def matmul_rate(device: torch.device, precision: torch.dtype) -> float:
    """Multiply-adds a second of one large matrix product: the device's speed as it can be had, not its data sheet's."""
    n = 8192 if device.type == "cuda" else 1024
    a = torch.randn(n, n, device=device).to(precision)
    times = []
    for i in range(8):
        synchronise(device)
        began = time.perf_counter()
        a @ a
        synchronise(device)
        if i >= 2:
            times.append(time.perf_counter() - began)
    return n**3 / min(times)


def check_equal(model: CRATE, plain: PlainCRATE, images: Tensor) -> float:
    """Relative difference of the two networks' logits; raises if they are not the same function."""
    mean, std = model.mean, model.std
    with torch.no_grad():
        a = model.eval()(images)
        b = plain((images.float() / 255 - mean) / std)
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


def measure(
    a: argparse.Namespace,
    images: ImageSet,
    folder: Path,
    device: torch.device,
    precision: str,
    compiled: bool,
) -> dict:
    """One setting of ours against the published way, epoch by epoch in turn."""
    named = get_recipe(a.recipe)
    recipe = replace(
        named.recipe, epochs=a.rounds + 1, batch_size=a.batch, precision=precision, compile=compiled,
        keep_patches=1.0, clip_norm=None,
    )  # fmt: skip
    ours, theirs = (named.create_model(len(images.classes)).to(device) for _ in range(2))
    published = PublishedLoop(theirs, folder, recipe, a.workers, device)
    few = images.images[: min(8, len(images))].to(device)
    difference = check_equal(ours, PlainCRATE(ours), few)
    half = {"bfloat16": torch.bfloat16}.get(precision)
    batch = images.images[: a.batch].to(device)
    normalised = (batch.float() / 255 - ours.mean) / ours.std
    kept = {
        "ours": kept_for_backward(ours.train(), batch, half),
        "published": kept_for_backward(
            published.plain, normalised, torch.float16 if published.half else None
        ),
    }
    rates: list[float] = []
    peaks: dict[str, float | None] = {}

    def their_turn(epoch: int, _: CRATE) -> None:
        peaks["published"] = peak_memory(device, lambda: rates.append(published.images_per_second(a.steps)))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    one = images.subset([0])
    run = train(ours, images, one, recipe, device=device, progress=False, on_epoch=their_turn)
    peaks["ours"] = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    our_rates = [a.steps * a.batch / seconds for seconds in run["seconds"]][1:]  # the first warms up
    their_rates = rates[1:]
    ratios = [x / y for x, y in zip(our_rates, their_rates, strict=True)]
    operations = training_multiply_adds(ours.config, batch=a.batch)
    rate = matmul_rate(device, half or torch.float32)
    row = {
        "device": device.type,
        "precision": precision,
        "compile": compiled,
        "published_precision": "float16" if published.half else "float32",
        "images_per_second": {
            "ours": round(median(our_rates), 1),
            "published": round(median(their_rates), 1),
        },
        "ratio": round(median(ratios), 3),
        "ratios": [round(r, 3) for r in ratios],
        "matmul_multiply_adds_per_second": float(f"{rate:.4g}"),
        "utilisation": {
            "ours": round(median(our_rates) * operations / rate, 4),
            "published": round(median(their_rates) * operations / rate, 4),
        },
        "kept_for_backward_bytes": kept,
        "kept_ratio": round(kept["published"] / kept["ours"], 3),
        "peak_bytes": peaks,
        "relative_difference_float32": float(f"{difference:.1e}"),
    }
    if peaks["ours"]:
        row["peak_ratio"] = round(peaks["published"] / peaks["ours"], 3)
    return row


def show(row: dict) -> str:
    name = f"{row['precision']}{', compiled' if row['compile'] else ''}"
    rates, use = row["images_per_second"], row["utilisation"]
    low, high = min(row["ratios"]), max(row["ratios"])
    memory = row.get("peak_ratio", row["kept_ratio"])
    return (
        f"{row['device']:5} {name:19} {rates['ours']:9.1f} {rates['published']:9.1f} images/s   "
        f"{row['ratio']:.2f} times ({low:.2f} to {high:.2f})   {use['ours']:.0%} of the matrix rate "
        f"(published way {use['published']:.0%})   1/{memory:.2f} of the memory"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    device = default_device()
    gpu = device.type == "cuda"
    parser.add_argument(
        "--recipe", default="tiny_imagenet_crate" if gpu else "crate_mini_animals", help="names the network"
    )
    parser.add_argument("--batch", type=int, help="by default the recipe's")
    parser.add_argument("--steps", type=int, default=100 if gpu else 40, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each, after one to warm up")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="of the published loader"
    )
    parser.add_argument("--threads", type=int, help="CPU threads; torch's choice if not given")
    parser.add_argument("--compile", action="store_true", help="also compiled by torch.compile")
    result = RESULTS / ("training_gpu.json" if gpu else "training.json")
    parser.add_argument("--no-write", action="store_true", help=f"do not write {result.name}")
    add_dirty(parser)
    a = parser.parse_args()
    if not a.no_write:
        require_clean(a.dirty)
    if a.threads:
        torch.set_num_threads(a.threads)
    a.batch = a.batch or get_recipe(a.recipe).recipe.batch_size
    size = get_recipe(a.recipe).image_size
    needed = a.batch * a.steps
    images = data.load("embedded", "train", image_size=size, n=min(needed, DRAWN))
    images = images.subset(torch.arange(needed) % len(images))

    rows = []
    print(f"{'':25} {'ours':>9} {'published':>9}")
    with tempfile.TemporaryDirectory() as folder:
        write_files(images, Path(folder))
        settings = [("bfloat16", False)] if gpu else [("float32", False), ("bfloat16", False)]
        settings += [(precision, True) for precision, _ in settings] if a.compile else []
        for precision, compiled in settings:
            rows.append(measure(a, images, Path(folder), device, precision, compiled))
            print(show(rows[-1]), flush=True)
    if not a.no_write:
        setting = {
            "recipe": a.recipe,
            "batch": a.batch,
            "steps": a.steps,
            "rounds": a.rounds,
            "workers": a.workers,
        }
        facts = provenance(device, setting=setting, rows=rows)
        write(result, facts, allow_dirty=a.dirty)


if __name__ == "__main__":
    main()
