"""The reader's own photo and the model in the page, in a real browser with the network cut off."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import offline_context
from PIL import Image
from playwright.sync_api import expect

from crate_mini import data
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.inspector import HeadViewer, inspect_images
from crate_mini.inspector.network import encode_network
from crate_mini.model import CRATE, create_model
from crate_mini.operations import multiply_adds
from crate_mini.weights import load_pretrained

DONE = re.compile(r"in (\d+\.\d) s\. It stays in this page\.$")


@pytest.fixture(scope="module")
def shipped() -> dict[str, CRATE]:
    return {"CRATE": load_pretrained("crate_mini_animals_s0"), "ViT": load_pretrained("vit_mini_animals_s0")}


@pytest.fixture(scope="module")
def page_of_both(shipped, make_images, tmp_path_factory) -> Path:
    viewer = inspect_images(shipped, make_images(2, 64, 64), titles=["a", "b"], run_in_page=True)
    return viewer.save(tmp_path_factory.mktemp("both") / "heads.html")


@pytest.fixture(scope="module")
def page_of_nano(make_images, tmp_path_factory) -> Path:
    """A model small enough that nobody waits for it."""
    torch.manual_seed(0)
    model = create_model("crate_nano", image_size=32, num_classes=3)
    model.classes = ("cat", "dog", "fish")
    viewer = inspect_images(
        {"nano": model}, make_images(1, 48, 48), titles=["a"], run_in_page=True, photo_side=64
    )
    return viewer.save(tmp_path_factory.mktemp("nano") / "heads.html")


def png(image: Image.Image, kind: str = "PNG", **options) -> dict:
    """A picture as a file that a file chooser can be given."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return {"name": f"photo.{kind.lower()}", "mimeType": f"image/{kind.lower()}", "buffer": buffer.getvalue()}


def choose(tab, file: dict) -> str:
    """Give the viewer a file, wait for its word on it."""
    listen(tab)
    tab.locator("input[type=file]").first.set_input_files(file)
    return said(tab)


def listen(tab) -> None:
    """What is said from now on is new."""
    tab.evaluate("document.querySelector('.ch-status').textContent = '…'")


