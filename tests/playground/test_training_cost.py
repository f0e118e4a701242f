"""The calculator of training costs against the package's own count."""

from __future__ import annotations

import re

import pytest

from crate_mini.model import create_model
from crate_mini.operations import training_multiply_adds

SETS = [["Tiny-ImageNet", 100_000, 64, 100, 200, 512], ["ImageNet-21k", 14_200_000, 224, 90, 21_841, 4096]]
MODELS = [["CRATE-S", 384, 12, "mssa", "ista"], ["ViT-S", 384, 12, "mhsa", "mlp"]]
DATA = {"sets": SETS, "models": MODELS, "devices": [["T4", 4e12], ["A100", 156e12]], "share": 0.3}
POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def number(text: str) -> float:
    mantissa, power = re.fullmatch(r"([\d.]+) · 10([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text).groups()
    return float(mantissa) * 10 ** int(power.translate(POWERS))


@pytest.mark.parametrize(
    ("pictures", "model", "patch", "kept"),
    [(0, 0, 4, 1.0), (0, 1, 8, 0.5), (1, 0, 8, 1.0), (1, 1, 16, 0.3), (0, 0, 32, 0.1)],
)
def test_counts_are_those_of_the_package(open_play, pictures, model, patch, kept):
    tab = open_play("training_cost", DATA)
    name, images, side, epochs, classes, batch = SETS[pictures]
    who, dim, depth, *_ = MODELS[model]
    tab.choose("pictures", name).choose("model", who).choose("patch", str(patch)).slide("patches kept", kept)
    family = "crate" if model == 0 else "vit"
    shape = create_model(
        f"{family}_tiny",
        dim=dim,
        heads=6,
        depth=depth,
        patch_size=patch,
        image_size=side,
        num_classes=classes,
    ).config
    expected = training_multiply_adds(shape, batch=batch, keep_patches=kept)
    assert number(tab.readout("multiply-adds an image and step")) == pytest.approx(expected, rel=6e-3)
    assert number(tab.readout("in all")) == pytest.approx(expected * images * epochs, rel=6e-3)
    assert tab.readout("tokens") == f"{1 + max(1, round(kept * (side // patch) ** 2)):,}"
    # the time on the picture: an A100 at 30 % of its peak
    shown = next(t for t in tab.page.locator("svg text").all_text_contents() if t.startswith("A100"))
    amount, unit = re.fullmatch(r"A100: ([\d.]+) (\w+)", shown).groups()
    size = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "years": 365 * 86400}[unit]
    assert float(amount) * size == pytest.approx(expected * images * epochs / (0.3 * 156e12), rel=0.06)


def test_the_picture_answers_every_control_and_the_note_says_what_to_see(open_play):
    tab = open_play("training_cost", DATA)
    seen = {tab.pixels()}
    for change in (
        lambda: tab.choose("pictures", "ImageNet-21k"),
        lambda: tab.choose("model", "ViT-S"),
        lambda: tab.choose("patch", "16"),
        lambda: tab.slide("patches kept", 0.5),
        lambda: tab.slide("share of the peak reached", 0.05),
    ):
        change()
        assert tab.pixels() not in seen
        seen.add(tab.pixels())
    assert "Attention is" in tab.choose("patch", "4").slide("patches kept", 1.0).note()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_narrow(open_play, theme):
    tab = open_play("training_cost", DATA, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
