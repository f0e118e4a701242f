"""Sharing models by huggingface_hub, offline: a folder, a cache as a download leaves it, an upload that is caught."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, ModelHubMixin
from huggingface_hub.errors import LocalEntryNotFoundError

from crate_mini import hub
from crate_mini.model import CRATE, CRATEConfig
from crate_mini.registry import create_model
from crate_mini.weights import CheckpointError, load_model, load_pretrained

CARD = {"model": "crate_nano", "minutes": 3}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing of this file may reach for the network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def model() -> CRATE:
    return load_pretrained("crate_nano_embedded")


def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_methods_are_the_mixins():
    """By name, and every argument that a user of the mixin passes by position."""
    for name in ("from_pretrained", "save_pretrained", "push_to_hub"):
        ours, theirs = (inspect.signature(getattr(cls, name)).parameters for cls in (CRATE, ModelHubMixin))
        positional = [
            [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
            for parameters in (ours, theirs)
        ]
        assert len(positional[0]) == len(positional[1]) == 1


def test_there_and_back(model, tmp_path):
    before = set(vars(model))
    assert model.save_pretrained(tmp_path / "shared", card=CARD) is None
    assert {f.name for f in (tmp_path / "shared").iterdir()} == {
        "model.safetensors", "model.json", "config.json", "README.md",
    }  # fmt: skip
    for source in (tmp_path / "shared", str(tmp_path / "shared")):
        loaded = CRATE.from_pretrained(source)
        assert type(loaded) is CRATE
        assert not loaded.training
        assert loaded.classes == model.classes
        assert torch.equal(loaded(images()), model(images()))
        assert set(vars(loaded)) == set(vars(model)) == before  # the mixin leaves no notes behind
    assert (
        CRATEConfig.from_dict(json.loads((tmp_path / "shared" / "config.json").read_text())) == model.config
    )
    card = json.loads((tmp_path / "shared" / "model.json").read_text())
    assert (card["minutes"], len(card["sha256"])) == (3, 64)


def test_half_precision(model, tmp_path):
    model.save_pretrained(tmp_path / "half", dtype=torch.float16)
    model.save_pretrained(tmp_path / "whole")
    half, whole = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole"))
    assert half < 0.6 * whole
    loaded = CRATE.from_pretrained(tmp_path / "half")
    assert loaded.head.weight.dtype == torch.float32
    assert torch.allclose(loaded(images()), model(images()), atol=0.05)


def test_the_folder_needs_no_extra_to_be_read(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert torch.equal(create_model("crate_nano", pretrained=tmp_path)(images()), model(images()))


def test_readme_says_what_it_is_and_stays_where_it_was_written_by_hand(model, tmp_path):
    model.save_pretrained(tmp_path)
    readme = ModelCard.load(tmp_path / "README.md")
    assert (readme.data.library_name, readme.data.pipeline_tag) == ("crate-mini", "image-classification")
    assert "| parameters | 139,114 |" in readme.text
    assert "MISSING" not in readme.text
    (tmp_path / "README.md").write_text("By hand.\n")
    model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "By hand.\n"


def test_an_unknown_argument_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="num_classes"):
        CRATE.from_pretrained(tmp_path, num_classes=3)


def test_damage_is_noticed(model, tmp_path):
    model.save_pretrained(tmp_path)
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        CRATE.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no weights file at"):
        CRATE.from_pretrained(tmp_path)


@pytest.mark.parametrize("with_card", [True, False])
def test_a_repository(model, tmp_path, with_card):
    """From the cache that a download fills, so without a network."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--someone--crate"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    model.save_pretrained(repository / "snapshots" / revision)
    if not with_card:
        (repository / "snapshots" / revision / "model.json").unlink()
    loaded = CRATE.from_pretrained("someone/crate", cache_dir=tmp_path / "cache", local_files_only=True)
    assert torch.equal(loaded(images()), model(images()))
    with pytest.raises(LocalEntryNotFoundError):
        CRATE.from_pretrained("someone/other", cache_dir=tmp_path / "cache", local_files_only=True)


def test_upload(model, tmp_path, monkeypatch):
    """What would go over the wire, caught where the mixin hands it over."""
    sent = {}

    class Caught:
        def __init__(self, token=None):
            sent["token"] = token

        def create_repo(self, repo_id, **options):
            sent["repo"] = (repo_id, options)
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, *, repo_id, folder_path, **options):
            shutil.copytree(folder_path, tmp_path / "sent")
            sent["message"] = options["commit_message"]
            return f"commit of {repo_id}"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Caught)
    told = model.push_to_hub("someone/crate", card=CARD, private=True, token="t", commit_message="First")
    assert told == "commit of someone/crate"
    assert sent == {
        "token": "t",
        "repo": ("someone/crate", {"private": True, "exist_ok": True}),
        "message": "First",
    }
    assert load_model(tmp_path / "sent" / "model.safetensors").classes == model.classes
    assert json.loads((tmp_path / "sent" / "model.json").read_text())["minutes"] == 3


def test_without_the_extra_each_method_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr(hub, "_with_mixin", hub._with_mixin.__wrapped__)
    for use in (
        lambda: CRATE.from_pretrained(tmp_path),
        lambda: model.save_pretrained(tmp_path),
        lambda: model.push_to_hub("someone/crate"),
    ):
        with pytest.raises(ImportError, match=r"pip install 'crate-mini\[hub\]'"):
            use()
    assert not list(Path(tmp_path).iterdir())
    assert model(images()).shape == (2, 10)
