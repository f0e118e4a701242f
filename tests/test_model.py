"""The model class: parameter counts of the papers, operators by name, image sizes, and what it refuses."""

from __future__ import annotations

import json

import jaxtyping
import pytest
import torch
import torch.nn.functional as F

from crate_mini.compression import MSSA, mssa
from crate_mini.embeddings import Tokens
from crate_mini.model import (
    CRATE,
    MHSA,
    MLP,
    Block,
    CRATEConfig,
    check_images,
    count_parameters,
    create_model,
    model_names,
    read_out,
)
from crate_mini.sparsification import ISTA


def tiny(name: str = "crate_nano", **settings) -> CRATE:
    torch.manual_seed(0)
    settings = {"dim": 32, "heads": 2, "depth": 2, "image_size": 32, "num_classes": 5} | settings
    return create_model(name, **settings).eval()


def images(b: int = 2, h: int = 32, w: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 256, (b, 3, h, w), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def parameters(name: str, **settings) -> int:
    with torch.device("meta"):
        return count_parameters(create_model(name, **settings))


@pytest.fixture
def unchecked(monkeypatch):
    """Without the shape checks that the test run adds: users do not have them either."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


class TestCounts:
    @pytest.mark.parametrize(
        ("name", "count"),
        # 6.09, 13.12, 22.80, 77.64 M: arXiv 2306.01129, Table 1, at 224/16/1000
        [
            ("crate_tiny", 6_090_856),
            ("crate_small", 13_116_328),
            ("crate_base", 22_796_008),
            ("crate_large", 77_641_192),
        ],
    )
    def test_first_paper(self, name, count):
        assert parameters(name) == count

    @pytest.mark.parametrize(
        ("name", "count"),
        # 5.74, 14.12, 38.83 M: arXiv 2308.16271, Table 3, with the head of ImageNet-21k
        [("crate_tiny_8", 5_743_250), ("crate_small_8", 14_118_482), ("crate_base_8", 38_831_570)],
    )
    def test_second_paper(self, name, count):
        assert parameters(name, num_classes=21_842) == count

    @pytest.mark.parametrize(("name", "millions"), [("vit_tiny", 5.72), ("vit_small", 22.05)])
    def test_vit(self, name, millions):
        assert round(parameters(name) / 1e6, 2) == pytest.approx(millions, abs=0.01)

    def test_two_models_are_called_small(self):
        with torch.device("meta"):
            first, second = create_model("crate_small").config, create_model("crate_small_8").config
        assert (first.dim, first.heads, first.patch_size) == (576, 12, 16)
        assert (second.dim, second.heads, second.patch_size) == (384, 6, 8)

    @pytest.mark.parametrize("d", [192, 384])
    @pytest.mark.parametrize(
        ("family", "per_layer"),
        [("crate", lambda d: 3 * d**2 + 5 * d), ("vit", lambda d: 12 * d**2 + 13 * d)],
    )
    def test_a_layer(self, family, per_layer, d):
        two, five = (parameters(f"{family}_tiny", dim=d, heads=6, depth=n) for n in (2, 5))
        assert five - two == 3 * per_layer(d)

    @pytest.mark.parametrize(
        ("d", "patch", "size", "classes", "depth"), [(32, 8, 64, 7, 3), (96, 4, 32, 100, 1)]
    )
    def test_whole_formula(self, d, patch, size, classes, depth):
        """facts.md, A.7: 2P + Pd + d + 2d + (n+1)d + d + L(3d^2+5d) + 2d + dC + C."""
        pixels, n = 3 * patch**2, (size // patch) ** 2
        expected = 2 * pixels + pixels * d + d + 2 * d + (n + 1) * d + d + depth * (3 * d**2 + 5 * d) + 2 * d
        expected += d * classes + classes
        model = create_model(
            "crate_nano", dim=d, heads=4, depth=depth, patch_size=patch, image_size=size, num_classes=classes
        )
        assert count_parameters(model) == expected
        assert sum(v.numel() for v in model.state_dict().values()) == expected  # nothing else is stored

    def test_frozen_parameters_do_not_count(self):
        model = tiny()
        before = count_parameters(model)
        model.head.requires_grad_(False)
        assert before - count_parameters(model) == 32 * 5 + 5

    @pytest.mark.parametrize("size", ["nano", "mini"])
    def test_vit_of_the_book_matches_its_crate(self, size):
        crate, vit = (parameters(f"{f}_{size}", num_classes=200) for f in ("crate", "vit"))
        assert 0.8 < vit / crate < 1.25


class TestOperators:
    @pytest.mark.parametrize(
        ("family", "attention", "feed"),
        [
            ("crate", MSSA, ISTA),
            ("crate_mhsa", MHSA, ISTA),
            ("crate_mlp", MSSA, MLP),
            ("vit", MHSA, MLP),
            ("vit_wide", MHSA, MLP),
        ],
    )
    def test_by_name(self, family, attention, feed):
        model = tiny(f"{family}_nano")
        for block in model.blocks:
            assert type(block.attention) is attention
            assert type(block.feed) is feed
        assert model(images()).shape == (2, 5)

    def test_every_name_builds(self):
        assert len(model_names()) == len(set(model_names())) > 100
        for name in model_names():
            with torch.device("meta"):
                model = create_model(name)
            assert count_parameters(model) > 0

    def test_the_two_vits(self):
        """One has about the parameters of the CRATE of its size, the other its width and its heads."""
        with torch.device("meta"):
            crate, equal, six, wide = (
                create_model(name, num_classes=25)
                for name in ("crate_mini", "vit_mini", "vit_mini_6", "vit_wide_mini")
            )
        assert abs(count_parameters(equal) / count_parameters(crate) - 1) < 0.05
        assert abs(count_parameters(six) / count_parameters(crate) - 1) < 0.05
        assert six.config.heads == wide.config.heads == crate.config.heads
        assert wide.config.dim == crate.config.dim

    @pytest.mark.parametrize("depth", [2, 4, 6])
    def test_shallower_minis_differ_in_depth_only(self, depth):
        with torch.device("meta"):
            assert (
                create_model(f"crate_mini_depth{depth}").config
                == create_model("crate_mini", depth=depth).config
            )

    def test_one_word_changes_one_operator(self):
        with torch.device("meta"):
            crate = create_model("crate_small_8").config
            assert (
                create_model("crate_small_8", attention="mhsa").config
                == create_model("crate_mhsa_small_8").config
            )
            assert (
                create_model("crate_small_8", feed="mlp").config == create_model("crate_mlp_small_8").config
            )
        assert crate.attention == "mssa"
        assert crate.feed == "ista"

    def test_block_is_its_equation(self):
        """Z + MSSA(LN(Z)) keeps the un-normalised skip; ISTA replaces the stream, with no skip of its own."""
        block = tiny().double().blocks[0]
        Z = torch.randn(2, 7, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        ln = lambda x, m: F.layer_norm(x, (32,), m.weight, m.bias, 1e-5)  # noqa: E731
        a = block.attention
        mid = Z + mssa(ln(Z, block.norm1), a.U, a.out.weight, a.out.bias)
        y, D = ln(mid, block.norm2), block.feed.D
        out = torch.relu(y + 0.1 * (y @ D - y @ D.T @ D) - 0.1 * 0.1)
        torch.testing.assert_close(block(Z), out, rtol=0, atol=1e-10)

    def test_vit_block_is_its_equation(self):
        block = tiny("vit_nano").double().blocks[0]
        Z = torch.randn(2, 7, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        x, a = block.norm1(Z), block.attention
        q, k, v = (x @ a.project.weight.T + a.project.bias).chunk(3, -1)
        heads = []
        for i in (0, 16):
            qi, ki, vi = (t[..., i : i + 16] for t in (q, k, v))
            heads.append((qi @ ki.mT / 4).softmax(-1) @ vi)
        mid = Z + torch.cat(heads, -1) @ a.out.weight.T + a.out.bias
        x = block.norm2(mid)
        out = mid + F.gelu(x @ block.feed[0].weight.T + block.feed[0].bias) @ block.feed[2].weight.T
        torch.testing.assert_close(block(Z), out + block.feed[2].bias, rtol=0, atol=1e-10)

    @pytest.mark.parametrize(("keep", "move"), [(1.0, -1.0), (0.5, 0.5)])
    @pytest.mark.parametrize("tied", [False, True])
    def test_weighted_block_is_its_equation(self, keep, move, tied):
        block = tiny(keep=keep, move=move, tied=tied).double().blocks[0]
        Z = torch.randn(2, 7, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        a, x = block.attention, block.norm1(Z)
        W, b = (None, None) if tied else (a.out.weight, a.out.bias)
        mid = keep * Z + move * mssa(x, a.U, W, b)
        torch.testing.assert_close(block(Z), block.feed(block.norm2(mid)), rtol=0, atol=1e-10)

    def test_weights_of_one_are_the_plain_block(self):
        assert type(tiny().blocks[0]) is type(tiny(keep=1.0, move=1.0).blocks[0]) is Block
        torch.manual_seed(0)
        plain = tiny()
        torch.manual_seed(0)
        turned = tiny(move=-1.0)
        assert not torch.equal(plain(images()), turned(images()))
        # with a learned output map the sign says nothing: it is taken up by the map
        for block in turned.blocks:
            block.attention.out.weight.data.neg_()
            block.attention.out.bias.data.neg_()
        torch.testing.assert_close(plain(images()), turned(images()))

    def test_settings_reach_the_operators(self):
        model = tiny(step=0.2, lam=0.3, proximal="soft", tied=True, head_dim=5)
        for block in model.blocks:
            assert (block.feed.step, block.feed.lam, block.feed.proximal) == (0.2, 0.3, "soft")
            assert block.attention.U.shape == (2, 32, 5)
            assert block.attention.out is None

    @pytest.mark.parametrize("attention", ["mssa", "mhsa"])
    def test_layers_of_ista_are_non_negative_and_sparse(self, attention):
        model = tiny(attention=attention, depth=3)
        Z = model.tokens(images())
        for block in model.blocks:
            Z = block(Z)
            assert (Z >= 0).all()
            assert 0.2 < (Z == 0).double().mean() < 0.8

    def test_logits_read_the_class_token_only(self):
        model = tiny()
        features = model.forward_features(images())
        before = model.forward_head(features)
        assert torch.equal(before, model(images()))
        features.values[:, 1:] += 1
        assert torch.equal(model.forward_head(features), before)
        features.values[:, 0, 0] += 1
        assert not torch.allclose(model.forward_head(features), before)

    def test_training_reaches_every_parameter(self):
        for family in ("crate", "crate_mhsa", "crate_mlp", "vit"):
            model = tiny(f"{family}_nano").train()
            model(images()).logsumexp(-1).sum().backward()
            idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
            assert idle == []


class TestParts:
    @pytest.mark.parametrize("readout", ["class", "mean"])
    @pytest.mark.parametrize("kept", [None, torch.tensor([[3, 0, 9], [1, 2, 15]])])
    def test_embedding_encoder_head(self, readout, kept):
        model = tiny(readout=readout).double()
        features = model.forward_features(images(), kept)
        assert torch.equal(model.forward_head(features), model(images(), kept))
        assert features.prefix == 1
        assert features.grid == ((4, 4) if kept is None else None)
        Z = model.tokens(images(), kept)
        for block in model.blocks:
            Z = block(Z)
        Z = model.norm(Z)
        assert torch.equal(features.values, Z)
        read = Z[:, 0] if readout == "class" else Z[:, 1:].mean(1)
        torch.testing.assert_close(model(images(), kept), model.head(read), rtol=0, atol=1e-12)

    def test_the_mean_leaves_the_class_token_out(self):
        model = tiny(readout="mean")
        features = model.forward_features(images())
        before = model.forward_head(features)
        features.values[:, 0] += 1
        assert torch.equal(model.forward_head(features), before)

    @pytest.mark.parametrize("name", ["crate_nano", "vit_nano"])
    def test_the_mean_trains_every_parameter(self, name):
        model = tiny(name, readout="mean").train()
        model(images()).logsumexp(-1).sum().backward()
        idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert idle == []

    def test_what_cannot_be_read(self):
        words = Tokens(torch.randn(2, 5, 8))
        assert torch.equal(read_out(words, "mean"), words.values.mean(1))
        with pytest.raises(ValueError, match="these tokens have no class token to read; readout='mean'"):
            read_out(words, "class")
        with pytest.raises(ValueError, match=r"readout must be one of \('class', 'mean'\), got 'max'"):
            read_out(words, "max")

    def test_reset_classifier(self):
        model = tiny().double()
        model.classes = ("a", "b", "c", "d", "e")
        before = {k: v.clone() for k, v in model.state_dict().items()}
        model.reset_classifier(9)
        assert model.config == tiny(num_classes=9).config
        assert model.classes == ()
        assert model(images()).shape == (2, 9)
        assert model.head.weight.dtype == torch.float64
        assert all(
            torch.equal(v, before[k]) for k, v in model.state_dict().items() if not k.startswith("head.")
        )
        with pytest.raises(ValueError, match="num_classes must be a positive integer, got 0"):
            model.reset_classifier(0)

    def test_a_mask_is_boolean(self, unchecked):
        encoder = tiny().encoder
        with pytest.raises(
            TypeError, match=r"a mask is boolean, true where a token may look; got torch\.float32"
        ):
            encoder(torch.randn(1, 3, 32), torch.ones(3, 3))

    def test_a_mask_reaches_every_layer(self):
        """Who may look at itself only, in every layer, is what it would be alone."""
        encoder, Z = tiny().double().encoder, torch.randn(2, 7, 32, dtype=torch.float64)
        alone = torch.cat([encoder(z) for z in Z.split(1, dim=1)], dim=1)
        torch.testing.assert_close(encoder(Z, torch.eye(7, dtype=torch.bool)), alone, rtol=0, atol=1e-12)

    def test_parts_by_their_names(self):
        model = tiny()
        assert model.blocks is model.encoder.blocks
        assert model.norm is model.encoder.norm
        assert model.embed is model.embedding.patches
        assert model.position is model.embedding.position
        assert model.cls_token is model.embedding.cls_token


class TestImages:
    def test_uint8_and_float_agree(self):
        model, x = tiny(), images()
        torch.testing.assert_close(model(x), model(x / 255))
        torch.testing.assert_close(model(x), model(x.double() / 255))

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_the_model_decides_the_precision(self, dtype):
        model = tiny().to(dtype)
        assert model(images()).dtype == model(images() / 255).dtype == dtype

    def test_normalisation_happens_inside(self):
        x = images() / 255
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        own, plain = tiny(), tiny(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        torch.testing.assert_close(own.tokens(x), plain.train().tokens((x - mean) / std))

    def test_patches_run_row_by_row_with_the_channel_fastest(self):
        model = tiny(image_size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        seen = []
        model.embed[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        x = torch.arange(3 * 16 * 16).view(1, 3, 16, 16) / 1000
        model(x)
        expected = []
        for row in (0, 8):
            for column in (0, 8):
                patch = x[0, :, row : row + 8, column : column + 8]
                expected.append([patch[c, i, j] for i in range(8) for j in range(8) for c in range(3)])
        assert torch.equal(seen[0][0], torch.tensor(expected))

    @pytest.mark.parametrize(("h", "w"), [(32, 48), (64, 64), (16, 8), (8, 8), (40, 24)])
    def test_other_sizes(self, h, w):
        model = tiny()
        assert model.tokens(images(2, h, w)).shape == (2, 1 + h * w // 64, 32)
        assert model(images(2, h, w)).shape == (2, 5)

    def test_position_at_its_own_size_is_itself(self):
        model = tiny()
        assert model.embedding.positions(4, 4) is model.position

    def test_position_elsewhere_is_bicubic(self):
        model = tiny()
        rows = torch.linspace(0, 1, 4).repeat_interleave(4)  # a ramp from top to bottom
        with torch.no_grad():
            model.position[0, 1:] = rows[:, None]
        position = model.embedding.positions(8, 6)
        assert torch.equal(position[:, 0], model.position[:, 0])
        grid = position[0, 1:].view(8, 6, 32)
        assert grid.diff(dim=0).min() > -0.05  # the ramp runs along rows
        assert (grid[-1] - grid[0]).min() > 0.9
        assert grid.diff(dim=1).abs().max() < 1e-5  # and not along columns
        reference = F.interpolate(rows.view(1, 1, 4, 4), size=(8, 6), mode="bicubic", align_corners=False)
        torch.testing.assert_close(grid[..., 0], reference[0, 0])

    def test_position_is_trained_through_the_interpolation(self):
        model = tiny()
        model(images(1, 48, 48)).sum().backward()
        assert (model.position.grad.abs().sum(-1) > 0).all()

    def test_empty_batch(self):
        assert tiny()(images(0)).shape == (0, 5)

    def test_batch_members_do_not_mix(self):
        model, x = tiny(), images(4)
        torch.testing.assert_close(model(x)[2:3], model(x[2:3]))


class TestRefusals:
    @pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 4, 32, 32), (1, 32, 32, 3)])
    def test_shape(self, shape, unchecked):
        with pytest.raises(ValueError, match=r"images must be \(batch, 3, height, width\), got shape"):
            tiny()(torch.zeros(shape))

    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.complex64])
    def test_dtype(self, dtype):
        with pytest.raises(TypeError, match="images must be uint8, or float in"):
            tiny()(torch.zeros(1, 3, 32, 32, dtype=dtype))

    @pytest.mark.parametrize(
        ("low", "high"), [(0, 255), (-1, 1), (0, 1.1), (0, float("nan")), (0, float("inf"))]
    )
    def test_range(self, low, high):
        x = torch.zeros(1, 3, 32, 32)
        x[0, 0, 0, 0], x[0, 0, 0, 1] = low, high
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\].*do not normalise them first"):
            tiny()(x)

    @pytest.mark.parametrize(("h", "w", "hint"), [(33, 32, "32x32"), (32, 47, "32x40"), (5, 64, "8x64")])
    def test_no_multiple_of_the_patch(self, h, w, hint):
        with pytest.raises(
            ValueError, match=f"multiples of the patch size 8, got {h}x{w}.*for example to {hint}"
        ):
            tiny()(images(1, h, w))

    def test_no_pixels(self):
        with pytest.raises(ValueError, match="multiples of the patch"):
            check_images(torch.zeros(1, 3, 0, 8), 8)

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("crate_huge", "did you mean crate_large"),
            ("crate_mimi", "did you mean crate_mini"),
            ("vit_large_8", "did you mean vit_"),
            ("Crate_tiny", "did you mean crate_tiny"),
            ("resnet50", "there are [0-9]+, such as crate_nano"),
            ("", "there are [0-9]+, such as crate_nano"),
        ],
    )
    def test_unknown_name(self, name, meant):
        """One line, whatever the number of models: the nearest name, and what lists the rest."""
        with pytest.raises(
            ValueError, match=f"^unknown model '{name}'; {meant}.*list_models\\(\\) has all$"
        ) as told:
            create_model(name)
        assert len(str(told.value)) < 130

    def test_unknown_setting(self):
        with pytest.raises(
            ValueError, match=r"unknown settings \['dimm'\]; known are \['attention', .*'dim', "
        ):
            tiny(dimm=3)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"dim": 0}, "dim must be a positive integer, got 0"),
            ({"depth": -1}, "depth must be a positive integer, got -1"),
            ({"num_classes": 0}, "num_classes must be a positive integer, got 0"),
            ({"image_size": 0}, "image_size must be a positive integer, got 0"),
            ({"patch_size": 0}, "patch_size must be a positive integer, got 0"),
            ({"patch_size": 4.0}, "patch_size must be a positive integer, got 4.0"),
            ({"head_dim": -2}, "head_dim must be a positive integer or None, got -2"),
            ({"image_size": 30}, "image_size 30 is not a multiple of patch_size 8"),
            ({"heads": 3}, "dim=32 does not divide into heads=3; give head_dim"),
            ({"attention": "linear"}, r"attention must be one of \('mssa', 'mhsa',.*\), got 'linear'"),
            ({"feed": "moe"}, r"feed must be one of \('ista', 'mlp',.*\), got 'moe'"),
            ({"proximal": "hard"}, r"proximal must be one of \('relu', 'soft'\), got 'hard'"),
            ({"attention": "mhsa", "tied": True}, "tied is a property of mssa"),
            ({"readout": "max"}, r"readout must be one of \('class', 'mean'\), got 'max'"),
            ({"keep": float("nan")}, "keep must be a finite number, got nan"),
            ({"move": float("inf")}, "move must be a finite number, got inf"),
            ({"step": float("nan")}, "step must be a finite number, got nan"),
            ({"std": (0.2, 0.0, 0.2)}, r"std positive for every channel, got .* and \(0.2, 0.0, 0.2\)"),
            ({"mean": (0.5, float("nan"), 0.5)}, "mean must be finite"),
        ],
    )
    def test_settings(self, settings, message, unchecked):
        with pytest.raises(ValueError, match=message):
            tiny(**settings)


class TestConfig:
    def test_round_trip_through_json(self):
        config = tiny(tied=True, mean=(0.1, 0.2, 0.3), head_dim=7, keep=0.5, move=-1.0).config
        assert CRATEConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config

    def test_frozen(self):
        with pytest.raises(AttributeError):
            tiny().config.dim = 3

    def test_default_sizes(self):
        with torch.device("meta"):
            assert create_model("crate_mini").config.image_size == 64
            assert create_model("crate_tiny_8").config.image_size == 224
            assert create_model("crate_tiny", image_size=64, patch_size=8).config.grid == 8
