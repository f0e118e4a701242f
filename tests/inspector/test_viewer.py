"""The Python half of the head viewer: numbers into a contract, a contract into HTML."""

from __future__ import annotations

import copy
import json
import math
import os
import re

import numpy as np
import pytest
import torch
from matplotlib import colormaps

from crate_mini.attention_maps import cls_attention_maps
from crate_mini.inspector import HeadViewer, build_contract, dequantise, inspect_images, quantise
from crate_mini.inspector.contract import COLOUR_MAPS, colour_table, decode_maps
from crate_mini.inspector.network import encode_network, fits_in_page
from crate_mini.model import CRATE, create_model
from crate_mini.operators import MSSA


@pytest.fixture
def images(make_images) -> torch.Tensor:
    return make_images(3, 80, 80)


@pytest.fixture
def maps(make_maps) -> torch.Tensor:
    return make_maps(3, 4, 3, 10, 10)


@pytest.mark.parametrize("sharpness", [0.01, 1, 5, 30])
def test_quantisation_error_is_within_the_bound(sharpness, make_maps):
    maps = make_maps(2, 3, 4, 12, 9, sharpness=sharpness)
    q, low, high = quantise(maps)
    assert q.dtype == np.uint8
    error = (dequantise(q, low, high) - maps.double()).abs()
    # the documented bound, and six-digit ends
    bound = torch.from_numpy((high - low) / 255 + 1e-6 * high)[..., None, None]
    assert (error <= bound).all()
    # low values, most of every map, are kept much better: half a step of the square root each
    t = (maps.double() - torch.from_numpy(low)[..., None, None]) / torch.from_numpy(high - low)[
        ..., None, None
    ]
    fine = torch.from_numpy(high - low)[..., None, None] * (2 * t.clamp(0).sqrt() + 1 / 510) / 510
    assert (error <= fine + 1e-5 * torch.from_numpy(high)[..., None, None]).all()


def test_a_flat_map_survives():
    q, low, high = quantise(torch.full((1, 4, 4), 1 / 16))
    assert (q == 0).all()
    assert low.item() == high.item() == 0.0625
    assert (dequantise(q, low, high) == 0.0625).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_map_that_is_not_finite_is_marked_and_the_others_are_kept(bad, images, maps):
    maps[1, 2, 0, 3, 3] = bad
    contract = build_contract(images, maps)
    q, low, high = decode_maps(contract["models"][0]["maps"][1], 4, 3)
    assert np.isnan(low[2, 0])
    assert np.isnan(high[2, 0])
    assert np.isnan(low).sum() == 1
    assert contract["models"][0]["maps"][1]["low"][2 * 3 + 0] is None
    assert dequantise(q, low, high)[2, 0].isnan().all()
    assert json.loads(HeadViewer(images, maps)._json) == contract


def test_contract_round_trip(images, maps, make_maps, make_mask):
    mask = make_mask(80, 80)
    vit = make_maps(3, 6, 2, 5, 5, seed=1)
    viewer = HeadViewer(
        images, {"CRATE": maps, "ViT": vit}, titles=["a", "b", "c"], masks=[mask, None, None],
        layers={"ViT": [1, 3, 5, 7, 9, 11]}, image=2, layer={"CRATE": 1, "ViT": 9}, head={"ViT": 1},
        view="mask", share=0.3, colours="cividis",
    )  # fmt: skip
    page = viewer._repr_html_()
    found = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])
    assert found == viewer.contract
    assert [m["name"] for m in found["models"]] == ["CRATE", "ViT"]
    assert [m["layers"] for m in found["models"]] == [[0, 1, 2, 3], [1, 3, 5, 7, 9, 11]]
    assert found["start"] == {"image": 2, "layer": [1, 4], "head": [0, 1], "view": "mask", "share": 0.3}
    for model, given in zip(found["models"], (maps, vit), strict=True):
        for i, entry in enumerate(model["maps"]):
            q, low, high = decode_maps(entry, len(model["layers"]), model["heads"])
            assert entry["grid"] == list(given.shape[-2:])
            torch.testing.assert_close(
                dequantise(q, low, high), given[i].double(), rtol=0, atol=high.max() / 255
            )
    assert [image["title"] for image in found["images"]] == ["a", "b", "c"]
    truth = found["images"][0]["truth"]
    runs = np.array(truth["runs"]).reshape(-1, 2)
    assert (np.repeat(runs[:, 0], runs[:, 1]).reshape(truth["height"], truth["width"]) == mask.numpy()).all()
    assert found["images"][1]["truth"] is None


