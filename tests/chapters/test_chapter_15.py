"""Chapter 15: what the rate is worth, the values of a collapse, and that each loss collapses without its guard."""

from __future__ import annotations

import math

import pytest
import torch
from matplotlib.figure import Figure

from crate_mini.chapters import chapter_15 as chapter


@pytest.fixture(scope="module")
def films():
    return {name: chapter.film(**how) for name, how in chapter.KINDS.items()}


def test_what_the_rate_is_worth():
    worth = {(row["images"], row["processes"]): row["weight"] for row in chapter.weights_of_the_rate()}
    expected = {(64, 8): 0.450, (256, 2): 1.80, (512, 1): 2.28, (64, 1): 2.75, (75, 32): 0.185}
    assert worth == {k: pytest.approx(v, rel=0.01) for k, v in expected.items()}


def test_half_a_batch_is_another_task():
    """The numbers of the page's question: with half the pictures gamma grows by a third, and the weight falls."""
    whole, half = chapter.simdino_gamma(64, 256, 8), chapter.simdino_gamma(32, 256, 8)
    assert half / whole == pytest.approx(4 / 3)
    worth = [g * chapter.largest_rate(m, 256, 0.4) for g, m in ((whole, 64), (half, 32))]
    assert worth[1] < 0.9 * worth[0]


def test_signatures():
    found = chapter.signatures()
    assert found["equal"] == pytest.approx(0.083, abs=5e-4)
    assert found["directions"] == pytest.approx(0.60, abs=0.01)
    assert found["random"] == pytest.approx(2.67, abs=0.01)
    assert found["most"] == pytest.approx(2.75, abs=0.01)


def test_each_loss_collapses_without_its_guard(films):
    facts = chapter.collapse_facts(films)
    assert facts["rate_simdino"] > 0.9
    assert facts["aligned_without_the_rate"] > 0.995
    assert facts["rate_without_the_rate"] < 0.35 < facts["rate_dino"]
    assert facts["loss_without_sharpening"] == pytest.approx(math.log(chapter.CHOICES), abs=0.01)
    assert facts["rate_without_sharpening"] == pytest.approx(facts["one_direction"], abs=0.02)
    assert facts["loss_without_the_centre"] < 0.1
    assert facts["rate_without_the_centre"] < facts["rate_dino"] - 0.15


def test_figure(films):
    figure = chapter.collapse_figure(films)
    assert isinstance(figure, Figure)
    assert [len(ax.lines) for ax in figure.axes] == [5, 6, 5]


def row(name, model, task, varied="", seed=0, **more):
    maps = {
        "fixed": [0.7, 0.6, 0.8],
        "mean": [0.5, 0.4, 0.6],
        "best": [0.3, 0.2, 0.4],
        "chance": [0.3, 0.2, 0.4],
    }
    found = {"first_iou": [0.4, 0.3, 0.5], "AP50": [0.2, 0.1, 0.3], "corloc": [0.6, 0.5, 0.7]}
    known = {"knn": 0.1, "probe": 0.2, "scene": 0.9, "animal": 0.01, "rest": 0.09}
    about = {"name": name, "model": model, "task": task, "varied": varied, "seed": seed}
    return (
        about | known | {"maps": dict.fromkeys(("auroc", "patch", "best_iou"), maps), "maskcut": found} | more
    )


@pytest.fixture
def rows():
    pixels = row("pixels", "", "none")
    del pixels["maps"]
    return [
        pixels,
        row("a", "crate_nano", "simdino", knn=0.12),
        row("b", "vit_nano", "dino", knn=0.15, scene=0.7, rest=0.29),
        row("c", "crate_nano", "simdino", "single", knn=0.14),
        row("d", "crate_nano", "simdino", "pairs", knn=0.25, scene=0.6),
        row("e", "crate_nano", "simdino", "published"),
        row("k", "vit_nano", "simdino", "kinds", animal=0.2),
        row("f", "crate_nano", "classification", knn=0.5, animal=0.3),
        row("g", "vit_nano", "untrained"),
    ]


BESIDE = {
    "centre": {"auroc": [0.85, 0.83, 0.87], "patch": [0.3, 0.2, 0.4], "best_iou": [0.4, 0.3, 0.5]},
    "maskcut": {"centre": {"first_iou": [0.38, 0.36, 0.4]}},
}


def test_least_and_most_of_every_kind(rows):
    facts = chapter.answer_facts(rows)
    expected = {
        "n_free": 2, "free_knn_least": 12, "free_knn_most": 15, "free_scene_least": 70, "free_scene_most": 90,
        "pairs_knn_least": 25, "single_knn_most": 14, "named_animal_most": 30, "published_knn": 10,
    }  # fmt: skip
    assert {k: facts[k] for k in expected} == pytest.approx(
        expected
    )  # the published weight is none of the two that stand for their task


