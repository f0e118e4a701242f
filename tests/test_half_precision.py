"""Half precision: every operator under autocast, held against its equation in double precision.

The yardstick is the plain formula with everything in half precision, tokens and weights alike. A layer keeps the
stream of tokens, and in ISTA the identity, in single precision, so it has to come out nearer than that, and by a good
part: the bounds below are shares of the plain formula's error.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crate_mini.compression import ExplicitAttention, attend, explicit_attention, mssa
from crate_mini.model import CRATE, CRATEConfig
from crate_mini.operators import basic
from crate_mini.sparsification import ISTA, ista_step, move_matrix
from crate_mini.weights import load_pretrained

OPERATORS = [("mssa", "ista"), ("mhsa", "mlp"), ("mssa", "mlp"), ("mhsa", "ista")]


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return ((found.double() - exact).norm() / exact.norm()).item()


def plain_attention(queries, keys, values, mask=None):
    return (queries @ keys.mT * queries.shape[-1] ** -0.5).softmax(-1) @ values


def half_steps(block: nn.Module, Z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens after attention and after the feed."""
    seen = []
    hook = block.norm2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        out = block(Z)
    hook.remove()
    return seen[0], out


def compared(block: nn.Module, Z: torch.Tensor, dtype: torch.dtype, monkeypatch) -> dict[str, float]:
    """Error of the layer under autocast, in each half, as a share of the error of the plain formula in ``dtype``."""
    exact = half_steps(copy.deepcopy(block).double(), Z.double())
    with torch.autocast("cpu", dtype):
        ours = half_steps(block, Z)
    with monkeypatch.context() as patch:
        patch.setattr(basic, "attend", plain_attention)
        patch.setattr(ISTA, "forward", lambda self, Y: ista_step(Y, self.D, self.step, self.lam))
        plain = half_steps(copy.deepcopy(block).to(dtype), Z.to(dtype))
    return {
        half: error(a, e) / error(p, e)
        for half, a, p, e in zip(("attention", "feed"), ours, plain, exact, strict=True)
    }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("attention", "feed"), OPERATORS)
@pytest.mark.parametrize("tokens", [17, 300])  # on either side of where the fused kernel takes over
def test_each_half_of_a_layer_is_nearer_than_the_plain_formula(attention, feed, tokens, dtype, monkeypatch):
    torch.manual_seed(0)
    config = CRATEConfig(
        dim=96, heads=3, depth=1, image_size=32, patch_size=8, attention=attention, feed=feed
    )
    Z = 3 * torch.randn(4, tokens, 96) + torch.randn(96)
    shares = compared(CRATE(config).blocks[0], Z, dtype, monkeypatch)
    assert shares["attention"] < 0.6, shares
    assert shares["feed"] < 0.6, shares


@pytest.mark.parametrize("layer", [0, 3, 7])
def test_ista_of_a_trained_network_keeps_its_token(layer):
    """As it was, with the identity inside the product: 3.3e-3 in these layers."""
    feed = load_pretrained("crate_mini_all_lion_s0").blocks[layer].feed.requires_grad_(False)
    torch.manual_seed(0)
    Y = nn.functional.layer_norm(torch.randn(8, 65, 192), (192,))
    exact = ista_step(Y.double(), feed.D.double(), feed.step, feed.lam)
    with torch.autocast("cpu", torch.bfloat16):
        ours, inside = (
            feed(Y),
            torch.relu(Y @ (torch.eye(192) + feed.step * move_matrix(feed.D)) - feed.step * feed.lam),
        )
    assert ours.dtype == torch.float32
    assert error(ours, exact) < 0.5 * error(inside, exact)
    assert error(ours, exact) < 1.3e-3


class TestNeighbours:
    """What an image becomes does not hang on the images that it shares a batch with."""

    @pytest.mark.parametrize("grad", [False, True])
    def test_one_product_a_token_whatever_their_number(self, grad):
        layer = ISTA(24)
        for tokens in (1, 23, 24, 25, 500):
            Y = torch.randn(1, tokens, 24)
            with torch.set_grad_enabled(grad), FlopCounterMode(display=False) as counter:
                layer(Y)
            forming = 24**3 if grad or tokens == 1 else 0
            assert counter.get_total_flops() // 2 == tokens * 24**2 + forming

    def test_alone_and_among_others(self):
        torch.manual_seed(0)
        layer, Y = ISTA(32).double(), torch.randn(9, 5, 32, dtype=torch.float64)
        torch.testing.assert_close(layer(Y)[:1], layer(Y[:1]), rtol=0, atol=1e-14)


class TestFormedOnce:
    """Without gradients on a CPU the matrix of a dictionary is kept; whoever changes the dictionary is noticed."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda layer: layer.D.add_(0.1),
            lambda layer: layer.D.data.mul_(2),  # no version counter sees this one
            lambda layer: setattr(layer.D, "data", torch.randn(16, 16)),
            lambda layer: layer.load_state_dict({"D": torch.randn(16, 16)}),
            lambda layer: layer.double(),
            lambda layer: layer.half().float(),
        ],
    )
    def test_follows_the_dictionary(self, change):
        torch.manual_seed(0)
        layer, Y = ISTA(16), torch.randn(2, 3, 16)
        with torch.no_grad():
            layer(Y)
            change(layer)
            Y = Y.to(layer.D.dtype)
            torch.testing.assert_close(layer(Y), ista_step(Y, layer.D))

    def test_is_not_part_of_the_weights(self):
        layer = ISTA(8)
        with torch.no_grad():
            layer(torch.randn(1, 2, 8))
        assert set(layer.state_dict()) == {"D"}
        assert torch.equal(copy.deepcopy(layer).D, layer.D)


class TestExplicitAttention:
    @pytest.mark.parametrize("same", [True, False])
    def test_gradients_by_finite_differences(self, same):
        torch.manual_seed(0)
        count = 1 if same else 3
        heads = [torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(count)]
        assert torch.autograd.gradcheck(lambda *h: ExplicitAttention.apply(*(h * 3 if same else h)), heads)

    @pytest.mark.parametrize("same", [True, False])
    def test_takes_heads_as_they_lie_in_the_tokens(self, same):
        torch.manual_seed(0)
        X = torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True)
        heads = [X.transpose(1, 2)] * 3 if same else [X.transpose(1, 2) * s for s in (1, 2, 3)]
        expected = explicit_attention(*heads)
        found = ExplicitAttention.apply(*heads)
        torch.testing.assert_close(found, expected)
        G = torch.randn_like(expected)
        torch.testing.assert_close(
            torch.autograd.grad(found, X, G, retain_graph=True),
            torch.autograd.grad(expected, X, G, retain_graph=True),
        )

    @pytest.mark.parametrize("tokens", [12, 200])
    @pytest.mark.parametrize("learning", [True, False])
    def test_attend_chooses_among_equals(self, tokens, learning):
        torch.manual_seed(0)
        heads = torch.randn(2, 3, tokens, 16)
        exact = mssa(heads[:, 0].double(), torch.eye(16, dtype=torch.float64)[None])
        found = attend(*[heads.bfloat16().requires_grad_(learning)] * 3)
        assert (type(found.grad_fn).__name__ == "ExplicitAttentionBackward") == learning
        assert error(found[:, 0], exact) < 6e-3
