"""The inspector of a running notebook: what it hands to the front end, and what the page does with it."""

from __future__ import annotations

import base64
import copy
import datetime
import io
import json
import math
import subprocess
import sys

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
    return listened_to(
        HeadInspector({"nano": model}, make_images(2, 48, 48), titles=["a", "b"], side=48, run_in_page=False)
    )


def listened_to(live: HeadInspector) -> HeadInspector:
    """What it sends to the page is kept in ``live.sent``."""
    live.sent = []
    live._picture.send = lambda content, buffers=None: live.sent.append(json.loads(json.dumps(content)))
    return live


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
    """What the page was told last."""
    assert live.sent[-1]["method"] == "receive"
    return live.sent[-1]["news"]


def colour_picture(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(width)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_it_shows_the_viewer_and_an_upload_button(live):
    assert live._picture.page == live.viewer.fragment()
    assert "<script>" not in live._picture.page, "the widget's module brings it to life"
    assert len(live.children) == 2, "and nothing that is hidden"
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
    assert live.sent == []
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
    assert news(live)["image"]["title"] == name.rpartition("/")[2], "as data, never as text of a page"


def test_a_broken_model_is_shown_as_broken(model, make_images):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.blocks[2].attention.project.weight[0, 0] = 1e30  # finite; what it is multiplied with is not
    live = listened_to(HeadInspector(broken, make_images(1, 32, 32), side=32, run_in_page=False))
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
    code = "import sys, crate_mini.inspector; print(bool({'ipywidgets', 'anywidget'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


# ---- patches that the kernel is asked for ----------------------------------------------------------------


def ask(live: HeadInspector, image: int, *wanted: tuple[int, int]) -> dict:
    """What the page asks, and what the kernel answers."""
    question = {"image": image, "wanted": [list(pair) for pair in wanted]}
    live._picture._handle_custom_msg(question, [])
    assert live.sent[-1]["method"] == "receivePairs"
    answer = live.sent[-1]["news"]
    assert {key: answer[key] for key in question} == question
    return answer


def pair_numbers(text: str, like: torch.Tensor) -> torch.Tensor:
    """``(K, n, p)`` of one text of a pair."""
    numbers = torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32))
    heads, n, p = like.shape
    return numbers.view(n, heads, p).transpose(0, 1)


def test_the_kernel_sends_queries_and_keys_of_the_layer_asked_for(model, make_images):
    torch.manual_seed(1)
    models = {"CRATE": model, "ViT": create_model("vit_nano", image_size=32, num_classes=3).eval()}
    images = make_images(2, 48, 48)
    live = listened_to(HeadInspector(models, images, side=48, run_in_page=False, layers=[1, 3]))
    answer = ask(live, 1, (0, 0), (1, 1))
    assert len(answer["pairs"]) == 2
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
        assert ask(live, 0, (0, 1)) == {"image": 0, "wanted": [[0, 1]], "error": "out of memory"}
    assert "pairs" in ask(live, 0, (0, 1))


def test_tokens_of_the_pictures_asked_last_are_kept(model, make_images):
    live = listened_to(HeadInspector(model, make_images(6, 16, 16), side=16, run_in_page=False))
    for image in (0, 1, 2, 3, 4, 5, 5):
        ask(live, image, (0, 0))
    assert list(live._seen) == [2, 3, 4, 5]


# ---- in the page -----------------------------------------------------------------------------------------

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


PAGE = """<!doctype html><meta charset=utf-8><link rel=icon href="data:,"><main></main>
<script type=module>{module}
const hear = new Set();
window.asked = [];
window.tell = (message) => hear.forEach((f) => f(message));
const model = {{
  get: (name) => ({state})[name], send: (question) => asked.push(question),
  on: (_, f) => hear.add(f), off: (_, f) => hear.delete(f),
}};
window.leave = [];
for (let i = 0; i < {views}; i++) {{
  const place = document.createElement("div");
  leave.push(widget.render({{ model, el: place }}));
  document.querySelector("main").append(place);
}}
</script>"""


def live_page(live: HeadInspector, path, views: int = 1) -> None:
    """The widget as a notebook shows it, in one place or in several, with what it sends kept in ``asked``."""
    module = live._picture._esm.replace("export default", "const widget =")
    state = json.dumps({"page": live._picture.page}).replace("<", "\\u003c")
    path.write_text(PAGE.format(module=module, state=state, views=views), encoding="utf-8")


