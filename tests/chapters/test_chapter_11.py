"""Chapter 11: what is said of the operators holds over all trainings, or the sentence changes."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from crate_mini.chapters import chapter_11 as chapter


def network(last, layers=None, head=0.8, top1=0.3):
    """A file of ``results/masks`` with the same scores on both sets."""
    layers = layers or [0.5, 0.7, last]
    rule = {
        "mean_of_heads": {"last": [last, last - 0.02, last + 0.02], "by_layer": layers},
        "cross_fitted": {"score": [head, head - 0.02, head + 0.02]},
    }
    scores = {f"{where}/test": {"128": {"rules": {"auroc": rule}}} for where in chapter.SETS}
    return {"scores": scores, "parameters": 1_000_000, "top1": top1}


@pytest.fixture
def family(monkeypatch):
    """Two networks with three trainings, and what they are asked for; every test changes it as it likes."""
    there = {f"crate_mini_animals_s{i}": network(0.8 + 0.01 * i) for i in range(3)}
    there |= {f"vit_mini_animals_s{i}": network(0.4 + 0.1 * i, head=0.85) for i in range(3)}
    there |= {f"crate_mini_all_lion_s{i}": network(0.7 + 0.05 * i) for i in range(3)}
    there |= {f"vit_mini_6_all_lion_s{i}": network(0.6 + 0.1 * i) for i in range(3)}
    monkeypatch.setattr(chapter, "scored", lambda name: there.get(name, {}))
    return there


class TestSentences:
    def test_all_trainings_decide(self, family):
        facts = chapter.answer_facts()
        assert (facts["last_holds"], facts["chance"], facts["crate_pets"]) == ("on both sets", 20, "80 to 82")
        assert facts["last_pets"] == pytest.approx(31)
        assert facts["head_horses"] == pytest.approx(-5)
        assert facts["head_holds"] == "on neither set"
        assert facts["vit_seeds"] == pytest.approx(20)
        family["vit_mini_animals_s3"] = network(0.805)
        facts = chapter.answer_facts()
        assert (facts["last_holds"], facts["vits"]) == ("on neither set", 4)

    def test_on_one_set_alone(self, family):
        other = network(0.4)
        other["scores"]["horses/test"] = network(0.9)["scores"]["horses/test"]
        family["vit_mini_animals_s0"] = other
        assert chapter.answer_facts()["last_holds"] == "on cats and dogs alone"

    def test_more_names(self, family):
        said = chapter.names_sentence()
        assert "from +31 to +5 points on cats and dogs" in said
        assert "the two overlap on both sets" in said
        for i in range(3):
            family[f"vit_mini_6_all_lion_s{i}"] = network(0.5)
        assert "every CRATE still lies above every ViT on both sets" in chapter.names_sentence()
        for i in (1, 2):
            del family[f"vit_mini_6_all_lion_s{i}"]
        assert "too few trainings" in chapter.names_sentence()

    def test_which_map(self, family):
        name = "vit_mini_animals_s0"
        assert [chapter.auroc(name, "pets", take) for take in chapter.TAKES] == [0.4, 0.7, 0.85]

    def test_separation(self):
        assert chapter.separation([0.5, 0.6], [0.1, 0.4]) == "above"
        assert chapter.separation([0.1], [0.4]) == "below"
        assert chapter.separation([0.1, 0.5], [0.4]) == "overlap"


class TestTheMeasuredFamily:
    """What the page says in words that no number fills in: each fails if a training turns it round."""

    def test_in_the_last_layer_and_elsewhere(self):
        facts = chapter.answer_facts()
        assert facts["crates"] >= 3
        assert facts["vits"] >= 3
        assert facts["last_holds"] == "on both sets"
        assert facts["best_holds"] == "on neither set", "the object has not gone from the ViT"
        for where in chapter.SETS:
            assert facts[f"last_{where}"] > 30 > 5 > abs(facts[f"head_{where}"])

    def test_the_square(self):
        facts = chapter.square_facts()
        assert facts["mssa_holds"] == "on neither set", "they overlap, the page says"
        assert {chapter.stands(of) for of in ("MSSA", "ISTA", "interaction")} == {"open"}
        worth = {row["worth of"]: row for row in chapter.effect_rows()}
        for title in chapter.NEW_SETS.values():
            mssa, ista = (worth[which][f"AUROC, {title}"].value for which in ("MSSA", "ISTA"))
            assert mssa > ista > 0, "the paper's order"
        assert chapter.effect_facts()["p_low"] > 0.05 / 6
        assert {
            len(names) for kind, names in chapter.square()["seeds"].items() if kind in chapter.SQUARE
        } == {3}

    def test_reading(self):
        facts = chapter.reading_facts()
        assert facts["crate_low"] > 3 * facts["mhsa_high"]
        assert facts["mhsa_low"] > facts["mlp_high"]
        assert (facts["istas"], facts["mlps"]) == (9, 12)
        assert facts["ista_low"] > 2 * facts["mlp_high"], "no exception, the page says"

    def test_reading_at_the_papers_width(self, monkeypatch):
        """A kind that nobody measured is left out; without one of the pair nothing is said."""
        lost = {"flagship_crate_s0": 21.0, "flagship_crate_s2": 20.0, "flagship_vit_s1": 0.5}

        def reading(name):
            if name not in lost:
                raise FileNotFoundError(name)
            return [lost[name]]

        monkeypatch.setattr(chapter, "reading", reading)
        assert chapter.reading_at_width().endswith("points lost: CRATE 20.0 to 21.0 (2), the ViT 0.5 (1).")
        lost["flagship_crate_mhsa_s0"] = 7.25
        told = chapter.reading_at_width()
        assert "21.0 (2), CRATE-MHSA 7.2 (1), the ViT 0.5 (1). That CRATE-MHSA would" in told
        assert told.endswith("it does.")
        lost["flagship_crate_mhsa_s0"] = 0.25
        assert chapter.reading_at_width().endswith("it does not.")
        del lost["flagship_vit_s1"]
        assert chapter.reading_at_width() == ""

    def test_depth_width_and_time(self):
        facts = chapter.shape_facts()
        assert (facts["ways"], facts["stops"]) == (3, 12)
        assert 3 <= facts["ahead"] <= 9, "they do not say which comes first, says the page"
        assert facts["deeper"] == "on cats and dogs alone"
        assert facts["wider"] == "not known"

    def test_what_is_known(self):
        rows = chapter.known_rows()
        assert [row["holds"] for row in rows[:2]] == ["on both sets", "on horses alone"]
        assert [row["holds"] for row in rows[3:6]] == ["yes", "yes", "on neither set"]
        assert {row["holds"] for row in rows[6:9]} == {"open"}
        assert rows[4]["trainings"] == "9 and 12"


def test_effects_of_the_papers_table():
    found = chapter.effects([chapter.PAPER[kind][0] for kind in chapter.SQUARE])
    assert found == pytest.approx({"MSSA": 6.7, "ISTA": 3.1, "interaction": -2.4})


class TestTheListOfTheSquare:
    """Six contrasts, made up: three operators' worth, on two sets."""

    @pytest.fixture
    def lines(self, monkeypatch):
        kept = [
            {"of": of, "score": score, "p": 0.2, "differs": False, "trainings": [3, 3, 3, 3],
             "over_trainings": [0.1, 0.05, 0.15], "over_trainings_and_images": [0.1, 0.02, 0.18]}
            for of in ("MSSA", "ISTA", "interaction") for score in chapter.NEW_SETS
        ]  # fmt: skip
        monkeypatch.setattr(chapter, "square", lambda: {"comparisons": kept})
        return kept

    def test_what_stands(self, lines):
        assert [chapter.stands(of) for of in ("MSSA", "ISTA")] == ["open", "open"]
        lines[0]["differs"] = lines[2]["differs"] = lines[3]["differs"] = True
        assert [chapter.stands(of) for of in ("MSSA", "ISTA")] == ["on VOC alone", "on both sets"]
        lines[3]["over_trainings"] = [-0.1, -0.2, -0.05]
        lines[2]["differs"] = False
        assert chapter.stands("ISTA") == "the reverse, on COCO"

    def test_what_they_are_worth(self, lines):
        lines[1]["over_trainings"], lines[1]["p"] = [-0.02, -0.1, 0.06], 0.07
        lines[3]["over_trainings_and_images"] = [0.1, 0.08, 0.12]
        lines[4]["p"], lines[4]["over_trainings_and_images"] = 0.001, [0.1, 0, 0.2]
        facts = chapter.effect_facts()
        assert facts.pop("worth") == "MSSA +10 on VOC and −2 on COCO, ISTA +10 on VOC and +10 on COCO"
        assert facts == pytest.approx({"by_low": 2, "by_high": 8, "p_low": 0.07})

    def test_its_table(self, lines):
        lines[1] |= {"p": 0.004, "over_trainings_and_images": [0.25, 0.2, 0.3]}
        rows = chapter.effect_rows()
        assert [row["worth of"] for row in rows] == ["MSSA", "ISTA", "interaction"]
        assert (rows[0]["AUROC, COCO"].value, rows[0]["AUROC, COCO"].by) == pytest.approx((25, 5))
        assert rows[0]["p, COCO"] == 0.004
        assert rows[0]["paper: IoU on VOC"] == pytest.approx(6.7)


