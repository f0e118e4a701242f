"""The playground of chapter 9b in a browser: its interval is Welch's, and its chances are those of the package."""

from __future__ import annotations

import pytest
from scipy.stats import norm

from crate_mini.chapters import chapter_09b as chapter

LINE = chapter.Line(
    "here", "looked at", 9, {"CRATE": [0.66, 0.6, 0.63], "ViT": [0.58, 0.62, 0.6]}, gap=(0.03, -0.1, 0.2)
)


@pytest.fixture(scope="module")
def start():
    return chapter.play_data([LINE])


@pytest.mark.parametrize(
    ("difference", "spread", "n"), [(4, 2.0, 3), (10, 5.0, 12), (0, 1.0, 2), (20, 0.5, 20)]
)
def test_chances_are_those_of_the_package(open_play, start, difference, spread, n):
    tab = open_play("how_many", start)
    tab.slide("true difference (points)", difference).slide("spread of trainings (points)", spread)
    tab.slide("trainings a side", n)
    expected = chapter.power(min(difference / spread, 4.0), n)
    assert float(tab.readout("chance to decide").split()[0]) == pytest.approx(100 * expected, abs=1.5)
    wrong = norm.cdf(-difference / (spread * 2**0.5))
    assert float(tab.readout("one pair in the wrong order").split()[0]) == pytest.approx(
        100 * wrong, abs=0.51
    )


def test_the_interval_is_welchs(open_play, start):
    """By the trainings that the page drew: its dots lie at their scores."""
    tab = open_play("how_many", start)
    tab.slide("trainings a side", 4)
    dots = tab.page.evaluate(
        """() => [...document.querySelectorAll('.crate-play svg')[0].querySelectorAll('circle')]
            .map(c => [Number(c.getAttribute('cx')), Number(c.getAttribute('cy'))])"""
    )
    assert len(dots) == 9
    crate, vit = ([x for x, _ in row] for row in (dots[:4], dots[4:8]))
    low, high = (float(v) for v in tab.readout("its 95 % interval").split(" to "))
    found = tab.number("difference found")
    expected = chapter.welch_interval(crate, vit)  # in pixels
    pixels = (expected[2] - expected[1]) / (high - low)
    assert expected[0] / pixels == pytest.approx(found, abs=0.15)


def test_what_the_page_says_and_another_draw(open_play, start):
    tab = open_play("how_many", start)
    tab.slide("true difference (points)", 20).slide("spread of trainings (points)", 0.5)
    assert "on the right side" in tab.note()
    before = tab.readout("difference found")
    tab.press("Train again")
    assert tab.readout("difference found") != before
    tab.slide("true difference (points)", 0)
    assert "nothing to find" in tab.note()
    tab.slide("true difference (points)", 0.5).slide("spread of trainings (points)", 12)
    notes = [tab.press("Train again").note() for _ in range(6)]
    assert sum("the interval holds 0" in note for note in notes) >= 4, "it is seldom seen"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, start, theme):
    tab = open_play("how_many", start, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
