"""A small text that the package makes up: scenes of a play, by a grammar and a die. Nobody else wrote a line of it."""

from __future__ import annotations

import random

SPEAKERS = ("FOX", "OWL", "BEAR", "HERON", "First Mouse", "Second Mouse", "OLD TOAD", "THE MOON")
PLACES = (
    "the river",
    "the hill",
    "the old mill",
    "the garden",
    "the winter sea",
    "the open gate",
    "the hollow oak",
)
THINGS = (
    "lantern",
    "letter",
    "song",
    "shadow",
    "silver ring",
    "promise",
    "little boat",
    "bell",
    "dream",
    "stone",
)
KINDS = ("bright", "quiet", "broken", "gentle", "hidden", "heavy", "golden", "bitter", "patient", "foolish")
DEEDS = ("carry", "follow", "forget", "answer", "borrow", "bury", "mend", "remember", "count", "guard")
WHEN = (
    "before the morning",
    "after the rain",
    "when the bell is silent",
    "all the night",
    "till the snow is gone",
)
LINES = (
    "Good {speaker}, who shall {deed} the {thing}?",
    "I will {deed} the {kind} {thing} {when}.",
    "The {thing} is {kind}, and {place} is near.",
    "What is a {thing} to a {kind} heart?",
    "Come to {place}, and {deed} no {thing}!",
    "They say the {thing} of {speaker} is {kind};",
    "Yet none may {deed} it {when}.",
    "O {kind} {thing}! O {kind} {thing}!",
    "By {place} I saw a {kind} {thing},",
    "And there we'll {deed} the {thing} {when}.",
    "Speak, {speaker}: is the {thing} {kind} or {kind}?",
    "No, {speaker}. I must {deed} {place} {when}.",
)


def embedded_text(speeches: int = 2500, seed: int = 0) -> str:
    """Speeches one after the other, a speaker's name above each; some 200,000 characters.

    The names of speakers and the shape of a speech are those of tiny Shakespeare, so that what reads one reads the
    other; the sentences are a grammar's, and much easier to guess.
    """
    draw = random.Random(seed)

    def line() -> str:
        words = {"speaker": draw.choice(SPEAKERS), "thing": draw.choice(THINGS), "deed": draw.choice(DEEDS)}
        text = draw.choice(LINES).replace("{kind}", draw.choice(KINDS), 1)
        return text.format(
            **words, kind=draw.choice(KINDS), place=draw.choice(PLACES), when=draw.choice(WHEN)
        )

    def speech() -> str:
        return "\n".join([f"{draw.choice(SPEAKERS)}:", *(line() for _ in range(draw.randint(1, 3)))])

    return "\n\n".join(speech() for _ in range(speeches)) + "\n"
