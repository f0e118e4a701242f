"""Recipes: a small table of base recipes, and runs of them with structured ids.

A *base recipe* names the data, the sizes, the settings of a training, and the model that it is for unless told
otherwise: the papers' four, and the book's own. A *run* is a base recipe with a model, a seed and any changed
fields; its :class:`RunId` reads ``recipe/model/seed/changes``:

    animals/crate_mini/s0
    all_classes/crate_mini/s1/heads=3
    animals/vit_mini/s0/lr=0.00015,optimizer=lion,weight_decay=0.5

A *sweep* is a list of runs, each with the name that its weights and results are kept by. ``crate-mini train --recipe
ID`` trains one run, ``crate-mini train --sweep NAME`` a whole sweep; flags given beside them win.
"""

from __future__ import annotations

import difflib
import math
import shlex
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote, unquote

import torch

from crate_mini.errors import unknown_name
from crate_mini.model import CRATE, CRATEConfig, create_model, model_names
from crate_mini.registry import operator_options
from crate_mini.training import TASKS, Recipe

ON_THE_WAY = (0.02, 0.05, 0.2, 0.5)
"""Shares of a training after which its weights are kept, for the chapter on training time."""


@dataclass(frozen=True)
class NamedRecipe:
    """All that a training needs besides the images: a base recipe as it is, or with what a run changes.

    Attributes:
        name: of the base recipe.
        model: a name that :func:`~crate_mini.model.create_model` knows.
        data: a name that :func:`crate_mini.data.load` knows.
        recipe: how.
        image_size, patch_size: pixels.
        settings: further fields of :class:`~crate_mini.model.CRATEConfig`, such as ``depth``, and options of operators.
        save_at: shares of the training after which the weights are kept.
        start: weights that are fine-tuned; None where training starts from scratch.
        task: what is learned, a name of :data:`crate_mini.training.TASKS`.
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
    task: str = "classification"
    source: str = "this book"
    differs: str = ""

    @property
    def run(self) -> RunId:
        """What this is called: the base recipe, the model, the seed, and all that differs from the base."""
        base, changes = _BASES[self.name], dict(self.settings)
        changes |= {k: getattr(self, k) for k in _OUTER if getattr(self, k) != getattr(base, k)}
        changes |= {
            k: getattr(self.recipe, k) for k in _INNER if getattr(self.recipe, k) != getattr(base.recipe, k)
        }
        return RunId(self.name, self.model, self.recipe.seed, changes)

    def create_model(self, num_classes: int) -> CRATE:
        """The model at its start: the same numbers, for the same seed, as ``crate-mini train`` starts from."""
        torch.manual_seed(self.recipe.seed)
        sizes = {"image_size": self.image_size, "patch_size": self.patch_size, "num_classes": num_classes}
        return create_model(self.model, **sizes, **self.settings)


# --- ids -------------------------------------------------------------------------------------------------------------

# What a run may change, by the kind of its values. A model and a seed have places of their own in an id; how many
# classes there are, the data say.
_INNER = {k: v for k, v in get_type_hints(Recipe).items() if k != "seed"}
_OUTER = {"data": str, "image_size": int, "patch_size": int, "start": str | None, "task": str}
_SHAPE = {
    k: v
    for k, v in get_type_hints(CRATEConfig).items()
    if k not in ("image_size", "patch_size", "num_classes", "mean", "std", "options")
}
_SHAPE = operator_options() | _SHAPE
SETTINGS: Mapping[str, Any] = MappingProxyType(_OUTER | _INNER | _SHAPE)
"""Every field that a run may change, with the type of its values."""


@dataclass(frozen=True)
class RunId:
    """Which training: a base recipe, a model, a seed, and what is changed.

    Equal trainings have equal ids: changes that say what the base recipe says anyway are left out, and the rest is
    sorted. ``RunId.parse(str(run)) == run`` for every run.

    Attributes:
        recipe: name of a base recipe.
        model: a name that :func:`~crate_mini.model.create_model` knows; by default the recipe's.
        seed: of weights, order and crops.
        changes: field and value of each change, of :data:`SETTINGS`.

    Raises:
        ValueError: unknown recipe, model or field, or a value that the field cannot have.
    """

    recipe: str
    model: str = ""
    seed: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        base = _base(self.recipe)
        model = self.model or base.model
        if model not in model_names():
            raise ValueError(unknown_name("model", model, model_names(), "crate_mini.list_models()"))
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed must be a whole number from 0 on, got {self.seed!r}")
        if unknown := set(self.changes) - set(SETTINGS):
            raise ValueError(
                f"a recipe has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(SETTINGS))}, model, seed"
            )
        if (task := self.changes.get("task", base.task)) not in TASKS:
            raise ValueError(unknown_name("task", task, TASKS))
        same = {k: getattr(base, k) for k in _OUTER} | {k: getattr(base.recipe, k) for k in _INNER}
        same["warmup_epochs"] = _warmup(base, self.changes)
        kept = {k: v for k, v in sorted(self.changes.items()) if k not in same or v != same[k]}
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "changes", MappingProxyType(kept))
        self._resolved()

    @classmethod
    def parse(cls, text: str) -> RunId:
        """The run that ``str`` would write so. Of the four parts all but the first may be left out, from the end.

        Raises:
            ValueError: it is no such id; the message says which part is wrong.
        """
        recipe, *rest = text.split("/", 3)
        model, seed, changes = [*rest, *("", "s0", "")[len(rest) :]]
        if not (seed[:1] == "s" and seed[1:].isascii() and seed[1:].isdecimal()):
            raise ValueError(f"the third part of {text!r} must be a seed such as s0, got {seed!r}")
        pairs = [read_setting(change) for change in changes.split(",")] if changes else []
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"{text!r} changes a field twice")
        return cls(recipe, model, int(seed[1:]), dict(pairs))

    def __str__(self) -> str:
        changes = ",".join(f"{name}={_written(value)}" for name, value in self.changes.items())
        return "/".join([self.recipe, self.model, f"s{self.seed}", *([changes] if changes else [])])

    @property
    def name(self) -> str:
        """What weights, logs and results of the run are kept by: the name in its sweep, otherwise the id itself."""
        return _names().get(self) or str(self).replace("/", "-")

    @property
    def network(self) -> RunId:
        """The first training of the same kind: what runs have in common that differ in the seed alone."""
        return replace(self, seed=0)

    def command(self, out: str | None = None) -> str:
        """The command that trains it."""
        return shlex.join(["crate-mini", "train", "--recipe", str(self), "--out", out or f"runs/{self.name}"])

    def _resolved(self) -> NamedRecipe:
        """The base recipe with the run's changes."""
        base = _base(self.recipe)
        inner, outer, shape = (
            {k: v for k, v in self.changes.items() if k in kind} for kind in (_INNER, _OUTER, _SHAPE)
        )
        inner.setdefault("warmup_epochs", _warmup(base, inner))
        return replace(
            base, model=self.model, recipe=replace(base.recipe, seed=self.seed, **inner), **outer,
            settings=MappingProxyType(shape),
        )  # fmt: skip


