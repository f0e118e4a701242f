"""Shapes and types are checked in the first calls of a function in a test, and no longer."""

import first_calls
import pytest
from jaxtyping import TypeCheckError

from crate_mini.progress import bar


def test_the_first_calls_are_checked_and_in_the_next_test_again():
    for _ in range(2):  # as in two tests
        first_calls.begin()
        for _ in range(first_calls.FIRST - 1):
            bar([])
        with pytest.raises(TypeCheckError, match="progress"):
            bar([], progress="yes")
        bar([])
        bar([], progress="yes")  # wrong as ever, and let be
