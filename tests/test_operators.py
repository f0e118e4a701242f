"""Operators: each is its equation, with masks and gradients; and a new one from elsewhere walks through everything."""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import nn

from crate_mini.attention_maps import cls_attention_maps
from crate_mini.compression import ExplicitAttention, explicit_attention
from crate_mini.data.imageset import ImageSet
from crate_mini.heads import scaled_heads
from crate_mini.inspector import inspect_images
from crate_mini.layerwise import measure, weight_facts
from crate_mini.model import CRATEConfig, EncoderConfig, create_model
from crate_mini.operations import multiply_adds
from crate_mini.operators import (
    ATTENTIONS,
    FEEDS,
    ISTA,
    MHSA,
    MLP,
    MSSA,
    Attention,
    CannotAnswer,
    Feed,
    build,
    causal_mask,
    padding_mask,
    register,
)
from crate_mini.reading import not_reading
from crate_mini.recorder import RECORDABLE, record
from crate_mini.token_pca import patch_features
from crate_mini.training import Recipe, train
from crate_mini.transfer import adapt, features
from crate_mini.weights import CheckpointError, load_model, save_model

# ---- equations, in numpy, in double precision -----------------------------------------------------------------------


def weights(layer: nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().double().numpy() for name, p in layer.named_parameters()}


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def heads_of(x: np.ndarray, K: int) -> np.ndarray:
    b, n, m = x.shape
    return x.reshape(b, n, K, m // K).transpose(0, 2, 1, 3)


def gathered(q: np.ndarray, k: np.ndarray, v: np.ndarray, K: int, mask: np.ndarray | None) -> np.ndarray:
    q, k, v = (heads_of(x, K) for x in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(k.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    out = (softmax(scores) @ v).transpose(0, 2, 1, 3)
    return out.reshape(*out.shape[:2], -1)


def numpy_mssa(layer: MSSA, Z: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    w = weights(layer)
    projected = Z @ w["project.weight"].T
    joined = gathered(projected, projected, projected, layer.heads, mask)
    if layer.out is None:
        return joined @ w["project.weight"]
    return joined @ w["out.weight"].T + w["out.bias"]


def numpy_mhsa(layer: MHSA, Z: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    w = weights(layer)
    q, k, v = np.split(Z @ w["project.weight"].T + w["project.bias"], 3, axis=-1)
    return gathered(q, k, v, layer.heads, mask) @ w["out.weight"].T + w["out.bias"]


def numpy_ista(layer: ISTA, Y: np.ndarray) -> np.ndarray:
    D = weights(layer)["D"]
    v = Y + layer.step * (Y - Y @ D.T) @ D
    threshold = layer.step * layer.lam
    if layer.proximal == "relu":
        return np.maximum(v - threshold, 0)
    return np.sign(v) * np.maximum(np.abs(v) - threshold, 0)


def numpy_mlp(layer: MLP, Y: np.ndarray) -> np.ndarray:
    w = weights(layer)
    h = Y @ w["0.weight"].T + w["0.bias"]
    return 0.5 * h * (1 + erf(h / np.sqrt(2))) @ w["2.weight"].T + w["2.bias"]


def seeded(make) -> nn.Module:
    torch.manual_seed(0)
    return make()


ATTENTION_LAYERS = {
    "mssa": (lambda: MSSA(24, 3), numpy_mssa),
    "mssa, narrow heads": (lambda: MSSA(24, 4, 5), numpy_mssa),
    "mssa, tied": (lambda: MSSA(24, 3, tied=True), numpy_mssa),
    "mhsa": (lambda: MHSA(24, 3), numpy_mhsa),
    "mhsa, narrow heads": (lambda: MHSA(24, 2, 5), numpy_mhsa),
}
FEED_LAYERS = {
    "ista": (lambda: ISTA(24, step=0.3, lam=0.2), numpy_ista),
    "ista, soft": (lambda: ISTA(24, step=0.3, lam=0.2, proximal="soft"), numpy_ista),
    "mlp": (lambda: MLP(24, 3), numpy_mlp),
}
B, N = 2, 9


def masks() -> dict[str, torch.Tensor | None]:
    anything = torch.rand(B, 1, N, N, generator=torch.Generator().manual_seed(4)) > 0.6
    present = torch.arange(N) < torch.tensor([[N], [5]])
    return {
        "none": None,
        "causal": causal_mask(N),
        "padding": padding_mask(present),
        "causal and padding": causal_mask(N) & padding_mask(present),
        "anything": anything | torch.eye(N, dtype=torch.bool),
    }


def tokens(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 3e-6)])
class TestEquations:
    @pytest.mark.parametrize("mask", masks())
    @pytest.mark.parametrize("name", ATTENTION_LAYERS)
    def test_attention(self, name, mask, dtype, tolerance):
        make, equation = ATTENTION_LAYERS[name]
        layer, mask = seeded(make).to(dtype), masks()[mask]
        Z = 2 * tokens(B, N, 24).to(dtype)
        expected = equation(layer, Z.double().numpy(), None if mask is None else mask.numpy())
        found = layer(Z, mask)
        assert found.dtype == dtype
        np.testing.assert_allclose(found.detach().double().numpy(), expected, rtol=0, atol=tolerance)

    @pytest.mark.parametrize("name", FEED_LAYERS)
    def test_feed(self, name, dtype, tolerance):
        make, equation = FEED_LAYERS[name]
        layer = seeded(make).to(dtype)
        for n in (N, 40):  # fewer tokens than dimensions, and more
            Y = tokens(B, n, 24).to(dtype)
            found = layer(Y).detach().double().numpy()
            np.testing.assert_allclose(found, equation(layer, Y.double().numpy()), rtol=0, atol=tolerance)


class TestGradients:
    @pytest.mark.parametrize("mask", masks())
    @pytest.mark.parametrize("name", ATTENTION_LAYERS)
    def test_attention(self, name, mask):
        layer, mask = seeded(ATTENTION_LAYERS[name][0]).double(), masks()[mask]
        names, parameters = zip(*layer.named_parameters(), strict=True)

        def run(Z, *values):
            return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (Z, mask))

        assert torch.autograd.gradcheck(run, (tokens(B, N, 24).requires_grad_(), *parameters), fast_mode=True)

    @pytest.mark.parametrize("name", FEED_LAYERS)
    def test_feed(self, name):
        layer = seeded(FEED_LAYERS[name][0]).double()
        names, parameters = zip(*layer.named_parameters(), strict=True)

        def run(Y, *values):
            return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (Y,))

        assert torch.autograd.gradcheck(run, (tokens(B, N, 24).requires_grad_(), *parameters), fast_mode=True)

    @pytest.mark.parametrize("mask", masks())
    @pytest.mark.parametrize("same", [True, False])
    def test_the_written_out_backward_pass_with_a_mask(self, same, mask):
        """What training in half precision on a CPU runs, in double: the values and the gradients of autograd."""
        mask, directions = masks()[mask], tokens(B, 3, N, 8)
        heads = [
            torch.randn(B, 3, N, 8, dtype=torch.float64, requires_grad=True) for _ in range(1 if same else 3)
        ]
        ours = ExplicitAttention.apply(*(heads * 3 if same else heads), mask)
        plain = explicit_attention(*(heads * 3 if same else heads), mask)
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-13)
        for a, b in zip(
            torch.autograd.grad(ours, heads, directions),
            torch.autograd.grad(plain, heads, directions),
            strict=True,
        ):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("learning", [False, True])
