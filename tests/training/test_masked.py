"""Filling in: the decoder's layer by hand, what may be seen, what a sign is worth, guesses without a network."""

from __future__ import annotations

import math

import pytest
import torch
from small_training import at_draw, interrupt, recipe, run, state_of, stripes, tiny
from torch import nn

from crate_mini.autoencoder import DecoderBlock, PatchDecoder
from crate_mini.embeddings import sincos_positions
from crate_mini.inspector.network import encode_network
from crate_mini.interpolation import (
    LinearGuess,
    blended,
    colours,
    hidden,
    masked_error,
    nearest,
    overall,
    painted,
    to_images,
    to_patches,
)
from crate_mini.model import EncoderConfig
from crate_mini.training import Draws, MaskedAutoencoding, train


def fill(shape: tuple[int, ...], a: float, c: float = 1.0) -> torch.Tensor:
    """Numbers that nothing draws: entry ``t``, counted row by row, is ``c sin(a + 1.7 t)``."""
    t = torch.arange(math.prod(shape), dtype=torch.float64)
    return (c * torch.sin(a + 1.7 * t)).view(shape)


def without_norms(move: float) -> DecoderBlock:
    """Four numbers a token, two heads of two, and neither LayerNorm nor output map."""
    block = DecoderBlock(EncoderConfig(dim=4, heads=2, depth=1, move=move)).double()
    block.norm1, block.norm2, block.attention.out = nn.Identity(), nn.Identity(), nn.Identity()
    with torch.no_grad():
        block.A.copy_(fill((4, 4), 0.15, 0.5))
        block.attention.project.weight.copy_(fill((4, 4), 0.9, 0.7))
    return block


class TestDecoderBlock:
    def test_six_decimals_worked_out_elsewhere(self):
        expected = torch.tensor([
            [0.909362, 0.795335, 0.496644, 0.000138],
            [0.807145, 0.959923, 0.865817, 0.534150],
            [0.519839, 0.898504, 1.026423, 0.933987],
            [0.119169, 0.624784, 0.936512, 1.095210],
        ], dtype=torch.float64)  # fmt: skip
        X = fill((1, 4, 4), 0.2)
        assert (without_norms(-1.0)(X)[0] - expected).abs().max() < 1e-6
        plain = X[0] @ fill((4, 4), 0.15, 0.5).mT
        assert (without_norms(1.0)(X)[0] - (2 * plain - expected)).abs().max() < 1e-6

    def test_no_attention_is_a_linear_map_of_each_token(self):
        block = DecoderBlock(EncoderConfig(dim=8, heads=2, depth=1, move=0.0))
        Z = torch.randn(2, 5, 8)
        torch.testing.assert_close(block(Z)[:, :2], block(Z[:, :2]))
        torch.testing.assert_close(block(Z), block.norm1(Z) @ block.A.T)


def test_as_many_numbers_as_the_encoders_layers():
    """At these sizes a layer of either half has three square matrices, and a bias or two."""
    model = tiny()
    decoder = PatchDecoder(model.config)
    assert len(decoder.blocks) == len(model.blocks)
    squares = [
        sum(p.numel() for p in layer.parameters() if p.ndim == 2)
        for layer in (*decoder.blocks, *model.blocks)
    ]
    assert set(squares) == {3 * model.config.dim**2}


def test_positions_differ_and_do_not_depend_on_the_grids_other_side():
    places = sincos_positions(3, 4, 16)
    assert places.shape == (12, 16)
    assert torch.cdist(places, places).add(torch.eye(12) * 9).min() > 0.1
    assert torch.equal(places.view(3, 4, 16)[:2], sincos_positions(2, 4, 16).view(2, 4, 16))
    with pytest.raises(ValueError, match="a multiple of 4, got 6"):
        sincos_positions(2, 2, 6)