def test_maps_against_the_middle(rows):
    rows.append(row("i", "vit_nano", "classification"))
    facts = chapter.map_facts(rows, BESIDE)
    assert (facts["reach_the_middle"], facts["n_maps"]) == (0, 9)
    rows[1]["maps"] = {**rows[1]["maps"], "auroc": rows[1]["maps"]["auroc"] | {"fixed": [0.84, 0.82, 0.86]}}
    facts = chapter.map_facts(rows, BESIDE)
    assert (facts["reach_the_middle"], facts["free_fixed_most"]) == (1, 0.84)


def test_rows_are_trainings(rows):
    names = [name for name, _ in chapter.grouped(rows)]
    assert names[0] == "pixels, 16 × 16"
    assert len(names) == 8  # the published weight is told in a sentence
    rows.append(row("h", "crate_nano", "simdino", seed=1, knn=0.13))
    table = {line["network"]: line for line in chapter.knowledge_rows(rows)}
    assert table["CRATE SimDINO"]["neighbours (%)"] == "12, 13"
    shown = chapter.map_rows(rows, BESIDE)
    assert shown[-1]["AUROC, one head"] == "0.85"
    # pixels have no map, the middle has no training, what is varied stands in the other table
    assert len(shown) == len(table) - 1 + 1 - 3


def test_shares_fill_the_bar(rows):
    bars = chapter.shares_figure(rows).axes[0].patches
    assert len(bars) == 3 * (len(rows) - 1)
    assert sum(bar.get_width() for bar in bars[:3]) == pytest.approx(100)


def test_what_stands_in_the_results():
    """Every sentence of the page that says "every training", on the results as they are."""
    rows, beside = chapter.scores(), chapter.beside()
    facts, shown = chapter.answer_facts(rows), chapter.map_facts(rows, beside)
    assert (facts["n_free"], facts["n_named"], facts["n_single"], facts["n_pairs"]) == (8, 4, 4, 4)
    assert facts["free_knn_most"] < facts["pixels_knn_most"]
    assert facts["free_scene_least"] > 50 > 5 > facts["free_animal_most"]
    assert facts["untrained_scene_least"] > 90
    assert facts["named_animal_least"] > 10 * max(
        facts[f"{k}_animal_most"] for k in ("free", "untrained", "pairs")
    )
    assert min(facts["drop_crate_least"], facts["drop_vit_least"]) > 10
    assert facts["pairs_animal_most"] < facts["named_animal_least"] / 5
    assert facts["kinds_animal_most"] < facts["named_animal_least"] / 2
    assert facts["kinds_knn_most"] < facts["named_knn_least"]
    assert facts["n_kinds"] == 4
    assert shown["reach_the_middle"] == 0
    assert shown["crate_fixed_least"] > max(shown[f"{kind}_fixed_most"] for kind in ("free", "vit"))


def test_what_stands_in_the_results_of_photographs():
    """The same of the part on photographs."""
    photo = chapter.photograph_facts(chapter.photographs())

    def least(group, measure):
        return photo[f"photo_{group}_{measure}_least"]

    def most(group, measure):
        return photo[f"photo_{group}_{measure}_most"]

    for measure in ("knn", "probe"):
        assert least("simdino", measure) > max(most("pixels", measure), most("fresh", measure))
        assert least("named", measure) > most("simdino", measure)
    assert most("dino", "knn") < least("pixels", "knn")
    assert most("free", "voc_auroc") < most("fresh", "voc_auroc") < least("named", "voc_auroc")
    assert most("named", "voc_auroc") < least("middle", "voc_auroc")
    assert max(most("dino", "pets_auroc"), most("crate", "pets_auroc")) < 0.5 < least("fresh", "pets_auroc")
    assert most("named", "pets_auroc") < least("middle", "pets_auroc")
    assert least("family", "voc_auroc") > most("free", "voc_auroc"), "of CRATE it is said of drawings, too"
    assert least("family", "voc_paper") > most("paired", "voc_paper")
    assert photo["told"].startswith("none of the 5")
    assert [len(v["voc_auroc"]) for k, v in chapter.photographs().items() if "DINO" in k] == [2] * 4


def test_photographs_and_their_maps():
    figure = chapter.maps_figure(size=64)
    assert len(figure.axes) == 4 * (1 + len(chapter.SHOWN))
    assert [ax.get_title() for ax in figure.axes[:2]] == ["the photograph", "CRATE,\nlabels of\n200 classes"]
    assert figure.axes[1].images[0].get_array().shape == (8, 8)


