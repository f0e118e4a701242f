"""Weights in and out: safetensors with a JSON card, checksummed, atomic, never pickled.

A weights file holds the model's tensors and, in its header, the :class:`~crate_mini.model.CRATEConfig` that
rebuilds the model. A *card*, the file beside it with the suffix ``.json``, says how the weights came about
and carries the SHA-256 of the weights file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from crate_mini.model import CRATE, CRATEConfig


class CheckpointError(ValueError):
    """A weights file that cannot be used: truncated, altered, or not what was expected."""


def write_atomically(path: str | os.PathLike, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then move it into place: all of it or nothing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(Path(temporary))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def save_tensors(path: str | os.PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Path:
    """Write tensors and JSON-serialisable metadata as one safetensors file, atomically."""
    owned = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    header = {k: json.dumps(v) for k, v in metadata.items()}
    return write_atomically(path, lambda temporary: save_file(owned, temporary, metadata=header))


def load_tensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of :func:`save_tensors`.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: the file is truncated or no safetensors file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights file at {path}")
    try:
        with safe_open(path, framework="pt") as f:
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 (not a dict)
            metadata = {k: json.loads(v) for k, v in (f.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is truncated or not a safetensors file of ours ({error})") from error
    return tensors, metadata


def save_model(
    model: CRATE,
    path: str | os.PathLike,
    card: Mapping[str, Any] | None = None,
    *,
    classes: tuple[str, ...] = (),
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a model's weights, and its card beside it if one is given.

    Args:
        model: what to save.
        path: a file name that ends in ``.safetensors``.
        card: how the weights came about: data, recipe, command, commit, seed, device, minutes, accuracy.
            The SHA-256 of the weights and the configuration are added. Without a card, one that lies there from
            earlier weights is removed: it would not be true of these.
        classes: class names, in the order of the logits.
        dtype: store in this type, for example ``torch.float16`` to halve the file; loading gives float32 again.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"weights are written as .safetensors, got {path.name!r}")
    tensors = {k: v if dtype is None else v.to(dtype) for k, v in model.state_dict().items()}
    save_tensors(path, tensors, {"config": model.config.to_dict(), "classes": list(classes)})
    path.with_suffix(".json").unlink(missing_ok=True)
    if card is not None:
        full = {**card, "config": model.config.to_dict(), "classes": list(classes), "sha256": _sha256(path)}
        text = json.dumps(full, indent=2) + "\n"
        write_atomically(path.with_suffix(".json"), lambda t: t.write_text(text, encoding="utf-8"))
    return path


def load_model(path: str | os.PathLike, *, device: torch.device | str = "cpu") -> CRATE:
    """Rebuild a model from a weights file, in evaluation mode. ``model.classes`` holds the class names.

    Where a card lies beside the file, the weights must match its checksum.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: truncated, altered, or without a configuration that fits the tensors.
    """
    path = Path(path)
    card = path.with_suffix(".json")
    if path.is_file() and card.is_file():
        try:
            expected = json.loads(card.read_text(encoding="utf-8")).get("sha256")
        except (ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{card} is not a card of ours ({error}); get it again, or delete it"
            ) from error
        if expected and expected != _sha256(path):
            raise CheckpointError(
                f"{path} does not match the checksum in {card.name}: it was altered or only partly copied. "
                "Get it again, or delete the card to load it all the same."
            )
    tensors, metadata = load_tensors(path)
    if "config" not in metadata:
        raise CheckpointError(f"{path} holds no model configuration; was it written by save_model?")
    try:
        model = CRATE(CRATEConfig.from_dict(metadata["config"]))
        model.load_state_dict({k: v.float() for k, v in tensors.items()})
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"the tensors in {path} do not fit its configuration: {error}") from error
    model.classes = tuple(metadata.get("classes", ()))
    return model.to(device).eval()


def list_pretrained() -> dict[str, dict[str, Any]]:
    """Names of the weights that come with the package, each with its card."""
    folder = resources.files("crate_mini") / "weights"
    cards = sorted((f for f in folder.iterdir() if f.name.endswith(".json")), key=lambda f: f.name)
    return {f.name.removesuffix(".json"): json.loads(f.read_text(encoding="utf-8")) for f in cards}


def load_pretrained(name: str, *, device: torch.device | str = "cpu") -> CRATE:
    """Weights that come with the package, ready to use.

    Raises:
        ValueError: unknown name.
        CheckpointError: the installed file is damaged.
    """
    known = list_pretrained()
    if name not in known:
        raise ValueError(f"unknown weights {name!r}; this package comes with {', '.join(known) or 'none'}")
    with resources.as_file(resources.files("crate_mini") / "weights") as folder:
        return load_model(folder / f"{name}.safetensors", device=device)


# Head counts cannot be read off the shapes (heads x head_dim is the width); these are the published ones.
_PUBLISHED_HEADS = {192: 3, 384: 6, 576: 12, 768: 12, 1024: 16}


def from_official(
    state_dict: Mapping[str, Any],
    *,
    heads: int | None = None,
    image_size: int | None = None,
    **overrides: Any,
) -> CRATE:
    """A CRATE from a state dict of the authors' code (github.com/Ma-Lab-Berkeley/CRATE, ``model/crate.py``).

    Every size is read off the tensor shapes, except the number of heads. A training checkpoint, which nests the
    weights under ``state_dict`` and prefixes them with ``module.``, is taken as it is.

    Args:
        state_dict: names to tensors.
        heads: number of heads; by default the published count for the width (12 for 768: the authors' demo
            weights are of that width too but have 6, so pass ``heads=6`` for them).
        image_size: pixels; by default that of a square grid of patches.
        overrides: other fields of :class:`~crate_mini.model.CRATEConfig`.

    Raises:
        CheckpointError: missing, surplus or misshapen tensors, all of them named.
    """
    tensors = {k.removeprefix("module."): v for k, v in state_dict.get("state_dict", state_dict).items()}
    essential = ("pos_embedding", "to_patch_embedding.2.weight", "mlp_head.1.weight")
    if missing := [k for k in essential if k not in tensors]:
        raise CheckpointError(f"not a state dict of the official CRATE: {', '.join(missing)} not in it")

    for name, ndim in zip(essential, (3, 2, 2), strict=True):
        if tensors[name].ndim != ndim:
            raise CheckpointError(
                f"{name} has shape {tuple(tensors[name].shape)}, expected {ndim} dimensions"
            )
    dim, pixels = tensors["to_patch_embedding.2.weight"].shape
    patch = round((pixels / 3) ** 0.5)
    grid = round((tensors["pos_embedding"].shape[1] - 1) ** 0.5)
    if 3 * patch**2 != pixels or grid**2 + 1 != tensors["pos_embedding"].shape[1]:
        raise CheckpointError(
            f"patches of {pixels} numbers or {tensors['pos_embedding'].shape[1]} positions are not square"
        )
    if heads is None and dim not in _PUBLISHED_HEADS:
        raise CheckpointError(
            f"no published CRATE has width {dim}; say how many heads this one has: heads=..."
        )
    heads = heads or _PUBLISHED_HEADS[dim]
    depth = 1 + max(
        (int(m[1]) for k in tensors if (m := re.match(r"transformer\.layers\.(\d+)\.", k))), default=-1
    )
    if depth == 0:
        raise CheckpointError("not a state dict of the official CRATE: it has no transformer.layers")
    inner = tensors.get("transformer.layers.0.0.fn.qkv.weight", torch.empty(dim, dim)).shape[0]
    model = CRATE(
        CRATEConfig(
            dim=dim,
            heads=heads,
            depth=depth,
            head_dim=inner // heads,
            patch_size=patch,
            image_size=image_size or grid * patch,
            num_classes=len(tensors["mlp_head.1.weight"]),
            **overrides,
        )
    )
    names = _official_names(depth)
    if heads == 1 and inner == dim:  # there the official code has no output map, which is the identity
        for i in range(depth):
            out = f"transformer.layers.{i}.0.fn.to_out.0"
            if f"{out}.weight" not in tensors and f"{out}.bias" not in tensors:
                tensors |= {f"{out}.weight": torch.eye(dim), f"{out}.bias": torch.zeros(dim)}
    ours = model.state_dict()
    problems = [f"{k} is missing" for k in names if k not in tensors]
    problems += [f"{k} is not part of a CRATE of depth {depth}" for k in tensors if k not in names]
    problems += [
        f"{k} has shape {tuple(tensors[k].shape)}, expected {tuple(ours[v].shape)}"
        for k, v in names.items()
        if k in tensors and tensors[k].shape != ours[v].shape
    ]
    if problems:
        raise CheckpointError("this state dict does not fit: " + "; ".join(problems))
    model.load_state_dict({v: tensors[k].float() for k, v in names.items()})
    return model.eval()


def _official_names(depth: int) -> dict[str, str]:
    """Official parameter name -> ours."""
    names = {"pos_embedding": "position", "cls_token": "cls_token"}
    pairs = {
        "to_patch_embedding.1": "embed.0",
        "to_patch_embedding.2": "embed.1",
        "to_patch_embedding.3": "embed.2",
    }
    pairs |= {"mlp_head.0": "norm", "mlp_head.1": "head"}
    for i in range(depth):
        official, own = f"transformer.layers.{i}", f"blocks.{i}"
        pairs |= {f"{official}.0.norm": f"{own}.norm1", f"{official}.1.norm": f"{own}.norm2"}
        pairs |= {f"{official}.0.fn.to_out.0": f"{own}.attention.out"}
        names |= {
            f"{official}.0.fn.qkv.weight": f"{own}.attention.project.weight",
            f"{official}.1.fn.weight": f"{own}.feed.D",
        }
    return names | {f"{k}.{w}": f"{v}.{w}" for k, v in pairs.items() for w in ("weight", "bias")}


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