def test_a_layer_norm_hides_how_bright_a_patch_is():
    """What the embedding of classification cannot tell apart, and that of masked autoencoders can."""
    images = torch.full((2, 3, 16, 16), 0.3) + 0.1 * torch.rand(3, 16, 16)
    images[1] += 0.4
    with pytest.raises(ValueError, match="embedding must be one of"):
        tiny(embedding="bare")
    flat = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    normed, linear = (tiny(embedding=kind, **flat).eval().tokens(images) for kind in ("normed", "linear"))
    assert torch.allclose(normed[0], normed[1], atol=0.02)
    assert (linear[0] - linear[1])[1:].abs().mean() > 0.1
    with pytest.raises(ValueError, match="cannot run patches that enter by embedding='linear'"):
        encode_network(tiny(embedding="linear"))


@pytest.mark.parametrize("mask_tokens", ["encoder", "decoder"])
@pytest.mark.parametrize("kind", ["minus", "none", "blocks"])
def test_nothing_is_seen_of_what_is_hidden(kind, mask_tokens):
    torch.manual_seed(0)
    model = tiny(num_classes=1).eval()
    decoder = PatchDecoder(model.config, decoder=kind, mask_tokens=mask_tokens).eval()
    images, kept = torch.rand(3, 3, 16, 16), torch.tensor([[0], [2], [3]])
    patches = to_patches(images, 8)
    other = torch.where(hidden(kept, 4)[..., None], torch.rand_like(patches), patches)
    with torch.no_grad():
        first, second = (decoder(model, x, kept) for x in (images, to_images(other, (2, 2))))
        assert torch.equal(first, second)
        shown = patches.clone()
        shown[0, 0] = 1 - shown[0, 0]
        assert not torch.allclose(decoder(model, to_images(shown, (2, 2)), kept)[0], first[0], atol=1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_with_a_free_output_map_the_sign_is_a_matter_of_the_start(optimizer):
    """Minus is plus whose output maps began with the other sign, bit for bit, through the whole training."""

    class Turned(MaskedAutoencoding):
        def setup(self, *sets):
            super().setup(*sets)
            with torch.no_grad():
                for block in self.decoder.blocks:
                    for p in block.attention.out.parameters():
                        p.neg_()

    ended = []
    for kind, decoder in ((MaskedAutoencoding, "minus"), (Turned, "plus"), (MaskedAutoencoding, "plus")):
        model, r = tiny(num_classes=1), recipe(optimizer=optimizer, epochs=2)
        ended.append(
            ([row["val_loss"] for row in run(model, r, task=kind(r, decoder=decoder)).history], model)
        )
    assert ended[0][0] == ended[1][0] != ended[2][0]
    assert all(map(torch.equal, ended[0][1].parameters(), ended[1][1].parameters()))


class TestTask:
    def test_it_learns_to_fill_in(self):
        """Half of the patches of stripes tell the rest, which no blend does."""
        r = recipe(epochs=30, lr=3e-3)
        rows = run(tiny(num_classes=1), r, task=MaskedAutoencoding(r, masked=0.5)).history
        assert rows[-1]["val_loss"] < 0.8 * rows[0]["val_loss"]
        assert len({row["val_blend"] for row in rows}) == 1, (
            "held-out images wear the same masks after every epoch"
        )

    def test_the_blend_that_is_measured(self):
        r, held = recipe(epochs=1), stripes(16, seed=1)
        task = MaskedAutoencoding(r, masked=0.5)
        measured = run(tiny(num_classes=1), r, task=task).history[-1]["val_blend"]
        kept = torch.rand(16, 4, generator=torch.Generator().manual_seed(0)).argsort(dim=1, stable=True)[
            :, :2
        ]
        patches = to_patches(held.images, 8)
        guess = painted(blended(colours(patches), kept, (2, 2)), 64)
        assert measured == pytest.approx(masked_error(guess, patches, kept).item(), rel=1e-5)

    def test_same_draws_whatever_the_number_of_processes(self):
        r = recipe()
        task = MaskedAutoencoding(r, masked=0.5)
        task.patches = 4
        batch = stripes(8).images, torch.arange(8)
        whole = task.draw(batch, Draws(torch.Generator().manual_seed(3)))
        for rank in (0, 1):
            share = tuple(x[rank::2] for x in batch)
            mine = task.draw(share, Draws(torch.Generator().manual_seed(3), rank, 2))
            assert all(torch.equal(a, b[rank::2]) for a, b in zip(mine, whole, strict=True))

    def test_interrupted_in_a_step_and_exactly_gone_on(self, tmp_path):
        r, ends = recipe(), []
        with pytest.raises(KeyboardInterrupt), at_draw(MaskedAutoencoding, 6, interrupt):
            run(tiny(num_classes=1), r, task=MaskedAutoencoding(r), out=tmp_path)
        for seed, out in ((0, None), (5, tmp_path)):
            model, task = tiny(seed, num_classes=1), MaskedAutoencoding(r)
            run(model, r, task=task, out=out)
            ends.append(state_of(model, task))
        assert ends[0] == ends[1]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"decoder": "minis"}, "decoder must be one of minus, plus, none, blocks; got 'minis'"),
            ({"output": "bound"}, "output must be one of free, tied"),
            ({"mask_tokens": "both"}, "mask_tokens must be one of encoder, decoder"),
            ({"layers": 0}, "layers must be a whole number, 1 or more, or None; got 0"),
            ({"masked": 1.0}, "masked must lie between 0 and 1"),
        ],
    )
    def test_settings_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            MaskedAutoencoding(recipe(), **settings)

    def test_recipes_refused(self):
        with pytest.raises(ValueError, match=r"masked=0.75: train with keep_patches=1, got 0.5"):
            MaskedAutoencoding(recipe(keep_patches=0.5))
        with pytest.raises(ValueError, match="compile=False"):
            MaskedAutoencoding(recipe(compile=True))
        r = recipe()
        with pytest.raises(ValueError, match="leaves nothing to see"):
            train(
                tiny(num_classes=1),
                stripes(8),
                stripes(8),
                r,
                task=MaskedAutoencoding(r, masked=0.99),
                device="cpu",
            )


