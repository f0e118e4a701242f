"""The authors' checkpoints (github.com/Ma-Lab-Berkeley/CRATE): what is in one, and a model from it."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crate_mini.model import CRATE, CRATEConfig
from crate_mini.registry import published_sizes
from crate_mini.weights import CheckpointError, require_finite_tensors

# (width, depth, patch): name and paper
_PUBLISHED = {
    (size.dim, size.depth, size.patch_size): f"{size.published} ({name})"
    for name, size in published_sizes().items()
}
# Head counts cannot be read off the shapes (heads x head_dim is the width); these are the published ones.
_PUBLISHED_HEADS = {size.dim: size.heads for size in published_sizes().values()}
_IMAGENET_21K = (21841, 21842)  # with and without a class for nothing

_NESTS = ("state_dict", "model", "model_state_dict", "teacher")  # where training checkpoints keep the weights
_STYLE = re.compile(r"\x1b\[[0-9;]*m")  # bold letters, say, in a message of PyTorch
# a key that gives another network away, and what it is
_OTHER_NETWORKS = (
    ("encoder.blocks.0.attention.project.weight", "weights of this package: load_model reads its files"),
    ("blocks.0.attention.project.weight", "weights of this package: load_model reads its files, load_state_dict this"),
    ("transformer.layers.0.0.fn.to_qkv.weight", "a ViT as in vit-pytorch, with queries, keys and values apart"),
    ("blocks.0.attn.qkv.weight", "a ViT as in timm or DINO, with queries, keys and values apart"),
    ("vit.encoder.layer.0.attention.attention.query.weight", "a ViT of the transformers library"),
)  # fmt: skip


@dataclass(frozen=True)
class OfficialReport:
    """What a state dict holds, read as one of the authors' CRATE; ``print`` it.

    Attributes:
        tensors, numbers: how many.
        wrapped: whether the weights were nested, or their names prefixed, as training checkpoints have it.
        width, depth, patch_size, grid, num_classes: read off the shapes; None where they do not tell.
        inner: heads times the dimension of a head.
        heads: as given, else as published for the width; None for a width that nobody published.
        looks_like: the published model of these sizes, or what is closest and where it differs.
        problems: (tensor, expected, found) of all that does not fit; empty if the import works.
    """

    tensors: int
    numbers: int
    wrapped: bool
    width: int | None
    depth: int
    patch_size: int | None
    grid: int | None
    num_classes: int | None
    inner: int | None
    heads: int | None
    heads_given: bool
    looks_like: str
    problems: tuple[tuple[str, str, str], ...]

    @property
    def two_head_counts(self) -> bool:
        """Whether models of these very shapes are known with 12 heads and with 6."""
        return (self.width, self.depth, self.patch_size) == (768, 12, 8) and self.num_classes in _IMAGENET_21K

    def __str__(self) -> str:
        def told(value: int | None, unit: str = "") -> str:
            return "?" if value is None else f"{value:,}{unit}"

        grid = f"{told(self.grid)} x {told(self.grid)} patches"
        if self.grid and self.patch_size:
            grid += f" ({self.grid * self.patch_size} pixels)"
        if self.heads_given:
            heads = f"{self.heads}, as given"
        elif self.two_head_counts:
            heads = "12 as published; the authors' demo weights have these shapes and 6 (heads=6)"
        elif self.heads:
            heads = f"{self.heads}, as published for this width; the shapes do not tell"
        else:
            heads = "unknown: the shapes do not tell, and no published CRATE has this width (heads=...)"
        facts = {
            "holds": f"{self.tensors} tensors, {self.numbers:,} numbers"
            + (", as a training checkpoint" if self.wrapped else ""),
            "width": told(self.width),
            "depth": told(self.depth),
            "heads": heads,
            "patches": f"{told(self.patch_size)} x {told(self.patch_size)} pixels",
            "images": grid,
            "classes": told(self.num_classes),
            "looks like": self.looks_like,
        }
        lines = [f"{name:<11} {fact}" for name, fact in facts.items()]
        if not self.problems:
            whole = (
                ["every tensor is there and has the shape it should have"]
                if self.depth and self.width
                else []
            )
            return "\n".join([*lines, *whole])
        rows = [("tensor", "expected", "found"), *_merged(self.problems)]
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join([*lines, "", *(f"{t:<{widths[0]}}  {e:<{widths[1]}}  {f}" for t, e, f in rows)])


def describe_official(state_dict: Mapping[str, Any], *, heads: int | None = None) -> OfficialReport:
    """What a state dict holds, whether or not :func:`from_official` can read it. Never raises over its contents."""
    tensors = {k: v for k, v in _unwrapped(state_dict).items() if isinstance(v, Tensor)}
    wrapped = not set(tensors) <= set(state_dict)

    def size(name: str, axis: int, ndim: int) -> int | None:
        tensor = tensors.get(name)
        return tensor.shape[axis] if tensor is not None and tensor.ndim == ndim else None

    width, pixels = (size("to_patch_embedding.2.weight", axis, 2) for axis in (0, 1))
    patch = None if pixels is None else round((pixels / 3) ** 0.5)
    patch = patch if patch and 3 * patch**2 == pixels else None
    positions = size("pos_embedding", 1, 3)
    grid = None if positions is None else round(max(0, positions - 1) ** 0.5)
    grid = grid if grid and grid**2 + 1 == positions else None
    classes = size("mlp_head.1.weight", 0, 2)
    layers = [int(m[1]) for k in tensors if (m := re.match(r"transformer\.layers\.(\d+)\.", k))]
    depth = 1 + max(layers, default=-1)
    inside = size("transformer.layers.0.0.fn.qkv.weight", 0, 2) or width
    published = heads or _PUBLISHED_HEADS.get(width)
    facts = {
        "tensors": len(tensors), "numbers": sum(t.numel() for t in tensors.values()), "wrapped": wrapped,
        "width": width, "depth": depth, "patch_size": patch, "grid": grid, "num_classes": classes,
        "inner": inside, "heads": published, "heads_given": heads is not None,
    }  # fmt: skip
    expected = {} if not width else _official_shapes(facts, pixels, positions, classes)
    if "transformer.layers.0.0.fn.to_out.0.weight" not in tensors and inside == width and heads == 1:
        expected = {k: v for k, v in expected.items() if ".to_out." not in k}
    problems = []
    for name in [*expected, *(k for k in tensors if k not in expected)]:
        should = "nothing" if name not in expected else str(expected[name])
        found = "nothing" if name not in tensors else str(tuple(tensors[name].shape))
        if should != found:
            problems.append((name, should, found))
    return OfficialReport(**facts, looks_like=_looks_like(facts, tensors), problems=tuple(problems))


def _official_shapes(
    facts: Mapping[str, Any], pixels: int, positions: int | None, classes: int | None
) -> dict[str, tuple]:
    """Official parameter name -> shape, for the sizes that were read off; '?' where they were not."""
    d, inner = facts["width"], facts["inner"]
    positions, classes = positions or "?", classes or "?"
    shapes: dict[str, tuple] = {"pos_embedding": (1, positions, d), "cls_token": (1, 1, d)}
    vectors = {"to_patch_embedding.1": pixels, "to_patch_embedding.3": d, "mlp_head.0": d}
    maps = {"to_patch_embedding.2": (d, pixels), "mlp_head.1": (classes, d)}
    for i in range(facts["depth"]):
        layer = f"transformer.layers.{i}"
        vectors |= {f"{layer}.0.norm": d, f"{layer}.1.norm": d}
        maps |= {f"{layer}.0.fn.to_out.0": (d, inner)}
        shapes |= {f"{layer}.0.fn.qkv.weight": (inner, d), f"{layer}.1.fn.weight": (d, d)}
    shapes |= {f"{k}.{w}": (v,) for k, v in vectors.items() for w in ("weight", "bias")}
    return (
        shapes | {f"{k}.weight": v for k, v in maps.items()} | {f"{k}.bias": v[:1] for k, v in maps.items()}
    )


def _looks_like(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """The published model of these sizes, or the one that comes closest, in words."""
    for key, what in _OTHER_NETWORKS:
        if key in tensors:
            return f"{what}; not the authors' CRATE"
    sizes = tuple(facts[k] for k in ("width", "depth", "patch_size"))
    if facts["width"] is None or not facts["depth"]:
        return "no CRATE: its patch embedding or its layers are missing"
    labels = {1000: "ImageNet-1k", **dict.fromkeys(_IMAGENET_21K, "ImageNet-21k")}
    classes = labels.get(facts["num_classes"], f"a classifier of {facts['num_classes'] or '?'} classes")
    if sizes in _PUBLISHED:
        return f"{_PUBLISHED[sizes]}, {classes}"
    names = ("width", "depth", "patch")
    closest = max(_PUBLISHED, key=lambda known: [a == b for a, b in zip(known, sizes, strict=True)])
    same = [a == b for a, b in zip(closest, sizes, strict=True)]
    if not same[0]:
        return f"a CRATE of a width that nobody published, {classes}"
    differs = [
        f"{n} {b or '?'} in place of {a}"
        for n, a, b, s in zip(names, closest, sizes, same, strict=True)
        if not s
    ]
    return f"{_PUBLISHED[closest]}, but {' and '.join(differs)}; {classes}"


def _merged(problems: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The same trouble in several layers told once: ``transformer.layers.[0-11].1.fn.weight``."""
    groups: dict[tuple[str, str, str, str], list[int]] = {}
    for name, *rest in problems:
        m = re.fullmatch(r"(transformer\.layers\.)(\d+)(\..+)", name)
        before, layer, after = m.groups() if m else (name, "", "")
        groups.setdefault((before, after, *rest), []).append(int(layer) if layer else -1)
    rows = []
    for (before, after, *rest), layers in groups.items():
        if len(layers) == 1:
            number = "" if layers[0] < 0 else str(layers[0])
        elif layers == list(range(layers[0], layers[-1] + 1)):
            number = f"[{layers[0]}-{layers[-1]}]"
        else:
            number = f"[{','.join(map(str, layers))}]"
        rows.append((f"{before}{number}{after}", *rest))
    return rows


