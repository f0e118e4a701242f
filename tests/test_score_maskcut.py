"""MaskCut for chapters 10 and 11: the layer is chosen on other photographs, and nothing is scored twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import score_maskcut

from crate_mini.weights import list_pretrained

NAME = "crate_mini_all_lion_s0"


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What was asked of ``crate-mini``; an answer says that layer 5 has the best first masks."""
    lines = []

    def answer(line):
        lines.append(line)
        layers = [int(word) for word in line[line.index("--layers") + 1 :] if word.isdecimal()]
        settings = {
            "image_size": int(line[line.index("--size") + 1]),
            "untrained": "--untrained" in line,
            "layers": layers[: len(layers) - ("--n" in line)],
            "images": int(line[line.index("--n") + 1]) if "--n" in line else 300,
            "sha256": None if "--untrained" in line else list_pretrained()[NAME]["sha256"],
        }
        scores = {str(layer): {"first_iou": [0.5 - 0.01 * (layer - 5) ** 2]} for layer in settings["layers"]}
        file = line[line.index("--out") + 1]
        with open(file, "w", encoding="utf-8") as out:
            json.dump(settings | {"by_layer": scores}, out)
        return 0

    monkeypatch.setattr(score_maskcut, "RESULTS", tmp_path)
    monkeypatch.setattr(score_maskcut, "crate_mini", answer)
    return lines


def test_a_member_is_cut_at_the_last_layer_and_at_the_chosen_one(asked, tmp_path):
    score_maskcut.member(NAME, None)
    assert sorted(file.stem for file in tmp_path.iterdir()) == [
        "crate_mini_all_lion_s0_horses_test", "crate_mini_all_lion_s0_pets_test", "crate_mini_all_lion_s0_pets_train",
        "crate_mini_all_lion_untrained_horses_test", "crate_mini_all_lion_untrained_pets_test",
    ]  # fmt: skip
    choice, *others = asked
    assert "train" in choice
    assert choice[choice.index("--layers") + 1 :][:8] == [str(i) for i in range(8)]
    for line in others:
        assert "train" not in line
        assert line[line.index("--layers") + 1 :][:2] == ["5", "7"]
    score_maskcut.member(NAME, None)
    assert len(asked) == 5, "what is there is not scored again"
    file = tmp_path / f"{NAME}_pets_test.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sha256": "of other weights"}))
    score_maskcut.member(NAME, None)
    assert len(asked) == 6, "the file of other weights is replaced"


def test_weights_are_the_packages_or_those_of_a_training(tmp_path):
    for run, file in (("crate_x_s0", "model"), ("crate_x_s0", "at02"), (NAME, "model")):
        (tmp_path / run).mkdir(exist_ok=True)
        (tmp_path / run / f"{file}.safetensors").touch()
    assert score_maskcut.find(NAME, tmp_path) == NAME
    assert score_maskcut.find("crate_x_s0", tmp_path) == str(tmp_path / "crate_x_s0" / "model.safetensors")
    assert score_maskcut.find("crate_x_s0_at02", tmp_path) == str(
        tmp_path / "crate_x_s0" / "at02.safetensors"
    )
    assert score_maskcut.find("crate_x_s0_at20", tmp_path) is None


def test_the_command_knows_every_word(monkeypatch, tmp_path):
    """One line as the tool writes it, taken by the real command."""
    monkeypatch.setattr(score_maskcut, "RESULTS", tmp_path)
    real = score_maskcut.crate_mini
    monkeypatch.setattr(score_maskcut, "crate_mini", lambda line: real([*line, "--dirty"]))
    weights = str(Path(score_maskcut.ROOT, "crate_mini", "weights", "crate_nano_embedded.safetensors"))
    found = score_maskcut.cut(
        "another name", "embedded", size=32, root=None, split="test", n=2, layers={1, 3}, weights=weights
    )
    assert found["sha256"] == list_pretrained()["crate_nano_embedded"]["sha256"]
    assert sorted(found["by_layer"]) == ["1", "3"]
    assert found["images"] == 2
    hits = found["by_layer"]["3"]["corloc_of_image"]
    assert sum(hits) / 2 == found["by_layer"]["3"]["corloc"][0]
