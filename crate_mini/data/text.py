"""Text as numbers: one set of characters, two parts of one text, and windows to learn from.

A text is found in three ways: a file of the reader's; tiny Shakespeare, ``tiny-shakespeare/input.txt`` in the folder of
the data sets (1,115,394 characters of the plays, in the public domain; karpathy/char-rnn); or, where that is not, the
small text that the package makes up itself (:mod:`crate_mini.data.embedded_text`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from crate_mini.data.embedded_text import embedded_text
from crate_mini.data.request import data_root
from crate_mini.errors import DataError

SHAKESPEARE = "tiny-shakespeare"
EMBEDDED = "embedded"
TRAINED = 0.9
"""The share of a text that is learned from, from its beginning; what follows is held out."""


@dataclass(frozen=True, eq=False)
class Text:
    """Characters as numbers, cut into windows.

    Attributes:
        numbers: ``(n,)`` int64, indices into ``alphabet``.
        alphabet: the characters, each once.
        window: how many characters are learned from at once; the length of the set is how many windows there are.
        name: what was opened, for captions and result files.
        tier: ``"embedded"`` or ``"local"``.
    """

    numbers: Int[Tensor, " n"]
    alphabet: str
    window: int = 64
    name: str = "unnamed"
    tier: str = "local"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.numbers) <= self.window:
            raise ValueError(
                f"{self.name!r} has {len(self.numbers)} characters, but a window is {self.window} and the one that "
                "comes next; take a longer text or a shorter window"
            )

    def __len__(self) -> int:
        return (len(self.numbers) - 1) // self.window

    def windows(self, starts: Int[Tensor, " b"]) -> Int[Tensor, "b w"]:
        """Windows that begin at ``starts``, each with the character that comes next; none reaches over the end."""
        starts = starts.clamp(max=len(self.numbers) - 1 - self.window)
        return self.numbers[starts[:, None] + torch.arange(self.window + 1, device=starts.device)]

    def __str__(self) -> str:
        return "".join(self.alphabet[i] for i in self.numbers.tolist())


def read_text(
    source: str | os.PathLike | None = None, root: str | os.PathLike | None = None
) -> tuple[str, str, str]:
    """A text, its name and its tier.

    Args:
        source: a file in UTF-8; ``"tiny-shakespeare"``; ``"embedded"``; or None for the former of the two that is
            here.
        root: the folder of the data sets, or, without a source, the file itself; ``CRATE_MINI_DATA`` if None.

    Raises:
        DataError: no such file, one that is not UTF-8, or tiny Shakespeare was asked for and is not here.
    """
    if source is None and root is not None and not Path(root).is_dir():
        source = root
    shakespeare = data_root(root) / SHAKESPEARE / "input.txt"
    if source is None:
        source = SHAKESPEARE if shakespeare.is_file() else EMBEDDED
    source = os.fspath(source)
    if source == EMBEDDED:
        return embedded_text(), EMBEDDED, "embedded"
    path = shakespeare if source == SHAKESPEARE else Path(source)
    if not path.is_file():
        raise DataError(
            f"no text at {path}; give a file in UTF-8, {SHAKESPEARE} (in the folder of the data sets), or {EMBEDDED}"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}); save it as such"
        ) from error
    return text, SHAKESPEARE if source == SHAKESPEARE else path.stem, "local"


def encode(text: str, alphabet: str) -> tuple[Int[Tensor, " n"], str]:
    """Numbers of the characters that are in the alphabet, and which others there were, each once."""
    number = {c: i for i, c in enumerate(alphabet)}
    known = [number[c] for c in text if c in number]
    return torch.tensor(known, dtype=torch.long), "".join(sorted(set(text) - set(alphabet)))


def open_text(
    source: str | os.PathLike | None = None,
    *,
    window: int = 64,
    root: str | os.PathLike | None = None,
    n: int | None = None,
) -> tuple[Text, Text]:
    """The part of a text to learn from, and the part that is held out.

    Args:
        source: as for :func:`read_text`.
        window: how many characters are learned from at once.
        root: the folder of the data sets.
        n: the first characters only; all if None.

    Raises:
        DataError: as :func:`read_text`.
        ValueError: a text that is shorter than a window in one of its parts.
    """
    text, name, tier = read_text(source, root)
    text = text[:n]
    alphabet = "".join(sorted(set(text)))
    numbers, _ = encode(text, alphabet)
    cut = int(TRAINED * len(numbers))
    about = {"alphabet": alphabet, "window": window, "tier": tier}
    return Text(numbers[:cut], name=f"{name}/train", **about), Text(
        numbers[cut:], name=f"{name}/val", **about
    )
