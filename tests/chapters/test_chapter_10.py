"""Chapter 10: what its sentences say follows the numbers, whichever way these fall."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from crate_mini import data, maskcut
from crate_mini.chapters import chapter_10 as chapter
from crate_mini.chapters.chapter_10 import Cut, select
from crate_mini.chapters.photographs import middle_one
from crate_mini.model import create_model
from crate_mini.weights import list_pretrained

N = 200


def cut(kind, share, where, at="last", trained=True, name="", layer=7):
    """The first so many per cent of the images are right."""
    located = (torch.arange(N) < share * N).float()
    return Cut(kind, name or kind, trained, where, at, layer if at else None, located, located * 0.7)


def cuts(crate=(0.6, 0.7, 0.8), vit=(0.3, 0.4, 0.5), ellipse=0.75, fresh=0.2):
    found = []
    for where in chapter.SETS:
        for kind, shares in (("CRATE", crate), ("ViT", vit)):
            for share in shares:
                found += [cut(kind, share, where), cut(kind, share - 0.1, where, "chosen", layer=4)]
            found += [cut(kind, fresh, where, at, trained=False) for at in ("last", "chosen")]
        found += [cut("ellipse", ellipse, where, "", False), cut("whole image", 0.5, where, "", False)]
    return found


class TestVerdicts:
    def test_against_the_ellipse(self):
        assert "Not every training" in chapter.ellipse_verdict(cuts())
        assert "CRATE lies above it in 2 of 6 cases and below it in 4" in chapter.ellipse_verdict(cuts())
        assert "ViT lies above it in 0 of 6 cases and below it in 6" in chapter.ellipse_verdict(cuts())
        assert chapter.ellipse_verdict(cuts(ellipse=0.9)).startswith("**No training")
        assert chapter.ellipse_verdict(cuts(ellipse=0.1)).startswith("**Every training")

    def test_between_the_kinds(self):
        assert "CRATE finds the animal more often on both sets" in chapter.kinds_verdict(cuts())
        assert "+30 points on cats and dogs" in chapter.kinds_verdict(cuts())
        turned = cuts(crate=(0.3, 0.4, 0.5), vit=(0.6, 0.7, 0.8))
        assert "the ViT finds the animal more often on both sets" in chapter.kinds_verdict(turned)
        assert "not told apart" in chapter.kinds_verdict(cuts(vit=(0.3, 0.6, 0.9)))
        assert "says nothing" in chapter.kinds_verdict(cuts(vit=(0.3,)))
        mixed = [c for c in cuts() if c.where == "pets"] + [c for c in turned if c.where == "horses"]
        assert "do not agree" in chapter.kinds_verdict(mixed)

    def test_against_the_untrained_twin(self):
        assert (
            chapter.learned_verdict(cuts())
            == "Untrained networks find it in 20%. Training helps in all 12 cases."
        )
        assert "in 8 of 12 cases, and does harm in 4" in chapter.learned_verdict(cuts(fresh=0.45))

    def test_at_the_chosen_layer(self):
        said = chapter.chosen_verdict(cuts())
        assert "CRATE (layer 4): 50% to 70% on cats and dogs" in said
        assert "CRATE lies above it in 0 of 6 cases and below it in 6" in said

    def test_shares_are_of_the_last_layer(self):
        said = chapter.photograph_sentence(cuts(crate=(0.6, 0.8)))
        assert (
            f"of {N} cats and dogs: CRATE 60% to 80%, the ViT 30% to 50%, the ellipse 75%; of {N} horses"
            in said
        )
        assert "(2 and 3 trainings)" in said

    def test_before_the_scoring(self):
        without = [c for c in cuts() if c.kind != "ViT"]
        assert "not scored yet" in chapter.photograph_facts(without)["photographs"]
        assert chapter.photograph_rows(without) == [{"first box of": "not scored yet"}]
        assert isinstance(chapter.corloc_figure([]), Figure)
        assert "every image.**" in chapter.photograph_facts(cuts())["photographs"]


def test_the_difference_is_paired():
    """Two that are right in the same images differ by nothing, whatever their intervals are."""
    a, b = cut("CRATE", 0.5, "pets"), cut("ViT", 0.5, "pets")
    assert chapter.lead(a, b) == (0, 0, 0)
    assert chapter.standing(chapter.lead(a, b)) == "not told apart"


def test_a_row_a_network():
    rows = chapter.photograph_rows(cuts())
    assert [r["first box of"] for r in rows] == [
        *(f"{kind}, seed {i}" for kind in ("CRATE", "ViT") for i in range(3)),
        "CRATE, untrained", "ViT, untrained", "*ellipse*", "*whole image*",
    ]  # fmt: skip
    assert rows[0]["CorLoc, cats and dogs, %"] == pytest.approx(60)
    assert rows[0]["less the ellipse, horses"].value == pytest.approx(-15)
    assert rows[-2]["less the ellipse, horses"] is None


def test_a_file_has_two_layers_or_one():
    row = {"corloc_of_image": [1, 0], "first_iou_of_image": [0.7, 0.2]}
    two = {"untrained": False, "by_layer": {"7": row, "3": row | {"corloc_of_image": [1, 1]}}}
    last, chosen = chapter.cuts_of("CRATE", "crate_s0", "pets", two)
    assert (last.layer, last.corloc, chosen.layer, chosen.corloc) == (7, 0.5, 3, 1)
    last, chosen = chapter.cuts_of("CRATE", "crate_s0", "pets", {"untrained": True, "by_layer": {"7": row}})
    assert (last.layer, chosen.layer, last.trained) == (7, 7, False)


class TestCoco:
    def found(self, crate, vit, differs=True):
        def rows(values):
            return [
                {"name": str(i), "images": 100} | {k: [v, v - 0.01, v + 0.01] for k in ("AP50", "AP75", "AP")}
                for i, v in enumerate(values)
            ]

        line = {
            "score": "coco_maskcut",
            "over_trainings": [0.01, 0.002, 0.018],
            "p": 0.01,
            "differs": differs,
        }
        networks = {kind: rows(v) for kind, v in (("CRATE", crate), ("ViT", vit)) if v}
        return chapter.coco() | {"networks": networks, "comparison": line if networks else None}

    def test_before_and_after_the_scoring(self):
        assert "not scored yet" in chapter.coco_sentence(self.found([], []))
        assert "AP50 of 2.7 %" in chapter.coco_sentence(self.found([], []))
        assert "no training reaches one box" in chapter.coco_sentence(self.found([0.02, 0.01], [0.0, 0.02]))
        assert "every training is above" in chapter.coco_sentence(self.found([0.04, 0.05], [0.03, 0.06]))
        some = chapter.coco_sentence(self.found([0.04, 0.01], [0.03, 0.02]))
        assert "2 of 4 trainings are above" in some
        assert "CRATE 1.0 to 4.0 %, ViT 2.0 to 3.0 %" in some
        assert "they differ" in some
        assert "not told apart" in chapter.coco_sentence(self.found([0.04], [0.03], differs=False))

    def test_rows(self):
        rows = chapter.coco_rows(self.found([0.04, 0.01], []))
        by_name = {r["boxes of"]: r for r in rows}
        assert by_name["CRATE, 2 trainings"]["AP50, %"] == "1.0 to 4.0"
        assert by_name["ViT: not scored yet"]["AP50, %"] is None
        assert by_name["paper: CRATE-S/8"] == {
            "boxes of": "paper: CRATE-S/8", "AP50, %": 2.9, "AP75, %": 1.0, "AP, %": 1.1,
        }  # fmt: skip


def test_a_network_counts_once_all_sets_are_scored(monkeypatch):
    """So that no table has a hole, and no gap has another number of trainings on one set than on the other."""
    row = {"corloc_of_image": [1, 0], "first_iou_of_image": [0.7, 0.2]}
    file = {"untrained": False, "by_layer": {"7": row}, "baselines": {"centre": row, "everything": row}}
    there = {(name, where) for name in chapter.FAMILY["CRATE"][:2] for where in chapter.SETS}
    there.remove((chapter.FAMILY["CRATE"][1], "horses"))
    monkeypatch.setattr(chapter, "stored", lambda name, where: file if (name, where) in there else None)
    found = chapter.measured()
    assert {c.name for c in found} == {chapter.FAMILY["CRATE"][0], "centre", "everything"}
    assert len(select(found, "ellipse", "pets", "")) == 1


def test_what_is_stored_is_of_the_weights_in_the_package():
    """And of all images: a network that is trained anew is scored anew."""
    shipped, seen = list_pretrained(), {where: set() for where in chapter.SETS}
    for c in chapter.measured():
        seen[c.where].add(len(c.located))
        if c.trained and c.name in shipped:
            assert chapter.stored(c.name, c.where)["sha256"] == shipped[c.name]["sha256"], c.name
    assert all(sizes <= {298, 328} for sizes in seen.values())


def test_what_the_page_shows_of_drawings():
    """On a small untrained network: figures are drawn, overlaps and costs are right."""
    torch.manual_seed(0)
    network = create_model("crate_nano", num_classes=3).eval()
    drawn = data.load("embedded", "test", n=3, image_size=64)
    f = chapter.features_of(network, drawn.images, 3)
    found = maskcut.maskcut_batch(f, (8, 8))
    values = chapter.first_overlaps(found, drawn)
    large = found[1][0].repeat_interleave(8, 0).repeat_interleave(8, 1)
    truth = drawn.masks[1] == 1
    assert values[1] == pytest.approx(float((large & truth).sum() / (large | truth).sum()))
    assert middle_one([0.9, 0.1, 0.5]) == 2
    assert isinstance(chapter.steps_figure(drawn.images[1], drawn.masks[1], f[1], 8), Figure)
    outlines = [*drawn.masks[:2], None]
    shown = {"CRATE": found}
    gallery = chapter.gallery_figure([*drawn.images], outlines, shown, {"CRATE": [*values[:2], None]})
    assert [ax.get_title() for ax in gallery.axes[3:]] == [f"IoU {v:.2f}" for v in values[:2]] + [""]
    scores = chapter.tau_scores({"CRATE": f}, drawn, (8, 8), [0.1, 0.15])
    assert scores["CRATE"][1] == pytest.approx(sum(values) / 3)
    assert isinstance(chapter.tau_figure(scores, [0.1, 0.15]), Figure)
    play = chapter.play_data({"one": drawn.images[0]}, network, 3)
    assert play["grid"] == 8
    assert len(play["pictures"][0]["cosines"]) >= 64 * 63 / 2 * 2 * 4 / 3

    named = chapter.play_pictures(drawn, {"cat": drawn.images[0]}, network, 3)
    assert list(named)[-1] == "photograph: cat"
    best = max(range(3), key=values.__getitem__)
    assert torch.equal(named[f"a {drawn.classes[drawn.labels[best]]}, the best"], drawn.images[best])

    (r, c), other, far = chapter.spots_on(drawn.masks[1], 8)
    patches = truth.view(8, 8, 8, 8).float().mean((1, 3)) > 0.5
    assert patches[r, c]
    assert patches[other]
    assert not patches[far]

    A = maskcut.affinity(f[1])
    floor, v = maskcut.second_eigenvector(A)
    rows = chapter.cost_rows(A, v, floor, drawn.masks[1], 8)
    assert rows[0]["cost"] == floor
    assert all(row["cost"] > floor - 1e-9 for row in rows), "no cut goes below it"
    inside = patches.flatten()
    severed, whole = A[inside][:, ~inside].sum(), A.sum()
    mine = A[inside].sum()
    assert rows[2]["cost"] == pytest.approx(float(severed / mine + severed / (whole - mine)))
    assert "no better solver" in chapter.cost_sentence([{"cost": 0}, {"cost": 1}, {"cost": 2}])
    assert "has lost some" in chapter.cost_sentence([{"cost": 0}, {"cost": 2}, {"cost": 1}])


def test_the_dots_are_the_trainings():
    figure = chapter.corloc_figure(cuts())
    dots = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() in ("o", "s")]
    assert sorted(dots) == pytest.approx(
        sorted(100 * c.corloc for c in cuts() if c.where == "pets" and c.at and (c.trained or c.at == "last"))
    )
    assert len(select(cuts(), "CRATE", "pets", trained=False)) == 1