def _warmup(base: NamedRecipe, changes: Mapping[str, Any]) -> float | int:
    """Epochs of warm-up of a run that does not change them: the recipe's, or all that a short training has."""
    return min(base.recipe.warmup_epochs, changes.get("epochs", base.recipe.epochs))


def read_setting(text: str) -> tuple[str, Any]:
    """Field and value of ``lr=1e-3``, ``crop_area=0.15:1``, ``clip_norm=none``, ``flip=false``, ``heads=3``.

    Raises:
        ValueError: unknown field, or a value of another type than the field has.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"expected FIELD=VALUE, such as lr=1e-3, got {text!r}")
    if name not in SETTINGS:
        close = difflib.get_close_matches(name, SETTINGS, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(SETTINGS)}"
        raise ValueError(f"a recipe has no field {name!r}; {hint}")
    kind_of = SETTINGS[name]
    kinds = get_args(kind_of) if get_origin(kind_of) in (Union, types.UnionType) else (kind_of,)
    for kind in sorted(kinds, key=lambda kind: kind is not types.NoneType):  # any text is a word, also none
        try:
            return name, _read(kind, value)
        except ValueError:
            continue
    wanted = " or ".join(_WANTED.get(kind, "two numbers, such as 0.45:1") for kind in kinds)
    raise ValueError(f"{name} wants {wanted}, got {value!r}")


_WANTED = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a word", types.NoneType: "none",
}  # fmt: skip


def _read(kind: Any, text: str) -> Any:
    """A value of this type. Raises ValueError where the text is none."""
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError
        return text == "true"
    if kind is types.NoneType:
        if text != "none":
            raise ValueError
        return None
    if get_origin(kind) is tuple:
        parts = text.split(":")
        return tuple(_read(part, t) for part, t in zip(get_args(kind), parts, strict=True))
    found = unquote(text) if kind is str else kind(text)
    if kind is float and not math.isfinite(found):
        raise ValueError
    return found


def _written(value: Any) -> str:
    """A value as :func:`read_setting` reads it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ":".join(map(_written, value))
    if isinstance(value, str):
        return quote(value, safe="/")  # a comma parts changes
    return repr(int(value) if float(value).is_integer() else value)


