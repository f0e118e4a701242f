"""A network, its untrained twin and everything that never saw a network, scored on the same objects.

:func:`score_images` does the work, one pass over the images, and can be stopped and taken up again.
:func:`evaluate` adds what a score needs beside it. :func:`compare` holds two networks against each other.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from crate_mini.attention_maps import cls_attention_maps, spread
from crate_mini.checkpoints import CheckpointError, load_tensors, save_tensors
from crate_mini.data.imageset import IGNORE, ImageSet
from crate_mini.model import CRATE
from crate_mini.provenance import read_result
from crate_mini.recorder import layer_numbers
from crate_mini.segmentation.masks import centre_prior, mean_interval
from crate_mini.segmentation.ranking import count_patches, expected_best_of, majority, score_maps

RULES = {
    "best_iou": "IoU at the best threshold for each image",
    "auroc": "pixel AUROC",
    "ap": "pixel average precision",
    "mass": "IoU of the fewest patches that hold 60 % of the attention (DINO's rule)",
    "patch": "IoU of the 60 % of patches attended to most (arXiv 2308.16271, B.3, as written)",
}
"""Name -> what is scored. The first three need no threshold."""

DISCS = tuple(s / 10 for s in range(1, 10))
"""Areas of the centred discs that the mask rules are held against."""


ITSELF = "these images"
"""Said of a head that was chosen on the images it is scored on."""


@dataclass(frozen=True)
class Scores:
    """Scores of every layer and head on every image: means over the objects of an image.

    Attributes:
        facts: what was scored, and how; JSON types.
        values: name -> one value an image (first dimension), by rule (``"heads/auroc"``):

            ``heads`` (n, L, K) of every head; ``best_of`` (n, L, K) of the best of 1, ..., K heads of a layer, found
            anew for each object (:func:`~crate_mini.segmentation.expected_best_of`); ``shuffled`` and ``chance``
            (n, L, K) are the same two for maps whose patches were shuffled, which keeps the area, the values and the
            entropy of every map; ``elsewhere`` (n, L, K) each head's map of the image before in place of its own;
            ``everything`` (n,) a flat map; ``centre`` (n,) the distance from the centre as a map, for the mask rules
            (n, 9) discs of nine areas. And ``spread`` (n, L, K), the share of the patches that a map rests on.
    """

    facts: dict[str, Any]
    values: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.values["spread"])

    def __getitem__(self, name: str) -> Tensor:
        return self.values[name]

    @property
    def rules(self) -> tuple[str, ...]:
        """Rules that were scored."""
        return tuple(self.facts["rules"])

    def save(self, path: str | os.PathLike) -> Path:
        """Write to a ``.safetensors`` file, atomically."""
        return save_tensors(path, self.values, {"facts": self.facts})

    @classmethod
    def load(cls, path: str | os.PathLike) -> Scores:
        """The inverse of :meth:`save`. Raises CheckpointError where the file is damaged."""
        values, metadata = load_tensors(path)
        if "facts" not in metadata:
            raise CheckpointError(f"{path} holds no scores")
        return cls(metadata["facts"], values)


@dataclass(frozen=True)
class Evaluation:
    """Scores of a network and of its untrained twin, with the heads that were chosen for each.

    Attributes:
        scores: of the network.
        choice: of :func:`choose`, made on other images or handed over.
        chosen_on: their name.
        untrained: the same for the untrained twin, or None.
    """

    scores: Scores
    choice: dict[str, Any]
    chosen_on: str
    untrained: Evaluation | None = None

    def values(self, rule: str, what: str = "fixed", heads: int | None = None) -> Float[Tensor, " n"]:
        """One score an image: of the ``"fixed"`` head, or ``"per_image"`` of the best of ``heads`` heads."""
        chosen = self.choice[rule]
        if what == "fixed":
            return self.scores[f"heads/{rule}"][:, chosen["layer"], chosen["head"]]
        if what != "per_image":
            raise ValueError(f"what must be 'fixed' or 'per_image', got {what!r}")
        K = self.scores["spread"].shape[2]
        heads = K if heads is None else heads
        if not 1 <= heads <= K:
            raise ValueError(f"heads must lie between 1 and {K}, got {heads}")
        return self.scores[f"best_of/{rule}"][:, chosen["best_of_layer"][heads - 1], heads - 1]

    def summary(self) -> dict[str, Any]:
        """Everything as JSON: by rule, scores with their intervals, and the controls beside them."""
        s, rules = self.scores, {}
        for rule in s.rules:
            chosen = self.choice[rule]
            layer, head = chosen["layer"], chosen["head"]
            at = (slice(None), layer, head)
            centre = s[f"centre/{rule}"]
            rules[rule] = {
                "fixed": {
                    "layer": layer,
                    "head": head,
                    "score": _interval(s[f"heads/{rule}"][at]),
                    "shuffled": _interval(s[f"shuffled/{rule}"][at]),
                    "elsewhere": _interval(s[f"elsewhere/{rule}"][at]),
                },
                "per_image": [
                    {
                        "heads": k + 1,
                        "layer": best,
                        "score": _interval(s[f"best_of/{rule}"][:, best, k]),
                        "chance": _interval(s[f"chance/{rule}"][:, best, k]),
                    }
                    for k, best in enumerate(chosen["best_of_layer"])
                ],
                "baselines": {
                    "everything": _interval(s[f"everything/{rule}"]),
                    # of the discs the best for this very set, which flatters them
                    "centre": _interval(
                        centre if centre.ndim == 1 else centre[:, int(centre.mean(0).argmax())]
                    ),
                },
                "heads": _rounded(s[f"heads/{rule}"].mean(0)),
                "best_of": _rounded(s[f"best_of/{rule}"].mean(0)),
                "chance": _rounded(s[f"chance/{rule}"].mean(0)),
            }
        result = {
            **s.facts, "chosen_on": self.chosen_on, "spread": _rounded(s["spread"].mean(0)), "rules": rules,
        }  # fmt: skip
        return result | ({"untrained": self.untrained.summary()} if self.untrained else {})


def evaluate(
    model: CRATE,
    dataset: ImageSet,
    *,
    rule: str | Sequence[str] = tuple(RULES),
    layer: int | Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    choose_on: ImageSet | Evaluation | Mapping[str, Any] | None = None,
    untrained: bool = True,
    partial: str | os.PathLike | None = None,
    **how: Any,
) -> Evaluation:
    """Score a network's attention maps against true masks, with the controls that say what a score is worth.

    Args:
        model: any model of :mod:`crate_mini.model`, on any device.
        dataset: images with masks, or with parts.
        rule: keys of :data:`RULES`, one or several.
        layer: consider this layer only, or these; all if None.
        heads: consider these heads only; all if None.
        choose_on: other images to choose the fixed head and the layer on; or an earlier result (an
            :class:`Evaluation`, or its summary from a file), whose choice is taken over. None chooses on ``dataset``
            itself, which flatters; the result says so.
        untrained: score the same architecture with fresh random weights too.
        partial: folder for what is done so far, so that a run that was stopped can be taken up again.
        how: as for :func:`score_images`: ``resolution``, ``size``, ``objects``, ``share``, ``batch_size``, ``seed``,
            ``leave_out``, ``progress``.

    Raises:
        ValueError: an unknown rule, layer or head; no masks; an image without an object, by name.
    """
    rules = [rule] if isinstance(rule, str) else list(rule)
    passed = {"rule": rules, "layer": layer, "heads": heads, "partial": partial, **how}

    def score(network: CRATE, twin: bool) -> Evaluation:
        scores = score_images(network, dataset, **passed)
        if choose_on is None:
            return Evaluation(scores, choose(scores), ITSELF)
        if isinstance(choose_on, ImageSet):
            other = score_images(network, choose_on, **passed)
            return Evaluation(scores, choose(other), other.facts["data"])
        earlier = choose_on.summary() if isinstance(choose_on, Evaluation) else choose_on
        if twin and earlier.get("untrained") is None:
            raise ValueError("the earlier result holds no untrained network; pass untrained=False")
        return Evaluation(scores, *_taken_over(scores, earlier["untrained"] if twin else earlier))

    result = score(model, twin=False)
    if untrained:
        result = replace(result, untrained=score(untrained_twin(model, how.get("seed", 0)), twin=True))
    return result


def untrained_twin(model: CRATE, seed: int = 0) -> CRATE:
    """The same architecture with fresh random weights, on the same device; the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CRATE(model.config).eval().to(model.position.device)


