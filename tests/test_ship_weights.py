"""Cards of shipped weights say what these weights are worth, measured as ``crate-mini evaluate accuracy`` does."""

from __future__ import annotations

import json
import sys

import pytest
import ship_weights

from crate_mini.cli import main as crate_mini
from crate_mini.weights import list_pretrained

NAME = "vit_nano_embedded"


def test_a_card_is_what_the_command_measures(capsys):
    card = list_pretrained()[NAME]
    found = ship_weights._measured(ship_weights.WEIGHTS / f"{NAME}.safetensors", card, None)
    for key, value in card["held_out_as_shipped"].items():
        assert found[key] == pytest.approx(value, abs=5e-3), key
    assert crate_mini(["evaluate", "--weights", NAME, "--split", "val", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert found["top1"] == pytest.approx(told["accuracy"]["top1"])
    calibration = told["calibration"]
    of = {"confidence": "confidence", "calibration_error": "ece_mass", "calibration_floor": "floor_mass"}
    for mine, theirs in (of | {"temperature": "temperature"}).items():
        assert found[mine] == pytest.approx(calibration[theirs], rel=1e-3), mine


@pytest.mark.parametrize("words", [[], ["runs/x"], ["runs/x", "x", "--again", "y"]])
def test_either_a_training_or_what_is_shipped(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["ship_weights.py", *words])
    with pytest.raises(SystemExit):
        ship_weights.main()
    assert "either a folder and a name, or --again" in capsys.readouterr().err
