"""The inspector of a running notebook: what it hands to the front end, and what the page does with it."""

from __future__ import annotations

import base64
import copy
import datetime
import io
import json
import math
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

import crate_mini
from crate_mini import data
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.inspector import HeadInspector, dequantise
from crate_mini.inspector.contract import decode_maps
from crate_mini.inspector.strip import layer_strip
from crate_mini.model import CRATE, create_model
from crate_mini.recorder import record


@pytest.fixture(scope="module")
def model() -> CRATE:
    torch.manual_seed(0)
    return create_model("crate_nano", image_size=32, num_classes=3).eval()


@pytest.fixture
def live(model, make_images) -> HeadInspector:
    return HeadInspector(
        {"nano": model}, make_images(2, 48, 48), titles=["a", "b"], side=48, run_in_page=False
    )


def upload(live: HeadInspector, content: bytes, name: str = "mine.png") -> str:
    """What the upload button does, and what is said of it."""
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    live.upload.value = (
        {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content), "last_modified": now},
    )  # fmt: skip
    return live.status.value


def png(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def news(live: HeadInspector) -> dict:
    """What the last script brings to the page."""
    (output,) = live._news.outputs
    return json.loads(re.search(r"receive\((.*)\);}</script>$", output["data"]["text/html"], re.S)[1])


def colour_picture(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(width)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_it_shows_the_viewer_and_an_upload_button(live):
    (output,) = live._picture.outputs
    assert output["data"]["text/html"] == live.viewer._repr_html_()
    assert live.children[0].children == (live.upload, live.status)
    assert live.titles == ["a", "b"]
    assert crate_mini.HeadInspector is HeadInspector


def test_small_models_go_into_the_page_and_need_no_button(model, make_images):
    live = HeadInspector(model, make_images(1, 50, 61), side=64)
    assert live.viewer.contract["photo"] == {"side": 64, "patch": 8}
    assert live.upload not in live.children
    assert all(not hasattr(child, "children") for child in live.children)
    image = live.viewer.contract["images"][0]
    assert (image["width"], image["height"]) == (56, 48)  # whole patches


def test_without_images_it_shows_photographs(model):
    live = HeadInspector(model, side=32)
    assert live.titles == ["cat", "astronaut", "coffee"]


def test_an_uploaded_photo_is_run_and_handed_over(live, model):
    photo = colour_picture(90, 60)
    assert upload(live, png(photo)).startswith("mine.png: 90 x 60 pixels")
    brought = news(live)
    given = data.to_patch_grid(photo, 48, 8)
    expected = cls_attention_maps(model, given[None])[0].double()
    values = dequantise(*decode_maps(brought["maps"][0], 4, model.config.heads))
    torch.testing.assert_close(values, expected, rtol=0, atol=float(expected.max()) / 255 + 1e-6)
    axes = live.viewer.contract["models"][0]["strip"]["axes"]
    assert brought["strips"] == [layer_strip(model, [given], axes=axes)["images"][0]]
    assert (brought["number"], brought["image"]["title"], live.titles[-1]) == (2, "mine.png", "mine.png")


def test_a_strip_coloured_by_its_own_axes_is_the_same_strip(model, make_images):
    pictures = list(make_images(2, 32, 32))
    strip = layer_strip(model, pictures)
    again = layer_strip(model, pictures, axes=strip["axes"])
    for first, second in zip(strip["images"], again["images"], strict=True):
        assert (first["zeros"], first["rates"]) == (second["zeros"], second["rates"])
        a, b = (np.frombuffer(base64.b64decode(s["colours"]), np.uint8) for s in (first, second))
        assert np.mean(np.abs(a.astype(int) - b) > 1) < 0.02


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no photo at all", "mine.png is not an image that can be read"),
        (b"", "mine.png is empty; take another picture"),
        (png(Image.new("RGB", (3, 1))), "mine.png is only 3 x 1 pixels"),
        (png(Image.new("RGB", (4000, 10))), "too long and thin"),
        (png(colour_picture(64, 64))[:500], "mine.png is not an image that can be read, or is truncated"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "mine.png is HEIC, which is not read here: save it as JPEG"),
        (
            png(Image.new("F", (64, 64), 7.5), "TIFF"),
            "mine.png stores floating-point numbers from 7.5 to 7.5",
        ),
        (png(Image.new("I", (64, 64), 7), "TIFF"), "mine.png stores numbers with a sign"),
    ],
)
def test_what_is_no_photo_is_refused_in_words(live, content, words):
    assert words in upload(live, content)
    assert live.titles == ["a", "b"]
    assert live._news.outputs == ()
    assert "96 x 64 pixels" in upload(live, png(colour_picture(96, 64)), "good.png")  # and it lives on
    assert live.titles[-1] == "good.png"


