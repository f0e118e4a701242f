"""Every layer's every head on every image, with the controls and baselines: the pass over the images.

:func:`score_images` does the work, and can be stopped and taken up again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from crate_mini.attention_maps import cls_attention_maps, smooth_maps, spread
from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE
from crate_mini.progress import bar
from crate_mini.recorder import layer_numbers
from crate_mini.segmentation.baselines import blind_scores
from crate_mini.segmentation.objects import Objects, at_size, find_objects, offset
from crate_mini.segmentation.ranking import score_maps
from crate_mini.stats import expected_best_of
from crate_mini.weights import CheckpointError, load_tensors, save_tensors

RULES = {
    "best_iou": "IoU at the best threshold for each image",
    "auroc": "pixel AUROC",
    "ap": "pixel average precision",
    "mass": "IoU of the fewest patches that hold 60 % of the attention (DINO's rule)",
    "patch": "IoU of the 60 % of patches attended to most (arXiv 2308.16271, B.3, as written)",
}
"""Name -> what is scored. The first three need no threshold."""

VERSION = 5  # of what is scored; pieces of another version are made again
MOST = 2**24  # values sorted at a time


@dataclass(frozen=True)
class Scores:
    """Scores of every layer and head on every image: means over the objects of an image.

    Attributes:
        facts: what was scored, and how; JSON types.
        values: name -> one value an image (first dimension), by rule (``"heads/auroc"``):

            ``heads`` (n, L, K) of every head; ``best_of`` (n, L, K) of the best of 1, ..., K heads of a layer, found
            anew for each object (:func:`~crate_mini.segmentation.expected_best_of`); ``shuffled`` and ``chance``
            (n, L, K) are the same two for maps whose patches were shuffled, which keeps the area, the values and the
            entropy of every map; ``mean`` (n, L) of the mean of a layer's maps, for which no head is chosen;
            ``elsewhere`` (n, L, K) each head's map of the image before in place of its own, NaN of a single image;
            ``everything`` (n,) a flat map and ``centre`` (n,) a bell in the middle, both under the rule itself
            (:func:`~crate_mini.segmentation.baselines.blind_scores`). And ``spread`` (n, L, K), the share of the
            patches that a map rests on, and ``offset`` (n,), how far from the centre objects lie, in halves of the
            image.
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
    shifts: int = 1,
    smooth: bool = False,
    only_mean: bool = False,
    batch_size: int = 32,
    seed: int = 0,
    leave_out: bool = False,
    partial: str | os.PathLike | None = None,
    progress: bool | None = None,
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
        objects: ``"mask"``, one object an image; ``"parts"``, every part (or class) that an image shows is an object
            against all else; or ``"instances"``, every object that is marked by itself. An image's score is the mean
            over its objects.
        share: of the attention (``mass``) or of the patches (``patch``).
        shifts: as for :func:`~crate_mini.attention_maps.cls_attention_maps`: finer maps from moved pictures.
        smooth: likewise: maps enlarged to the pixels. Both hold for the controls, too: patches are shuffled before.
        only_mean: score the mean over heads alone, beside what never saw the image: keys ``mean/…``, ``centre/…`` and
            ``everything/…``. It takes a small part of the time, above all with finer maps.
        batch_size: images a forward pass, and a piece of ``partial``.
        seed: of the shuffled maps.
        leave_out: leave out what cannot be scored, and say so in ``facts["left_out"]``, instead of an error.
        partial: folder for what is done so far. A run with the same weights, images and settings goes on there.
        progress: show a progress bar; None as :func:`crate_mini.progress.shown` says.

    Raises:
        ValueError: settings out of range; no masks; an image whose object has no pixel (no patch), or fills
            everything that counts, by name.
    """
    rules, layers, heads, dataset = _checked(model, dataset, rule, layer, heads, resolution, size)
    (H, W), patch = dataset.images.shape[-2:], model.config.patch_size
    if resolution == "patch" and (smooth or shifts > 1):
        raise ValueError("finer maps (shifts, smooth) are scored by pixels; resolution is 'patch'")
    cell = 1 if smooth else max(1, patch // max(1, shifts))
    table = find_objects(dataset, (H // cell, W // cell), objects, resolution, leave_out)
    facts = {
        "data": dataset.name, "images": len(table.images), "objects": objects, "objects_scored": len(table.of),
        "left_out": table.left_out, "size": [H, W], "patch_size": patch, "resolution": resolution,
        "share": share, "rules": rules, "layers": layers, "heads": heads, "seed": seed,
        "shifts": shifts, "smooth": smooth, "only_mean": only_mean,
        "fingerprint": _digest(dataset.images, table.counts, table.background),
    }  # fmt: skip
    if not len(table.images):
        raise ValueError(f"no image of {dataset.name!r} can be scored: {table.left_out[0]}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    done = _Partial(partial, {**facts, "batch_size": batch_size}, model)
    pieces = []
    finish = (lambda maps: smooth_maps(maps, (H, W))) if smooth else lambda maps: maps
    starts = range(0, len(table.images), batch_size)
    for start in bar(starts, desc=f"{dataset.name} {H}px", unit="batch", progress=progress):
        chunk = range(start, min(start + batch_size, len(table.images)))
        piece = done.get(start)
        if piece is None:
            maps = _maps(model, dataset, table, chunk, layers, shifts)[:, :, heads]
            piece = done.put(start, _score_chunk(maps, finish, table, chunk, rules, share, seed, only_mean))
        pieces.append(piece)
    return Scores(facts, {k: torch.cat([p[k] for p in pieces]) for k in pieces[0]})


def score_heads(
    model: CRATE,
    data: ImageSet,
    *,
    rule: str = "mass",
    share: float = 0.6,
    batch_size: int = 32,
    progress: bool | None = None,
) -> Float[Tensor, "n L K"]:
    """Score of every layer's every head, image by image, under one rule: :func:`score_images` without its controls.

    Arguments and errors as there.
    """
    scores = score_images(model, data, rule=rule, share=share, batch_size=batch_size, progress=progress)
    return scores[f"heads/{rule}"]


def _checked(
    model: CRATE,
    dataset: ImageSet,
    rule: str | Sequence[str],
    layer: int | Sequence[int] | None,
    heads: Sequence[int] | None,
    resolution: str,
    size: int | None,
) -> tuple[list[str], list[int], list[int], ImageSet]:
    """Rules, layers, heads, and the images at the size they are scored at; or an error that says what is wrong."""
    rules = [rule] if isinstance(rule, str) else list(rule)
    if not rules or (unknown := [r for r in rules if r not in RULES]):
        raise ValueError(f"rules are {', '.join(RULES)}; got {unknown if rules else 'none'}")
    if resolution not in ("pixel", "patch"):
        raise ValueError(f"resolution must be 'pixel' or 'patch', got {resolution!r}")
    dataset = dataset if size is None else at_size(dataset, size)
    (H, W), patch = dataset.images.shape[-2:], model.config.patch_size
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
    return rules, layers, heads, dataset


def _maps(
    model: CRATE, dataset: ImageSet, table: Objects, chunk: range, layers: list[int], shifts: int
) -> Float[Tensor, "b L K h w"]:
    """Maps of a chunk's images, and in front those of the image before, for which the first is held ("elsewhere")."""
    places = [table.images[chunk.start - 1], *(table.images[i] for i in chunk)]
    maps = cls_attention_maps(model, dataset.images[places], layers, shifts=shifts, batch_size=len(places))
    if not torch.isfinite(maps).all():
        bad = int((~torch.isfinite(maps)).flatten(1).any(1).nonzero()[0])
        where = dataset.files[places[bad]] if dataset.files else f"image {places[bad]}"
        raise FloatingPointError(f"attention on {where} of {dataset.name!r} is not finite")
    return maps


