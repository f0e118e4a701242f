"""CRATE and its relatives: embedding, encoder, head; the two operators of the encoder's blocks are chosen by name.

================  ===========  ======
model             attention    feed
================  ===========  ======
CRATE             ``mssa``     ``ista``
CRATE-MHSA        ``mhsa``     ``ista``
CRATE-MLP         ``mssa``     ``mlp``
ViT               ``mhsa``     ``mlp``
CRATE-alpha       ``mssa``     ``odl``
CRATE-TSSA        ``tssa``     ``ista``
ToST              ``tssa``     ``mlp``
CRATE-CBSA        ``cbsa``     ``ista``
================  ===========  ======

All but the two with TSSA, in which no token gathers anything, read the class from the class token, so that the
attention of that token is trained in every layer. :mod:`crate_mini.registry` has their names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from crate_mini.embeddings import EMBEDDINGS, ImageEmbedding, Tokens
from crate_mini.embeddings import check_images as check_images
from crate_mini.hub import OnHub
from crate_mini.operators import ATTENTIONS, FEEDS, Layout, Mask, build, settings_of
from crate_mini.operators import ISTA as ISTA
from crate_mini.operators import MHSA as MHSA
from crate_mini.operators import MLP as MLP
from crate_mini.operators import MSSA as MSSA
from crate_mini.sparsification import PROXIMAL_MAPS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

READOUTS = {
    "class": "the class token",
    "mean": "the mean of all other tokens",
}
"""What the head is given, behind the last LayerNorm."""


@dataclass(frozen=True)
class EncoderConfig:
    r"""Everything that fixes an encoder's shape and arithmetic.

    Attributes:
        dim, heads, depth: token dimension ``d``, subspaces ``K``, layers ``L``.
        head_dim: dimension ``p`` of a head; ``d / K`` if None.
        attention: ``"mssa"``, ``"mhsa"``, or any name of :data:`crate_mini.operators.ATTENTIONS`.
        feed: ``"ista"``, ``"mlp"``, or any name of :data:`crate_mini.operators.FEEDS`.
        tied: MSSA's output basis is its input basis (the theory) instead of a learned map (the released code).
        keep, move: ``a`` and ``b`` of :math:`Z^{l+1/2} = a Z^l + b\,\mathrm{MSSA}(\mathrm{LN}(Z^l))`. Both are 1
            in the released code; :math:`1-\kappa\gamma` and :math:`\kappa\gamma` in the derivation; 1 and -1 turn the
            sign.
        step, lam, proximal: ISTA's step size, sparsity weight, and ``"relu"`` or ``"soft"``.
        mlp_ratio: hidden width of the MLP in units of ``dim``.
        options: further settings of operators, by the name of the constructor's argument; plain JSON values.
    """

    dim: int
    heads: int
    depth: int
    head_dim: int | None = None
    attention: str = "mssa"
    feed: str = "ista"
    tied: bool = False
    keep: float = 1.0
    move: float = 1.0
    step: float = 0.1
    lam: float = 0.1
    proximal: str = "relu"
    mlp_ratio: int = 4
    options: Mapping[str, Any] = field(default_factory=dict, hash=False, kw_only=True)

    def __post_init__(self) -> None:
        _check_positive(self, "dim", "heads", "depth", "mlp_ratio")
        if self.head_dim is not None and self.head_dim < 1:
            raise ValueError(f"head_dim must be a positive integer or None, got {self.head_dim!r}")
        if self.head_dim is None and self.dim % self.heads:
            raise ValueError(f"dim={self.dim} does not divide into heads={self.heads}; give head_dim")
        for name, known in (("attention", ATTENTIONS), ("feed", FEEDS), ("proximal", PROXIMAL_MAPS)):
            if getattr(self, name) not in known:
                hint = "" if name == "proximal" else "; an operator from elsewhere must be imported first"
                raise ValueError(f"{name} must be one of {tuple(known)}, got {getattr(self, name)!r}{hint}")
        for name in ("keep", "move", "step", "lam"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, got {getattr(self, name)!r}")
        if self.lam < 0:
            raise ValueError(f"lam must not be negative, got {self.lam}: what it weighs is a penalty")
        if self.tied and "tied" not in settings_of(ATTENTIONS[self.attention]):
            raise ValueError(
                f"tied is a property of mssa; {self.attention} has no basis to tie its output to"
            )
        taken = {s for o in (ATTENTIONS[self.attention], FEEDS[self.feed]) for s in settings_of(o)}
        own = {f.name for f in fields(self)}
        if wrong := [name for name in self.options if name in own or name not in taken]:
            free = ", ".join(sorted(taken - own)) or "no options"
            raise ValueError(
                f"unknown options {wrong}; {self.attention} and {self.feed} take {free} beside the config's own fields"
            )

    def operator_settings(self) -> dict[str, Any]:
        """All that an operator may take, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | dict(self.options)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the inverse of :meth:`from_dict`."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderConfig:
        """Rebuild from :meth:`to_dict`. Raises ValueError on unknown names."""
        known = sorted(f.name for f in fields(cls))
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"unknown settings {unknown}; known are {known}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True)
class CRATEConfig(EncoderConfig):
    """Everything that fixes a model's shape and arithmetic: the encoder's settings, and what an image is.

    Attributes:
        image_size, patch_size: in pixels. Other image sizes that are multiples of the patch work too.
        num_classes: width of the head.
        mean, std: channel statistics that images in [0, 1] are normalised by.
        readout: what the head is given, a key of :data:`READOUTS`. There is a class token either way.
        embedding: how a patch becomes a token, a key of :data:`~crate_mini.embeddings.EMBEDDINGS`.
    """

    image_size: int = 224
    patch_size: int = 16
    num_classes: int = 1000
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    readout: str = "class"
    embedding: str = "normed"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "image_size", "patch_size", "num_classes")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.readout not in READOUTS:
            raise ValueError(f"readout must be one of {tuple(READOUTS)}, got {self.readout!r}")
        if self.embedding not in EMBEDDINGS:
            raise ValueError(f"embedding must be one of {tuple(EMBEDDINGS)}, got {self.embedding!r}")
        if not all(math.isfinite(m) for m in self.mean) or not all(0 < s < math.inf for s in self.std):
            raise ValueError(
                f"mean must be finite and std positive for every channel, got {self.mean} and {self.std}"
            )

    @property
    def grid(self) -> int:
        """Patches along one side of an image of ``image_size``."""
        return self.image_size // self.patch_size


