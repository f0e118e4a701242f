"""The playground of chapter 08 in a browser: its numbers are the package's, and the order of patches never moves."""

from __future__ import annotations

import pytest
import torch

from crate_mini.attention_maps import spread
from crate_mini.segmentation import count_patches, score_maps

SIDE = 8
PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="


def start() -> dict:
    g = torch.Generator().manual_seed(0)
    truth = torch.zeros(64, 64, dtype=torch.uint8)
    truth[10:41, 13:50] = 1
    objects, background = count_patches(truth, (SIDE, SIDE))
    scores = (torch.randn(3, SIDE**2, generator=g) + objects / 32).mul(100).round() / 100
    heads = [{"name": f"head {k}", "scores": [round(v, 2) for v in s]} for k, s in enumerate(scores.tolist())]
    return {
        "picture": PICTURE, "side": SIDE, "heads": heads, "start": 1,
        "objects": objects.tolist(), "background": background.tolist(),
    }  # fmt: skip


@pytest.mark.parametrize(("head", "T", "share"), [(1, 1, 0.6), (0, 0.4, 0.6), (2, 3.5, 0.3), (0, 10, 0.9)])
def test_numbers_are_those_of_the_package(open_play, head, T, share):
    data = start()
    tab = open_play("temperature", data).choose("head", f"head {head}").slide("temperature", T)
    tab.slide("share", share)
    scores = torch.tensor(data["heads"][head]["scores"], dtype=torch.float64)
    q = (scores / T).softmax(-1)
    expected = score_maps(q, torch.tensor(data["objects"]), torch.tensor(data["background"]), share=share)
    assert tab.number("patches the map rests on") == pytest.approx(
        float(spread(q.view(SIDE, SIDE))), abs=0.06
    )
    assert tab.number("IoU, share of attention") == pytest.approx(float(expected["mass"]), abs=6e-4)
    assert tab.number("IoU, share of patches") == pytest.approx(float(expected["patch"]), abs=6e-4)
    assert tab.number("AUROC") == pytest.approx(float(expected["auroc"]), abs=6e-4)


def test_temperature_moves_one_mask_alone(open_play):
    tab = open_play("temperature", start())
    assert "network's own map" in tab.note()
    still = [tab.readout("IoU, share of patches"), tab.readout("AUROC")]
    seen = [tab.pixels()]
    wide = [tab.number("patches the map rests on")]
    for T, said in ((3, "Hotter"), (10, "Hotter"), (0.3, "Colder")):
        tab.slide("temperature", T)
        assert said in tab.note()
        assert [tab.readout("IoU, share of patches"), tab.readout("AUROC")] == still
        assert tab.pixels() != seen[-1]
        seen.append(tab.pixels())
        wide.append(tab.number("patches the map rests on"))
    assert wide[3] < wide[0] < wide[1] < wide[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, theme):
    tab = open_play("temperature", start(), width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
