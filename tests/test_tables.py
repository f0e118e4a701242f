"""Tables of a page: what stands where, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crate_mini.tables import PlusMinus, number, table

ROWS = [
    {"set": "cats | dogs", "R, nats": 1.234, "off, %": PlusMinus(3.21, 0.44), "n": 60},
    {"set": "horses", "R, nats": -12.0, "off, %": None, "n": 328},
]


def test_numbers_stand_on_the_right_and_words_on_the_left():
    text = table(ROWS, {"R, nats": ".2f", "off, %": ".1f", "n": "d"}).data
    assert text.split("\n") == [
        "| set | R, nats | off, % | n |",
        "| :--- | ---: | ---: | ---: |",
        "| cats \\| dogs | 1.23 | 3.2 <small>± 0.4</small> | 60 |",
        "| horses | −12.00 | – | 328 |",
    ]


def test_numbers_that_are_written_already_stand_on_the_right_too():
    text = table([{"a": "0.12", "b": "12 of 20"}, {"a": "−1,200", "b": "3"}]).data
    assert text.split("\n")[1] == "| ---: | :--- |"
    several = {"a": "2.18, 2.15", "b": "70 to 77", "c": "0.79 (−0.77 to 0.83)", "d": "", "e": "leg 0.78"}
    assert (
        table([several, dict.fromkeys(several, "1")]).data.split("\n")[1] == "| " + 4 * "---: | " + ":--- |"
    )
    kept_together = "0.79 (0.77 to 0.83)".replace(" ", "\N{NO-BREAK SPACE}")
    assert table([{"a": kept_together}]).data.split("\n")[1] == "| ---: |"


@pytest.mark.parametrize(
    ("rows", "formats", "message"),
    [
        ([], {}, "at least one row"),
        ([{"a": 1}, {"b": 1}], {}, r"heads \['a'\].* got \['b'\]"),
        ([{"a": 1, "b": 2}, {"b": 1, "a": 2}], {}, "in that order"),
        ([{"a": 1}], {"c": "d"}, r"formats for \['c'\], but the columns are \['a'\]"),
    ],
)
def test_what_is_no_table_is_refused(rows, formats, message):
    with pytest.raises(ValueError, match=message):
        table(rows, formats)


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (-0.5, ".1f", "−0.5"),
        (0.123, ".0%", "12%"),
        (1234567, ",", "1,234,567"),
        (torch.tensor(2.5), ".2f", "2.50"),
        (np.float32(0.25), ".3g", "0.25"),
        (3.2e-7, "e", "$3 \\times 10^{-7}$"),
        (0.0, "e", "0"),
        (-0.04, "+.1f", "0.0"),
        (-0.3, ".0f", "0"),
        (-10, "+d", "−10"),
    ],
)
def test_numbers_of_any_kind(value, form, text):
    assert number(value, form) == text