def test_pictures():
    assert len(chapter.scenes_figure(scenes=1, shown=(0, 3)).axes) == 8
    data = chapter.play_data(scenes=3, animals=2)
    assert torch.tensor(data["views"]).shape == (2, 6, 13)
    assert data == chapter.play_data(scenes=3, animals=2)


LINE = {
    "a": "x", "b": "y", "score": "voc_paper", "over_trainings": [0.02, -0.011, 0.05], "p": 0.2, "differs": False,
}  # fmt: skip


class TestPhotographs:
    """A number for each training, from the two files that hold them."""

    KINDS = tuple(
        f"{model}, {how}" for model in ("CRATE", "ViT") for how in ("untrained", "DINO", "SimDINO", "labels")
    )

    @pytest.fixture
    def found(self, monkeypatch):
        seeds = {
            kind: [f"{kind} {i}" for i in (0, 1)] for kind in [*self.KINDS, "CRATE, labels of 200 classes"]
        }
        tasks = {"untrained": "untrained", "DINO": "dino", "SimDINO": "simdino", "labels": "classification"}
        networks = [{"name": "pixels", "model": "", "task": "none", "knn": 0.13, "probe": 0.2}]
        for kind in self.KINDS:
            model, how = kind.split(", ")
            about = {"model": f"{model.lower()}_mini", "task": tasks[how], "probe": 0.2}
            networks += [about | {"knn": 0.1 + 0.05 * i} for i in (0, 1)]

        def read(name):
            if name == "views/animals":
                return {"networks": networks, "images": {"test": 1250}}
            if name == "views/photographs/comparisons":
                return {"seeds": seeds, "comparisons": [LINE, LINE | {"score": "voc_auroc", "differs": True}]}
            kind, _, seed = name.removeprefix("views/photographs/").rpartition(" ")
            value = 0.5 + 0.01 * list(seeds).index(kind) + 0.1 * int(seed) if kind else 0
            of = ("voc_paper", "voc_auroc", "pets_auroc", "coco_maskcut")
            return {
                "scores": {k: {"images": 9, "score": [value, 0, 1], "centre": [0.7, 0.6, 0.8]} for k in of}
            }

        monkeypatch.setattr(chapter, "read", read)
        return chapter.photographs()

    def test_every_training_stands_under_its_kind(self, found):
        assert list(found)[:4] == ["CRATE, untrained", "ViT, untrained", "CRATE, DINO", "ViT, DINO"]
        assert found["CRATE, DINO"]["knn"] == pytest.approx([0.1, 0.15])
        assert found["CRATE, untrained"]["voc_auroc"] == pytest.approx([0.5, 0.6])
        assert found["ViT, SimDINO"]["coco_maskcut"] == pytest.approx([0.56, 0.66])
        assert found["CRATE, labels of 200 classes"]["knn"] == []
        assert found["pixels"] == {"knn": [0.13], "probe": [0.2]}
        assert found["the middle"]["voc_paper"] == [0.7]

    def test_least_and_most_are_over_all_of_a_group(self, found):
        facts = chapter.photograph_facts(found)
        assert facts["photo_free_knn_least"] == pytest.approx(10)
        assert facts["photo_free_knn_most"] == pytest.approx(15)
        assert facts["photo_fresh_voc_auroc_least"] == pytest.approx(0.50)
        assert facts["photo_fresh_voc_auroc_most"] == pytest.approx(0.64), (
            "the fifth kind, its second training"
        )
        assert facts["photo_middle_voc_auroc_least"] == 0.7
        assert "photo_pixels_voc_auroc_least" not in facts
        assert (facts["asked"], facts["voc"]) == (1250, 9)
        assert facts["told"].startswith("1 of the 2 comparisons")

    def test_the_table_says_nothing_where_nothing_was_asked(self, found):
        rows = {row["network"]: row for row in chapter.photograph_rows(found)}
        assert rows["pixels"]["VOC (AUROC)"] == "–"
        assert rows["ViT, DINO"]["neighbours (%)"] == "10, 15"
        assert rows["the middle"]["VOC, 60 % rule (IoU, %)"] == "70.0"

    def test_comparisons_are_told_as_they_came_out(self, found):
        first, second = chapter.comparison_rows()
        assert first == {
            "compared": "x − y", "by": "VOC, 60 % rule (IoU, %)", "difference": "+2.0 (−1.1 to +5.0)", "p": "0.200",
            "differs": "no",
        }  # fmt: skip
        assert (second["difference"], second["differs"]) == ("+0.02 (−0.01 to +0.05)", "yes")
