"""What goes in becomes tokens that say what they are."""

from __future__ import annotations

import pytest
import torch

from crate_mini.embeddings import ImageEmbedding, TokenEmbedding, Tokens
from crate_mini.model import Encoder, EncoderConfig
from crate_mini.operators import causal_mask, padding_mask


def of_images(**changes) -> ImageEmbedding:
    torch.manual_seed(0)
    settings = {"dim": 24, "image_size": 32, "patch_size": 8, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    return ImageEmbedding(**settings | changes)


def pictures(b: int = 2, h: int = 32, w: int = 32) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (b, 3, h, w), generator=g, dtype=torch.uint8)


class TestImages:
    @pytest.mark.parametrize(("h", "w"), [(32, 32), (48, 40), (8, 16)])
    def test_one_prefix_token_then_the_grid(self, h, w):
        tokens = of_images()(pictures(2, h, w))
        assert isinstance(tokens, Tokens)
        assert tokens.prefix == 1
        assert tokens.grid == (h // 8, w // 8)
        assert tokens.values.shape == (2, 1 + h * w // 64, 24)
        assert torch.equal(tokens.rest, tokens.values[:, 1:])

    def test_kept_patches_are_those_of_the_whole_picture(self):
        embedding = of_images().double()
        whole = embedding(pictures()).values
        kept = torch.tensor([[5, 2, 11], [0, 15, 7]])
        some = embedding(pictures(), kept)
        assert some.grid is None
        torch.testing.assert_close(some.values[:, 0], whole[:, 0], rtol=0, atol=0)
        for i in range(2):
            torch.testing.assert_close(some.rest[i], whole[i, 1 + kept[i]], rtol=0, atol=1e-12)

    def test_kept_patches_of_another_size(self):
        embedding = of_images().double()
        whole, kept = embedding(pictures(1, 48, 40)).values, torch.tensor([[29, 3]])
        torch.testing.assert_close(
            embedding(pictures(1, 48, 40), kept).rest, whole[:, 1 + kept[0]], rtol=0, atol=1e-12
        )

    def test_patches_that_are_not_kept_play_no_part(self):
        embedding, images = of_images().train(), pictures().float() / 255
        kept = torch.tensor([[3], [3]])
        images.requires_grad_()
        embedding(images, kept).values.square().sum().backward()
        seen = images.grad.abs().sum(1) > 0
        assert seen[:, :8, 24:].any()
        seen[:, :8, 24:] = False
        assert not seen.any()


class TestSequences:
    def test_a_vector_for_the_number_and_one_for_the_place(self):
        torch.manual_seed(0)
        embedding = TokenEmbedding(7, dim=6, length=5)
        numbers = torch.tensor([[3, 0, 6], [3, 3, 1]])
        tokens = embedding(numbers)
        assert (tokens.prefix, tokens.grid) == (0, None)
        assert torch.equal(tokens.rest, tokens.values)
        torch.testing.assert_close(tokens.values[1, 1], embedding.words.weight[3] + embedding.position[0, 1])

    def test_too_long(self):
        with pytest.raises(ValueError, match="sequence of 6 tokens is longer than the 5"):
            TokenEmbedding(7, dim=6, length=5)(torch.zeros(1, 6, dtype=torch.long))

    @pytest.mark.parametrize("number", [-1, 7])
    def test_not_in_the_vocabulary(self, number):
        with pytest.raises(ValueError, match="numbers from 0 to 6, found"):
            TokenEmbedding(7, dim=6, length=5)(torch.tensor([[0, number, 1]]))

    def test_a_causal_encoder_cannot_see_ahead(self):
        """Text through the same encoder: what comes later changes nothing of what was before."""
        torch.manual_seed(0)
        embedding = TokenEmbedding(11, dim=24, length=9)
        encoder = Encoder(EncoderConfig(dim=24, heads=3, depth=3)).eval()
        numbers = torch.randint(0, 11, (2, 9))
        other = numbers.clone()
        other[:, 5:] = (other[:, 5:] + 1) % 11
        a, b = (encoder(embedding(n).values, causal_mask(9)) for n in (numbers, other))
        assert torch.equal(a[:, :5], b[:, :5])
        assert (a[:, 5:] != b[:, 5:]).flatten(2).any(-1).all()
        whole = encoder(embedding(numbers).values)
        assert not torch.allclose(whole[:, 0], a[:, 0])

    @pytest.mark.parametrize("attention", ["mssa", "mhsa"])
    def test_padding_is_not_looked_at(self, attention):
        torch.manual_seed(0)
        embedding = TokenEmbedding(11, dim=24, length=9)
        encoder = Encoder(EncoderConfig(dim=24, heads=3, depth=2, attention=attention)).double().eval()
        embedding = embedding.double()
        numbers = torch.randint(0, 11, (2, 9))
        present = torch.arange(9) < torch.tensor([[9], [6]])
        padded = encoder(embedding(numbers).values, padding_mask(present))
        alone = encoder(embedding(numbers[1:, :6]).values)
        torch.testing.assert_close(padded[1:, :6], alone, rtol=0, atol=1e-12)
        whole = encoder(embedding(numbers).values)
        torch.testing.assert_close(padded[0], whole[0], rtol=0, atol=1e-12)