def test_sizes_hold_where_every_training_does(family):
    for stem, last in (("crate_mini_width96", 0.5), ("crate_mini_width288", 0.9)):
        family |= {f"{stem}_animals_s{i}": network(last + 0.01 * i) for i in range(3)}
    assert chapter.larger(chapter.WIDTHS) == "on both sets"
    family["crate_mini_width288_animals_s1"] = network(0.51)
    assert chapter.larger(chapter.WIDTHS) == "on neither set"
    del family["crate_mini_width96_animals_s2"]
    assert (chapter.larger(chapter.WIDTHS), chapter.ends(chapter.WIDTHS)) == ("not known", "3 and 2")


def test_outlines_before_names_is_counted_at_every_stop(family):
    """Of s0 all stops are there, and the outline is halfway where the name is at a quarter; s1 has no stops."""
    family["crate_mini_untrained"] = network(0.5)
    family["crate_mini_animals_s0"] = network(0.7, top1=0.44)
    for at in [*chapter.SHARES.values()][:-1]:
        family[f"crate_mini_animals_s0{at}"] = network(0.6, top1=0.14)
    for sizes in (chapter.DEPTHS, chapter.WIDTHS):
        family |= {f"{stem}_animals_s0": network(0.7) for stem in sizes.values() if stem != "crate_mini"}
    assert chapter.on_the_way() == ["crate_mini_animals_s0"]
    facts = chapter.shape_facts()
    assert (facts["ways"], facts["ahead"], facts["stops"]) == (1, 4, 4)
    family["crate_mini_animals_s0_at50"] = network(0.52, top1=0.14)
    assert chapter.shape_facts()["ahead"] == 3