def test_trainings_of_one_network_share_a_place(images, maps):
    keys = {("CRATE", "seed 0"): maps, ("CRATE", "seed 1"): maps.flip(1), "ViT": maps[:, :, :2]}
    viewer = HeadViewer(images, keys, layer={"CRATE": 1}, head={("CRATE", "seed 1"): 2})
    named = [(m["name"], m["training"]) for m in viewer.contract["models"]]
    assert named == [("CRATE", "seed 0"), ("CRATE", "seed 1"), ("ViT", "")]
    assert viewer.contract["start"]["layer"] == [1, 1, 2]
    assert viewer.contract["start"]["head"] == [0, 2, 0]
    assert repr(viewer) == "HeadViewer(3 images; layers x heads: CRATE 4x3, ViT 4x2)"
    one = HeadViewer(images, {"CRATE": maps, "ViT": maps[:, :, :2]}, layer={"CRATE": 1})
    assert viewer._preview == one._preview, "the still has one row a network"
    with pytest.raises(ValueError, match=r"CRATE, b: trainings of a network must have equal layers, heads"):
        HeadViewer(images, {("CRATE", "a"): maps, ("CRATE", "b"): maps[:, :2]})
    with pytest.raises(ValueError, match=r"CRATE, b: no maps, and nothing to compute them with"):
        HeadViewer(images, {("CRATE", "a"): maps, ("CRATE", "b"): None})


