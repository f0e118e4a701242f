"""The playground of chapter 14 in a browser: memberships and AUROC are the package's, at every temperature."""

from __future__ import annotations

import pytest
import torch

from crate_mini.segmentation import count_patches, score_maps

SIDE, TOKENS = 8, 65
PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="


def start() -> dict:
    truth = torch.zeros(64, 64, dtype=torch.uint8)
    truth[10:41, 13:50] = 1
    objects, background = count_patches(truth, (SIDE, SIDE))
    energies = torch.rand(3, SIDE**2, generator=torch.Generator().manual_seed(0)) / 2
    return {
        "picture": PICTURE, "side": SIDE, "tokens": TOKENS, "start": 1,
        "energies": [[round(v, 4) for v in row] for row in energies.tolist()],
        "objects": objects.tolist(), "background": background.tolist(),
    }  # fmt: skip


@pytest.mark.parametrize(("head", "tau"), [(0, 1), (1, 16), (2, 65)])
def test_numbers_are_those_of_the_package(open_play, head, tau):
    data = start()
    tab = open_play("memberships", data).choose("head", f"head {head}").slide("temperature τ", tau)
    Pi = (tau * torch.tensor(data["energies"], dtype=torch.float64)).softmax(0)
    expected = score_maps(Pi[head], torch.tensor(data["objects"]), torch.tensor(data["background"]))["auroc"]
    assert tab.number("largest membership of a patch, mean") == pytest.approx(
        float(Pi.amax(0).mean()), abs=6e-4
    )
    assert tab.number("AUROC of this head") == pytest.approx(float(expected), abs=6e-4)


def test_it_says_what_to_do_and_what_happened(open_play):
    tab = open_play("memberships", start())
    seen = [tab.pixels()]
    for tau, said in (
        (1, "as published"),
        (5, "begin to share"),
        (16, "hold the animal"),
        (65, "all or nothing"),
    ):
        tab.slide("temperature τ", tau)
        assert said in tab.note()
        seen.append(tab.pixels())
    assert len(set(seen[1:])) == 4


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, theme):
    tab = open_play("memberships", start(), width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
