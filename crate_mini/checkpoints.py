"""The name under which :mod:`crate_mini.weights` and :mod:`crate_mini.official` were one module, and still are."""

from crate_mini.official import OfficialReport, describe_official, from_official, load_official
from crate_mini.outputs import write_atomically
from crate_mini.weights import (
    CheckpointError,
    list_pretrained,
    load_model,
    load_pretrained,
    load_tensors,
    load_weights,
    save_model,
    save_tensors,
)

__all__ = [
    "CheckpointError",
    "OfficialReport",
    "describe_official",
    "from_official",
    "list_pretrained",
    "load_model",
    "load_official",
    "load_pretrained",
    "load_tensors",
    "load_weights",
    "save_model",
    "save_tensors",
    "write_atomically",
]