def test_the_first_layer_seen_is_the_last_but_one(images, maps):
    assert build_contract(images, maps)["start"]["layer"] == [2]
    assert build_contract(images, maps[:, :1])["start"]["layer"] == [0]


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_colours_come_from_matplotlib_and_get_lighter_all_the_way(name):
    table = colour_table(name)
    np.testing.assert_allclose(
        table / 255, colormaps[name].resampled(256)(np.arange(256))[:, :3], atol=1 / 255
    )
    linear = np.where(table / 255 <= 0.04045, table / 255 / 12.92, ((table / 255 + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -1e-3).all()
    assert luminance[-1] - luminance[0] > 0.4


def test_large_pictures_are_shrunk_and_masks_are_not(maps, make_images, make_mask):
    photo = make_images(1, 900, 1800)
    contract = build_contract(photo, maps[:1], masks=make_mask(900, 1800)[None])
    assert (contract["images"][0]["width"], contract["images"][0]["height"]) == (640, 320)
    assert contract["images"][0]["truth"]["width"] == 1800


def test_images_of_several_sizes(make_maps, make_images):
    images = [make_images(1, 64, 96)[0], make_images(1, 96, 48)[0]]
    maps = [make_maps(1, 2, 3, 8, 12)[0], make_maps(1, 2, 3, 12, 6)[0]]
    contract = build_contract(images, maps)
    assert [entry["grid"] for entry in contract["models"][0]["maps"]] == [[8, 12], [12, 6]]


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (ValueError, r"maps must be \(images, layers, heads, h, w\)", lambda i, m, t: {"maps": m[0]}),
        (ValueError, "there are 3 images, but maps of 2", lambda i, m, t: {"maps": m[:2]}),
        (ValueError, "CRATE: there are 3 images, but maps of 1", lambda i, m, t: {"maps": {"CRATE": m[:1]}}),
        (ValueError, "no maps", lambda i, m, t: {"maps": {}}),
        (ValueError, "must sum to 1 .* found 2", lambda i, m, t: {"maps": 2 * m}),
        (ValueError, "attention cannot be negative", lambda i, m, t: {"maps": m - 0.05}),
        (TypeError, "floating point", lambda i, m, t: {"maps": (m > 0.01).long()}),
        (ValueError, "same for all images", lambda i, m, t: {"maps": [m[0], m[1], m[2, :2]]}),
        (ValueError, r"must be \(layers, heads, h, w\)", lambda i, m, t: {"maps": [m[0], m[1], m[2, 0]]}),
        (ValueError, r"shape \(3, height, width\)", lambda i, m, t: {"images": i[:, :1]}),
        (ValueError, "no images", lambda i, m, t: {"images": i[:0]}),
        (TypeError, "must be uint8", lambda i, m, t: {"images": i / 255}),
        (ValueError, "a list of 3 titles, got 2", lambda i, m, t: {"titles": ["a", "b"]}),
        (ValueError, "a list of 3 titles, got 'abc'", lambda i, m, t: {"titles": "abc"}),
        (ValueError, "need 3 masks, got 1", lambda i, m, t: {"masks": t[:1]}),
        (ValueError, "its image's shape", lambda i, m, t: {"masks": t[:, :40]}),
        (ValueError, r"found \[7\]", lambda i, m, t: {"masks": torch.where(t == 255, 7, t.long())}),
        (ValueError, "4 layers need 4 different numbers", lambda i, m, t: {"layers": [1, 2, 3]}),
        (ValueError, "there is no layer 4; layers are 0, 1, 2, 3", lambda i, m, t: {"layer": 4}),
        (ValueError, "there is no head 3; heads are 0 to 2", lambda i, m, t: {"head": 3}),
        (ValueError, "image must be a position from 0 to 2", lambda i, m, t: {"image": 3}),
        (ValueError, "view must be one of heat, lit, overlay, mask", lambda i, m, t: {"view": "map"}),
        (ValueError, r"share must lie between 0\.2 and 0\.9", lambda i, m, t: {"share": 0.95}),
        (ValueError, "colours must be one of viridis", lambda i, m, t: {"colours": "jet"}),
    ],
)
def test_input_that_does_not_fit_is_refused_with_a_reason(error, message, change, images, maps, make_mask):
    """``change`` makes bad arguments of good images, maps and true masks."""
    masks = make_mask(80, 80).expand(3, -1, -1)
    with pytest.raises(error, match=message):
        HeadViewer(**({"images": images, "maps": maps} | change(images, maps, masks)))


def test_every_viewer_has_an_id_of_its_own(images, maps):
    first, second = HeadViewer(images, maps), HeadViewer(images, maps)
    assert first.id != second.id
    for viewer in (first, second):
        page = viewer._repr_html_()
        assert page.count(f'id="{viewer.id}"') == 1
        assert re.search(rf"""<script>crateScripts\["[0-9a-f]{{16}}"\]\("{viewer.id}"\);</script>""", page)
        assert re.fullmatch(r"[a-z0-9-]+", viewer.id)


NASTY = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "quoted" <!-- <b>'


def test_titles_cannot_break_out(images, maps):
    viewer = HeadViewer(images, {NASTY: maps}, titles=[NASTY, "b", "c"])
    page = viewer.to_html(NASTY)
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "<!--" not in page
    assert page.count("</script>") == 3  # the data, the viewer's functions, and the call
    assert page.count("<script") == 3
    assert viewer.contract["images"][0]["title"] == NASTY


def test_the_page_holds_everything_and_is_small(make_maps, make_images, make_mask):
    """Three photographs, eight layers, six heads, 20 x 20 patches: under 300 KB."""
    viewer = HeadViewer(make_images(3, 160, 160), make_maps(3, 8, 6, 20, 20), masks=[make_mask(160, 160)] * 3)
    page = viewer.to_html()
    assert len(page.encode()) < 300_000
    assert re.findall(r"""(?:src|href)=["'](?!data:)[^"']*""", page) == []
    assert not re.search(r"https?://", page)
    assert "@import" not in page
    assert 'lang="en"' in page
    assert "default-src 'none'" in page


