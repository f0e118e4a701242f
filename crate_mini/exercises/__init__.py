"""Checkers of the book's exercises: they test the reader's own function and say what is wrong with it.

One module a chapter, one function an exercise. In a notebook::

    from crate_mini.exercises.chapter_01 import check_other_gram

    def other_gram(Z, eps_sq):
        ...

    check_other_gram(other_gram)

prints that the answer is right, or raises :class:`NotYet` with one readable message. Every checker is itself
tested, against the solution that the notebook holds and against wrong answers.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


class NotYet(Exception):
    """An answer that is not right yet; its text says why. A notebook shows the text, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in place of a traceback."""
        return [f"Not yet: {self}"]


def checker(body: Callable[[Callable], str | None]) -> Callable[[Any], None]:
    """Make a function that examines an answer into a checker.

    ``body`` takes the reader's function, calls :func:`expect` and :func:`expect_close`, and may return a closing
    sentence. Randomness inside is seeded and leaves the reader's own stream alone. Whatever the reader's function
    raises becomes a :class:`NotYet` that names the error and the line.
    """

    @functools.wraps(body)
    def check(answer: Any) -> None:
        if not callable(answer):
            raise NotYet(f"hand over the function itself, without calling it: {body.__name__}(your_function)")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                said = body(_guarded(answer))
            except NotYet as wrong:
                raise wrong from None
        print(said or "Right.")

    check.is_checker = True
    return check


def expect(condition: bool | Tensor, message: str) -> None:
    """Raise :class:`NotYet` with the message unless the condition holds."""
    if not bool(condition):
        raise NotYet(message)


def expect_close(
    got: Any, expected: Any, what: str, *, hint: str = "", rtol: float = 1e-6, atol: float = 1e-8
) -> None:
    """Raise :class:`NotYet` unless ``got`` has the shape and, within tolerance, the values of ``expected``.

    Args:
        got: the reader's result: a number, an array or a tensor.
        expected: what it should be.
        what: for what input, such as "for 5 tokens in 3 dimensions".
        hint: where to look, added to the message if the values differ.
        rtol: relative tolerance, of the largest expected entry.
        atol: absolute tolerance.
    """
    try:
        value = torch.as_tensor(
            np.asarray(got.detach().cpu() if isinstance(got, Tensor) else got, dtype=float)
        )
    except (TypeError, ValueError):
        raise NotYet(f"{what}: expected numbers, got {type(got).__name__}") from None
    wanted = torch.as_tensor(expected).detach().double().cpu()
    if value.shape != wanted.shape:
        raise NotYet(f"{what}: expected shape {tuple(wanted.shape)}, got {tuple(value.shape)}")
    error = (value - wanted).abs()
    bound = atol + rtol * (wanted.abs().max().item() if wanted.numel() else 0)
    if not bool((error <= bound).all()):
        if wanted.numel() == 1:
            told = f"expected {wanted.item():.6g}, got {value.item():.6g}"
        else:
            worst = int(torch.nan_to_num(error, nan=torch.inf).argmax())
            told = (
                f"off by up to {error.flatten()[worst]:.3g}, where {wanted.flatten()[worst]:.4g} was expected"
            )
        raise NotYet(f"{what}: {told}" + (f". {hint[0].upper()}{hint[1:]}" if hint else ""))


def name_the_mistake(got: Any, *suspects: tuple[Tensor | float, str]) -> None:
    """Raise :class:`NotYet` with the message of the first ``(wrong value, message)`` that the answer equals."""
    got = torch.as_tensor(got)
    for wrong, name in suspects:
        wrong = torch.as_tensor(wrong, dtype=torch.float64)
        if got.shape == wrong.shape and torch.allclose(got.double(), wrong, rtol=1e-6, atol=1e-9):
            raise NotYet(name)


def _guarded(answer: Callable) -> Callable:
    """The reader's function, with its errors told in the words of an exercise."""

    @functools.wraps(answer)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = answer(*args, **kwargs)
        except NotYet:
            raise
        except Exception as error:
            line = traceback.extract_tb(sys.exc_info()[2])[-1]
            where = f" (line {line.lineno}: {line.line})" if line.line else ""
            raise NotYet(f"your function raised {type(error).__name__}: {error}{where}") from None
        if result is None or result is ...:
            raise NotYet("your function returned nothing: fill it in, and return the result")
        return result

    return call
