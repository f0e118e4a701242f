"""Weights files: exact, checksummed, atomic, never pickled."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from crate_mini import checkpoints, official, weights
from crate_mini.model import CRATE, create_model, former_name
from crate_mini.outputs import write_atomically
from crate_mini.weights import (
    CheckpointError,
    list_pretrained,
    load_model,
    load_pretrained,
    load_tensors,
    save_model,
    save_tensors,
)


def tiny(seed: int = 0, **settings) -> CRATE:
    torch.manual_seed(seed)
    return create_model(
        "crate_nano", **({"dim": 32, "heads": 2, "depth": 2, "image_size": 32, "num_classes": 3} | settings)
    ).eval()


@pytest.fixture
def saved(tmp_path):
    model = tiny(step=0.2, tied=True)
    path = save_model(
        model, tmp_path / "w.safetensors", {"data": "none", "accuracy": 0.5}, classes=("a", "b", "c")
    )
    return model, path


class TestRoundTrip:
    def test_bit_for_bit(self, saved):
        model, path = saved
        again = load_model(path)
        assert again.config == model.config
        assert again.classes == ("a", "b", "c")
        assert not again.training
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in again.state_dict().items())
        x = torch.rand(2, 3, 32, 32)
        assert torch.equal(again(x), model(x))

    def test_the_same_weights_are_the_same_file(self, saved, tmp_path):
        """Ten times, for with two entries in the header chance writes the one or the other first."""
        model, _ = saved
        files = [save_model(model, tmp_path / f"{i}.safetensors", classes=("a", "b")) for i in range(10)]
        assert len({file.read_bytes() for file in files}) == 1
        assert load_model(files[0]).classes == ("a", "b")

    def test_files_with_an_entry_for_each_load_as_well(self, saved, tmp_path):
        model, path = saved
        header = {"config": json.dumps(model.config.to_dict()), "classes": '["a"]'}
        path = tmp_path / "second.safetensors"
        save_file(dict(model.state_dict()), path, metadata=header)
        again = load_model(path)
        assert again.classes == ("a",)
        assert again.config == model.config

    def test_half_precision_halves_the_file(self, saved, tmp_path):
        model, path = saved
        half = save_model(model, tmp_path / "half.safetensors", dtype=torch.float16)
        assert half.stat().st_size < 0.6 * path.stat().st_size
        for k, v in load_model(half).state_dict().items():
            assert v.dtype == torch.float32
            assert torch.equal(v, model.state_dict()[k].half().float())

    def test_card(self, saved):
        _, path = saved
        card = json.loads(path.with_suffix(".json").read_text())
        assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (card["data"], card["accuracy"], card["classes"]) == ("none", 0.5, ["a", "b", "c"])
        assert card["config"]["tied"] is True

    def test_new_weights_without_a_card_do_not_keep_the_old_one(self, saved):
        _, path = saved
        other = tiny(depth=1)
        save_model(other, path)
        assert not path.with_suffix(".json").exists()
        assert load_model(path).config == other.config

    def test_tensors_that_share_memory_or_are_views(self, tmp_path):
        base = torch.arange(12.0).view(3, 4)
        save_tensors(
            tmp_path / "t", {"whole": base, "turned": base.T, "part": base[1]}, {"n": [1, {"a": None}]}
        )
        tensors, metadata = load_tensors(tmp_path / "t")
        assert torch.equal(tensors["turned"], base.T)
        assert torch.equal(tensors["part"], base[1])
        assert metadata == {"n": [1, {"a": None}]}

    def test_files_of_the_first_version(self, tmp_path):
        """Their tensors were named before the model had parts."""
        model = tiny()
        former = {former_name(k): v for k, v in model.state_dict().items()}
        assert {
            "embed.1.weight",
            "cls_token",
            "position",
            "blocks.1.feed.D",
            "norm.bias",
            "head.bias",
        } <= set(former)
        assert not set(former) & {k for k in model.state_dict() if not k.startswith("head.")}
        path = save_tensors(tmp_path / "old.safetensors", former, {"config": model.config.to_dict()})
        again = load_model(path)
        assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
        nested = torch.nn.ModuleDict({"net": tiny(seed=1)})
        nested.load_state_dict({f"net.{k}": v for k, v in former.items()})
        assert torch.equal(nested["net"].position, model.position)

    def test_no_pickle_anywhere(self, saved, monkeypatch):
        model, path = saved

        def forbidden(*_, **__):
            raise AssertionError("pickle was called")

        for module, names in (
            (torch, ("load", "save")),
            (pickle, ("load", "loads", "dump", "dumps", "Unpickler")),
        ):
            for name in names:
                monkeypatch.setattr(module, name, forbidden)
        load_model(save_model(model, path, {}))
        with safe_open(path, framework="pt") as f:  # and the file is what its name says
            assert set(f.keys()) == set(model.state_dict())


class TestDamage:
    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no weights file at .*nowhere.safetensors"):
            load_model(tmp_path / "nowhere.safetensors")

    @pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
    @pytest.mark.parametrize("card", [True, False])
    def test_truncated(self, saved, keep, card):
        _, path = saved
        content = path.read_bytes()
        path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
        if not card:
            path.with_suffix(".json").unlink()
        message = "does not match the checksum in w.json" if card else "truncated or not a safetensors file"
        with pytest.raises(CheckpointError, match=message):
            load_model(path)

    def test_one_flipped_bit(self, saved):
        _, path = saved
        content = bytearray(path.read_bytes())
        content[-1000] ^= 1
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"does not match the checksum in w.json.*Get it again"):
            load_model(path)

    def test_damaged_card(self, saved):
        _, path = saved
        for text in ('{"sha256": "ab', "[1, 2]"):
            path.with_suffix(".json").write_text(text)
            with pytest.raises(CheckpointError, match=r"w.json is not a card of ours"):
                load_model(path)

    def test_pickled_file(self, tmp_path):
        path = tmp_path / "w.safetensors"
        torch.save(tiny().state_dict(), path)
        with pytest.raises(CheckpointError, match="not a safetensors file"):
            load_model(path)

    def test_file_of_others(self, tmp_path):
        path = tmp_path / "w.safetensors"
        save_file({"a": torch.zeros(2)}, path)
        with pytest.raises(CheckpointError, match="holds no model configuration"):
            load_model(path)
        save_file({"a": torch.zeros(2)}, path, metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match="not a safetensors file of ours"):
            load_model(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"depth": 3}, "Missing key"),
            ({"dim": 64}, "size mismatch"),
            ({"dim": -1}, "positive integer"),
            ({"colour": "red"}, "unknown settings"),
            (None, "do not fit its configuration"),
        ],
    )
    def test_configuration_that_does_not_fit(self, tmp_path, change, message):
        model = tiny()
        config = model.config.to_dict() | change if change else [1]
        path = save_tensors(tmp_path / "w.safetensors", model.state_dict(), {"config": config})
        with pytest.raises(CheckpointError, match=message):
            load_model(path)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_numbers_that_are_not_finite(self, saved, value):
        model, path = saved
        with torch.no_grad():
            model.blocks[1].feed.D[0, 3] = value
        save_model(model, path)
        with pytest.raises(
            CheckpointError, match=r"not finite: encoder\.blocks\.1\.feed\.D holds 1 NaN or infinite"
        ):
            load_model(path)

    @pytest.mark.parametrize("name", ["w.pt", "w.bin", "w"])
    def test_wrong_suffix(self, tmp_path, name):
        with pytest.raises(ValueError, match=f"written as .safetensors, got '{name}'"):
            save_model(tiny(), tmp_path / name)
        assert list(tmp_path.iterdir()) == []


class TestAtomicWriting:
    def test_a_writer_that_fails_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "f"
        path.write_text("old")

        def write(temporary):
            temporary.write_text("half of the n")
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            write_atomically(path, write)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_the_old_file_is_whole_until_the_new_one_is(self, tmp_path):
        path = tmp_path / "deep" / "f"
        seen = []
        write_atomically(path, lambda t: t.write_text("old"))
        write_atomically(path, lambda t: (t.write_text("new"), seen.append(path.read_text())))
        assert seen == ["old"]
        assert path.read_text() == "new"
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
    def test_who_may_read_it_the_umask_says(self, tmp_path, umask):
        before = os.umask(umask)
        try:
            plain = tmp_path / "plain"
            plain.write_text("x")
            ours = write_atomically(tmp_path / "ours", lambda t: t.write_text("x"))
            stored = save_model(tiny(), tmp_path / "w.safetensors", {"data": "none"})
        finally:
            os.umask(before)
        for path in (ours, stored, stored.with_suffix(".json")):
            assert path.stat().st_mode == plain.stat().st_mode, path.name

    def test_weights(self, saved, monkeypatch):
        _, path = saved
        before = path.read_bytes()
        monkeypatch.setattr(weights, "save_file", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_model(tiny(), path, {})
        assert path.read_bytes() == before
        assert sorted(f.name for f in path.parent.iterdir()) == ["w.json", "w.safetensors"]
        load_model(path)


class TestPretrained:
    def test_every_one_loads_and_tells_how_it_came_about(self):
        for name, card in list_pretrained().items():
            model = load_pretrained(name)
            told = {"data", "recipe", "command", "commit", "device", "sha256"}
            assert told | ({"step", "steps"} if "share" in card else {"minutes"}) <= set(card), name
            learned = card.get("task", {}).get("name", "classification") == "classification"
            assert len(model.classes) == (model.config.num_classes if learned else 0)
            size = model.config.image_size
            assert torch.isfinite(model(torch.rand(1, 3, size, size))).all()

    def test_unknown(self):
        with pytest.raises(ValueError, match="unknown weights 'crate_huge'; this package comes with"):
            load_pretrained("crate_huge")

    def test_from_the_folder_of_the_package(self, tmp_path, monkeypatch):
        model = tiny()
        save_model(model, tmp_path / "weights" / "one.safetensors", {"data": "none"})
        monkeypatch.setattr(weights.resources, "files", lambda _: tmp_path)
        assert list(list_pretrained()) == ["one"]
        assert list_pretrained()["one"]["data"] == "none"
        assert torch.equal(load_pretrained("one").head.weight, model.head.weight)


def test_both_modules_under_their_old_name():
    assert checkpoints.load_pretrained is load_pretrained
    assert checkpoints.write_atomically is write_atomically
    assert checkpoints.from_official is official.from_official
    assert all(hasattr(checkpoints, name) for name in checkpoints.__all__)


def test_a_card_with_nan_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"result\['held_out'\]\['loss'\] = nan is not a finite number"):
        weights.save_model(tiny(), tmp_path / "w.safetensors", {"held_out": {"loss": math.nan}})
    assert not list(tmp_path.iterdir())
