"""CRATE and its relatives: one model class, whose two operators are chosen by name.

================  ===========  ======
model             attention    feed
================  ===========  ======
CRATE             ``mssa``     ``ista``
CRATE-MHSA        ``mhsa``     ``ista``
CRATE-MLP         ``mssa``     ``mlp``
ViT               ``mhsa``     ``mlp``
================  ===========  ======

All four read the class from the class token, so that the attention of that token is trained in every layer.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from crate_mini.compression import MSSA, attend
from crate_mini.sparsification import ISTA, PROXIMAL_MAPS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class CRATEConfig:
    r"""Everything that fixes a model's shape and arithmetic.

    Attributes:
        dim, heads, depth: token dimension ``d``, subspaces ``K``, layers ``L``.
        head_dim: dimension ``p`` of a head; ``d / K`` if None.
        image_size, patch_size: in pixels. Other image sizes that are multiples of the patch work too.
        attention: ``"mssa"`` or ``"mhsa"``.
        feed: ``"ista"`` or ``"mlp"``.
        tied: MSSA's output basis is its input basis (the theory) instead of a learned map (the released code).
        keep, move: ``a`` and ``b`` of :math:`Z^{l+1/2} = a Z^l + b\,\mathrm{MSSA}(\mathrm{LN}(Z^l))`. Both are 1
            in the released code; :math:`1-\kappa\gamma` and :math:`\kappa\gamma` in the derivation; 1 and -1 turn the
            sign.
        step, lam, proximal: ISTA's step size, sparsity weight, and ``"relu"`` or ``"soft"``.
        mlp_ratio: hidden width of the MLP in units of ``dim``.
        mean, std: channel statistics that images in [0, 1] are normalised by.
    """

    dim: int
    heads: int
    depth: int
    head_dim: int | None = None
    image_size: int = 224
    patch_size: int = 16
    num_classes: int = 1000
    attention: str = "mssa"
    feed: str = "ista"
    tied: bool = False
    keep: float = 1.0
    move: float = 1.0
    step: float = 0.1
    lam: float = 0.1
    proximal: str = "relu"
    mlp_ratio: int = 4
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name in ("dim", "heads", "depth", "image_size", "patch_size", "num_classes", "mlp_ratio"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.head_dim is not None and self.head_dim < 1:
            raise ValueError(f"head_dim must be a positive integer or None, got {self.head_dim!r}")
        if self.head_dim is None and self.dim % self.heads:
            raise ValueError(f"dim {self.dim} does not divide into {self.heads} heads; give head_dim")
        for name, known in (("attention", ATTENTIONS), ("feed", FEEDS), ("proximal", PROXIMAL_MAPS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {tuple(known)}, got {getattr(self, name)!r}")
        for name in ("keep", "move"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, got {getattr(self, name)!r}")
        if self.tied and self.attention != "mssa":
            raise ValueError("tied is a property of mssa; mhsa has separate queries, keys and values")

    @property
    def grid(self) -> int:
        """Patches along one side of an image of ``image_size``."""
        return self.image_size // self.patch_size

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the inverse of ``CRATEConfig(**d)``."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CRATEConfig:
        """Rebuild from :meth:`to_dict`. Raises ValueError on unknown names."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(
                f"unknown settings {sorted(unknown)}; known are {sorted(f.name for f in fields(cls))}"
            )
        return cls(**values | {k: tuple(values[k]) for k in ("mean", "std") if k in values})


