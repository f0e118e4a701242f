"""Models by name: every name and every size, in one table.

A name is a family and a size: ``crate_mini``, ``vit_small_8``. The families differ in their operators, and the ViT has
sizes of its own. Further models are entered with :func:`register_model`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, get_type_hints

from crate_mini.errors import unknown_name
from crate_mini.model import CRATE, CRATEConfig, adapt
from crate_mini.operators import ATTENTIONS, FEEDS
from crate_mini.operators.contract import settings_of
from crate_mini.weights import list_pretrained, load_weights


@dataclass(frozen=True)
class Size:
    """A size with a name.

    Attributes:
        dim, heads, depth: as in :class:`~crate_mini.model.CRATEConfig`.
        patch_size, image_size: in pixels.
        published: what the CRATE of this size is called in which paper; empty for our own.
        classes: how many the published one tells apart.
    """

    dim: int
    heads: int
    depth: int
    patch_size: int
    image_size: int = 224
    published: str = ""
    classes: int = 1000


# The papers use the word "small" for two widths: 576 in arXiv 2306.01129 (patch 16) and 384 in arXiv 2308.16271
# (patch 8). Ours are mini and nano.
CRATE_SIZES = {
    "nano": Size(96, 4, 4, 8, 64),
    "mini": Size(192, 6, 8, 8, 64),
    "mini_depth2": Size(192, 6, 2, 8, 64),
    "mini_depth4": Size(192, 6, 4, 8, 64),
    "mini_depth6": Size(192, 6, 6, 8, 64),
    "tiny": Size(384, 6, 12, 16, published="CRATE-T of arXiv 2306.01129"),
    "small": Size(576, 12, 12, 16, published="CRATE-S of arXiv 2306.01129"),
    "base": Size(768, 12, 12, 16, published="CRATE-B of arXiv 2306.01129"),
    "large": Size(1024, 16, 24, 16, published="CRATE-L of arXiv 2306.01129"),
    "tiny_8": Size(192, 3, 12, 8, published="CRATE-T/8 of arXiv 2308.16271", classes=21842),
    "small_8": Size(384, 6, 12, 8, published="CRATE-S/8 of arXiv 2308.16271", classes=21842),
    "base_8": Size(768, 12, 12, 8, published="CRATE-B/8 of arXiv 2308.16271", classes=21842),
}
# vit_nano and vit_mini have about the parameters of crate_nano and crate_mini; vit_mini_6 also has the six heads of
# crate_mini. A vit_wide has the width and the heads of the CRATE of its size, and several times the parameters.
VIT_SIZES = {
    "nano": Size(48, 2, 4, 8, 64),
    "mini": Size(96, 3, 8, 8, 64),
    "mini_6": Size(96, 6, 8, 8, 64),
    "tiny": Size(192, 3, 12, 16),
    "small": Size(384, 6, 12, 16),
    "base": Size(768, 12, 12, 16),
    "tiny_8": Size(192, 3, 12, 8),
    "small_8": Size(384, 6, 12, 8),
    "base_8": Size(768, 12, 12, 8),
}
_TSSA = {"attention": "tssa", "readout": "mean", "options": {"energy": "mean", "temperature": 0.25}}
FAMILIES = {
    "crate": (CRATE_SIZES, {"attention": "mssa", "feed": "ista"}),
    "crate_mhsa": (CRATE_SIZES, {"attention": "mhsa", "feed": "ista"}),
    "crate_mlp": (CRATE_SIZES, {"attention": "mssa", "feed": "mlp"}),
    "vit_wide": (CRATE_SIZES, {"attention": "mhsa", "feed": "mlp"}),
    "vit": (VIT_SIZES, {"attention": "mhsa", "feed": "mlp"}),
    # of later papers: CRATE-alpha; ToST, and its attention with CRATE's feed, both read by the mean of the patches, as
    # no class token can gather there, and with memberships that are the same at every size; CBT's attention
    "crate_odl": (CRATE_SIZES, {"attention": "mssa", "feed": "odl"}),
    "crate_tssa": (CRATE_SIZES, {"feed": "ista", **_TSSA}),
    "tost": (CRATE_SIZES, {"feed": "mlp", **_TSSA}),
    "crate_cbsa": (CRATE_SIZES, {"attention": "cbsa", "feed": "ista"}),
}
# On a grid of eight patches a side the released number of representatives would be one for each patch.
_FEW = {"cbsa": {"options": {"representatives": 4}}}

# Which of the shipped weights pretrained=True means, where several fit a name.
FIRST_CHOICE = {
    "crate_nano": "crate_nano_embedded",
    "crate_mini": "crate_mini_all_lion_s0",
    "vit_mini": "vit_mini_animals_s0",
    "vit_mini_6": "vit_mini_6_all_lion_s0",
}
# What weights may differ in from the model that they are loaded as: create_model fits these.
_ADAPTABLE = ("num_classes", "image_size")

_MODELS: dict[str, dict[str, Any]] = {}


def register_model(name: str, **settings: Any) -> None:
    """Let :func:`create_model` know a model by name.

    Args:
        name: a name that is not taken.
        settings: fields of :class:`~crate_mini.model.CRATEConfig`; ``dim``, ``heads`` and ``depth`` at least.

    Raises:
        ValueError: a name that is taken by other settings, or settings that do not fit.
    """
    CRATEConfig.from_dict(settings)
    if _MODELS.get(name, settings) != settings:
        raise ValueError(f"there is a model {name!r} already, with other settings")
    _MODELS[name] = settings


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Every name that :func:`create_model` knows and that fits a pattern, such as ``"crate_*_8"``.

    Args:
        pattern: of a shell: ``*`` is anything, ``?`` one character, ``[ab]`` one of these. Case counts.
        pretrained: only names that the package comes with weights for.
    """
    names = [name for name in _MODELS if fnmatchcase(name, pattern)]
    if not pretrained:
        return names
    cards = list_pretrained()
    return [name for name in names if _fitting(_MODELS[name], cards)]


