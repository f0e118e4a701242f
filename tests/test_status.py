"""The status page says what is there: every weight by its card, every file of results by where it comes from."""

from __future__ import annotations

import json
from pathlib import Path

import sphinx_status

from crate_mini import weights

ROOT = Path(__file__).resolve().parent.parent


def test_a_row_for_each_of_the_weights():
    head, *rows = sphinx_status.weights_rows(weights.list_pretrained())
    assert [row[0] for row in rows] == list(weights.list_pretrained())
    assert {len(row) for row in rows} == {len(head)}
    for name, millions, trained_on, _, commit in rows:
        card = weights.list_pretrained()[name]
        assert float(millions) == round(card["parameters"] / 1e6, 2)
        assert card["data"]["train"].startswith(trained_on)
        assert commit == card["commit"]


def test_a_row_for_each_file_of_results():
    folders = [path for path in (ROOT / "results").iterdir() if path.is_dir()]
    for folder in folders:
        rows = {row[0]: row for row in sphinx_status.results_rows(folder)}
        assert set(rows) == {p.relative_to(folder).as_posix() for p in folder.rglob("*.*")}
    rows = {row[0]: row for row in sphinx_status.results_rows(ROOT / "results" / "masks")}
    facts = json.loads(
        (ROOT / "results" / "masks" / "crate_mini_animals_s0.json").read_text(encoding="utf-8")
    )
    expected = tuple(facts[key] for key in ("command", "commit", "date", "device"))
    assert rows["crate_mini_animals_s0.json"][1:] == expected


def test_what_has_no_command_of_its_own_says_so(tmp_path):
    (tmp_path / "many.json").write_text('{"runs": []}')
    (tmp_path / "a.csv").write_text("step,loss\n")
    assert [row[1] for row in sphinx_status.results_rows(tmp_path)] == [
        "log of a training; its card says it",
        "each entry says it",
    ]


def test_tests_are_counted(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "test_a.py").write_text("def test_one(): pass\nclass TestB:\n    def test_two(self): pass\n")
    (tmp_path / "sub" / "test_b.py").write_text("def helper(): pass\ndef test_three(): pass\n")
    (tmp_path / "conftest.py").write_text("def test_not(): pass\n")
    assert list(sphinx_status.tests_by_file(tmp_path).values()) == [1, 2]
    assert sphinx_status.tests_by_file(Path(__file__).parent)[Path(__file__).resolve()] == 5


def test_a_row_for_each_page_that_was_measured():
    costs = {"kB": 4990, "shift_wide": 0.034, "shift_narrow": 0.0}
    found = {"book/intro": costs | {"first_picture": 7.5}, "book/api": costs | {"first_picture": None}}
    head, *rows = sphinx_status.cost_rows(found)
    assert [row[0] for row in rows] == list(found)
    assert {len(row) for row in rows} == {len(head)}
    assert rows[0] == ("book/intro", "4,990", "0.034", "0.000", "7.5")
    assert rows[1][-1] == "–"