# --- looking up ------------------------------------------------------------------------------------------------------


def get_recipe(run: str | RunId, **changes: Any) -> NamedRecipe:
    """A recipe by the name of a base recipe, by a run's id or by the name that a run is kept by, with changes.

    For example ``get_recipe("imagenet1k_lion", model="crate_tiny", batch_size=512)``,
    ``get_recipe("all_classes/crate_mini/s1/heads=3")``, ``get_recipe("crate_mini_animals_s0")``.

    Raises:
        ValueError: unknown name or field, or a value that the field cannot have.
    """
    run = find_run(run) if isinstance(run, str) else run
    model, seed = changes.pop("model", run.model), changes.pop("seed", run.seed)
    return RunId(run.recipe, model, seed, {**run.changes, **changes})._resolved()


def find_run(name: str) -> RunId:
    """The run of an id, or of a name that a run is kept by (:attr:`RunId.name`).

    Raises:
        ValueError: neither.
    """
    return _runs().get(name) or RunId.parse(name)


def list_runs() -> dict[str, RunId]:
    """The runs of all sweeps by the names that they are kept by: what :attr:`RunId.name` says, the other way round."""
    return dict(_runs())


def list_recipes() -> dict[str, NamedRecipe]:
    """Every base recipe by its name."""
    return dict(_BASES)


def get_sweep(name: str) -> dict[str, RunId]:
    """The runs of a sweep, the most valuable first, by the names that they are kept by.

    Raises:
        ValueError: unknown name.
    """
    if name not in SWEEPS:
        raise ValueError(unknown_name("sweep", name, SWEEPS))
    return dict(SWEEPS[name]())


def _base(name: str) -> NamedRecipe:
    if name not in _BASES:
        raise ValueError(unknown_name("recipe", name, _BASES))
    return _BASES[name]


# --- base recipes: the papers' ---------------------------------------------------------------------------------------

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


# --- base recipes: the book's ----------------------------------------------------------------------------------------

LION: Mapping[str, Any] = MappingProxyType({"optimizer": "lion", "lr": 1.5e-4, "weight_decay": 0.5})
"""The papers' optimiser and decay, with a step for batches of 64."""


