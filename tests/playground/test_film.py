"""The playground of chapter 06 in a browser: it shows the frame, the head and the picture that were asked for."""

from __future__ import annotations

import pytest

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
    "hgGAWjR9awAAAABJRU5ErkJggg=="
)
LINE = [[[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8], [0.2, 0.2]]]


def picture(name: str, shares: list[list[float]]) -> dict:
    # two heads on two by two patches, three frames
    maps = ["ff000000" + "000000ff", "80ff0000" + "00ff0000", "00ff0000" + "ff00ff00"]
    return {"name": name, "photo": PIXEL, "outline": LINE, "cover": 0.4, "maps": maps, "shares": shares}


DATA = {
    "side": 2,
    "epochs": [0, 2, 4],
    "heads": ["layer 0, head 0", "layer 0, head 1"],
    "head": 1,
    "right": [None, 0.25, 0.5],
    "guessing": 0.2,
    "pictures": [
        picture("cat", [[0.4, 0.41], [0.5, 0.1], [0.3, 0.8]]),
        picture("fish", [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]),
    ],
}


def test_numbers_are_those_of_the_frame_the_head_and_the_picture(open_play):
    tab = open_play("film", DATA)
    assert tab.readout("attention on the animal") == "80 %"
    assert tab.readout("names right") == "50 %"
    assert tab.readout("the animal covers (grey line)") == "40 %"
    assert "After epoch 4" in tab.note()
    assert "2.0 times" in tab.note()
    tab.slide("epoch", 0)
    assert tab.readout("attention on the animal") == "41 %"
    assert tab.readout("names right") == "not measured"
    assert "Before the first step" in tab.note()
    assert "as if it saw no animal" in tab.note()
    tab.slide("epoch", 1)
    assert "looks away" in tab.note()
    tab.choose("head", "layer 0, head 0")
    assert tab.readout("attention on the animal") == "50 %"
    tab.choose("picture", "2: fish")
    assert tab.readout("attention on the animal") == "30 %"


def test_the_picture_answers_every_control(open_play):
    tab = open_play("film", DATA)
    seen = {tab.pixels()}
    for change in (
        lambda: tab.slide("epoch", 1),
        lambda: tab.choose("head", "layer 0, head 0"),
        lambda: tab.choose("picture", "2: fish"),
        lambda: tab.tick("light the picture by the map"),
    ):
        change()
        assert tab.pixels() not in seen
        seen.add(tab.pixels())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, theme):
    tab = open_play("film", DATA, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
