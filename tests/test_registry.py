"""Models by name: listing, registering, and with weights."""

from __future__ import annotations

import pytest
import torch

from crate_mini import registry
from crate_mini.model import CRATE, CRATEConfig
from crate_mini.registry import (
    FIRST_CHOICE,
    create_model,
    list_models,
    model_config,
    model_names,
    published_sizes,
    register_model,
)
from crate_mini.weights import (
    CheckpointError,
    list_pretrained,
    load_model,
    load_pretrained,
    load_weights,
    save_model,
)


def images(b: int = 2, side: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (b, 3, side, side), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture
def own_models(monkeypatch):
    """What a test registers is forgotten behind it."""
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))


class TestList:
    def test_patterns(self):
        assert list_models() == model_names()
        assert list_models("crate_*_8") == [
            f"{family}_{size}_8"
            for family in ("crate", "crate_mhsa", "crate_mlp", "crate_odl", "crate_tssa", "crate_cbsa")
            for size in ("tiny", "small", "base")
        ]
        assert list_models("vit_nan?") == ["vit_nano"]
        assert list_models("[!c]*_mini") == ["vit_wide_mini", "vit_mini", "tost_mini"]
        assert list_models("CRATE_*") == list_models("no such model") == []

    def test_with_weights(self):
        """Exactly those names whose architecture a shipped file has."""
        with_weights = list_models(pretrained=True)
        assert {card["model"] for card in list_pretrained().values()} <= {
            *with_weights,
            "crate_small_8",  # with patches of 4 pixels on images of 64, which no name says
            "vit_tiny_8",
        }
        assert "crate_mini" in with_weights
        assert "vit_mini_6" in with_weights  # shipped as a vit_mini with heads=6, which is this name
        assert "crate_base" not in with_weights
        assert list_models("vit_*", pretrained=True) == [n for n in with_weights if n.startswith("vit_")]


class TestRegister:
    def test_then_it_is_created_and_listed(self, own_models):
        register_model("crate_wide", dim=48, heads=2, depth=1, patch_size=4, image_size=16, num_classes=7)
        assert list_models("*wide") == ["crate_wide"]
        model = create_model("crate_wide")
        assert model.config == CRATEConfig(48, 2, 1, patch_size=4, image_size=16, num_classes=7)
        assert create_model("crate_wide", num_classes=3).head.out_features == 3

    def test_again_with_the_same_settings_is_fine(self, own_models):
        for _ in range(2):  # as when a cell of a notebook is run again
            register_model("crate_wide", dim=48, heads=2, depth=1)
        with pytest.raises(ValueError, match="'crate_wide' already"):
            register_model("crate_wide", dim=48, heads=3, depth=1)
        with pytest.raises(ValueError, match="'crate_mini' already"):
            register_model("crate_mini", dim=48, heads=2, depth=1)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"dim": 48, "heads": 5, "depth": 1}, "does not divide"),
            ({"dim": 48, "heads": 2, "depth": 1, "width": 3}, "unknown settings \\['width'\\]"),
            ({"dim": 48, "heads": 2, "depth": 1, "attention": "conv"}, "attention must be one of"),
        ],
    )
    def test_settings_that_do_not_fit_are_refused_at_once(self, own_models, settings, message):
        with pytest.raises(ValueError, match=message):
            register_model("crate_wide", **settings)
        assert "crate_wide" not in list_models()


