"""Chapter 9b: every way in which the planned comparisons can end has its sentence, told from the numbers alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind
from sklearn.metrics import roc_auc_score

from crate_mini import results
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.chapters import chapter_09b as chapter
from crate_mini.chapters.chapter_09b import Line
from crate_mini.stats import welch_interval, welch_test
from crate_mini.weights import load_pretrained

KEYS = ("voc_paper", "voc_auroc", "coco_auroc", "coco_maskcut")
FAR, NEAR, BACK = (
    ([0.7, 0.71, 0.72], [0.5, 0.51, 0.5]),
    ([0.6, 0.7], [0.62, 0.66]),
    ([0.3, 0.31], [0.5, 0.52]),
)


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Writes ``results/family`` as ``tools/score_family.py`` does, of scores by comparison; the rest stays as it is."""
    folder = tmp_path / "results"
    (folder / "family").mkdir(parents=True)
    shutil.copy(results.folder() / "family" / "plan.json", folder / "family")
    monkeypatch.setattr(results, "folder", lambda: folder)

    def write(sides, differs=(False,) * 4):
        counts = [len(side) for side in sides[0]]
        seeds = {
            kind: [f"{kind}_s{i}" for i in range(n)] for kind, n in zip(chapter.KINDS, counts, strict=True)
        }
        seeds |= {f"{kind}, untrained": [f"{kind}_untrained_{i}" for i in (0, 1)] for kind in chapter.KINDS}
        for kind, names in seeds.items():
            for i, name in enumerate(names):
                scores = {}
                for key, both in zip(KEYS, sides, strict=True):
                    score = 0.2 if "untrained" in kind else both[chapter.KINDS.index(kind)][i]
                    scores[key] = {"images": 78, "score": [score, 0, 1], "centre": [0.55, 0.5, 0.6]}
                (folder / "family" / f"{name}.json").write_text(json.dumps({"scores": scores}))
        rows = []
        for key, (a, b), differ in zip(KEYS, sides, differs, strict=True):
            row = {"a": "CRATE", "b": "ViT", "score": key, "trainings": counts}
            if min(counts) < 2:
                rows.append(row | {"waits": "two trainings a side at least"})
                continue
            row |= {"over_trainings": list(welch_interval(a, b)), "p": welch_test(a, b), "differs": differ}
            both = {} if key == "coco_maskcut" else {"over_trainings_and_images": [0.1, -0.1, 0.3]}
            rows.append(row | both)
        kept = {"seeds": seeds, "comparisons": rows}
        (folder / "family" / "comparisons.json").write_text(json.dumps(kept))
        return chapter.planned()

    return write


def test_what_is_not_scored_is_said(family):
    lines = chapter.planned()
    assert [line.state for line in lines] == ["not scored"] * 4
    assert chapter.verdict(lines).startswith("**Not scored yet.** The four comparisons")
    assert {row["says, p"] for row in chapter.gap_rows(lines)} == {"not scored yet"}
    assert chapter.open_questions(lines).startswith("Nothing can be said yet of VOC by the paper's rule, VOC")


@pytest.mark.parametrize(
    ("sides", "differs", "said"),
    [
        ([NEAR] * 4, [0, 0, 0, 0], "**Not decided.** None of the four"),
        ([FAR] * 4, [1, 1, 1, 1], "**CRATE is ahead in four of four** comparisons"),
        ([FAR, NEAR, NEAR, NEAR], [1, 0, 0, 0], "by the paper's rule. Three do not separate them."),
        ([BACK] * 4, [0, 1, 1, 0], "**The ViT is ahead in two of four** comparisons"),
        ([FAR, NEAR, FAR, NEAR], [1, 0, 1, 0], "VOC by the paper's rule and COCO by AUROC. Two do not"),
    ],
)
def test_every_end_has_its_sentence(family, sides, differs, said):
    n = min(len(side) for pair in sides for side in pair)
    told = chapter.verdict(
        family([[side[:n] for side in pair] for pair in sides], [bool(d) for d in differs])
    )
    assert said in told


def test_who_is_ahead_where_both_are(family):
    lines = family([[s[:2] for s in side] for side in (FAR, BACK, NEAR, NEAR)], [True, True, False, False])
    told = chapter.verdict(lines)
    assert told.startswith("**Each is, somewhere.**")
    assert "CRATE is ahead in one (VOC by the paper's rule), the ViT in one (VOC by AUROC)" in told
    assert told.endswith("Two do not separate them.")
    says = [row["says, p"].split(",")[0] for row in chapter.gap_rows(lines)]
    assert says == ["CRATE is ahead", "the ViT is ahead", "open", "open"]
    assert "not decided on COCO by AUROC and COCO by MaskCut" in chapter.open_questions(lines)


