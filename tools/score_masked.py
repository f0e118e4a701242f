"""What masked autoencoders fill in, beside what no network needs to: ``results/masked/scores.json``.

Trainings, as command lines, from ``python tools/score_masked.py --list``; then
``python tools/score_masked.py --runs runs`` scores all that are there.

On 1,250 photographs that nobody trained on, under masks of a seed of their own: the error of every training and, under
the very same masks, of guesses that need no network; what becomes of it when the sign of the decoder's attention is
turned, or its attention is left out, after training; whether a step of attention raises or lowers the compression rate
of its own bases. Beside that what the encoder knows of the animals: neighbours and a linear probe, against untrained
networks and the pixels themselves. Sets, masks and rules were fixed before anything was trained. What was scored before
stays, so that the file fills up.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from crate_mini import data
from crate_mini.autoencoder import DecoderBlock, PatchDecoder
from crate_mini.data import ImageSet
from crate_mini.interpolation import LinearGuess, guesses, masked_errors, to_patches
from crate_mini.model import CRATE, Block, count_parameters
from crate_mini.neighbours import neighbour_votes
from crate_mini.rates import compression_rate
from crate_mini.recipes import get_recipe
from crate_mini.results import add_dirty, plain, provenance, read, require_clean, write
from crate_mini.stats import mean_interval
from crate_mini.training.augmentation import draw_patches
from crate_mini.transfer import fit_probe, linear_probe, nearest_neighbours
from crate_mini.weights import load_model, load_tensors, save_tensors

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "masked" / "scores.json"
SHOWN = ROOT / "crate_mini" / "chapters" / "masked_drawn.safetensors"
ARMS = {
    "tied_minus": ("crate_nano", "decoder=minus output=tied"),
    "tied_plus": ("crate_nano", "decoder=plus output=tied"),
    "minus": ("crate_nano", "decoder=minus"),
    "none": ("crate_nano", "decoder=none"),
    "mae": ("crate_nano", "decoder=minus mask_tokens=decoder"),
    "vit_mae": ("vit_nano", "decoder=blocks mask_tokens=decoder"),
}
"""Model and settings of the task, by the name of the arm."""
SEEDS = 2
DRAWN = {"drawn": ("minus", "data=embedded,epochs=5")}
"""The training on drawn animals whose reconstructions the page shows."""
SEED = 18  # of the masks
GRID, PATCH, SEEN = (8, 8), 8, 0.25
L2 = 1e-2  # the penalty of every probe
SIDE = 16  # that images are brought to where their pixels are compared
KNOWN = 5000  # of the training images, that neighbours are looked for among and probes fitted on
RATED, EPS_SQ = 64, 0.5  # images whose rates are taken, and at which precision
BATCH = 50


def trainings() -> dict[str, tuple[str, int, str]]:
    """Every training by its name: arm, seed, and the flags that do it."""

    def flags(arm: str, seed: int, changes: str) -> str:
        model, settings = ARMS[arm]
        told = " ".join(f"--task-set {setting}" for setting in settings.split())
        return f"--recipe masked/{model}/s{seed}/{changes} {told}"

    listed = {
        f"masked_{arm}_s{seed}": (arm, seed, flags(arm, seed, "embedding=linear,depth=2"))
        for arm in ARMS
        for seed in range(SEEDS)
    }
    longer = "depth=2,epochs=6,warmup_epochs=0.5,evaluate_every=2"
    listed["masked_blind_s0"] = ("blind", 0, flags("minus", 0, longer))
    return listed | {
        f"masked_{name}_s0": (arm, 0, flags(arm, 0, f"{changes},embedding=linear,depth=2"))
        for name, (arm, changes) in DRAWN.items()
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the trainings are")
    parser.add_argument("--list", action="store_true", help="say how they are trained, and score nothing")
    parser.add_argument(
        "--ship", action="store_true", help="write the network that the page shows into the package"
    )
    add_dirty(parser)
    a = parser.parse_args()
    if a.list:
        for name, (*_, flags) in trainings().items():
            print(f"crate-mini train {flags} --out runs/{name}")
    elif a.ship:
        ship(a.runs / "masked_drawn_s0")
    else:
        require_clean(a.dirty)
        score(a.runs, a.dirty)


def score(runs: Path, dirty: bool) -> None:
    """Whatever is there and was not scored before."""
    sets = {part: data.load("tiny-imagenet-animals", part, image_size=64) for part in ("train", "val")}
    some = torch.randperm(len(sets["train"]), generator=torch.Generator().manual_seed(SEED))[:KNOWN]
    sets["known"] = sets["train"].subset(some)
    known = read("masked/scores") if RESULT.is_file() else {"guesses": without_network(sets), "networks": []}
    if "pixels" not in known:
        known["pixels"] = of_pixels(sets["known"], sets["val"])
    rows = {row["name"]: row for row in known["networks"]}
    for about, make in networks(runs):
        if about["name"] in rows:
            continue
        rows[about["name"]] = row = about | make(sets)
        print({k: row.get(k) for k in ("name", "error", "knn", "probe")}, flush=True)
        facts = {k: {"name": s.name, "images": len(s)} for k, s in sets.items()}
        content = known | {"networks": list(rows.values()), "sets": facts, "mask_seed": SEED}
        write(RESULT, provenance("cpu", **{k: v for k, v in content.items() if k in KEPT}), allow_dirty=dirty)


KEPT = ("guesses", "pixels", "networks", "sets", "mask_seed")


def networks(
    runs: Path,
) -> Iterator[tuple[dict[str, Any], Callable[[Mapping[str, ImageSet]], dict[str, Any]]]]:
    """Every network that is there, with what is known of it, and what scores it."""
    for name, (arm, seed, _) in trainings().items():
        if name.removeprefix("masked_").rpartition("_")[0] in DRAWN:
            continue
        folder = runs / name
        if not (folder / "model.json").is_file():
            print(f"{name}: not trained yet", flush=True)
            continue
        about = {"name": name, "arm": arm, "seed": seed, "model": ARMS.get(arm, ARMS["minus"])[0]}
        yield about, lambda sets, folder=folder: scores(*load(folder), sets)
    for model in ("crate_nano", "vit_nano"):
        for seed in range(SEEDS):
            fresh = (
                get_recipe("masked", model=model, seed=seed, depth=2, embedding="linear")
                .create_model(1)
                .eval()
            )
            about = {"name": f"{model}_untrained_s{seed}", "arm": "untrained", "seed": seed, "model": model}
            yield about, lambda sets, fresh=fresh: knowledge(fresh, sets)


def load(folder: Path) -> tuple[CRATE, PatchDecoder]:
    """Both halves of a training that has ended."""
    model = load_model(folder / "model.safetensors")
    tensors, about = load_tensors(folder / "state.safetensors")
    told = dict(about["task"])
    decoder = PatchDecoder(
        model.config, decoder=told["decoder"], layers=told["layers"], tied=told["output"] == "tied",
        mask_tokens=told["mask_tokens"],
    )  # fmt: skip
    own = "task.decoder."
    decoder.load_state_dict({k.removeprefix(own): v for k, v in tensors.items() if k.startswith(own)})
    return model.eval(), decoder.eval()


def masks(images: int) -> Tensor:
    """The patches that are seen of each image, the same for every row."""
    return draw_patches(images, GRID[0] * GRID[1], SEEN, torch.Generator().manual_seed(SEED))


def without_network(sets: Mapping[str, ImageSet]) -> dict[str, list[float]]:
    """Mean error and interval of every guess that needs no network."""
    known, asked = (to_patches(sets[part].images, PATCH) for part in ("train", "val"))
    kept, mean = masks(len(asked)), known.unflatten(-1, (-1, 3)).mean((0, 1, 2))
    found = guesses(asked, kept, GRID, mean, LinearGuess(known))
    return {name: _interval(masked_errors(guess, asked, kept)) for name, guess in found}


def scores(model: CRATE, decoder: PatchDecoder, sets: Mapping[str, ImageSet]) -> dict[str, Any]:
    """What a network fills in, what it is without its sign, and what its encoder knows."""
    images = sets["val"].images
    row = {
        "parameters": {"encoder": count_parameters(model), "decoder": count_parameters(decoder)},
        "error": _interval(errors(model, decoder, images)),
    }
    blocks = [block for block in decoder.blocks if isinstance(block, DecoderBlock) and block.move]
    if blocks:
        for name, factor in (("turned", -1), ("left_out", 0)):
            with moved(blocks, factor):
                row[name] = _interval(errors(model, decoder, images))
        row["rates"] = rates(model, decoder, images[:RATED])
    return row | knowledge(model, sets)


@contextmanager
def moved(blocks: list[DecoderBlock], factor: float) -> Iterator[None]:
    """The attention of these layers, so many times as strong."""
    before = [block.move for block in blocks]
    for block in blocks:
        block.move *= factor
    try:
        yield
    finally:
        for block, move in zip(blocks, before, strict=True):
            block.move = move


@torch.no_grad()
def errors(model: CRATE, decoder: PatchDecoder, images: Tensor) -> Tensor:
    """The error on each image."""
    found = []
    for part, kept in zip(images.split(BATCH), masks(len(images)).split(BATCH), strict=True):
        found.append(masked_errors(decoder(model, part, kept), to_patches(part, PATCH), kept))
    return torch.cat(found)


@torch.no_grad()
def rates(model: CRATE, decoder: PatchDecoder, images: Tensor) -> dict[str, list[float]]:
    """Per cent by which a step of attention changes the compression rate of its own bases, tokens at length one."""
    changes: dict[str, list[float]] = {"encoder": [], "decoder": []}
    hooks = []
    for half, blocks in (("encoder", model.blocks), ("decoder", decoder.blocks)):
        for block in blocks:
            norm = block.norm1 if half == "encoder" else block.norm2
            step = _Step(block, changes[half])
            hooks += [
                norm.register_forward_pre_hook(step.before),
                block.attention.register_forward_hook(step.after),
            ]
    decoder(model, images, masks(len(images)))
    for hook in hooks:
        hook.remove()
    return changes


class _Step:
    """Listens to one step of attention: the tokens that its LayerNorm is given, then what attention adds to them."""

    def __init__(self, block: Block | DecoderBlock, changes: list[float]) -> None:
        self.block, self.changes = block, changes

    def before(self, norm: Any, given: tuple[Tensor, ...]) -> None:
        self.Z = given[0]

    def after(self, attention: Any, given: tuple[Tensor, ...], update: Tensor) -> None:
        start, end = (self._rate(Z) for Z in (self.Z, self.Z + self.block.move * update))
        self.changes.append(plain(100 * (end / start - 1), 4))

    def _rate(self, Z: Tensor) -> float:
        unit = F.normalize(Z.double(), dim=-1)
        return compression_rate(unit, self.block.attention.U.double(), EPS_SQ).mean().item()


def knowledge(model: CRATE, sets: Mapping[str, ImageSet]) -> dict[str, Any]:
    """What the frozen encoder, which now sees all patches, knows of the animals, read off the mean of its patches."""
    probe = linear_probe(model, sets["known"], sets["val"], pool="mean", l2=L2)[1]
    near = nearest_neighbours(model, sets["known"], sets["val"], pool="mean")
    return {"knn": near["top1"], "probe": probe["top1"]}


def of_pixels(known: ImageSet, asked: ImageSet) -> dict[str, float]:
    """What the pixels know by themselves, in small, by the same neighbours and the same probe."""
    x, y = (
        F.interpolate(s.images.float() / 255, size=(SIDE, SIDE), mode="area").flatten(1)
        for s in (known, asked)
    )
    mean, classes = x.mean(0), len(known.classes)
    votes = neighbour_votes(x - mean, known.labels, y - mean, classes)
    logits = fit_probe(x, known.labels, classes, l2=L2)(y)
    named = ((found.argmax(1) == asked.labels).double().mean().item() for found in (votes, logits))
    return dict(zip(("knn", "probe"), named, strict=True))


def ship(folder: Path) -> None:
    """Both halves in half precision, for the page."""
    model, decoder = load(folder)
    halves = {f"model.{k}": v.half() for k, v in model.state_dict().items()}
    halves |= {f"decoder.{k}": v.half() for k, v in decoder.state_dict().items()}
    save_tensors(SHOWN, halves, {"config": model.config.to_dict(), "decoder": decoder.settings()})


def _interval(values: Tensor) -> list[float]:
    return plain(list(mean_interval(values)), 4)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