def _score_chunk(
    maps: Float[Tensor, "b L K h w"],
    finish: Callable[[Tensor], Tensor],
    table: Objects,
    chunk: range,
    rules: list[str],
    share: float,
    seed: int,
    only_mean: bool,
) -> dict[str, Tensor]:
    """What :class:`Scores` holds, for the images of one chunk, from :func:`_maps`, once they are finished."""
    width = spread(maps[1:]) / maps[0, 0, 0].numel()

    first, last = torch.searchsorted(table.of, torch.tensor([chunk.start, chunk.stop])).tolist()
    own = table.of[first:last] - chunk.start  # of each object its image, counted within the chunk
    counts, background = (t[first:last, None, None] for t in (table.counts, table.background))

    def scored(views: Tensor) -> dict[str, Tensor]:
        # some objects at a time: what is sorted is copied several times
        at_once = max(1, MOST // (views[0].numel() // views[0, 0, 0].numel() * counts.shape[-1]))
        found = [
            score_maps(finish(views[own[part]]).flatten(-2), counts[part], background[part], share=share)
            for part in torch.arange(len(own)).split(at_once)
        ]
        return {name: torch.cat([piece[name] for piece in found]) for name in found[0]}

    def by_image(values: Tensor) -> Tensor:
        """Mean over the objects of each image."""
        sums = torch.zeros(len(chunk), *values.shape[1:], dtype=values.dtype).index_add(0, own, values)
        return (sums / torch.bincount(own, minlength=len(chunk)).view(-1, *[1] * (values.ndim - 1))).float()

    of_layer = scored(maps[1:].mean(2, keepdim=True))
    blind = blind_scores(table.truth[first:last], share)
    result = {"spread": width.float(), "offset": by_image(offset(table.truth[first:last]))}
    for rule in rules:
        result[f"mean/{rule}"] = by_image(of_layer[rule][..., 0])
        result |= {f"{name}/{rule}": by_image(scores[rule]) for name, scores in blind.items()}
    if only_mean:
        return result

    own_maps, shuffled, elsewhere = (
        scored(maps[1:]),
        scored(_shuffle(maps[1:], chunk, seed)),
        scored(maps[:-1]),
    )
    if len(table.images) < 2:  # the image before is the image itself, which controls nothing
        elsewhere = {rule: torch.full_like(found, torch.nan) for rule, found in elsewhere.items()}
    for rule in rules:
        result |= {
            f"heads/{rule}": by_image(own_maps[rule]),
            f"best_of/{rule}": by_image(expected_best_of(own_maps[rule])),
            f"shuffled/{rule}": by_image(shuffled[rule]),
            f"chance/{rule}": by_image(expected_best_of(shuffled[rule])),
            f"elsewhere/{rule}": by_image(elsewhere[rule]),
        }
    return result


def _shuffle(maps: Float[Tensor, "b L K h w"], chunk: range, seed: int) -> Float[Tensor, "b L K h w"]:
    """Every map with its patches in random order; what image i gets does not depend on the batch it is in."""
    flat, orders = maps.flatten(-2), []
    for i in chunk:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + i)
        orders.append(torch.rand(flat.shape[1:], generator=generator).argsort(-1))
    return flat.gather(-1, torch.stack(orders)).view(maps.shape)


class _Partial:
    """Finished chunks in a folder, each written whole or not at all, under the fingerprint of the run."""

    def __init__(self, folder: str | os.PathLike | None, facts: dict[str, Any], model: CRATE) -> None:
        self.folder = None
        if folder is not None:
            # what decides the numbers: weights, images, settings
            run = json.dumps([VERSION, facts, model.config.to_dict(), _digest(*model.state_dict().values())])
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