def test_grey_transparent_sideways_and_large_photos(live):
    base = colour_picture(80, 60)
    for picture in (base.convert("L"), base.convert("LA"), base.convert("P"), base.convert("RGBA")):
        assert "80 x 60" in upload(live, png(picture))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert "60 x 80" in upload(live, png(base, "JPEG", exif=exif))
    image = news(live)["image"]
    assert (image["width"], image["height"]) == (48, 64)
    assert "8660 x 5770" in upload(live, png(base.resize((8660, 5770)), "JPEG"))


def test_names_cannot_break_out(live):
    name = "</script><img src=x onerror=alert(1)>.png"
    said = upload(live, png(colour_picture(40, 40)), name)
    assert "<img" not in said
    assert live._news.outputs[0]["data"]["text/html"].count("</script>") == 1


def test_a_broken_model_is_shown_as_broken(model, make_images):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.blocks[2].attention.project.weight[0, 0] = 1e30  # finite; what it is multiplied with is not
    live = HeadInspector(broken, make_images(1, 32, 32), side=32, run_in_page=False)
    upload(live, png(colour_picture(40, 40)))
    assert None in news(live)["maps"][0]["low"]
    assert None in news(live)["strips"][0]["rates"]


def test_weights_that_are_not_finite_are_refused(model, make_images):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.blocks[2].attention.project.weight[0, 0] = math.nan
    with pytest.raises(FloatingPointError, match=r"blocks\.2\.attention\.project\.weight holds 1 NaN"):
        HeadInspector(broken, make_images(1, 32, 32), side=32, run_in_page=False)


def test_the_command_line_does_not_import_widgets():
    code = "import sys, crate_mini.inspector; print('ipywidgets' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


# ---- patches that the kernel is asked for ----------------------------------------------------------------


def ask(live: HeadInspector, image: int, layer: list[int]) -> dict:
    """What the page writes into the box, and what the kernel answers."""
    live._question.value = json.dumps({"image": image, "layer": layer, "turn": str(time.monotonic_ns())})
    (output,) = live._answers.outputs
    return json.loads(re.search(r"receivePairs\((.*)\);}</script>$", output["data"]["text/html"], re.S)[1])


def pair_numbers(text: str, like: torch.Tensor) -> torch.Tensor:
    """``(K, n, p)`` of one text of a pair."""
    numbers = torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32))
    heads, n, p = like.shape
    return numbers.view(n, heads, p).transpose(0, 1)


def test_the_kernel_sends_queries_and_keys_of_the_layer_asked_for(model, make_images):
    torch.manual_seed(1)
    models = {"CRATE": model, "ViT": create_model("vit_nano", image_size=32, num_classes=3).eval()}
    images = make_images(2, 48, 48)
    live = HeadInspector(models, images, side=48, run_in_page=False, layers=[1, 3])
    answer = ask(live, 1, [0, 1])
    assert (answer["image"], answer["layer"], len(answer["pairs"])) == (1, [0, 1], 2)
    for (name, one), number, pair in zip(models.items(), (1, 3), answer["pairs"], strict=True):
        seen = record(one, images[1:], "attention_in", layers=[number])["attention_in"][number]
        operator = one.blocks[number].attention
        with torch.no_grad():
            queries, keys = operator.queries_keys(operator.project(seen))
        torch.testing.assert_close(pair_numbers(pair["keys"], keys[0]), keys[0], atol=1e-4, rtol=1e-3)
        assert (pair["queries"] is None) == (name == "CRATE")  # of MSSA they are the keys
        if pair["queries"]:
            found = pair_numbers(pair["queries"], keys[0])
            torch.testing.assert_close(found, queries[0], atol=1e-4, rtol=1e-3)


