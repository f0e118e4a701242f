"""The scoreboard says what the result files say, and nothing else."""

from __future__ import annotations

import json
import shutil

import scoreboard


def only(tmp_path, monkeypatch, *folders):
    """Of the results these folders alone, copied, to be changed."""
    for folder in folders:
        shutil.copytree(scoreboard.RESULTS / folder, tmp_path / folder)
    monkeypatch.setattr(scoreboard, "RESULTS", tmp_path)


def test_the_page_is_what_the_results_give():
    written = scoreboard.PAGE.read_text(encoding="utf-8")
    assert written == scoreboard.page(), "run: python tools/scoreboard.py"


def test_a_result_moves_its_cells(tmp_path, monkeypatch):
    """With one number of one file changed, that network's rows change and no other's."""
    name = "crate_mini_animals_s0"
    only(tmp_path, monkeypatch, "masks", "maskcut")
    before = scoreboard.page().splitlines()
    path = tmp_path / "masks" / f"{name}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["scores"]["pets/test"]["128"]["rules"]["auroc"]["mean_of_heads"]["last"] = [0.1234, 0.12, 0.13]
    path.write_text(json.dumps(content), encoding="utf-8")
    after = scoreboard.page().splitlines()
    changed = [b for a, b in zip(before, after, strict=True) if a != b]
    assert len(changed) == 3, "its cell of the 2 x 2, depth 8, and the end of the training"
    assert all("12.3" in line for line in changed)


def test_a_training_of_the_family_moves_its_rows(tmp_path, monkeypatch):
    """Made-up scores of two trainings: their mean, the lowest, the highest; and a comparison as it was tested."""
    monkeypatch.setattr(scoreboard, "RESULTS", tmp_path)
    (tmp_path / "family").mkdir()
    cut = {
        "images": 100,
        "score": 0.02,
        "all": {of: {"AP50": 0.02, "AP75": 0.01, "AP": 0.011} for of in ("box", "mask")},
    }
    for seed, value in enumerate((0.2, 0.3)):
        score = {"images": 78, "score": [value, 0.1, 0.4], "centre": [0.25, 0.2, 0.3]}
        scores = {key: cut if key == "coco_maskcut" else score for key in scoreboard.FINAL}
        one = {"network": f"crate_s{seed}", "kind": "CRATE", "scores": scores}
        (tmp_path / "family" / f"crate_s{seed}.json").write_text(json.dumps(one), encoding="utf-8")
    line = {"a": "CRATE", "b": "ViT", "score": "voc_auroc", "trainings": [2, 2], "p": 0.034, "differs": False}
    line["over_trainings"] = [0.031, -0.02, 0.082]
    compared = {"comparisons": [line, {"score": "voc_paper", "trainings": [2, 1], "waits": "two a side"}]}
    (tmp_path / "family" / "comparisons.json").write_text(json.dumps(compared), encoding="utf-8")
    page = scoreboard.page()
    assert "| CRATE (2 trainings), ours | — | 25.0 (20.0 to 30.0) |" in page
    assert "| *a map that is brighter in the middle* | 25.0 (20.0 to 30.0) |" in page
    assert "| CRATE, ours (mean of 2 trainings) | — | — | 2.0 / 1.0 / 1.1 | 2.0 / 1.0 / 1.1 |" in page
    assert "| VOC, AUROC | 2 and 2 | +3.1 (-2.0 to +8.2) | 0.034 | no |" in page
    assert "| VOC, paper's rule | 2 and 1 | — | — | two a side |" in page
    assert "ours are 78 of them" in page


