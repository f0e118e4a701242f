"""Models as files: run without the package, at any batch and size, and held against the model."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import jaxtyping
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from crate_mini import export as module
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.cli import export as command
from crate_mini.cli import main
from crate_mini.export import export, exported, largest_difference
from crate_mini.model import CRATE, CRATEConfig, create_model
from crate_mini.operators import ATTENTIONS, Attention, CannotAnswer
from crate_mini.weights import save_model

pytestmark = pytest.mark.skipif(
    torch.__version__ < module.OLDEST_TORCH, reason=f"exporting needs PyTorch {module.OLDEST_TORCH}"
)
SIZES = [(1, 16, 16), (5, 16, 16), (2, 24, 16), (1, 8, 40), (3, 64, 64)]  # the second: the models' own
MODELS = {"CRATE": "crate_nano", "ViT": "vit_nano"}


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """Without the checks of shapes that a test run adds, to which an open size is no integer."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def small(name: str, **settings) -> CRATE:
    torch.manual_seed(0)
    sizes = {"dim": 24, "heads": 2, "depth": 2, "image_size": 16, "patch_size": 4, "num_classes": 5}
    return create_model(name, **sizes, **settings).eval()


def images(b: int, h: int, w: int) -> Tensor:
    return torch.rand(b, 3, h, w, generator=torch.Generator().manual_seed(b + h + w))


@dataclass
class Written:
    """A model, its two files, and what the command said."""

    model: CRATE
    onnx: Path
    torch: Path
    told: str


