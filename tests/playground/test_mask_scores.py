"""The playground of chapter 09 in a browser: ceiling and chance are those of the package."""

from __future__ import annotations

import pytest

from crate_mini.segmentation import chance_iou

START = {"area": 0.2, "share": 0.6, "heads": 6, "side": 28}


@pytest.mark.parametrize(
    ("area", "share", "heads", "side"),
    [(0.2, 0.6, 6, 28), (0.35, 0.6, 3, 8), (0.7, 0.25, 12, 16), (0.5, 1.0, 24, 4)],
)
def test_numbers_are_those_of_the_package(open_play, area, share, heads, side):
    tab = open_play("mask_scores", START)
    tab.slide("object", area).slide("mask", share).slide("heads", heads).choose("patches", f"{side} × {side}")
    patches = side**2
    s, m = round(area * patches), round(share * patches)
    assert tab.number("ceiling") == pytest.approx(min(s, m) / max(s, m), abs=6e-4)
    assert tab.number("chance") == pytest.approx(chance_iou(area, share, patches), abs=6e-4)
    assert tab.number("best of all heads, by chance") == pytest.approx(
        chance_iou(area, share, patches, heads), abs=6e-4
    )
    assert tab.number("whole image") == pytest.approx(s / patches, abs=6e-4)


def test_the_picture_and_the_note_answer(open_play):
    tab = open_play("mask_scores", START)
    assert "the mask is larger than the object" in tab.note()
    seen = [tab.pixels()]
    for turn, said in (
        (lambda: tab.slide("object", 0.8), "the mask is smaller than the object"),
        (lambda: tab.slide("mask", 0.8), "only then can a perfect ranking reach 1"),
        (lambda: tab.slide("heads", 24), "only then"),
        (lambda: tab.choose("patches", "8 × 8"), "only then"),
        (lambda: tab.slide("mask", 1), "the score says nothing"),
    ):
        turn()
        assert tab.pixels() != seen[-1]
        assert said in tab.note()
        seen.append(tab.pixels())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, theme):
    tab = open_play("mask_scores", START, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
