"""Recipes by name: the papers', those of the shipped weights, and the full list that waits for a GPU.

A :class:`NamedRecipe` is all that a training needs besides the images: model, data set, sizes and a
:class:`~crate_mini.training.Recipe`. ``crate-mini train --recipe NAME`` runs one; flags given beside it win.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

import torch

from crate_mini.model import CRATE, create_model
from crate_mini.training import Recipe

ON_THE_WAY = (0.02, 0.05, 0.2, 0.5)
"""Shares of a training after which its weights are kept, for the chapter on training time."""


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe with the model and the data it is for.

    Attributes:
        name: what :func:`get_recipe` knows it by; for the shipped families, the name of the weights.
        model: a name that :func:`~crate_mini.model.create_model` knows.
        data: a name that :func:`crate_mini.data.load` knows.
        recipe: how.
        image_size, patch_size: pixels.
        settings: further fields of :class:`~crate_mini.model.CRATEConfig`, such as ``depth``.
        save_at: shares of the training after which the weights are kept.
        start: weights that are fine-tuned; None where training starts from scratch.
        source: where the numbers come from.
        differs: what our loop does otherwise than the source; empty where nothing.
    """

    name: str
    model: str
    data: str
    recipe: Recipe
    image_size: int
    patch_size: int
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    save_at: tuple[float, ...] = ()
    start: str | None = None
    source: str = "this book"
    differs: str = ""

    def create_model(self, num_classes: int) -> CRATE:
        """The model at its start: the same numbers, for the same seed, as ``crate-mini train`` starts from."""
        torch.manual_seed(self.recipe.seed)
        sizes = {"image_size": self.image_size, "patch_size": self.patch_size, "num_classes": num_classes}
        return create_model(self.model, **sizes, **self.settings)

    def command(self, out: str | None = None) -> str:
        """The command that trains it."""
        return shlex.join(["crate-mini", "train", "--recipe", self.name, "--out", out or f"runs/{self.name}"])


def get_recipe(name: str, **changes: Any) -> NamedRecipe:
    """A recipe by name, with any field of it, or of its :class:`~crate_mini.training.Recipe`, changed.

    For example ``get_recipe("imagenet1k_lion", model="crate_tiny", batch_size=512)``.

    Raises:
        ValueError: unknown name or field.
    """
    if name not in _RECIPES:
        raise ValueError(f"unknown recipe {name!r}; known are {', '.join(_RECIPES)}")
    inner = {f.name for f in fields(Recipe)}
    outer = {f.name for f in fields(NamedRecipe)} - {"name", "recipe"}
    if unknown := set(changes) - inner - outer:
        raise ValueError(
            f"a recipe has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(inner | outer))}"
        )
    named = _RECIPES[name]
    recipe = replace(named.recipe, **{k: v for k, v in changes.items() if k in inner})
    return replace(named, recipe=recipe, **{k: v for k, v in changes.items() if k in outer})


def list_recipes() -> dict[str, NamedRecipe]:
    """Every recipe by its name."""
    return dict(_RECIPES)


# --- the papers' -----------------------------------------------------------------------------------------------------

_OURS = (
    "Weight decay acts on matrices only; the learning rate moves every step; bfloat16 in place of fp16 with a scaler; "
    "crops have an area drawn uniformly"
)