def test_boxes_one_training_each(monkeypatch):
    def file(share, other=0.5):
        hits = [int(i < share * 100) for i in range(100)]
        row = {"corloc_of_image": hits, "first_iou_of_image": hits}
        base = {"corloc_of_image": [int(i < other * 100) for i in range(100)]}
        return {"by_layer": {"7": row}, "baselines": {"centre": base}}

    shares = {"crate_mini_animals_s0": 0.6, "crate_mlp_mini_animals_s0": 0.3, "crate_mhsa_mini_animals_s0": 0.6,
              "vit_wide_mini_animals_s0": 0.8}  # fmt: skip
    monkeypatch.setattr(
        chapter, "stored", lambda label, where: file(shares[label]) if label in shares else None
    )
    rows = {row["features of"]: row for row in chapter.box_rows()}
    assert rows["CRATE-MLP"]["less CRATE, horses"].value == pytest.approx(-30)
    assert rows["CRATE"]["CorLoc, horses, %"] == pytest.approx(60)
    assert rows["*ellipse*"]["less CRATE, horses"].value == pytest.approx(-10)
    assert rows["untrained CRATE"]["CorLoc, horses, %"] is None
    said = chapter.box_sentence()
    assert (
        "CRATE-MLP on both sets, of CRATE-MHSA on neither set, of the wide ViT on neither set (and below it on 2)"
        in said
    )
    shares.clear()
    assert "not scored yet" in chapter.box_sentence()
    assert [list(row) for row in chapter.box_rows()] == [["features of", "paper: AP50 on COCO"]] * 4