@pytest.mark.parametrize("name", ["mssa", "mhsa"])
def test_masks_under_autocast(name, learning):
    """The plain products that half precision takes on a CPU hide what a mask hides, exactly."""
    layer, mask = seeded(ATTENTION_LAYERS[name][0]), causal_mask(N)
    Z = tokens(B, N, 24).float()
    other = Z.clone()
    other[:, 4:] += 1
    with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(learning):
        a, b = layer(Z, mask), layer(other, mask)
    assert torch.equal(a[:, :4], b[:, :4])
    torch.testing.assert_close(a.float(), layer(Z, mask), rtol=0.05, atol=0.05)


class TestAnswers:
    """What the contract's questions are answered with, against the forward pass itself."""

    @pytest.mark.parametrize("name", ATTENTION_LAYERS)
    def test_scores_are_what_attention_is_the_softmax_of(self, name):
        layer = seeded(ATTENTION_LAYERS[name][0]).double()
        projected = layer.project(tokens(B, N, 24))
        queries, keys = layer.queries_keys(projected)
        assert (queries is keys) == layer.symmetric
        whole = queries @ keys.mT / layer.head_dim**0.5
        chosen = torch.tensor([4, 0])
        torch.testing.assert_close(layer.scores(projected, chosen), whole[:, :, chosen], rtol=0, atol=1e-13)
        torch.testing.assert_close(layer.scores(projected, slice(0, 1)), whole[:, :, :1], rtol=0, atol=1e-13)
        assert torch.equal(layer.coordinates(projected), keys)

    @pytest.mark.parametrize("name", ATTENTION_LAYERS)
    def test_coordinates_are_projections_on_the_bases(self, name):
        layer = seeded(ATTENTION_LAYERS[name][0]).double()
        Z = tokens(B, N, 24)
        assert layer.U.shape == (layer.heads, 24, layer.head_dim)
        b = layer.project.bias  # of MHSA, whose second third are the keys
        bias = 0 if b is None else b.chunk(3)[1].view(layer.heads, 1, -1)
        expected = torch.einsum("bnd,kdp->bknp", Z, layer.U) + bias
        torch.testing.assert_close(layer.coordinates(layer.project(Z)), expected, rtol=0, atol=1e-13)

    def test_output_maps(self):
        layer = seeded(lambda: MSSA(24, 3))
        heads = torch.randn(2, 5, 3, 8)
        by_head = torch.einsum("bnkp,kdp->bnd", heads, layer.output_map) + layer.out.bias
        torch.testing.assert_close(layer.out(heads.flatten(2)), by_head)
        assert MSSA(24, 3, tied=True).output_map is None
        assert MHSA(24, 3).output_map is None


