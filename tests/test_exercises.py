"""Every exercise of the book: its checker accepts the solution in the notebook and refuses wrong answers.

The solutions are taken from the notebooks, the wrong answers from ``wrong_answers/chapter_NN.py``, where each
stands with the message that the reader should get.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import re
import runpy
from pathlib import Path

import nbformat
import notebook_form
import numpy as np
import pytest
import torch

import crate_mini.exercises
from crate_mini.exercises import NotYet, checker, expect, expect_close

HERE = Path(__file__).resolve().parent
CHAPTERS = sorted(path.stem for path in Path(crate_mini.exercises.__file__).parent.glob("chapter_*.py"))
LEAST = 4  # exercises a chapter


def checkers(chapter: str) -> dict:
    module = importlib.import_module(f"crate_mini.exercises.{chapter}")
    own = {name: thing for name, thing in vars(module).items() if name.startswith("check_")}
    return {name: thing for name, thing in own.items() if thing.__module__ == module.__name__}


def notebook(chapter: str) -> nbformat.NotebookNode:
    (path,) = notebook_form.NOTEBOOKS.glob(f"{chapter.removeprefix('chapter_')}_*.ipynb")
    return nbformat.read(path, as_version=4)


def tagged(chapter: str, tag: str) -> list[str]:
    return [cell.source for cell in notebook(chapter).cells if tag in cell.metadata.get("tags", ())]


def wrong(chapter: str) -> dict:
    return runpy.run_path(str(HERE / "wrong_answers" / f"{chapter}.py"))["WRONG"]


CASES = [(chapter, name) for chapter in CHAPTERS for name in checkers(chapter)]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_exercise_is_whole(chapter):
    """Task with difficulty, minutes and hint; a stub; a solution; a checker that is tested."""
    cells, names = notebook(chapter).cells, set(checkers(chapter))
    assert len(names) >= LEAST
    tasks = [cell.source for cell in cells if re.match(r"### Exercise \d+ · ", cell.source)]
    assert len(tasks) == len(names)
    for number, task in enumerate(tasks, 1):
        assert re.match(rf"### Exercise {number} · .+ \(★+, \d+ minutes\)\n", task), task.split("\n")[0]
        assert ":::{dropdown} Hint" in task, task.split("\n")[0]
    called = [re.findall(r"check_\w+", text)[-1] for text in tagged(chapter, "solution")]
    offered = [re.findall(r"^# (check_\w+)\(", text, re.M) for text in tagged(chapter, "exercise")]
    assert sorted(called) == sorted(names), "each checker is called by one cell tagged 'solution'"
    assert sorted(name for found in offered for name in found) == sorted(names)
    assert set(wrong(chapter)) == names
    assert all(thing.is_checker and thing.__doc__ for thing in checkers(chapter).values())


@pytest.mark.parametrize(("chapter", "name"), CASES)
def test_checker_accepts_the_solution(chapter, name, capsys):
    (solution,) = [text for text in tagged(chapter, "solution") if re.findall(r"check_\w+", text)[-1] == name]
    scope = {"torch": torch, "np": np, "math": importlib.import_module("math"), "F": torch.nn.functional}
    exec(compile(solution, name, "exec"), scope | checkers(chapter))
    assert capsys.readouterr().out.startswith("Right")


@pytest.mark.parametrize(("chapter", "name"), CASES)
def test_checker_refuses_wrong_answers_and_says_why(chapter, name):
    answers = wrong(chapter)[name]
    assert len(answers) >= 2
    check = checkers(chapter)[name]
    for answer, message in answers:
        with contextlib.redirect_stdout(io.StringIO()), pytest.raises(NotYet, match=message):
            check(answer)


@pytest.mark.parametrize(("chapter", "name"), CASES)
def test_checker_meets_a_stub_and_a_crash_with_words(chapter, name):
    check = checkers(chapter)[name]
    with pytest.raises(NotYet, match="returned nothing"):
        check(lambda *args, **kwargs: ...)

    def crash(*args, **kwargs):
        raise RuntimeError("out of ideas")

    with pytest.raises(NotYet, match="your function raised RuntimeError: out of ideas"):
        check(crash)


# ---- the machinery ---------------------------------------------------------------------------------------


@checker
def check_double(answer):
    """`answer(x)` is twice x."""
    for x in (1.0, torch.ones(2, 3)):
        expect_close(answer(x), 2 * x, f"for {x}", hint="twice, not squared")
    expect(answer(-1.0) < 0, "twice a negative number is negative")
    return "Right: doubled."


def test_right(capsys):
    check_double(lambda x: 2 * x)
    assert capsys.readouterr().out == "Right: doubled.\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x, r"^for 1.0: expected 2, got 1. Twice, not squared$"),
        (lambda x: 2 if isinstance(x, float) else x.sum(), r"expected shape \(2, 3\), got \(\)"),
        (
            lambda x: 2 if isinstance(x, float) else x + torch.eye(3)[:2],
            "off by up to 1, where 2 was expected",
        ),
        (lambda x: float("nan"), "expected 2, got nan"),
        (lambda x: "two", "expected numbers, got str"),
        (lambda x: abs(2 * x), "twice a negative number is negative"),
        (lambda x: None, "returned nothing"),
        (lambda: 2, "your function raised TypeError: .* positional argument"),
        (3, "hand over the function itself"),
    ],
)
def test_wrong(answer, message):
    with pytest.raises(NotYet, match=message) as caught:
        check_double(answer)
    assert caught.value._render_traceback_() == [f"Not yet: {caught.value}"]


def test_an_error_names_the_line():
    def broken(x):
        return x @ x

    with pytest.raises(NotYet, match=r"line \d+: return x @ x"):
        check_double(broken)


def test_randomness_is_seeded_and_the_readers_is_left_alone():
    seen = []

    @checker
    def check_seen(answer):
        """Notes a random number."""
        seen.append(torch.rand(1).item())
        answer()

    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = torch.rand(1)
    for _ in range(2):
        check_seen(lambda: 1)
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)
    assert seen[0] == seen[1]


def test_signature_and_docstring_survive():
    assert check_double.__doc__ == "`answer(x)` is twice x."
    assert list(inspect.signature(check_double).parameters) == ["answer"]