def _papers() -> Iterator[NamedRecipe]:
    """What the papers and the released code say, as far as they say it.

    ``imagenet1k_lion``: arXiv 2306.01129, section 3.1 and appendix B: Lion, learning rate 2.4e-4, weight decay 0.5,
    batches of 2048, 150 epochs, 5 of them warm-up, cosine; random resized crop and flip; label smoothing 0.1.

    ``imagenet1k_readme``: the command in the README of github.com/Ma-Lab-Berkeley/CRATE: CRATE-T, Lion, learning
    rate 2e-4, weight decay 0.05, batches of 512, 200 epochs; what it leaves out is the default of ``main.py``,
    20 epochs of warm-up among them.

    ``imagenet21k_lion``: arXiv 2308.16271, appendix B: Lion, learning rate 9.6e-5, weight decay 0.05, batches of
    4096, 90 epochs; images resized and cropped in the centre, flipped at random. All of that paper's segmentation
    results stand on it. Warm-up and label smoothing are not stated; those of ``imagenet1k_lion`` stand here.

    ``finetune_adamw``: arXiv 2306.01129, appendix B, and ``finetune.py``: AdamW, learning rate 5e-5, weight decay
    0.01, batches of 512 (256 in 2308.16271), cosine without warm-up, no label smoothing; 200 epochs in the README.
    """
    crop = {"crop_area": (0.08, 1.0), "flip": True}
    lion = Recipe(
        optimizer="lion", lr=2.4e-4, weight_decay=0.5, batch_size=2048, epochs=150, warmup_epochs=5.0,
        label_smoothing=0.1, **crop,
    )  # fmt: skip
    imagenet = {"data": "folder", "image_size": 224}
    yield NamedRecipe(
        "imagenet1k_lion", "crate_base", recipe=lion, patch_size=16, **imagenet,
        source="arXiv 2306.01129, section 3.1 and appendix B", differs=_OURS,
    )  # fmt: skip
    yield NamedRecipe(
        "imagenet1k_readme", "crate_tiny",
        recipe=replace(lion, lr=2e-4, weight_decay=0.05, batch_size=512, epochs=200, warmup_epochs=20.0),
        patch_size=16, **imagenet,
        source="README and main.py of github.com/Ma-Lab-Berkeley/CRATE", differs=_OURS,
    )  # fmt: skip
    yield NamedRecipe(
        "imagenet21k_lion", "crate_small_8",
        recipe=replace(lion, lr=9.6e-5, weight_decay=0.05, batch_size=4096, epochs=90, crop_area=(1.0, 1.0)),
        patch_size=8, **imagenet,
        source="arXiv 2308.16271, appendix B",
        differs=f"{_OURS}; warm-up and label smoothing, which it does not state, as in imagenet1k_lion",
    )  # fmt: skip
    yield NamedRecipe(
        "finetune_adamw", "crate_base",
        recipe=Recipe(
            optimizer="adamw", lr=5e-5, weight_decay=0.01, batch_size=512, epochs=200, warmup_epochs=0.0,
            label_smoothing=0.0, **crop,
        ),
        patch_size=16, **imagenet,
        source="arXiv 2306.01129, appendix B; finetune.py and README of the released code",
        differs=f"{_OURS}; crop and flip alone, no RandAugment",
    )  # fmt: skip


# --- the full list on Tiny-ImageNet, for a GPU -----------------------------------------------------------------------


def _tiny_imagenet() -> Iterator[NamedRecipe]:
    """All 200 classes at the segmentation paper's width 384, 6 heads, depth 12; patch 4 on 64 pixels, a 16 x 16 grid.

    One recipe for all: AdamW at the book's learning rate for a batch of 128, doubled with the batch's square root
    for 512; 100 epochs; crops from a quarter of the image on. The ViT of width 192 has CRATE's number of
    parameters, ``vit_wide`` its width.
    """
    recipe = Recipe(
        epochs=100, batch_size=512, lr=2e-3, weight_decay=0.05, warmup_epochs=5.0, label_smoothing=0.1,
        crop_area=(0.25, 1.0), clip_norm=1.0, compile=True,
    )  # fmt: skip
    networks = {
        "crate": "crate_small_8",
        "vit": "vit_tiny_8",
        "crate_mhsa": "crate_mhsa_small_8",
        "crate_mlp": "crate_mlp_small_8",
        "vit_wide": "vit_wide_small_8",
    }
    shared = {"data": "tiny-imagenet", "image_size": 64, "patch_size": 4}
    for short, model in networks.items():
        for seed in range(3):
            yield NamedRecipe(
                f"tiny_imagenet_{short}{_suffix(seed)}", model, recipe=replace(recipe, seed=seed), **shared,
                save_at=ON_THE_WAY if (short, seed) == ("crate", 0) else (),
            )  # fmt: skip
    for depth in (3, 6, 9):
        yield NamedRecipe(
            f"tiny_imagenet_crate_depth{depth}", networks["crate"], recipe=recipe, **shared,
            settings=MappingProxyType({"depth": depth}),
        )  # fmt: skip


