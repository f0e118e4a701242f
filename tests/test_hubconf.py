"""The models through ``torch.hub``, from a folder, without a network."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from crate_mini.registry import create_model, list_models

ROOT = Path(__file__).resolve().parent.parent
_SPEC = importlib.util.spec_from_file_location("hubconf", ROOT / "hubconf.py")
hubconf = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hubconf)

# In an interpreter of its own: no network, and of the declared packages only those that hubconf says it needs.
LOAD = """
import json, socket, sys, torch

def refuse(*args, **kwargs):
    raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = refuse
for name in {hidden}:
    sys.modules[name] = None  # as if it were not installed
torch.manual_seed(0)
fresh = torch.hub.load({folder!r}, "crate_nano", source="local", num_classes=7)
trained = torch.hub.load({folder!r}, "crate_nano", source="local", pretrained=True)
images = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)
print(json.dumps({{
    "fresh": fresh.head.out_features, "logits": trained(images)[0].tolist(), "classes": trained.classes,
    "package": sys.modules["crate_mini"].__file__, "loaded": [n for n in sys.modules if sys.modules[n] is not None],
}}))
"""


def declared_packages() -> set[str]:
    """What pyproject.toml declares for the package itself, by the name it is imported under."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    imported_as = {"pillow": "PIL", "scikit-image": "skimage"}
    return {imported_as.get(n := Requirement(line).name, n) for line in project["dependencies"]}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> dict:
    # NumPy is left in sight: einops and PyTorch look for it themselves
    hidden = sorted(declared_packages() - {*hubconf.dependencies, "numpy"})
    assert "matplotlib" in hidden
    code = LOAD.format(hidden=hidden, folder=str(ROOT))
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path_factory.mktemp("elsewhere"), env=env, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_hub_loads_from_a_folder(loaded):
    assert Path(loaded["package"]).parents[1] == ROOT, "the folder's own package, not an installed one"
    assert loaded["fresh"] == 7
    model = create_model("crate_nano", pretrained=True)
    logits = model(torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64))[0]
    assert torch.allclose(torch.tensor(loaded["logits"]), logits, atol=1e-5)
    assert tuple(loaded["classes"]) == model.classes


def test_every_dependency_is_one(loaded):
    assert set(hubconf.dependencies) <= set(loaded["loaded"])
    assert "huggingface_hub" not in loaded["loaded"]  # an extra, even where it is installed


def test_every_model_name_is_an_entry():
    offered = {name for name in dir(hubconf) if callable(getattr(hubconf, name)) and not name.startswith("_")}
    assert offered == set(list_models())
    with torch.device("meta"):
        for name in offered:
            assert getattr(hubconf, name)().config == create_model(name).config
    assert 'create_model("vit_mini", pretrained' in hubconf.vit_mini.__doc__
