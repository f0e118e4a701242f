"""The one table of scores: it is what the results give, and the headlines follow from it."""

from __future__ import annotations

import csv
import io
import json
from statistics import mean

import pytest
import score_table

from crate_mini.recipes import get_sweep
from crate_mini.results import read, read_result

FOLDERS = {"family": "_all_lion_", "flagship": "flagship_"}
"""Where comparisons stand, and what the names of their networks have in common."""


@pytest.fixture(scope="module")
def rows():
    return list(csv.DictReader(io.StringIO(read_result("scores.csv"))))


def test_the_table_is_what_the_results_give():
    assert read_result("scores.csv") == score_table.table(), "run: python tools/score_table.py"


def test_one_row_for_each_network_set_and_rule(rows):
    keys = [(r["network"], r["set"], r["rule"], r["map"].partition(", chosen")[0]) for r in rows]
    assert len(set(keys)) == len(keys)
    trained = {r["network"] for r in rows if "untrained" not in r["kind"]}
    narrow = {f"{n}_all_lion_s{s}" for n in ("crate_mini", "vit_mini_6") for s in range(3)}
    assert narrow <= trained <= narrow | set(get_sweep("flagship"))
    for network in trained:
        assert {r["set"] for r in rows if r["network"] == network} == {
            "VOC 2012 val",
            "COCO val2017",
            "cats and dogs",
            "horses",
        }


def test_a_score_lies_in_its_interval(rows):
    for row in rows:
        low, score, high = (float(row[k]) for k in ("low", "score", "high"))
        assert low <= score <= high, row


@pytest.mark.parametrize("folder", FOLDERS)
def test_comparisons_follow_from_the_table(rows, folder):
    """CRATE minus ViT, the mean over trainings, from the rows alone: what the book's front page and 9b say."""
    compared = {c["score"]: c for c in read(f"{folder}/comparisons")["comparisons"]}
    named = score_table.ONCE | score_table.AT_WIDTH
    assert set(compared) < set(named)
    of = [r for r in rows if FOLDERS[folder] in r["network"]]
    told = {score: line for score, line in compared.items() if "waits" not in line}
    assert told or folder != "family"
    for score, line in told.items():
        where, rule, map_ = named[score]
        means = [
            mean(float(r["score"]) for r in of if (r["kind"], r["set"], r["rule"], r["map"]) == key)
            for key in ((kind, where, rule, map_) for kind in ("CRATE", "ViT"))
        ]
        assert means[0] - means[1] == pytest.approx(line["over_trainings"][0], abs=2e-4), score


def test_the_lists_and_the_table_name_the_same_scores():
    asked = {folder: set(json.loads(read_result(f"{folder}/plan.json"))["scores"]) for folder in FOLDERS}
    assert asked["family"] == set(score_table.ONCE)
    assert asked["flagship"] == set(score_table.ONCE | score_table.AT_WIDTH)
