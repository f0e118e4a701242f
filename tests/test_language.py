"""A model of text: it cannot see ahead, it guesses what it says it guesses, and it goes by other texts, too."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from crate_mini.data.text import Text, encode, open_text, read_text
from crate_mini.errors import DataError
from crate_mini.language import LanguageConfig, LanguageModel, create_language_model, text_losses, write
from crate_mini.model import count_parameters
from crate_mini.ngrams import NGrams, compressed
from crate_mini.operators import causal_mask
from crate_mini.operators.basic import MSSA
from crate_mini.weights import CheckpointError, load_language_model, load_model, save_model

ABC = "abcdefgh "
KINDS = {
    "CRATE": {"attention": "mssa", "feed": "ista"},
    "GPT": {"attention": "mhsa", "feed": "mlp"},
    "a query of its own": {"attention": "mssa_query", "feed": "ista"},
    "ToST": {"attention": "tssa", "feed": "ista", "options": {"causal": True}},
    "tied ODL": {"attention": "mssa", "feed": "odl", "options": {"tied_feed": True, "residual": False}},
}


def tiny(seed: int = 0, length: int = 12, **settings) -> LanguageModel:
    torch.manual_seed(seed)
    shape = {"dim": 24, "heads": 3, "depth": 2, "alphabet": ABC, "length": length}
    return LanguageModel(LanguageConfig(**shape | settings)).eval()


def some(b: int = 2, n: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, len(ABC), (b, n), generator=torch.Generator().manual_seed(seed))


def sees_ahead(model: LanguageModel, at: int = 7) -> bool:
    numbers = some()
    other = numbers.clone()
    other[:, at:] = (other[:, at:] + 1) % len(ABC)
    a, b = (model.double()(n)[:, :at] for n in (numbers, other))
    return not torch.allclose(a, b, rtol=0, atol=1e-12)


class TestCausality:
    @pytest.mark.parametrize("kind", KINDS)
    def test_what_comes_later_changes_nothing(self, kind):
        model = tiny(**KINDS[kind])
        assert not sees_ahead(model)
        numbers = some()
        torch.testing.assert_close(model(numbers)[:, :5], model(numbers[:, :5]), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("by", [0, 1])
    def test_broken_on_purpose(self, by):
        """One token too many in the mask, or no mask at all: the test above would tell."""
        model = tiny()
        model.mask = (
            torch.ones_like(model.mask) if by == 0 else causal_mask(13)[1:, :12].clone() | causal_mask(12)
        )
        assert sees_ahead(model)

    def test_golden_values_of_causal_mssa(self):
        """Independent numbers for softmax over j <= i of <z_i U, z_j U> / sqrt p, no output map."""

        def fill(shape: tuple[int, int], a: float, c: float = 1.0) -> torch.Tensor:
            return c * torch.sin(a + 1.7 * torch.arange(math.prod(shape)).double()).view(shape)

        attention = MSSA(4, 2, tied=True).double()
        attention.project.weight.data = fill((4, 4), 0.9, 0.7)
        attention.out = torch.nn.Identity()
        got = attention(fill((4, 4), 0.2)[None], causal_mask(4))[0]
        expected = torch.tensor(
            [
                [0.896989, 0.327037, -0.328339, -0.897951],
                [1.112918, 0.758691, 0.105297, -0.494061],
                [1.174069, 1.075645, 0.817931, 0.268394],
                [1.092144, 1.167309, 1.327607, 0.966019],
            ]
        ).double()
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-6)


class TestModel:
    def test_head_is_the_embedding_behind_the_last_norm(self):
        model = tiny()
        features = model.forward_features(some())
        expected = features.values @ model.embedding.words.weight.T
        torch.testing.assert_close(model(some()), expected)
        assert features.values.min() < -0.5, "ISTA's codes have no negative entry; behind the norm they do"

    def test_named_models_are_of_one_size(self):
        sizes = [count_parameters(create_language_model(n, ABC)) for n in ("crate_text", "gpt_text")]
        assert max(sizes) / min(sizes) < 1.1
        with pytest.raises(ValueError, match="known are crate_text"):
            create_language_model("gpt_5", ABC)

    @pytest.mark.parametrize(
        ("alphabet", "message"), [("a", "two characters"), ("aba", "'a' stands there again")]
    )
    def test_alphabets(self, alphabet, message):
        with pytest.raises(ValueError, match=message):
            LanguageConfig(dim=8, heads=2, depth=1, alphabet=alphabet)

    def test_weights_come_back(self, tmp_path):
        model = tiny()
        save_model(model, tmp_path / "model.safetensors", {"seed": 0})
        again = load_language_model(tmp_path)
        assert again.config == model.config
        assert torch.equal(again(some()), model(some()))
        with pytest.raises(CheckpointError, match="unknown settings"):
            load_model(tmp_path / "model.safetensors")


class TestLosses:
    @pytest.mark.parametrize("n", [2, 9, 13, 40, 55])
    def test_every_character_has_half_a_window(self, n):
        """Against one forward pass a character, with the context that the rule gives it."""
        model, numbers = tiny(), some(1, n)[0]
        got = text_losses(model, numbers, batch_size=2)
        assert got.shape == (n - 1,)
        for i in range(n - 1):
            begins = 0 if i < 12 else (i // 6 - 1) * 6
            expected = F.cross_entropy(model(numbers[None, begins : i + 1])[0, -1], numbers[i + 1])
            torch.testing.assert_close(got[i], expected, rtol=1e-4, atol=1e-5)

    def test_writing(self):
        model, begin = tiny(), some(3, 2)
        likeliest = write(model, begin, 15, temperature=0)
        for i in range(2, 17):
            assert torch.equal(likeliest[:, i], model(likeliest[:, max(0, i - 12) : i])[:, -1].argmax(-1))
        draws = [write(model, begin, 9, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])
        with pytest.raises(ValueError, match="character to begin with"):
            write(model, begin[:, :0], 3)


class TestNGrams:
    def test_by_hand(self):
        """Witten and Bell on 'aabab': a is followed by a once and by b twice."""
        grams = NGrams(np.array([0, 0, 1, 0, 1]), 3, 2)
        one = {c: (n + 2 / 3) / (5 + 2) for c, n in ((0, 3), (1, 2), (2, 0))}
        two = {(0, 0): (1 + 2 * one[0]) / 5, (0, 1): (2 + 2 * one[1]) / 5, (1, 0): (1 + one[0]) / 2}
        text = np.array([0, 1, 0, 0, 2, 0])
        expected = [one[0], two[0, 1], two[1, 0], two[0, 0], 2 * one[2] / 5, one[0]]
        np.testing.assert_allclose(grams.losses(text), -np.log(expected))

    def test_probabilities_add_up(self):
        text = some(1, 300)[0].numpy()
        for order in (1, 3, 5):
            grams = NGrams(text[:200], len(ABC), order)
            ends = [np.append(text[200:230], c) for c in range(len(ABC))]
            assert sum(math.exp(-grams.losses(end)[-1]) for end in ends) == pytest.approx(1)

    def test_the_compressor_has_read_the_first_part(self):
        line = "what is written twice is known the second time; "
        assert compressed(line, line * 3) < 0.2 * compressed(line, "nothing of the kind")


class TestTexts:
    def test_any_file(self, tmp_path):
        path = tmp_path / "mine.txt"
        path.write_text("Wer reitet so spät durch Nacht und Wind?\n" * 20, encoding="utf-8")
        learned, held_out = open_text(path, window=8)
        assert learned.alphabet == held_out.alphabet == "".join(sorted(set(path.read_text(encoding="utf-8"))))
        assert str(learned) + str(held_out) == path.read_text(encoding="utf-8")
        assert (learned.name, learned.tier) == ("mine/train", "local")
        assert len(learned.numbers) / len(held_out.numbers) == pytest.approx(9, rel=0.05)

    def test_what_cannot_be_read(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CRATE_MINI_DATA", str(tmp_path))
        assert read_text()[1:] == ("embedded", "embedded"), "without a file there is the package's own"
        with pytest.raises(DataError, match=r"no text at .*tiny-shakespeare"):
            read_text("tiny-shakespeare")
        (tmp_path / "latin.txt").write_bytes("spät".encode("latin-1"))
        with pytest.raises(DataError, match="no text in UTF-8"):
            read_text(tmp_path / "latin.txt")
        (tmp_path / "short.txt").write_text("to be")
        with pytest.raises(ValueError, match="a window is 64"):
            open_text(tmp_path / "short.txt")

    def test_strange_characters_are_named(self):
        numbers, strange = encode("a big cab", ABC)
        assert strange == "i"
        assert "".join(ABC[i] for i in numbers.tolist()) == "a bg cab"

    def test_windows(self):
        text = Text(torch.arange(9), ABC, window=4)
        assert len(text) == 2
        assert text.windows(torch.tensor([0, 3, 8])).tolist() == [
            [0, 1, 2, 3, 4],
            [3, 4, 5, 6, 7],
            [4, 5, 6, 7, 8],
        ]
