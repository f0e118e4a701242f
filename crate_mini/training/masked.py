"""Learning without labels by filling in: a part of the patches is seen, the pixels of the others are asked for."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from crate_mini.autoencoder import DECODERS, MASK_TOKENS, PatchDecoder
from crate_mini.data.streaming import Feed
from crate_mini.interpolation import blended, colours, masked_error, painted, to_patches
from crate_mini.training.augmentation import augment, draw_patches
from crate_mini.training.recipe import Recipe
from crate_mini.training.rng import Draws
from crate_mini.training.tasks import Task, evaluation_batch

OUTPUTS = ("free", "tied")
SEED = 0
"""Of the masks that held-out images wear, the same after every epoch."""


class MaskedAutoencoding(Task):
    r"""Guess the pixels of the patches that are not seen (arXiv 2111.06377), by CRATE-MAE's decoder (2404.02446).

    The loss is :func:`~crate_mini.interpolation.masked_error`: the mean square over the pixels of the patches that are
    not seen, images in [0, 1]. What is trained besides the model is a :class:`~crate_mini.autoencoder.PatchDecoder`.
    What is written in the end is the encoder; its classifier has learned nothing.

    Measured, on held-out images under masks that stay: ``loss``, and ``blend``, what a blend of the patches that are
    seen scores under the same masks, without any network (:func:`~crate_mini.interpolation.blended`).

    Args:
        recipe: whose crops and flips are used. How much is seen is a matter of ``masked``.
        decoder: what a layer of the decoder is, a key of :data:`~crate_mini.autoencoder.DECODERS`.
        layers: of the decoder; as many as the encoder's if None.
        output: of the decoder's attention: ``"free"`` has a map of its own, ``"tied"`` its own basis once more.
        mask_tokens: where they come in, a key of :data:`~crate_mini.autoencoder.MASK_TOKENS`.
        masked: the share of the patches that is not seen.

    Raises:
        ValueError: a number outside its range, an unknown name, or a recipe with ``compile`` or ``keep_patches``.
    """

    leaves_out = True  # the model's classifier learns nothing
    metrics = ("loss", "blend")

    def __init__(
        self,
        recipe: Recipe,
        *,
        decoder: str = "minus",
        layers: int | None = None,
        output: str = "free",
        mask_tokens: str = "encoder",
        masked: float = 0.75,
    ) -> None:
        super().__init__()
        if recipe.compile:
            raise ValueError(f"{type(self).__name__} runs the network as it is: train with compile=False")
        if recipe.keep_patches != 1:
            raise ValueError(
                f"how many patches are seen is told by the task's masked={masked:g}: train with keep_patches=1, "
                f"got {recipe.keep_patches:g}"
            )
        for name, value, known in (
            ("decoder", decoder, DECODERS), ("output", output, OUTPUTS), ("mask_tokens", mask_tokens, MASK_TOKENS),
        ):  # fmt: skip
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        if layers is not None and (isinstance(layers, bool) or not isinstance(layers, int) or layers < 1):
            raise ValueError(f"layers must be a whole number, 1 or more, or None; got {layers!r}")
        if not 0 < masked < 1:
            raise ValueError(f"masked must lie between 0 and 1; got {masked!r}")
        self.recipe, self.kind, self.layers = recipe, decoder, layers
        self.output, self.mask_tokens, self.masked = output, mask_tokens, masked
        self.patches, self.patch_size = 0, 0

    def settings(self) -> dict[str, Any]:
        """All that the constructor was given."""
        names = ("layers", "output", "mask_tokens", "masked")
        return {"decoder": self.kind} | {k: getattr(self, k) for k in names}

    def setup(self, model: nn.Module, train_set: Any, val_set: Any) -> None:
        """The decoder, of the encoder's sizes."""
        config = model.config
        self.patch_size, self.layers = config.patch_size, self.layers or config.depth
        self.patches = math.prod(side // config.patch_size for side in train_set.shape[-2:])
        if not 0 < self._seen(self.patches) < self.patches:
            raise ValueError(
                f"masked={self.masked:g} of {self.patches} patches leaves nothing to see, or nothing to guess"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            self.decoder = PatchDecoder(
                config, decoder=self.kind, layers=self.layers, tied=self.output == "tied",
                mask_tokens=self.mask_tokens,
            )  # fmt: skip

    def _seen(self, patches: int) -> int:
        return round((1 - self.masked) * patches)

    def draw(self, batch: tuple[Tensor, Tensor], draws: Draws) -> tuple[Tensor, Tensor]:
        """Cropped and mirrored images, and the patches of each that are seen; labels are left aside."""
        images, share = batch[0], {"rank": draws.rank, "world_size": draws.world_size}
        cropped = augment(images, self.recipe, draws.generator, **share)
        kept = draw_patches(
            len(images) * draws.world_size, self.patches, 1 - self.masked, draws.generator,
            **share, device=images.device,
        )  # fmt: skip
        return cropped, kept

    def loss(self, model: nn.Module, drawn: tuple[Tensor, Tensor]) -> Tensor:
        """:func:`~crate_mini.interpolation.masked_error` of what the decoder makes of what is seen."""
        images, kept = drawn
        guess = self.decoder(model, images, kept)
        return masked_error(guess.float(), to_patches(images, self.patch_size), kept)

    def evaluate(self, model: nn.Module, feed: Feed) -> dict[str, float]:
        """Errors on images as they are, each under a mask of its own that is the same after every epoch."""
        n, generator = len(feed.data), torch.Generator().manual_seed(SEED)
        grid = model.embedding.grid(torch.empty(feed.data.shape[-3:], device="meta"))
        masks = draw_patches(n, math.prod(grid), 1 - self.masked, generator, device=feed.device)
        total, order = (
            torch.zeros(2, dtype=torch.float64),
            torch.arange(n).split(evaluation_batch(feed.device)),
        )
        for rows, (images, _) in zip(order, feed.batches(order), strict=True):
            kept, patches = masks[rows.to(masks.device)], to_patches(images, self.patch_size)
            of = colours(patches)
            blend = painted(blended(of, kept, grid), patches.shape[-1] // of.shape[-1])
            found = [
                masked_error(x.float(), patches, kept) for x in (self.decoder(model, images, kept), blend)
            ]
            total += len(rows) * torch.stack(found).double().cpu()
        return dict(zip(self.metrics, (total / n).tolist(), strict=True))