class TestPretrained:
    def test_first_choices_are_shipped_and_fit(self):
        for name, weights in FIRST_CHOICE.items():
            assert weights in list_pretrained(), (
                f"{weights} is not shipped any more: choose others for {name}"
            )
            model = create_model(name, pretrained=True)
            theirs = load_pretrained(weights)
            assert not model.training
            assert model.classes == theirs.classes
            assert torch.equal(model(images()), theirs(images()))

    def test_every_name_that_lists_weights_has_them(self):
        for name in list_models(pretrained=True):
            assert isinstance(create_model(name, pretrained=True), CRATE)

    def test_the_only_ones_that_fit_need_no_entry(self):
        model, theirs = (
            create_model("crate_mhsa_mini", pretrained=True),
            load_pretrained("crate_mhsa_mini_animals_s0"),
        )
        assert torch.equal(model(images()), theirs(images()))

    def test_by_name_by_file_and_by_folder(self, tmp_path):
        by_name = create_model("crate_nano", pretrained="crate_nano_embedded_s1")
        save_model(by_name, tmp_path / "run" / "model.safetensors", {}, classes=by_name.classes)
        for source in (tmp_path / "run", str(tmp_path / "run" / "model.safetensors")):
            model = create_model("crate_nano", pretrained=source)
            assert model.classes == by_name.classes
            assert torch.equal(model(images()), by_name(images()))
        assert torch.equal(load_weights(tmp_path / "run").head.weight, by_name.head.weight)

    def test_other_classes_keep_all_but_the_classifier(self):
        weights = load_pretrained("crate_nano_embedded")
        model = create_model("crate_nano", pretrained="crate_nano_embedded", num_classes=3)
        assert model(images()).shape == (2, 3)
        assert (model.classes, model.training) == ((), False)
        assert torch.equal(model.forward_features(images()).values, weights.forward_features(images()).values)
        # as many classes as the weights have: theirs
        same = create_model("crate_nano", pretrained="crate_nano_embedded", num_classes=len(weights.classes))
        assert torch.equal(same.head.weight, weights.head.weight)

    def test_another_image_size_says_the_same_of_images_of_that_size(self):
        weights = load_pretrained("crate_nano_embedded")
        model = create_model("crate_nano", pretrained="crate_nano_embedded", image_size=96)
        assert model.position.shape[1] == 1 + 12**2
        assert model.classes == weights.classes
        assert torch.allclose(model(images(side=96)), weights(images(side=96)), atol=1e-5)

    def test_channel_statistics_are_the_weights_unless_said(self, tmp_path):
        model = create_model("crate_nano", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        path = save_model(model, tmp_path / "model.safetensors")
        assert create_model("crate_nano", pretrained=path).config.mean == (0, 0, 0)
        with pytest.raises(ValueError, match=r"they have mean \[0.0, 0.0, 0.0\] in place of \[0.5"):
            create_model("crate_nano", pretrained=path, mean=(0.5, 0.5, 0.5))

    def test_weights_of_another_architecture_are_refused_with_the_difference(self):
        with pytest.raises(
            ValueError,
            match="'vit_nano_embedded' are no crate_nano: they have dim 48 in place of 96, heads 2",
        ):
            create_model("crate_nano", pretrained="vit_nano_embedded")
        with pytest.raises(ValueError, match="patch_size 8 in place of 4"):
            create_model("crate_nano", pretrained="crate_nano_embedded", patch_size=4)

    def test_no_weights_are_told_with_those_there_are(self):
        with pytest.raises(ValueError, match=r"no weights for crate_base .* some for .*crate_mini, "):
            create_model("crate_base", pretrained=True)
        with pytest.raises(ValueError, match="no weights for crate_mini as it was asked for"):
            create_model("crate_mini", pretrained=True, step=0.2)

    def test_several_of_equal_standing_are_named(self, monkeypatch):
        monkeypatch.setattr(registry, "FIRST_CHOICE", {})
        with pytest.raises(
            ValueError,
            match=r"several weights fit crate_nano: .* crate_nano_embedded, crate_nano_embedded_s1",
        ):
            create_model("crate_nano", pretrained=True)

    def test_what_is_not_there(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"'crate_micro' is no weights file.*which comes with .*crate_mini"
        ):
            create_model("crate_mini", pretrained="crate_micro")
        with pytest.raises(FileNotFoundError, match=r"no weights file at .*model.safetensors"):
            create_model("crate_mini", pretrained=tmp_path)
        (tmp_path / "broken.safetensors").write_bytes(b"nothing")
        with pytest.raises(CheckpointError, match="truncated"):
            create_model("crate_mini", pretrained=tmp_path / "broken.safetensors")

    def test_without_weights_it_is_fresh(self, tmp_path):
        assert create_model("crate_nano", pretrained=False).training
        assert load_model(save_model(create_model("crate_nano"), tmp_path / "a.safetensors")).classes == ()


class TestWithoutAModel:
    def test_a_config_is_that_of_the_model(self):
        for name in list_models():
            with torch.device("meta"):
                assert model_config(name, num_classes=7) == create_model(name, num_classes=7).config

    def test_unknown(self):
        with pytest.raises(ValueError, match="unknown model 'crate_huge'; did you mean crate_large"):
            model_config("crate_huge")

    def test_sizes_of_the_papers(self):
        sizes = published_sizes()
        assert list(sizes) == [
            f"crate_{s}" for s in ("tiny", "small", "base", "large", "tiny_8", "small_8", "base_8")
        ]
        for name, size in sizes.items():
            config = model_config(name)
            assert (config.dim, config.heads, config.depth) == (size.dim, size.heads, size.depth)