def test_maskcut_on_coco_is_told_by_layer_and_by_time(monkeypatch):
    """Two trainings of CRATE and one of the ViT, made up: one rises by layer, one grows in time."""

    def last(*values):
        return {
            "by_layer": {str(6 + i): {"box": {"AP50": [v, 0, 1]}} for i, v in enumerate(values)},
            "score": [values[-1]],
        }

    def early(value):
        return {"coco_maskcut": {"score": [value, 0, 1]}}

    names = {"CRATE": ["a_s0", "a_s1"], "ViT": ["b_s0"]}
    cuts = {"a_s0": last(0.01, 0.04), "a_s1": last(0.02, 0.01), "b_s0": last(0.005, 0.003)}
    kept = {f"flagship/{name}": {"scores": {"coco_maskcut": cut}} for name, cut in cuts.items()}
    kept["flagship/comparisons"] = {"seeds": names | {"CRATE, untrained": ["c"]}}
    kept["flagship/on_the_way"] = {"trainings": {"a_s0": {"2": early(0.01), "50": early(0.03)}}}
    kept["floors/coco"] = {"boxes": {"one": {"AP50": [0.015, 0, 1]}, "all": {"AP50": [0.025, 0, 1]}}}
    monkeypatch.setattr(chapter.results, "read", kept.__getitem__)
    found = chapter.coco_cuts()
    assert found["CRATE"][0] == chapter.Cut({6: 1.0, 7: 4.0}, {0.02: 1.0, 0.5: 3.0, 1.0: 4.0})
    assert found["CRATE"][1].by_share == {}, "of which nothing was kept on the way"
    told = chapter.coco_sentence()
    assert "AP50 of the last 2 layers is 1.0 to 4.0 % in CRATE and 0.3 to 0.5 % in the ViT; a box" in told
    assert "the same in every image has 2.5 %, and 1 of these numbers is above it." in told
    assert "to the last it rises in 1 of 3 trainings, from the first stop to the end in 1 of 1." in told


def test_tables_and_figures_are_of_all_trainings():
    rows = chapter.square_rows()
    assert sum(row["trainings"] for row in rows) == sum(len(chapter.names_of(kind)) for kind in chapter.KINDS)
    assert [row["network"] for row in chapter.name_rows()[:2]] == ["CRATE", "ViT, three heads"]
    assert len(chapter.change_rows()) == 2 * (1 + len(chapter.CHANGES))
    assert len(chapter.reading_rows()) == len(chapter.KINDS)
    figure = chapter.layers_figure()
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 8]
    kinds = (chapter.CRATES, chapter.VITS, "CRATE-MHSA", "CRATE-MLP")
    assert len(lines) == sum(len(chapter.names_of(kind)) for kind in kinds)
    assert isinstance(chapter.shape_figure(), Figure)
    assert isinstance(chapter.maskcut_figure(), Figure)
    play = chapter.play_data()
    kept = {kind["name"]: kind["values"] for kind in play["kinds"]}
    assert len(kept[play["first"]][play["measures"][0][0]]) == len(chapter.names_of(chapter.CRATES))
    picture = chapter.picture_figure(
        torch.zeros(3, 16, 16, dtype=torch.uint8),
        {name: torch.rand(2, 4, 4) for name in ("CRATE", "ViT")},
        {"CRATE": [0.5, 0.6], "ViT": [0.7, 0.26]},
    )
    assert [ax.get_title() for ax in picture.axes[1:3]] == ["layer 0\n50", "layer 1\n60"]
    assert picture.axes[-1].get_title() == "26"
