"""What each layer does to all tokens: the strip's numbers and colours, from Python and from the page."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest
import torch
from einops import rearrange

from crate_mini.inspector import inspect_images
from crate_mini.inspector.strip import EPS_SQ, layer_strip
from crate_mini.model import create_model
from crate_mini.rates import compression_rate
from crate_mini.recorder import record
from crate_mini.token_pca import DIM, border, fit_token_pca, patch_features
from crate_mini.weights import load_pretrained


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("crate_nano", image_size=32, num_classes=3).eval()


def test_numbers_are_those_of_the_meters(model, make_images):
    pictures = list(make_images(2, 32, 48))
    strip = layer_strip(model, pictures)
    rec = record(model, torch.stack(pictures), ("attention_in", "tokens_out"))
    assert len(strip["axes"]) == 4
    for i, block in enumerate(model.blocks):
        rates = compression_rate(rec["attention_in"][i].double(), block.attention.U.detach().double(), EPS_SQ)
        zeros = (rec["tokens_out"][i] == 0).double().mean((1, 2))
        for j in range(2):
            assert strip["images"][j]["rates"][i] == pytest.approx(float(rates[j]), rel=1e-4)
            assert strip["images"][j]["zeros"][i] == pytest.approx(float(zeros[j]), abs=1e-3)
            assert 0.2 < strip["images"][j]["zeros"][i] < 0.9


def test_colours_are_fitted_to_all_images_together(model, make_images):
    pictures = list(make_images(2, 32, 32))
    strip = layer_strip(model, pictures, [-1, 1])
    edge = border(4, 4).flatten().repeat(2)
    for at, i in enumerate([3, 1]):
        features = patch_features(model, torch.stack(pictures), [i])[i]
        expected = 255 * fit_token_pca(features.flatten(0, 1), edge).colours(features)
        for j in range(2):
            bytes_ = np.frombuffer(base64.b64decode(strip["images"][j]["colours"]), np.uint8).reshape(
                2, 16, 3
            )
            assert np.abs(bytes_[at] - expected[j].numpy()).max() <= 1.01


def test_what_is_not_finite_is_said_and_the_rest_is_kept(model, make_images):
    import copy

    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.blocks[2].attention.project.weight[0, 0] = math.nan
    strip = layer_strip(broken, list(make_images(1, 32, 32)))
    assert strip["axes"][1] is not None
    assert strip["axes"][2] is None
    assert [rate is None for rate in strip["images"][0]["rates"]] == [False, False, True, True]
    assert strip["images"][0]["zeros"][3] is None


# ---- in the page -----------------------------------------------------------------------------------------

COLOURS = """([m, l]) => {
  const {canvas} = document.querySelector('.crate-heads').headViewer.panels[m].strip.cells[l];
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.height, canvas.width, Array.from(data)]; }"""
FACTS = """m => document.querySelector('.crate-heads').headViewer.panels[m].strip.facts
  .map(({zeros, rate}) => [zeros, rate])"""
PIXELS = """() => { const {pixels} = document.querySelector('.crate-heads').headViewer.data.images.at(-1);
  return [pixels.height, pixels.width, Array.from(pixels.data)]; }"""


def rgb(found: list) -> np.ndarray:
    return np.array(found[2]).reshape(found[0], found[1], 4)[..., :3]


@pytest.fixture(scope="module")
def shipped_page(make_images, tmp_path_factory):
    models = {
        "CRATE": load_pretrained("crate_mini_animals_s0"),
        "ViT": load_pretrained("vit_mini_animals_s0"),
    }
    pictures = [make_images(1, 64, 64)[0], make_images(1, 64, 80, seed=1)[0]]
    viewer = inspect_images(models, pictures, titles=["a", "b"], run_in_page=True, photo_side=64, layer=3)
    return viewer.save(tmp_path_factory.mktemp("strip") / "heads.html"), models, viewer


def test_the_strip_moves_with_the_slider_and_its_cells_move_the_layer(open_viewer, shipped_page):
    path, _, viewer = shipped_page
    tab = open_viewer(path)
    panel = tab.locator(".ch-panel").first
    entry = viewer.contract["models"][0]["strip"]["images"][0]
    for act, layer in (
        (lambda: None, 3),
        (lambda: panel.get_by_role("slider").fill("6"), 6),
        (lambda: panel.locator(".ch-cell").nth(1).click(), 1),
    ):
        act()
        tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert (
            panel.locator(".ch-cell").evaluate_all(
                "all => all.findIndex(e => e.classList.contains('ch-here'))"
            )
            == layer
        )
        assert panel.locator(".ch-head output").inner_text() == str(layer)
        legend = panel.locator(".ch-legend").inner_text()
        assert f"zeros {100 * entry['zeros'][layer]:.0f} %" in legend
        assert f"rate {entry['rates'][layer]:.0f} nats" in legend
    bytes_ = np.frombuffer(base64.b64decode(entry["colours"]), np.uint8).reshape(8, 8, 8, 3)
    for layer in range(8):
        np.testing.assert_array_equal(rgb(tab.evaluate(COLOURS, [0, layer])), bytes_[layer])
    heights = panel.locator(".ch-bar i").evaluate_all("all => all.map(e => parseFloat(e.style.height))")
    np.testing.assert_allclose(heights[::2], 100 * np.array(entry["zeros"]), atol=0.01)
    np.testing.assert_allclose(heights[1::2], 100 * np.array(entry["rates"]) / max(entry["rates"]), atol=0.01)
    before = rgb(tab.evaluate(COLOURS, [0, 4])).shape
    tab.get_by_role("radio", name="b", exact=True).check(force=True)
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert (before, rgb(tab.evaluate(COLOURS, [0, 4])).shape) == ((8, 8, 3), (8, 10, 3))


def test_of_the_readers_photo_the_page_computes_it_itself(open_viewer, shipped_page, make_images):
    from io import BytesIO

    from PIL import Image

    path, models, viewer = shipped_page
    tab = open_viewer(path)
    buffer = BytesIO()
    Image.fromarray(make_images(1, 96, 72, seed=4)[0].permute(1, 2, 0).numpy()).save(buffer, "PNG")
    file = {"name": "mine.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    tab.locator("input[type=file]").set_input_files(file)
    tab.get_by_text("It stays in this page.").wait_for()
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    given = torch.from_numpy(rgb(tab.evaluate(PIXELS))).permute(2, 0, 1).byte()
    for m, (name, model) in enumerate(models.items()):
        rec = record(model, given[None], ("projections", "tokens_out"))
        own = layer_strip(model, [given])["images"][0]
        facts = tab.evaluate(FACTS, m)
        axes = viewer.contract["models"][m]["strip"]["axes"]
        for i in range(8):
            assert facts[i][0] == pytest.approx(own["zeros"][i], abs=1e-4), name
            assert facts[i][1] == pytest.approx(own["rates"][i], rel=1e-5), name
            values = torch.from_numpy(np.frombuffer(base64.b64decode(axes[i]["values"]), "<f4").copy()).view(
                5, -1
            )
            scores = (rearrange(rec["projections"][i][0, :, 1:], "k n p -> n (k p)") - values[0]) @ values[
                1:
            ].T
            low, high = torch.tensor(axes[i]["low"]), torch.tensor(axes[i]["high"])
            colours = ((scores[:, 1:] - low) / (high - low)).clamp(0, 1)
            colours = 255 * colours * torch.where(scores[:, :1] > 0, 1.0, DIM)
            sure = scores[:, 0].abs() > 1e-3
            found = rgb(tab.evaluate(COLOURS, [m, i])).reshape(-1, 3)
            assert np.abs(found - colours.numpy())[sure].max() <= 1, name
        assert (rec["tokens_out"][7] == 0).any() == (name == "CRATE")
