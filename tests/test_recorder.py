"""The recorder: exactly what was asked for, equal to a run by hand, and no trace left on the model."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from crate_mini.model import CRATE, create_model
from crate_mini.recorder import RECORDABLE, layer_numbers, record

FAMILIES = ("crate", "crate_mhsa", "crate_mlp", "vit")


def tiny(family: str = "crate", **settings) -> CRATE:
    torch.manual_seed(0)
    settings = {"dim": 24, "heads": 3, "depth": 3, "image_size": 32, "num_classes": 5} | settings
    return create_model(f"{family}_nano", **settings).eval()


def images(b: int = 2, size: int = 32) -> torch.Tensor:
    return torch.rand(b, 3, size, size, generator=torch.Generator().manual_seed(0))


def hooks(model: CRATE) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_bit_for_bit_those_of_the_plain_model(family):
    model = tiny(family)
    with torch.no_grad():
        plain = model(images())
    for names in ((), RECORDABLE, ("cls_attention",)):
        assert torch.equal(record(model, images(), names)["logits"], plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_values_are_those_of_a_run_by_hand(family):
    model = tiny(family).double()
    rec = record(model, images(), RECORDABLE)
    assert set(rec) == {"logits", *RECORDABLE}
    with torch.no_grad():
        Z = model.tokens(images())
        for layer, block in enumerate(model.blocks):
            expected = {"tokens_in": Z, "attention_in": block.norm1(Z)}
            projected = block.attention.project(block.norm1(Z))
            if "mhsa" in family or family == "vit":
                queries, keys, _ = projected.chunk(3, -1)
            else:
                queries = keys = projected
            queries, keys = (t.view(2, 17, 3, 8).transpose(1, 2) for t in (queries, keys))
            whole = queries @ keys.mT / 8**0.5
            expected |= {"projections": keys, "cls_scores": whole[:, :, 0]}
            expected |= {
                "cls_attention": whole.softmax(-1)[:, :, 0]
            }  # the class token's row of the n x n matrix
            Z = Z + block.attention(block.norm1(Z))
            expected |= {"tokens_mid": Z, "feed_in": block.norm2(Z)}
            fed = block.feed(block.norm2(Z))
            Z = fed if family in ("crate", "crate_mhsa") else Z + fed
            expected |= {"tokens_out": Z}
            assert set(expected) == set(RECORDABLE)
            for name, value in expected.items():
                assert rec[name][layer].shape == value.shape, name
                torch.testing.assert_close(rec[name][layer], value, rtol=0, atol=1e-12, msg=name)


def test_only_what_was_asked_for():
    rec = record(tiny(), images(), ("tokens_out", "projections"), layers=[2, 0])
    assert set(rec) == {"logits", "tokens_out", "projections"}
    assert set(rec["tokens_out"]) == set(rec["projections"]) == {0, 2}
    assert rec["projections"][0].shape == (2, 3, 17, 8)


def test_layers_count_from_the_end():
    model = tiny()
    assert layer_numbers(model, [-1, 0, -3]) == [2, 0, 0]
    assert layer_numbers(model, None) == [0, 1, 2]
    last = record(model, images(), "tokens_out", layers=[-1])["tokens_out"]
    assert set(last) == {2}
    assert torch.equal(last[2], record(model, images(), "tokens_out")["tokens_out"][2])


def test_a_single_name_may_stand_alone():
    rec = record(tiny(), images(), "cls_attention")
    assert rec["cls_attention"][1].shape == (2, 3, 17)
    torch.testing.assert_close(rec["cls_attention"][1].sum(-1), torch.ones(2, 3))


def test_hooks_are_gone_afterwards():
    model = tiny()
    assert hooks(model) == 0
    record(model, images(), RECORDABLE)
    assert hooks(model) == 0


def test_hooks_are_gone_after_a_failure():
    model = tiny()
    with pytest.raises(ValueError, match="multiples of the patch"):
        record(model, images(2, 33), RECORDABLE)
    assert hooks(model) == 0
    counted = []
    handle = model.blocks[1].register_forward_pre_hook(lambda *_: counted.append(hooks(model)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        record(model, images(), RECORDABLE)
    assert counted[0] > 1  # they had been on
    handle.remove()
    assert hooks(model) == 0


def test_hooks_of_others_stay():
    model, seen = tiny(), []
    model.blocks[0].register_forward_hook(lambda *_: seen.append(1))
    record(model, images(), RECORDABLE)
    model(images())
    assert seen == [1, 1]


class LargestPair(TorchDispatchMode):
    """Fails as soon as any operation makes a tensor with two dimensions of ``n`` or more."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n, self.tensors = n, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.tensors += 1
                assert sum(side >= self.n for side in tensor.shape) < 2, f"{func} made {tuple(tensor.shape)}"
        return result


@pytest.mark.parametrize("family", ["crate", "vit"])
def test_no_square_matrix_of_tokens(family):
    """577 tokens of 24 dimensions, 3 heads: n x n would be by far the largest tensor."""
    model, x = tiny(family, patch_size=4), images(1, 96)
    n = 1 + 24 * 24
    model.tokens(x)  # the image itself, 96 x 96, has sides below n
    with LargestPair(n) as watch:
        rec = record(model, x, ("cls_attention", "cls_scores", "projections", "tokens_mid"))
    assert watch.tensors > 50
    assert rec["cls_attention"][0].shape == (1, 3, n)


def test_the_watch_sees_a_square_matrix():
    with pytest.raises(AssertionError, match="made"), LargestPair(5):
        torch.zeros(1, 3, 5, 2) @ torch.zeros(1, 3, 2, 5)


def test_gradients_only_on_request():
    model = tiny()
    assert not record(model, images(), "tokens_out")["tokens_out"][2].requires_grad
    kept = record(model, images(), "tokens_out", grad=True)
    kept["tokens_out"][1].sum().backward()
    assert model.blocks[0].feed.D.grad.abs().sum() > 0
    assert model.blocks[2].feed.D.grad is None
    assert torch.is_grad_enabled()


def test_mode_is_left_alone():
    model = tiny().train()
    record(model, images())
    assert model.training


def test_larger_images():
    assert record(tiny(), images(1, 64))["cls_attention"][0].shape == (1, 3, 65)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"cannot record \['attention'\]; known are tokens_in, "):
        record(tiny(), images(), ("cls_attention", "attention"))


@pytest.mark.parametrize("layers", [[3], [-4], [0, 7]])
def test_layers_that_are_not_there(layers):
    with pytest.raises(ValueError, match="the model has layers 0 to 2; got"):
        record(tiny(), images(), layers=layers)
