"""Learning to write: what comes next in a text, and what comes next where the text repeats itself."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from crate_mini.data.text import Text
from crate_mini.language import text_losses
from crate_mini.training.recipe import Recipe
from crate_mini.training.rng import Draws
from crate_mini.training.tasks import Task


class _Numbers:
    """Batches of a set of which a step needs to know no more than numbers of items."""

    def __init__(self, data: Any, device: torch.device) -> None:
        self.data, self.device = data, device

    def __enter__(self) -> _Numbers:
        return self

    def __exit__(self, *error: object) -> None:
        """There is nothing to end."""

    def batches(self, order: Iterable[Tensor]) -> Iterator[tuple[Tensor, Any]]:
        """Numbers of items, and the set that they are of."""
        for numbers in order:
            yield numbers, self.data


class NextToken(Task):
    r"""The character that comes next, in nats.

    .. math:: -\frac1n \sum_{i=1}^{n} \log P(c_{i+1} \mid c_1 \dots c_i)

    over the characters of a window, which begins at random within its place in the text. What is measured is
    :func:`~crate_mini.language.text_losses` of the held-out part, where every character has half a window before it.
    Of the recipe only what is said of steps counts: no label is smoothed, and a text has no crops.

    Args:
        recipe: how long, and how fast.
        length: how many characters a window has.

    Raises:
        ValueError: a length below 2, or a recipe with ``compile``.
    """

    def __init__(self, recipe: Recipe, *, length: int = 64) -> None:
        super().__init__()
        if isinstance(length, bool) or not isinstance(length, int) or length < 2:
            raise ValueError(f"length must be a whole number, 2 or more; got {length!r}")
        self.length = length

    def settings(self) -> dict[str, Any]:
        """The length of a window."""
        return {"length": self.length}

    def fingerprint(self, data: Text) -> dict[str, Any]:
        """Its name, its characters, and their order."""
        numbers = zlib.crc32(data.numbers.numpy().tobytes())
        return {
            "name": data.name,
            "shape": [len(data.numbers)],
            "alphabet": data.alphabet,
            "numbers_crc32": numbers,
        }

    def setup(self, model: nn.Module, train_set: Text, val_set: Text) -> None:
        """Refuse texts with other characters, and windows that the model cannot look at."""
        for data in (train_set, val_set):
            if getattr(data, "alphabet", None) != model.config.alphabet:
                raise ValueError(
                    f"{data.name!r} has the alphabet {getattr(data, 'alphabet', 'of no text')!r}, and the model "
                    f"{model.config.alphabet!r}; make both of one text"
                )
        if not train_set.window == self.length <= model.config.length:
            raise ValueError(
                f"windows of {train_set.window} characters, a task for {self.length}, and a model that looks at "
                f"{model.config.length}: give all the same length"
            )

    def feed(self, data: Text, device: torch.device) -> _Numbers:
        """Numbers of windows."""
        return _Numbers(data, device)

    def draw(self, batch: tuple[Tensor, Text], draws: Draws) -> Int[Tensor, "b w"]:
        """Windows, each with the character that comes next; where they begin is drawn anew."""
        numbers, data = batch
        offset = (draws.rand(len(numbers)) * self.length).long()
        return data.windows(numbers * self.length + offset)

    def loss(self, model: nn.Module, drawn: Int[Tensor, "b w"]) -> Float[Tensor, ""]:
        """Mean over all characters of all windows."""
        drawn = drawn.to(next(model.parameters()).device)
        return F.cross_entropy(model(drawn[:, :-1]).flatten(0, 1), drawn[:, 1:].flatten())

    def evaluate(self, model: nn.Module, feed: _Numbers) -> dict[str, float]:
        """Nats a character of the held-out part, each with half a window before it."""
        return {"loss": text_losses(model, feed.data.numbers).mean().item()}


@dataclass(frozen=True, eq=False)
class Repetitions:
    """A set without end, of which so many are looked at in an epoch: random symbols, then the same ones again.

    Attributes:
        count: sequences in an epoch.
        symbols: how many different ones there are.
        half: how many are drawn for each sequence.
        name: for result files.
    """

    count: int
    symbols: int = 64
    half: int = 24
    name: str = "repetitions"

    def __len__(self) -> int:
        return self.count

    def draw(self, uniform: Float[Tensor, "b half"]) -> Int[Tensor, "b twice"]:
        """Sequences, from uniform numbers in [0, 1)."""
        return (uniform * self.symbols).long().repeat(1, 2)


class Repetition(Task):
    """Symbols at random, then the same again: of the second half all but the first can be known, by whoever looks back.

    The loss is of these alone. Without a look at what came after the same symbol before, it is the logarithm of the
    number of symbols. A control is the set whose second half is drawn anew (``repeated=False``).

    Args:
        recipe: how long, and how fast.
        repeated: whether the second half is the first again.
    """

    metrics = ("loss", "top1")

    def __init__(self, recipe: Recipe, *, repeated: bool = True) -> None:
        super().__init__()
        self.repeated = repeated

    def settings(self) -> dict[str, Any]:
        """Whether there is anything to find."""
        return {"repeated": self.repeated}

    def fingerprint(self, data: Repetitions) -> dict[str, Any]:
        """How many, of what."""
        return {"name": data.name, "shape": [data.count, data.symbols, data.half]}

    def feed(self, data: Repetitions, device: torch.device) -> _Numbers:
        """Nothing but numbers: every sequence is drawn."""
        return _Numbers(data, device)

    def draw(self, batch: tuple[Tensor, Repetitions], draws: Draws) -> Int[Tensor, "b twice"]:
        """Sequences."""
        numbers, data = batch
        return self._sequences(data, draws.rand(len(numbers), 2, data.half))

    def _sequences(self, data: Repetitions, uniform: Float[Tensor, "b 2 half"]) -> Int[Tensor, "b twice"]:
        first, second = (data.draw(u) for u in uniform.unbind(1))
        return first if self.repeated else torch.cat([first[:, : data.half], second[:, : data.half]], 1)

    def loss(self, model: nn.Module, drawn: Int[Tensor, "b twice"]) -> Float[Tensor, ""]:
        """Of the second half, but for its first."""
        logits, right = self._guesses(model, drawn)
        return F.cross_entropy(logits.flatten(0, 1), right.flatten())

    def _guesses(self, model: nn.Module, drawn: Int[Tensor, "b twice"]) -> tuple[Tensor, Tensor]:
        drawn, half = drawn.to(next(model.parameters()).device), drawn.shape[1] // 2
        return model(drawn[:, :-1])[:, half:], drawn[:, half + 1 :]

    def evaluate(self, model: nn.Module, feed: _Numbers) -> dict[str, float]:
        """Loss and share of right guesses, of as many sequences as the held-out set has, always the same."""
        uniform = torch.rand(len(feed.data), 2, feed.data.half, generator=torch.Generator().manual_seed(16))
        logits, right = self._guesses(model, self._sequences(feed.data, uniform))
        loss = F.cross_entropy(logits.float().flatten(0, 1), right.flatten())
        return {"loss": loss.item(), "top1": (logits.argmax(-1) == right).float().mean().item()}