def test_a_kernel_that_cannot_answer_says_why_and_lives_on(live, model, monkeypatch):
    def no_memory(*_):
        raise RuntimeError("out of memory\nand much more")

    with monkeypatch.context() as patch:
        patch.setattr("crate_mini.inspector.live.tokens_seen", no_memory)
        assert ask(live, 0, [1]) == {"image": 0, "layer": [1], "error": "out of memory"}
    assert "pairs" in ask(live, 0, [1])


def test_tokens_of_the_pictures_asked_last_are_kept(model, make_images):
    live = HeadInspector(model, make_images(6, 16, 16), side=16, run_in_page=False)
    for image in (0, 1, 2, 3, 4, 5, 5):
        ask(live, image, [0])
    assert list(live._seen) == [2, 3, 4, 5]


def test_two_inspectors_of_the_same_pictures_have_names_of_their_own(model, make_images):
    one, other = (HeadInspector(model, make_images(1, 16, 16)).viewer.id for _ in range(2))
    assert one.rsplit("-", 2)[0] == other.rsplit("-", 2)[0]
    assert one.rsplit("-", 1)[1] != other.rsplit("-", 1)[1]


# ---- in the page -----------------------------------------------------------------------------------------

RUN = """html => { const script = document.createElement('script');
  script.textContent = html.match(/<script>([\\s\\S]*)<\\/script>/)[1]; document.body.append(script); }"""
# The slider passes three layers before the page can draw: how many maps are painted until it stands at the last.
PAINTED = """() => new Promise(done => {
  const slider = document.querySelector('.ch-head input'), root = document.querySelector('.crate-heads');
  const viewer = root.headViewer, paint = viewer.paint;
  let painted = 0;
  viewer.paint = (...args) => { painted++; return paint.apply(viewer, args); };
  new MutationObserver(() => {
    if (JSON.parse(root.dataset.shown).layer[0] === 3) requestAnimationFrame(() => done(painted));
  }).observe(root, {attributes: true, attributeFilter: ['data-shown']});
  for (const layer of [1, 2, 3]) {
    slider.value = layer;
    slider.dispatchEvent(new Event('input'));
  }
})"""


def test_the_page_receives_a_photo_and_stays_as_it_was(open_viewer, live, tmp_path):
    path = tmp_path / "live.html"
    path.write_text(
        "<!doctype html><meta charset=utf-8><link rel=icon href='data:,'>"
        + live._picture.outputs[0]["data"]["text/html"] * 2,  # a notebook may show one output in two places
        encoding="utf-8",
    )
    tab = open_viewer(path)
    tab.locator(".ch-panel").first.get_by_role("slider").fill("1")
    tab.locator(".ch-tiles button").nth(2).click()
    tab.locator("input[value=heat]").first.check(force=True)
    upload(live, png(colour_picture(90, 60)))
    script = live._news.outputs[0]["data"]["text/html"]
    tab.evaluate(RUN, script)
    tab.locator(".crate-heads .ch-thumbs canvas").nth(5).wait_for()
    tab.evaluate(RUN, script)  # once more, as when a notebook is shown anew
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert tab.locator(".ch-thumbs canvas").count() == 6
    state = json.loads(tab.locator(".crate-heads").first.get_attribute("data-shown"))
    assert (state["image"], state["layer"], state["head"], state["view"]) == (2, [1], [2], "heat")
    assert tab.locator(".ch-title").first.inner_text() == "mine.png"
    found = tab.evaluate(
        "Array.from(document.querySelector('.crate-heads').headViewer.panels[0].tiles[2].map.x)"
    )
    values = dequantise(*decode_maps(news(live)["maps"][0], 4, 4))
    np.testing.assert_allclose(found, values[1, 2].flatten(), atol=1e-12)


HEADS = (
    "Array.from(document.querySelector('.crate-heads').headViewer.panels[0].tiles, t => Array.from(t.map.x))"
)


def live_page(live: HeadInspector, path) -> None:
    """The inspector's parts as a notebook shows them, with a plain box in the place of the widget."""
    path.write_text(
        "<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><main>"
        + live._picture.outputs[0]["data"]["text/html"]
        + f"<div class='{live.viewer.id}-ask' style='display:none'><input></div></main>",
        encoding="utf-8",
    )


