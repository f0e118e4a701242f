"""A model as a file that runs without this package: ``torch.export`` and ONNX.

Batch, height and width stay open. The file takes ``images``, float32 in [0, 1], ``(batch, 3, height, width)`` with
sides that are multiples of the patch, and gives ``logits``, ``(batch, classes)``, and ``attention``, that of the class
token on the patches in every layer and head, ``(batch, layers, heads, rows, columns)``, as
:func:`~crate_mini.attention_maps.cls_attention_maps` has it. It normalises and interpolates as the model does, and
checks nothing: that sides fit and values lie in [0, 1] is the caller's duty. A model whose class token looks at
nothing, as with TSSA and CBSA, is exported with its logits alone.
"""

from __future__ import annotations

import copy
import io
import json
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from crate_mini.model import CRATE
from crate_mini.outputs import write_atomically
from crate_mini.recorder import record

if TYPE_CHECKING:
    from torch.export import ExportedProgram

OPSET = 20
"""Version of the ONNX operators. It needs onnxruntime 1.17 or newer."""
OLDEST_TORCH = (2, 9)
"""Older versions do not leave all three sizes open."""
FEWEST = 2
"""Patches along a side that the file can do with. (A side of one patch is a case of its own for the exporter.)"""
FORMATS = {".onnx": "ONNX", ".pt2": "torch.export"}
MISSING = "writing ONNX needs the packages onnx and onnxscript: pip install 'crate-mini[export]'"


class LogitsAndAttention(nn.Module):
    """What is exported: a model that also gives the class token's attention of every layer."""

    def __init__(self, model: CRATE) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, images: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b L K h w"]]:
        """Logits and maps, by one pass.

        Raises:
            CannotAnswer: an attention in which no token looks at another.
        """
        seen = record(self.model, images, "cls_scores")
        layers = range(len(self.model.blocks))
        maps = torch.stack([seen.patches("cls_scores", i) for i in layers], 1).softmax(-1)
        return seen["logits"], maps.unflatten(-1, seen.grid)


class Logits(nn.Module):
    """What is exported of a model whose class token looks at nothing."""

    def __init__(self, model: CRATE) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> tuple[Float[Tensor, "b c"]]:
        """Logits."""
        return (self.model(images),)


def exported(model: CRATE, *, attention: bool = True) -> ExportedProgram:
    """The model by ``torch.export``, batch, height and width open; ``.module()`` of it is called like a model.

    Args:
        model: any model of :mod:`crate_mini.model`, on any device, in any mode; what is exported is a copy of it in
            evaluation mode on the CPU.
        attention: whether the class token's attention comes out beside the logits.

    Raises:
        ImportError: a PyTorch that is too old.
        CannotAnswer: an attention in which no token looks at another.
    """
    if torch.__version__ < OLDEST_TORCH:
        wanted = ".".join(map(str, OLDEST_TORCH))
        raise ImportError(f"exporting needs PyTorch {wanted} or newer, this is {torch.__version__}")
    module = (LogitsAndAttention if attention else Logits)(copy.deepcopy(model).cpu().eval())
    patch = model.config.patch_size
    sides = [patch * torch.export.Dim(name, min=FEWEST) for name in ("rows", "columns")]
    sizes = {0: torch.export.Dim("batch", min=1), 2: sides[0], 3: sides[1]}
    example = torch.rand(
        2, 3, 3 * patch, 5 * patch
    )  # sizes that nothing else has, so that none is taken for another
    with torch.no_grad():
        return torch.export.export(module, (example,), dynamic_shapes=(sizes,))


def export(model: CRATE, path: str | os.PathLike[str], *, attention: bool = True) -> Path:
    """Write a model to a file that runs without this package.

    Args:
        model: any model of :mod:`crate_mini.model`.
        path: ``.onnx`` for ONNX, ``.pt2`` for ``torch.export.load``. The file also holds the model's configuration and
            classes: in ONNX's metadata, or as the extra file ``crate_mini.json``.
        attention: whether the class token's attention comes out beside the logits.

    Raises:
        ValueError: another suffix.
        ImportError: packages that are not there, or a PyTorch that is too old.
        CannotAnswer: an attention in which no token looks at another.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"models are exported as {' or '.join(FORMATS)}, got {path.name!r}")
    if path.suffix == ".onnx" and not (find_spec("onnx") and find_spec("onnxscript")):
        raise ImportError(MISSING)
    facts = {"config": json.dumps(model.config.to_dict()), "classes": json.dumps(list(model.classes))}
    if path.suffix == ".onnx":
        content = _onnx(exported(model, attention=attention), facts)
    else:
        buffer = io.BytesIO()
        program = exported(model, attention=attention)
        torch.export.save(program, buffer, extra_files={"crate_mini.json": json.dumps(facts)})
        content = buffer.getvalue()
    return write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _onnx(program: ExportedProgram, facts: dict[str, str]) -> bytes:
    """An exported program as the content of an ONNX file."""
    names = ["logits", "attention"][: len(program.graph_signature.user_outputs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        written = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=["images"],
            output_names=names,
        )
    graph = written.model.graph
    patch = json.loads(facts["config"])["patch_size"]
    # with names that say what they are
    shapes = [(graph.inputs[0], ("batch", 3, f"{patch}*rows", f"{patch}*columns"))]
    shapes += [
        (value, ("batch", *value.shape[1:3], "rows", "columns")[: len(value.shape)])
        for value in graph.outputs
    ]
    for value, sizes in shapes:
        value.shape = type(value.shape)(sizes)
    written.model.metadata_props.update(facts)
    return written.model_proto.SerializeToString()


def largest_difference(model: CRATE, path: str | os.PathLike[str], images: Float[Tensor, "b 3 H W"]) -> float:
    """By how much a file's logits and attention differ from the model's on some images.

    Raises:
        ImportError: an ONNX file without onnxruntime to run it.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("running ONNX needs onnxruntime: pip install 'crate-mini[export]'") from error
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        attention = len(session.get_outputs()) > 1
        found: Any = [torch.from_numpy(array) for array in session.run(None, {"images": images.numpy()})]
    else:
        found = torch.export.load(path).module()(images)
        attention = len(found) > 1
    with torch.no_grad():
        expected = (LogitsAndAttention if attention else Logits)(copy.deepcopy(model).cpu().eval())(images)
    return max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True))
