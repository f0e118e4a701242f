r"""Reading a language model: who looks at whom, what its units stand for, and what it writes when one is held fast.

What stands for nothing is scored by the same rule: networks before training, and the same activations in rotated axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from crate_mini.language import LanguageModel
from crate_mini.stats import auroc

# ---- who looks at whom ----------------------------------------------------------------------------------------------


@torch.no_grad()
def looks(model: LanguageModel, numbers: Int[Tensor, "b n"]) -> list[Float[Tensor, "b K n n"]]:
    """Attention of every layer: of each token (row) to each (column), 0 for those that come later.

    Raises:
        CannotAnswer: an attention in which no token looks at another.
    """
    tokens, n = model.embedding(numbers).values, numbers.shape[-1]
    mask, found = model.mask[:n, :n], []
    for block in model.encoder.blocks:
        projected = block.attention.project(block.norm1(tokens))
        scores = block.attention.scores(projected, slice(None)).masked_fill(~mask, -torch.inf)
        found.append(scores.softmax(-1))
        tokens = block(tokens, mask)
    return found


@torch.no_grad()
def lengths(model: LanguageModel, numbers: Int[Tensor, "b n"]) -> list[Float[Tensor, "b K n"]]:
    """Lengths of the keys of every layer and head."""
    tokens, n = model.embedding(numbers).values, numbers.shape[-1]
    found = []
    for block in model.encoder.blocks:
        projected = block.attention.project(block.norm1(tokens))
        found.append(block.attention.queries_keys(projected)[1].norm(dim=-1))
        tokens = block(tokens, model.mask[:n, :n])
    return found


def looking_back(attention: list[Float[Tensor, "b K n n"]]) -> dict[str, list[list[float]]]:
    """Of every layer and head, means over all tokens but the first: the attention to the token before, to the token
    itself, and the share of tokens that attend to the one before more than to themselves.
    """  # fmt: skip
    found: dict[str, list[list[float]]] = {"before": [], "itself": [], "more": []}
    for A in attention:
        before, itself = A.diagonal(-1, -2, -1), A.diagonal(0, -2, -1)[..., 1:]
        for name, values in (("before", before), ("itself", itself), ("more", (before > itself).float())):
            found[name].append(values.mean((0, 2)).tolist())
    return found


# ---- units ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def units(model: LanguageModel, numbers: Int[Tensor, "b n"]) -> list[Float[Tensor, "b n m"]]:
    """What the units of every layer's feed do at each token: CRATE's codes, a GPT's GELUs.

    Raises:
        CannotAnswer: a feed without units.
    """
    found: list[Tensor] = []
    hooks = [
        b.feed.neurons.register_forward_hook(lambda _, __, out: found.append(out.clone()))
        for b in model.encoder.blocks
    ]
    try:
        model(numbers)
    finally:
        for hook in hooks:
            hook.remove()
    return found


VOWELS = "aeiouAEIOU"


def _in_name(text: str) -> list[bool]:
    """Whether each character is in a line that names a speaker: it begins after an empty line and ends in a colon."""
    found, before = [], ""
    for line in text.splitlines(keepends=True):
        name = before.strip() == "" and line.rstrip("\n").endswith(":")
        found += [name] * len(line)
        before = line
    return found


def _runs(text: str, goes_on: Callable[[str], bool]) -> list[int]:
    """How many characters in a row, up to each, go on."""
    found, run = [], 0
    for c in text:
        run = run + 1 if goes_on(c) else 0
        found.append(run)
    return found


def predicates(text: str) -> dict[str, Bool[Tensor, " n"]]:
    """What can be said of each character of a text from it and those before it."""
    word = _runs(text, str.isalpha)
    line = _runs(text, lambda c: c != "\n")
    before = " " + text[:-1]
    found = {
        "a vowel": [c in VOWELS for c in text],
        "a consonant": [c.isalpha() and c not in VOWELS for c in text],
        "a space": [c == " " for c in text],
        "a new line": [c == "\n" for c in text],
        "a capital": [c.isupper() for c in text],
        "a full stop, ! or ?": [c in ".!?" for c in text],
        "a comma, ; or :": [c in ",;:" for c in text],
        "an e": [c == "e" for c in text],
        "a t": [c == "t" for c in text],
        "an s": [c == "s" for c in text],
        "first of a word": [w == 1 for w in word],
        "second of a word": [w == 2 for w in word],
        "third of a word": [w == 3 for w in word],
        "sixth or later of a word": [w > 5 for w in word],
        "first of a line": [n == 1 for n in line],
        "thirtieth or later of a line": [n >= 30 for n in line],
        "in a speaker's name": _in_name(text),
        "after a vowel": [c in VOWELS for c in before],
        "after a space": [c == " " for c in before],
        "after t": [c in "tT" for c in before],
        "after th": [text[max(0, i - 2) : i].lower() == "th" for i in range(len(text))],
        "after a comma": [text[max(0, i - 2) : i] == ", " for i in range(len(text))],
        "twice the same": [a == b and a.isalpha() for a, b in zip(before, text, strict=True)],
    }
    return {name: torch.tensor(values) for name, values in found.items()}


def unit_scores(
    activations: Float[Tensor, "n m"], said: Mapping[str, Bool[Tensor, " n"]]
) -> dict[str, Tensor | list[str]]:
    """How well each unit tells one thing, found on one half and scored on the other.

    On the first half of the characters the predicate, and the direction, with the highest AUROC is taken; that AUROC on
    the second half is the unit's score. A unit that never changes on the first half is dead, and scores one half.

    Args:
        activations: of each unit at each character.
        said: predicates of each character.

    Returns:
        ``score``, ``(m,)``; ``predicate``, a name for each; ``up``, whether the unit is high where it holds; ``dead``.
    """
    half = len(activations) // 2
    holds = torch.stack([*said.values()]).to(activations.dtype)
    scores = []
    for part in (slice(None, half), slice(half, None)):
        yes = holds[:, None, part]
        scores.append(auroc(activations[part].mT[None], yes, 1 - yes))
    first, second = scores
    if bool(torch.isnan(first).any() | torch.isnan(second).any()):
        raise ValueError("a predicate that never holds, or always, in a half of the text cannot be scored")
    best = (first - 0.5).abs().argmax(0)
    units = torch.arange(first.shape[1])
    up = first[best, units] > 0.5
    score = second[best, units]
    return {
        "score": torch.where(up, score, 1 - score),
        "predicate": [list(said)[i] for i in best.tolist()],
        "up": up,
        "dead": (activations[:half] == activations[:1]).all(0),
    }


def rotated(activations: Float[Tensor, "n m"], seed: int) -> Float[Tensor, "n m"]:
    """The same activations in other axes, drawn at random: what is lost is what lay along the axes."""
    draw = torch.randn(
        activations.shape[1], activations.shape[1], generator=torch.Generator().manual_seed(seed)
    )
    return activations @ torch.linalg.qr(draw)[0]