def model_names() -> list[str]:
    """Every name that :func:`create_model` knows."""
    return list_models()


def published_sizes() -> dict[str, Size]:
    """The sizes of the papers' CRATEs, by the name of the model here."""
    return {f"crate_{name}": size for name, size in CRATE_SIZES.items() if size.published}


def model_config(name: str, **overrides: Any) -> CRATEConfig:
    """What a model is made of, by name, without making it.

    Args:
        name: one of :func:`list_models`.
        overrides: fields of :class:`~crate_mini.model.CRATEConfig`, and of :func:`operator_options`.

    Raises:
        ValueError: unknown name or setting, or sizes that do not fit.
    """
    return CRATEConfig.from_dict(_settings(name, overrides))


def operator_options() -> dict[str, Any]:
    """What operators take beside the config's own fields: the name of each option, and the type of its values."""
    own = {f.name for f in fields(CRATEConfig)}
    return {
        option: get_type_hints(operator.__init__).get(option)
        for operator in (*ATTENTIONS.values(), *FEEDS.values())
        for option in settings_of(operator)
        if option not in own
    }


def _settings(name: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """A name's settings with others laid over them; an option of an operator is laid over the name's options."""
    if name not in _MODELS:
        raise ValueError(unknown_name("model", name, model_names(), "crate_mini.list_models()"))
    settings = _MODELS[name] | overrides
    options = {k: settings.pop(k) for k in operator_options() if k in overrides}
    return settings | ({"options": {**settings.get("options", {}), **options}} if options else {})


def create_model(
    name: str,
    *,
    pretrained: bool | str | os.PathLike[str] = False,
    image_size: int | None = None,
    patch_size: int | None = None,
    num_classes: int | None = None,
    **overrides: Any,
) -> CRATE:
    """A model by name: freshly initialised, or with weights.

    Args:
        name: ``crate_tiny``, ``crate_small``, ``crate_base``, ``crate_large`` (arXiv 2306.01129, patch 16);
            ``crate_tiny_8``, ``crate_small_8``, ``crate_base_8`` (arXiv 2308.16271, patch 8);
            ``crate_nano``, ``crate_mini`` (this book's, patch 8, 64-pixel images, the latter also as
            ``crate_mini_depth2`` to ``6``); ``vit_*``; ``crate_mhsa_*``, ``crate_mlp_*`` and ``vit_wide_*``, at
            CRATE's width, for the ablations; ``crate_odl_*`` (CRATE-alpha), ``crate_tssa_*``, ``tost_*`` and
            ``crate_cbsa_*``, with operators of later papers. :func:`list_models` has them all.
        pretrained: True for the shipped weights of this name, or the name or path of weights, as for
            :func:`~crate_mini.weights.load_weights`. Such a model is in evaluation mode, and its ``classes`` are
            those of the weights.
        image_size: pixels; by default those of the name (64 for nano and mini, otherwise 224) or of the weights, whose
            position embedding is interpolated to another size.
        patch_size: pixels; the name's own if not given.
        num_classes: width of the classifier; by default 1000, unless the name has one of its own, or that of the
            weights. Weights of another number of classes keep all but their classifier, which is fresh then.
        overrides: any other field of :class:`~crate_mini.model.CRATEConfig`, or an option of the name's operators, such
            as the ``temperature`` of TSSA, which leaves the name's other options as they are.

    Raises:
        ValueError: unknown name or setting, sizes that do not fit, no weights of this name or several of equal
            standing, or weights of another architecture.
        FileNotFoundError, CheckpointError: a path without usable weights.
    """
    sizes = {"image_size": image_size, "patch_size": patch_size, "num_classes": num_classes}
    given = {k: v for k, v in sizes.items() if v is not None} | overrides
    settings = _settings(name, given)
    if pretrained is False:
        return CRATE(CRATEConfig.from_dict(settings))
    source = _first_choice(name, settings) if pretrained is True else pretrained
    model = load_weights(source)
    if differing := _differences(settings, model.config.to_dict()):
        told = ", ".join(f"{k} {theirs!r} in place of {ours!r}" for k, (ours, theirs) in differing.items())
        raise ValueError(f"the weights {os.fspath(source)!r} are no {name}: they have {told}")
    asked = {k: given[k] for k in _ADAPTABLE if k in given and given[k] != getattr(model.config, k)}
    return adapt(model, **asked).eval() if asked else model


def _differences(settings: dict[str, Any], weights: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What weights have otherwise than a model of these settings: name -> (the model's, the weights')."""
    ours, theirs = (CRATEConfig.from_dict(config).to_dict() for config in (settings, weights))
    free = {*_ADAPTABLE, *({"mean", "std"} - set(settings))}
    return {k: (ours[k], theirs[k]) for k in ours if k not in free and ours[k] != theirs[k]}


def _fitting(settings: dict[str, Any], cards: dict[str, dict[str, Any]]) -> list[str]:
    """Names of the weights, by their cards, that fit a model of these settings."""
    return [name for name, card in cards.items() if not _differences(settings, card["config"])]


def _first_choice(name: str, settings: dict[str, Any]) -> str:
    """The shipped weights that ``pretrained=True`` means."""
    fitting = _fitting(settings, list_pretrained())
    if FIRST_CHOICE.get(name) in fitting:
        return FIRST_CHOICE[name]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError(f"several weights fit {name}: say pretrained= with one of {', '.join(fitting)}")
    raise ValueError(
        f"the package comes with no weights for {name} as it was asked for; it has some for "
        f"{', '.join(list_models(pretrained=True))}. Weights of your own: pretrained='path/to/model.safetensors'"
    )


# From CRATE's feed to CRATE-alpha's, one change at a time, at the nano size; the last takes one step instead of two.
ODL_LADDER = {
    "crate_odl_square_nano": {"mlp_ratio": 1, "options": {"tied_feed": True, "residual": False}},
    "crate_odl_tied_nano": {"options": {"tied_feed": True, "residual": False}},
    "crate_odl_plain_nano": {"options": {"residual": False}},
    "crate_odl_one_step_nano": {"options": {"steps": 1}},
}

for _family, (_sizes, _operators) in FAMILIES.items():
    for _name, _size in _sizes.items():
        _shape = {k: v for k, v in vars(_size).items() if k not in ("published", "classes")}
        _small = _FEW.get(_operators["attention"], {}) if _size.image_size // _size.patch_size <= 8 else {}
        register_model(f"{_family}_{_name}", **_shape, **_operators, **_small)
for _name, _changes in ODL_LADDER.items():
    register_model(_name, **_MODELS["crate_odl_nano"] | _changes)
