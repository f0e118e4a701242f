"""The playground of chapter 11 in a browser: all trainings of two kinds, and what chance would do."""

from __future__ import annotations

import math

import pytest

DATA = {
    "measures": [["last", "last layer"], ["head", "one head"]],
    "kinds": [
        {"name": "CRATE", "values": {"last": [0.81, 0.84, 0.8], "head": [0.8, 0.7, 0.9]}},
        {"name": "ViT", "values": {"last": [0.3, 0.64, 0.27], "head": [0.82, 0.71, 0.6]}},
        {"name": "CRATE-MLP", "values": {"last": [0.9], "head": [0.85]}},
    ],
    "first": "CRATE",
    "second": "ViT",
}


@pytest.mark.parametrize("score", ["last layer", "one head"])
@pytest.mark.parametrize(("first", "second"), [("CRATE", "ViT"), ("ViT", "CRATE"), ("CRATE-MLP", "CRATE")])
def test_pairs_and_chance(open_play, score, first, second):
    tab = open_play("trainings", DATA)
    tab.choose("score", score).choose("network", first).choose("against", second)
    key = {text: key for key, text in DATA["measures"]}[score]
    a, b = (next(k for k in DATA["kinds"] if k["name"] == name)["values"][key] for name in (first, second))
    won = sum(x > y for x in a for y in b)
    assert tab.readout("pairs in which the first is higher") == f"{won} of {len(a) * len(b)}"
    difference = float(tab.readout("difference of means").replace("−", "-"))
    assert difference == pytest.approx(sum(a) / len(a) - sum(b) / len(b), abs=6e-4)
    if 0 < won < len(a) * len(b):
        assert "overlap: which is higher depends on the training" in tab.note()
    else:
        assert f"once in {math.comb(len(a) + len(b), len(a))} times" in tab.note()
        assert ("single training" in tab.note()) == (1 in (len(a), len(b)))


def test_against_itself_and_narrow(open_play):
    tab = open_play("trainings", DATA, width=360)
    before = tab.pixels()
    tab.choose("against", "CRATE")
    assert "against itself" in tab.note()
    assert tab.pixels() != before
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