class TestGuesses:
    patches = to_patches(torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(0)), 8)
    kept = torch.tensor([[0, 8], [3, 4], [6, 2], [1, 7]])

    def test_patches_and_back(self):
        images = torch.rand(2, 3, 16, 24)
        assert torch.equal(to_images(to_patches(images, 8), (2, 3)), images)

    def test_by_hand(self):
        """The patch in the corner of a 3 x 3 grid, from its neighbour and the one across."""
        of = colours(self.patches)
        assert torch.allclose(of[1, 4], self.patches[1, 4].view(64, 3).mean(0))
        a, b = of[1, 3], of[1, 4]  # seen from patch 0: 1 and sqrt(2) away
        assert torch.allclose(overall(of, self.kept)[1, 0], (a + b) / 2)
        assert torch.allclose(nearest(of, self.kept, (3, 3))[1, 0], a)
        w = 2**-1.5
        assert torch.allclose(blended(of, self.kept, (3, 3), 3.0)[1, 0], (a + w * b) / (1 + w), rtol=1e-4)
        tie = nearest(of, self.kept, (3, 3))[0, 4]  # as far from 0 as from 8
        assert torch.allclose(tie, (of[0, 0] + of[0, 8]) / 2)

    def test_only_what_is_hidden_counts(self):
        guess = torch.where(hidden(self.kept, 9)[..., None], self.patches + 0.5, 7.0)
        assert masked_error(guess, self.patches, self.kept) == pytest.approx(0.25)

    def test_the_best_linear_guess_beats_every_other_on_its_own_images(self):
        """Against least squares of the same thing; and no look at what is hidden."""
        patches = to_patches(torch.rand(200, 3, 16, 16, generator=torch.Generator().manual_seed(1)), 8)
        patches[:, 3] = 0.5 * patches[:, 0] + 0.2
        kept = torch.tensor([[0, 1]]).expand(200, -1)
        guess = LinearGuess(patches, ridge=1e-9)(patches, kept)
        seen = colours(patches)[:, :2].flatten(1).double()
        design = torch.cat([seen, torch.ones(200, 1)], dim=1)
        expected = design @ torch.linalg.lstsq(design, patches.flatten(1).double()).solution
        assert torch.allclose(guess.flatten(1).double(), expected, atol=1e-4)
        other = patches.clone()
        other[:, 2:] = 0
        assert torch.equal(LinearGuess(patches)(patches, kept), LinearGuess(patches)(other, kept))