def load_official(path: str | os.PathLike) -> dict[str, Any]:
    """Read one of the authors' ``.pth`` files, without running anything that is pickled in it.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: not a PyTorch file, or one that holds more than tensors and plain values.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of what kind hangs on what the bytes happen to spell
        why = _STYLE.sub("", str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise CheckpointError(
            f"{path} is not a PyTorch file that can be read safely: truncated, or it holds more than tensors and "
            f"plain values ({why})"
        ) from error
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path} holds a {type(found).__name__}, expected a state dict or a checkpoint")
    return dict(found)


def from_official(
    state_dict: Mapping[str, Any],
    *,
    heads: int | None = None,
    image_size: int | None = None,
    **overrides: Any,
) -> CRATE:
    """A CRATE from a state dict of the authors' code (github.com/Ma-Lab-Berkeley/CRATE, ``model/crate.py``).

    Every size is read off the tensor shapes, except the number of heads. A training checkpoint, which nests the
    weights under ``state_dict`` and prefixes them with ``module.`` or ``_orig_mod.``, is taken as it is. What a state
    dict holds, :func:`describe_official` tells; where it does not fit, that is the end of the message.

    Args:
        state_dict: names to tensors.
        heads: number of heads; by default the published count for the width. The authors' demo weights have the
            shapes of CRATE-B/8, with 12 heads, but 6 heads: pass ``heads=6`` for them. Without ``heads`` such
            shapes give a warning.
        image_size: pixels; by default that of a square grid of patches.
        overrides: other fields of :class:`~crate_mini.model.CRATEConfig`.

    Raises:
        CheckpointError: missing, surplus or misshapen tensors, all of them named; numbers that are not finite.
    """
    report = describe_official(state_dict, heads=heads)
    tensors = _unwrapped(state_dict)
    if refusal := _why_not(report, tensors):
        raise CheckpointError(f"{refusal}\n{report}")
    if report.two_head_counts and heads is None:
        warnings.warn(
            "these are the shapes of CRATE-B/8, with 12 heads, and of the authors' demo weights, with 6; taken for "
            "the former. Say heads=6 or heads=12.",
            stacklevel=2,
        )
    config = CRATEConfig(
        dim=report.width,
        heads=report.heads,
        depth=report.depth,
        head_dim=report.inner // report.heads,
        patch_size=report.patch_size,
        image_size=image_size or report.grid * report.patch_size,
        num_classes=report.num_classes,
        **overrides,
    )
    require_finite_tensors(tensors, "this state dict")
    model = CRATE(config)
    if report.heads == 1:  # there the official code has no output map, which is the identity
        for i in range(report.depth):
            out = f"transformer.layers.{i}.0.fn.to_out.0"
            tensors.setdefault(f"{out}.weight", torch.eye(report.width))
            tensors.setdefault(f"{out}.bias", torch.zeros(report.width))
    model.load_state_dict({v: tensors[k].float() for k, v in _official_names(report.depth).items()})
    return model.eval()


def _unwrapped(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The weights themselves, out of a training checkpoint or a compiled model."""
    inner = next((state_dict[k] for k in _NESTS if k in state_dict), state_dict)
    if not isinstance(inner, Mapping):
        return {}
    return {k.removeprefix("module.").removeprefix("_orig_mod."): v for k, v in inner.items()}