def test_the_wide_networks_have_a_list_of_their_own(tmp_path, monkeypatch):
    """Not scored, then with cards and scores of two trainings a side: sentences, sizes and power follow."""
    real, folder = results.folder(), tmp_path / "results"
    for part in ("flagship", "training"):
        (folder / part).mkdir(parents=True)
    plan = json.loads((real / "flagship" / "plan.json").read_text())
    (folder / "flagship" / "plan.json").write_text(json.dumps(plan))
    cards = json.loads((real / "training" / "cards.json").read_text())
    narrow = {name: cards[name] for names in chapter.FAMILY.values() for name in names}
    (folder / "training" / "cards.json").write_text(json.dumps(narrow))
    monkeypatch.setattr(results, "folder", lambda: folder)

    wide = chapter.planned("flagship")
    assert [line.state for line in wide] == ["not scored"] * 6
    assert chapter.wide_facts(wide)["networks"] == "Networks of its width are not trained yet."
    assert chapter.one_draw(wide) == chapter.against_the_middle(wide) == ""
    assert not any(ax.get_visible() for ax in chapter.trainings_figure(wide).axes)

    (folder / "training" / "cards.json").write_text(
        json.dumps(
            narrow
            | {
                name: cards[chapter.FAMILY[kind][0]]
                for kind, names in chapter.WIDE.items()
                for name in names[:2]
            }
        )
    )
    seeds = {kind: list(names[:2]) for kind, names in chapter.WIDE.items()}
    for i, (a, b) in enumerate(zip(*seeds.values(), strict=True)):
        for name, score in ((a, 0.6 + 0.02 * i), (b, 0.5 + 0.01 * i)):
            scores = {
                key: {"images": 9, "score": [score, 0, 1], "centre": [0.55, 0, 1]} for key in plan["scores"]
            }
            (folder / "flagship" / f"{name}.json").write_text(json.dumps({"scores": scores}))
    line = {"p": 0.01, "over_trainings": [0.105, 0.0, 0.21], "differs": False}
    compared = [asked | line for asked in plan["comparisons"]]
    compared[0] |= {"differs": True}
    (folder / "flagship" / "comparisons.json").write_text(
        json.dumps({"seeds": seeds, "comparisons": compared})
    )
    wide = chapter.planned("flagship")
    assert [line.said for line in wide[-2:]] == [
        "cats and dogs by the paper's rule",
        "horses by the paper's rule",
    ]
    assert chapter.verdict(wide).startswith("**CRATE is ahead in one of six**")
    facts = chapter.wide_facts(wide)
    assert "Two trainings of CRATE and two of the ViT name 24.6 and 24.5 %" in facts["networks"]
    assert "right, the narrow ones 24.6 to 25.2 and 23.7 to 24.7 %" in facts["networks"]
    spread = 100 * ((0.01**2 * 2 + 0.005**2 * 2) / 2) ** 0.5
    assert (
        f"of {chapter.smallest_found(spread, 2):.2g} to {chapter.smallest_found(spread, 2):.2g} points"
        in facts["power"]
    )
    monkeypatch.setattr(results, "folder", lambda: real)
    told = chapter.answer_facts(chapter.lines(), wide, chapter.readings(), reads([0.2], []))["wide"]
    assert told.startswith("**At the paper's width.** CRATE is ahead in one of six comparisons that")
    assert "not every one, the wide ones on all six lines." in chapter.holds([], wide, reads([0.1], [0.1]))
    told = chapter.holds(wide[:1], wide[:2], reads([0.1], [0.1]))
    assert "on VOC by the paper's rule; the wide ones on VOC by the paper's rule and VOC by AUROC." in told
    one_each = [replace(line, scores={kind: of[:1] for kind, of in line.scores.items()}) for line in wide]
    assert "wide" not in chapter.holds([], one_each, reads([0.1], [0.1])), (
        "one training is not every training"
    )