def said(tab) -> str:
    """What it says in the end, once that is drawn, too."""
    tab.locator(".ch-status").first.filter(has_not_text=re.compile("…$")).wait_for()
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return tab.locator(".ch-status").first.inner_text()


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """Coarse and fine structure, so that a pixel out of place shows."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((width, height), 3)
    noise = random.integers(-30, 31, (height, width, 3))
    return Image.fromarray(np.clip(np.array(coarse) + noise, 0, 255).astype(np.uint8))


PIXELS = """() => { const {pixels} = document.querySelector('.crate-heads').headViewer.data.images.at(-1);
  return [pixels.width, pixels.height, btoa(Array.from(pixels.data, b => String.fromCharCode(b)).join(''))]; }"""
MAPS = """m => { const model = document.querySelector('.crate-heads').headViewer.data.models[m];
  const {record} = model.maps.at(-1), {depth, heads} = model.network.config, out = [];
  for (let l = 0; l < depth; l++) for (let k = 0; k < heads; k++)
    out.push(Array.from(model.running.attention(record, l, k)));
  return {maps: out, logits: Array.from(record.logits), grid: record.grid}; }"""


def pixels_read(tab) -> torch.Tensor:
    """What the models were given, uint8 ``(3, h, w)``."""
    width, height, text = tab.evaluate(PIXELS)
    rgba = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
    return torch.from_numpy(rgba[..., :3].copy()).permute(2, 0, 1)


# ---- what it computes ------------------------------------------------------------------------------------


def test_all_heads_of_both_models_are_pytorchs(open_viewer, page_of_both, shipped):
    tab = open_viewer(page_of_both)
    assert tab.evaluate("document.querySelector('.crate-heads').headViewer.data.models[0].running") is None
    cat = Image.fromarray(data.photographs()["cat"].permute(1, 2, 0).numpy())
    message = choose(tab, png(cat))
    assert message.startswith(f"{cat.width} × {cat.height} pixels, read as ")
    assert DONE.search(message)
    given = pixels_read(tab)
    for m, (name, model) in enumerate(shipped.items()):
        found = tab.evaluate(MAPS, m)
        expected = cls_attention_maps(model, given[None])[0]
        maps = torch.tensor(found["maps"]).view(expected.shape)
        assert float((maps - expected).abs().max()) < 1e-5, name
        with torch.no_grad():
            logits = model(given[None])[0]
        torch.testing.assert_close(torch.tensor(found["logits"]), logits, atol=1e-4, rtol=1e-4)
        top = model.classes[int(logits.argmax())]
        chance = float(logits.softmax(-1).max())
        answer = tab.locator(".ch-answer").nth(m).inner_text().replace("\u00a0", " ")
        assert answer.startswith(f"Sees: {top} {100 * chance:.0f} %")


def test_the_photo_is_cut_as_python_cuts_it(open_viewer, page_of_nano):
    tab = open_viewer(page_of_nano)
    for height, width in ((64, 64), (300, 200), (97, 141), (50, 90), (16, 16), (301, 600)):
        picture = photo(height, width)
        choose(tab, png(picture))
        expected = data.to_patch_grid(picture, 64, 8)
        found = pixels_read(tab)
        assert found.shape == expected.shape, (height, width)
        difference = (found.int() - expected.int()).abs()
        assert int(difference.max()) <= 1, (height, width)


COUNT = """() => {
  const viewer = document.querySelector('.crate-heads').headViewer, counted = window.counted = {unpack: 0, run: 0};
  const {unpack} = viewer;
  viewer.unpack = async m => {
    counted.unpack++;
    const network = await unpack.call(viewer, m), {run} = network;
    network.run = (...args) => { counted.run++; return run.apply(network, args); };
    return network;
  };
}"""


TILES = """() => Array.from(
  document.querySelector('.crate-heads').headViewer.panels[0].tiles.slice(0, -1), t => Array.from(t.map.x))"""


def test_another_training_runs_when_it_is_looked_at(open_viewer, make_images, tmp_path):
    """On a prepared picture and on the reader's own, which starts from the class token whatever was asked before."""
    torch.manual_seed(0)
    models = {f"seed {i}": create_model("crate_nano", image_size=32, num_classes=3).eval() for i in range(2)}
    for model in models.values():
        for parameter in model.parameters():
            parameter.data = (2 * parameter.data).half().float()
    pictures = make_images(1, 48, 48)
    viewer = inspect_images({"CRATE": models}, pictures, run_in_page=True, photo_side=48, layer=2)
    first, second = viewer.contract["models"]
    assert first["maps"][0]["values"]
    assert second["maps"][0]["values"] is None, "it costs the page nothing but its weights"
    tab = open_viewer(viewer.save(tmp_path / "heads.html"))

    def shows(name: str, picture: torch.Tensor, training: int) -> None:
        wanted = f".crate-heads[data-shown*='\"training\":[{training}]']"
        tab.locator(wanted).wait_for()
        expect(tab.locator(".ch-facts")).to_contain_text("peak")  # and no longer "the network is at work"
        expected = cls_attention_maps(models[name], picture[None], [2])[0, 0].flatten(1)
        np.testing.assert_allclose(tab.evaluate(TILES), expected, atol=1e-5)
        assert "AUROC" not in tab.locator(".ch-facts").first.inner_text()  # nothing is outlined

    tab.evaluate(COUNT)
    tab.get_by_role("combobox").select_option("seed 1")
    shows("seed 1", pictures[0], 1)
    assert tab.evaluate("counted") == {"unpack": 1, "run": 1}
    assert "zeros …" not in tab.locator(".ch-legend").inner_text()
    tab.locator(".ch-large canvas").click()  # a patch is kept
    tab.locator(".crate-heads[data-shown*='\"token\":[0]']").wait_for(state="detached")
    choose(tab, png(photo(48, 48)))
    state = json.loads(tab.locator(".crate-heads").get_attribute("data-shown"))
    assert (state["spot"], state["token"], state["image"]) == (None, [0], 1)
    shows("seed 1", pixels_read(tab), 1)
    assert tab.evaluate("counted") == {"unpack": 1, "run": 2}, "the other one waits until it is looked at"
    tab.get_by_role("combobox").select_option("seed 0")
    shows("seed 0", pixels_read(tab), 0)
    assert tab.evaluate("counted") == {"unpack": 2, "run": 3}