def _why_not(report: OfficialReport, tensors: Mapping[str, Any]) -> str:
    """Why these tensors are no CRATE of the authors' form, in words; empty if they are."""
    essential = ("pos_embedding", "to_patch_embedding.2.weight", "mlp_head.1.weight")
    if missing := [k for k in essential if not isinstance(tensors.get(k), Tensor)]:
        return f"not a state dict of the official CRATE: {', '.join(missing)} not in it"
    for name, ndim in zip(essential, (3, 2, 2), strict=True):
        if tensors[name].ndim != ndim:
            return f"{name} has shape {tuple(tensors[name].shape)}, expected {ndim} dimensions"
    if report.patch_size is None or report.grid is None:
        pixels, positions = tensors["to_patch_embedding.2.weight"].shape[1], tensors["pos_embedding"].shape[1]
        return f"patches of {pixels} numbers or {positions} positions are not square"
    if report.heads is None:
        return f"no published CRATE has width {report.width}; say how many heads this one has: heads=..."
    if report.depth == 0:
        return "not a state dict of the official CRATE: it has no transformer.layers"
    told = []
    for name, expected, found in report.problems:
        if found == "nothing":
            told.append(f"{name} is missing")
        elif expected == "nothing":
            told.append(f"{name} is not part of a CRATE of depth {report.depth}")
        else:
            told.append(f"{name} has shape {found}, expected {expected}")
    if told:
        more = f"; and {len(told) - 6} more" if len(told) > 6 else ""
        return f"this state dict does not fit: {'; '.join(told[:6])}{more}"
    if report.inner % report.heads:
        return f"{report.inner} dimensions do not divide into {report.heads} heads"
    return ""


def _official_names(depth: int) -> dict[str, str]:
    """Official parameter name -> ours."""
    names = {"pos_embedding": "embedding.position", "cls_token": "embedding.cls_token"}
    pairs = {f"to_patch_embedding.{i + 1}": f"embedding.patches.{i}" for i in range(3)}
    pairs |= {"mlp_head.0": "encoder.norm", "mlp_head.1": "head"}
    for i in range(depth):
        official, own = f"transformer.layers.{i}", f"encoder.blocks.{i}"
        pairs |= {f"{official}.0.norm": f"{own}.norm1", f"{official}.1.norm": f"{own}.norm2"}
        pairs |= {f"{official}.0.fn.to_out.0": f"{own}.attention.out"}
        names |= {
            f"{official}.0.fn.qkv.weight": f"{own}.attention.project.weight",
            f"{official}.1.fn.weight": f"{own}.feed.D",
        }
    return names | {f"{k}.{w}": f"{v}.{w}" for k, v in pairs.items() for w in ("weight", "bias")}
