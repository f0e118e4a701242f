"""Shapes and types of arguments, checked in the first calls of every function in every test.

To check a call costs more than most calls: all of them are a third of the time of the unit tests. What is wrong with a
shape is wrong the first times. ``pyproject.toml`` names :func:`checked` as the checker that jaxtyping uses.
"""

from __future__ import annotations

import functools
import sys
import typing
from collections import Counter
from collections.abc import Callable

from beartype import beartype

FIRST = 4
"""Calls of a function that are checked, in each test."""

_seen: Counter[tuple[str, str]] = Counter()
_done: list[Callable] = []


def begin() -> None:
    """A test begins: all functions are checked again."""
    _seen.clear()
    while _done:
        del _done.pop().__no_type_check__


def checked(function: Callable) -> Callable:
    """What jaxtyping asks: of every call once for its arguments, and once with what it returned.

    A function inside another is made anew, and asked for anew, with every call of that one.
    """
    name = function.__module__, function.__qualname__
    inside = "<locals>" in function.__qualname__
    if inside and _seen[name] >= 2 * FIRST:
        return function
    strict = beartype(function)

    @functools.wraps(function)
    def counting(*args: object, **kwargs: object) -> object:
        _seen[name] += 1
        if _seen[name] == 2 * FIRST and not inside:
            _let_be(*name)
        return strict(*args, **kwargs)

    return counting


def _let_be(module: str, name: str) -> None:
    """Let jaxtyping pass this function by until the next test."""
    place = sys.modules.get(module)
    for part in name.split("."):
        place = vars(place).get(part) if hasattr(place, "__dict__") else None
    place = getattr(place, "__func__", getattr(place, "fget", place))  # of a static method, of a property
    if callable(place) and not isinstance(place, type) and not hasattr(place, "__no_type_check__"):
        typing.no_type_check(place)
        _done.append(place)