def test_a_photo_costs_one_pass_of_the_model(open_viewer, shipped, make_images, tmp_path):
    """What a reader waits for, counted instead of timed: a clock also tells what else a machine does."""
    viewer = inspect_images(
        {"CRATE": shipped["CRATE"]}, make_images(1, 64, 64), run_in_page=True, photo_side=128
    )
    tab = open_viewer(viewer.save(tmp_path / "heads.html"))
    tab.evaluate(COUNT)
    for n in (1, 2, 3):
        assert DONE.search(choose(tab, png(photo(512, 512, n))))
        assert tab.evaluate("counted") == {"unpack": 1, "run": n}
    assert tab.evaluate(MAPS, 0)["grid"] == [16, 16]
    # and one pass, at a few hundred million a second, which a phone's browser does too, is a second or two
    assert sum(multiply_adds(replace(shipped["CRATE"].config, image_size=128)).values()) < 1e9


MODELS = {
    "crate": {},
    "soft and tied": {"tied": True, "proximal": "soft", "step": 0.2, "lam": 0.05},
    "odd sizes": {"dim": 50, "heads": 3, "head_dim": 7, "num_classes": 5, "patch_size": 4},
    "weighted": {"keep": 0.7, "move": -0.4, "readout": "mean"},
}


@pytest.mark.parametrize("size", [(32, 32), (48, 16), (24, 56)])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((f"crate_nano:{k}", v) for k, v in MODELS.items()),
        *((f"{n}_nano", {}) for n in ("vit", "crate_mlp", "crate_mhsa")),
    ],
)  # fmt: skip
def test_every_model_of_the_package_runs(script, name, settings, size):
    """Also at image sizes other than the training's, where the position embedding is interpolated."""
    torch.manual_seed(0)
    model = create_model(name.split(":")[0], image_size=32, **({"num_classes": 3} | settings)).eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    header, text = encode_network(model)
    rgba = (
        torch.cat([image, torch.full((1, *size), 255, dtype=torch.uint8)]).permute(1, 2, 0).flatten().tolist()
    )
    found = script.evaluate(
        """async ([header, text, width, height, data]) => {
          const network = new Network(header, await unpackHalves(text));
          const record = await network.run({width, height, data});
          const {depth, heads} = header.config, maps = [];
          for (let l = 0; l < depth; l++) for (let k = 0; k < heads; k++)
            maps.push(Array.from(network.attention(record, l, k)));
          return [maps, Array.from(record.logits)];
        }""",
        [header, text, size[1], size[0], rgba],
    )
    model.double()  # PyTorch's own rounding in float32 would be the larger of the two
    expected = cls_attention_maps(model, image[None])[0]
    torch.testing.assert_close(torch.tensor(found[0]).view(expected.shape), expected, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        logits = model(image[None])[0]
    torch.testing.assert_close(torch.tensor(found[1], dtype=torch.float64), logits, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def script(browser) -> Iterator:
    """A blank page with all functions in reach."""
    with offline_context(browser, []) as context:
        page = context.new_page()
        sources = (
            files("crate_mini.inspector").joinpath(name)
            for name in ("heads.js", "patches.js", "crate.js", "photo.js")
        )
        page.add_script_tag(content="\n".join(source.read_text(encoding="utf-8") for source in sources))
        yield page


def test_half_precision_is_read_bit_by_bit(script):
    bits = np.arange(0, 65536, 7, dtype=np.uint16)
    expected = bits.view(np.float16).astype(np.float64)
    found = script.evaluate(
        "bits => Array.from(halves(Uint16Array.from(bits)), x => Number.isFinite(x) ? x : String(x))",
        bits.tolist(),
    )
    np.testing.assert_array_equal(np.array([float(x) for x in found]), expected)


def test_weights_that_are_cut_off_are_noticed(script):
    header, text = encode_network(create_model("crate_nano", image_size=32, num_classes=3))
    make = (
        "async ([h, t]) => { try { new Network(h, await unpackHalves(t)); } catch (e) { return e.message; } }"
    )
    assert "damaged, load it again" in script.evaluate(make, [header, text[: len(text) // 8 * 4]])
    _, other = encode_network(create_model("crate_nano", image_size=32, num_classes=4))
    assert "weights, the model" in script.evaluate(make, [header, other])
    assert script.evaluate(make, [header, text]) is None


def test_what_is_not_finite_is_no_map(script):
    assert script.evaluate("mapOf([1, 2], Float64Array.of(NaN, 1))") is None


def test_two_models_six_pictures_and_the_weights_are_less_than_six_megabytes(shipped):
    """The weights once each, and pictures without loss."""
    pictures = [data.to_patch_grid(picture, 160, 8) for picture in data.photographs().values()][:3]
    pictures += list(data.load("embedded", "test", n=3, seed=1, image_size=160).images)
    viewer = inspect_images(shipped, pictures, run_in_page=True)
    assert len(viewer.to_html().encode()) < 6_000_000
    for given, entry in zip(pictures, viewer.contract["images"], strict=True):
        sent = Image.open(io.BytesIO(base64.b64decode(entry["src"].split(",")[1])))
        np.testing.assert_array_equal(np.array(sent), given.permute(1, 2, 0).numpy())


def test_an_old_browser_is_told_so_and_the_prepared_pictures_stay(open_viewer, page_of_nano):
    tab = open_viewer(page_of_nano)
    tab.evaluate("delete window.DecompressionStream")
    assert "this browser is too old" in choose(tab, png(photo(60, 60)))
    assert tab.locator(".ch-thumbs canvas").count() == 0
    tab.get_by_role("slider", name="nano, layer").fill("1")
    expect(tab.locator(".ch-head output")).to_have_text("1")  # drawn in the next frame


# ---- what a reader may bring -----------------------------------------------------------------------------


def lives_on(tab) -> None:
    """The viewer still answers: a layer, a head, and a good photo."""
    tab.get_by_role("slider", name="nano, layer").fill("1")
    tab.locator(".ch-tiles button").nth(2).click()
    n = tab.evaluate("document.querySelector('.crate-heads').headViewer.data.images.length")
    assert DONE.search(choose(tab, png(photo(70, 90, seed=n))))
    assert tab.locator(".ch-thumbs canvas").count() == n + 1
    assert tab.locator(".ch-thumbs input:checked").get_attribute("aria-label") == "photo.png"
    assert "NaN" not in tab.locator(".ch-facts").inner_text()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"this is no photo", "bad.jpg could not be read as a picture"),
        (b"", "bad.jpg could not be read as a picture"),
        (png(photo(64, 64))["buffer"][:900], "bad.jpg could not be read as a picture"),
        (png(Image.new("RGB", (3, 1))), "photo.png is only 3 × 1 pixels"),
        (png(Image.new("RGB", (3000, 5))), "only 3000 × 5 pixels"),
    ],
)  # fmt: skip
def test_what_is_no_photo_is_refused_in_words(open_viewer, page_of_nano, file, message):
    tab = open_viewer(page_of_nano)
    if isinstance(file, bytes):
        file = {"name": "bad.jpg", "mimeType": "image/jpeg", "buffer": file}
    before = tab.locator(".ch-large canvas").evaluate("c => c.toDataURL()")
    assert message in choose(tab, file)
    assert tab.locator(".ch-thumbs canvas").count() == 0  # nothing was added
    assert tab.locator(".ch-large canvas").evaluate("c => c.toDataURL()") == before
    lives_on(tab)


def test_fifty_megapixels(open_viewer, page_of_nano):
    tab = open_viewer(page_of_nano)
    large = photo(577, 866).resize((8660, 5770), Image.Resampling.BILINEAR)
    message = choose(tab, png(large, "JPEG", quality=80))
    assert "8660 × 5770 pixels, read as 96 × 64" in message
    expected = data.to_patch_grid(large, 64, 8)
    difference = (pixels_read(tab).int() - expected.int()).abs().float()
    assert float(difference.mean()) < 2  # the browser shrinks it first, with a filter of its own
    lives_on(tab)


def test_grey_and_transparent_pictures_are_read_as_python_reads_them(open_viewer, page_of_nano, tmp_path):
    tab = open_viewer(page_of_nano)
    base = photo(120, 80)
    clear = base.copy()
    clear.putalpha(Image.linear_gradient("L").resize(base.size))
    for picture in (base.convert("L"), base.convert("LA"), clear, base.convert("P"), base.convert("1")):
        file = png(picture)
        (tmp_path / "photo.png").write_bytes(file["buffer"])
        choose(tab, file)
        expected = data.to_patch_grid(data.open_image(tmp_path / "photo.png"), 64, 8)
        assert int((pixels_read(tab).int() - expected.int()).abs().max()) <= 2, picture.mode
    lives_on(tab)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photo_taken_sideways_is_upright(open_viewer, page_of_nano, tmp_path, orientation):
    tab = open_viewer(page_of_nano)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = png(photo(120, 80), "JPEG", quality=95, exif=exif)
    (tmp_path / "photo.jpeg").write_bytes(file["buffer"])
    choose(tab, file)
    expected = data.to_patch_grid(data.open_image(tmp_path / "photo.jpeg"), 64, 8)
    found = pixels_read(tab)
    assert found.shape == expected.shape
    assert float((found.int() - expected.int()).abs().float().mean()) < 3  # two decoders of JPEG


def test_a_long_picture_is_cropped_to_its_middle(open_viewer, page_of_nano):
    tab = open_viewer(page_of_nano)
    assert "cropped to its middle, read as 128 × 64" in choose(tab, png(photo(100, 900)))
    middle = photo(100, 900).crop((350, 0, 550, 100))
    assert int((pixels_read(tab).int() - data.to_patch_grid(middle, 64, 8).int()).abs().max()) <= 6
    lives_on(tab)


# ---- how it comes in -------------------------------------------------------------------------------------

CARRY = """([kind, text]) => {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)), carried = new DataTransfer();
  carried.items.add(new File([bytes], 'carried.png', {type: 'image/png'}));
  const root = document.querySelector('.crate-heads');
  const say = (name, Kind, options) =>
    root.dispatchEvent(new Kind(name, {bubbles: true, cancelable: true, ...options}));
  if (kind === 'paste') return say('paste', ClipboardEvent, {clipboardData: carried});
  say('dragover', DragEvent, {dataTransfer: carried});
  const seen = root.classList.contains('ch-drop');
  say('drop', DragEvent, {dataTransfer: carried});
  return seen && !root.classList.contains('ch-drop');
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_dropped_and_pasted(open_viewer, page_of_nano, kind):
    tab = open_viewer(page_of_nano)
    listen(tab)
    text = base64.b64encode(png(photo(60, 60))["buffer"]).decode()
    if kind == "paste":  # only the viewer that the reader is at
        tab.mouse.move(0, 0)
        tab.evaluate(CARRY, [kind, text])
        assert tab.locator(".ch-status").inner_text() == "…"
        tab.get_by_role("button", name="Your own photo").focus()
    shown_while_dragged = tab.evaluate(CARRY, [kind, text])
    assert kind == "paste" or shown_while_dragged
    assert DONE.search(said(tab))


def test_the_button_opens_the_file_chooser_by_keyboard(open_viewer, page_of_nano):
    tab = open_viewer(page_of_nano)
    listen(tab)
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Your own photo").press("Enter")
    chooser.value.set_files(png(photo(60, 60)))
    assert DONE.search(said(tab))


def test_the_last_of_two_photos_is_shown(open_viewer, page_of_nano):
    tab = open_viewer(page_of_nano)
    listen(tab)
    field = tab.locator("input[type=file]")
    field.set_input_files(png(photo(200, 200)) | {"name": "first.png"})
    field.set_input_files(png(photo(200, 200, seed=1)) | {"name": "second.png"})
    said(tab)
    titles = tab.locator(".ch-thumbs input").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert titles[-1] == "second.png"
    assert tab.locator(".ch-title").inner_text() == "second.png"


def test_camera(open_viewer, page_of_nano):
    tab = open_viewer(page_of_nano)
    tab.evaluate(
        """() => {
          const canvas = document.createElement('canvas');
          Object.assign(canvas, {width: 120, height: 80});
          const pen = canvas.getContext('2d');
          setInterval(() => { pen.fillStyle = '#c83214'; pen.fillRect(0, 0, 120, 80); }, 30);
          navigator.mediaDevices.getUserMedia = async () => window.stream = canvas.captureStream(30);
        }"""
    )
    listen(tab)
    tab.get_by_role("button", name="Camera").click()
    tab.get_by_role("button", name="Cancel").click()
    assert tab.locator("video").count() == 0
    tab.get_by_role("button", name="Camera").click()
    tab.get_by_role("button", name="Take the picture").click()
    assert DONE.search(said(tab))
    assert tab.evaluate(
        "window.stream.getTracks().every(t => t.readyState === 'ended')"
    )  # its light goes out
    colour = pixels_read(tab).float().mean((1, 2))
    torch.testing.assert_close(colour, torch.tensor([200.0, 50.0, 20.0]), atol=8, rtol=0)


@pytest.mark.parametrize(
    ("name", "words"), [("NotAllowedError", "was not allowed"), ("NotFoundError", "none was found")]
)
def test_no_camera_is_said_in_words(open_viewer, page_of_nano, name, words):
    tab = open_viewer(page_of_nano)
    tab.evaluate(
        "name => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', name); }; }",
        name,
    )
    listen(tab)
    tab.get_by_role("button", name="Camera").click()
    assert words in said(tab)
    lives_on(tab)


def test_a_second_viewer_is_not_disturbed(open_viewer, page_of_nano, make_images, tmp_path):
    torch.manual_seed(1)
    model = create_model("vit_nano", image_size=32, num_classes=2)
    other = HeadViewer(
        make_images(1, 32, 32), cls_attention_maps(model, make_images(1, 32, 32)), networks=model
    )
    page = page_of_nano.read_text(encoding="utf-8").replace("</main>", f"{other._repr_html_()}</main>")
    path = tmp_path / "two.html"
    path.write_text(page, encoding="utf-8")
    tab = open_viewer(path)
    tab.locator(".ch-body").nth(1).wait_for()
    before = tab.locator(".crate-heads").nth(1).get_attribute("data-shown")
    choose(tab, png(photo(60, 60)))
    assert tab.locator(".crate-heads").nth(1).get_attribute("data-shown") == before
    assert tab.locator(".crate-heads").nth(1).locator(".ch-thumbs canvas").count() == 0


@pytest.mark.parametrize("width", [320, 360, 1000])
def test_nothing_sticks_out_with_a_photo(open_viewer, page_of_nano, width):
    tab = open_viewer(page_of_nano, width=width, height=740)
    choose(
        tab,
        png(photo(60, 60))
        | {"name": "a_long_name_without_any_space_that_a_camera_gave_IMG_20261124_0001.png"},
    )
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
