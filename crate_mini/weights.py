"""Weights in and out: safetensors with a JSON card, checksummed, atomic, never pickled.

A weights file holds the model's tensors and, in its header, the :class:`~crate_mini.model.CRATEConfig` that
rebuilds the model. Files of the first version, whose tensors have other names, load as well. A *card*, the file beside
it with the suffix ``.json``, says how the weights came about and carries the SHA-256 of the weights file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from crate_mini.language import LanguageConfig, LanguageModel
from crate_mini.model import CRATE, CRATEConfig, require_finite
from crate_mini.outputs import as_os_error, write_atomically
from crate_mini.results import result_text

Model = TypeVar("Model", bound=nn.Module)
HEADER = "crate_mini"
"""The entry of a file's header that holds all metadata."""


class CheckpointError(ValueError):
    """A weights file that cannot be used: truncated, altered, or not what was expected."""


def save_tensors(path: str | os.PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Path:
    """Write tensors and JSON-serialisable metadata as one safetensors file, atomically.

    The same tensors and metadata give the same file, byte for byte.
    """
    owned = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    header = {HEADER: json.dumps(dict(metadata))}  # of several entries safetensors writes any first
    try:
        return write_atomically(path, lambda temporary: save_file(owned, temporary, metadata=header))
    except SafetensorError as error:  # what a full disk raises here, which is no OSError
        raise as_os_error(error, path) from error


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
            entries = {k: json.loads(v) for k, v in (f.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is truncated or not a safetensors file of ours ({error})") from error
    return tensors, entries.pop(HEADER, {}) | entries  # older files have an entry for each


def save_model(
    model: CRATE | LanguageModel,
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

    Raises:
        ValueError: another ending of the file, or a number in the card that is not finite.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"weights are written as .safetensors, got {path.name!r}")
    result_text(card or {})  # a card that JSON cannot hold is refused before anything is written
    tensors = {k: v if dtype is None else v.to(dtype) for k, v in model.state_dict().items()}
    save_tensors(path, tensors, {"config": model.config.to_dict(), "classes": list(classes)})
    path.with_suffix(".json").unlink(missing_ok=True)
    if card is not None:
        full = {**card, "config": model.config.to_dict(), "classes": list(classes), "sha256": _sha256(path)}
        text = result_text(full)
        write_atomically(path.with_suffix(".json"), lambda t: t.write_text(text, encoding="utf-8"))
    return path


def load_model(path: str | os.PathLike, *, device: torch.device | str = "cpu") -> CRATE:
    """Rebuild a model from a weights file, in evaluation mode. ``model.classes`` holds the class names.

    Where a card lies beside the file, the weights must match its checksum. Files of text's models are for
    :func:`load_language_model`.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: truncated, altered, without a configuration that fits the tensors, or with numbers that are
            not finite.
    """
    model, metadata = _rebuilt(Path(path), lambda config: CRATE(CRATEConfig.from_dict(config)))
    model.classes = tuple(metadata.get("classes", ()))
    return model.to(device).eval()


def load_language_model(path: str | os.PathLike, *, device: torch.device | str = "cpu") -> LanguageModel:
    """Rebuild a model of text from a weights file, or from the folder of its training, in evaluation mode.

    Raises:
        FileNotFoundError, CheckpointError: as :func:`load_model`.
    """
    path = Path(path)
    path = path / "model.safetensors" if path.is_dir() else path
    model, _ = _rebuilt(path, lambda config: LanguageModel(LanguageConfig.from_dict(config)))
    return model.to(device).eval()


def _rebuilt(path: Path, build: Callable[[Mapping[str, Any]], Model]) -> tuple[Model, dict[str, Any]]:
    """A model that ``build`` makes of the configuration in a file, with the file's weights; and what else it says."""
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
        model = build(metadata["config"])
        model.load_state_dict({k: v.float() for k, v in tensors.items()})
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"the tensors in {path} do not fit its configuration: {error}") from error
    require_finite_tensors(tensors, str(path))
    return model, metadata


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


def load_weights(source: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> CRATE:
    """A model from weights by name or by path.

    Args:
        source: a name of :func:`list_pretrained`; a ``.safetensors`` file; or a folder with a ``model.safetensors``, as
            a training leaves it and :meth:`CRATE.save_pretrained <crate_mini.model.CRATE.save_pretrained>` writes it.
        device: where to put it.

    Raises:
        ValueError: neither a known name nor something that is there.
        FileNotFoundError: a file that is not there, or a folder without weights.
        CheckpointError: a damaged file.
    """
    if isinstance(source, str) and source in list_pretrained():
        return load_pretrained(source, device=device)
    path = Path(source)
    if path.is_dir():
        return load_model(path / "model.safetensors", device=device)
    if path.suffix == ".safetensors":
        return load_model(path, device=device)
    raise ValueError(
        f"{os.fspath(source)!r} is no weights file (.safetensors), no folder with one, and no weights of this package, "
        f"which comes with {', '.join(list_pretrained())}"
    )


def require_finite_tensors(tensors: Mapping[str, Tensor], of: str) -> None:
    """As :func:`crate_mini.model.require_finite`, for what was read from a file.

    Raises:
        CheckpointError: a number that is not finite.
    """
    try:
        require_finite(tensors, of)
    except FloatingPointError as error:
        raise CheckpointError(str(error)) from error


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