# --- all 200 classes, on a part of the patches -----------------------------------------------------------------------

# the papers' optimiser and decay, with a step for batches of 64
LION: Mapping[str, Any] = MappingProxyType({"optimizer": "lion", "lr": 1.5e-4, "weight_decay": 0.5})


def _all_classes() -> Iterator[NamedRecipe]:
    """All 200 classes by the papers' optimiser, on a part of the patches.

    CRATE and the ViT of as many parameters, each with six heads and with three. ``*_mini*_all_lion_s0`` and further
    seeds: the book's own size, patch 8 on 64 pixels, half an hour each on one core of a CPU.
    ``crate_small*_all_lion_s0`` and ``vit_tiny*_all_lion_s0``: the segmentation paper's width, patch 4, for a GPU;
    not run yet.
    """
    mini = Recipe(
        epochs=9, batch_size=64, warmup_epochs=0.5, keep_patches=0.3, precision="bfloat16", **LION
    )  # fmt: skip
    small = Recipe(
        epochs=40, batch_size=512, warmup_epochs=2.0, crop_area=(0.25, 1.0), keep_patches=0.25, compile=True,
        **{**LION, "lr": 2e-4},
    )  # fmt: skip
    sizes = (("crate_mini", "vit_mini", 8, mini), ("crate_small_8", "vit_tiny_8", 4, small))
    for seed in range(3):
        for crate, vit, patch_size, recipe in sizes:
            for model, mark, heads in ((crate, "", 6), (crate, "_heads3", 3), (vit, "", 3), (vit, "_6", 6)):
                yield NamedRecipe(
                    f"{model.removesuffix('_8')}{mark}_all_lion_s{seed}", model, "tiny-imagenet",
                    recipe=replace(recipe, seed=seed), image_size=64, patch_size=patch_size,
                    settings=MappingProxyType({"heads": heads}),
                )  # fmt: skip


# --- what two CPU cores can carry: the shipped weights ---------------------------------------------------------------


def _animals() -> Iterator[NamedRecipe]:
    """The shipped weights of 25 animals of Tiny-ImageNet, patch 8 on 64 pixels.

    ``crate_mini_animals`` and ``vit_mini_animals``: 30 epochs on all patches, the pair that most chapters look at.

    ``*_animals_s0`` and further seeds: the family under one recipe, for comparisons. A step looks at three patches in
    ten (``keep_patches``) in bfloat16, which is what makes twenty epochs of many networks fit into hours of a CPU.

    ``*_animals_lion_s0`` and further seeds: three times as long, by the papers' optimiser; the ViT also with
    CRATE's six heads, and CRATE with the ViT's three, which costs it no parameter.

    The cards of the weights repeat every number.
    """
    shared = {"data": "tiny-imagenet-animals", "image_size": 64, "patch_size": 8}
    longer = Recipe(epochs=30, batch_size=128, lr=1e-3, warmup_epochs=2.0, compile=True)
    for model in ("crate_mini", "vit_mini"):
        yield NamedRecipe(f"{model}_animals", model, recipe=longer, **shared)
    recipe = Recipe(epochs=20, batch_size=64, warmup_epochs=1.0, keep_patches=0.3, precision="bfloat16")
    seeds = {"crate_mini": 3, "vit_mini": 3, "vit_mini_6": 1, "crate_mhsa_mini": 3, "crate_mlp_mini": 3}
    seeds |= {"vit_wide_mini": 1, "crate_mini_depth2": 1, "crate_mini_depth4": 1, "crate_mini_depth6": 1}
    for model, count in seeds.items():
        for seed in range(count):
            yield NamedRecipe(
                f"{model}_animals_s{seed}", model, recipe=replace(recipe, seed=seed), **shared,
                save_at=ON_THE_WAY if (model, seed) == ("crate_mini", 0) else (),
            )  # fmt: skip
    lion = replace(recipe, epochs=60, warmup_epochs=2.0, **LION)
    for model in ("crate_mini", "vit_mini", "vit_mini_6"):
        for seed in range(3):
            yield NamedRecipe(
                f"{model}_animals_lion_s{seed}", model, recipe=replace(lion, seed=seed), **shared
            )
    yield NamedRecipe(
        "crate_mini_heads3_animals_lion_s0", "crate_mini", recipe=lion, **shared,
        settings=MappingProxyType({"heads": 3}),
    )  # fmt: skip
    for dim in (96, 288):
        yield NamedRecipe(
            f"crate_mini_width{dim}_animals_s0", "crate_mini", recipe=recipe, **shared,
            settings=MappingProxyType({"dim": dim}),
        )  # fmt: skip