def test_two_looks_are_told_as_two(tmp_path, monkeypatch):
    """How the first ended, and what the second is held against; nothing where there was one."""
    (tmp_path / "list").mkdir()
    monkeypatch.setattr(results, "folder", lambda: tmp_path)

    def write(look, n, *p, **more):
        lines = [
            {"score": key, "trainings": [n, n], "p": value, "differs": value < 0.01}
            for key, value in zip(KEYS, p, strict=False)
        ]
        (tmp_path / "list" / f"{look}.json").write_text(json.dumps({"comparisons": lines} | more))

    write("comparisons", 2, 0.013, 0.2)
    assert chapter.look_sentence("list") == chapter.first_look("list") == ""
    write("first_look", 2, 0.2, 0.013)
    write("comparisons", 3, 0.2, 0.2, level=0.025)
    told = chapter.look_sentence("list")
    assert (
        "by two trainings of each and at 5 %, separated the two on none (smallest $p$ 0.013, VOC by AUROC)"
        in told
    )
    assert told.endswith(
        "against 2.5 %: 0.013 is asked of the smallest $p$, which is 0.2 (VOC by the paper's rule)."
    )
    assert chapter.first_look("list") == " A first look, by two of each, decided none."
    write("first_look", 2, 0.001, 0.002, 0.2)
    assert "on VOC by the paper's rule and VOC by AUROC (smallest $p$ 0.001, VOC by the paper's rule)" in (
        chapter.look_sentence("list")
    )
    assert chapter.first_look("list").endswith("decided two.")


def test_what_was_expected_of_later_trainings(tmp_path, monkeypatch):
    """Told whether it came or not, by score, and with what luck would do."""
    (tmp_path / "list").mkdir()
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    assert chapter.expected_sentence("list") == ""

    def told(*lines):
        kept = [
            {"a": "CRATE", "b": "ViT", "score": score, "last_layer": {"CRATE": a, "ViT": b}}
            | ({"holds": min(a.values()) > max(b.values())} if b else {})
            for score, a, b in lines
        ]
        (tmp_path / "list" / "comparisons.json").write_text(json.dumps({"predictions": kept}))
        return chapter.expected_sentence("list")

    assert told(("voc_auroc", {"s1": 0.6}, {})) == ""
    one = told(("voc_auroc", {"s1": 0.62}, {"s1": 0.51}), ("coco_auroc", {"s1": 0.5}, {"s1": 0.6}))
    assert "came on VOC by AUROC (62.0 and 51.0 %) and did not come on COCO by AUROC (50.0 and 60.0 %)" in one
    assert one.endswith("once in two.")
    two = told(("coco_auroc", {"s1": 0.62, "s2": 0.7}, {"s1": 0.51, "s2": 0.4}))
    assert "came on COCO by AUROC (62.0 to 70.0 and 40.0 to 51.0 %), CRATE first" in two
    assert two.endswith("once in six.")


def test_pictures_are_by_the_layers_that_the_lists_chose(monkeypatch):
    """Narrow networks stand in for the wide ones, at another layer."""
    real = results.read
    monkeypatch.setattr(chapter, "SHOWN_WIDE", chapter.SHOWN)

    def read(name):
        found = real(name.replace("flagship/", "family/"))
        return {**found, "layer": 5} if name.startswith("flagship/") else found

    monkeypatch.setattr(results, "read", read)
    seen = chapter.side_by_side(64)
    assert [one.title for one in seen] == ["an astronaut", "a cup of coffee", "a rocket", "a drawn rabbit"]
    networks = {kind: load_pretrained(name) for kind, name in chapter.SHOWN.items()}
    for one in seen:
        for kind, network in networks.items():
            maps = cls_attention_maps(network, one.image[None])[0].mean(1)
            chosen = real(f"family/{chapter.SHOWN[kind]}")["layer"]
            assert torch.equal(one.maps[f"{kind}, narrow"], maps[chosen])
            assert torch.equal(one.maps[f"{kind}, wide"], maps[5])
            order = roc_auc_score(*map_and_mask(maps[5], one.mask))
            assert one.scores[f"{kind}, wide"] == pytest.approx(order, abs=1e-4)
    figure = chapter.side_by_side_figure(seen)
    assert len(figure.axes) == 4 * 5
    assert figure.axes[2].get_title() == f"CRATE, wide\n{seen[0].scores['CRATE, wide']:.2f}"


def map_and_mask(attention, mask):
    """Truth and score of every pixel."""
    side = mask.shape[0] // attention.shape[0]
    pixels = attention.repeat_interleave(side, 0).repeat_interleave(side, 1)
    return mask.bool().flatten(), pixels.flatten()