def test_the_page_asks_the_kernel_for_patches_and_draws_the_answer(
    open_viewer, live, model, make_images, tmp_path
):
    live_page(live, tmp_path / "live.html")
    tab = open_viewer(tmp_path / "live.html")
    tab.evaluate("""() => { window.asked = [];
      document.querySelector('input:not([type])').addEventListener('input', e => asked.push(e.target.value)); }""")
    canvas = tab.locator(".ch-large canvas")
    canvas.focus()
    tab.keyboard.press("ArrowDown")
    tab.wait_for_function("asked.length === 1")
    assert "Asking the kernel" in tab.locator(".ch-from").inner_text()
    tab.keyboard.press("ArrowRight")  # while the kernel is at work nothing more is asked
    tab.get_by_role("slider", name="nano, layer").fill("1")
    tab.locator(".crate-heads[data-shown*='\"layer\":[1]']").wait_for()
    (question,) = tab.evaluate("asked")
    live._question.value = question
    tab.evaluate(RUN, live._answers.outputs[0]["data"]["text/html"])
    tab.wait_for_function("asked.length === 2")  # the layer moved meanwhile: its turn now
    live._question.value = tab.evaluate("asked[1]")
    assert json.loads(live._question.value)["layer"] == [1]
    tab.evaluate(RUN, live._answers.outputs[0]["data"]["text/html"])
    patch = 3 * 6 + 4
    tab.locator(f".crate-heads[data-shown*='\"token\":[{1 + patch}]']").wait_for()
    assert "row 4, column 5" in tab.locator(".ch-from").inner_text()
    seen = record(model, make_images(2, 48, 48)[:1], "projections", layers=[1])["projections"][1][0]
    expected = (seen[:, 1 + patch, None] * seen[:, 1:]).sum(-1).div(24**0.5).softmax(-1)
    np.testing.assert_allclose(tab.evaluate(HEADS), expected, atol=1e-4)
    tab.get_by_role("slider", name="nano, layer").fill("2")  # the first answer has come, too
    tab.locator(".crate-heads[data-shown*='\"layer\":[2]']").wait_for()
    assert json.loads(tab.locator(".crate-heads").get_attribute("data-shown"))["token"] == [1 + patch]
    assert tab.evaluate("asked.length") == 2


def test_the_page_says_why_the_kernel_did_not_answer(open_viewer, live, tmp_path):
    live_page(live, tmp_path / "live.html")
    tab = open_viewer(tmp_path / "live.html")
    tab.locator(".ch-large canvas").focus()
    tab.keyboard.press("ArrowDown")
    tab.get_by_text("Asking the kernel").wait_for()
    answer = {"image": 0, "layer": [2], "error": "out of memory"}
    viewer = "document.querySelector('.crate-heads').headViewer"
    tab.evaluate(f"answer => {viewer}.receivePairs(answer)", answer)
    tab.get_by_text("The kernel could not answer: out of memory").wait_for()
    tab.evaluate("document.querySelector('input:not([type])').remove()")
    tab.locator(".ch-large canvas").press("ArrowDown")
    tab.get_by_text("Patches need a running kernel: run the cell again.").wait_for()
    tab.get_by_role("button", name="Back to the class token").click()
    tab.get_by_text("Attention of the class token. Point at").wait_for()


def test_the_slider_draws_what_it_changed_and_that_once(open_viewer, make_images, tmp_path):
    """What makes the picture follow the hand, counted instead of timed: a clock also tells what else a machine does."""
    torch.manual_seed(0)
    models = {name: create_model(f"{name}_mini", num_classes=3) for name in ("crate", "vit")}
    live = HeadInspector(models, make_images(1, 160, 160), run_in_page=False)
    tab = open_viewer(live.viewer.save(tmp_path / "live.html"))
    tiles = sum(model.config.heads for model in models.values())  # the models' sliders go together
    assert tab.evaluate(PAINTED) == tiles + len(models)  # and a large picture of each
    assert json.loads(tab.locator(".crate-heads").get_attribute("data-shown"))["layer"] == [3, 3]
