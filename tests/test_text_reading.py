"""Who looks at whom, what units stand for, and one unit held."""

from __future__ import annotations

import pytest
import torch

from crate_mini.atoms import clamped
from crate_mini.language import LanguageConfig, LanguageModel
from crate_mini.operators import CannotAnswer
from crate_mini.text_reading import (
    lengths,
    looking_back,
    looks,
    predicates,
    rotated,
    unit_scores,
    units,
)

ABC = "abcdefgh "
KINDS = {"CRATE": ("mssa", "ista"), "GPT": ("mhsa", "mlp"), "a query": ("mssa_query", "ista")}


def tiny(attention: str = "mssa", feed: str = "ista", **settings) -> LanguageModel:
    torch.manual_seed(0)
    shape = {"dim": 24, "heads": 3, "depth": 2, "alphabet": ABC, "length": 12}
    model = LanguageModel(LanguageConfig(**shape, attention=attention, feed=feed, **settings)).eval()
    for block in model.encoder.blocks:
        block.attention.project.weight.data.mul_(4)
    return model


NUMBERS = torch.randint(0, len(ABC), (16, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_looks_are_the_attention_that_is_used(kind):
    """What a head gathers is its attention times its values: seen before the output map."""
    model = tiny(*KINDS[kind])
    gathered = []
    for block in model.encoder.blocks:
        block.attention.out.register_forward_pre_hook(lambda _, given: gathered.append(given[0]))
    tokens = model.embedding(NUMBERS).values
    for A, block in zip(looks(model, NUMBERS), model.encoder.blocks, strict=True):
        assert torch.equal(A.triu(1), torch.zeros_like(A))
        projected = block.attention.project(block.norm1(tokens))
        values = projected.unflatten(-1, (-1, 3, 8))[..., -1, :, :].transpose(1, 2)
        tokens = block(tokens, model.mask)
        torch.testing.assert_close(
            gathered[-1].unflatten(-1, (3, 8)).transpose(1, 2), A @ values, rtol=1e-4, atol=1e-5
        )


def test_an_equal_query_and_key_prefer_only_who_is_longer():
    """And a query of its own does not keep to that, so that the test can fail."""
    seen = {}
    for kind, operators in KINDS.items():
        model = tiny(*operators)
        breaks = 0
        for A, keys in zip(looks(model, NUMBERS), lengths(model, NUMBERS), strict=True):
            preferred = A / A.diagonal(0, -2, -1)[..., None] > 1 + 1e-4
            breaks += (preferred & (keys[..., None, :] <= keys[..., :, None])).sum().item()
            both = preferred & preferred.mT
            breaks += both.sum().item()
        seen[kind] = breaks
    assert seen["CRATE"] == 0
    assert seen["GPT"] > 100 < seen["a query"]


def test_looking_back():
    A = torch.tensor([[1.0, 0, 0], [0.7, 0.3, 0], [0.1, 0.4, 0.5]])[None, None]
    found = looking_back([A])
    assert found["before"] == [[pytest.approx(0.55)]]
    assert found["itself"] == [[pytest.approx(0.4)]]
    assert found["more"] == [[0.5]]


@pytest.mark.parametrize("kind", KINDS)
def test_units_and_one_of_them_held(kind):
    model = tiny(*KINDS[kind])
    with torch.no_grad():
        plain, found = model(NUMBERS), units(model, NUMBERS)
        assert found[0].shape == (16, 12, 96 if kind == "GPT" else 24)
        with clamped(model.encoder.blocks[0].feed, 5, 2.5):
            first, changed = units(model, NUMBERS)[0], model(NUMBERS)
        assert (first[..., 5] == 2.5).all()
        torch.testing.assert_close(first[..., :5], found[0][..., :5])
        assert (changed - plain).abs().max() > 1e-3
        assert torch.equal(model(NUMBERS), plain), "afterwards nothing is held"
    with pytest.raises(CannotAnswer, match="no module whose output are units"):
        units(tiny(feed="odl"), NUMBERS)


def test_predicates():
    text = "\nROMEO:\nO the deed, the art!\n"
    said = {
        name: "".join(c for c, h in zip(text, holds.tolist(), strict=True) if h)
        for name, holds in predicates(text).items()
    }
    assert said["in a speaker's name"] == "ROMEO:\n"
    assert said["a capital"] == "ROMEOO"
    assert said["after th"] == "ee"
    assert said["second of a word"] == "Ohehr"
    assert said["after a comma"] == "t"
    assert said["twice the same"] == "e"
    assert said["first of a line"] == "RO"


def test_a_unit_is_found_on_one_half_and_scored_on_the_other():
    draw = torch.Generator().manual_seed(0)
    said = {f"p{i}": torch.rand(2000, generator=draw) < 0.3 for i in range(5)}
    noise = torch.randn(2000, 4, generator=draw)
    x = noise.clone()
    x[:, 0] += 3 * said["p1"]
    x[:, 1] -= 3 * said["p4"]
    x[:1000, 2] += 3 * said["p0"][:1000]  # on the half where it is found alone
    x[:, 3] = 1.0
    got = unit_scores(x, said)
    assert got["predicate"][:3] == ["p1", "p4", "p0"]
    assert got["up"].tolist()[:3] == [True, False, True]
    assert got["score"][:2].min() > 0.95
    assert got["score"][2].item() == pytest.approx(0.5, abs=0.06)
    assert got["dead"].tolist() == [False, False, False, True]
    assert got["score"][3].item() == 0.5
    with pytest.raises(ValueError, match="never holds"):
        unit_scores(x, {"never": torch.zeros(2000, dtype=torch.bool)})


def test_rotation_keeps_lengths_and_loses_axes():
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    turned = rotated(x, 1)
    torch.testing.assert_close(turned.norm(dim=1), x.norm(dim=1))
    assert (turned - x).abs().max() > 0.5