def _ours() -> Iterator[NamedRecipe]:
    """The book's own, all on images of 64 pixels.

    ``flagship``: all 200 classes of Tiny-ImageNet at the segmentation paper's width 384, 6 heads, depth 12; patch 4,
    a 16 x 16 grid, three patches in twenty a step: an hour to four of a CPU core, chosen without a look at masks.

    ``tiny_imagenet``: the same networks for one modern GPU. AdamW at the book's learning rate for a batch of 128,
    doubled with the batch's square root for 512; 100 epochs of all patches; crops from a quarter of the image on.

    ``all_classes``: all 200 classes at the book's own size, patch 8; 40 minutes of one core.

    ``three_in_four``: the same recipe and size on 150 of the classes, two thirds as long, to be asked for the other 50.

    ``animals``: 25 animals of Tiny-ImageNet. A step looks at three patches in ten in bfloat16, which is what makes
    twenty epochs of many networks fit into hours of a CPU.

    ``embedded``: drawn animals, minutes on two cores. Chapter 06 trains it on the page, on half of the patches.

    ``finetune_mini``: from shipped weights to the breeds of cats and dogs.

    ``views``: without labels, by :class:`~crate_mini.training.SimDINO` or, with ``task=dino``, by
    :class:`~crate_mini.training.DINO`; their papers' crops, and the global norm clipped where they clip each tensor's.

    ``masked``: without labels, by :class:`~crate_mini.training.MaskedAutoencoding`; chapter 18 trains encoders of two
    layers by it.
    """
    sizes = {"image_size": 64, "patch_size": 8}
    # To name 10,000 pictures by all of their patches takes a third of an epoch on some of them: once, at the end.
    flagship = Recipe(
        epochs=6,
        batch_size=64,
        warmup_epochs=0.5,
        keep_patches=0.15,
        precision="bfloat16",
        evaluate_every=6,
        **LION,
    )
    shared = {"data": "tiny-imagenet", "save_at": ON_THE_WAY} | sizes | {"patch_size": 4}
    yield NamedRecipe("flagship", "crate_small_8", recipe=flagship, **shared)
    gpu = Recipe(
        epochs=100, batch_size=512, lr=2e-3, weight_decay=0.05, warmup_epochs=5.0, label_smoothing=0.1,
        crop_area=(0.25, 1.0), clip_norm=1.0, compile=True,
    )  # fmt: skip
    yield NamedRecipe("tiny_imagenet", "crate_small_8", recipe=gpu, **shared)
    every = replace(flagship, epochs=9, keep_patches=0.3, evaluate_every=1)
    yield NamedRecipe("all_classes", "crate_mini", "tiny-imagenet", recipe=every, **sizes)

    shorter = replace(every, epochs=6, evaluate_every=3)
    yield NamedRecipe("three_in_four", "crate_mini", "tiny-imagenet-150", recipe=shorter, **sizes)

    few = {"model": "crate_mini", "data": "tiny-imagenet-animals"} | sizes
    family = Recipe(epochs=20, batch_size=64, warmup_epochs=1.0, keep_patches=0.3, precision="bfloat16")
    yield NamedRecipe("animals", recipe=family, save_at=ON_THE_WAY, **few)

    live = Recipe(epochs=14, batch_size=32, lr=2e-3, warmup_epochs=1.0, crop_area=(0.6, 1.0))
    yield NamedRecipe("embedded", "crate_nano", "embedded", recipe=live, **sizes)
    views = Recipe(
        epochs=20, batch_size=64, lr=1e-3, weight_decay=0.04, warmup_epochs=1.0, crop_area=(0.4, 1.0), clip_norm=3.0,
        keep_patches=0.5, precision="bfloat16",
    )  # fmt: skip
    yield NamedRecipe("views", "crate_nano", "embedded", recipe=views, task="simdino", **sizes)
    masked = Recipe(
        epochs=2, batch_size=32, lr=2e-3, warmup_epochs=0.2, crop_area=(0.5, 1.0), clip_norm=1.0,
        precision="float32",
    )  # fmt: skip
    yield NamedRecipe("masked", "crate_nano", "tiny-imagenet-animals", recipe=masked, task="masked", **sizes)
    tuning = Recipe(epochs=12, batch_size=64, lr=3e-4, warmup_epochs=1.0, crop_area=(0.45, 1.0))
    yield NamedRecipe(
        "finetune_mini", "crate_mini", "pets", recipe=tuning, start="crate_mini_all_lion_s0", **sizes
    )


_BASES = {base.name: base for group in (_papers, _ours) for base in group()}


# --- sweeps: which runs there are, and the names that they are kept by -----------------------------------------------

