"""Acting on networks in a real browser: what the page computes is what the package does, with the network cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sphinx_shared
import torch
import torch.nn.functional as F
from playwright.sync_api import expect

from crate_mini import clicks
from crate_mini.atoms import clamped
from crate_mini.heads import scaled_heads
from crate_mini.inspector.acting import Acting
from crate_mini.model import CRATE, create_model

SIDE, VIEW = 32, 16
GUIDES = {
    "attention": {"option": "1, 1", "threshold": -0.4, "join": "max"},
    "tokens": {"option": "0, centred", "threshold": 0.2, "join": "mean"},
}
GROWING = {"option": "blur 1", "threshold": -0.25, "join": "max"}
PLACES = [(0.55, 0.4, True), (0.1, 0.9, False), (0.6, 0.55, True)]


def network(name: str, seed: int) -> CRATE:
    torch.manual_seed(seed)
    model = create_model(
        name, image_size=SIDE, patch_size=4, dim=16, heads=2, head_dim=8, depth=3, num_classes=5
    ).eval()
    model.classes = ("cat", "dog", "fish", "bird", "horse")
    for parameter in model.parameters():  # what the page can hold exactly
        parameter.data = parameter.data.half().float()
    return model


@pytest.fixture(scope="module")
def networks() -> dict[str, CRATE]:
    return {"CRATE": network("crate_nano", 0), "ViT": network("vit_nano", 1)}


@pytest.fixture(scope="module")
def pictures(make_images, make_mask):
    return make_images(2, SIDE, SIDE), make_mask(SIDE, SIDE).expand(2, -1, -1)


@pytest.fixture(scope="module")
def acting(networks, pictures) -> Acting:
    return Acting(
        networks, pictures[0], masks=pictures[1], titles=["a drawn cat", "a drawn dog"], view=VIEW,
        guides=dict.fromkeys(networks, GUIDES), growing=GROWING, direction=dict.fromkeys(networks, torch.ones(16) / 4),
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(acting, tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("acting"), acting._repr_html_())


def written(folder: Path, body: str) -> Path:
    path = folder / "page.html"
    start = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    path.write_text(f"{start}<title>x</title><main><h1>x</h1>{body}</main>", encoding="utf-8")
    return path


def shown(tab) -> dict:
    return json.loads(tab.locator(".crate-acting").get_attribute("data-shown"))


def settled(tab) -> dict:
    tab.wait_for_timeout(50)
    expect(tab.locator(".ch-status")).to_have_text("", timeout=20_000)
    return shown(tab)


def click(tab, y: float, x: float) -> None:
    canvas = tab.locator(".ca-row canvas").first
    box = canvas.bounding_box()
    canvas.click(position={"x": x * box["width"], "y": y * box["height"]})
    settled(tab)


def expected_ious(networks, pictures, kind: str) -> list[float]:
    image, mask = pictures[0][0], pictures[1][0]
    small = F.avg_pool2d(image[None].float(), SIDE // VIEW)[0].round().byte()
    truth = mask[SIDE // VIEW // 2 :: SIDE // VIEW, SIDE // VIEW // 2 :: SIDE // VIEW]
    truth, found = truth.numpy(), []
    every = [
        (clicks.network_guides(m, image)[kind][GUIDES[kind]["option"]], GUIDES[kind])
        for m in networks.values()
    ]
    for guide, rule in [*every, (clicks.growing_guide(small, blur=1.0), GROWING)]:
        answers = {True: [], False: []}
        for y, x, positive in PLACES:
            answers[positive].append(clicks.at_size(guide(y, x), (VIEW, VIEW)).numpy())
        made = clicks.clicked_mask(answers[True], answers[False], rule["threshold"], rule["join"]) & (
            truth <= 1
        )
        thing = truth == 1
        found.append(float((made & thing).sum() / (made | thing).sum()))
    return found


@pytest.mark.parametrize("kind", ["tokens", "attention"])
def test_masks_of_clicks_are_those_of_the_package(open_viewer, page, networks, pictures, kind):
    tab = open_viewer(page)
    tab.get_by_role("radio", name="attention" if kind == "attention" else "alike tokens").check()
    for y, x, positive in PLACES:
        tab.get_by_role("radio", name="inside" if positive else "outside").check()
        click(tab, y, x)
    found = settled(tab)
    assert found["clicks"] == [3, 3, 3]
    assert found["ious"] == pytest.approx(expected_ious(networks, pictures, kind), abs=0.02)
    tab.get_by_role("button", name="Start again").click()
    assert shown(tab)["clicks"] == [0, 0, 0]


def test_the_script_plays_every_guide(open_viewer, acting, tmp_path):
    """With the weights beside the page, as in the book."""
    body = sphinx_shared.move_out(acting._repr_html_(), tmp_path, ".")
    tab = open_viewer(written(tmp_path, body))
    tab.get_by_role("button", name="Let a script click").click()
    found = settled(tab)
    assert [game["clicks"] for game in found["played"]] == found["clicks"]
    for game, iou in zip(found["played"], found["ious"], strict=True):
        assert game["reached"] == (iou >= 0.7)
        assert game["reached"] or game["clicks"] == 20
    assert "Clicks to an IoU of 0.7: CRATE" in tab.locator(".ca-said").inner_text()


def test_a_muted_head_is_one_of_the_package(open_viewer, page, networks, pictures):
    tab = open_viewer(page)
    tab.get_by_role("radio", name="Mute a head").check()
    settled(tab)
    for name in ("CRATE", "ViT"):
        tab.get_by_role("radio", name=name).check()
        tab.get_by_role("slider", name="head").press("End")
        for key, weight in (("Home", 0.0), ("End", 3.0)):
            tab.get_by_role("slider", name="weight").press(key)
            found = settled(tab)
            assert (found["layer"], found["head"], found["weight"]) == (1, 1, weight)
            with torch.no_grad(), scaled_heads(networks[name], {(1, 1): weight}):
                expected = networks[name](pictures[0][:1])[0].softmax(-1)
            assert found["chances"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert "of the probability went to other classes" in tab.locator(".ca-said").inner_text()


def test_a_held_atom_is_one_of_the_package(open_viewer, page, networks, pictures):
    tab = open_viewer(page)
    tab.get_by_role("radio", name="Hold an atom").check()
    settled(tab)
    tab.get_by_role("radio", name="a drawn dog").check()
    click(tab, 0.3, 0.3)
    tab.locator(".ca-atoms button").first.click()
    unit = settled(tab)["unit"]
    assert tab.locator(".ca-strip canvas").count() == 4
    tab.get_by_role("slider", name="held at").press("End")
    found = settled(tab)
    assert found["value"] == 2
    model = networks["CRATE"]
    with torch.no_grad():
        Z = model.tokens(pictures[0])
        for block in model.blocks[:2]:
            Z = block(Z)
        loudest = float(Z[:, 1:, unit].max())
        with clamped(model.blocks[1].feed, unit, 2 * loudest):
            expected = model(pictures[0][1:])[0].softmax(-1)
    assert found["chances"] == pytest.approx(expected.tolist(), abs=1e-3)
    tab.get_by_role("button", name="Let it go").click()
    assert settled(tab)["chances"] is None


def test_the_keyboard_clicks_and_a_narrow_page_fits(open_viewer, page):
    tab = open_viewer(page, width=390, height=800)
    canvas = tab.locator(".ca-row canvas").first
    canvas.focus()
    canvas.press("ArrowLeft")
    canvas.press("Enter")
    assert settled(tab)["clicks"] == [1, 1, 1]
    for act in ("Mute a head", "Hold an atom"):
        tab.get_by_role("radio", name=act).check()
        settled(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_refuses_what_does_not_go_together(networks, pictures):
    given = {"guides": dict.fromkeys(networks, GUIDES), "growing": GROWING, "view": VIEW}
    direction = dict.fromkeys(networks, torch.ones(16) / 4)
    with pytest.raises(ValueError, match="as many masks and titles"):
        Acting(networks, pictures[0], masks=pictures[1], titles=["one"], direction=direction, **given)
    with pytest.raises(ValueError, match="square"):
        Acting(
            networks,
            pictures[0][..., :20],
            masks=pictures[1][..., :20],
            titles=["one", "two"],
            direction=direction,
            **given,
        )