def compare(
    a: Evaluation,
    b: Evaluation,
    rule: str,
    what: str = "fixed",
    *,
    heads: int | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean difference ``a - b`` over the same images, with its 95 % interval: ``(mean, low, high)``.

    Images are drawn anew in pairs (a paired bootstrap), so that what makes an image hard for both cancels.

    Args:
        a: one network's result.
        b: another's, on the same images.
        rule: a key of :data:`RULES`.
        what: ``"fixed"`` or ``"per_image"``, as for :meth:`Evaluation.values`.
        heads: for ``"per_image"``, the number of heads, the same for both.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: results on different images.
    """
    for fact in ("data", "images", "left_out", "objects", "size", "resolution", "fingerprint"):
        if a.scores.facts[fact] != b.scores.facts[fact]:
            raise ValueError(
                f"only results on the same images can be compared; {fact} is {a.scores.facts[fact]!r} here "
                f"and {b.scores.facts[fact]!r} there"
            )
    difference = a.values(rule, what, heads) - b.values(rule, what, heads)
    return mean_interval(difference, draws=draws, seed=seed)


def choose(scores: Scores) -> dict[str, Any]:
    """By rule: the best head for all images (``layer``, ``head``), and the best layer for each number of heads."""
    choice = {}
    for rule in scores.rules:
        mean = scores[f"heads/{rule}"].mean(0)
        layer, head = divmod(int(mean.argmax()), mean.shape[1])
        best = scores[f"best_of/{rule}"].mean(0).argmax(0).tolist()
        choice[rule] = {"layer": layer, "head": head, "best_of_layer": best}
    return choice


@torch.no_grad()
def score_images(
    model: CRATE,
    dataset: ImageSet,
    *,
    rule: str | Sequence[str] = tuple(RULES),
    layer: int | Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    resolution: str = "pixel",
    size: int | None = None,
    objects: str = "mask",
    share: float = 0.6,
    batch_size: int = 32,
    seed: int = 0,
    leave_out: bool = False,
    partial: str | os.PathLike | None = None,
    progress: bool = False,
) -> Scores:
    """Every layer's every head on every image, one pass for all rules.

    Args:
        model: any model of :mod:`crate_mini.model`, on any device.
        dataset: images with masks, or with parts.
        rule: keys of :data:`RULES`, one or several.
        layer: consider this layer only, or these; all if None.
        heads: consider these heads only; all if None. Places in the result count within what was considered, and
            ``facts`` says which layers and heads these are.
        resolution: ``"pixel"``, or ``"patch"``: a patch is object where most of its counted pixels are.
        size: resize images and masks to squares of so many pixels first; as they are if None.
        objects: ``"mask"``, one object an image; or ``"parts"``, every part (or class) that an image shows is an
            object against all else, and an image's score is the mean over its objects.
        share: of the attention (``mass``) or of the patches (``patch``).
        batch_size: images a forward pass, and a piece of ``partial``.
        seed: of the shuffled maps.
        leave_out: leave out what cannot be scored, and say so in ``facts["left_out"]``, instead of an error.
        partial: folder for what is done so far. A run with the same weights, images and settings goes on there.
        progress: show a progress bar.

    Raises:
        ValueError: settings out of range; no masks; an image whose object has no pixel (no patch), or fills
            everything that counts, by name.
    """
    rules = [rule] if isinstance(rule, str) else list(rule)
    if not rules or (unknown := [r for r in rules if r not in RULES]):
        raise ValueError(f"rules are {', '.join(RULES)}; got {unknown if rules else 'none'}")
    if resolution not in ("pixel", "patch"):
        raise ValueError(f"resolution must be 'pixel' or 'patch', got {resolution!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    patch = model.config.patch_size
    dataset = dataset if size is None else at_size(dataset, size)
    H, W = dataset.images.shape[-2:]
    if min(H, W) < patch or H % patch or W % patch:
        raise ValueError(
            f"images of {dataset.name!r} are {H}x{W} pixels, which is no whole number of {patch}-pixel patches; "
            f"pass size={max(1, min(H, W) // patch) * patch}"
        )
    layers = layer_numbers(model, [layer] if isinstance(layer, int) else layer)
    K = model.config.heads
    heads = list(range(K)) if heads is None else list(heads)
    if not heads or any(not 0 <= k < K for k in heads):
        raise ValueError(f"the model has heads 0 to {K - 1}; got {heads}")

    table = _objects(dataset, (H // patch, W // patch), objects, resolution, leave_out)
    facts = {
        "data": dataset.name, "images": len(table.images), "objects": objects, "objects_scored": len(table.of),
        "left_out": table.left_out, "size": [H, W], "patch_size": patch, "resolution": resolution,
        "share": share, "rules": rules, "layers": layers, "heads": heads, "seed": seed,
        "fingerprint": _digest(dataset.images, table.counts, table.background),
    }  # fmt: skip
    if not len(table.images):
        raise ValueError(f"no image of {dataset.name!r} can be scored: {table.left_out[0]}")
    done = _Partial(partial, {**facts, "batch_size": batch_size}, model)
    pieces = []
    starts = range(0, len(table.images), batch_size)
    for start in tqdm(starts, desc=f"{dataset.name} {H}px", unit="batch", disable=not progress):
        chunk = range(start, min(start + batch_size, len(table.images)))
        pieces.append(
            done.get(start)
            or done.put(start, _score_chunk(model, dataset, table, chunk, layers, heads, rules, share, seed))
        )
    return Scores(facts, {k: torch.cat([p[k] for p in pieces]) for k in pieces[0]})


def at_size(dataset: ImageSet, size: int) -> ImageSet:
    """The set resized to squares of ``size`` pixels: images smoothly, masks and parts by the nearest pixel."""
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    if tuple(dataset.images.shape[-2:]) == (size, size):
        return dataset

    def nearest(labels: Tensor | None) -> Tensor | None:
        if labels is None:
            return None
        return F.interpolate(labels[:, None].float(), (size, size), mode="nearest-exact")[:, 0].to(
            torch.uint8
        )

    images = torch.cat(
        [
            F.interpolate(part.float(), (size, size), mode="bicubic", antialias=True)
            for part in dataset.images.split(64)
        ]
    )
    images = images.round().clamp(0, 255).to(torch.uint8)
    return replace(dataset, images=images, masks=nearest(dataset.masks), parts=nearest(dataset.parts))


def stored(weights: str, data: str, size: int = 128) -> dict[str, Any]:
    """A summary from ``results/masks``: of ``weights`` on ``data`` (``"pets/test"``) at one input size.

    Raises:
        FileNotFoundError: these weights were not scored; KeyError: not on this set, or not at this size.
    """
    return json.loads(read_result(f"masks/{weights}.json"))["scores"][data][str(size)]


@dataclass(frozen=True)
class _Table:
    """The objects of a set: ``of`` which image (a place in ``images``), and their pixels in every patch."""

    images: list[int]
    of: Tensor
    truth: Tensor
    counts: Tensor
    background: Tensor
    left_out: list[str]


def _objects(
    dataset: ImageSet, grid: tuple[int, int], objects: str, resolution: str, leave_out: bool
) -> _Table:
    """Find every object, count its pixels in every patch, and name what cannot be scored."""
    if objects not in ("mask", "parts"):
        raise ValueError(f"objects must be 'mask' or 'parts', got {objects!r}")
    labels = dataset.masks if objects == "mask" else dataset.parts
    if labels is None:
        kind = "masks" if objects == "mask" else "parts"
        raise ValueError(f"the set {dataset.name!r} has no {kind} to score against")
    labels = labels.cpu()
    if objects == "mask" and (strange := sorted(set(labels.unique().tolist()) - {0, 1, IGNORE})):
        raise ValueError(
            f"masks of {dataset.name!r} hold the values {strange}; they must be 0 background, 1 object, "
            f"{IGNORE} not counted"
        )
    images, of, truth, left_out = [], [], [], []
    found: list[tuple[Tensor, Tensor]] = []
    for i, label in enumerate(labels):
        present = [1] if objects == "mask" else [v for v in label.unique().tolist() if v not in (0, IGNORE)]
        name = dataset.files[i] if dataset.files else f"image {i}"
        kept = 0
        if not present:
            left_out.append(f"{name} of {dataset.name!r} shows no part")
        for value in present:
            # the object becomes 1, what is not counted stays, everything else becomes background
            one = torch.where(label == value, 1, torch.where(label == IGNORE, IGNORE, 0)).to(torch.uint8)
            counts, background = count_patches(one, grid)
            if resolution == "patch":
                counts, background = majority(counts, background)
                one = torch.where(counts == 1, 1, torch.where(background == 1, 0, IGNORE)).to(torch.uint8)
                one = one.view(grid)
            what = "" if objects == "mask" else f"; part {value}"
            if counts.sum() == 0:
                cell = "pixel" if resolution == "pixel" else "patch"
                left_out.append(f"{name} of {dataset.name!r} has no object {cell} in its mask{what}")
            elif background.sum() == 0:
                left_out.append(f"{name} of {dataset.name!r} has no background in its mask{what}")
            else:
                found.append((counts, background))
                truth.append(one)
                of.append(len(images))
                kept += 1
        if kept:
            images.append(i)
    if left_out and not leave_out:
        raise ValueError(
            f"{left_out[0]}; leave such images out with subset(), or pass leave_out=True to have them listed"
            + (f" ({len(left_out)} in all)" if len(left_out) > 1 else "")
        )
    empty = torch.zeros(0, grid[0] * grid[1], dtype=torch.int32)
    counts, background = (torch.stack(c) for c in zip(*found, strict=True)) if found else (empty, empty)
    return _Table(
        images,
        torch.tensor(of, dtype=torch.long),
        torch.stack(truth) if truth else labels[:0],
        counts,
        background,
        left_out,
    )


def _score_chunk(
    model: CRATE,
    dataset: ImageSet,
    table: _Table,
    chunk: range,
    layers: list[int],
    heads: list[int],
    rules: list[str],
    share: float,
    seed: int,
) -> dict[str, Tensor]:
    """What :class:`Scores` holds, for the images of one chunk."""
    # the image before the first stands in front: its maps are what the first is held against ("elsewhere")
    places = [table.images[chunk.start - 1], *(table.images[i] for i in chunk)]
    maps = cls_attention_maps(model, dataset.images[places], layers, batch_size=len(places))[:, :, heads]
    if not torch.isfinite(maps).all():
        bad = int((~torch.isfinite(maps)).flatten(1).any(1).nonzero()[0])
        where = dataset.files[places[bad]] if dataset.files else f"image {places[bad]}"
        raise FloatingPointError(f"attention on {where} of {dataset.name!r} is not finite")
    width = spread(maps[1:]) / maps[0, 0, 0].numel()
    maps = rearrange(maps, "b l k h w -> b l k (h w)")

    first, last = torch.searchsorted(table.of, torch.tensor([chunk.start, chunk.stop])).tolist()
    own = table.of[first:last] - chunk.start  # of each object its image, counted within the chunk
    counts, background = (t[first:last, None, None] for t in (table.counts, table.background))

    def scored(views: Tensor) -> dict[str, Tensor]:
        return score_maps(views[own], counts, background, share=share)

    own_maps, shuffled, elsewhere = (
        scored(maps[1:]),
        scored(_shuffle(maps[1:], chunk, seed)),
        scored(maps[:-1]),
    )
    flat = score_maps(
        torch.ones(last - first, maps.shape[-1]), table.counts[first:last], table.background[first:last]
    )
    centre = _centre(table, slice(first, last))

    def by_image(values: Tensor) -> Tensor:
        """Mean over the objects of each image."""
        sums = torch.zeros(len(chunk), *values.shape[1:], dtype=values.dtype).index_add(0, own, values)
        return (sums / torch.bincount(own, minlength=len(chunk)).view(-1, *[1] * (values.ndim - 1))).float()

    result = {"spread": width.float()}
    for rule in rules:
        result |= {
            f"heads/{rule}": by_image(own_maps[rule]),
            f"best_of/{rule}": by_image(expected_best_of(own_maps[rule])),
            f"shuffled/{rule}": by_image(shuffled[rule]),
            f"chance/{rule}": by_image(expected_best_of(shuffled[rule])),
            f"elsewhere/{rule}": by_image(elsewhere[rule]),
            f"everything/{rule}": by_image(flat[rule]),
            f"centre/{rule}": by_image(centre[rule]),
        }
    # A flat map keeps everything under any rule: as a mask it is the whole image.
    return result | {f"everything/{r}": by_image(flat["best_iou"]) for r in rules if r in ("mass", "patch")}


def _shuffle(maps: Float[Tensor, "b L K n"], chunk: range, seed: int) -> Float[Tensor, "b L K n"]:
    """Every map with its patches in random order; what image i gets does not depend on the batch it is in."""
    orders = []
    for i in chunk:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + i)
        orders.append(torch.rand(maps.shape[1:], generator=generator).argsort(-1))
    return maps.gather(-1, torch.stack(orders))


def _centre(table: _Table, part: slice) -> dict[str, Tensor]:
    """The centre prior on the truth, pixel by pixel, one row an object; nine discs for the mask rules."""
    truth = table.truth[part]
    H, W = truth.shape[-2:]
    y, x = ((torch.arange(s) + 0.5) / s - 0.5 for s in (H, W))
    near = -(y[:, None] ** 2 + x[None, :] ** 2).flatten()
    pixels = (rearrange(t, "m h w -> m (h w)") for t in (truth == 1, truth == 0))
    scores = score_maps((1 + near).expand(len(truth), -1), *pixels)
    discs = torch.stack([centre_prior((H, W), s) for s in DISCS])
    inside = (discs & (truth == 1)[:, None]).sum((-2, -1))
    joint = ((discs | (truth == 1)[:, None]) & (truth != IGNORE)[:, None]).sum((-2, -1))
    return scores | {"mass": (inside / joint).double(), "patch": (inside / joint).double()}


class _Partial:
    """Finished chunks in a folder, each written whole or not at all, under the fingerprint of the run."""

    def __init__(self, folder: str | os.PathLike | None, facts: dict[str, Any], model: CRATE) -> None:
        self.folder = None
        if folder is not None:
            # what decides the numbers: weights, images, settings
            run = json.dumps([facts, model.config.to_dict(), _digest(*model.state_dict().values())])
            self.folder = Path(folder) / hashlib.sha256(run.encode()).hexdigest()[:16]

    def get(self, start: int) -> dict[str, Tensor] | None:
        if self.folder is None or not (file := self.folder / f"{start:06}.safetensors").is_file():
            return None
        try:
            return load_tensors(file)[0]
        except CheckpointError:  # cannot come from us, who write whole files; made again all the same
            return None

    def put(self, start: int, values: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.folder is not None:
            save_tensors(self.folder / f"{start:06}.safetensors", values, {})
        return values


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _taken_over(scores: Scores, earlier: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What an earlier summary chose, and on which images."""
    for fact in ("layers", "heads"):
        if scores.facts[fact] != earlier[fact]:
            raise ValueError(
                f"the earlier result is about the {fact} {earlier[fact]}, this one about {scores.facts[fact]}: "
                "a head can only be taken over within one architecture"
            )
    if missing := [rule for rule in scores.rules if rule not in earlier["rules"]]:
        raise ValueError(f"the earlier result has not the rules {missing}; it has {list(earlier['rules'])}")
    choice = {}
    for rule in scores.rules:
        kept = earlier["rules"][rule]
        choice[rule] = {
            "layer": kept["fixed"]["layer"],
            "head": kept["fixed"]["head"],
            "best_of_layer": [row["layer"] for row in kept["per_image"]],
        }
    return choice, earlier["data"] if earlier["chosen_on"] == ITSELF else earlier["chosen_on"]


def _interval(values: Float[Tensor, " n"]) -> list[float]:
    return [round(v, 4) for v in mean_interval(values)]


def _rounded(values: Tensor) -> list:
    return [[round(v, 4) for v in row] for row in values.tolist()]
