"""Source on a page: whole, or without the docstring, and always code that parses."""

from __future__ import annotations

import ast

import pytest

from crate_mini.compression import attend, mssa
from crate_mini.notebook import say, show_source, source
from crate_mini.operators import MSSA
from crate_mini.sparsification import ista_step


@pytest.mark.parametrize("thing", [mssa, MSSA, MSSA.forward, ista_step])
def test_body_only_takes_the_docstring_and_nothing_else(thing):
    whole, body = source(thing), source(thing, body_only=True)
    (a,), (b,) = ast.parse(whole).body, ast.parse(body).body
    assert ast.get_docstring(a) is not None
    a.body = a.body[1:]
    assert ast.dump(a) == ast.dump(b)


def test_without_a_docstring_nothing_is_taken():
    def plain(x):
        text = "not a docstring"
        return text * x

    assert source(plain, body_only=True) == source(plain)
    assert source(plain).startswith("def plain(x):\n    text")


def test_shown_one_below_the_other_with_the_file_above():
    shown = show_source(mssa, attend, ista_step, body_only=True)
    heads = [line for line in shown.data.split("\n") if line.startswith("#")]
    assert heads == ["# crate_mini/compression.py", "# crate_mini/sparsification.py"]
    assert shown.data.startswith("# crate_mini/compression.py\ndef mssa(")
    assert len(ast.parse(shown.data).body) == 3
    assert shown.language == "python"


# ---- texts with numbers ----------------------------------------------------------------------------------


def test_fields_are_filled_and_formulas_left_alone():
    text = r"""
    From {low:.2f} to {high:.1%}, {who}, {plain}: $\tfrac12 \sum_{i} \sqrt{low} \mathrm{high} x^{low} \frac{a}{low}$,
    {eq}`eq-01-rate`, {cite:p}`ma2007segmentation`, \begin{aligned}, {tiny:e}.
    """
    assert say(":::{dropdown} Of {who}", who="us").data == ":::{dropdown} Of us"
    said = say(text, low=-1.234, high=0.5, who="two of us", plain=1 / 3, tiny=2e-9).data
    assert said.startswith("From −1.23 to 50.0\N{NO-BREAK SPACE}%, two of us, 0.333: $")
    assert r"\sum_{i} \sqrt{low} \mathrm{high} x^{low} \frac{a}{low}$" in said
    assert said.endswith("{cite:p}`ma2007segmentation`, \\begin{aligned}, $2 \\times 10^{-9}$.")


def test_a_range_with_equal_ends_is_one_number():
    text = "It stood at {a:.2f} to\n{b:.2f} before, {n:,} to {n:,} pictures, {p:.0%} to {p:.0%}."
    assert (
        say(text, a=0.691, b=0.694, n=1500, p=0.5).data
        == "It stood at 0.69 before, 1,500 pictures, 50\N{NO-BREAK SPACE}%."
    )
    for text in ('width="50%"', "2 to 20 %", "12 to 2", "1 to 1.5", "−2 to 2", "from 3 to 3", "0.5 to 0.55"):
        assert say(text).data == text


@pytest.mark.parametrize("text", ["{hihg:.1f}", "it is {hihg}.", "{hihg} nats"])
def test_a_field_without_a_fact_is_named(text):
    with pytest.raises(KeyError, match=r"\{hihg\}, and the facts are high"):
        say(text, high=1.0)