def _check_positive(config: EncoderConfig, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")


class Block(nn.Module):
    r"""One layer: compress, then sparsify.

    .. math:: Z^{l+1/2} = a Z^l + b\,\mathrm{MSSA}(\mathrm{LN}(Z^l)), \qquad
        Z^{l+1} = \mathrm{ISTA}(\mathrm{LN}(Z^{l+1/2}))

    with ``keep`` for :math:`a` and ``move`` for :math:`b`, both 1 unless the config says otherwise. A feed that asks
    for it, as an MLP in ISTA's place, keeps the ViT's skip connection.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        settings = config.operator_settings()
        self.keep, self.move = config.keep, config.move
        self.norm1 = nn.LayerNorm(config.dim)
        self.attention = build(ATTENTIONS[config.attention], settings)
        self.norm2 = nn.LayerNorm(config.dim)
        self.feed = build(FEEDS[config.feed], settings)

    def forward(
        self, Z: Float[Tensor, "b n d"], mask: Mask | None = None, layout: Layout | None = None
    ) -> Float[Tensor, "b n d"]:
        """Tokens that leave the layer."""
        laid_out = (layout,) if self.attention.on_grid else ()
        moved = self.attention(self.norm1(Z), mask, *laid_out)
        # where both are 1, as nearly always, there is nothing to multiply
        Z = Z + moved if self.keep == self.move == 1 else self.keep * Z + self.move * moved
        fed = self.feed(self.norm2(Z))
        return Z + fed if self.feed.skip else fed

    def extra_repr(self) -> str:
        """What print(model) shows of this layer."""
        return "" if self.keep == self.move == 1 else f"keep={self.keep}, move={self.move}"


class Encoder(nn.Module):
    """Blocks, then a LayerNorm: tokens in, tokens out, whatever they stand for."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)

    def forward(
        self, Z: Float[Tensor, "b n d"], mask: Mask | None = None, layout: Layout | None = None
    ) -> Float[Tensor, "b n d"]:
        """Tokens behind the last LayerNorm.

        Args:
            Z: tokens.
            mask: which tokens may look at which, true for may; for every layer and head. See
                :data:`crate_mini.operators.Mask`.
            layout: where the tokens come from, for an attention that asks, as CBSA does.

        Raises:
            TypeError: a mask of numbers, which might mean anything.
        """
        if mask is not None and mask.dtype != torch.bool:
            raise TypeError(f"a mask is boolean, true where a token may look; got {mask.dtype}")
        for block in self.blocks:
            Z = block(Z, mask, layout)
        return self.norm(Z)


class CRATE(OnHub, nn.Module):
    """A white-box vision transformer and, with other operators named in the config, its baselines.

    Takes images ``(b, 3, h, w)``, uint8 or float in [0, 1], whose sides are multiples of the patch, and
    returns logits ``(b, num_classes)``. For sizes other than ``config.image_size`` the position embedding
    is interpolated.

    Attributes:
        config: all that fixes its shape and arithmetic.
        classes: names of the classes, in the order of the logits; empty if nobody has given any.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, config: CRATEConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = ImageEmbedding(
            config.dim, config.image_size, config.patch_size, config.mean, config.std, config.embedding
        )
        self.encoder = Encoder(config)
        self.head = nn.Linear(config.dim, config.num_classes)

    def forward(
        self, images: Shaped[Tensor, "b 3 h w"], kept: Int[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b c"]:
        """Logits; from the patches whose numbers are ``kept`` alone, if given."""
        return self.forward_head(self.forward_features(images, kept))

    def forward_features(
        self, images: Shaped[Tensor, "b 3 h w"], kept: Int[Tensor, "b m"] | None = None
    ) -> Tokens:
        """The tokens behind the last LayerNorm."""
        tokens = self.embedding(images, kept)
        layout = Layout(tokens.prefix, tokens.grid)
        return tokens._replace(values=self.encoder(tokens.values, layout=layout))

    def forward_head(self, features: Tokens) -> Float[Tensor, "b c"]:
        """Logits, from what :meth:`forward_features` returned."""
        return self.head(read_out(features, self.config.readout))

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh head for other classes, whose names nobody has given yet; all other weights stay.

        Raises:
            ValueError: ``num_classes`` is no positive integer.
        """
        self.config = replace(self.config, num_classes=num_classes)
        weight = self.head.weight
        self.head = nn.Linear(self.config.dim, num_classes, device=weight.device, dtype=weight.dtype)
        self.classes = ()

    def tokens(
        self, images: Shaped[Tensor, "b 3 h w"], kept: Int[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """The tokens that enter the first layer: class token first, then the patches row by row, or those ``kept``."""
        return self.embedding(images, kept).values

    # the parts, by the names under which one speaks of them
    embed = property(lambda self: self.embedding.patches, doc="Pixels of a patch to its token.")
    cls_token = property(lambda self: self.embedding.cls_token, doc="The class token, ``(1, 1, d)``.")
    position = property(
        lambda self: self.embedding.position, doc="The position embedding, ``(1, 1 + n, d)``."
    )
    blocks = property(lambda self: self.encoder.blocks, doc="The layers.")
    norm = property(lambda self: self.encoder.norm, doc="The last LayerNorm.")
    mean = property(lambda self: self.embedding.mean.view(1, 3, 1, 1), doc="What images are normalised by.")
    std = property(lambda self: self.embedding.std.view(1, 3, 1, 1), doc="What images are normalised by.")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in [name for name in state_dict if name.startswith(prefix)]:
            state_dict[prefix + present_name(name.removeprefix(prefix))] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)


def adapt(
    model: CRATE, *, num_classes: int | None = None, image_size: int | None = None, seed: int = 0
) -> CRATE:
    """A copy for other classes, with a fresh classifier, or for images of another size, or both.

    All other weights are kept, and the classifier, too, if no ``num_classes`` are given. The position embedding is
    interpolated once, bicubically, to the new grid, as the model itself does at every call for images of a size it was
    not made for. The fresh classifier is drawn by ``seed``.

    Raises:
        ValueError: a size that is not a multiple of the patch.
    """
    config = replace(
        model.config,
        num_classes=num_classes or model.config.num_classes,
        image_size=image_size or model.config.image_size,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = CRATE(config)
    adapted.encoder.load_state_dict(model.encoder.state_dict())
    position = model.embedding.positions(config.grid, config.grid).detach()
    adapted.embedding.load_state_dict(model.embedding.state_dict() | {"position": position})
    if num_classes is None:
        adapted.head.load_state_dict(model.head.state_dict())
        adapted.classes = model.classes
    return adapted.to(model.head.weight.device)


# how weights were named before the model had parts: one level less
_FORMER_NAMES = {
    "embed.": "embedding.patches.",
    "cls_token": "embedding.cls_token",
    "position": "embedding.position",
    "blocks.": "encoder.blocks.",
    "norm.": "encoder.norm.",
}


def present_name(former: str) -> str:
    """A weight's name today, from the name that files of the first version (or of today) have for it."""
    for old, new in _FORMER_NAMES.items():
        if former.startswith(old):
            return new + former.removeprefix(old)
    return former


def former_name(present: str) -> str:
    """The inverse of :func:`present_name`: the name in files of the first version, and in a page."""
    for old, new in _FORMER_NAMES.items():
        if present.startswith(new):
            return old + present.removeprefix(new)
    return present


def read_out(features: Tokens, readout: str) -> Float[Tensor, "b d"]:
    """What is read from tokens: one vector for each image.

    Raises:
        ValueError: an unknown ``readout``, or tokens without a class token.
    """
    if readout not in READOUTS:
        raise ValueError(f"readout must be one of {tuple(READOUTS)}, got {readout!r}")
    if readout == "mean":
        return features.rest.mean(1)
    if not features.prefix:
        raise ValueError("these tokens have no class token to read; readout='mean' reads all of them")
    return features.values[:, 0]


def count_parameters(model: nn.Module) -> int:
    """Number of trainable numbers in a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def require_finite(tensors: Mapping[str, Tensor], of: str = "the model") -> None:
    """Refuse weights that are not finite: whatever is measured with them looks like a number and is none.

    Args:
        tensors: by name, as in a ``state_dict``.
        of: whose they are, for the message.

    Raises:
        FloatingPointError: with the name of the first, and how many more there are.
    """
    named = [(name, t) for name, t in tensors.items() if t.is_floating_point()]
    bad = [torch.isfinite(t).all().logical_not() for _, t in named]
    if not bad or not bool(torch.stack(bad).any()):  # one question to the device, not one for each tensor
        return
    first, *more = [(name, t) for (name, t), b in zip(named, bad, strict=True) if b]
    count = int((~torch.isfinite(first[1])).sum())
    others = f" (and {len(more)} more tensors)" if more else ""
    raise FloatingPointError(
        f"{of} has weights that are not finite: {first[0]} holds {count} NaN or infinite of {first[1].numel()} "
        f"numbers{others}; a training that diverged, or a damaged file?"
    )


if TYPE_CHECKING:
    from crate_mini.registry import create_model as create_model
    from crate_mini.registry import model_names as model_names
else:

    def __getattr__(name: str) -> Any:
        # Where names and sizes live now; it builds on this module, so it is imported when asked for.
        if name in ("create_model", "model_names"):
            from crate_mini import registry

            return getattr(registry, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
