"""ODL, TSSA and CBSA: each is its equation, has the values worked out elsewhere, and says what it cannot do."""

from __future__ import annotations

import warnings

import jaxtyping
import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from crate_mini.attention_maps import cls_attention_maps
from crate_mini.compression import cbsa, contract_and_broadcast, mssa, token_statistics, tssa
from crate_mini.export import OLDEST_TORCH, export, largest_difference
from crate_mini.inspector import inspect_images
from crate_mini.layerwise import measure, weight_facts
from crate_mini.model import create_model
from crate_mini.operations import multiply_adds
from crate_mini.operators import CBSA, MLP, MSSA, ODL, TSSA, CannotAnswer, Layout, causal_mask, padding_mask
from crate_mini.operators.cbsa import _fields
from crate_mini.recorder import record
from crate_mini.registry import list_models, model_config
from crate_mini.sparsification import lasso_objective, odl, sparse_codes
from crate_mini.weights import load_model, save_model

B, GRID = 2, (3, 4)
N = 1 + GRID[0] * GRID[1]
LAYOUT = Layout(1, GRID)


def tokens(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moved_from_start(layer):
    """Every parameter somewhere else than where training starts, so that none can be forgotten."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return layer


def seeded(make):
    torch.manual_seed(0)
    return moved_from_start(make())


def run(layer, Z, mask=None):
    return layer(Z, mask, LAYOUT) if getattr(layer, "on_grid", False) else layer(Z)


# ---- equations, token by token, in double precision -----------------------------------------------------------------


def weights(layer) -> dict[str, np.ndarray]:
    return {name: p.detach().double().numpy() for name, p in layer.named_parameters()}


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def numpy_odl(layer: ODL, Y: np.ndarray) -> np.ndarray:
    w = weights(layer)
    D, D1 = w["D"], w.get("D1", w["D"])
    out = np.empty((*Y.shape[:-1], D1.shape[0]))
    for place in np.ndindex(Y.shape[:-1]):
        y, z = Y[place], np.zeros(D.shape[1])
        for _ in range(layer.steps):
            z = np.maximum(z + layer.step * D.T @ (y - D @ z) - layer.step * layer.lam, 0)
        out[place] = D1 @ z
    return out


def numpy_tssa(layer: TSSA, Z: np.ndarray) -> np.ndarray:
    w, K, p = weights(layer), layer.heads, layer.head_dim
    n = Z.shape[1]
    out = np.empty((Z.shape[0], n, w["out.weight"].shape[0]))
    for b in range(len(Z)):
        W = (Z[b] @ w["project.weight"].T).reshape(n, K, p)
        e = np.empty((n, K))
        for i in range(n):
            seen = W[: i + 1] if layer.causal else W
            for k in range(K):
                shares = W[i, k] ** 2 / (seen[:, k] ** 2).sum(0)
                shares = shares + (0 if "place" not in w else w["place"][k, i])
                e[i, k] = shares.sum() * (len(seen) if layer.energy == "mean" else 1)
        Pi = softmax(e * w["temperature"])
        for i in range(n):
            last = i + 1 if layer.causal else n
            m = np.einsum("lk,lkp->kp", Pi[:last], W[:last] ** 2) / Pi[:last].sum(0)[:, None]
            out[b, i] = w["out.weight"] @ (-Pi[i][:, None] * W[i] / (1 + m)).ravel() + w["out.bias"]
    return out


def numpy_cbsa(layer: CBSA, Z: np.ndarray) -> np.ndarray:
    w, K, p, r = weights(layer), layer.heads, layer.head_dim, layer.representatives
    out = np.empty((*Z.shape[:2], w["out.weight"].shape[0]))
    for b in range(len(Z)):
        W = (Z[b] @ w["project.weight"].T).reshape(-1, K, p)
        joined = []
        for k in range(K):
            grid = torch.from_numpy(W[1:, k].reshape(*GRID, p)).permute(2, 0, 1)
            Q = F.adaptive_avg_pool2d(grid, r).flatten(1).T.numpy()  # as the released code pools
            A = softmax(Q @ W[:, k].T / np.sqrt(p))
            Q = Q + w["contract"][k] * A @ W[:, k]
            joined.append(w["broadcast"][k] * A.T @ softmax(Q @ Q.T / np.sqrt(p)) @ Q)
        out[b] = np.concatenate(joined, 1) @ w["out.weight"].T + w["out.bias"]
    return out


LAYERS = {
    "odl": (lambda: ODL(12, 3), numpy_odl),
    "odl, tied": (lambda: ODL(12, tied_feed=True, step=0.05, lam=0.3), numpy_odl),
    "odl, one step": (lambda: ODL(12, steps=1), numpy_odl),
    "odl, four steps": (lambda: ODL(12, 2, steps=4, residual=False), numpy_odl),
    "tssa": (lambda: TSSA(12, 3), numpy_tssa),
    "tssa, mean, narrow heads": (lambda: TSSA(12, 4, 5, energy="mean", temperature=0.25), numpy_tssa),
    "tssa, causal": (lambda: TSSA(12, 3, causal=True), numpy_tssa),
    "tssa, causal, places": (lambda: TSSA(12, 3, causal=True, length=20), numpy_tssa),
    "tssa, causal, mean": (lambda: TSSA(12, 3, causal=True, energy="mean"), numpy_tssa),
    "cbsa": (lambda: CBSA(12, 3, representatives=2), numpy_cbsa),
    "cbsa, as many as patches": (lambda: CBSA(12, 2, 5, representatives=4), numpy_cbsa),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 2e-5)])
def test_is_its_equation(name, dtype, tolerance):
    """To 1e-7: the released code of TSSA adds 1e-8 to a sum that it divides by."""
    make, equation = LAYERS[name]
    layer = seeded(make).to(dtype)
    Z = tokens(B, N, 12).to(dtype)
    found = run(layer, Z)
    assert found.dtype == dtype
    expected = equation(layer, Z.double().numpy())
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found.detach().double().numpy(), expected, rtol=0, atol=tolerance * 10)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name):
    layer = seeded(LAYERS[name][0]).double()
    names, parameters = zip(*layer.named_parameters(), strict=True)
    extra = (None, LAYOUT) if "cbsa" in name else ()

    def called(Z, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (Z, *extra))

    assert torch.autograd.gradcheck(called, (tokens(B, N, 12).requires_grad_(), *parameters), fast_mode=True)


@pytest.mark.parametrize("name", LAYERS)
def test_the_function_is_the_layer(name):
    """The equations of compression and sparsification, which the pages show."""
    layer, Z = seeded(LAYERS[name][0]).double(), tokens(B, N, 12)
    if isinstance(layer, ODL):
        found = odl(Z, layer.D, layer.D1, layer.step, layer.lam, steps=layer.steps)
    elif isinstance(layer, TSSA):
        settings = {"energy": layer.energy, "causal": layer.causal}
        place = None if layer.place is None else layer.place[:, :N]
        found = tssa(Z, layer.U, layer.temperature, layer.out.weight, layer.out.bias, place=place, **settings)
        tied = token_statistics(
            layer.coordinates(layer.project(Z)), layer.temperature, place=place, **settings
        )
        torch.testing.assert_close(
            tssa(Z, layer.U, layer.temperature, place=place, **settings),
            torch.einsum("bknp,kdp->bnd", tied[1], layer.U),
        )
    else:
        pooling = layer._pooling(Z, LAYOUT)
        scales = layer.contract, layer.broadcast
        found = cbsa(Z, layer.U, pooling, *scales, layer.out.weight, layer.out.bias)
        heads = contract_and_broadcast(layer.coordinates(layer.project(Z)), pooling, *scales)[1]
        torch.testing.assert_close(
            cbsa(Z, layer.U, pooling, *scales), torch.einsum("bknp,kdp->bnd", heads, layer.U)
        )
    torch.testing.assert_close(found, run(layer, Z), rtol=0, atol=1e-12)


# ---- values worked out apart, in numpy, from the papers' formulas ---------------------------------------------------


def fill(shape: tuple[int, ...], a: float, c: float = 1.0) -> torch.Tensor:
    return (c * torch.sin(a + 1.7 * torch.arange(np.prod(shape), dtype=torch.float64))).reshape(shape)


def close(found: torch.Tensor, *rows: str) -> None:
    expected = torch.tensor([[float(x) for x in row.split()] for row in rows], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1.5e-6)


class TestValues:
    def test_fill(self):
        close(fill((2, 3), 0.3), ".29552 .909297 -.529836", "-.772764 .728969 .584917")

    def test_odl(self):
        y, D, D1 = fill((2, 3), 0.3), fill((3, 12), 0.5, 0.6), fill((3, 12), 1.1, 0.6)
        close(odl(y, D, D1), ".231759 .080044 -.228501", "-.103126 .211633 .111740")
        close(odl(y, D), ".148737 .196031 -.140759", "-.205820 .113994 .210460")
        layer = ODL(3).double()
        layer.load_state_dict({"D": D, "D1": D1})
        code = layer.code(y[None])
        assert code.sum().item() == pytest.approx(0.964770, abs=1e-6)
        assert int((code > 0).sum()) == 12
        close(layer(y[None])[0], ".231759 .080044 -.228501", "-.103126 .211633 .111740")
        codes = sparse_codes(y, D, 0.1, step=0.1)
        falling = torch.stack([lasso_objective(y, D, next(codes), 0.1) for _ in range(3)], 1)
        close(falling, ".597440 .472424 .387595", ".735344 .577579 .469638")

    # X A^T in two heads of two: bases whose columns are the rows of A
    X, A = fill((4, 4), 0.2), fill((4, 4), 0.9, 0.7)
    U = A.view(2, 2, 4).mT
    eye = torch.eye(4, dtype=torch.float64)  # heads side by side, before any output map

    def test_tssa(self):
        one = torch.ones(2, dtype=torch.float64)
        Zk = torch.einsum("nd,kdp->knp", self.X, self.U)
        Pi = token_statistics(Zk, one)[0]
        close(Pi[:1], ".469625 .611258 .558154 .362477")
        close(
            tssa(self.X, self.U, one, self.eye),
            "-.190903 -.070513 .083229 .264774",
            "-.337490 -.272048 -.086814 .033914",
            "-.308955 -.348136 -.240909 -.153553",
            "-.148743 -.231793 -.462032 -.440858",
        )

    def test_causal_tssa(self):
        one = torch.ones(2, dtype=torch.float64)
        Pi = token_statistics(torch.einsum("nd,kdp->knp", self.X, self.U), one, causal=True)[0]
        close(Pi[:1], ".5 .699983 .478327 .362477")
        close(
            tssa(self.X, self.U, one, self.eye, causal=True),
            "-.248530 -.147719 .148193 .248559",
            "-.387447 -.426036 -.121981 .031113",
            "-.255801 -.333277 -.371023 -.222614",
            "-.149085 -.237509 -.448451 -.436415",
        )

    def test_mssa(self):
        full = [
            "1.081858 1.066057 .243414 -.307846",
            "1.094658 1.133932 .795972 .313887",
            "1.097333 1.166271 1.189353 .787113",
            "1.092144 1.167309 1.327607 .966019",
        ]
        causal = [
            ".896989 .327037 -.328339 -.897951",
            "1.112918 .758691 .105297 -.494061",
            "1.174069 1.075645 .817931 .268394",
            full[-1],
        ]
        close(mssa(self.X, self.U, self.eye), *full)
        close(mssa(self.X, self.U, self.eye, mask=causal_mask(4)), *causal)
        layer = MSSA(4, 2, tied=True).double()
        layer.load_state_dict({"project.weight": self.A})
        lifted = mssa(self.X, self.U, self.eye) @ self.A
        torch.testing.assert_close(layer(self.X[None])[0], lifted, rtol=0, atol=1e-12)

    def test_cbsa(self):
        half = torch.full((2,), 0.5, dtype=torch.float64)
        pooling = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], dtype=torch.float64)
        Zk = torch.einsum("nd,kdp->knp", self.X, self.U)
        A = contract_and_broadcast(Zk, pooling, half, half)[0]
        close(A[0], ".156435 .267039 .319925 .256600", ".103114 .245265 .358965 .292657")
        close(
            cbsa(self.X, self.U, pooling, half, half, self.eye),
            ".208693 .223852 .199073 .062682",
            ".411939 .443195 .223668 .095844",
            ".545902 .588407 .378805 .217504",
            ".441664 .476125 .670076 .429150",
        )


# ---- what each of them is known by ----------------------------------------------------------------------------------


class TestODL:
    def test_starts_where_a_step_still_descends(self):
        """The scale of the published models, and how near to the limit 2 it is."""
        torch.manual_seed(0)
        layer = ODL(384)
        assert layer.D.abs().max() <= (6 / 384) ** 0.5
        assert layer.D.detach().std().item() == pytest.approx((2 / 384) ** 0.5, rel=0.02)
        assert 1.7 < layer.step * torch.linalg.matrix_norm(layer.D.detach(), 2) ** 2 < 2
        y = F.layer_norm(torch.randn(64, 384), (384,))
        codes = sparse_codes(y, layer.D.detach(), layer.lam, step=layer.step)
        start, one, two = (
            lasso_objective(y, layer.D.detach(), next(codes), layer.lam).mean() for _ in range(3)
        )
        assert start.item() == pytest.approx(192, rel=1e-3)
        assert two < one < 0.55 * start

    def test_its_code_lies_inside(self):
        torch.manual_seed(0)
        model = create_model("crate_odl_nano", image_size=32, num_classes=3).eval()
        images = torch.rand(2, 3, 32, 32)
        rec = record(model, images, ["code", "feed_in", "tokens_mid", "tokens_out"])
        feed = model.blocks[1].feed
        code = rec["code"][1]
        assert code.shape == (2, 17, 4 * 96)
        assert rec.patches("code", 1).shape == (2, 16, 4 * 96)
        assert 0.3 < (code > 0).float().mean() < 0.6
        torch.testing.assert_close(rec["tokens_mid"][1] + code @ feed.D1.mT, rec["tokens_out"][1])
        assert (
            rec["tokens_out"][1] < 0
        ).float().mean() > 0.3  # the stream is neither sparse nor non-negative
        ista = create_model("crate_nano", image_size=32).eval()
        kept = record(ista, images, ["code", "tokens_out"])
        assert torch.equal(kept["code"][2], kept["tokens_out"][2])
        with pytest.raises(CannotAnswer, match="MLP has no sparse code"):
            record(create_model("vit_nano", image_size=32), images, "code")

    def test_without_its_skip_connection_it_takes_the_tokens_place(self):
        torch.manual_seed(0)
        settings = {"image_size": 32, "options": {"residual": False, "tied_feed": True}}
        model = create_model("crate_odl_nano", **settings).eval()
        rec = record(model, torch.rand(1, 3, 32, 32), ["code", "tokens_out"])
        torch.testing.assert_close(rec["code"][0] @ model.blocks[0].feed.D.mT, rec["tokens_out"][0])

    def test_costs(self):
        """Twice the MLP of its width; of its dictionaries alone."""
        d = 24
        assert (
            ODL(d).multiply_adds(7, 3)["feed"] == 2 * MLP(d).multiply_adds(7, 3)["feed"] == 7 * 3 * 16 * d**2
        )
        assert sum(p.numel() for p in ODL(d).parameters()) == 8 * d**2
        assert sum(p.numel() for p in ODL(d, tied_feed=True).parameters()) == 4 * d**2

    def test_refuses(self):
        with pytest.raises(ValueError, match="steps must be 1 or more proximal steps, got 0"):
            ODL(8, steps=0)

    def test_half_precision(self):
        torch.manual_seed(0)
        layer = ODL(96).requires_grad_(False)
        Y = F.layer_norm(torch.randn(4, 65, 96), (96,))
        exact = numpy_odl(layer, Y.double().numpy())
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(Y).double().numpy()
        assert np.linalg.norm(found - exact) < 1e-2 * np.linalg.norm(exact)


class TestTSSA:
    def test_tokens_in_another_order(self):
        order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
        Z = tokens(B, N, 12)
        for make in (lambda: TSSA(12, 3), lambda: MSSA(12, 3)):
            layer = seeded(make).double()
            torch.testing.assert_close(layer(Z[:, order]), layer(Z)[:, order], rtol=0, atol=1e-12)

    @pytest.mark.parametrize("settings", [{}, {"energy": "mean"}, {"length": N}])
    def test_the_causal_form_does_not_look_ahead(self, settings):
        layer, Z = seeded(lambda: TSSA(12, 3, causal=True, **settings)).double(), tokens(B, N, 12)
        for t in (1, 5, N - 1):
            torch.testing.assert_close(layer(Z)[:, :t], layer(Z[:, :t]), rtol=0, atol=1e-12)
        torch.testing.assert_close(layer(Z, causal_mask(N)), layer(Z), rtol=0, atol=0)

    def test_a_token_gets_no_direction_from_others(self):
        """Its update is its own coordinates, each times a number between 0 and 1, with a minus."""
        layer, Z = seeded(lambda: TSSA(12, 3)).double(), tokens(B, N, 12)
        projected = layer.project(Z)
        Zk, moved = layer.coordinates(projected), layer._statistics(projected)[1]
        ratio = -moved / Zk
        assert (ratio > 0).all()
        assert (ratio < 1).all()

    def test_memberships_by_the_mean_do_not_hang_on_the_number_of_tokens(self):
        by_sum, by_mean = TSSA(12, 3), TSSA(12, 3, energy="mean", temperature=1 / N)
        by_mean.load_state_dict(by_sum.state_dict() | {"temperature": by_mean.temperature.detach()})
        Z = tokens(B, N, 12).float()
        four = Z.repeat(1, 4, 1)  # every token four times: as an image of twice the side
        seen = {
            layer.energy: [layer.memberships(layer.project(x)) for x in (Z, four)]
            for layer in (by_sum, by_mean)
        }
        torch.testing.assert_close(seen["sum"][0], seen["mean"][0])
        torch.testing.assert_close(seen["mean"][1][..., :N], seen["mean"][0])
        assert (seen["sum"][1][..., :N] - seen["sum"][0]).abs().max() > 0.005
        torch.testing.assert_close(seen["mean"][0].sum(1), torch.ones(B, N))

    def test_what_is_recorded_and_what_is_refused(self):
        torch.manual_seed(0)
        model, images = create_model("crate_tssa_nano", image_size=32).eval(), torch.rand(2, 3, 32, 32)
        rec = record(model, images, ["memberships", "projections"])
        assert rec.patches("memberships", 0).shape == (2, 4, 16)
        torch.testing.assert_close(rec["memberships"][3].sum(1), torch.ones(2, 17))
        for ask in (lambda: cls_attention_maps(model, images), lambda: inspect_images(model, images)):
            with pytest.raises(
                CannotAnswer, match=r"TSSA has no queries and keys: .* look at its memberships"
            ):
                ask()
        with pytest.raises(CannotAnswer, match="MSSA has no memberships: its heads do not share tokens out"):
            record(create_model("crate_nano", image_size=32), images, "memberships")

    def test_refuses(self):
        Z = tokens(B, N, 12).float()
        with pytest.raises(ValueError, match=r"energy must be one of .* got 'max'"):
            TSSA(12, 3, energy="max")
        with pytest.raises(ValueError, match="length is for the causal form"):
            TSSA(12, 3, length=5)
        with pytest.raises(ValueError, match="TSSA takes no mask"):
            TSSA(12, 3)(Z, causal_mask(N))
        with pytest.raises(ValueError, match="causal_mask, which it has in it, and no other"):
            TSSA(12, 3, causal=True)(Z, padding_mask(torch.ones(B, N, dtype=torch.bool)))
        with pytest.raises(ValueError, match=f"{N} tokens, and places for 5: give a longer length"):
            TSSA(12, 3, causal=True, length=5)(Z)

    def test_a_channel_of_zeros(self):
        """An image of one colour may leave a channel empty: no share, and no NaN."""
        layer = TSSA(12, 3)
        with torch.no_grad():
            layer.project.weight[2] = 0
        assert layer(tokens(B, N, 12).float()).isfinite().all()


class TestCBSA:
    def test_order_counts_because_the_grid_does(self):
        layer, Z = seeded(lambda: CBSA(12, 3, representatives=2)).double(), tokens(B, N, 12)
        order = torch.cat(
            [torch.tensor([0]), 1 + torch.randperm(N - 1, generator=torch.Generator().manual_seed(0))]
        )
        assert (run(layer, Z[:, order]) - run(layer, Z)[:, order]).abs().max() > 1e-3

    def test_the_class_token_is_in_no_representative_and_the_last_patch_in_one(self):
        """In the released code it is the other way round."""
        pooling = CBSA(12, 3, representatives=2)._pooling(tokens(B, N, 12), LAYOUT)
        assert (pooling[:, 0] == 0).all()
        assert (pooling[:, 1:].sum(0) > 0).all()
        torch.testing.assert_close(pooling.sum(1), torch.ones(4, dtype=torch.float64))

    @pytest.mark.parametrize(("side", "count"), [(8, 4), (7, 3), (3, 5), (1, 2), (12, 12)])
    def test_fields_are_those_of_adaptive_pooling(self, side, count):
        x = tokens(1, side)
        torch.testing.assert_close(x @ _fields(side, count, x).mT, F.adaptive_avg_pool1d(x, count))

    def test_starts_by_contracting(self):
        layer = CBSA(12, 3)
        assert layer.contract.tolist() == layer.broadcast.tolist() == [0.5] * 3

    def test_what_is_refused(self):
        torch.manual_seed(0)
        model, images = create_model("crate_cbsa_nano", image_size=32).eval(), torch.rand(2, 3, 32, 32)
        assert model(images).shape == (2, 1000)
        with pytest.raises(
            ValueError, match="CBSA averages patches over their grid, and these tokens lie in none"
        ):
            model(images, torch.tensor([[0, 3], [1, 2]]))
        with pytest.raises(ValueError, match="CBSA takes no mask"):
            model.encoder(torch.randn(1, 17, 96), causal_mask(17), Layout(1, (4, 4)))
        with pytest.raises(CannotAnswer, match="CBSA has no queries and keys"):
            cls_attention_maps(model, images)
        with pytest.raises(ValueError, match="representatives along a side must be 1 or more"):
            CBSA(12, 3, representatives=0)

    def test_contraction(self):
        layer, Z = seeded(lambda: CBSA(12, 3, representatives=2)).double(), tokens(B, N, 12)
        A = layer.contraction(Z, LAYOUT)
        assert A.shape == (B, 3, 4, N)
        torch.testing.assert_close(A.sum(-1), torch.ones(B, 3, 4, dtype=torch.float64))


@pytest.mark.parametrize("make", [lambda: TSSA(24, 3), lambda: CBSA(24, 3, representatives=2)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_in_half_precision(make, dtype):
    """Two linear maps in half precision, and nothing lost between them."""
    torch.manual_seed(0)
    layer, Z = make().requires_grad_(False), tokens(B, N, 24).float()
    exact = run(layer.double(), Z.double())
    with torch.autocast("cpu", dtype):
        found = run(layer.float(), Z)
    assert ((found.double() - exact).norm() / exact.norm()).item() < (
        1.5e-2 if dtype == torch.bfloat16 else 2e-3
    )


# ---- by name, through everything ------------------------------------------------------------------------------------

NAMES = ("crate_odl_nano", "crate_tssa_nano", "tost_nano", "crate_cbsa_nano")


@pytest.mark.parametrize("name", NAMES)
class TestByName:
    def test_multiply_adds_are_what_pytorch_counts(self, name, monkeypatch):
        from crate_mini.operators import basic

        def plain(q, k, v, mask=None):
            return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v

        monkeypatch.setattr(basic, "attend", plain)
        model = create_model(name, image_size=32, num_classes=3)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.train()(torch.rand(3, 3, 32, 32))
        averages = 4 * 4 * 2 * 16**2 if "cbsa" in name else 0  # the matrix of averages, by an outer product
        assert (
            abs(counter.get_total_flops() // 2 - sum(multiply_adds(model.config, batch=3).values()))
            <= averages
        )

    def test_a_file_keeps_it(self, name, tmp_path):
        torch.manual_seed(0)
        model = create_model(name, image_size=32, num_classes=3).eval()
        again = load_model(save_model(model, tmp_path / "m.safetensors", {"data": "none"}))
        images = torch.rand(2, 3, 32, 32)
        assert again.config == model.config
        assert torch.equal(again(images), model(images))

    def test_layerwise_meter(self, name):
        torch.manual_seed(0)
        model = create_model(name, image_size=32, num_classes=3).eval()
        result = measure(model, torch.rand(3, 3, 32, 32), eps_sq=0.1)
        assert np.isfinite(result["rates"]["none 0.1"]["attention_in"]["Rc"]["mean"]).all()
        facts = weight_facts(model.blocks[0])
        assert len(facts["alignment"]) == 4
        assert (facts["dictionary"] is None) == (name == "tost_nano")

    def test_the_viewer_refuses_in_one_sentence(self, name):
        model = create_model(name, image_size=32, num_classes=3).eval()
        what = {
            "crate_odl_nano": "ODL",
            "crate_tssa_nano": "TSSA",
            "tost_nano": "TSSA",
            "crate_cbsa_nano": "CBSA",
        }
        with pytest.raises(ValueError, match=f"{what[name]}[^.]*"):
            inspect_images(model, torch.rand(1, 3, 32, 32), run_in_page=True)

    @pytest.mark.skipif(torch.__version__ < OLDEST_TORCH, reason=f"exporting needs PyTorch {OLDEST_TORCH}")
    def test_exported_with_open_sizes(self, name, tmp_path, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        torch.manual_seed(0)
        small = {"dim": 24, "heads": 2, "depth": 1, "image_size": 16, "patch_size": 4, "num_classes": 5}
        model = create_model(name, **small).eval()
        seen = name == "crate_odl_nano"
        if not seen:
            with pytest.raises(CannotAnswer, match="has no queries and keys"):
                export(model, tmp_path / "none.pt2")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = export(model, tmp_path / "m.onnx", attention=seen)  # by way of torch.export
        for size in ((1, 16, 16), (3, 24, 12), (2, 8, 40)):
            images = torch.rand(size[0], 3, *size[1:], generator=torch.Generator().manual_seed(sum(size)))
            assert largest_difference(model, path, images) < 1e-4
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert [o.name for o in session.get_outputs()] == ["logits", "attention"][: 1 + seen]


def test_names_and_sizes():
    assert list_models("crate_odl_*_8") == ["crate_odl_tiny_8", "crate_odl_small_8", "crate_odl_base_8"]
    assert model_config("crate_tssa_mini").readout == model_config("tost_mini").readout == "mean"
    assert dict(model_config("crate_cbsa_mini").options) == {"representatives": 4}
    assert dict(model_config("crate_cbsa_base").options) == {}
    d, layers = 96, 4
    crate, odl_, tssa_, cbsa_ = (
        sum(p.numel() for p in create_model(name, num_classes=3).parameters())
        for name in ("crate_nano", "crate_odl_nano", "crate_tssa_nano", "crate_cbsa_nano")
    )
    assert odl_ - crate == layers * 7 * d**2
    assert tssa_ - crate == layers * 4  # a temperature for each head
    assert cbsa_ - crate == layers * 8  # two scales