def test_wide_networks_have_rows_of_their_own(tmp_path, monkeypatch):
    """Made-up scores: their table and comparisons, MaskCut by layer and on the way; no row of the family moves."""
    monkeypatch.setattr(scoreboard, "RESULTS", tmp_path)
    (tmp_path / "flagship").mkdir()

    def cut(*values):
        by_layer = {
            str(6 + i): {of: {"AP50": v, "AP75": v / 2, "AP": v} for of in ("box", "mask")}
            for i, v in enumerate(values)
        }
        return {
            "images": 100,
            "score": values[-1],
            "all": by_layer[str(5 + len(values))],
            "by_layer": by_layer,
        }

    for seed in (0, 1):
        score = {"images": 78, "score": [0.2 + 0.1 * seed, 0.1, 0.4], "centre": [0.25, 0.2, 0.3]}
        scores = dict.fromkeys(scoreboard.FINAL | scoreboard.PLANNED, score)
        scores["coco_maskcut"] = cut(0.01, 0.02 + 0.02 * seed)
        for kind, last in (("CRATE", 0.6 + 0.05 * seed), ("ViT", 0.5)):
            scores["voc_auroc"] = score | {"mean_map_by_layer": [0.1, last]}
            one = {"network": f"flagship_{kind.lower()}_s{seed}", "kind": kind, "scores": dict(scores)}
            (tmp_path / "flagship" / f"{kind}_s{seed}.json").write_text(json.dumps(one))
    way = {"flagship_crate_s0": {"2": {"coco_maskcut": cut(0.004)}, "50": {"coco_maskcut": cut(0.016)}}}
    (tmp_path / "flagship" / "on_the_way.json").write_text(json.dumps({"trainings": way}))
    line = {"score": "horses_paper", "trainings": [2, 2], "p": 0.2, "differs": False}
    line["over_trainings"] = [0.031, -0.02, 0.082]
    later = {kind: {f"flagship_{kind.lower()}_s1": 0} for kind in ("CRATE", "ViT")}
    expected = {"a": "CRATE", "b": "ViT", "score": "voc_auroc", "last_layer": later, "holds": True}
    compared = {"comparisons": [line], "predictions": [expected]}
    (tmp_path / "flagship" / "comparisons.json").write_text(json.dumps(compared))
    assert "The six comparisons, at 5 % by Holm's rule for six:" in scoreboard.page()
    (tmp_path / "flagship" / "comparisons.json").rename(tmp_path / "flagship" / "first_look.json")
    again = compared | {
        "level": 0.025,
        "comparisons": [line | {"trainings": [3, 3], "p": 0.004, "differs": True}],
    }
    (tmp_path / "flagship" / "comparisons.json").write_text(json.dumps(again))
    (tmp_path / "training").mkdir()
    cards = {"flagship_vit_s1": {"held_out": {"top1": 0.212}}}
    (tmp_path / "training" / "cards.json").write_text(json.dumps(cards))
    page = scoreboard.page()
    assert "they name right, in per cent: ViT 21.2." in page
    assert "| VOC, AUROC | 60.0 | 65.0 | 50.0 | 50.0 | yes |" in page
    assert "| CRATE, width 384 (2 trainings), ours | — | 25.0 (20.0 to 30.0) |" in page
    assert "| CRATE, width 384, ours (mean of 2 trainings) | — | — | 3.0 / 1.5 / 3.0 |" in page
    first, _, second = page.partition("A third training of each was a second look")
    assert "looked at twice. First, at 5 % by Holm's rule for six:" in first
    assert "| horses, paper's rule | 2 and 2 | +3.1 (-2.0 to +8.2) | 0.2 | no |" in first
    assert "with its level, 2.5 %, and is the last:" in second
    assert "| horses, paper's rule | 3 and 3 | +3.1 (-2.0 to +8.2) | 0.004 | yes |" in second
    assert "at width 384, by layer, counted from 1: CRATE 7: 1.0; 8: 3.0 (mean of 2 trainings), ViT" in page
    assert "by share of the training: CRATE 2 %: 0.4; 50 %: 1.6; 100 %: 2.0 (1 training)." in page
    assert "| CRATE (" not in page
    assert "CRATE-MHSA, which is" not in page
    kept = {"network": "flagship_crate_mhsa_s0", "kind": "CRATE-MHSA", "scores": scores}
    (tmp_path / "flagship" / "mhsa.json").write_text(json.dumps(kept))
    page = scoreboard.page()
    assert (
        "CRATE-MHSA, which is CRATE with the attention of the ViT, came onto the list while it trained"
        in page
    )
    assert "| CRATE-MHSA, width 384 (1 training) | 30.0 |" in page
    assert "CRATE-MHSA 7: 1.0; 8: 4.0 (1 training), ViT" in page


