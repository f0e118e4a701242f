r"""The other half of a masked autoencoder: a decoder that mirrors CRATE's encoder, after CRATE-MAE (arXiv 2404.02446).

The encoder is a :class:`~crate_mini.model.CRATE` as it is. Patches that are not seen stand as *mask tokens*: one
learned vector, and the place of each. The released code lets them in before the encoder, and saves nothing by seeing
less; a masked autoencoder as its inventors have it (arXiv 2111.06377) lets them in behind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from crate_mini.embeddings import sincos_positions
from crate_mini.model import CRATE, Block, CRATEConfig, EncoderConfig
from crate_mini.operators import ATTENTIONS, Layout, Mask, build

DECODERS = {
    "minus": "a linear map, then minus attention",
    "plus": "a linear map, then plus attention",
    "none": "a linear map alone",
    "blocks": "layers as the encoder's",
}
"""What a layer of the decoder is."""
MOVES = {"minus": -1.0, "plus": 1.0, "none": 0.0}
MASK_TOKENS = {
    "encoder": "before the encoder, as CRATE-MAE's code has it",
    "decoder": "behind the encoder, which sees patches alone, as MAE has it",
}
"""Where mask tokens come in."""


class DecoderBlock(nn.Module):
    r"""One layer of CRATE-MAE's decoder (arXiv 2404.02446 and its code): a linear map, then away from the subspaces.

    .. math:: Y = \mathrm{LN}(Z) A^\top, \qquad Z' = Y + b\,\mathrm{MSSA}(\mathrm{LN}(Y))

    with ``move`` of the config for :math:`b`, -1 in the paper. :math:`A` is square, without bias; nothing goes around
    it. Basis, output map and :math:`A` are the layer's own: none is the encoder's.

    Args:
        config: whose attention, sizes and ``move`` are taken; with a move of 0 there is no attention.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.move = config.move
        self.norm1 = nn.LayerNorm(config.dim)
        self.A = nn.Parameter(torch.empty(config.dim, config.dim))
        nn.init.kaiming_uniform_(self.A)
        self.norm2 = self.attention = None
        if self.move:
            self.norm2 = nn.LayerNorm(config.dim)
            self.attention = build(ATTENTIONS[config.attention], config.operator_settings())

    def forward(
        self, Z: Float[Tensor, "b n d"], mask: Mask | None = None, layout: Layout | None = None
    ) -> Float[Tensor, "b n d"]:
        """Tokens that leave the layer."""
        Y = self.norm1(Z) @ self.A.mT
        if self.attention is None:
            return Y
        laid_out = (layout,) if self.attention.on_grid else ()
        return Y + self.move * self.attention(self.norm2(Y), mask, *laid_out)

    def extra_repr(self) -> str:
        """What print(model) shows of this layer."""
        return f"move={self.move:g}"


class PatchDecoder(nn.Module):
    """Mask tokens, layers, and a linear map to normalised pixels: what makes a masked autoencoder of an encoder.

    Args:
        config: of the encoder. The decoder has its width, its heads and its attention.
        decoder: a key of :data:`DECODERS`.
        layers: how many; as many as the encoder's if None.
        tied: the output basis of attention is its input basis, as derived; otherwise a map of its own, as released.
        mask_tokens: a key of :data:`MASK_TOKENS`.

    Raises:
        ValueError: unknown names, or an attention that cannot be tied.
    """

    def __init__(
        self,
        config: CRATEConfig,
        *,
        decoder: str = "minus",
        layers: int | None = None,
        tied: bool = False,
        mask_tokens: str = "encoder",
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("decoder", decoder, DECODERS),
            ("mask_tokens", mask_tokens, MASK_TOKENS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        own = replace(config, tied=tied, move=MOVES.get(decoder, config.move))
        kind = Block if decoder == "blocks" else DecoderBlock
        self.kind, self.tied, self.mask_tokens, dim = decoder, tied, mask_tokens, config.dim
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.blocks = nn.ModuleList(kind(own) for _ in range(layers or config.depth))
        self.norm = nn.LayerNorm(dim)
        self.pixels = nn.Linear(dim, 3 * config.patch_size**2)

    def forward(
        self, model: CRATE, images: Shaped[Tensor, "b 3 h w"], kept: Int[Tensor, "b k"]
    ) -> Float[Tensor, "b n m"]:
        """Every patch of images of which the encoder sees those ``kept``: pixels in [0, 1], or about.

        Patches are as :func:`crate_mini.interpolation.to_patches` has them.

        Args:
            model: the encoder, of the config that the decoder was made for.
            images: as the model takes them. Patches that are not kept change nothing.
            kept: the numbers of the patches that are seen.
        """
        Z, prefix = self.enter(model, images, kept), model.embedding.prefix
        layout = Layout(prefix, model.embedding.grid(images))
        for block in self.blocks:
            Z = block(Z, layout=layout)
        said = self.pixels(self.norm(Z))[:, prefix:]
        mean, std = (of.repeat(said.shape[-1] // 3) for of in (model.embedding.mean, model.embedding.std))
        return mean + std * said

    def enter(
        self, model: CRATE, images: Shaped[Tensor, "b 3 h w"], kept: Int[Tensor, "b k"]
    ) -> Float[Tensor, "b n d"]:
        """The tokens that enter the decoder's first layer: the encoder's, and mask tokens where there are none."""
        seen, grid = model.embedding(images, kept), model.embedding.grid(images)
        if self.mask_tokens == "encoder":
            places = model.embedding.positions(*grid)[:, seen.prefix :]
            whole = spread(seen.values, seen.prefix, kept, self.mask_token + places)
            return model.encoder(whole, layout=Layout(seen.prefix, grid))
        known = model.encoder(seen.values, layout=Layout(seen.prefix, None))
        places = 2 * sincos_positions(*grid, known.shape[-1], longest=2.5 * max(grid)).to(known)
        filler = self.mask_token.expand(1, len(places), -1)
        whole = spread(known, seen.prefix, kept, filler)
        return torch.cat([whole[:, : seen.prefix], whole[:, seen.prefix :] + places], dim=1)

    def settings(self) -> dict[str, Any]:
        """All that it was made with besides the config."""
        return {
            "decoder": self.kind,
            "layers": len(self.blocks),
            "tied": self.tied,
            "mask_tokens": self.mask_tokens,
        }


def spread(
    tokens: Float[Tensor, "b t d"], prefix: int, kept: Int[Tensor, "b k"], filler: Float[Tensor, "1 n d"]
) -> Float[Tensor, "b whole d"]:
    """Tokens of patches at their places, behind the prefix, and the filler at all others."""
    index = kept[..., None].expand(-1, -1, tokens.shape[-1])
    everywhere = filler.to(tokens.dtype).expand(len(tokens), -1, -1)
    return torch.cat([tokens[:, :prefix], everywhere.scatter(1, index, tokens[:, prefix:])], dim=1)
