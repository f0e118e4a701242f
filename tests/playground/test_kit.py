"""The kit: its linear algebra against PyTorch, its controls by keyboard and pointer, its plots in any width."""

from __future__ import annotations

import json

import pytest
import torch

import crate_mini.playground as playground
from crate_mini.playground import Playground, play, playground_names

SCRIPT = """
function play(kit, data) {
  const a = kit.slider({label: "a", min: 0, max: 10, step: 1, value: 3});
  const e = kit.slider({label: "eps", min: 0.001, max: 1, value: 0.1, log: true});
  const way = kit.choice({label: "way", options: [["x", "one"], ["y", "two"]], value: "y"});
  const many = kit.choice({label: "many", options: [..."abcdef"].map(c => [c, c.toUpperCase()])});
  const tick = kit.check({label: "tick"});
  const sum = kit.readout({label: "sum"}), place = kit.readout({label: "place"}), drawn = kit.readout({label: "drawn"});
  const note = kit.note();
  kit.button({label: "reset", press: () => a.set(3)});
  const plot = kit.plot({x: [0, 10], y: [0, 5], equal: true, xlabel: "across", ylabel: "up", alt: "a plot"});
  const second = kit.plot({x: [0.01, 100], y: [1, 1e4], xlog: true, ylog: true, title: "logarithmic"});
  const handle = plot.handle({at: [2, 2], label: "the point", move: (x, y) => [x, Math.min(y, 3)]});
  let times = 0;
  kit.draw(() => {
    sum.set(a.value + e.value);
    place.set(handle.at.map(v => v.toFixed(2)).join(" "));
    note.set(`${way.value} ${many.value} ${tick.value}`);
    drawn.set(String(++times));
    plot.dots([[a.value, 1]], {color: kit.colours.red});
    plot.line([[0, 0], [a.value, 5]], {label: "a line"});
    plot.circle([5, 2], 1);
    second.line([[0.01, 1], [100, 1e4]]);
    second.heat([[1, 2], [3, NaN]], {opacity: 0.5});
  });
  window.testkit = {kit, plot};
}
"""


@pytest.fixture
def tab(open_play):
    return open_play(Playground("kit_test", SCRIPT, {"n": 3}, "A <title>"))


def test_linear_algebra_is_that_of_pytorch(tab):
    torch.manual_seed(0)
    Z = torch.randn(7, 5, dtype=torch.float64)
    S = torch.eye(5, dtype=torch.float64) + Z.T @ Z
    result = tab.page.evaluate(
        """([Z, S]) => {
          const { matmul, transpose, gram, logdet, inverse, eigh, softmaxRows, add, identity } = testkit.kit.linalg;
          return {gram: gram(Z), logdet: logdet(S), inverse: inverse(S), eigh: eigh(S), softmax: softmaxRows(Z),
                  product: matmul(transpose(Z), Z), sum: add(S, identity(5), -2)};
        }""",
        [Z.tolist(), S.tolist()],
    )
    got = {k: torch.tensor(v, dtype=torch.float64) for k, v in result.items() if k != "eigh"}
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(got["gram"], Z.T @ Z, **close)
    torch.testing.assert_close(got["product"], Z.T @ Z, **close)
    torch.testing.assert_close(got["logdet"], torch.logdet(S), **close)
    torch.testing.assert_close(got["inverse"], torch.linalg.inv(S), **close)
    torch.testing.assert_close(got["softmax"], Z.softmax(-1), **close)
    torch.testing.assert_close(got["sum"], S - 2 * torch.eye(5, dtype=torch.float64), **close)
    values, vectors = (torch.tensor(result["eigh"][k], dtype=torch.float64) for k in ("values", "vectors"))
    torch.testing.assert_close(values, torch.linalg.eigvalsh(S), **close)
    torch.testing.assert_close(vectors @ values.diag() @ vectors.T, S, **close)


def test_auroc_counts_pairs_of_pixels_and_ties_by_half(tab):
    scores, objects, background = [3, 1, 2, 1], [4, 1, 0, 2], [0, 5, 3, 1]
    pairs = [
        (a > b) + (a == b) / 2
        for a, n in zip(scores, objects, strict=True)
        for b, m in zip(scores, background, strict=True)
        for _ in range(n * m)
    ]
    found = tab.page.evaluate("list => testkit.kit.auroc(...list)", [scores, objects, background])
    assert found == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


def test_random_numbers_are_normal_and_seeded(tab):
    first, second, other = tab.page.evaluate(
        "() => [1, 1, 2].map(seed => testkit.kit.random(seed).normals(20000))"
    )
    assert first == second != other
    drawn = torch.tensor(first)
    assert abs(drawn.mean()) < 0.03
    assert abs(drawn.std() - 1) < 0.03
    assert abs((drawn.abs() < 1).float().mean() - 0.6827) < 0.02


