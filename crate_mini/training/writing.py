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
    """A set without end, of which so many are looked at in an epoch: different symbols, then the same ones again.

    How many symbols come before they repeat is drawn for every sequence. With one period for all, the place alone would
    say where to look, and no symbol need be compared with another.

    Attributes:
        count: sequences in an epoch.
        symbols: how many different ones there are.
        shortest, longest: the fewest and the most symbols before the repetition.
        length: of a sequence.
        name: for result files.
    """

    count: int
    symbols: int = 64
    shortest: int = 8
    longest: int = 24
    length: int = 48
    name: str = "repetitions"

    def __len__(self) -> int:
        return self.count

    def draw(self, uniform: Float[Tensor, "b m"]) -> tuple[Int[Tensor, "b n"], Int[Tensor, "b 1"]]:
        """Sequences and their periods, from ``symbols + 1`` uniform numbers in [0, 1) for each."""
        period = self.shortest + (uniform[:, :1] * (self.longest - self.shortest + 1)).long()
        return uniform[:, 1:].argsort(1).gather(1, torch.arange(self.length) % period), period


class Repetition(Task):
    """What comes next where symbols repeat: it can be known, by whoever looks for the same symbol before.

    The loss is of the symbols that can be known: all of the repetition but its first. ``new`` is the loss of those that
    cannot, which is a control: none can get below the mean logarithm of how many symbols are left.

    Args:
        recipe: how long, and how fast.
    """

    metrics = ("loss", "top1", "new")

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()

    def fingerprint(self, data: Repetitions) -> dict[str, Any]:
        """All that it is."""
        return vars(data)

    def feed(self, data: Repetitions, device: torch.device) -> _Numbers:
        """Nothing but numbers: every sequence is drawn."""
        return _Numbers(data, device)

    def draw(
        self, batch: tuple[Tensor, Repetitions], draws: Draws
    ) -> tuple[Int[Tensor, "b n"], Int[Tensor, "b 1"]]:
        """Sequences and their periods."""
        numbers, data = batch
        return data.draw(draws.rand(len(numbers), data.symbols + 1))

    def loss(
        self, model: nn.Module, drawn: tuple[Int[Tensor, "b n"], Int[Tensor, "b 1"]]
    ) -> Float[Tensor, ""]:
        """Of what can be known."""
        losses, _, known = self._guesses(model, *drawn)
        return losses[known].mean()

    def _guesses(self, model: nn.Module, drawn: Tensor, period: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, whether the likeliest was right, and which can be known."""
        drawn, period = (t.to(next(model.parameters()).device) for t in (drawn, period))
        logits, right = model(drawn[:, :-1]).float(), drawn[:, 1:]
        known = torch.arange(1, drawn.shape[1], device=drawn.device) > period
        return F.cross_entropy(logits.mT, right, reduction="none"), logits.argmax(-1) == right, known

    def evaluate(self, model: nn.Module, feed: _Numbers) -> dict[str, float]:
        """Of as many sequences as the held-out set has, always the same."""
        draw = torch.Generator().manual_seed(16)
        drawn = feed.data.draw(torch.rand(len(feed.data), feed.data.symbols + 1, generator=draw))
        losses, hits, known = self._guesses(model, *drawn)
        return {
            "loss": losses[known].mean().item(),
            "top1": hits[known].float().mean().item(),
            "new": losses[~known].mean().item(),
        }