Named = Iterator[tuple[str, RunId]]
SMALL: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "crate": ("crate_small_8", {}),
        "vit": ("vit_tiny_8", {"heads": 6}),
        "crate_mhsa": ("crate_mhsa_small_8", {}),
        "crate_mlp": ("crate_mlp_small_8", {}),
        "vit_wide": ("vit_wide_small_8", {}),
    }
)
"""The networks of the segmentation paper's width by short names: CRATE; the ViT of as many parameters, with as many
heads; one operator exchanged; both exchanged, the ViT of CRATE's width."""


def _flagship() -> Named:
    """The pair with three seeds, then the others with one, then their other seeds."""
    pair, others = ("crate", "vit"), ("crate_mhsa", "crate_mlp", "vit_wide")
    for names, seeds in ((pair, (0, 1, 2)), (others, (0, 1, 2))):
        for seed in seeds:
            for name in names:
                model, changes = SMALL[name]
                yield f"flagship_{name}_s{seed}", RunId("flagship", model, seed, changes)


def _tiny_imagenet() -> Named:
    """The networks with one seed, depths between, two more seeds; the ViT has three heads."""
    name = "tiny_imagenet"
    models = {short: model for short, (model, _) in SMALL.items()}
    for short in ("crate", "vit", "crate_mhsa", "crate_mlp"):
        yield f"{name}_{short}", RunId(name, models[short])
    for depth in (3, 6, 9):
        yield f"{name}_crate_depth{depth}", RunId(name, models["crate"], 0, {"depth": depth})
    yield f"{name}_vit_wide", RunId(name, models["vit_wide"])
    for seed in (1, 2):
        for short, model in models.items():
            yield f"{name}_{short}_s{seed}", RunId(name, model, seed)


def _all_classes() -> Named:
    """The family: CRATE and the ViT of as many parameters and heads, three seeds."""
    for seed in range(3):
        for model in ("crate_mini", "vit_mini_6"):
            yield f"{model}_all_lion_s{seed}", RunId("all_classes", model, seed)


def _three_in_four() -> Named:
    """The pair, to be asked for classes that it has not met; not shipped."""
    for seed in range(2):
        for model in ("crate_mini", "vit_mini_6"):
            yield f"{model}_150_s{seed}", RunId("three_in_four", model, seed)


SQUARE = ("crate_mini", "crate_mlp_mini", "crate_mhsa_mini", "vit_wide_mini")
"""MSSA or MHSA, with ISTA or an MLP: CRATE, one operator exchanged, or both."""


def _animals_family() -> Named:
    """One recipe for all. The square of operators with five seeds; narrow ViTs, depths and widths with three."""
    narrow, depths = (
        ("vit_mini", "vit_mini_6"),
        ("crate_mini_depth2", "crate_mini_depth4", "crate_mini_depth6"),
    )
    for seed in range(5):
        for model in (*SQUARE, *(narrow + depths if seed < 3 else ())):
            yield f"{model}_animals_s{seed}", RunId("animals", model, seed)
        for dim in (96, 288) if seed < 3 else ():  # 192 is the family's
            yield f"crate_mini_width{dim}_animals_s{seed}", RunId("animals", "crate_mini", seed, {"dim": dim})


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "classes": {"data": "tiny-imagenet", "epochs": 3, "warmup_epochs": 0.2, **LION},
        "crops": {"crop_area": (0.15, 1.0)},
        "decay": {"weight_decay": 0.5},
        "lion": LION,
        "patch4": {"patch_size": 4, "keep_patches": 0.15, **LION},
        "tuned": {"epochs": 3, "lr": 2e-4, "warmup_epochs": 0.2, "keep_patches": 1.0},
    }
)
"""One setting of ``animals`` changed, to see what that does to the maps.

``classes``: Lion, and 3 epochs of all 200 classes, a fifth more steps than 20 epochs of 25 classes. ``crops``: crops
from 15 % of the image on, instead of 45 %. ``decay``: ten times the weight decay. ``lion``: the papers' optimiser, with
its usual smaller step and larger decay. ``patch4``: Lion, and patches of 4 pixels, a grid of 16 by 16, half as large a
share of them in a step. ``tuned``: the finished network for three more epochs on all patches. Those by Lion compare
with ``lion``.
"""


