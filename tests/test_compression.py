"""MSSA against plain numpy, and the fused layer against its explicit twin."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
import torch

from crate_mini.compression import MSSA, mssa
from crate_mini.rates import compression_rate


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numpy_mssa(Z, U, W=None, b=None):
    """Loops over heads and tokens; nothing but products, exp and sums."""
    n = len(Z)
    K, _, p = U.shape
    out = np.zeros((n, K * p))
    for k in range(K):
        z = Z @ U[k]
        for i in range(n):
            scores = np.array([z[i] @ z[j] for j in range(n)]) / np.sqrt(p)
            weights = np.exp(scores - scores.max())
            out[i, k * p : (k + 1) * p] = (weights / weights.sum()) @ z
    if W is None:
        return sum(out[:, k * p : (k + 1) * p] @ U[k].T for k in range(K))
    return out @ W.T + b


@pytest.fixture
def layer() -> MSSA:
    torch.manual_seed(0)
    return MSSA(12, heads=3, head_dim=5).double()


def test_equation():
    Z, U, W, b = normal(7, 12), normal(3, 12, 5, seed=1), normal(12, 15, seed=2), normal(12, seed=3)
    expected = numpy_mssa(Z.numpy(), U.numpy(), W.numpy(), b.numpy())
    np.testing.assert_allclose(mssa(Z, U, W, b).numpy(), expected, rtol=0, atol=1e-10)
    tied = numpy_mssa(Z.numpy(), U.numpy())
    np.testing.assert_allclose(mssa(Z, U).numpy(), tied, rtol=0, atol=1e-10)


def test_leading_dimensions_are_a_batch():
    Z, U = normal(2, 3, 7, 12), normal(3, 12, 5, seed=1)
    torch.testing.assert_close(mssa(Z, U)[1, 2], mssa(Z[1, 2], U), rtol=0, atol=1e-12)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("heads", "head_dim"), [(3, 5), (4, None), (1, 12)])
def test_layer_is_its_explicit_twin(tied, heads, head_dim):
    torch.manual_seed(1)
    layer = MSSA(12, heads, head_dim, tied=tied).double()
    Z = normal(2, 9, 12).requires_grad_()
    twin_weights = (None, None) if tied else (layer.out.weight, layer.out.bias)
    out, twin = layer(Z), mssa(Z, layer.U, *twin_weights)
    torch.testing.assert_close(out, twin, rtol=0, atol=1e-10)

    wanted = [Z, *layer.parameters()]
    direction = normal(2, 9, 12, seed=5)
    for a, b in zip(
        torch.autograd.grad(out, wanted, direction), torch.autograd.grad(twin, wanted, direction), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("tied", [False, True])
def test_narrow_types(tied, dtype, tolerance):
    torch.manual_seed(1)
    layer = MSSA(64, heads=4, tied=tied).to(dtype)
    Z = normal(2, 20, 64).to(dtype)
    wide = MSSA(64, heads=4, tied=tied).double()
    wide.load_state_dict({k: v.double() for k, v in layer.state_dict().items()})
    out = layer(Z)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), wide(Z.double()), rtol=tolerance, atol=tolerance)
    explicit = mssa(Z, layer.U, *((None, None) if tied else (layer.out.weight, layer.out.bias)))
    torch.testing.assert_close(explicit, out, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("tied", [False, True])
def test_autocast(tied):
    torch.manual_seed(1)
    layer = MSSA(64, heads=4, tied=tied)
    Z = normal(2, 20, 64).float()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(Z)
    torch.testing.assert_close(out.float(), layer(Z), rtol=5e-2, atol=5e-2)
    assert out.dtype == torch.bfloat16


def test_shared_projection(layer):
    """Queries, keys and values are one projection: with a separate one for each there would be three times as many."""
    assert sum(p.numel() for p in layer.parameters()) == 12 * 15 + (15 * 12 + 12)
    q, k = layer.queries_keys(layer.project(normal(1, 4, 12)))
    assert torch.equal(q, k)
    assert layer.project.bias is None
    assert layer.out.bias is not None


def test_tied_layer_has_no_output_map():
    tied = MSSA(12, heads=3, tied=True)
    assert tied.out is None
    assert [n for n, _ in tied.named_parameters()] == ["project.weight"]
    assert "tied=True" in repr(tied)


def test_bases_are_a_view_of_the_weight(layer):
    Z = normal(4, 12)
    by_head = torch.einsum("nd,kdp->knp", Z, layer.U)
    torch.testing.assert_close(by_head, layer.queries_keys(layer.project(Z[None]))[1][0])
    with torch.no_grad():
        layer.U[1].zero_()
    assert (layer.project.weight[5:10] == 0).all()
    assert (layer.project.weight[:5] != 0).all()


def test_bases_feed_the_compression_rate(layer):
    """The layer's own U is what R^c takes; a gradient reaches the weights."""
    compression_rate(normal(6, 12), layer.U, 0.1).backward()
    assert layer.project.weight.grad.abs().sum() > 0


def test_alike_tokens_are_left_alone():
    """Softmax over equal scores averages equal tokens; tied orthonormal bases that span the space give them back."""
    Q = torch.linalg.qr(normal(12, 12)).Q
    Z = normal(1, 12).repeat(5, 1)
    torch.testing.assert_close(mssa(Z, Q.view(12, 3, 4).movedim(1, 0)), Z)


def test_order_of_tokens_does_not_matter(layer):
    Z, order = normal(1, 8, 12), torch.randperm(8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(Z)[:, order], layer(Z[:, order]))


def test_bases_that_do_not_fit(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(
        ValueError, match=r"U must be \(K, d, p\) with the d of the tokens, 12; got shape \(3, 11, 4\)"
    ):
        mssa(normal(5, 12), normal(3, 11, 4))
