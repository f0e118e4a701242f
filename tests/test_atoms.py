"""Units of a layer: where they fire and what holding one does, against the model itself and brute force."""

from __future__ import annotations

import pytest
import torch

from crate_mini import atoms
from crate_mini.model import CRATE, create_model
from crate_mini.recorder import record


def tiny(family: str) -> CRATE:
    torch.manual_seed(0)
    return create_model(f"{family}_nano", dim=24, heads=3, depth=3, image_size=32, num_classes=5).eval()


def images(b: int = 4) -> torch.Tensor:
    return torch.randint(
        0, 256, (b, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


@pytest.mark.parametrize("family", ["crate", "vit"])
def test_from_any_layer_on_it_is_the_model(family):
    model = tiny(family)
    entering = atoms.tokens_before(model, images(), batch_size=3)
    with torch.no_grad():
        expected = model(images()).log_softmax(-1)
    for layer in range(3):
        torch.testing.assert_close(
            atoms.onward(model, entering[layer], layer), expected, atol=1e-4, rtol=1e-4
        )
    units, leaving = atoms.fired(model, 1, entering[1], batch_size=3)
    torch.testing.assert_close(leaving, entering[2])
    if family == "crate":  # the code takes the token's place
        torch.testing.assert_close(units, leaving)
    else:
        kept = record(model, images(), "tokens_mid")["tokens_mid"][1]
        added = units @ model.blocks[1].feed.writes + model.blocks[1].feed[2].bias
        torch.testing.assert_close((kept + added).detach(), leaving, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["crate", "vit"])
def test_a_held_unit_is_a_change_along_what_it_writes(family):
    model = tiny(family)
    entering = atoms.tokens_before(model, images())
    units, leaving = atoms.fired(model, 1, entering[1])
    changed = leaving + (0.7 - units[..., 5])[..., None] * model.blocks[1].feed.writes[5]
    expected = atoms.onward(model, changed, 2)
    with atoms.clamped(model.blocks[1].feed, 5, 0.7), torch.no_grad():
        found = model(images()).log_softmax(-1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad():  # and it was let go
        assert not torch.allclose(model(images()).log_softmax(-1), found)
    with pytest.raises(ValueError, match="units 0 to"), atoms.clamped(model.blocks[1].feed, 500, 0.0):
        pass


def test_explained_by_groups_and_by_a_line():
    torch.manual_seed(0)
    groups = torch.tensor([0, 0, 0, 1, 1, 2])
    x = torch.randn(6, 2, dtype=torch.float64)
    means = torch.stack([x[groups == g].mean(0) for g in range(3)])[groups]
    expected = (means - x.mean(0)).square().sum(0) / (x - x.mean(0)).square().sum(0)
    torch.testing.assert_close(atoms.explained(x, groups), expected)
    f = torch.randn(6, 2, dtype=torch.float64)
    design = torch.cat([torch.ones(6, 1, dtype=torch.float64), f], 1)
    rest = x - design @ torch.linalg.lstsq(design, x).solution
    expected = 1 - rest.square().sum(0) / (x - x.mean(0)).square().sum(0)
    torch.testing.assert_close(atoms.explained(x, features=f), expected)
    assert atoms.explained(torch.ones(6, 1), groups).isnan().all()
    with pytest.raises(ValueError, match="either"):
        atoms.explained(x)


def test_agreement_counts_pairs_of_strongest_places():
    labels = torch.tensor([[0, 1], [0, 1], [0, 2], [1, 2]])
    values = torch.tensor([[5.0, 0], [4, 0], [0, 3], [0, 1]])[..., None]
    # the three strongest places are of labels 0, 0 and 2: one pair of three agrees
    assert atoms.agreement(values, labels, count=3).item() == pytest.approx(1 / 3)


def test_what_moved():
    before = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]).log()
    after = torch.tensor([[0.1, 0.8, 0.1], [0.5, 0.3, 0.2]]).log()
    found = atoms.moved(before, after)
    assert found == {k: pytest.approx(v) for k, v in {"variation": 0.3, "own": -0.3, "answers": 0.5}.items()}