def test_readers_without_scripts_get_a_picture_and_a_word(images, maps):
    page = HeadViewer(images, {"a": maps, "b": maps[:, :, :2]}, titles=["cat", "b", "c"])._repr_html_()
    still = re.search(
        r'<div class="ch-fallback"><img src="data:image/jpeg;base64,[^"]+" alt="([^"]+)"><p>(.+?)</p>', page
    )
    assert "cat" in still[1]
    assert "trust this notebook" in still[2]


def test_save_is_whole_or_not_at_all(tmp_path, monkeypatch, images, maps):
    path = tmp_path / "heads.html"
    viewer = HeadViewer(images, maps)
    assert viewer.save(path, title="One") == path
    assert path.read_text(encoding="utf-8") == viewer.to_html("One")

    def cut_off(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", cut_off)
    with pytest.raises(OSError, match="disk full"):
        viewer.save(path, title="Two")
    assert path.read_text(encoding="utf-8") == viewer.to_html("One")
    assert os.listdir(tmp_path) == ["heads.html"]


def test_save_names_the_folder_that_is_missing(tmp_path, images, maps):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        HeadViewer(images, maps).save(tmp_path / "nowhere" / "heads.html")


def test_repr_is_one_short_line(images, maps):
    assert repr(HeadViewer(images, {"CRATE": maps})) == "HeadViewer(3 images; layers x heads: CRATE 4x3)"


def test_inspect_images_shows_what_the_models_attend_to(make_images):
    torch.manual_seed(0)
    models = {
        "CRATE": create_model("crate_nano", image_size=32, num_classes=3),
        "ViT": create_model("vit_nano", image_size=32, num_classes=3),
    }
    images = make_images(2, 48, 48)
    viewer = inspect_images(models, images, titles=["a", "b"], view="heat")
    for entry, model in zip(viewer.contract["models"], models.values(), strict=True):
        maps = cls_attention_maps(model, images)
        for i in range(2):
            q, low, high = decode_maps(entry["maps"][i], len(entry["layers"]), entry["heads"])
            torch.testing.assert_close(
                dequantise(q, low, high),
                maps[i].double(),
                rtol=0,
                atol=float((high - low).max()) / 255 + 1e-6,
            )
    assert viewer.contract["start"]["view"] == "heat"


def test_inspect_images_takes_one_model_some_layers_and_images_of_any_size(make_images):
    torch.manual_seed(0)
    model = create_model("crate_nano", image_size=32, num_classes=3)
    images = [make_images(1, 32, 48)[0].float() / 255, make_images(1, 64, 32)[0]]
    viewer = inspect_images(model, images, layers=[1, -1])
    (entry,) = viewer.contract["models"]
    assert entry["layers"] == [1, 3]
    assert [m["grid"] for m in entry["maps"]] == [[4, 6], [8, 4]]


def test_inspect_images_shows_a_broken_model_as_broken(make_images):
    torch.manual_seed(0)
    model = create_model("crate_nano", image_size=32, num_classes=3)
    with torch.no_grad():
        model.blocks[2].attention.project.weight[0, 0] = 1e30  # finite; its scores are not
    low = inspect_images(model, make_images(1, 32, 32)).contract["models"][0]["maps"][0]["low"]
    heads = model.config.heads
    assert None not in low[: 2 * heads]
    assert None in low[2 * heads :]


def test_the_script_can_stand_inside_a_page():
    from crate_mini.inspector.viewer import _asset

    script = _asset("heads.js")
    assert "</script" not in script
    assert "<!--" not in script
    assert "</style" not in _asset("heads.css")


def test_networks_too_large_for_a_page_are_refused_and_known_beforehand(make_images, make_maps):
    small = create_model("crate_nano", image_size=32, num_classes=3)
    large = create_model("crate_small", image_size=32, num_classes=3)
    assert fits_in_page([small])
    assert not fits_in_page([small, large])
    with pytest.raises(ValueError, match=r"big: .* million parameters are too many"):
        HeadViewer(make_images(1, 32, 32), {"big": make_maps(1, 2, 2, 4, 4)}, networks={"big": large})
    with pytest.raises(TypeError, match=r"models of crate_mini\.model only, got Linear"):
        HeadViewer(make_images(1, 32, 32), make_maps(1, 2, 2, 4, 4), networks=torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="all models or none"):
        HeadViewer(make_images(1, 32, 32), {"a": make_maps(1, 2, 2, 4, 4)}, networks={"b": small})
    with pytest.raises(ValueError, match="at least one patch, 8 pixels; got 5"):
        HeadViewer(make_images(1, 32, 32), make_maps(1, 4, 4, 4, 4), networks=small, photo_side=5)
    with torch.no_grad():
        small.cls_token[0, 0, 0] = 1e9
    with pytest.raises(ValueError, match="not finite in half precision: cls_token"):
        HeadViewer(make_images(1, 32, 32), make_maps(1, 4, 4, 4, 4), networks=small)


def test_what_a_page_cannot_run_is_refused_by_name():
    class Turned(MSSA):
        """Computes something else than crate.js does for an MSSA."""

        def forward(self, Z, mask=None):
            return -super().forward(Z, mask)

    class Other(CRATE):
        pass

    plain = create_model("crate_nano", image_size=32, num_classes=3)
    assert fits_in_page([plain])
    turned = copy.deepcopy(plain)
    turned.blocks[1].attention = Turned(96, 4)
    with pytest.raises(
        ValueError, match=r"^mine: a page cannot run Turned, in layer 1: crate\.js has no forward"
    ):
        encode_network(turned, "mine")
    uneven = copy.deepcopy(plain)
    uneven.blocks[2].feed.step = 0.2
    with pytest.raises(
        ValueError, match=r"layers that differ: layer 0 has .*'step': 0.1.* layer 2 has .*0.2"
    ):
        encode_network(uneven)
    with pytest.raises(TypeError, match="got Other"):
        encode_network(Other(plain.config))
    for model in (turned, uneven, Other(plain.config)):
        assert not fits_in_page([plain, model])


def test_the_page_is_told_the_settings_of_the_operators():
    model = create_model(
        "crate_nano", image_size=32, step=0.2, keep=0.9, move=-0.5, tied=True, readout="mean"
    )
    told = encode_network(model)[0]["config"]
    expected = {
        "attention": "mssa",
        "tied": True,
        "feed": "ista",
        "step": 0.2,
        "lam": 0.1,
        "proximal": "relu",
    }
    expected |= {"keep": 0.9, "move": -0.5, "readout": "mean", "heads": 4, "head_dim": 24}
    assert expected.items() <= told.items()
    told = encode_network(create_model("vit_nano", image_size=32, mlp_ratio=3))[0]["config"]
    assert {
        "attention": "mhsa",
        "tied": False,
        "feed": "mlp",
        "mlp_ratio": 3,
        "readout": "class",
    }.items() <= told.items()


def test_colours_of_the_theme_stand_in_one_place(images, maps):
    from crate_mini.inspector.viewer import _asset, _theme

    theme = _theme()
    assert theme.count("{") == theme.count("}")
    for name in ("ink", "quiet", "line", "paper", "well", "accent"):
        assert theme.count(f"--{name}:") == 2  # plain, and for both themes
        assert f"--{name}:" not in _asset("heads.css")
    assert "cp-title" not in theme  # nothing of the playgrounds' own
    assert theme in HeadViewer(images, maps)._repr_html_()


def test_queries_and_keys_come_from_one_place(images, maps):
    pairs = {"": [[None] * 4] * 3}
    assert build_contract(images, maps)["patches"] is None
    assert build_contract(images, maps, pairs=pairs)["patches"] == "prepared"
    assert build_contract(images, maps, asks_kernel=True)["patches"] == "kernel"
    with pytest.raises(ValueError, match="choose one"):
        build_contract(images, maps, pairs=pairs, asks_kernel=True)
