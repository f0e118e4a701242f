"""A recipe is a value, and every number in it has a range."""

from __future__ import annotations

import math
from dataclasses import asdict, fields, replace

import jaxtyping
import pytest
from small_training import recipe

from crate_mini.training import Recipe

NAN, INF = math.nan, math.inf

# for every setting: what is refused, what is taken at the edges of its range, what the message says
RANGES = {
    "epochs": ([0, -1, 1.5, 2.0, True, "3", None], [2, 3], "epochs must be a whole number, 1 or more"),
    "batch_size": ([0, -8, 8.0, None], [1], "batch_size must be a whole number, 1 or more"),
    "optimizer": (["sgd", None], ["adamw", "lion"], "optimizer must be one of adamw, lion"),
    "lr": ([0, 0.0, -1e-3, NAN, INF, "1", None], [1e-12, 1], "lr must be a number above 0"),
    "weight_decay": ([-0.1, NAN, INF, None], [0, 0.0, 2.5], "weight_decay must be a number 0 or above"),
    "warmup_epochs": (
        [-1, -0.1, 30.1, 31, NAN, None],
        [0, 0.5, 30],
        "warmup_epochs must be a number from 0 to epochs, 30",
    ),
    "label_smoothing": ([-0.1, 1, 1.0, NAN], [0, 0.99], "label_smoothing must be a number from 0 to below 1"),
    "crop_area": (
        [(0.0, 1.0), (0.9, 0.5), (0.5, 1.5), (NAN, 1.0), (0.5,), (0.1, 0.2, 0.3)],
        [(1.0, 1.0), (0.01, 0.02)],
        "crop_area must be 0 < smallest <= largest <= 1",
    ),
    "flip": ([1, 0, None, "no"], [True, False], "flip must be True or False"),
    "keep_patches": ([0, -0.5, 1.5, NAN], [1e-6, 1], "keep_patches must be a number above 0 and at most 1"),
    "clip_norm": ([0, -1, -1.0, NAN, INF], [1e-3, None], "clip_norm must be a number above 0, or None"),
    "precision": (
        ["float64", "half", None],
        ["auto", "float32", "bfloat16", "float16"],
        "precision must be one of auto, float32, bfloat16, float16",
    ),
    "compile": ([1, "yes"], [True], "compile must be True or False"),
    "evaluate_every": (
        [0, -1, 1.5, True, None],
        [1, 100],
        "evaluate_every must be a whole number, 1 or more",
    ),
    "seed": ([-1, 0.5, True, None], [0, 10**12], "seed must be a whole number, 0 or more"),
}


@pytest.mark.parametrize("name", [f.name for f in fields(Recipe)])
def test_every_setting_has_a_range(name, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no checker of types
    bad, good, message = RANGES[name]
    for value in bad:
        with pytest.raises(
            ValueError, match=f"{message}.*; got {'' if name == 'crop_area' else repr(value)}"
        ):
            Recipe(**{name: value})
    for value in good:
        assert getattr(Recipe(**{name: value}), name) == value


def test_a_seed_too_large_for_a_generator():
    with pytest.raises(ValueError, match="seed must be at most 1000000000000; got 1000000000001"):
        Recipe(seed=10**12 + 1)


def test_recipe_from_json():
    r = recipe(optimizer="lion", clip_norm=1.0)
    values = asdict(r) | {"crop_area": list(r.crop_area)}
    assert Recipe.from_dict(values) == r
    with pytest.raises(ValueError, match=r"unknown settings \['momentum'\]; known are \['batch_size'"):
        Recipe.from_dict({"momentum": 0.9})


def test_recipe_is_a_value():
    assert recipe() == replace(recipe(), lr=1e-3)
    with pytest.raises(AttributeError):
        recipe().lr = 1
