"""The two-dimensional LASSO of chapter 04: its numbers are those of the package, and its picture answers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from crate_mini.sparsification import largest_step, lasso_objective, sparse_code, sparse_codes

DATA = {"y": [0.9, 1.4], "lam": 0.3, "step": 0.5, "angle": 60, "steps": 12}


def reference(*, y=DATA["y"], lam=0.3, step=0.5, angle=60, steps=12, proximal="relu") -> dict[str, object]:
    turn = math.radians(angle)
    D = torch.tensor([[1.0, math.cos(turn)], [0.0, math.sin(turn)]], dtype=torch.float64)
    Y = torch.tensor(y, dtype=torch.float64)
    eta = step * largest_step(D)
    path = sparse_codes(Y, D, lam, step=eta, start=Y, proximal=proximal)
    z = next(itertools.islice(path, steps, None))
    best = sparse_code(Y, D, lam, steps=3000, proximal=proximal)
    F, G = (lasso_objective(Y, D, code, lam, nonnegative=proximal == "relu").item() for code in (z, best))
    return {"η": eta, "objective reached": F, "least possible": G, "code": z.tolist()}


def check(tab, **settings) -> None:
    wanted = reference(**settings)
    assert tab.number("η") == pytest.approx(wanted["η"], abs=6e-4)
    for label in ("objective reached", "least possible"):
        assert tab.number(label) == pytest.approx(wanted[label], abs=6e-5)
    shown = [float(v) for v in tab.readout("code").split(",")]
    assert shown == pytest.approx(wanted["code"], abs=6e-3)


@pytest.fixture
def tab(open_play):
    return open_play("sparsification", DATA)


def test_numbers_are_those_of_the_package(tab):
    check(tab)
    tab.slide("λ, price of code", 0.8)
    check(tab, lam=0.8)
    tab.slide("angle of the atoms", 130)
    check(tab, lam=0.8, angle=130)
    tab.slide("step η × ‖D‖²", 1.5).slide("number of steps", 3)
    check(tab, lam=0.8, angle=130, step=1.5, steps=3)
    tab.choose("threshold", "soft, any sign")
    check(tab, lam=0.8, angle=130, step=1.5, steps=3, proximal="soft")


def test_every_control_changes_the_picture(tab):
    before = tab.pixels()
    for label, value in (
        ("λ, price of code", 0.7),
        ("step η × ‖D‖²", 1.9),
        ("angle of the atoms", 110),
        ("number of steps", 2),
    ):
        after = tab.slide(label, value).pixels()
        assert after != before, label
        before = after
    assert tab.choose("threshold", "soft, any sign").pixels() != before


def test_the_price_sets_the_zeros(tab):
    tab.slide("number of steps", 40).slide("step η × ‖D‖²", 1)
    for lam, zeros in ((0.0, 0), (0.05, 0), (0.8, 1)):
        tab.slide("λ, price of code", lam)
        assert tab.readout("code").split(", ").count("0.00") == zeros
    tab.slide("angle of the atoms", 90).slide("λ, price of code", 1)
    assert "exactly zero" in tab.note()


def test_what_a_long_step_does(tab):
    tab.slide("number of steps", 40).slide("λ, price of code", 0.05)
    tab.slide("step η × ‖D‖²", 3).slide("angle of the atoms", 120)
    assert "runs away" in tab.note()
    assert tab.number("objective reached") > 100
    tab.slide("angle of the atoms", 60)
    assert "the ReLU keeps it from running away" in tab.note()
    assert tab.number("objective reached") < 5
    tab.choose("threshold", "soft, any sign")
    assert "runs away" in tab.note()
    assert tab.readout("objective reached") == "beyond a million"
    tab.slide("step η × ‖D‖²", 1)
    assert "falls from step to step" in tab.note()


def test_the_token_can_be_moved_by_keyboard(tab):
    before = tab.readout("least possible")
    handle = tab.page.get_by_role("slider", name="the token y", exact=True)
    handle.focus()
    for _ in range(6):
        tab.page.keyboard.press("Shift+ArrowDown")
    tab.settle()
    assert tab.readout("least possible") != before
    assert "not a point of the problem" in tab.note()
