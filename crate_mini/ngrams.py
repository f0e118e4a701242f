r"""What a text says of the next character without a network: counts, and a file compressor.

Stands on the ground. These are what a language model has to pass.
"""

from __future__ import annotations

import bz2
import math

import numpy as np
from numpy.typing import NDArray


class NGrams:
    r"""Counts of what follows the last :math:`k` characters, interpolated (Witten and Bell 1991).

    .. math:: P_k(c \mid h) = \frac{n(h c) + t(h)\, P_{k-1}(c \mid h')}{n(h) + t(h)}

    with :math:`n` counts, :math:`t(h)` how many different characters have followed :math:`h`, :math:`h'` the context
    without its oldest character, and :math:`P_{-1}` uniform. A context that was never seen leaves it to the shorter.

    Args:
        numbers: the text to count in.
        characters: how many different ones there are.
        order: ``n`` of the n-gram: a context of ``order - 1`` characters.

    Raises:
        ValueError: an order below 1, or so large that contexts have no number of 63 bits.
    """

    def __init__(self, numbers: NDArray[np.int64], characters: int, order: int) -> None:
        if order < 1 or order * math.log2(characters) >= 63:
            raise ValueError(f"order must lie between 1 and {int(63 / math.log2(characters))}, got {order}")
        self.characters, self.order = characters, order
        numbers = np.asarray(numbers, dtype=np.int64)
        self.tables = []
        for k in range(order):
            pairs, counts = np.unique(self._grams(numbers, k + 1), return_counts=True)
            contexts, first = np.unique(pairs // characters, return_index=True)
            self.tables.append(
                (
                    pairs,
                    counts,
                    contexts,
                    np.add.reduceat(counts, first),
                    np.diff(np.append(first, len(pairs))),
                )
            )

    def _grams(self, numbers: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Every run of ``length`` characters as one number, the newest digit last."""
        found = np.zeros(len(numbers) - length + 1, dtype=np.int64)
        for i in range(length):
            found = found * self.characters + numbers[i : len(numbers) - length + 1 + i]
        return found

    def losses(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of every character how surprising it is, given those before it: ``-log P``, in nats."""
        numbers = np.asarray(numbers, dtype=np.int64)
        P = np.full(len(numbers), 1 / self.characters)
        for k, (pairs, counts, contexts, total, kinds) in enumerate(self.tables):
            grams = self._grams(numbers, k + 1)
            n_hc = _looked_up(grams, pairs, counts)
            n_h, t_h = (_looked_up(grams // self.characters, contexts, of) for of in (total, kinds))
            longer = P[k:]
            P[k:] = np.where(n_h > 0, (n_hc + t_h * longer) / np.maximum(n_h + t_h, 1), longer)
        return -np.log(P)


def _looked_up(keys: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of each key, 0 where it is not known; ``known`` is sorted."""
    at = np.searchsorted(known, keys).clip(max=len(known) - 1)
    return np.where(known[at] == keys, values[at], 0)


def compressed(text: str, known: str) -> float:
    """What ``bz2`` needs for a text when it has been given another before it: nats a character."""
    before, both = (len(bz2.compress(t.encode(), 9)) for t in (known, known + text))
    return (both - before) * 8 * math.log(2) / len(text)