# ---- the registry ---------------------------------------------------------------------------------------------------


class Scaled(Attention):
    """Attention by cosines, sharpened: an operator of another package, with a setting of its own."""

    def __init__(self, dim: int, heads: int, sharpness: float = 4.0) -> None:
        super().__init__()
        self.heads, self.head_dim, self.sharpness = heads, dim // heads, sharpness
        self.project, self.out = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)

    @property
    def U(self):
        return self.project.weight.view(self.heads, self.head_dim, -1).mT

    def coordinates(self, projected):
        Zk = projected.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)
        return nn.functional.normalize(Zk, dim=-1) * (self.sharpness * self.head_dim**0.5) ** 0.5

    def queries_keys(self, projected):
        keys = self.coordinates(projected)
        return keys, keys

    def forward(self, Z, mask=None):
        keys = self.coordinates(self.project(Z))
        heads = nn.functional.scaled_dot_product_attention(keys, keys, keys, attn_mask=mask)
        return self.out(heads.transpose(1, 2).flatten(2))

    def multiply_adds(self, tokens, batch=1):
        d = self.heads * self.head_dim
        return {"linear maps": 2 * batch * tokens * d * d, "attention": 2 * batch * tokens**2 * d}


class Pooled(Attention):
    """Every token is given the mean of all: tokens meet, but none looks at another."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.project, self.out = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)

    @property
    def U(self):
        return self.project.weight.view(self.heads, self.head_dim, -1).mT

    def coordinates(self, projected):
        return projected.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

    def forward(self, Z, mask=None):
        return self.out(self.project(Z).mean(1, keepdim=True)).expand_as(Z)

    def multiply_adds(self, tokens, batch=1):
        return {"linear maps": batch * (tokens + 1) * self.project.weight.numel()}


class Wide(Feed):
    """A sparse code in a dictionary with more atoms than dimensions, and back: with a skip connection."""

    def __init__(self, dim: int, lam: float, atoms: int) -> None:
        super().__init__()
        self.lam, self.D = lam, nn.Parameter(torch.randn(dim, atoms) / dim**0.5)

    def forward(self, Y):
        return torch.relu(Y @ self.D - self.lam) @ self.D.mT

    @property
    def dictionary(self):
        return self.D

    def multiply_adds(self, tokens, batch=1):
        return {"feed": 2 * batch * tokens * self.D.numel()}


TOYS = (("scaled", Scaled, ATTENTIONS), ("pooled", Pooled, ATTENTIONS), ("wide", Wide, FEEDS))


@pytest.fixture
def toys():
    """The operators above, known by name for one test."""
    for name, operator, _ in TOYS:
        register(name)(operator)
    yield
    for name, _, table in TOYS:
        table.pop(name, None)


def toy_model(attention: str = "scaled", feed: str = "wide", **changes):
    torch.manual_seed(0)
    options = {"atoms": 40} if feed == "wide" else {}
    options |= {"sharpness": 5.0} if attention == "scaled" else {}
    settings = {"dim": 24, "heads": 3, "depth": 2, "image_size": 32, "num_classes": 3, "options": options}
    return create_model("crate_nano", attention=attention, feed=feed, **settings | changes).eval()


def pictures(n: int = 6) -> ImageSet:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, 32, 32), generator=g, dtype=torch.uint8)
    return ImageSet(images=images, labels=torch.arange(n) % 3, classes=("a", "b", "c"), name="made")


class TestRegistry:
    def test_a_name_belongs_to_one_class(self, toys):
        register("scaled")(Scaled)  # as when a notebook's cell is run again
        with pytest.raises(
            ValueError, match=r"'mssa' is the name of MSSA of crate_mini\.operators\.basic already"
        ):
            register("mssa")(Scaled)
        with pytest.raises(TypeError, match="Linear must be a subclass of Attention or of Feed"):
            register("linear")(nn.Linear)

    def test_what_a_contract_leaves_open_is_named(self):
        class Half(Feed):
            def forward(self, Y):
                return Y

        with pytest.raises(TypeError, match="Half must define multiply_adds"):
            register("half")(Half)

    def test_settings(self, toys):
        for block in toy_model(lam=0.3).blocks:
            assert block.attention.sharpness == 5
            assert block.feed.lam == 0.3
            assert block.feed.D.shape == (24, 40)
        with pytest.raises(ValueError, match="Wide needs atoms; say so in options="):
            toy_model(options={})
        with pytest.raises(
            ValueError, match=r"unknown options \['atom'\]; scaled and wide take atoms, sharpness beside"
        ):
            toy_model(options={"atom": 3})
        with pytest.raises(ValueError, match=r"unknown options \['dim'\]"):
            toy_model(options={"atoms": 3, "dim": 3})
        with pytest.raises(
            ValueError, match=r"unknown options \['sharpness'\]; mssa and ista take no options"
        ):
            create_model("crate_nano", options={"sharpness": 1})
        with pytest.raises(ValueError, match="tied is a property of mssa; scaled has no basis to tie"):
            toy_model(tied=True)

    def test_what_a_constructor_leaves_out_is_named(self, toys):
        class Bare(Pooled):
            def __init__(self, dim: int, heads: int) -> None:
                nn.Module.__init__(self)
                self.heads, self.project = heads, nn.Linear(dim, dim)

        with pytest.raises(TypeError, match="constructor of Bare must set head_dim, out: see Attention"):
            build(Bare, {"dim": 8, "heads": 2})

    def test_a_config_round_trips_through_json(self, toys):
        for config in (
            toy_model().config,
            EncoderConfig(dim=8, heads=2, depth=1, feed="wide", options={"atoms": 3}),
        ):
            assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config
            assert isinstance(hash(config), int)

    def test_an_unknown_name_says_how_it_becomes_known(self):
        with pytest.raises(
            ValueError, match=r"attention must be one of .*'scaled'; an operator from elsewhere must be"
        ):
            CRATEConfig(dim=8, heads=2, depth=1, attention="scaled")


def test_nobody_asks_an_operator_what_it_is():
    """Readers ask what its contract says; with a class of their own in mind they would be wrong about the next one."""
    known = {"Attention", "Feed", *(o.__name__ for o in (*ATTENTIONS.values(), *FEEDS.values()))}
    asking = []
    for path in (Path(__file__).resolve().parent.parent / "crate_mini").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
                names = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
                if names & known and "operators" not in path.parts:
                    asking.append(f"{path.name}:{node.lineno}")
    assert asking == []


# ---- a new operator walks through everything ------------------------------------------------------------------------


@pytest.mark.usefixtures("toys")
class TestWalk:
    @pytest.mark.parametrize(
        ("attention", "feed"), [("scaled", "wide"), ("pooled", "ista"), ("mhsa", "wide")]
    )
    def test_model_and_training(self, attention, feed):
        model, images = toy_model(attention, feed), pictures()
        assert model(images.images).shape == (6, 3)
        before = {name: p.clone() for name, p in model.named_parameters()}
        run = train(
            model, images, images, Recipe(epochs=3, batch_size=6, precision="float32"), progress=False
        )
        assert len(run.history) == 3
        assert all(math.isfinite(row["train_loss"]) for row in run.history)
        assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []

    @pytest.mark.parametrize(
        ("attention", "feed"), [("scaled", "wide"), ("mhsa", "wide"), ("scaled", "ista")]
    )
    def test_recorder(self, attention, feed):
        model = toy_model(attention, feed).double()
        rec = record(model, pictures().images, RECORDABLE)
        with torch.no_grad():
            assert torch.equal(rec["logits"], model(pictures().images))
        layer, block = 1, model.blocks[1]
        q, k = block.attention.queries_keys(block.attention.project(rec["attention_in"][layer]))
        row = (q @ k.mT / 8**0.5).softmax(-1)[:, :, 0]
        torch.testing.assert_close(rec["cls_attention"][layer], row, rtol=0, atol=1e-12)
        mid, fed = rec["tokens_mid"][layer], block.feed(rec["feed_in"][layer])
        expected = mid + fed if feed == "wide" else fed
        torch.testing.assert_close(rec["tokens_out"][layer], expected, rtol=0, atol=1e-12)

    def test_readers(self):
        model, images = toy_model(), pictures().images
        maps = cls_attention_maps(model, images)
        assert maps.shape == (6, 2, 3, 4, 4)
        torch.testing.assert_close(maps.sum((-1, -2)), torch.ones(6, 2, 3))
        assert patch_features(model, images)[0].shape == (6, 16, 24)
        assert features(model, images, pool="both").shape == (6, 48)
        assert adapt(model, num_classes=7, image_size=48)(images[..., :24, :24].repeat(1, 1, 2, 2)).shape == (
            6,
            7,
        )
        plain = model(images)
        with scaled_heads(model, {(0, 1): 0}):
            assert not torch.allclose(model(images), plain)
        with not_reading(model, [0]):
            assert not torch.allclose(model(images), plain)
        torch.testing.assert_close(model(images), plain, rtol=0, atol=0)

    @pytest.mark.parametrize("attention", ["scaled", "pooled"])
    def test_layerwise_meter(self, attention):
        model = toy_model(attention)
        result = measure(model, pictures().images, eps_sq=0.1)
        assert np.isfinite(result["rates"]["none 0.1"]["attention_in"]["Rc"]["mean"]).all()
        dictionary = weight_facts(model.blocks[0])["dictionary"]
        D = model.blocks[0].feed.D.detach().double()
        expected = (D.mT @ D - torch.eye(40)).norm() / 40**0.5
        assert dictionary["frobenius"] == pytest.approx(expected.item(), rel=1e-5)

    def test_multiply_adds(self):
        config = toy_model("pooled").config
        counts = multiply_adds(config, batch=2)
        assert counts["linear maps"] == 2 * 2 * (17 + 1) * 24**2
        assert counts["feed"] == 2 * 2 * 2 * 17 * 24 * 40
        assert "attention" not in counts

    def test_round_trip_through_a_file(self, tmp_path):
        model = toy_model()
        path = save_model(model, tmp_path / "toy.safetensors", {"data": "none"})
        again = load_model(path)
        assert again.config == model.config
        assert torch.equal(again(pictures().images), model(pictures().images))
        del ATTENTIONS["scaled"]
        with pytest.raises(
            CheckpointError, match="'scaled'; an operator from elsewhere must be imported first"
        ):
            load_model(path)

    def test_export(self):
        check_export(toy_model())

    def test_the_viewer_refuses_in_one_sentence(self):
        images = pictures(1).images
        with pytest.raises(
            ValueError,
            match=r"^a page cannot run Scaled and Wide, in layer 0: crate\.js has no forward pass for it; leave out",
        ):
            inspect_images(toy_model(), images, run_in_page=True)
        prepared = inspect_images(toy_model(), images, prepare_patches=True).contract
        assert prepared["patches"] == "prepared"  # its queries and keys can go along
        with pytest.raises(CannotAnswer, match="Pooled has no queries and keys: no token looks at another"):
            inspect_images(toy_model("pooled"), images)

    def test_an_attention_without_pairs_says_so(self):
        model, images = toy_model("pooled"), pictures().images
        assert record(model, images, "projections")["projections"][0].shape == (6, 3, 17, 8)
        with pytest.raises(CannotAnswer, match="Pooled has no queries and keys"):
            record(model, images, "cls_attention")


def test_the_operator_of_the_page_does_what_the_page_says():
    """The code of *How to run it*, as it stands there."""
    page = (Path(__file__).resolve().parent.parent / "book" / "how_to_run.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "@register" in block]
    names = {"__name__": "page"}
    try:
        exec(compile(code, "how_to_run.md", "exec"), names)
        model = names["model"].double().eval()
        for block in model.blocks:
            assert block.attention.sharpness == 2
        Z = tokens(B, N, 192)
        layer = model.blocks[0].attention
        one, scaled = (layer.project(Z * c) for c in (1, 7))
        torch.testing.assert_close(layer.coordinates(one), layer.coordinates(scaled))  # no token shouts
        images = torch.rand(2, 3, 64, 64)
        maps = cls_attention_maps(model, images)
        torch.testing.assert_close(maps.sum((-1, -2)), torch.ones(2, 8, 6))
        assert np.isfinite(
            measure(model, images, eps_sq=0.1)["rates"]["none 0.1"]["tokens_in"]["Rc"]["mean"]
        ).all()
        with pytest.raises(ValueError, match="a page cannot run Cosine, in layer 0"):
            inspect_images(model, images, run_in_page=True)
    finally:
        ATTENTIONS.pop("cosine", None)


def check_export(model) -> None:
    """One program for every batch, which says what the model says."""
    model = model.eval()
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about itself
        batch = torch.export.Dim("batch", min=1, max=1024)
        program = torch.export.export(
            model, (images,), dynamic_shapes=({0: batch},), strict=False
        )  # as today by default
    exported = program.module()
    for b in (1, 2, 7):
        some = torch.rand(b, 3, 32, 32)
        torch.testing.assert_close(exported(some), model(some), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["crate_nano", "vit_nano", "crate_mhsa_nano", "crate_mlp_nano"])
@pytest.mark.parametrize("settings", [{}, {"readout": "mean", "keep": 0.5, "move": -1.0}])
def test_export_with_any_batch(name, settings):
    torch.manual_seed(0)
    check_export(create_model(name, image_size=32, num_classes=3, **settings))
