"""The counting sliders against models that are really built."""

from __future__ import annotations

import pytest
import torch

from crate_mini.model import count_parameters, create_model
from crate_mini.registry import published_sizes

DATA = {
    "image": 224,
    "published": [[s.dim, s.depth, s.patch_size, s.classes, s.published] for s in published_sizes().values()],
}


def counted(family: str, d: int, layers: int, patch: int, classes: int) -> torch.nn.Module:
    with torch.device("meta"):
        return create_model(
            f"{family}_tiny",
            dim=d,
            heads=1,
            depth=layers,
            patch_size=patch,
            image_size=224,
            num_classes=classes,
        )


@pytest.mark.parametrize(
    ("d", "layers", "patch", "classes"),
    [(384, 12, 8, 21842), (64, 1, 32, 10), (768, 12, 16, 1000), (1024, 24, 4, 10), (192, 7, 16, 21842)],
)
def test_counts_are_those_of_the_models(open_play, d, layers, patch, classes):
    tab = open_play("count_parameters", DATA)
    tab.slide("width d", d).slide("layers L", layers)
    tab.choose("patch", str(patch)).choose("classes", f"{classes:,}")
    crate, vit = (counted(family, d, layers, patch, classes) for family in ("crate", "vit"))
    assert tab.readout("CRATE") == f"{count_parameters(crate):,}"
    assert tab.readout("ViT") == f"{count_parameters(vit):,}"
    share = count_parameters(crate.blocks) / count_parameters(crate)
    assert abs(int(tab.readout("of CRATE's, in its layers").split()[0]) - 100 * share) <= 0.51
    ratio = count_parameters(crate) / count_parameters(vit)
    assert abs(int(tab.readout("CRATE / ViT").split()[0]) - 100 * ratio) <= 0.51


@pytest.mark.parametrize(
    ("settings", "name", "millions"),
    [
        ((384, 12, "8", "21,842"), "CRATE-S/8 of arXiv 2308.16271", "14.12"),
        ((768, 12, "16", "1,000"), "CRATE-B of arXiv 2306.01129", "22.80"),
        ((1024, 24, "16", "1,000"), "CRATE-L of arXiv 2306.01129", "77.64"),
    ],
)
def test_published_models_are_recognised(open_play, settings, name, millions):
    d, layers, patch, classes = settings
    tab = open_play("count_parameters", DATA)
    tab.slide("width d", d).slide("layers L", layers).choose("patch", patch).choose("classes", classes)
    assert tab.note() == f"This is {name}: {millions} million."
    assert "This is" not in tab.slide("layers L", layers - 1).note()


def test_the_picture_answers_every_control(open_play):
    tab = open_play("count_parameters", DATA)
    seen = {tab.pixels()}
    for change in (
        lambda: tab.slide("width d", 512),
        lambda: tab.slide("layers L", 20),
        lambda: tab.choose("patch", "32"),
        lambda: tab.choose("classes", "10"),
    ):
        change()
        assert tab.pixels() not in seen
        seen.add(tab.pixels())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_narrow(open_play, theme):
    tab = open_play("count_parameters", DATA, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.readout("CRATE") == "14,118,482"
