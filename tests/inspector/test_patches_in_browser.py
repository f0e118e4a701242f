"""Attention of any patch: hover to preview, click to keep, arrow keys; computed in the page, linked between models."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from crate_mini.inspector import inspect_images
from crate_mini.model import CRATE, create_model
from crate_mini.recorder import record

MAPS = """m => Array.from(
  document.querySelector('.crate-heads').headViewer.panels[m].tiles.slice(0, -1), t => Array.from(t.map.x))"""


@pytest.fixture(scope="module")
def models() -> dict[str, CRATE]:
    """Two small models with patches of their own size."""
    torch.manual_seed(0)
    made = {
        "CRATE": create_model("crate_nano", image_size=32, num_classes=3),
        "ViT": create_model("vit_nano", image_size=32, num_classes=3, patch_size=16),
    }
    for model in made.values():
        model.eval()
        for parameter in model.parameters():
            parameter.data = (2 * parameter.data).half().float()  # sharper heads than untrained ones
    return made


@pytest.fixture(scope="module")
def pictures(make_images) -> list[torch.Tensor]:
    return [make_images(1, 64, 64)[0], make_images(1, 64, 96, seed=1)[0]]


@pytest.fixture(scope="module")
def page(models, pictures, make_mask, tmp_path_factory) -> Path:
    viewer = inspect_images(
        models, pictures, titles=["a", "b"], masks=[make_mask(64, 64), None], layer=2, run_in_page=True
    )
    return viewer.save(tmp_path_factory.mktemp("patches") / "heads.html")


def state(tab) -> dict:
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return json.loads(tab.locator(".crate-heads").get_attribute("data-shown"))


def asked(tab, tokens: list[int]) -> dict:
    """Wait until the attention of these tokens is on show."""
    text = json.dumps(tokens).replace(" ", "")
    tab.locator(f""".crate-heads[data-shown*='"token":{text}']""").wait_for()
    return state(tab)


def attention(model: CRATE, picture: torch.Tensor, layer: int, token: int) -> torch.Tensor:
    """Of one token on the patches, ``(K, h w)``, in float64 and from the recorded input of attention."""
    exact = copy.deepcopy(model).double()
    z = record(exact, picture[None], "attention_in", layers=[layer])["attention_in"][layer]
    operator = exact.blocks[layer].attention
    with torch.no_grad():
        queries, keys = operator.queries_keys(operator.project(z))
        scores = torch.einsum("kp,kjp->kj", queries[0, :, token], keys[0, :, 1:])
        return (scores / keys.shape[-1] ** 0.5).softmax(-1)


def point(tab, m: int, x: float, y: float, act: str = "move") -> None:
    """The pointer on a place of model m's large picture."""
    canvas = tab.locator(".ch-large canvas").nth(m)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    getattr(tab.mouse, act)(box["x"] + x * box["width"], box["y"] + y * box["height"])


def test_a_patch_under_the_pointer_shows_its_attention_in_both_models(open_viewer, page, models, pictures):
    tab = open_viewer(page)
    assert state(tab)["token"] == [0, 0]
    for x, y, tokens in ((0.3, 0.6, [35, 10]), (0.97, 0.02, [8, 4])):
        point(tab, 0, x, y)
        shown = asked(tab, tokens)
        assert shown["spot"] is None
        for m, model in enumerate(models.values()):
            expected = attention(model, pictures[0], shown["layer"][m], tokens[m])
            found = torch.tensor(tab.evaluate(MAPS, m), dtype=torch.float64)
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
            assert float((expected - expected.mean()).abs().max()) > 1e-3  # there is something to get wrong
    assert "row 1, column 8" in tab.locator(".ch-from").inner_text()
    before = tab.locator(".ch-large canvas").first.evaluate("c => c.toDataURL()")
    tab.locator("h1").hover()  # away: the class token again, as Python prepared it
    assert asked(tab, [0, 0])["spot"] is None
    assert tab.locator(".ch-large canvas").first.evaluate("c => c.toDataURL()") != before