def test_controls_answer_to_keyboard_and_mouse(tab):
    assert (tab.readout("sum"), tab.note()) == ("3.1", "y a false")
    tab.page.get_by_role("slider", name="a", exact=True).press("ArrowRight")
    assert tab.settle().readout("sum") == "4.1"
    tab.slide("a", 7)
    tab.slide("eps", 0.5)
    assert tab.readout("sum") == "7.5"
    value = float(tab.page.get_by_role("slider", name="eps").input_value())
    assert value == pytest.approx(-0.693, abs=0.02)  # the slider runs in the logarithm
    tab.choose("way", "one").choose("many", "D").tick("tick")
    assert tab.note() == "x d true"
    tab.press("reset")
    assert tab.readout("sum") == "3.5"


def test_handle_moves_by_keys_and_by_pointer_within_its_limits(tab):
    assert tab.page.locator("svg[role=img] [role=slider]").count() == 0, "an image has no parts to be reached"
    point = tab.page.get_by_role("slider", name="the point")
    point.focus()
    tab.page.keyboard.press("ArrowRight")
    x, y = map(float, tab.settle().readout("place").split())
    assert x > 2
    assert y == 2
    for _ in range(3):
        tab.page.keyboard.press("Shift+ArrowUp")
        tab.settle()
    assert tab.readout("place").split()[1] == "3.00", "move() said no further"
    assert point.evaluate("dot => document.activeElement === dot"), "it keeps the focus while it is redrawn"

    box = point.bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] - 100, box["y"] + 40, steps=4)
    tab.page.mouse.up()
    moved = list(map(float, tab.settle().readout("place").split()))
    assert moved[0] < x - 0.5
    assert moved[1] < 3


def test_many_changes_make_one_drawing(tab):
    before = int(tab.readout("drawn"))
    tab.page.evaluate("() => { for (let i = 0; i < 50; i++) testkit.kit.redraw(); }")
    assert int(tab.settle().readout("drawn")) == before + 1


def test_one_unit_is_as_long_across_as_up(tab):
    dx, dy = tab.page.evaluate(
        "() => [testkit.plot.sx(1) - testkit.plot.sx(0), testkit.plot.sy(0) - testkit.plot.sy(1)]"
    )
    assert dx == pytest.approx(dy)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_narrow_pages_stack_the_plots_and_nothing_sticks_out(open_play, theme):
    tab = open_play(Playground("kit_test", SCRIPT, None, ""), width=360, theme=theme)
    first, second = (tab.page.locator("figure").nth(i).bounding_box() for i in (0, 1))
    assert second["y"] >= first["y"] + first["height"]
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    paper = tab.page.locator(".crate-play").evaluate("e => getComputedStyle(e).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 25, 31)"}[theme]
    before = tab.pixels()
    tab.slide("a", 9)
    assert tab.pixels() != before
    tab.page.set_viewport_size({"width": 900, "height": 900})
    tab.settle()
    assert tab.page.locator("svg").first.bounding_box()["width"] > 380, "redrawn for the new width"


def test_without_scripts_a_sentence_stands_in(browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(Playground("kit_test", SCRIPT, None, "")._repr_html_())
    assert "something to play with" in page.locator(".crate-play").inner_text()
    context.close()


def test_every_control_has_a_name(tab):
    unnamed = tab.page.evaluate(
        """() => [...document.querySelectorAll('input, select, button')].filter(e =>
          !e.getAttribute('aria-label') && !e.labels?.length && !e.textContent).length"""
    )
    assert unnamed == 0


# ---- the Python side -------------------------------------------------------------------------------------


def test_html_is_safe_and_tells_two_apart():
    first, second = (Playground("x", "", {"text": "</script><b>"}, "<b>") for _ in range(2))
    assert first.id != second.id
    assert "</script><b>" not in first._repr_html_()
    assert "&lt;b&gt;" in first._repr_html_()


def test_data_are_tensors_arrays_and_plain_values():
    shown = Playground(
        "x", "", {"t": torch.tensor([1.5, 2]), "n": torch.ones(2).numpy(), "k": [None, "a"]}, ""
    )
    assert json.loads(shown._json) == {"t": [1.5, 2], "n": [1, 1], "k": [None, "a"]}
    with pytest.raises(TypeError, match="made of JSON's types, tensors and arrays; got object"):
        Playground("x", "", {"o": object()}, "")
    with pytest.raises(ValueError, match="JSON compliant"):
        Playground("x", "", {"v": float("nan")}, "")


def test_names():
    assert "kit" not in playground_names()
    with pytest.raises(ValueError, match="no playground 'nothing'; there are"):
        play("nothing")
    for name in playground_names():
        assert "function play(" in playground._asset(f"{name}.js")
