"""The playground of chapter 11 in a browser: differences and their intervals."""

from __future__ import annotations

import math
import re

import pytest

DATA = {
    "measures": [["auroc", "AUROC"], ["best_iou", "best IoU"]],
    "networks": [
        {"name": "CRATE", "scores": {"auroc": [0.84, 0.83, 0.85], "best_iou": [0.52, 0.50, 0.54]}},
        {"name": "ViT", "scores": {"auroc": [0.80, 0.79, 0.81], "best_iou": [0.51, 0.49, 0.53]}},
        {"name": "CRATE, MLP", "scores": {"auroc": [0.70, 0.66, 0.74], "best_iou": [0.60, 0.58, 0.62]}},
    ],
    "first": "CRATE",
    "second": "ViT",
}


@pytest.mark.parametrize("measure", ["AUROC", "best IoU"])
@pytest.mark.parametrize(
    ("first", "second"), [("CRATE", "ViT"), ("CRATE, MLP", "CRATE"), ("ViT", "CRATE, MLP")]
)
def test_the_difference_and_its_interval(open_play, measure, first, second):
    tab = open_play("evidence", DATA)
    tab.choose("score", measure).choose("network", first).choose("against", second)
    key = {text: key for key, text in DATA["measures"]}[measure]
    a, b = (next(n for n in DATA["networks"] if n["name"] == name)["scores"][key] for name in (first, second))
    half = math.hypot((a[2] - a[1]) / 2, (b[2] - b[1]) / 2)
    difference = a[0] - b[0]
    assert _numbers(tab.readout("difference")) == pytest.approx([difference], abs=6e-4)
    found = _numbers(tab.readout("its 95 % interval"))
    assert found == pytest.approx([difference - half, difference + half], abs=6e-4)
    assert ("cannot be told apart" in tab.note()) == (found[0] < 0 < found[1])


def test_a_network_against_itself_and_a_changing_picture(open_play):
    tab = open_play("evidence", DATA)
    before = tab.pixels()
    tab.choose("against", "CRATE")
    assert "against itself" in tab.note()
    assert tab.pixels() != before


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, theme):
    tab = open_play("evidence", DATA, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360


def _numbers(text: str) -> list[float]:
    return [float(n.replace("−", "-")) for n in re.findall(r"[+−-]\d+\.\d+", text)]
