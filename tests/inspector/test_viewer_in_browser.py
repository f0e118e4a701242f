"""The JavaScript half of the head viewer, driven in a real browser with the network cut off."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

import numpy as np
import pytest
import torch
from browser import offline_context
from PIL import Image
from scipy.stats import rankdata

from crate_mini.attention_maps import mass_mask, upsample
from crate_mini.chapters.chapter_09 import masks_of
from crate_mini.inspector import HeadViewer, dequantise
from crate_mini.inspector.contract import VERSION, colour_table, decode_maps
from crate_mini.segmentation import count_patches, iou, score_maps
from crate_mini.segmentation.baselines import centre_map

TITLES = ["cat", "astronaut", "coffee"]


@pytest.fixture(scope="module")
def two_models(make_maps, make_images, make_mask) -> HeadViewer:
    """Two models with different layers, heads and grids; a mask for the first image; one broken map."""
    crate, vit = make_maps(3, 4, 6, 10, 10), make_maps(3, 7, 3, 5, 5, seed=1)
    crate[0, 1, 4, 2, 2] = math.nan
    return HeadViewer(
        make_images(3, 80, 80), {"CRATE": crate, "ViT": vit}, titles=TITLES,
        masks=[make_mask(80, 80), None, None], layer={"CRATE": 2, "ViT": 6},
    )  # fmt: skip


@contextmanager
def opened(tabs, path, *, width: int = 1000, height: int = 900, **options) -> Iterator:
    """A tab with the page, its viewers drawn; leaving it fails on any request outside or error."""
    with tabs.of_a_test("error", "warning", "log") as page_of:
        tab = page_of(width, height, **options)
        tab.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            tab.locator(".crate-heads:not(:has(.ch-body))").first.wait_for(state="detached")
        yield tab


@pytest.fixture
def tab(tabs, two_models, tmp_path) -> Iterator:
    with opened(tabs, two_models.save(tmp_path / "heads.html")) as page:
        yield page


def shown(tab, nth: int = 0) -> dict:
    """What the viewer says it has drawn, once everything asked for is drawn."""
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return json.loads(tab.locator(".crate-heads").nth(nth).get_attribute("data-shown"))


def pick(tab, value: str) -> None:
    """A choice in the toolbar, by the arrow keys' own target: the radio button, as soon as it is drawn."""
    button = tab.locator(f"input[value={value}]").first
    button.wait_for()
    button.check(force=True)


def pixels(tab, selector: str, nth: int = 0) -> np.ndarray:
    """The canvas as the reader has it, ``(H, W, 3)``."""
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    png = tab.locator(selector).nth(nth).evaluate("canvas => canvas.toDataURL('image/png')")
    return np.array(Image.open(io.BytesIO(base64.b64decode(png.split(",")[1]))).convert("RGB"))


def at_patches(picture: np.ndarray, h: int, w: int) -> np.ndarray:
    """The pixel in the middle of every patch, ``(h, w, 3)``."""
    y = ((np.arange(h) + 0.5) * picture.shape[0] / h).astype(int)
    x = ((np.arange(w) + 0.5) * picture.shape[1] / w).astype(int)
    return picture[y[:, None], x]


def stored(viewer: HeadViewer, model: int, image: int) -> tuple[np.ndarray, torch.Tensor]:
    """Bytes and values ``(L, K, h, w)`` that the page has."""
    entry = viewer.contract["models"][model]
    q, low, high = decode_maps(entry["maps"][image], len(entry["layers"]), entry["heads"])
    return q, dequantise(q, low, high)


def expected_colours(q: np.ndarray) -> np.ndarray:
    return colour_table("viridis")[np.rint(255 * (q / 255.0) ** 2).astype(int)]


def and_mean(maps):
    """A layer's maps and, last, the mean of its heads."""
    return torch.cat([maps, maps.mean(0, keepdim=True)])


# ---- what is drawn ---------------------------------------------------------------------------------------