def test_floors_move_their_rows(tmp_path, monkeypatch):
    only(tmp_path, monkeypatch, "floors")
    before = scoreboard.page().splitlines()
    path = tmp_path / "floors" / "voc2012.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["readings"][0]["scores"]["best of 6 random"] = [0.1234, 0.12, 0.13]
    path.write_text(json.dumps(content), encoding="utf-8")
    changed = [b for a, b in zip(before, scoreboard.page().splitlines(), strict=True) if a != b]
    assert changed[0].startswith("| whole, objects | over images |")
    assert "12.3 (12.0 to 13.0)" in changed[0]
    assert "beat the best of six random masks in 1 of the 8 readings" in changed[-1]
    path = tmp_path / "floors" / "coco.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["boxes"]["the whole image"]["AP"] = [0.1234, 0.12, 0.13]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "| 12.3 (12.0 to 13.0) |" in scoreboard.page()


def test_without_results_every_cell_of_ours_is_a_dash(tmp_path, monkeypatch):
    monkeypatch.setattr(scoreboard, "RESULTS", tmp_path)
    rows = [
        line
        for line in scoreboard.page().splitlines()
        if line.startswith(("| CRATE |", "| CRATE, untrained |", "| *a map", "| ViT |"))
    ]
    assert rows
    for row in rows:
        assert {cell.strip() for cell in row.strip("| ").split("|")[1:]} == {scoreboard.NONE}


def test_the_theorem_moves_its_rows(tmp_path, monkeypatch):
    """Without the file a dash; with another number another row, and no other line."""
    (tmp_path / "denoising").mkdir()
    found = json.loads((scoreboard.RESULTS / "denoising" / "theorem.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(scoreboard, "RESULTS", tmp_path)
    assert "| — | — | [When does attention denoise?]" in scoreboard.page()
    path = tmp_path / "denoising" / "theorem.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    before = scoreboard.page().splitlines()
    found["rows"][1]["grow"]["end"] = [0.12, 0.14]
    path.write_text(json.dumps(found), encoding="utf-8")
    changed = [b for a, b in zip(before, scoreboard.page().splitlines(), strict=True) if a != b]
    assert len(changed) == 1
    assert "then down to 0.13;" in changed[0]


def test_what_transfers(tmp_path, monkeypatch):
    """Made-up scores: a number for each training, and the same architecture fresh beside it."""
    monkeypatch.setattr(scoreboard, "RESULTS", tmp_path)
    assert scoreboard._transferred() == scoreboard.NONE, "nothing measured, nothing said"
    networks = [
        {"model": "crate_mini", "seed": seed, "trained": trained, "probe": value, "tuned": value + 0.1}
        for seed, trained, value in ((0, True, 0.5), (1, True, 0.52), (0, False, 0.25))
    ]
    part = {"name": "pets/train", "images": 298}
    pets = {"learned": part, "asked": part, "classes": 4, "pixels": 0.3, "networks": networks}
    (tmp_path / "transfer").mkdir()
    (tmp_path / "transfer" / "scores.json").write_text(json.dumps({"sets": {"pets": pets}}), encoding="utf-8")
    told = scoreboard._transferred()
    assert "| CRATE | 50.0, 52.0 | 60.0, 62.0 |" in told
    assert "| CRATE, from scratch | 25.0 | 35.0 |" in told
    assert "| *the pixels, 16 × 16* | 30.0 | — |" in told
    assert "298 images to learn from, 298 asked; chance is 25 %" in told
    assert "ViT" not in told, "of which there is none here"


def test_the_square_moves_its_rows(tmp_path, monkeypatch):
    only(tmp_path, monkeypatch, "square")
    before = scoreboard.page().splitlines()
    path = tmp_path / "square" / "comparisons.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["comparisons"][0] |= {
        "p": 0.001,
        "differs": True,
        "over_trainings_and_images": [0.0821, 0.04, 0.12],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    name = content["seeds"]["CRATE-MLP"][0]
    one = tmp_path / "square" / f"{name}.json"
    scores = json.loads(one.read_text(encoding="utf-8"))
    scores["scores"]["voc_auroc"]["score"] = [0.9876, 0.98, 0.99]
    one.write_text(json.dumps(scores), encoding="utf-8")
    changed = [b for a, b in zip(before, scoreboard.page().splitlines(), strict=True) if a != b]
    assert len(changed) == 2
    assert changed[0].startswith("| CRATE-MLP | 3 |")
    assert "to 98.8)" in changed[0]
    assert changed[1].startswith("| MSSA | +8.2 (+4.0 to +12.0) | 0.001 | differs |")
