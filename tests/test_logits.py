"""What every shipped network says, held against what it said before the package was rebuilt.

``logits.npz`` was written by the code of commit 8083e8d: logits in float64 of every shipped weight and of a state
dict as the authors' code writes it, for the images of :func:`asked`; what was trained since, by the code that trained
it. Whatever changes inside, these numbers stay.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from crate_mini.model import CRATE
from crate_mini.official import from_official
from crate_mini.weights import list_pretrained, load_pretrained

STORED = Path(__file__).with_name("logits.npz")


def asked(model: CRATE) -> torch.Tensor:
    """Logits of two images of the model's own size, whole and from a quarter of their patches, and of a larger one."""
    rng = np.random.default_rng(0)
    side, patch = model.config.image_size, model.config.patch_size
    own, larger = (
        torch.from_numpy(rng.integers(0, 256, (b, 3, h, w), dtype=np.uint8))
        for b, h, w in ((2, side, side), (1, side + 4 * patch, side + 2 * patch))
    )
    kept = np.stack([rng.permutation(model.config.grid**2)[: model.config.grid**2 // 4] for _ in own])
    with torch.no_grad():
        return torch.cat([model(own), model(own, torch.from_numpy(kept)), model(larger)])


def official() -> dict[str, torch.Tensor]:
    """A small state dict under the names of github.com/Ma-Lab-Berkeley/CRATE, with random numbers in it."""
    d, inner, depth, patch, grid, classes = 48, 40, 3, 4, 5, 7
    vectors = {"to_patch_embedding.1": 3 * patch**2, "to_patch_embedding.3": d, "mlp_head.0": d}
    maps = {"to_patch_embedding.2": (d, 3 * patch**2), "mlp_head.1": (classes, d)}
    shapes = {"pos_embedding": (1, grid**2 + 1, d), "cls_token": (1, 1, d)}
    for layer in (f"transformer.layers.{i}" for i in range(depth)):
        vectors |= {f"{layer}.0.norm": d, f"{layer}.1.norm": d}
        maps |= {f"{layer}.0.fn.to_out.0": (d, inner)}
        shapes |= {f"{layer}.0.fn.qkv.weight": (inner, d), f"{layer}.1.fn.weight": (d, d)}
    shapes |= {f"{name}.{part}": (size,) for name, size in vectors.items() for part in ("weight", "bias")}
    shapes |= {f"{name}.weight": shape for name, shape in maps.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in maps.items()}
    rng = np.random.default_rng(1)
    state = {
        name: torch.from_numpy(rng.standard_normal(shape) / shape[-1] ** 0.5).float()
        for name, shape in sorted(shapes.items())
    }
    scales = [name for name, size in shapes.items() if len(size) == 1 and name.endswith("weight")]
    return state | {name: 1 + state[name] for name in scales}  # of a LayerNorm, around one


def network(name: str) -> CRATE:
    return from_official(official(), heads=4) if name == "official" else load_pretrained(name)


@pytest.mark.parametrize("name", ["official", *list_pretrained()])
def test_every_network_says_what_it_said(name):
    with np.load(STORED) as stored:
        expected = torch.from_numpy(stored[name])
    model = network(name)
    single = asked(model).double()
    torch.testing.assert_close(asked(model.double()), expected, rtol=0, atol=1e-10)
    # some units in the last place of the largest: two kernels for the same float32 sums differ by as much
    assert (single - expected).abs().max() <= 2e-6 * expected.abs().max().clamp(min=1)


def test_nothing_is_stored_that_is_not_asked():
    with np.load(STORED) as stored:
        assert set(stored) == {"official", *list_pretrained()}
