"""The viewer of the front page and weights beside the page, in a real browser with the network cut off."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import sphinx_shared
import torch
from PIL import Image
from playwright.sync_api import expect

from crate_mini.attention_maps import cls_attention_maps
from crate_mini.inspector import HeadViewer, dequantise
from crate_mini.inspector.contract import decode_maps
from crate_mini.inspector.glance import Glance
from crate_mini.model import CRATE, create_model

HEADS = {"CRATE": [0, 1, 0], "ViT": [1, 1, 0]}
SCORES = {"CRATE": [0.5, 0.6, 0.7], "ViT": [0.9, 0.8, 0.75]}
PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
)


def network(name: str, seed: int) -> CRATE:
    torch.manual_seed(seed)
    model = create_model(
        name, image_size=32, patch_size=4, dim=16, heads=2, head_dim=8, depth=3, num_classes=3
    ).eval()
    model.classes = ("cat", "dog", "fish")
    for parameter in model.parameters():  # what the page can hold exactly
        parameter.data = parameter.data.half().float()
    return model


@pytest.fixture(scope="module")
def networks() -> dict[str, CRATE]:
    return {"CRATE": network("crate_nano", 0), "ViT": network("vit_nano", 1)}


@pytest.fixture(scope="module")
def glance(networks, make_images, make_mask) -> Glance:
    return Glance(
        networks, make_images(1, 32, 32)[0], heads=HEADS, scores=SCORES, middle=0.55, mask=make_mask(32, 32),
        title="a drawn cat", thing="cat", layer=2, photo_side=32,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["in the page", "beside it"])
def page(request, glance, tmp_path_factory) -> Path:
    """With the weights in it, as in a notebook, and without, as in the book."""
    folder = tmp_path_factory.mktemp("glance")
    return written(folder, glance, out=request.param == "beside it")


def written(folder: Path, *viewers: Glance | HeadViewer, out: bool) -> Path:
    body = "".join(viewer._repr_html_() for viewer in viewers)
    if out:
        body = sphinx_shared.move_out(body, folder, ".")
    path = folder / "page.html"
    path.write_text(f"{PAGE}<title>x</title><main><h1>x</h1>{body}</main>", encoding="utf-8")
    return path


def png(seed: int = 0, size: tuple[int, int] = (48, 32)) -> dict:
    """A photo as a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(buffer, "PNG")
    return {"name": "mine.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def shown(tab) -> dict:
    return json.loads(tab.locator(".crate-glance").get_attribute("data-shown"))


DROP = """text => {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)), carried = new DataTransfer();
  carried.items.add(new File([bytes], 'mine.png', {type: 'image/png'}));
  for (const name of ['dragover', 'drop'])
    document.querySelector('.crate-glance').dispatchEvent(
      new DragEvent(name, {bubbles: true, cancelable: true, dataTransfer: carried}));
}"""
RECORDS = """() => {
  const {own, data} = document.querySelector('.crate-glance').glance;
  return own.records.map((record, m) => {
    const {depth, heads} = data.models[m].network.config, maps = [];
    for (let l = 0; l < depth; l++)
      maps.push(Array.from(data.models[m].running.attention(record, l, data.shown[m][l])));
    return [record.grid, maps, Array.from(record.logits)];
  });
}"""


def drop(tab, file: dict) -> None:
    tab.evaluate(DROP, base64.b64encode(file["buffer"]).decode())
    tab.locator(".ch-status").filter(has_not_text=re.compile("…$|^or drop")).wait_for()


def test_a_dropped_photo_is_what_pytorch_makes_of_it(open_viewer, page, networks):
    tab = open_viewer(page)
    assert not shown(tab)["own"]
    drop(tab, png(size=(32, 32)))  # as the networks read it: nothing is to be shrunk
    assert tab.locator(".ch-status").inner_text() == "Your photo stays in this page."
    assert shown(tab)["own"]
    picture = Image.open(io.BytesIO(png(size=(32, 32))["buffer"]))
    given = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    said = tab.locator(".cg-said").inner_text()
    for (grid, maps, logits), (name, model) in zip(tab.evaluate(RECORDS), networks.items(), strict=True):
        expected = cls_attention_maps(model, given)[0]
        expected = expected[torch.arange(3), torch.tensor(HEADS[name])].flatten(1)
        assert grid == [8, 8]
        torch.testing.assert_close(torch.tensor(maps), expected, atol=1e-5, rtol=1e-4)
        with torch.no_grad():
            answer = model(given)[0]
        torch.testing.assert_close(torch.tensor(logits), answer, atol=1e-4, rtol=1e-4)
        assert f"{name} takes it for: {model.classes[int(answer.argmax())]} (" in said
    tab.get_by_role("button", name="Back to the drawing").press("Enter")
    assert not shown(tab)["own"]
    assert tab.get_by_role("button", name="Back to the drawing").count() == 0


def test_the_slider_leads_through_the_layers(open_viewer, page):
    tab = open_viewer(page)
    slider = tab.get_by_role("slider", name="layer")
    pictures = set()
    for layer in (2, 1, 0):
        assert shown(tab) == {"layer": layer, "own": False}
        said = tab.locator(".cg-said").inner_text()
        for name, scores in SCORES.items():
            assert f"{name} {round(100 * scores[layer])} %" in said
            assert f"head {HEADS[name][layer]}" in tab.locator("figcaption", has_text=name).inner_text()
        assert "brighter in the middle 55 %" in said
        pictures.add(tab.locator("canvas").nth(1).evaluate("canvas => canvas.toDataURL()"))
        slider.press("ArrowLeft")
    assert len(pictures) == 3
    slider.press("End")
    assert shown(tab)["layer"] == 2


def test_what_python_prepared_is_the_maps(glance, networks, make_images):
    for entry, (name, model) in zip(glance.contract["models"], networks.items(), strict=True):
        maps = cls_attention_maps(model, make_images(1, 32, 32))[0][
            torch.arange(3), torch.tensor(HEADS[name])
        ]
        q, low, high = decode_maps(entry["maps"][0], 3, 1)
        rounding = float((high - low).max()) / 255
        np.testing.assert_allclose(dequantise(q, low, high)[:, 0], maps, atol=rounding)


@pytest.mark.parametrize(
    ("file", "words"),
    [(b"no photo", "could not be read as a picture"), (png(size=(1, 3))["buffer"], "is only 1 × 3 pixels")],
    ids=["text", "too small"],
)
def test_what_is_no_photo_is_said_and_the_drawing_stays(open_viewer, page, file, words):
    tab = open_viewer(page)
    tab.locator("input[type=file]").set_input_files(
        {"name": "bad.png", "mimeType": "image/png", "buffer": file}
    )
    expect(tab.locator(".ch-status")).to_contain_text(words)
    assert not shown(tab)["own"]
    drop(tab, png())
    assert shown(tab)["own"]


def test_by_keyboard_the_button_opens_the_chooser(open_viewer, page):
    tab = open_viewer(page)
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Your own photo").press("Enter")
    chooser.value.set_files(png())
    expect(tab.locator(".ch-status")).to_have_text("Your photo stays in this page.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_the_slider_stands_under_what_it_moves(open_viewer, page, scheme):
    """Maps, slider and sentence within one screen, nothing too wide, nothing moving by itself, nothing jumping."""
    tab = open_viewer(page, width=360, height=640, color_scheme=scheme, reduced_motion="reduce")
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    maps = [tab.locator("figure").nth(i).bounding_box() for i in (1, 2)]
    slider = tab.get_by_role("slider", name="layer").bounding_box()
    assert all(box["width"] > 120 for box in maps)
    assert tab.locator("figure").nth(0).bounding_box()["y"] < maps[0]["y"], "the picture itself is there, too"
    assert slider["y"] + slider["height"] - maps[0]["y"] < 400
    before = tab.locator(".ch-yours").bounding_box()["y"]
    tab.get_by_role("slider", name="layer").fill("0")
    assert tab.locator(".ch-yours").bounding_box()["y"] == before
    assert tab.evaluate("document.getAnimations().length") == 0


# ---- weights beside the page -----------------------------------------------------------------------------


def test_what_outputs_share_lies_in_files_once(glance, tmp_path):
    whole = glance._repr_html_()
    light = sphinx_shared.move_out(whole, tmp_path, "../_static")
    files = sorted(tmp_path.glob("*/*.js"))
    assert [file.parent.name for file in files] == ["shared"] + ["weights"] * len(HEADS)
    assert len(light) < len(whole) - sum(file.stat().st_size for file in files) + 700
    assert not re.search(r"<script[^>]*>[^<]{3000}", light.replace(glance._json, ""))
    twice = sphinx_shared.move_out(whole + whole, tmp_path, "x")
    assert twice.count("data-file") == 2 * len(HEADS)
    assert (twice.count("<script src="), twice.count("<style>")) == (1, 1)
    assert twice.count(f'("{glance.id}")') == 2, "each is brought to life"
    assert sorted(tmp_path.glob("*/*.js")) == files
    assert sphinx_shared.move_out(light, tmp_path / "none", "x") == light
    assert not (tmp_path / "none").exists()


def test_weights_are_loaded_when_they_are_asked_for_and_once(
    open_viewer, glance, networks, make_images, tmp_path
):
    """By two viewers of one page; the large one asks for them as well."""
    maps = {name: cls_attention_maps(model, make_images(1, 32, 32)) for name, model in networks.items()}
    large = HeadViewer(make_images(1, 32, 32), maps, networks=networks, photo_side=32)
    tab = open_viewer(written(tmp_path, glance, large, out=True))
    tab.locator(".ch-body").nth(1).wait_for()
    count = "document.querySelectorAll('head script[src]').length"
    assert tab.evaluate(count) == 0
    drop(tab, png())
    assert tab.evaluate(count) == len(networks)
    tab.locator("input[type=file]").nth(1).set_input_files(png())
    expect(tab.locator(".ch-status").nth(1)).to_contain_text("It stays in this page.")
    assert tab.evaluate(count) == len(networks)


def test_a_file_that_cannot_be_loaded_is_named_and_may_come_back(browser, glance, tmp_path):
    """The connection breaks, and is there again."""
    path = written(tmp_path, glance, out=True)
    (tmp_path / "weights").rename(tmp_path / "gone")
    tab = browser.new_page()
    try:
        tab.goto(path.as_uri())
        tab.locator(".ch-body").wait_for()
        drop(tab, png())
        expect(tab.locator(".ch-status")).to_contain_text(
            re.compile(r"the model's file \w+\.js could not be loaded")
        )
        assert not shown(tab)["own"]
        (tmp_path / "gone").rename(tmp_path / "weights")
        drop(tab, png())
        expect(tab.locator(".ch-status")).to_have_text("Your photo stays in this page.")
    finally:
        tab.close()


# ---- what it refuses -------------------------------------------------------------------------------------


def test_what_does_not_go_together_is_refused(networks, make_images):
    picture = make_images(1, 32, 32)[0]
    deeper = {**networks, "ViT": create_model("vit_nano", image_size=32, patch_size=4, depth=2)}
    with pytest.raises(ValueError, match="one slider moves all networks"):
        Glance(deeper, picture, heads=HEADS)
    with pytest.raises(ValueError, match="heads are needed for every layer"):
        Glance(networks, picture, heads={"CRATE": [0, 1, 0], "ViT": [1]})
    with pytest.raises(ValueError, match="scores are needed for every layer"):
        Glance(networks, picture, heads=HEADS, scores={"CRATE": [0.5] * 3})