def test_heat_map_is_the_attention_patch_by_patch(tab, two_models):
    pick(tab, "heat")
    pick(tab, "patches")
    tab.get_by_label("true outline").uncheck()
    state = shown(tab)
    assert (state["view"], state["smooth"], state["layer"]) == ("heat", False, [2, 6])
    for model, grid in enumerate([(10, 10), (5, 5)]):
        q, _ = stored(two_models, model, 0)
        layer = state["layer"][model]
        large = pixels(tab, ".ch-large canvas", model)
        assert max(large.shape) >= 640
        np.testing.assert_array_equal(at_patches(large, *grid), expected_colours(q[layer, 0]))
        tiles = tab.locator(".ch-panel").nth(model).locator(".ch-tiles canvas")
        assert tiles.count() == q.shape[1]
        for k in range(q.shape[1]):
            selector = f".ch-panel:nth-child({model + 1}) .ch-tiles canvas"
            np.testing.assert_array_equal(
                at_patches(pixels(tab, selector, k), *grid), expected_colours(q[layer, k])
            )


def test_layer_slider_by_keyboard_changes_the_picture(tab, two_models):
    pick(tab, "heat")
    pick(tab, "patches")
    tab.get_by_label("true outline").uncheck()
    tab.get_by_label("move layers together").uncheck()
    before = pixels(tab, ".ch-large canvas")
    tab.get_by_role("slider", name="CRATE, layer").focus()
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowLeft")
    assert shown(tab)["layer"] == [0, 6]
    after = pixels(tab, ".ch-large canvas")
    assert (before != after).mean() > 0.3
    q, _ = stored(two_models, 0, 0)
    np.testing.assert_array_equal(at_patches(after, 10, 10), expected_colours(q[0, 0]))
    assert tab.locator(".ch-head output").all_inner_texts() == ["0", "6"]


def test_lit_is_the_picture_as_bright_as_the_attention(tab, two_models):
    tab.get_by_label("true outline").uncheck()
    pick(tab, "patches")
    pick(tab, "lit")
    q, _ = stored(two_models, 0, 0)
    t = (q[2, 0] / 255.0) ** 2
    full = np.sort(t.flatten())[int(0.98 * (t.size - 1))]
    light = 0.08 + 0.92 * np.clip(t / full, 0, 1) ** 0.8
    lit = at_patches(pixels(tab, ".ch-large canvas"), 10, 10)
    source = two_models.contract["images"][0]["src"].split(",")[1]
    photo = Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB")
    size = tab.locator(".ch-large canvas").first.evaluate("canvas => [canvas.width, canvas.height]")
    bright = at_patches(np.array(photo.resize(size, Image.Resampling.BICUBIC)), 10, 10)
    assert np.abs(lit - bright * light[..., None]).mean() < 4, "grey levels"


def test_over_a_photo_one_bright_patch_leaves_the_others_their_colour(tab, two_models):
    """Full colour from the 98th percentile on, as in "lit"; the heat map's scale goes to the highest value."""
    tab.get_by_label("true outline").uncheck()
    pick(tab, "patches")
    pick(tab, "heat")
    shown(tab)
    assert "≥" not in tab.locator(".ch-scale").first.inner_text()
    pick(tab, "overlay")
    shown(tab)
    q, values = stored(two_models, 0, 0)
    t, x = (q[2, 0] / 255.0) ** 2, values[2, 0].numpy()
    place = int(0.98 * (t.size - 1))
    full = np.sort(t.flatten())[place]
    assert full < 1
    shades = np.rint(255 * np.clip(t / full, 0, 1)).astype(int)
    assert (shades == 255).sum() >= 2
    colour = colour_table("viridis")[shades].astype(float)
    alpha = (0.15 + 0.55 * shades / 255)[..., None]
    found = at_patches(pixels(tab, ".ch-large canvas"), 10, 10).astype(float)
    # below lies a grey photo, of which differences of channels know nothing
    drawn, expected = (rgb[..., :2] - rgb[..., 2:] for rgb in (found, alpha * colour))
    assert np.abs(drawn - expected).max() < 8, "grey levels"
    said = tab.locator(".ch-scale span").nth(1).inner_text()
    assert said.startswith("≥ ")
    assert float(said[2:-2]) == pytest.approx(100 * np.sort(x.flatten())[place], rel=0.5)


def facts(tab, model: int) -> list[str]:
    """What is said of the head on show, and of the map that saw nothing."""
    return tab.locator(".ch-panel").nth(model).locator(".ch-facts, .ch-control:visible").all_inner_texts()