def test_one_training_a_side_waits(family):
    lines = family([[side[:1] for side in FAR]] * 4)
    assert chapter.verdict(lines) == (
        "**Not decided.** The four comparisons wait for a second training of each network."
    )
    assert [line.gap for line in lines] == [None] * 4
    row = chapter.gap_rows(lines)[0]
    assert row["says, p"] == "waits"
    assert [*row] == ["score, %", "n", "CRATE", "ViT", "middle", "says, p"], "of intervals nothing is known"
    assert "| VOC by AUROC |" in chapter.gap_table(lines).data
    assert "one training is one draw" in chapter.one_draw(lines)
    assert len(chapter.gaps_figure(lines).axes[0].lines) == 2 * 4 + 1


def test_a_line_holds_what_was_measured(family):
    line, *_, cut = family([FAR] * 4, [True] * 4)
    assert line.scores == {"CRATE": FAR[0], "ViT": FAR[1]}
    assert line.fresh["ViT"] == [0.2, 0.2]
    assert (line.middle, line.images, line.both) == (0.55, 78, (0.1, -0.1, 0.3))
    assert line.gap == pytest.approx(welch_interval(*FAR))
    assert cut.both is None, "of AP there is no value for an image"
    assert len(line.pairs) == 9
    (row, *_) = chapter.gap_rows([line])
    assert row["CRATE − ViT, ± trainings"].value == pytest.approx(100 * line.gap[0])
    assert row["± trainings and images"] == pytest.approx(20)
    figure = chapter.trainings_figure([line, cut])
    assert [len(ax.lines) for ax in figure.axes] == [2 * (3 + 2) + 1] * 2


def lines_of(crate, vit, **more):
    return Line("here", "looked at", 9, {"CRATE": crate, "ViT": vit}, middle=0.5, **more)


def test_one_training_each_may_say_either():
    split, agreed = lines_of([0.6, 0.4], [0.5, 0.3]), lines_of([0.6, 0.7], [0.5, 0.3])
    assert "On here CRATE is ahead in 3 of 4 pairs" in chapter.one_draw([agreed, split])
    assert "in one of two lines" in chapter.one_draw([agreed, split])
    assert chapter.one_draw([agreed]).startswith("**One training of each would have said the same.**")


def test_against_what_saw_nothing():
    told = chapter.against_the_middle([lines_of([0.6, 0.4], [0.3, 0.2]), Line("x", "not scored")])
    assert "1 of 2 scores of CRATE and 0 of 2 scores of the ViT (one line," in told


def reads(*last):
    rows = [[{"alone": [[0.3, 0, 1], [v, 0, 1]], "top1": [0.25, 0, 1]} for v in side] for side in last]
    return dict(zip(chapter.KINDS, rows, strict=True))


@pytest.mark.parametrize(
    ("crate", "vit", "said"),
    [
        ([0.1, 0.2], [0.0, 0.01], "CRATE needs its last layer more"),
        ([0.0, 0.01], [0.1, 0.2], "The ViT needs its last layer more"),
        ([0.0, 0.2], [0.1, 0.1], "does not tell the two apart"),
        ([0.1], [], "not measured yet"),
    ],
)
def test_who_needs_the_last_layer(crate, vit, said):
    told = chapter.reading_sentence(reads(crate, vit))
    assert said in told
    facts = chapter.reading_facts(reads(crate, vit), reads([], []))
    assert facts["crate_layer"] == "0"
    assert facts["vit_top1"] == ("25.0 %" if vit else "not measured")
    assert facts["wide"] == ""


def test_what_wide_networks_lose_stands_beside_what_they_name():
    told = chapter.reading_at_width(reads([0.2, 0.22], [0.005, 0.01]))
    assert (
        told == "At the paper's width CRATE loses 20.0 to 22.0 of 25.0, the ViT 0.5 to 1.0 of 25.0 (2 and 2)."
    )


def test_what_holds_in_every_training():
    fresh = {"CRATE": [0.2], "ViT": [0.2]}
    line = lines_of([0.6, 0.7, 0.65], [0.55, 0.3, 0.4], fresh=fresh)
    told = chapter.holds([line], [], reads([0.1], [0.1]))
    assert "- Every training of both is above untrained networks of its kind on here." in told
    assert "of CRATE is above the middle, of the ViT not every one, on here." in told
    assert "Every training of CRATE is above every one of the ViT on here. Luck alone" in told
    assert "on one line in 20, and lines of the same trainings" in told
    assert "Every training of both is above the middle" not in told
    turned = lines_of([0.55, 0.3, 0.4], [0.6, 0.7, 0.65], fresh=fresh)
    assert "of the ViT is above every one of CRATE on here. Luck alone" in chapter.holds(
        [turned], [], reads([0.1], [0.1])
    )
    two = lines_of([0.6, 0.7], [0.55, 0.3], fresh=fresh)
    assert "above every one" not in chapter.holds([two], [], reads([0.1], [0.1])), (
        "chance alone does that too often"
    )