def _variants() -> Named:
    """CRATE and the ViT of as many parameters under every variant; not shipped."""
    for variant, changes in VARIANTS.items():
        for model in ("crate_mini", "vit_mini"):
            start = {"start": f"{model}_animals_s0"} if variant == "tuned" else {}
            yield f"{model}_{variant}", RunId("animals", model, 0, {**changes, **start})


def _embedded() -> Named:
    """Networks of drawn animals, for the chapter on heads; the first of them are shipped."""
    for seed in range(8):
        for model in ("crate_nano", "vit_nano"):
            yield f"{model}_embedded{f'_s{seed}' if seed else ''}", RunId("embedded", model, seed)


def _views() -> Named:
    """On drawn animals, CRATE and the ViT of as many parameters: without labels by both tasks, and with; two seeds."""
    for seed in range(2):
        for task in ("simdino", "dino", "classification"):
            for model in ("crate_nano", "vit_nano"):
                yield f"{model}_{task}_s{seed}", RunId("views", model, seed, {"task": task})


def _views_animals() -> Named:
    """On photographs of 25 animals, at the size of the family, without labels by both tasks; two seeds; not shipped."""
    shared = {"data": "tiny-imagenet-animals", "keep_patches": 0.3, "epochs": 6, "precision": "float32"}
    for seed in range(2):
        for task in ("simdino", "dino"):
            for model in ("crate_mini", "vit_mini"):
                yield f"{model}_animals_{task}_s{seed}", RunId("views", model, seed, {"task": task} | shared)


_OPERATORS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "ista": ("crate_nano", {}),
        "odl": ("crate_odl_nano", {}),
        "odl_narrow": ("crate_odl_nano", {"dim": 56}),
        "mlp": ("crate_mlp_nano", {}),
        "odl_square": ("crate_odl_square_nano", {}),
        "odl_tied": ("crate_odl_tied_nano", {}),
        "odl_plain": ("crate_odl_plain_nano", {}),
        "odl_one_step": ("crate_odl_one_step_nano", {}),
        "mssa_mean": ("crate_nano", {"readout": "mean"}),
        "tssa_mean": ("crate_tssa_nano", {}),
        "none_mean": ("crate_nano", {"readout": "mean", "move": 0.0}),
        "cbsa": ("crate_cbsa_nano", {"keep_patches": 1.0}),
        "mssa_all": ("crate_nano", {"keep_patches": 1.0}),
    }
)
"""Operators of later papers and what they have to be held against, by short names: the feeds; the way from ISTA to ODL,
one change at a time; TSSA, read by the mean of the patches, beside MSSA and beside no attention at all, read so too;
and CBSA, which needs all patches, beside MSSA on all patches. ``odl_narrow`` has CRATE's number of parameters."""


def _operators() -> Named:
    """Drawn animals, on half of the patches in bfloat16, every arm with three seeds."""
    for seed in range(3):
        for short, (model, changes) in _OPERATORS.items():
            shared = {"keep_patches": 0.5, "precision": "bfloat16"}
            yield f"operators_{short}_s{seed}", RunId("embedded", model, seed, shared | dict(changes))


SWEEPS = MappingProxyType(
    {
        "flagship": _flagship,
        "tiny_imagenet": _tiny_imagenet,
        "all_classes": _all_classes,
        "three_in_four": _three_in_four,
        "animals_family": _animals_family,
        "variants": _variants,
        "embedded": _embedded,
        "views": _views,
        "views_animals": _views_animals,
        "operators": _operators,
    }
)
"""Every sweep by its name, as :func:`get_sweep` knows it."""


@cache
def _runs() -> Mapping[str, RunId]:
    """Every run of a sweep by the name that it is kept by; and what chapter 06 trains on the page."""
    live = RunId("embedded", "crate_nano", 0, {"keep_patches": 0.5})
    return MappingProxyType(
        {name: run for runs in SWEEPS.values() for name, run in runs()} | {"embedded_live": live}
    )


@cache
def _names() -> Mapping[RunId, str]:
    return MappingProxyType({run: name for name, run in _runs().items()})