def test_by_rank_as_many_patches_have_each_colour(tab, two_models):
    pick(tab, "heat")
    pick(tab, "patches")
    tab.get_by_label("true outline").uncheck()
    tab.get_by_label("by rank").check()
    assert shown(tab)["ranks"]
    for model, grid in enumerate([(10, 10), (5, 5)]):
        _, values = stored(two_models, model, 0)
        one = values[shown(tab)["layer"][model], 0].flatten()
        places = (rankdata(one.numpy()) - 1) / (len(one) - 1)  # equal ones share the mean of their places
        assert len(set(places)) > 0.8 * min(len(one), 90)
        expected = colour_table("viridis")[np.rint(255 * places).astype(int)].reshape(*grid, 3)
        found = at_patches(pixels(tab, ".ch-large canvas", model), *grid)
        assert np.abs(found.astype(int) - expected).max() <= 6, "one step of the table"
    assert tab.locator(".ch-scale span").first.inner_text() == "lowest"
    before = pixels(tab, ".ch-large canvas")
    pick(tab, "overlay")
    assert (pixels(tab, ".ch-large canvas") != before).any()
    pick(tab, "mask")
    shown(tab)
    assert not tab.get_by_label("by rank").is_visible(), "a mask knows no ranks"


def test_auroc_is_pythons_and_stands_only_where_there_is_an_outline(tab, two_models, make_mask):
    pick(tab, "heat")
    for model, grid in enumerate([(10, 10), (5, 5)]):
        _, value = stored(two_models, model, 0)
        layer = shown(tab)["layer"][model]
        counts = count_patches(make_mask(80, 80), grid)
        right = score_maps(and_mean(value[layer]).flatten(1), *counts)["auroc"]
        tiles = tab.locator(".ch-panel").nth(model).locator(".ch-score").all_inner_texts()
        assert tiles == [f"{score:.2f}" for score in right.tolist()]
        blind = float(score_maps(centre_map(grid).flatten(), *counts)["auroc"])
        head, control = facts(tab, model)
        assert f"AUROC {right[0]:.2f}" in head
        assert control == f"Centre prior · AUROC {blind:.2f}"
    assert tab.get_by_label("true outline").is_visible()
    tab.get_by_label("astronaut").first.check(force=True)
    shown(tab)
    assert [len(facts(tab, model)) for model in (0, 1)] == [1, 1]
    assert "AUROC" not in facts(tab, 0)[0]
    assert not tab.get_by_label("true outline").is_visible(), "there is none to show"


def test_smooth_heat_map_is_pytorchs_bicubic(tab, two_models):
    pick(tab, "heat")
    tab.get_by_label("true outline").uncheck()
    picture = pixels(tab, ".ch-large canvas")
    q, _ = stored(two_models, 0, 0)
    t = torch.from_numpy((q[2, 0] / 255.0) ** 2)
    smooth = upsample(t, picture.shape[:2], "bicubic").clamp(0, 1).numpy()
    expected = colour_table("viridis")[np.rint(255 * smooth).astype(int)]
    assert (
        np.abs(picture.astype(int) - expected).max() <= 6
    )  # one step of the colour table: float32 against float64


def test_mask_and_its_iou_are_pythons(tab, two_models, make_mask):
    pick(tab, "mask")
    slider = tab.get_by_role("slider", name="Share of the attention")
    slider.focus()
    truth = make_mask(80, 80)
    for presses, share in ((0, 0.6), (4, 0.8)):
        for _ in range(presses):
            tab.keyboard.press("ArrowRight")
        state = shown(tab)
        assert state["share"] == pytest.approx(share)
        for model in range(2):
            _, values = stored(two_models, model, 0)
            masks = mass_mask(and_mean(values[state["layer"][model]]), share)
            expected = iou(upsample(masks, (80, 80)), truth)
            scores = tab.locator(".ch-panel").nth(model).locator(".ch-score").all_inner_texts()
            assert scores == [f"{score:.2f}" for score in expected.tolist()]
            said = facts(tab, model)[0]
            assert f"IoU {scores[0]}" in said
            assert f"{100 * share:.0f} % of attention" in said
    # without a true mask there is nothing to score
    tab.get_by_role("radio", name="coffee").check(force=True)
    shown(tab)
    assert set(tab.locator(".ch-score").all_inner_texts()) == {""}
    assert "IoU" not in tab.locator(".ch-facts").first.inner_text()