def test_a_click_keeps_the_patch_for_other_layers_and_pictures(open_viewer, page, models, pictures):
    tab = open_viewer(page)
    point(tab, 1, 0.6, 0.3, "click")  # in the other model's picture
    asked(tab, [30, 7])
    tab.locator("h1").hover()
    assert state(tab)["token"] == [30, 7]
    tab.get_by_role("slider", name="CRATE, layer").fill("0")
    assert state(tab)["token"] == [30, 7]
    found = torch.tensor(tab.evaluate(MAPS, 0), dtype=torch.float64)
    torch.testing.assert_close(found, attention(models["CRATE"], pictures[0], 0, 30), atol=1e-6, rtol=1e-6)
    tab.get_by_role("radio", name="b", exact=True).check(force=True)  # 8 x 12 patches, and 4 x 6
    asked(tab, [1 + 3 * 12 + 7, 1 + 1 * 6 + 3])
    point(tab, 1, 0.6, 0.3, "click")  # once more on the same patch lets go
    tab.locator("h1").hover()
    assert asked(tab, [0, 0])["spot"] is None


def test_patches_by_keyboard(open_viewer, page):
    tab = open_viewer(page)
    tab.locator(".ch-large canvas").first.focus()
    for key, patch in (("ArrowDown", 4 * 8 + 4), ("ArrowRight", 4 * 8 + 5), ("ArrowUp", 3 * 8 + 5)):
        tab.keyboard.press(key)
        asked(tab, [1 + patch, 1 + patch // 16 * 4 + patch % 8 // 2])
    for _ in range(9):
        tab.keyboard.press("ArrowRight")  # stays inside
    asked(tab, [1 + 3 * 8 + 7, 1 + 1 * 4 + 3])
    tab.keyboard.press("Escape")
    assert asked(tab, [0, 0])["spot"] is None
    tab.keyboard.press("ArrowDown")
    asked(tab, [1 + 4 * 8 + 4, 1 + 2 * 4 + 2])
    tab.get_by_role("button", name="Back to the class token").press("Enter")
    assert asked(tab, [0, 0])["spot"] is None
    assert tab.get_by_role("button", name="Back to the class token").count() == 0


def test_a_tap_keeps_and_masks_are_scored(open_viewer, page):
    tab = open_viewer(page, has_touch=True, is_mobile=True, width=360, height=740)
    tab.locator(".ch-choice label").nth(3).tap()
    before = tab.locator(".ch-score").all_inner_texts()
    top = "document.querySelector('.ch-large canvas').getBoundingClientRect().top + scrollY"
    was = tab.evaluate(top)
    tab.locator(".ch-large canvas").first.tap(position={"x": 30, "y": 30})
    tab.get_by_role("button", name="Back to the class token").wait_for()
    tab.locator(".crate-heads[data-shown*='\"token\":[0,0]']").wait_for(state="detached")
    assert tab.locator(".ch-score").all_inner_texts() != before
    assert tab.evaluate(top) == was  # nothing moved under the finger
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize("width", [360, 520, 640, 1000])
def test_hovering_over_patches_moves_nothing(open_viewer, page, width):
    tab = open_viewer(page, width=width, height=900)
    tops = "[...document.querySelectorAll('.ch-large')].map(e => e.getBoundingClientRect().top + scrollY)"
    was = tab.evaluate(tops)
    point(tab, 0, 0.3, 0.6, "click")
    asked(tab, [35, 10])
    assert tab.evaluate(tops) == was
    if width > 600:  # side by side, the pictures stand level
        assert was[0] == pytest.approx(was[1], abs=1)


def test_a_picture_that_was_made_smaller_says_so(open_viewer, models, make_images, tmp_path):
    viewer = inspect_images({"CRATE": models["CRATE"]}, make_images(1, 32, 672), run_in_page=True)
    tab = open_viewer(viewer.save(tmp_path / "heads.html"))
    point(tab, 0, 0.5, 0.5, "click")
    tab.get_by_text("cannot be asked: it was made smaller").wait_for()
    assert state(tab)["token"] == [0]
    tab.locator(".ch-tiles button").nth(1).click()
    assert state(tab)["head"] == [1]


def test_nothing_is_computed_for_who_only_passes_by(open_viewer, page):
    tab = open_viewer(page)
    # both in one task, so that a busy machine cannot make the pointer rest
    tab.locator(".ch-large canvas").first.evaluate("""canvas => {
      const box = canvas.getBoundingClientRect();
      for (const type of ['pointermove', 'pointerleave']) canvas.dispatchEvent(new PointerEvent(
        type, {pointerType: 'mouse', clientX: box.x + box.width / 2, clientY: box.y + box.height / 2}));
    }""")
    tab.wait_for_timeout(400)
    assert tab.evaluate("document.querySelector('.crate-heads').headViewer.data.models[0].running") is None


# ---- models too large for a page: queries and keys were prepared ----------------------------------------


def test_prepared_patches_answer_without_the_model(open_viewer, models, pictures, tmp_path):
    viewer = inspect_images(models, pictures, titles=["a", "b"], layer=2, prepare_patches=True)
    assert viewer.contract["patches"] == "prepared"
    tab = open_viewer(viewer.save(tmp_path / "heads.html"))
    assert tab.get_by_role("button", name="Your own photo").count() == 0
    point(tab, 0, 0.3, 0.6)
    shown = asked(tab, [35, 10])
    for m, (model, token) in enumerate(zip(models.values(), (35, 10), strict=True)):
        expected = attention(model, pictures[0], shown["layer"][m], token)
        found = torch.tensor(tab.evaluate(MAPS, m), dtype=torch.float64)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    tab.get_by_role("radio", name="b", exact=True).check(force=True)
    point(tab, 0, 0.6, 0.3, "click")
    asked(tab, [1 + 2 * 12 + 7, 1 + 1 * 6 + 3])
    tab.get_by_role("slider", name="CRATE, layer").fill("0")
    assert state(tab)["token"] == [1 + 2 * 12 + 7, 1 + 1 * 6 + 3]
    found = torch.tensor(tab.evaluate(MAPS, 0), dtype=torch.float64)
    expected = attention(models["CRATE"], pictures[1], 0, 1 + 2 * 12 + 7)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_layers_that_do_not_fit_are_named(open_viewer, models, pictures, tmp_path, monkeypatch):
    """Those nearest to the layer shown first go in."""
    pages = [
        len(inspect_images(models, pictures, layer=2, prepare_patches=p).to_html()) for p in (False, True)
    ]
    limit = (pages[0] + pages[1]) // 2
    monkeypatch.setattr("crate_mini.inspector.viewer.MAX_PAGE", limit)
    viewer = inspect_images(models, pictures, layer=2, prepare_patches=True)
    assert pages[0] < len(viewer.to_html().encode()) <= limit
    pairs = viewer.contract["models"][0]["maps"][0]["pairs"]
    assert pairs[2] is not None
    assert pairs[0] is None
    there = ", ".join(str(i) for i, pair in enumerate(pairs) if pair)
    tab = open_viewer(viewer.save(tmp_path / "heads.html"))
    point(tab, 0, 0.3, 0.6, "click")
    asked(tab, [35, 10])
    tab.get_by_role("slider", name="CRATE, layer").fill("0")
    assert state(tab)["token"] == [0, 0]
    assert f"CRATE: patches can be asked in layers {there} only" in tab.locator(".ch-from").inner_text()


def test_a_page_with_a_large_model_stays_under_six_megabytes(make_images):
    """CRATE-Small with patches of 8, and two pictures of 400 patches: keys of half the layers fill the page."""
    torch.manual_seed(0)
    model = create_model("crate_small_8", num_classes=10).eval()
    page = inspect_images(model, make_images(2, 160, 160), prepare_patches=True, strip=False)
    assert 5_000_000 < len(page.to_html().encode()) < 6_000_000
    for entry in page.contract["models"][0]["maps"]:
        there = [pair is not None for pair in entry["pairs"]]
        assert 5 <= sum(there) < 8
        assert all(there[-5:])  # around the last but one, which is shown first