@pytest.fixture(scope="module", params=MODELS)
def written(request, tmp_path_factory) -> Written:
    """By the function from a model that has run, and by the command from its weights."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        folder, model = tmp_path_factory.mktemp("exported"), small(MODELS[request.param])
        model.classes = ("ant", "bee", "cat", "dog", "elk")
        save_model(model, folder / "weights.safetensors", classes=model.classes)
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            line = ["export", "--weights", str(folder / "weights.safetensors"), "--out"]
            assert main([*line, str(folder / "deep" / "model.onnx")]) == 0
        return Written(
            model,
            folder / "deep" / "model.onnx",
            export(model, folder / "deep" / "model.pt2"),
            told.getvalue(),
        )
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_onnx_in_onnxruntime_is_the_model_at_every_size(written):
    model, session = (
        written.model,
        onnxruntime.InferenceSession(written.onnx, providers=["CPUExecutionProvider"]),
    )
    for size in SIZES:
        logits, attention = session.run(["logits", "attention"], {"images": images(*size).numpy()})
        expected = cls_attention_maps(model, images(*size))
        assert attention.shape == expected.shape
        assert np.abs(logits - model(images(*size)).detach().numpy()).max() < 1e-4
        assert np.abs(attention - expected.numpy()).max() < 1e-4
        assert attention.max() > 1.2 * attention.mean()  # not so flat that any maps would agree


def test_torch_export_is_the_model_at_every_size(written):
    model, program = written.model, torch.export.load(written.torch).module()
    for size in SIZES:
        logits, attention = program(images(*size))
        assert torch.allclose(logits, model(images(*size)), atol=1e-5)
        assert torch.allclose(attention, cls_attention_maps(model, images(*size)), atol=1e-5)


def test_what_else_a_model_can_be():
    model = small("crate_mhsa_nano", proximal="soft", keep=0.9, readout="mean")
    logits, attention = exported(model).module()(images(3, 24, 16))
    assert torch.allclose(logits, model(images(3, 24, 16)), atol=1e-5)
    assert torch.allclose(attention, cls_attention_maps(model, images(3, 24, 16)), atol=1e-5)


def test_the_onnx_file_is_valid_and_says_what_it_takes(written):
    model = written.model
    assert {f.name for f in written.onnx.parent.iterdir()} == {"model.onnx", "model.pt2"}  # weights inside
    onnx.checker.check_model(written.onnx, full_check=True)
    session = onnxruntime.InferenceSession(written.onnx, providers=["CPUExecutionProvider"])
    shapes = {value.name: value.shape for value in [*session.get_inputs(), *session.get_outputs()]}
    assert shapes == {
        "images": ["batch", 3, "4*rows", "4*columns"],
        "logits": ["batch", 5],
        "attention": ["batch", 2, 2, "rows", "columns"],
    }
    facts = session.get_modelmeta().custom_metadata_map
    assert CRATEConfig.from_dict(json.loads(facts["config"])) == model.config
    assert tuple(json.loads(facts["classes"])) == model.classes


def test_the_torch_file_says_what_it_is(written):
    extra = {"crate_mini.json": ""}
    torch.export.load(written.torch, extra_files=extra)
    assert tuple(json.loads(json.loads(extra["crate_mini.json"])["classes"])) == written.model.classes


def test_every_weight_stays_a_weight():
    """Nothing that depends on weights is baked in: with other weights the program says what the other model says."""
    model, other = small("crate_nano"), small("crate_nano")
    with torch.no_grad():
        model(images(2, 16, 16))  # a layer may keep what it forms from its weights
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    program = exported(model.train())
    assert model.training, "a copy is exported"
    assert set(program.graph_signature.parameters) == {
        f"model.{name}" for name, _ in model.named_parameters()
    }
    runs = program.module()
    runs.load_state_dict({f"model.{k}": v for k, v in other.state_dict().items()}, strict=False)
    assert not torch.allclose(runs(images(2, 24, 16))[0], model.eval()(images(2, 24, 16)), atol=1e-2)
    assert torch.allclose(runs(images(2, 24, 16))[0], other(images(2, 24, 16)), atol=1e-5)


def test_the_difference_can_be_seen(written):
    for file in (written.onnx, written.torch):
        assert largest_difference(written.model, file, images(1, 24, 16)) < 1e-4
        other = small("vit_nano" if written.model.config.attention == "mssa" else "crate_nano")
        assert largest_difference(other, file, images(1, 24, 16)) > 1e-2


def test_the_command_says_what_it_wrote_and_tried(written):
    lines = written.told.splitlines()
    assert lines[0].startswith(f"wrote {written.onnx} (ONNX, ")
    assert lines[1:4] == [
        "  images     (batch, 3, 4 rows, 4 columns), float32 in [0, 1]",
        "  logits     (batch, 5)",
        "  attention  (batch, 2 layers, 2 heads, rows, columns)",
    ]
    (off,) = re.findall(r"^run at 16 x 16 and 20 x 28 pixels: off by (\S+) at most$", lines[4])
    assert 0 < float(off) < 1e-4


def test_a_file_that_differs_is_not_praised(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "export", lambda model, path, **_: path)
    monkeypatch.setattr(command, "largest_difference", lambda *_: 2e-3)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    assert main(["export", "--weights", "crate_nano_embedded", "--out", str(path)]) == 2
    assert "differs from the model by 2.0e-03" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.pth", "model", "onnx"])
def test_other_suffixes_are_refused(tmp_path, name, capsys):
    with pytest.raises(ValueError, match=r"exported as \.onnx or \.pt2"):
        export(small("crate_nano"), tmp_path / name)
    assert main(["export", "--weights", "crate_nano_embedded", "--out", str(tmp_path / name)]) == 2
    assert "exported as .onnx or .pt2" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_the_extra_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'crate-mini\[export\]'"):
        export(small("crate_nano"), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_old_pytorch_is_told_so(monkeypatch):
    monkeypatch.setattr(module, "OLDEST_TORCH", (99, 0))
    with pytest.raises(ImportError, match=r"needs PyTorch 99.0 or newer, this is 2"):
        exported(small("crate_nano"))


def test_an_attention_without_maps_is_refused(monkeypatch, tmp_path):
    class Mean(Attention):
        """Each token gets the mean of all: nobody looks at anybody in particular."""

        def __init__(self, dim: int, heads: int) -> None:
            super().__init__()
            self.heads, self.head_dim, self.out = heads, dim // heads, None
            self.project = nn.Identity()

        def forward(self, Z: Tensor, mask: Tensor | None = None) -> Tensor:
            return self.project(Z).mean(1, keepdim=True).expand_as(Z)

        @property
        def U(self) -> Tensor:
            return torch.eye(self.heads * self.head_dim).unflatten(1, (self.heads, -1)).transpose(0, 1)

        def coordinates(self, projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        def multiply_adds(self, tokens: int, batch: int = 1) -> dict[str, int]:
            return {"attention": 0}

    monkeypatch.setitem(ATTENTIONS, "mean", Mean)
    with pytest.raises(CannotAnswer, match="Mean has no queries and keys"):
        export(small("crate_nano", attention="mean"), tmp_path / "model.pt2")