@pytest.mark.parametrize("rule", ["mass", "area", "best"])
def test_every_rule_of_a_mask_and_its_control_score_as_in_python(tab, two_models, make_mask, rule):
    pick(tab, "mask")
    pick(tab, rule)
    assert shown(tab)["rule"] == rule  # waits until it is drawn
    assert tab.get_by_role("slider", name="Share of the attention").is_visible() == (rule == "mass")
    for model, side in enumerate((10, 5)):
        objects, background = counts = count_patches(make_mask(80, 80), (side, side))
        _, values = stored(two_models, model, 0)
        head = values[shown(tab)["layer"][model], 0]
        for one, text in zip((head, centre_map((side, side))), facts(tab, model), strict=True):
            scores = score_maps(one.flatten(), *counts)
            order = one.flatten().sort(descending=True, stable=True).indices
            tp, fp = objects[order].cumsum(0), background[order].cumsum(0)
            overlap = tp / (objects.sum() + fp)
            n = masks_of(one, overlap, objects, (80 // side) ** 2)["equal area"]
            right = {"mass": scores["mass"], "best": scores["best_iou"], "area": overlap[n - 1]}[rule]
            assert f" · IoU {right:.2f} · AUROC {scores['auroc']:.2f}" in text
        words = {
            "mass": "60 % of attention",
            "area": "as large as the object",
            "best": "best threshold",
        }
        assert words[rule] in facts(tab, model)[0]
        assert ("found with the outline" in facts(tab, model)[1]) == (rule == "best")
    tab.get_by_role("radio", name="coffee").check(force=True)  # nothing is outlined: the share alone is left
    assert shown(tab)["rule"] == "mass"
    assert not tab.locator(f"input[value={rule}]").is_visible()
    assert "60 % of attention" in facts(tab, 0)[0]


def test_mask_shows_the_photo_inside_and_dims_it_outside(tab, two_models, make_images):
    pick(tab, "mask")
    tab.get_by_label("true outline").uncheck()
    picture = at_patches(pixels(tab, ".ch-large canvas"), 10, 10).astype(int)
    _, values = stored(two_models, 0, 0)
    inside = mass_mask(values[2, 0], 0.6).numpy()
    photo = at_patches(make_images(1, 80, 80)[0].permute(1, 2, 0).numpy(), 10, 10).astype(int)
    # PNG keeps the photo, enlarging it moves colours a little
    assert np.abs(picture - photo)[inside].mean() < 4
    assert picture[~inside].mean() < 0.5 * photo[~inside].mean()


def test_outline_is_drawn_where_the_object_ends(tab):
    pick(tab, "heat")
    with_outline = pixels(tab, ".ch-large canvas").astype(int)
    tab.get_by_label("true outline").uncheck()
    without = pixels(tab, ".ch-large canvas").astype(int)
    side = with_outline.shape[0]
    changed = np.argwhere(np.abs(with_outline - without).sum(-1) > 30) * (80 / side)
    radius = np.sqrt(((changed[:, 0] - 44) / 80) ** 2 + ((changed[:, 1] - 32) / 80) ** 2)
    assert len(changed) > 500
    assert np.abs(radius - 0.3).max() < 0.03


# ---- what the reader does --------------------------------------------------------------------------------


def test_thumbnails_by_click_and_by_arrow_key(tab, two_models):
    pick(tab, "heat")
    pick(tab, "patches")
    tab.get_by_label("true outline").uncheck()
    tab.locator(".ch-thumbs label").nth(1).click()
    assert shown(tab)["image"] == 1
    assert tab.locator(".ch-title").inner_text() == "astronaut"
    q, _ = stored(two_models, 0, 1)
    np.testing.assert_array_equal(
        at_patches(pixels(tab, ".ch-large canvas"), 10, 10), expected_colours(q[2, 0])
    )
    tab.keyboard.press("ArrowRight")
    assert shown(tab)["image"] == 2


def test_hover_previews_and_click_locks(tab):
    tiles = tab.locator(".ch-panel").first.locator(".ch-tiles button")
    first = pixels(tab, ".ch-large canvas")
    tiles.nth(3).hover()
    assert shown(tab)["preview"] == [3, None]
    assert (pixels(tab, ".ch-large canvas") != first).any()
    tab.locator("h1").hover()
    assert shown(tab)["preview"] == [None, None]
    np.testing.assert_array_equal(pixels(tab, ".ch-large canvas"), first)
    tiles.nth(3).click()
    tab.locator("h1").hover()
    state = shown(tab)
    assert state["head"] == [3, 0]
    assert tiles.nth(3).get_attribute("aria-pressed") == "true"
    assert tiles.nth(0).get_attribute("aria-pressed") == "false"
    assert (pixels(tab, ".ch-large canvas") != first).any()


def test_heads_by_keyboard(tab):
    tab.locator(".ch-panel").first.locator(".ch-tiles button").first.focus()
    for key, head in (
        ("ArrowRight", 1),
        ("ArrowDown", 4),
        ("ArrowLeft", 3),
        ("End", 6),
        ("ArrowUp", 3),
        ("Home", 0),
        ("ArrowLeft", 0),
    ):
        tab.keyboard.press(key)
        assert shown(tab)["preview"][0] == head, key
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    assert shown(tab)["head"] == [1, 0]


def test_the_mean_of_the_heads_is_seen_large(tab, two_models):
    """Last of a panel's choices, in words; a layer with a broken head has none."""
    pick(tab, "heat")
    pick(tab, "patches")
    tab.get_by_label("true outline").uncheck()
    panel = tab.locator(".ch-panel").first
    mean = panel.get_by_role("button", name="mean of the heads")
    assert panel.locator(".ch-tiles button").last.inner_text() == mean.inner_text()
    mean.click()
    tab.locator("h1").hover()
    assert shown(tab)["head"] == [6, 0]
    _, value = stored(two_models, 0, 0)
    of_heads = value[2].mean(0)
    t = (of_heads - of_heads.min()) / (of_heads.max() - of_heads.min())
    expected = colour_table("viridis")[np.rint(255 * t.numpy()).astype(int)]
    found = at_patches(pixels(tab, ".ch-large canvas"), 10, 10)
    assert np.abs(found.astype(int) - expected.reshape(found.shape)).max() <= 6, "one step of the table"
    assert facts(tab, 0)[0].startswith("Mean · AUROC")
    assert "layer 2, mean of the heads" in panel.locator(".ch-large canvas").get_attribute("aria-label")
    tab.get_by_role("slider", name="CRATE, layer").fill("1")
    shown(tab)
    assert facts(tab, 0)[0] == "Mean · not a number (NaN)"


def test_everything_is_reached_by_tab_and_shows_its_focus(tab):
    names, plain = (
        [],
        tab.evaluate("getComputedStyle(document.querySelector('.ch-tiles button')).outlineStyle"),
    )
    assert plain == "none"
    for _ in range(12):
        tab.keyboard.press("Tab")
        found = tab.evaluate(
            """() => {
              const e = document.activeElement;
              if (!e.closest('.crate-heads')) return null;
              const rings = [e, e.nextElementSibling, e.parentElement].filter(Boolean);
              return [e.getAttribute('aria-label') ?? e.value ?? '',
                      rings.some(r => getComputedStyle(r).outlineStyle === 'solid')];
            }"""
        )
        if found is None:
            break
        names.append(found[0].partition(", AUROC")[0])
        assert found[1], f"no visible focus on {found[0]}"
    assert names == [
        "overlay",
        "smooth",
        "on",
        "on",
        "on",
        "cat",
        "CRATE, layer",
        "head 0",
        "ViT, layer",
        "head 0",
    ]


def test_another_training_of_the_same_network(tabs, make_maps, make_images, tmp_path):
    first, second, vit = (make_maps(2, 4, 6, 10, 10, seed=i) for i in range(3))
    viewer = HeadViewer(
        make_images(2, 80, 80), {("CRATE", "seed 0"): first, ("CRATE", "seed 1"): second, "ViT": vit}, view="heat",
        head={("CRATE", "seed 1"): 3},
    )  # fmt: skip
    with opened(tabs, viewer.save(tmp_path / "heads.html")) as tab:
        pick(tab, "patches")
        assert tab.locator(".ch-panel").count() == 2
        (choice,) = tab.get_by_role("combobox").all()
        assert choice.get_attribute("aria-label") == "CRATE, which training"
        vits = pixels(tab, ".ch-large canvas", 1)
        choice.press("ArrowDown")
        state = shown(tab)
        assert (state["training"], state["layer"], state["head"]) == (
            [1, 0],
            [2, 2],
            [3, 0],
        )  # where it begins
        q, _ = stored(viewer, 1, 0)
        found = at_patches(pixels(tab, ".ch-large canvas"), 10, 10)
        np.testing.assert_array_equal(found, expected_colours(q[2, 3]))
        np.testing.assert_array_equal(pixels(tab, ".ch-large canvas", 1), vits)
        assert "CRATE, seed 1, layer 2" in tab.locator(".ch-large canvas").first.get_attribute("aria-label")
        tab.locator(".ch-thumbs label").nth(1).click()  # it stays for the next picture and layer
        tab.get_by_role("slider", name="CRATE, layer").fill("0")
        shown(tab)
        q, _ = stored(viewer, 1, 1)
        found = at_patches(pixels(tab, ".ch-large canvas"), 10, 10)
        np.testing.assert_array_equal(found, expected_colours(q[0, 3]))
        choice.press("ArrowUp")  # whoever has gone elsewhere stays there
        state = shown(tab)
        assert (state["training"], state["layer"], state["head"]) == ([0, 0], [0, 0], [3, 0])


def test_layers_move_together_unless_told_otherwise(tab):
    slider = tab.get_by_role("slider", name="CRATE, layer")
    slider.fill("0")
    assert shown(tab)["layer"] == [0, 0]
    slider.fill("3")
    assert shown(tab)["layer"] == [3, 6]
    tab.get_by_role("slider", name="ViT, layer").fill("2")
    assert shown(tab)["layer"] == [1, 2]
    tab.get_by_label("move layers together").uncheck()
    slider.fill("3")
    assert shown(tab)["layer"] == [3, 2]


def test_a_map_that_is_not_a_number_says_so(tab):
    tab.get_by_role("slider", name="CRATE, layer").fill("1")
    tile = tab.locator(".ch-panel").first.locator(".ch-tiles button").nth(4)
    tile.click()
    shown(tab)
    assert tile.get_attribute("aria-label") == "head 4, not a number"
    assert tab.locator(".ch-facts").first.inner_text() == "Head 4 · not a number (NaN)"
    picture = pixels(tab, ".ch-large canvas").astype(int)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 2  # hatching and letters
    assert np.ptp(picture, axis=-1).max() < 20  # grey: not a colour of the map
    pick(tab, "mask")
    shown(tab)
    assert tile.locator(".ch-score").inner_text() == ""


def test_touch(tabs, two_models, tmp_path):
    path = two_models.save(tmp_path / "heads.html")
    with opened(tabs, path, has_touch=True, is_mobile=True, width=360, height=740) as tab:
        tab.locator(".ch-tiles button").nth(2).tap()
        assert shown(tab)["head"] == [2, 0]
        tab.locator(".ch-thumbs label").nth(2).tap()
        assert shown(tab)["image"] == 2
        tab.locator(".ch-choice label").nth(3).tap()
        assert shown(tab)["view"] == "mask"


# ---- where it stands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [320, 360, 600, 1300])
def test_nothing_sticks_out(tabs, two_models, tmp_path, width):
    path = two_models.save(tmp_path / "heads.html")
    with opened(tabs, path, width=width, height=740) as tab:
        for view in ("overlay", "mask", "best"):
            pick(tab, view)
            shown(tab)
            assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            assert (
                tab.evaluate(
                    """() => [...document.querySelectorAll('.ch-body *')]
                  .filter(e => e.getBoundingClientRect().right > document.querySelector('.crate-heads')
                    .getBoundingClientRect().right).map(e => e.className)"""
                )
                == []
            )


def test_hovering_moves_nothing(tabs, two_models, tmp_path):
    with opened(tabs, two_models.save(tmp_path / "heads.html"), width=360, height=740) as tab:
        tab.get_by_role("slider", name="CRATE, layer").fill("1")
        for view in ("overlay", "mask", "area", "best"):
            pick(tab, view)
            tiles = tab.locator(".ch-panel").first.locator(".ch-tiles button")
            heights = set()
            for k in range(6):  # the fifth is the broken one
                tiles.nth(k).focus()
                shown(tab)
                heights.add(
                    tab.locator(".ch-tiles").first.evaluate("e => e.getBoundingClientRect().top + scrollY")
                )
            assert len(heights) == 1


def lightness(tab, nth: int = 0) -> tuple[float, float]:
    """Mean channel of background and text."""
    colours = (
        tab.locator(".crate-heads")
        .nth(nth)
        .evaluate(
            """e => ['backgroundColor', 'color']
              .map(key => getComputedStyle(e)[key].match(/\\d+/g).map(Number))"""
        )
    )
    return tuple(float(np.mean(c[:3])) for c in colours)


@pytest.mark.parametrize("system", ["light", "dark"])
def test_themes_of_the_system_and_of_the_page_around(tabs, two_models, tmp_path, system):
    with opened(tabs, two_models.save(tmp_path / "heads.html"), color_scheme=system) as tab:
        paper, ink = lightness(tab)
        assert (paper > ink) == (system == "light")
        assert abs(paper - ink) > 150
        for attribute, on in (
            ("document.documentElement.dataset.theme", ("light", "dark")),  # the book
            ("document.body.dataset.jpThemeLight", ("true", "false")),  # JupyterLab
        ):
            for value, light in zip(on, (True, False), strict=True):
                tab.evaluate(f"{attribute} = '{value}'")
                paper, ink = lightness(tab)
                assert (paper > ink) == light
            tab.evaluate(f"delete {attribute}")


def test_several_viewers_on_a_page_do_not_disturb_each_other(
    tabs, two_models, tmp_path, make_maps, make_images
):
    other = HeadViewer(make_images(1, 40, 60), make_maps(1, 3, 2, 4, 6, seed=5), titles=["wide"])
    fragments = [two_models._repr_html_(), other._repr_html_(), two_models._repr_html_()]  # one of them twice
    path = tmp_path / "page.html"
    path.write_text(
        f"<!doctype html><meta charset=utf-8><link rel=icon href='data:,'>{''.join(fragments)}",
        encoding="utf-8",
    )
    with opened(tabs, path) as tab:
        assert tab.locator(".ch-body").count() == 3
        before = [shown(tab, i) for i in range(3)]
        views = tab.locator(".crate-heads").nth(2)
        views.locator("input[value=mask]").check(force=True)
        views.get_by_role("radio", name="coffee").check(force=True)
        views.get_by_role("slider", name="CRATE, layer").fill("0")
        tab.locator(".crate-heads").nth(1).locator(".ch-tiles button").nth(1).click()
        after = [shown(tab, i) for i in range(3)]
        assert after[0] == before[0]
        assert (after[1]["head"], after[1]["view"], after[1]["layer"]) == ([1], "overlay", before[1]["layer"])
        assert (after[2]["view"], after[2]["image"], after[2]["layer"]) == ("mask", 2, [0, 0])
        assert tab.locator("input[value=overlay]:checked").count() == 2
        large = pixels(tab, ".ch-single .ch-large canvas")
        assert large.shape[1] / large.shape[0] == pytest.approx(1.5)
        assert tab.evaluate("typeof mountHeadViewers") == "undefined"  # nothing leaks into the page


def test_an_output_put_in_by_script_works_as_in_a_notebook(tabs, two_models, tmp_path):
    """JupyterLab sets innerHTML, which runs no scripts, then puts fresh copies in their place."""
    path = tmp_path / "lab.html"
    path.write_text("<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><main></main>")
    with opened(tabs, path) as tab:
        tab.evaluate(
            """html => {
              const main = document.querySelector('main');
              main.innerHTML = html;
              for (const old of main.querySelectorAll('script')) {
                const fresh = document.createElement('script');
                for (const a of old.attributes) fresh.setAttribute(a.name, a.value);
                fresh.textContent = old.textContent;
                old.replaceWith(fresh);
              }
            }""",
            two_models._repr_html_(),
        )
        tab.wait_for_selector(".ch-body")
        tab.get_by_role("slider", name="CRATE, layer").fill("0")
        assert shown(tab)["layer"] == [0, 0]


def test_without_scripts_the_still_is_there(tabs, two_models, tmp_path):
    path = two_models.save(tmp_path / "heads.html")
    with opened(tabs, path, java_script_enabled=False) as tab:
        assert tab.locator(".ch-fallback p").is_visible()
        box = tab.locator(".ch-fallback img").bounding_box()
        assert box["width"] > 300
        assert box["height"] > 50


def test_data_of_another_version_are_refused_in_words(browser, two_models, tmp_path):
    path = tmp_path / "heads.html"
    path.write_text(two_models.to_html().replace(f'"version":{VERSION}', '"version":99'), encoding="utf-8")
    refused = []
    with offline_context(browser, refused) as context:
        tab = context.new_page()
        tab.goto(path.as_uri())
        assert "crate-mini/heads 99" in tab.get_by_role("alert").inner_text()
        assert tab.locator(".ch-fallback img").is_visible()


# ---- the functions themselves ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script(browser) -> Iterator:
    """A blank page with the viewer's functions in reach."""
    with offline_context(browser, []) as context:
        page = context.new_page()
        page.add_script_tag(
            content=files("crate_mini.inspector").joinpath("heads.js").read_text(encoding="utf-8")
        )
        yield page


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_mass_mask_is_pythons(script, share, make_maps):
    maps = make_maps(1, 4, 5, 9, 7, seed=3).double().flatten(0, 2)
    found = script.evaluate(
        "([maps, share]) => maps.map(x => Array.from(massMask({x: Float64Array.from(x)}, share)))",
        [maps.flatten(1).tolist(), share],
    )
    assert (torch.tensor(found).bool().view(maps.shape) == mass_mask(maps, share)).all()


def test_mass_mask_of_a_flat_map_takes_the_first_patches(script):
    found = script.evaluate("Array.from(massMask({x: new Float64Array(10).fill(0.125)}, 0.5))")
    assert found == [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("size", "grid"), [((64, 64), (8, 8)), ((96, 60), (8, 5)), ((50, 33), (7, 5))])
def test_iou_is_pythons(script, size, grid, make_mask):
    """Also where patches do not divide the mask evenly."""
    generator = torch.Generator().manual_seed(7)
    truth = make_mask(*size)
    masks = torch.rand(12, *grid, generator=generator) < 0.4
    masks[0], masks[1] = False, True
    expected = iou(upsample(masks, size), truth)
    found = script.evaluate(
        """([masks, truth, width, height, h, w]) => {
          const counts = countPatches({width, height, pixels: Uint8Array.from(truth)}, h, w);
          return masks.map(mask => iou(Uint8Array.from(mask), counts));
        }""",
        [masks.flatten(1).int().tolist(), truth.flatten().tolist(), size[1], size[0], *grid],
    )
    torch.testing.assert_close(torch.tensor(found), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("size", "grid"), [((64, 64), (8, 8)), ((96, 60), (8, 5))])
def test_masks_that_know_the_outline_are_pythons(script, size, grid, make_mask):
    """Also of maps with many equal values, which stand or fall together where a threshold is sought."""
    generator = torch.Generator().manual_seed(9)
    maps = torch.rand(20, grid[0] * grid[1], generator=generator, dtype=torch.float64)
    maps[10:] = (4 * maps[10:]).round()
    truth = make_mask(*size)
    objects, background = count_patches(truth, grid)
    best, area = script.evaluate(
        """([maps, truth, width, height, h, w]) => {
          const counts = countPatches({width, height, pixels: Uint8Array.from(truth)}, h, w);
          return ["best", "area"].map(rule => maps.map(x => {
            const mask = maskOf({x: Float64Array.from(x)}, rule, 0.6, counts);
            return [iou(mask, counts), mask.reduce((a, b) => a + b, 0)];
          }));
        }""",
        [maps.tolist(), truth.flatten().tolist(), size[1], size[0], *grid],
    )
    expected = score_maps(maps, objects, background)["best_iou"]
    torch.testing.assert_close(torch.tensor(best, dtype=torch.float64)[:, 0], expected)
    n = round(int(objects.sum()) * len(objects) / truth.numel())
    order = maps.sort(dim=-1, descending=True, stable=True).indices[:, :n]
    hits, misses = (counts[order].sum(-1) for counts in (objects, background))
    found = torch.tensor(area, dtype=torch.float64)
    torch.testing.assert_close(found[:, 0], hits.double() / (objects.sum() + misses))
    assert set(found[:, 1].tolist()) == {float(n)}


def test_iou_of_nothing_with_nothing_is_not_a_number(script):
    found = script.evaluate(
        """() => Number.isNaN(iou(new Uint8Array(4), countPatches({width: 2, height: 2,
             pixels: Uint8Array.from([0, 0, 255, 0])}, 2, 2)))"""
    )
    assert found is True


@pytest.mark.parametrize(("grid", "size"), [((5, 7), (40, 56)), ((3, 4), (50, 31)), ((1, 1), (8, 8))])
def test_enlarging_is_pytorchs(script, grid, size):
    t = torch.rand(grid, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for smooth, mode in ((True, "bicubic"), (False, "nearest")):
        found = script.evaluate(
            "([t, h, w, H, W, smooth]) => Array.from(enlarge(Float64Array.from(t), h, w, H, W, smooth))",
            [t.flatten().tolist(), *grid, *size, smooth],
        )
        expected = upsample(t, size, mode)
        np.testing.assert_allclose(np.reshape(found, size), expected.numpy(), atol=1e-5)
