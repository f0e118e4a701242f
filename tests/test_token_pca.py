"""Tokens as colours: against scikit-learn and numpy, and what must not change the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from crate_mini import data
from crate_mini.model import create_model
from crate_mini.recorder import record
from crate_mini.token_pca import COMPONENTS, DIM, border, fit_token_pca, patch_features
from crate_mini.weights import load_pretrained


def cloud(n: int = 300, f: int = 12, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Tokens with a spread of their own along each of a few directions."""
    g = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(f, f, generator=g, dtype=torch.float64)).Q
    lengths = 2.0 ** -torch.arange(f, dtype=torch.float64)
    return ((torch.randn(n, f, generator=g, dtype=torch.float64) * lengths) @ axes + 3).to(dtype)


@given(n=st.integers(8, 200), f=st.integers(4, 30), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_components_are_scikit_learns(n, f, seed):
    x = cloud(n, f, seed)
    found, expected = fit_token_pca(x), PCA(COMPONENTS, svd_solver="full").fit(x.numpy())
    np.testing.assert_allclose(found.variances, expected.explained_variance_, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(found.mean, expected.mean_, atol=1e-12)
    for k in range(COMPONENTS):  # the sign is ours: the largest coordinate is positive
        theirs = expected.components_[k] * np.sign(
            expected.components_[k][np.abs(expected.components_[k]).argmax()]
        )
        if k + 1 < min(n - 1, f):
            np.testing.assert_allclose(found.components[k], theirs, atol=1e-6)
    np.testing.assert_allclose(found.scores(x).mean(0), 0, atol=1e-10)


def test_colours_are_numpys():
    x = cloud()
    pca = fit_token_pca(x)
    centred = x.numpy() - x.numpy().mean(0)
    scores = centred @ pca.components.numpy().T
    low, high = np.quantile(scores[:, 1:], [0.02, 0.98], axis=0)
    expected = np.clip((scores[:, 1:] - low) / (high - low), 0, 1) * np.where(scores[:, :1] > 0, 1, DIM)
    np.testing.assert_allclose(pca.colours(x), expected, atol=1e-10)
    assert 0.01 < float((pca.colours(x, dim=1.0) == 1).double().mean()) < 0.03  # the brightest 2 %


def test_order_scale_and_precision_of_the_tokens_do_not_change_the_picture():
    x = cloud()
    edge = torch.arange(len(x)) % 3 == 0
    colours = fit_token_pca(x, edge).colours(x)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    shuffled = fit_token_pca(x[order], edge[order]).colours(x[order])
    torch.testing.assert_close(shuffled, colours[order], atol=1e-9, rtol=0)
    torch.testing.assert_close(fit_token_pca(7 * x, edge).colours(7 * x), colours, atol=1e-9, rtol=0)
    single = x.float()
    torch.testing.assert_close(fit_token_pca(single, edge).colours(single), colours, atol=1e-4, rtol=0)


def test_the_border_is_background_whichever_way_the_axis_points():
    h, w = 9, 11
    edge = border(h, w)
    assert int(edge.sum()) == 2 * (h + w) - 4
    inside = torch.zeros(h, w)
    inside[3:6, 3:8] = 1
    for sign in (-1, 1):
        noise = 0.02 * torch.randn(h * w, 6, generator=torch.Generator().manual_seed(0))
        x = noise + sign * inside.view(-1, 1) * torch.tensor([1.0, 1, 0, 0, 0, 0])
        found = fit_token_pca(x, edge.flatten()).foreground(x).view(h, w)
        assert (found == inside.bool()).all()


def test_tokens_all_alike_have_a_colour_each():
    x = torch.ones(10, 5)
    colours = fit_token_pca(x).colours(x)
    assert torch.isfinite(colours).all()
    assert (colours == colours[0]).all()


@pytest.mark.parametrize(
    ("x", "edge", "message"),
    [
        (torch.ones(1, 8), None, "two tokens"),
        (torch.ones(8, 3), None, "4 features"),
        (torch.full((8, 8), torch.nan), None, "NaN"),
        (torch.ones(8, 8), torch.ones(7, dtype=torch.bool), "each of 8 tokens"),
    ],
)
def test_what_does_not_fit_is_refused(x, edge, message):
    with pytest.raises(ValueError, match=message):
        fit_token_pca(x, edge)


@pytest.mark.parametrize("name", ["crate_nano", "vit_nano"])
def test_features_are_the_recorded_projections_of_the_patches(name):
    torch.manual_seed(0)
    model = create_model(name, image_size=32, num_classes=3)
    images = torch.rand(2, 3, 32, 48)
    found = patch_features(model, images, [-1, 0])
    assert list(found) == [3, 0]
    Z = record(model, images, "attention_in", layers=[3])["attention_in"][3][:, 1:]
    project = model.blocks[3].attention.project
    m = model.config.dim  # of the ViT's queries, keys and values the keys, in the middle
    expected = project(Z) if name == "crate_nano" else project(Z)[..., m : 2 * m]
    torch.testing.assert_close(found[3], expected.detach())
    assert found[3].shape == (2, 24, m)


def test_the_shipped_networks_first_component_finds_drawn_animals():
    """Better than calling everything, or nothing but the middle, an animal: the picture is worth looking at."""
    model = load_pretrained("crate_mini_all_lion_s0")
    animals = data.load("embedded", "test", n=12, seed=1, image_size=128)
    features = patch_features(model, animals.images, [4])[4]
    pca = fit_token_pca(features.flatten(0, 1), border(16, 16).flatten().repeat(12))
    found = pca.foreground(features).view(12, 16, 16)
    truth = torch.nn.functional.avg_pool2d((animals.masks == 1).float(), 8) > 0.5
    iou = ((found & truth).sum((1, 2)) / (found | truth).sum((1, 2))).mean()
    everything = truth.float().mean((1, 2)).mean()
    print(float(iou), float(everything))
    assert iou > everything + 0.1