def test_the_page_receives_a_photo_and_stays_as_it_was(open_viewer, live, tmp_path):
    live_page(live, tmp_path / "live.html", views=2)
    tab = open_viewer(tmp_path / "live.html")
    tab.locator(".ch-panel").first.get_by_role("slider").fill("1")
    tab.locator(".ch-tiles button").nth(2).click()
    tab.locator("input[value=heat]").first.check(force=True)
    upload(live, png(colour_picture(90, 60)))
    tab.evaluate("message => tell(message)", live.sent[-1])
    tab.locator(".crate-heads .ch-thumbs canvas").nth(5).wait_for()
    tab.evaluate("message => tell(message)", live.sent[-1])  # twice is once
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


HEADS = """Array.from(
  document.querySelector('.crate-heads').headViewer.panels[0].tiles.slice(0, -1), t => Array.from(t.map.x))"""


def test_the_page_asks_the_kernel_for_patches_and_draws_the_answer(
    open_viewer, live, model, make_images, tmp_path
):
    live_page(live, tmp_path / "live.html")
    tab = open_viewer(tmp_path / "live.html")
    canvas = tab.locator(".ch-large canvas")
    canvas.focus()
    tab.keyboard.press("ArrowDown")
    tab.wait_for_function("asked.length === 1")
    assert "Asking the kernel" in tab.locator(".ch-from").inner_text()
    tab.keyboard.press("ArrowRight")  # while the kernel is at work nothing more is asked
    tab.get_by_role("slider", name="nano, layer").fill("1")
    tab.locator(".crate-heads[data-shown*='\"layer\":[1]']").wait_for()
    (question,) = tab.evaluate("asked")
    live._picture._handle_custom_msg(question, [])
    tab.evaluate("message => tell(message)", live.sent[-1])
    tab.wait_for_function("asked.length === 2")  # the layer moved meanwhile: its turn now
    question = tab.evaluate("asked[1]")
    assert question == {"image": 0, "wanted": [[0, 1]]}
    live._picture._handle_custom_msg(question, [])
    tab.evaluate("message => tell(message)", live.sent[-1])
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
    tab.evaluate("leave[0]()")  # the view is closed: it hears nothing more
    tab.evaluate("tell({method: 'nothing of this name', news: null})")


def test_another_training_answers_for_its_own_patches(open_viewer, model, make_images, tmp_path):
    torch.manual_seed(3)
    other = create_model("crate_nano", image_size=32, num_classes=3).eval()
    models = {"nano": {"seed 0": model, "seed 1": other}}
    images = make_images(1, 48, 48)
    live = listened_to(HeadInspector(models, images, side=48, run_in_page=False, layer=2))
    assert list(live.models) == [("nano", "seed 0"), ("nano", "seed 1")]
    live_page(live, tmp_path / "live.html")
    tab = open_viewer(tmp_path / "live.html")
    tab.get_by_role("combobox").select_option("seed 1")
    tab.locator(".crate-heads[data-shown*='\"training\":[1]']").wait_for()
    expected = cls_attention_maps(other, images)[0, 2].flatten(1)
    np.testing.assert_allclose(tab.evaluate(HEADS), expected, atol=float(expected.max()) / 255)
    tab.locator(".ch-large canvas").press("ArrowDown")
    tab.wait_for_function("asked.length === 1")
    assert tab.evaluate("asked[0].wanted") == [[1, 2]]
    live._picture._handle_custom_msg(tab.evaluate("asked[0]"), [])
    tab.evaluate("message => tell(message)", live.sent[-1])
    patch = 3 * 6 + 3
    tab.locator(f".crate-heads[data-shown*='\"token\":[{1 + patch}]']").wait_for()
    seen = record(other, images, "projections", layers=[2])["projections"][2][0]
    expected = (seen[:, 1 + patch, None] * seen[:, 1:]).sum(-1).div(24**0.5).softmax(-1)
    np.testing.assert_allclose(tab.evaluate(HEADS), expected, atol=1e-4)
    live.add(colour_picture(60, 60), "mine")  # every training has it
    assert [len(news(live)[key]) for key in ("maps", "strips")] == [2, 2]


def test_the_page_says_why_the_kernel_did_not_answer(open_viewer, live, tmp_path):
    live_page(live, tmp_path / "live.html")
    tab = open_viewer(tmp_path / "live.html")
    tab.locator(".ch-large canvas").focus()
    tab.keyboard.press("ArrowDown")
    tab.get_by_text("Asking the kernel").wait_for()
    answer = {"image": 0, "wanted": [[0, 2]], "error": "out of memory"}
    tab.evaluate("news => tell({method: 'receivePairs', news})", answer)
    tab.get_by_text("The kernel could not answer: out of memory").wait_for()
    tab.evaluate(
        "document.querySelector('.crate-heads').headViewer.send = undefined"
    )  # no kernel: a saved page
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