def test_of_most_lines_those_that_are_missing_are_named():
    lines = [replace(lines_of([0.6], [0.6]), said=name) for name in "abcde"]
    told = chapter.holds([*lines[:4], replace(lines[4], middle=0.7)], [], reads([0.1], [0.1]))
    assert "above the middle on all five lines but e." in told
    told = chapter.holds(
        [*lines[:2], *(replace(line, middle=0.7) for line in lines[2:])], [], reads([0.1], [0.1])
    )
    assert "above the middle on a and b." in told


def test_one_training_of_each_is_said_to_be_one():
    assert chapter.reading_sentence(reads([0.1], [0.2])).startswith(
        "In one training of each, without reading"
    )


@pytest.mark.parametrize(("ratio", "n"), [(0.0, 3), (1.5, 3), (3.0, 3), (1.0, 8), (2.0, 2)])
def test_power_is_that_of_trainings_that_are_drawn(ratio, n):
    rng = np.random.default_rng(0)
    a, b = rng.normal(ratio, 1, (n, 20_000)), rng.normal(0, 1, (n, 20_000))
    decided = (ttest_ind(a, b, equal_var=False).pvalue < 0.05).mean()
    assert chapter.power(ratio, n) == pytest.approx(decided, abs=0.012)


def test_what_so_many_trainings_can_find():
    found = chapter.smallest_found(2.0, 5)
    assert chapter.power(found / 2, 5) == pytest.approx(0.8, abs=0.01)
    line = lines_of([0.6, 0.62], [0.5, 0.54], gap=(0.09, 0.0, 0.2))
    assert chapter.spread_of(line) == pytest.approx(100 * ((0.0002 + 0.0008) / 2) ** 0.5)
    data = chapter.play_data([line])
    assert (data["difference"], data["trainings"]) == (9.0, 2)
    assert len(data["power"]) == chapter.MOST - 1
    assert data["t"][0] == pytest.approx(12.706, abs=1e-3)


class TestOfThePage:
    """With what there is, whatever it says."""

    def test_all_of_it_can_be_told(self):
        lines, found, wide = chapter.lines(), chapter.readings(), chapter.planned("flagship")
        assert lines[0].said == "cats and dogs", "where the playground starts"
        assert [line.state for line in lines[:2]] == ["looked at"] * 2
        assert len(lines) == 6
        assert all(len(line.scores[kind]) >= 2 for line in lines[:2] for kind in chapter.KINDS)
        facts = (
            chapter.answer_facts(lines, wide, found, found)
            | chapter.reading_facts(found, found)
            | chapter.network_facts()
        )
        assert all(facts.values())
        assert len(chapter.gap_rows(lines)) == 6
        assert chapter.holds(lines, wide, found)
        assert chapter.power_facts(lines)["found_by_more"] < chapter.power_facts(lines)["found"]

    def test_an_interval_of_other_trainings_is_not_shown(self):
        gap = chapter.looked_at()[0].gap
        assert chapter._both("pets/test", (gap[0] + 0.1, gap[1], gap[2])) is None

    def test_figures(self):
        lines, found = chapter.lines(), chapter.readings()
        scored = [line for line in lines if line.scores]
        assert sum(ax.get_visible() for ax in chapter.trainings_figure(lines).axes) == len(scored)
        assert len(chapter.gaps_figure(lines).axes[0].get_yticks()) == len(scored)
        above = chapter.reading_figure(found).axes[0]
        assert len(above.lines) == len(found["CRATE"]) + 1


def test_in_what_the_trainings_were_computed():
    def cards(*precisions):
        return [{"recipe": {"precision": precision}} for precision in precisions]

    mixed = cards("float32", "bfloat16", "float32")
    assert chapter.precisions({"CRATE": mixed, "ViT": mixed}) == (
        "one in bfloat16 and two in float32 of each kind"
    )
    assert chapter.precisions({"CRATE": mixed, "ViT": cards("float32")}) == (
        "of CRATE one in bfloat16 and two in float32, of the ViT one in float32"
    )