class MHSA(nn.Module):
    """Multi-head self-attention of the ViT: separate queries, keys and values (arXiv 2010.11929)."""

    def __init__(self, dim: int, heads: int, head_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim or dim // heads
        self.project = nn.Linear(dim, 3 * heads * self.head_dim)
        self.out = nn.Linear(heads * self.head_dim, dim)

    def queries_keys(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys, ``(batch, K, n, p)`` each, from what ``project`` returned."""
        q, k, _ = self._split(projected)
        return q, k

    def _split(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return rearrange(projected, "b n (three k p) -> three b k n p", three=3, k=self.heads).unbind(0)

    def forward(self, Z: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """The update that is added to the tokens."""
        heads = attend(*self._split(self.project(Z)))
        return self.out(rearrange(heads, "b k n p -> b n (k p)"))


class MLP(nn.Sequential):
    """The feed-forward block of the ViT: expand, GELU, contract."""

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))


ATTENTIONS = {
    "mssa": lambda c: MSSA(c.dim, c.heads, c.head_dim, tied=c.tied),
    "mhsa": lambda c: MHSA(c.dim, c.heads, c.head_dim),
}
FEEDS = {
    "ista": lambda c: ISTA(c.dim, step=c.step, lam=c.lam, proximal=c.proximal),
    "mlp": lambda c: MLP(c.dim, c.mlp_ratio),
}


class Block(nn.Module):
    r"""One layer: compress, then sparsify.

    .. math:: Z^{l+1/2} = Z^l + \mathrm{MSSA}(\mathrm{LN}(Z^l)), \qquad
        Z^{l+1} = \mathrm{ISTA}(\mathrm{LN}(Z^{l+1/2}))

    An MLP in ISTA's place keeps the ViT's skip connection.
    """

    def __init__(self, config: CRATEConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim)
        self.attention = ATTENTIONS[config.attention](config)
        self.norm2 = nn.LayerNorm(config.dim)
        self.feed = FEEDS[config.feed](config)

    def forward(self, Z: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Tokens that leave the layer."""
        Z = Z + self.attention(self.norm1(Z))
        fed = self.feed(self.norm2(Z))
        return fed if isinstance(self.feed, ISTA) else Z + fed


class WeightedBlock(Block):
    r"""A layer with weights on its skip connection and on attention's move, to try what the derivation has.

    .. math:: Z^{l+1/2} = \mathrm{keep}\, Z^l + \mathrm{move}\; \mathrm{MSSA}(\mathrm{LN}(Z^l))
    """

    def __init__(self, config: CRATEConfig) -> None:
        super().__init__(config)
        self.keep, self.move = config.keep, config.move

    def forward(self, Z: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Tokens that leave the layer."""
        Z = self.keep * Z + self.move * self.attention(self.norm1(Z))
        fed = self.feed(self.norm2(Z))
        return fed if isinstance(self.feed, ISTA) else Z + fed

    def extra_repr(self) -> str:
        """What print(model) shows of this layer."""
        return f"keep={self.keep}, move={self.move}"


class PatchEmbedding(nn.Sequential):
    """Patches, flattened row by row with the channel fastest; LayerNorm, linear map, LayerNorm."""

    def __init__(self, patch_size: int, dim: int) -> None:
        pixels = 3 * patch_size**2
        super().__init__(nn.LayerNorm(pixels), nn.Linear(pixels, dim), nn.LayerNorm(dim))
        self.patch_size = patch_size

    def patches(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n q"]:
        """The pixels of each patch, row by row."""
        p = self.patch_size
        return rearrange(images, "b c (h i) (w j) -> b (h w) (i j c)", i=p, j=p)


class CRATE(nn.Module):
    """A white-box vision transformer and, with other operators named in the config, its baselines.

    Takes images ``(b, 3, h, w)``, uint8 or float in [0, 1], whose sides are multiples of the patch, and
    returns logits ``(b, num_classes)``. For sizes other than ``config.image_size`` the position embedding
    is interpolated.
    """

    def __init__(self, config: CRATEConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = PatchEmbedding(config.patch_size, config.dim)
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.dim))
        self.position = nn.Parameter(torch.randn(1, 1 + config.grid**2, config.dim))
        block = Block if config.keep == config.move == 1 else WeightedBlock
        self.blocks = nn.ModuleList(block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.num_classes)
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)

    def forward(
        self, images: Shaped[Tensor, "b 3 h w"], kept: Int[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b c"]:
        """Logits; from the patches whose numbers are ``kept`` alone, if given."""
        Z = self.tokens(images, kept)
        for block in self.blocks:
            Z = block(Z)
        return self.head(self.norm(Z[:, 0]))

    def tokens(
        self, images: Shaped[Tensor, "b 3 h w"], kept: Int[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """The tokens that enter the first layer: class token first, then the patches row by row, or those ``kept``."""
        check_images(images, self.config.patch_size, check_range=not self.training)
        scale = 255 if images.dtype == torch.uint8 else 1
        images = images.to(self.mean.dtype) / scale
        patches = self.embed.patches((images - self.mean) / self.std)
        rows, columns = (side // self.config.patch_size for side in images.shape[-2:])
        position = self._position(rows, columns)
        of_class, of_patches = self.cls_token + position[:, :1], position[:, 1:]
        if kept is not None:  # taken out before they are embedded: what is left out costs nothing
            patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))
            of_patches = of_patches[0][kept]
        Z = self.embed(patches) + of_patches
        return torch.cat([of_class.expand(len(Z), -1, -1), Z], dim=1)

    def _position(self, rows: int, columns: int) -> Float[Tensor, "1 n d"]:
        g = self.config.grid
        if (rows, columns) == (g, g):
            return self.position
        patches = rearrange(self.position[:, 1:], "1 (h w) d -> 1 d h w", h=g)
        patches = F.interpolate(patches, size=(rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([self.position[:, :1], rearrange(patches, "1 d h w -> 1 (h w) d")], dim=1)


def check_images(images: Tensor, patch_size: int, *, check_range: bool = True) -> None:
    """Refuse what no model of ours can read, saying what was expected.

    Raises:
        ValueError: not ``(b, 3, h, w)``, sides no multiple of the patch, or values outside [0, 1].
        TypeError: neither uint8 nor floating point.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (batch, 3, height, width), got shape {tuple(images.shape)}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"images must be uint8, or float in [0, 1]; got {images.dtype}")
    h, w = images.shape[-2:]
    if h % patch_size or w % patch_size or not h * w:
        fitting = "x".join(str(max(1, side // patch_size) * patch_size) for side in (h, w))
        raise ValueError(
            f"height and width must be multiples of the patch size {patch_size}, got {h}x{w}; "
            f"resize or crop, for example to {fitting}"
        )
    # Looking at values makes a GPU wait, so training (which augments within range) skips it.
    if check_range and images.is_floating_point() and not torch.compiler.is_compiling() and images.numel():
        low, high = images.detach().aminmax()
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ValueError(
                f"float images must lie in [0, 1], found [{low:.3g}, {high:.3g}]; "
                "do not normalise them first, the model does that"
            )


# (dim, heads, depth) by published name. The papers use the word "small" for two widths: 576 in
# arXiv 2306.01129 (patch 16) and 384 in arXiv 2308.16271 (patch 8). Ours are mini and nano.
_CRATE_SIZES = {
    "nano": (96, 4, 4, 8),
    "mini": (192, 6, 8, 8),
    "mini_depth2": (192, 6, 2, 8),
    "mini_depth4": (192, 6, 4, 8),
    "mini_depth6": (192, 6, 6, 8),
    "tiny": (384, 6, 12, 16),
    "small": (576, 12, 12, 16),
    "base": (768, 12, 12, 16),
    "large": (1024, 16, 24, 16),
    "tiny_8": (192, 3, 12, 8),
    "small_8": (384, 6, 12, 8),
    "base_8": (768, 12, 12, 8),
}
# vit_nano and vit_mini have about the parameters of crate_nano and crate_mini; vit_mini_6 also has the six heads of
# crate_mini. A vit_wide has the width and the heads of the CRATE of its size, and several times the parameters.
_VIT_SIZES = {
    "nano": (48, 2, 4, 8),
    "mini": (96, 3, 8, 8),
    "mini_6": (96, 6, 8, 8),
    "tiny": (192, 3, 12, 16),
    "small": (384, 6, 12, 16),
    "base": (768, 12, 12, 16),
    "tiny_8": (192, 3, 12, 8),
    "small_8": (384, 6, 12, 8),
    "base_8": (768, 12, 12, 8),
}
_FAMILIES = {
    "crate": (_CRATE_SIZES, {"attention": "mssa", "feed": "ista"}),
    "crate_mhsa": (_CRATE_SIZES, {"attention": "mhsa", "feed": "ista"}),
    "crate_mlp": (_CRATE_SIZES, {"attention": "mssa", "feed": "mlp"}),
    "vit_wide": (_CRATE_SIZES, {"attention": "mhsa", "feed": "mlp"}),
    "vit": (_VIT_SIZES, {"attention": "mhsa", "feed": "mlp"}),
}


def model_names() -> list[str]:
    """Every name that :func:`create_model` knows."""
    return [f"{family}_{size}" for family, (sizes, _) in _FAMILIES.items() for size in sizes]


def create_model(
    name: str,
    *,
    image_size: int | None = None,
    patch_size: int | None = None,
    num_classes: int = 1000,
    **overrides: Any,
) -> CRATE:
    """A freshly initialised model by name.

    Args:
        name: ``crate_tiny``, ``crate_small``, ``crate_base``, ``crate_large`` (arXiv 2306.01129, patch 16);
            ``crate_tiny_8``, ``crate_small_8``, ``crate_base_8`` (arXiv 2308.16271, patch 8);
            ``crate_nano``, ``crate_mini`` (this book's, patch 8, 64-pixel images, the latter also as
            ``crate_mini_depth2`` to ``6``); ``vit_*``; ``crate_mhsa_*``, ``crate_mlp_*`` and ``vit_wide_*``, at
            CRATE's width, for the ablations.
        image_size: pixels; 64 for nano and mini, otherwise 224.
        patch_size: pixels; the name's own if not given.
        num_classes: width of the classifier.
        overrides: any other field of :class:`CRATEConfig`.

    Raises:
        ValueError: unknown name or setting, or sizes that do not fit.
    """
    match = re.fullmatch(r"(crate_mhsa|crate_mlp|crate|vit_wide|vit)_(\w+)", name)
    sizes, operators = _FAMILIES[match[1]] if match else ({}, {})
    if not match or match[2] not in sizes:
        raise ValueError(f"unknown model {name!r}; known are {', '.join(model_names())}")
    dim, heads, depth, own_patch = sizes[match[2]]
    own_size = match[2].startswith(("nano", "mini"))
    settings = dict(
        dim=dim, heads=heads, depth=depth, num_classes=num_classes,
        patch_size=own_patch if patch_size is None else patch_size,
        image_size=(64 if own_size else 224) if image_size is None else image_size, **operators,
    )  # fmt: skip
    return CRATE(CRATEConfig.from_dict(settings | overrides))


def count_parameters(model: nn.Module) -> int:
    """Number of trainable numbers in a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
