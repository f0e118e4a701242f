"""The layer-wise meter against independent statements of what it measures."""

from __future__ import annotations

import gc
import json
import math
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crate_mini.compression import MSSA
from crate_mini.data.imageset import ImageSet
from crate_mini.layerwise import (
    NORMALISE,
    PLACES,
    STEPS,
    WHAT_IFS,
    Running,
    alignment,
    bases,
    coherence,
    coordinates,
    curve,
    effective_rank,
    measure,
    reading,
    released_rate,
    subspace_gram,
    weight_facts,
)
from crate_mini.model import CRATE, MHSA, create_model
from crate_mini.rates import coding_rate, compression_rate
from crate_mini.recorder import record


def tiny(family: str = "crate", seed: int = 0, **settings) -> CRATE:
    torch.manual_seed(seed)
    settings = {"dim": 24, "heads": 3, "depth": 2, "image_size": 32, "num_classes": 5} | settings
    return create_model(f"{family}_nano", **settings).eval()


def images(b: int = 5, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(b, 3, size, size, generator=torch.Generator().manual_seed(seed))


def released_definition(qkv_output: torch.Tensor, eps: float = 0.01) -> torch.Tensor:
    """What the authors' released hook computes, stated as a fact: all tokens of ``U^T LN(Z)``, (b, h, m, p).

    Each token's coordinates are divided by their length in every head; the m x m determinant is taken in the precision
    of the tensor, with the factor p / (m eps), and halved; heads are summed.
    """
    m, p = qkv_output.shape[-2:]
    X = qkv_output / qkv_output.norm(dim=-1, keepdim=True)
    big = torch.eye(m, dtype=X.dtype) + p / (m * eps) * X @ X.mT
    return torch.logdet(big).sum(-1) / 2


def numpy_rate(Z: np.ndarray, eps_sq: float) -> float:
    """Through the n x n determinant, in float64."""
    n, d = Z.shape
    return 0.5 * np.linalg.slogdet(np.eye(n) + d / (n * eps_sq) * Z @ Z.T)[1]


# ---- the two definitions ---------------------------------------------------------------------------------


def test_released_number_on_the_tensors_of_a_hook():
    model, seen = tiny(), {}
    for layer, block in enumerate(model.blocks):
        block.attention.project.register_forward_hook(
            lambda _, args, out, layer=layer: seen.__setitem__(
                layer, out.unflatten(-1, (3, 8)).transpose(1, 2)
            )
        )
    result = measure(model, images(), eps_sq=0.01, normalise="head")
    for layer, projected in seen.items():
        single, double = released_definition(projected), released_definition(projected.double())
        torch.testing.assert_close(released_rate(projected), double, rtol=1e-10, atol=0)
        torch.testing.assert_close(released_rate(projected).float(), single, rtol=1e-4, atol=0)
        got = curve(result, "Rc", "attention_in", "head", 0.01)
        assert got["mean"][layer] == pytest.approx(double.mean().item(), rel=1e-5)
        assert got["std"][layer] == pytest.approx(double.std().item(), rel=1e-4)


def test_released_number_is_bounded():
    """½ K p log(1 + 1/ε²): reached by orthonormal coordinates, approached by none beyond."""
    X = torch.eye(8, dtype=torch.float64).expand(3, 8, 8)[None]
    bound = 0.5 * 3 * 8 * math.log(1 + 1 / 0.01)
    assert released_rate(X).item() == pytest.approx(bound)
    assert released_rate(torch.randn(1, 3, 17, 8)).item() < bound


def test_released_number_of_zero_coordinates():
    projected = torch.randn(1, 2, 6, 4, dtype=torch.float64)
    projected[:, :, 2] = 0
    assert torch.isfinite(released_rate(projected)).all()
    assert torch.isnan(released_definition(projected)).all()  # there it is not a number


def test_captions_number_is_the_compression_rate_of_the_tokens_after_attention():
    model = tiny()
    result = measure(model, images(), eps_sq=0.3, normalise="none")
    tokens = record(model, images(), "tokens_mid")["tokens_mid"]
    for layer, Z in tokens.items():
        U = model.blocks[layer].attention.U.detach()
        by_hand = [sum(numpy_rate((z @ u).double().numpy(), 0.3) for u in U) for z in Z]
        got = curve(result, "Rc", "tokens_mid", "none", 0.3)["mean"][layer]
        assert got == pytest.approx(np.mean(by_hand), rel=1e-5)
        assert got == pytest.approx(compression_rate(Z, U, 0.3).mean().item(), rel=1e-5)


# ---- everything by hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["crate", "vit"])
def test_every_rate_by_hand(family):
    model = tiny(family).double()
    pictures, eps, lam = images(4), 0.05, 0.02
    result = measure(model, pictures, eps_sq=eps, lam=lam)
    rec = record(model, pictures, ("tokens_in", "attention_in", "tokens_mid", "feed_in", "tokens_out"))
    for layer, block in enumerate(model.blocks):
        tokens = {place: rec[place][layer] for place in rec if place != "logits"}
        with torch.no_grad():
            tokens["attention_mid"] = block.norm1(tokens["tokens_mid"])
            weight, bias = block.attention.project.weight, block.attention.project.bias
            rows = slice(24, 48) if family == "vit" else slice(0, 24)  # the ViT's keys come second
            W, b = weight[rows].numpy(), 0 if bias is None else bias[rows].numpy()
        assert set(tokens) == set(PLACES)
        for place, Z in tokens.items():
            for normalise in NORMALISE:
                R, Rc = [], []
                for z in Z.numpy():
                    z = z / np.linalg.norm(z, axis=1, keepdims=True) if normalise == "token" else z
                    heads = np.split(z @ W.T + b, 3, axis=1)
                    if normalise == "head":
                        heads = [h / np.linalg.norm(h, axis=1, keepdims=True) for h in heads]
                    R.append(numpy_rate(z, eps))
                    Rc.append([numpy_rate(h, eps) for h in heads])
                R, Rc = np.array(R), np.array(Rc)
                key = (place, normalise, eps)
                assert curve(result, "Rc_heads", *key)["mean"][layer] == pytest.approx(Rc.mean(0), rel=1e-5)
                total = curve(result, "Rc", *key)
                assert total["mean"][layer] == pytest.approx(Rc.sum(1).mean(), rel=1e-5)
                assert total["std"][layer] == pytest.approx(Rc.sum(1).std(ddof=1), rel=1e-4)
                half = 1.96 * Rc.sum(1).std(ddof=1) / 2
                assert total["high"][layer] - total["mean"][layer] == pytest.approx(half, rel=2e-2)
                if normalise == "head":
                    assert "R" not in result["rates"][reading("head", eps)][place]
                    continue
                delta = R - Rc.sum(1)
                size = (Z != 0).sum((1, 2)).numpy()
                assert curve(result, "R", *key)["mean"][layer] == pytest.approx(R.mean(), rel=1e-5)
                assert curve(result, "delta", *key)["mean"][layer] == pytest.approx(delta.mean(), rel=1e-4)
                assert curve(result, "objective", *key)["mean"][layer] == pytest.approx(
                    (delta - lam * size).mean(), rel=1e-4
                )


def test_changes_are_differences_image_by_image():
    model, pictures = tiny(), images(6)
    result = measure(model, pictures, eps_sq=0.5, normalise="none", batch_size=4)
    rec = record(model, pictures, ("tokens_in", "tokens_mid", "tokens_out"))
    for layer, block in enumerate(model.blocks):
        U = block.attention.U.detach()
        before, middle, after = (
            compression_rate(rec[p][layer], U, 0.5) for p in ("tokens_in", "tokens_mid", "tokens_out")
        )
        for step, change in (("compress", middle - before), ("sparsify", after - middle)):
            got = curve(result, "Rc", step, "none", 0.5)
            assert got["mean"][layer] == pytest.approx(change.mean().item(), rel=1e-4)
            assert got["std"][layer] == pytest.approx(change.std().item(), rel=1e-4)
            share = curve(result, "share_lower", step, "none", 0.5)["mean"][layer]
            assert share == pytest.approx((change < 0).double().mean().item())
    assert set(result["changes"]["none 0.5"]) == {*STEPS, *WHAT_IFS}


def test_steps_that_were_not_taken():
    model, pictures, eps = tiny(), images(4), 0.3
    result = measure(model, pictures, eps_sq=eps)
    rec = record(model, pictures, ("tokens_in", "tokens_mid"))
    for layer, block in enumerate(model.blocks):
        U, before, middle = block.attention.U.detach(), rec["tokens_in"][layer], rec["tokens_mid"][layer]
        start = compression_rate(before, U, eps)
        mirrored = compression_rate(2 * before - middle, U, eps) - start
        assert curve(result, "Rc", "mirrored", "none", eps)["mean"][layer] == pytest.approx(
            mirrored.mean().item(), rel=1e-3, abs=1e-3
        )
        turned = middle * (before.norm(dim=-1) / middle.norm(dim=-1))[..., None]
        assert curve(result, "Rc", "turned", "none", eps)["mean"][layer] == pytest.approx(
            (compression_rate(turned, U, eps) - start).mean().item(), rel=1e-3, abs=1e-3
        )
        # no step of that length can do much better than the steepest one
        downhill = curve(result, "Rc", "downhill", "none", eps)
        assert downhill["high"][layer] < min(0, curve(result, "Rc", "compress", "none", eps)["low"][layer])
    assert set(result["changes"]["head 0.3"]) == {*STEPS, "mirrored"}


def test_sparsity_by_hand():
    model, pictures = tiny(), images(3)
    result = measure(model, pictures, normalise="none", near_zero=0.5)
    Z = record(model, pictures, "tokens_out")["tokens_out"][1]
    assert curve(result, "zeros", "tokens_out")["mean"][1] == pytest.approx((Z == 0).float().mean().item())
    rms = Z.square().mean((1, 2), keepdim=True).sqrt()
    near = (Z.abs() <= 0.5 * rms).float().mean().item()
    assert curve(result, "near_zeros", "tokens_out")["mean"][1] == pytest.approx(near, rel=1e-5)
    assert near > (Z == 0).float().mean() > 0.3
    assert curve(result, "length", "tokens_out")["mean"][1] == pytest.approx(
        Z.norm(dim=-1).mean().item(), rel=1e-5
    )
    assert curve(measure(tiny("vit"), pictures), "zeros", "tokens_out")["mean"].max() == 0


@pytest.mark.parametrize("family", ["crate", "vit"])
def test_descent_against_autograd(family):
    """Cosine of attention's move with minus the gradient of R^c, by autograd through the layer's own projections."""
    model, pictures = tiny(family).double(), images(3)
    result = measure(model, pictures, eps_sq=0.2, normalise=("none", "token"))
    rec = record(model, pictures, ("tokens_in", "tokens_mid"))
    for layer, block in enumerate(model.blocks):
        Z = rec["tokens_in"][layer].requires_grad_()
        n, p = Z.shape[1], 8
        Zk = coordinates(block.attention, Z)
        big = torch.eye(n, dtype=Z.dtype) + p / (n * 0.2) * Zk @ Zk.mT
        (gradient,) = torch.autograd.grad(0.5 * torch.logdet(big).sum(), Z)
        move = (rec["tokens_mid"][layer] - Z).detach().flatten(1)
        cosine = -torch.cosine_similarity(gradient.flatten(1), move).mean().item()
        assert np.array(result["descent"]["none 0.2"]["mean"])[layer] == pytest.approx(cosine, abs=1e-6)
    assert set(result["descent"]) == {"none 0.2"}


def test_descent_is_one_for_a_layer_that_does_descend():
    """A move along minus the gradient scores 1: tokens so large beside ε² that the gradient is the pseudo-inverse."""
    model = tiny(depth=1).double()
    rec = record(model, images(2), "tokens_in")
    Z = rec["tokens_in"][0].requires_grad_()
    (gradient,) = torch.autograd.grad(compression_rate(Z, model.blocks[0].attention.U.detach(), 0.2).sum(), Z)

    class Step(MSSA):
        def forward(self, X, mask=None):
            return -0.1 * gradient[: len(X)]

    step = Step(24, 3).double()
    step.load_state_dict(model.blocks[0].attention.state_dict())
    model.blocks[0].attention = step
    result = measure(model, images(2), eps_sq=0.2, normalise="none")
    assert result["descent"]["none 0.2"]["mean"][0] == pytest.approx(1, abs=1e-6)
    assert result["changes"]["none 0.2"]["compress"]["share_lower"]["mean"] == [1.0]


# ---- streaming -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 99))
def test_running_statistics_do_not_depend_on_the_batches(sizes, seed):
    values = np.random.default_rng(seed).normal(3, 2, (sum(sizes), 4)) * [1, 1e-3, 1e3, 1]
    running = Running()
    for part in torch.from_numpy(values).split(sizes):
        running.add(part)
    got = {k: v.numpy() for k, v in running.summary().items()}
    assert running.count == len(values)
    assert got["mean"] == pytest.approx(values.mean(0), rel=1e-5)
    if len(values) == 1:
        assert all(np.isnan(got[k]).all() for k in ("std", "low", "high"))
    else:
        std = values.std(0, ddof=1)
        assert got["std"] == pytest.approx(std, rel=1e-5)
        half = 1.96 * std / len(values) ** 0.5
        assert got["low"] == pytest.approx(values.mean(0) - half, rel=1e-5, abs=1e-5 * np.abs(values).max())


def test_running_statistics_of_a_long_stream_keep_their_precision():
    running = Running()
    for _ in range(200):
        running.add(1e6 + torch.tensor([[-1.0], [1.0]]))
    assert running.summary()["std"][0].item() == pytest.approx((400 / 399) ** 0.5, rel=1e-5)


def test_batches_of_any_kind_give_the_same(tmp_path):
    model, pictures = tiny(), (255 * images(7)).to(torch.uint8)
    whole = measure(model, pictures, batch_size=7, normalise="token")
    as_set = ImageSet(pictures, torch.zeros(7, dtype=torch.long))
    for other in (
        measure(model, pictures, batch_size=2, normalise="token"),
        measure(model, as_set, batch_size=3, normalise="token"),
        measure(model, iter(pictures.split([1, 4, 2])), normalise="token"),
    ):
        for place in PLACES:
            a, b = (curve(r, "Rc_heads", place, "token") for r in (whole, other))
            for part in a:
                np.testing.assert_allclose(a[part], b[part], rtol=2e-4, atol=1e-4)
        assert other["images"] == 7


def test_tokens_that_drown_the_identity_are_measured_all_the_same():
    """Nearly equal tokens, at a precision far below rounding. What is done is told from sizes, not from whether a
    factor exists, which hangs on the last bits of the machine's matrix products.
    """
    model = tiny()
    with torch.no_grad():
        model.position.zero_()
        model.cls_token.zero_()
    same = torch.full((2, 3, 32, 32), 0.5)
    for normalise, eps_sq in (("none", 1e-3), ("none", 1e-30), ("token", 1e-30), ("head", 1e-30)):
        got = measure(model, same, eps_sq=eps_sq, normalise=normalise)
        for place in (*PLACES, "mirrored", *(["turned", "downhill"] if normalise == "none" else [])):
            assert np.isfinite(curve(got, "Rc", place, normalise, eps_sq)["mean"]).all()


def test_rates_of_large_tokens_of_low_rank_are_those_of_the_equation():
    """From the Gram matrix alone they would be too large by as many directions as it has rounding errors."""
    model = tiny()
    with torch.no_grad():
        model.embed[2].weight.zero_()  # all patches alike, and large
        model.embed[2].bias.fill_(1e7)
    got = measure(model, images(2), normalise="none", eps_sq=0.01)
    tokens_in = record(model, images(2), "tokens_in")["tokens_in"][0]
    expected = coding_rate(tokens_in, 0.01).mean().item()
    assert curve(got, "R", "tokens_in", "none", 0.01)["mean"][0] == pytest.approx(expected, rel=1e-5)
    heads = compression_rate(tokens_in, bases(model.blocks[0].attention), 0.01).mean().item()
    assert curve(got, "Rc", "tokens_in", "none", 0.01)["mean"][0] == pytest.approx(heads, rel=1e-5)


def test_no_batch_is_kept():
    alive = []

    def stream():
        for i in range(4):
            gc.collect()
            assert sum(ref() is not None for ref in alive) <= 1
            batch = images(2, seed=i)
            alive.append(weakref.ref(batch))
            yield batch
            del batch

    assert measure(tiny(depth=1), stream(), normalise="head")["images"] == 8


def test_one_image_has_no_spread():
    result = json.loads(json.dumps(measure(tiny(), images(1))))
    got = curve(result, "R", "tokens_in", "token")
    assert np.isfinite(got["mean"]).all()
    assert np.isnan(got["std"]).all()
    assert np.isnan(got["low"]).all()


def test_model_and_random_numbers_are_left_alone():
    model, pictures = tiny(), images(2)
    model.train()
    state = torch.get_rng_state()
    measure(model, pictures)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_cuda_gives_the_same():
    here, there = measure(tiny(), images(4)), measure(tiny().cuda(), images(4))
    for place in PLACES:
        a, b = (curve(r, "Rc_heads", place, "none")["mean"] for r in (here, there))
        np.testing.assert_allclose(a, b, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_tokens_are_measured_in_double(dtype):
    Zk = torch.randn(2, 3, 17, 8)
    torch.testing.assert_close(released_rate(Zk.to(dtype)), released_rate(Zk.double()), rtol=2e-2, atol=0)
    torch.testing.assert_close(effective_rank(Zk.to(dtype)), effective_rank(Zk.double()), rtol=2e-2, atol=0)


# ---- rank, coherence, weights ----------------------------------------------------------------------------


def test_effective_rank():
    eye = torch.eye(8, dtype=torch.float64)
    assert effective_rank(eye).item() == pytest.approx(8)
    assert effective_rank(eye[:, :1] @ torch.ones(1, 5, dtype=torch.float64)).item() == pytest.approx(1)
    assert effective_rank(torch.zeros(4, 3)).item() == 0
    Z = torch.randn(2, 3, 9, 5, dtype=torch.float64)
    q = np.linalg.svd(Z.numpy(), compute_uv=False) ** 2
    q = q / q.sum(-1, keepdims=True)
    np.testing.assert_allclose(effective_rank(Z), np.exp(-(q * np.log(q)).sum(-1)), rtol=1e-9)
    np.testing.assert_allclose(effective_rank(100 * Z), effective_rank(Z), rtol=1e-9)
    np.testing.assert_allclose(effective_rank(Z.mT), effective_rank(Z), rtol=1e-9)


def test_coherence_of_known_subspaces():
    eye = torch.eye(12, dtype=torch.float64)
    mixed = torch.randn(4, 4, dtype=torch.float64)  # another basis of the same subspace
    U = torch.stack([eye[:, :4], eye[:, 4:8], eye[:, :4] @ mixed, eye[:, 2:6]])
    expected = [[1, 0, 1, 0.5], [0, 1, 0, 0.5], [1, 0, 1, 0.5], [0.5, 0.5, 0.5, 1]]
    np.testing.assert_allclose(coherence(U), expected, atol=1e-12)
    torch.manual_seed(0)
    random = coherence(torch.randn(12, 96, 8))
    assert random[~torch.eye(12, dtype=torch.bool)].mean().item() == pytest.approx(8 / 96, abs=0.01)


def test_subspace_gram_is_of_unit_columns():
    U = torch.randn(3, 24, 8, dtype=torch.float64)
    gram = subspace_gram(U)
    columns = np.concatenate(list(U.numpy()), axis=1)
    columns = columns / np.linalg.norm(columns, axis=0)
    np.testing.assert_allclose(gram, columns.T @ columns, atol=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_alignment_reads_the_sign(sign):
    attention = MSSA(24, 3)
    with torch.no_grad():
        attention.out.weight.copy_(sign * 0.3 * attention.project.weight.mT)
    np.testing.assert_allclose(alignment(attention).detach(), sign, atol=1e-6)
    Z = torch.randn(2, 5, 24)
    tied = MSSA(24, 3, tied=True)
    tied.project = attention.project
    torch.testing.assert_close(attention(Z) - attention.out.bias, sign * 0.3 * tied(Z))
    assert alignment(tied) is None
    assert alignment(MHSA(24, 3)) is None


def test_alignment_of_one_head_alone():
    attention = MSSA(24, 3)
    with torch.no_grad():
        attention.out.weight[:, 8:16] = attention.U[1]
    got = alignment(attention)
    assert got[1].item() == pytest.approx(1, abs=1e-6)
    assert got[[0, 2]].abs().max() < 0.4


def test_weight_facts():
    model = tiny(depth=1)
    block = model.blocks[0]
    with torch.no_grad():
        block.feed.D.copy_(torch.linalg.qr(torch.randn(24, 24)).Q)
        block.attention.project.weight.copy_(3 * torch.linalg.qr(torch.randn(24, 24)).Q)
    facts = weight_facts(block)
    assert facts["dictionary"]["frobenius"] == pytest.approx(0, abs=1e-5)
    assert facts["dictionary"]["norm"] == pytest.approx(1, abs=1e-5)
    assert facts["orthonormality"] == pytest.approx([0, 0, 0], abs=1e-5)
    np.testing.assert_allclose(facts["coherence"], np.eye(3), atol=1e-6)
    with torch.no_grad():
        block.feed.D.mul_(2)
    facts = weight_facts(block)
    assert facts["dictionary"] == pytest.approx(
        {"frobenius": 3.0, "scaled": 0.0, "spectral": 3.0, "norm": 2.0}, abs=1e-4
    )
    assert weight_facts(tiny("vit").blocks[0])["dictionary"] is None
    json.dumps(facts)


def test_bases_are_those_the_coordinates_come_from():
    for family in ("crate", "vit"):
        attention = tiny(family).blocks[0].attention
        Z = torch.randn(2, 5, 24)
        zero = coordinates(attention, torch.zeros(2, 5, 24))  # the bias of the ViT's keys
        got = torch.einsum("bnd,kdp->bknp", Z, bases(attention)) + zero
        torch.testing.assert_close(got, coordinates(attention, Z))


# ---- asking for it ---------------------------------------------------------------------------------------


def test_several_readings_at_once_are_each_alone():
    model, pictures = tiny(), images(3)
    both = measure(model, pictures, eps_sq=(0.01, 0.5), normalise=("none", "head"))
    assert set(both["rates"]) == {"none 0.01", "none 0.5", "head 0.01", "head 0.5"}
    alone = measure(model, pictures, eps_sq=0.5, normalise="head")
    assert alone["rates"]["head 0.5"] == both["rates"]["head 0.5"]
    assert both["settings"]["eps_sq"] == [0.01, 0.5]


def test_curve_says_what_there_is():
    result = measure(tiny(), images(2), eps_sq=0.5, normalise="token")
    assert curve(result, "Rc_heads", "tokens_mid", "token", 0.5)["mean"].shape == (2, 3)
    assert curve(result, "effective_rank", "tokens_mid")["mean"].shape == (2, 3)
    with pytest.raises(KeyError, match=r"token 0\.5"):
        curve(result, "Rc", "tokens_mid", "token", 0.01)
    with pytest.raises(KeyError, match="tokens_in"):
        curve(result, "Rc", "nowhere", "token", 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps_sq": 0.0}, "must be positive"),
        ({"eps_sq": (0.5, -1.0)}, "must be positive"),
        ({"eps_sq": float("nan")}, "must be positive"),
        ({"eps_sq": ()}, "at least one"),
        ({"normalise": "layer"}, "known are none, token, head"),
        ({"normalise": ()}, "at least one"),
        ({"lam": -0.1}, "must not be negative"),
        ({"near_zero": -1.0}, "must not be negative"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        measure(tiny(), images(2), **settings)


def test_bad_images():
    with pytest.raises(ValueError, match="no images"):
        measure(tiny(), torch.zeros(0, 3, 32, 32))
    with pytest.raises(ValueError, match="no images"):
        measure(tiny(), iter(()))
    with pytest.raises(ValueError, match=r"\(n, 3, h, w\)"):
        measure(tiny(), torch.zeros(3, 32, 32))


def test_tokens_that_are_not_finite_name_their_layer():
    model = tiny()
    with torch.no_grad():
        model.blocks[1].attention.out.weight.fill_(3e38)  # finite itself, but not what it makes
    with pytest.raises(ValueError, match=r"layer 1 cannot be measured: tokens_mid holds NaN"):
        measure(model, images(2))