def _variants() -> Iterator[NamedRecipe]:
    """The family's recipe with one setting changed, to see what that does to the maps; not shipped.

    ``*_classes`` and ``*_patch4`` go by Lion; compare them with ``*_lion``.

    ``*_classes``: Lion, and 3 epochs of all 200 classes, a fifth more steps than 20 epochs of 25 classes.
    ``*_crops``: crops from 15 % of the image on, instead of 45 %. ``*_decay``: ten times the weight decay. ``*_lion``:
    the papers' optimiser, with its usual smaller step and larger decay. ``*_patch4``: Lion, and patches of 4 pixels, a
    grid of 16 by 16, half as large a share of them in a step. ``*_tuned``: the finished network for three more epochs
    on all patches.
    """
    for model in ("crate_mini", "vit_mini"):
        recipe = next(r.recipe for r in _animals() if r.name == f"{model}_animals_s0")
        changes: dict[str, dict[str, Any]] = {
            "classes": {"epochs": 3, "warmup_epochs": 0.2, **LION},
            "crops": {"crop_area": (0.15, 1.0)},
            "decay": {"weight_decay": 0.5},
            "lion": LION,
            "patch4": {"keep_patches": 0.15, **LION},
            "tuned": {"epochs": 3, "lr": 2e-4, "warmup_epochs": 0.2, "keep_patches": 1.0},
        }
        for variant, changed in changes.items():
            yield NamedRecipe(
                f"{model}_{variant}", model, recipe=replace(recipe, **changed), image_size=64,
                data="tiny-imagenet" if variant == "classes" else "tiny-imagenet-animals",
                patch_size=4 if variant == "patch4" else 8,
                start=f"{model}_animals_s0" if variant == "tuned" else None,
            )  # fmt: skip


def _small() -> Iterator[NamedRecipe]:
    """The embedded set's, minutes on two cores, and fine-tuning from shipped weights.

    ``embedded_live`` is what chapter 06 trains on the page, on half of the patches a step. ``*_embedded`` are shipped
    weights, trained on all patches.
    """
    live = Recipe(epochs=14, batch_size=32, lr=2e-3, warmup_epochs=1.0, crop_area=(0.6, 1.0))
    shared = {"data": "embedded", "image_size": 64, "patch_size": 8}
    yield NamedRecipe("embedded_live", "crate_nano", recipe=replace(live, keep_patches=0.5), **shared)
    for model in ("crate_nano", "vit_nano"):
        for seed in range(3):
            yield NamedRecipe(
                f"{model}_embedded{_suffix(seed)}", model, recipe=replace(live, seed=seed), **shared
            )
    yield NamedRecipe(
        "finetune_mini", "crate_mini", "pets", image_size=64, patch_size=8, start="crate_mini_animals",
        recipe=Recipe(epochs=12, batch_size=64, lr=3e-4, warmup_epochs=1.0, crop_area=(0.45, 1.0)),
    )  # fmt: skip


def _suffix(seed: int) -> str:
    return f"_s{seed}" if seed else ""


_GROUPS = (_papers, _tiny_imagenet, _all_classes, _animals, _variants, _small)
_RECIPES = {r.name: r for group in _GROUPS for r in group()}
