"""The authors' state dict: what is in one, the model from it, and what is refused."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch

from crate_mini import official as official_module
from crate_mini.model import create_model, former_name
from crate_mini.official import OfficialReport, describe_official, from_official, load_official
from crate_mini.weights import CheckpointError, load_model

# What follows states, as facts, the layout of github.com/Ma-Lab-Berkeley/CRATE and its forward pass in plain functions.


def official_shapes(
    d: int, heads: int, p: int, depth: int, patch: int, grid: int, classes: int
) -> dict[str, tuple]:
    pixels, inner = 3 * patch * patch, heads * p
    shapes = {
        "pos_embedding": (1, grid * grid + 1, d),
        "cls_token": (1, 1, d),
        "to_patch_embedding.1.weight": (pixels,),
        "to_patch_embedding.1.bias": (pixels,),
        "to_patch_embedding.2.weight": (d, pixels),
        "to_patch_embedding.2.bias": (d,),
        "to_patch_embedding.3.weight": (d,),
        "to_patch_embedding.3.bias": (d,),
        "mlp_head.0.weight": (d,),
        "mlp_head.0.bias": (d,),
        "mlp_head.1.weight": (classes, d),
        "mlp_head.1.bias": (classes,),
    }
    for i in range(depth):
        layer = f"transformer.layers.{i}"
        shapes |= {
            f"{layer}.0.norm.weight": (d,),
            f"{layer}.0.norm.bias": (d,),
            f"{layer}.0.fn.qkv.weight": (inner, d),
            f"{layer}.0.fn.to_out.0.weight": (d, inner),
            f"{layer}.0.fn.to_out.0.bias": (d,),
            f"{layer}.1.norm.weight": (d,),
            f"{layer}.1.norm.bias": (d,),
            f"{layer}.1.fn.weight": (d, d),
        }
        if heads == 1 and p == d:
            del shapes[f"{layer}.0.fn.to_out.0.weight"], shapes[f"{layer}.0.fn.to_out.0.bias"]
    return shapes


def official(*sizes: int, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in official_shapes(*sizes).items():
        value = torch.randn(shape, generator=g)
        if len(shape) == 2:
            value /= math.sqrt(shape[1])
        elif "norm.weight" in name or name in ("mlp_head.0.weight", "to_patch_embedding.3.weight"):
            value = 1 + 0.2 * value
        state[name] = value
    return state


def official_forward(
    state: dict[str, torch.Tensor], images: torch.Tensor, heads: int, depth: int
) -> torch.Tensor:
    """Logits for images in [0, 1]: explicit softmax, three products in ISTA, LayerNorm with eps 1e-5."""

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    dtype = images.dtype
    mean, std = (
        torch.tensor([0.485, 0.456, 0.406], dtype=dtype),
        torch.tensor([0.229, 0.224, 0.225], dtype=dtype),
    )
    x = (images.movedim(1, -1) - mean) / std  # (b, h, w, c)
    patch = round((state["to_patch_embedding.1.weight"].numel() / 3) ** 0.5)
    b, grid = len(x), x.shape[1] // patch
    x = torch.stack(
        [
            x[:, r * patch : (r + 1) * patch, c * patch : (c + 1) * patch].reshape(b, -1)
            for r in range(grid)
            for c in range(grid)
        ],
        dim=1,
    )
    x = norm(linear(norm(x, "to_patch_embedding.1"), "to_patch_embedding.2"), "to_patch_embedding.3")
    x = torch.cat([state["cls_token"].repeat(b, 1, 1), x], 1) + state["pos_embedding"]
    for i in range(depth):
        layer = f"transformer.layers.{i}"
        w = norm(x, f"{layer}.0.norm") @ state[f"{layer}.0.fn.qkv.weight"].T
        w = torch.stack(w.chunk(heads, -1), 1)  # (b, heads, n, p)
        attention = torch.softmax(w @ w.transpose(-1, -2) * w.shape[-1] ** -0.5, -1)
        out = torch.cat(list((attention @ w).unbind(1)), -1)
        if f"{layer}.0.fn.to_out.0.weight" in state:
            out = linear(out, f"{layer}.0.fn.to_out.0")
        x = x + out
        y, D = norm(x, f"{layer}.1.norm"), state[f"{layer}.1.fn.weight"]
        x1 = y @ D.T
        grad_1 = x1 @ D
        grad_2 = y @ D
        x = torch.relu(y + 0.1 * (grad_2 - grad_1) - 0.1 * 0.1)
    return linear(norm(x[:, 0], "mlp_head.0"), "mlp_head.1")


# dim, heads, head_dim, depth, patch, grid, classes
SIZES = {
    "plain": (48, 3, 16, 3, 4, 5, 7),
    "narrow heads": (48, 4, 10, 2, 8, 3, 2),
    "one head": (24, 1, 24, 2, 4, 4, 3),
}


class TestOfficial:
    @pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
    def test_logits_are_the_official_ones(self, sizes):
        d, heads, p, depth, patch, grid, classes = sizes
        state = official(*sizes)
        model = from_official(state, heads=heads)
        assert (model.config.dim, model.config.head_dim, model.config.depth) == (d, p, depth)
        assert (model.config.patch_size, model.config.image_size) == (patch, grid * patch)
        assert model.config.num_classes == classes
        images = torch.rand(3, 3, grid * patch, grid * patch, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(
            model(images), official_forward(state, images, heads, depth), rtol=1e-5, atol=1e-5
        )
        wide = {k: v.double() for k, v in state.items()}
        expected = official_forward(wide, images.double(), heads, depth)
        # the model keeps the channel statistics in float32; give both the same
        double = model.double()
        double.mean.copy_(torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1))
        double.std.copy_(torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1))
        torch.testing.assert_close(double(images.double()), expected, rtol=0, atol=1e-10)

    def test_the_comparison_can_fail(self):
        """Each deviation from the released arithmetic shows in the logits."""
        sizes = SIZES["plain"]
        state, images = official(*sizes), torch.rand(2, 3, 20, 20)
        expected = official_forward(state, images, 3, 3)
        for wrong in ({"step": 0.11}, {"lam": 0.12}, {"proximal": "soft"}, {"feed_eps": 1e-3}):
            eps = wrong.pop("feed_eps", None)
            model = from_official(state, heads=3, **wrong)
            if eps:
                for block in model.blocks:
                    block.norm1.eps = eps
            assert (model(images) - expected).abs().max() > 1e-4

    def test_training_checkpoint(self):
        state = official(*SIZES["plain"])
        nested = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
        ours = from_official(nested, heads=3).state_dict()
        assert all(torch.equal(v, ours[k]) for k, v in from_official(state, heads=3).state_dict().items())

    @pytest.mark.parametrize(("given_heads", "heads"), [(None, 12), (6, 6)])
    def test_heads_by_width(self, given_heads, heads):
        """768 wide: 12 heads as published, but 6 in the authors' demo weights."""
        model = from_official(official(768, heads, 768 // heads, 1, 4, 2, 2), heads=given_heads)
        assert (model.config.heads, model.config.head_dim) == (heads, 768 // heads)

    def test_unknown_width(self):
        with pytest.raises(
            CheckpointError, match=r"no published CRATE has width 48; say how many heads .*heads=\.\.\."
        ):
            from_official(official(*SIZES["plain"]))

    @pytest.mark.parametrize(
        ("break_it", "named"),
        [
            (lambda s: s.pop("transformer.layers.1.1.fn.weight"), ["layers.1.1.fn.weight is missing"]),
            (lambda s: s.pop("cls_token"), ["cls_token is missing"]),
            (lambda s: s.update(extra=torch.zeros(1)), ["extra is not part of a CRATE of depth 3"]),
            (
                lambda s: s.update({"transformer.layers.0.0.fn.qkv.bias": torch.zeros(48)}),
                ["transformer.layers.0.0.fn.qkv.bias is not part"],
            ),
            (
                lambda s: (s.pop("mlp_head.0.bias"), s.update(cls_token=torch.zeros(1, 1, 5))),
                ["mlp_head.0.bias is missing", r"cls_token has shape \(1, 1, 5\), expected \(1, 1, 48\)"],
            ),
            (lambda s: s.update(pos_embedding=torch.zeros(1, 20, 48)), ["20 positions are not square"]),
            (lambda s: s.update(pos_embedding=torch.zeros(26, 48)), [r"pos_embedding has shape \(26, 48\)"]),
            (lambda s: s.update({"to_patch_embedding.2.weight": torch.zeros(48, 50)}), ["patches of 50 numbers"]),
            (lambda s: s.update({"transformer.layers.0.0.fn.qkv.weight": torch.zeros(50, 48)}), ["expected"]),
            (lambda s: s.pop("pos_embedding"), ["not a state dict of the official CRATE: pos_embedding not in it"]),
            (
                lambda s: [s.pop(k) for k in list(s) if k.startswith("transformer")],
                ["it has no transformer.layers"],
            ),
        ],
    )  # fmt: skip
    def test_what_does_not_fit_is_named(self, break_it, named):
        state = official(*SIZES["plain"])
        break_it(state)
        with pytest.raises(CheckpointError) as caught:
            from_official(state, heads=3)
        for pattern in named:
            caught.match(pattern)

    def test_our_own_state_dict_is_not_theirs(self):
        model = create_model("crate_nano", num_classes=3)
        former = {former_name(k): v for k, v in model.state_dict().items()}
        for state in (model.state_dict(), former):
            with pytest.raises(
                CheckpointError, match=r"not a state dict of the official CRATE(.|\n)*of this package"
            ):
                from_official(state)

    def test_of_a_compiled_model(self):
        state = official(*SIZES["plain"])
        compiled = {f"_orig_mod.{k}": v for k, v in state.items()}
        ours = from_official(compiled, heads=3).state_dict()
        assert all(torch.equal(v, ours[k]) for k, v in from_official(state, heads=3).state_dict().items())


def published(*sizes: int) -> dict[str, torch.Tensor]:
    """The shapes of a published model, without its numbers."""
    return {k: torch.empty(shape, device="meta") for k, shape in official_shapes(*sizes).items()}


class TestReport:
    """What the importer says of a file: sizes, which published model it is, and what does not fit."""

    @pytest.mark.parametrize(
        ("sizes", "name"),
        [
            ((384, 6, 64, 12, 16, 14, 1000), r"CRATE-T of arXiv 2306.01129 \(crate_tiny\), ImageNet-1k"),
            ((576, 12, 48, 12, 16, 14, 1000), r"CRATE-S of arXiv 2306.01129 \(crate_small\), ImageNet-1k"),
            ((1024, 16, 64, 24, 16, 14, 1000), r"CRATE-L of arXiv 2306.01129 \(crate_large\), ImageNet-1k"),
            ((384, 6, 64, 12, 8, 28, 21842), r"CRATE-S/8 of arXiv 2308.16271 \(crate_small_8\), ImageNet-21k"),
            ((384, 6, 64, 12, 8, 28, 37), r"CRATE-S/8 of .*, a classifier of 37 classes"),
            ((768, 12, 64, 12, 4, 8, 10), r"CRATE-B of .*, but patch 4 in place of 16; a classifier of 10"),
            ((576, 12, 48, 6, 16, 14, 1000), r"CRATE-S of .*, but depth 6 in place of 12; ImageNet-1k"),
            ((48, 3, 16, 2, 16, 14, 1000), "a CRATE of a width that nobody published"),
        ],
    )  # fmt: skip
    def test_which_published_model_it_is(self, sizes, name):
        report = describe_official(published(*sizes))
        assert re.search(name, report.looks_like), report.looks_like
        assert report.problems == ()
        assert (report.width, report.depth, report.patch_size, report.grid, report.num_classes) == (
            sizes[0], *sizes[3:],
        )  # fmt: skip
        assert "every tensor is there and has the shape it should have" in str(report)

    def test_numbers_of_the_papers_table(self):
        """Table 3 of arXiv 2308.16271: 14.12 million numbers in CRATE-S/8 with its ImageNet-21k head."""
        report = describe_official(published(384, 6, 64, 12, 8, 28, 21842))
        assert round(report.numbers / 1e6, 2) == 14.12
        assert "14,1" in str(report)

    def test_published_sizes_are_those_of_create_model(self):
        for (width, depth, patch), text in official_module._PUBLISHED.items():
            name = re.search(r"\((\w+)\)", text)[1]
            with torch.device("meta"):
                config = create_model(name).config
            assert (config.dim, config.depth, config.patch_size) == (width, depth, patch)
            assert config.heads == official_module._PUBLISHED_HEADS[width]

    def test_two_head_counts(self):
        """CRATE-B/8 and the authors' demo weights have the same shapes."""
        report = describe_official(published(768, 12, 64, 12, 8, 28, 21842))
        assert report.two_head_counts
        assert "12 as published; the authors' demo weights have these shapes and 6" in str(report)
        assert "6, as given" in str(describe_official(published(768, 6, 128, 12, 8, 28, 21842), heads=6))
        assert not describe_official(published(768, 12, 64, 12, 16, 14, 1000)).two_head_counts

    def test_import_of_shapes_with_two_head_counts_warns(self, monkeypatch):
        monkeypatch.setattr(OfficialReport, "two_head_counts", True)
        state = official(768, 12, 64, 1, 4, 2, 2)
        with pytest.warns(UserWarning, match="Say heads=6 or heads=12"):
            from_official(state)
        assert from_official(state, heads=6).config.heads == 6  # said, no warning

    def test_training_checkpoint(self):
        state = official(*SIZES["plain"])
        nested = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
        assert "as a training checkpoint" in str(describe_official(nested))
        assert "as a training checkpoint" not in str(describe_official(state))

    def test_table_of_what_does_not_fit(self):
        """The same trouble in every layer is one line."""
        state = official(*SIZES["plain"])
        for i in range(3):
            del state[f"transformer.layers.{i}.1.fn.weight"]
        state["transformer.layers.1.0.norm.bias"] = torch.zeros(7)
        state["extra"] = torch.zeros(2, 2)
        table = str(describe_official(state)).split("\n\n")[1]
        rows = [re.split(r"  +", line) for line in table.split("\n")]
        assert rows == [
            ["tensor", "expected", "found"],
            ["transformer.layers.[0-2].1.fn.weight", "(48, 48)", "nothing"],
            ["transformer.layers.1.0.norm.bias", "(48,)", "(7,)"],
            ["extra", "nothing", "(2, 2)"],
        ]
        with pytest.raises(CheckpointError) as caught:
            from_official(state, heads=3)
        assert table in str(caught.value)
        assert "width       48" in str(caught.value)

    def test_many_problems_are_cut_short_above_the_table(self):
        state = {k: v for k, v in official(*SIZES["plain"]).items() if "norm" not in k}
        with pytest.raises(CheckpointError, match="and 6 more") as caught:
            from_official(state, heads=3)
        assert "transformer.layers.[0-2].0.norm.weight" in str(caught.value)

    @pytest.mark.parametrize(
        ("key", "what"),
        [
            ("blocks.0.attention.project.weight", "weights of this package: load_model"),
            ("blocks.0.attn.qkv.weight", "a ViT as in timm or DINO"),
            ("transformer.layers.0.0.fn.to_qkv.weight", "a ViT as in vit-pytorch"),
            ("conv1.weight", "no CRATE: its patch embedding or its layers are missing"),
        ],
    )
    def test_another_network(self, key, what):
        state = {key: torch.zeros(3, 3), "head.bias": torch.zeros(5)}
        assert what in describe_official(state).looks_like
        with pytest.raises(CheckpointError, match=what):
            from_official(state)

    @pytest.mark.parametrize("nest", ["state_dict", "model", "model_state_dict", "teacher"])
    def test_out_of_a_training_checkpoint(self, nest):
        state, heads = official(*SIZES["plain"]), SIZES["plain"][1]
        kept = {"epoch": 3, nest: {f"module.{k}": v for k, v in state.items()}}
        assert "as a training checkpoint" in str(describe_official(kept))
        found = from_official(kept, heads=heads).state_dict()
        assert all(
            torch.equal(v, found[k]) for k, v in from_official(state, heads=heads).state_dict().items()
        )

    @pytest.mark.parametrize(
        "state", [{}, {"epoch": 3}, {"state_dict": None}, {"state_dict": {"a": "b"}}, {"model": [1]}]
    )
    def test_nothing_in_it(self, state):
        assert "holds       0 tensors" in str(describe_official(state))
        assert "every tensor is there" not in str(describe_official(state))
        with pytest.raises(CheckpointError, match="not a state dict of the official CRATE"):
            from_official(state)


class TestNotFinite:
    def test_a_state_dict_of_the_authors_is_refused(self):
        state = official(*SIZES["plain"])
        state["transformer.layers.0.1.fn.weight"][0, 0] = torch.nan
        message = "this state dict has weights that are not finite: transformer.layers.0.1.fn.weight holds 1"
        with pytest.raises(CheckpointError, match=message):
            from_official(state, heads=SIZES["plain"][1])


class TestOfficialFiles:
    def test_read_without_running_anything(self, tmp_path):
        state = official(*SIZES["plain"])
        path = tmp_path / "crate.pth"
        torch.save({"epoch": 3, "arch": "CRATE_small", "state_dict": state, "optimizer": {"lr": 0.1}}, path)
        assert torch.equal(load_official(path)["state_dict"]["cls_token"], state["cls_token"])

        class Harm:
            def __reduce__(self):
                return (exec, ("raise AssertionError('it ran')",))

        torch.save({"state_dict": state, "harm": Harm()}, path)
        with pytest.raises(CheckpointError, match=r"crate.pth is not a PyTorch file that can be read safely"):
            load_official(path)

    def test_what_cannot_be_read(self, tmp_path):
        path = tmp_path / "crate.pth"
        with pytest.raises(FileNotFoundError, match=r"no file at .*crate\.pth"):
            load_official(path)
        for contents in (b"", b"text", b"PK\x03\x04 cut off"):
            path.write_bytes(contents)
            with pytest.raises(CheckpointError, match="truncated, or it holds more"):
                load_official(path)
        torch.save(torch.zeros(3), path)
        with pytest.raises(CheckpointError, match="holds a Tensor, expected a state dict"):
            load_official(path)

    def test_command(self, tmp_path, capsys):
        from crate_mini.cli import main

        path, out = tmp_path / "crate.pth", tmp_path / "w.safetensors"
        state = official(*SIZES["plain"])
        torch.save(state, path)
        for line in (["import", str(path)], ["import", str(path), "--heads", "3", "--out", str(out)]):
            assert main(line) == 0
        told = capsys.readouterr().out
        assert "heads       unknown: the shapes do not tell" in told
        assert "3 heads" in told
        model = load_model(out)
        expected = from_official(state, heads=3)
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in expected.state_dict().items())
        assert json.loads(out.with_suffix(".json").read_text())["source"].startswith(
            "imported from crate.pth"
        )

    @pytest.mark.parametrize(
        ("state", "what"),
        [
            (
                {"blocks.0.attn.qkv.weight": torch.zeros(9, 3), "cls_token": torch.zeros(1, 1, 3)},
                "timm or DINO",
            ),
            (
                {"model": {"vit.encoder.layer.0.attention.attention.query.weight": torch.zeros(3, 3)}},
                "transformers",
            ),
            ({"fc.weight": torch.zeros(2, 2)}, "no CRATE"),
        ],
    )
    def test_of_another_network_the_report_is_printed_and_the_error_one_line(
        self, state, what, tmp_path, capsys
    ):
        from crate_mini.cli import main

        torch.save(state, tmp_path / "x.pth")
        assert main(["import", str(tmp_path / "x.pth"), "--out", str(tmp_path / "w.safetensors")]) == 2
        out, err = capsys.readouterr()
        assert what in out
        assert err.count("\n") == 1
        assert "not a state dict of the official CRATE" in err
        assert not (tmp_path / "w.safetensors").exists()

    def test_a_whole_model_that_was_pickled(self, tmp_path):
        """PyTorch's message speaks in bold letters of what would run it; ours does not."""
        torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pth")
        with pytest.raises(CheckpointError, match="holds more than tensors and plain values") as caught:
            load_official(tmp_path / "x.pth")
        assert "\x1b" not in str(caught.value)
        assert "\n" not in str(caught.value)
