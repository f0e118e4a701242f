"""The half-step viewer against the record that its data came from."""

from __future__ import annotations

import base64

import pytest
import torch
import torch.nn.functional as F

from crate_mini.model import create_model
from crate_mini.recorder import record

GRID, DEPTH, DIM = 4, 3, 24
STAGES = ("before", "compressed", "sparsified")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def steps() -> list[torch.Tensor]:
    """Tokens of the patches by half step, from a small untrained network."""
    torch.manual_seed(0)
    model = create_model("crate_nano", dim=DIM, heads=2, depth=DEPTH, image_size=8 * GRID).eval()
    run = record(model, torch.rand(1, 3, 8 * GRID, 8 * GRID), ["tokens_in", "tokens_mid", "tokens_out"])
    tokens = [run["tokens_in"][0]]
    for layer in range(DEPTH):
        tokens += [run["tokens_mid"][layer], run["tokens_out"][layer]]
    return [t[0, 1:] for t in tokens]


@pytest.fixture(scope="module")
def data(steps) -> dict:
    """The contract between the notebook and the script, written down a second time."""
    likeness = bytearray()
    for tokens in steps:
        unit = F.normalize(tokens, dim=-1)
        for i in range(len(unit)):
            for j in range(i + 1, len(unit)):
                likeness.append(round(127.5 * (float(unit[i] @ unit[j]) + 1)))
    return {
        "grid": GRID,
        "channels": DIM,
        "photo": f"data:image/png;base64,{PIXEL}",
        "length": [[round(v, 2) for v in t.norm(dim=-1).tolist()] for t in steps],
        "zeros": [(t == 0).sum(-1).tolist() for t in steps],
        "likeness": base64.b64encode(bytes(likeness)).decode(),
        "patch": [1, 2],
        "layer": 1,
    }


@pytest.fixture
def tab(open_play, data):
    return open_play("crate_block", data)


@pytest.mark.parametrize(("layer", "stage"), [(0, 0), (1, 1), (2, 2), (2, 0)])
def test_numbers_are_those_of_the_record(tab, steps, layer, stage):
    tokens, patch = steps[2 * layer + stage], GRID * 1 + 2
    tab.slide("layer", layer).choose("stage", STAGES[stage])

    tab.choose("show", "length")
    lengths = tokens.norm(dim=-1)
    assert tab.number("this patch") == pytest.approx(lengths[patch].item(), abs=0.011)
    assert tab.number("mean over the image") == pytest.approx(lengths.mean().item(), abs=0.011)

    tab.choose("show", "zeros")
    zeros = (tokens == 0).float().mean(-1)
    for label, expected in (("this patch", zeros[patch]), ("mean over the image", zeros.mean())):
        assert float(tab.readout(label).removesuffix(" %")) == pytest.approx(100 * expected.item(), abs=0.51)

    tab.choose("show", "likeness")
    cosines = F.cosine_similarity(tokens, tokens[patch : patch + 1], dim=-1)
    others = torch.cat([cosines[:patch], cosines[patch + 1 :]])
    assert tab.number("mean over the image") == pytest.approx(others.mean().item(), abs=0.015)
    assert tab.number("most alike") == pytest.approx(others.max().item(), abs=0.015)


def test_another_patch_by_pointer_and_by_keys(tab, steps):
    def most_alike(patch: int) -> float:
        cosines = F.cosine_similarity(steps[2], steps[2][patch : patch + 1], dim=-1)
        return torch.cat([cosines[:patch], cosines[patch + 1 :]]).max().item()

    frame = tab.page.locator(".cp-plots svg").nth(1).bounding_box()
    side = min(frame["width"], frame["height"] - 24)
    left, top = frame["x"] + (frame["width"] - side) / 2, frame["y"] + 22
    tab.page.mouse.click(left + side * 0.1, top + side * 0.9)  # the lower left patch
    tab.settle()
    assert tab.number("most alike") == pytest.approx(most_alike(GRID * (GRID - 1)), abs=0.015)
    ring = tab.page.get_by_role("slider", name="the patch")
    ring.focus()
    for _ in range(40):
        ring.press("ArrowUp")
    tab.settle()
    assert tab.number("most alike") == pytest.approx(most_alike(0), abs=0.015)


def test_stepping_goes_through_every_half_step_and_starts_again(tab):
    tab.slide("layer", 0).choose("stage", "before").choose("show", "length")
    seen = [tab.number("mean over the image")]
    for _ in range(2 * DEPTH):
        seen.append(tab.press("half a step on").number("mean over the image"))
    assert len(set(seen)) == 2 * DEPTH + 1
    assert tab.press("half a step on").number("mean over the image") == seen[0]


def test_the_picture_and_the_words_follow(tab):
    tab.slide("layer", 1)
    words, pictures = set(), set()
    for stage in STAGES:
        for what in ("likeness", "length", "zeros"):
            tab.choose("stage", stage).choose("show", what)
            pictures.add(tab.pixels())
        words.add(tab.note())
    assert len(words) == 3
    assert len(pictures) == 9
    tab.slide("layer", 0).choose("stage", "before")
    assert "No entry is zero" in tab.note()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_narrow(open_play, data, theme):
    tab = open_play("crate_block", data, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
