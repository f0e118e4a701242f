"""Chapter 18: what is left of a step, by hand where it can be; rows and facts of results that are made up."""

from __future__ import annotations

import json

import pytest
import torch

from crate_mini.autoencoder import PatchDecoder
from crate_mini.chapters import chapter_18 as chapter
from crate_mini.model import create_model


def test_minus_undoes_small_steps_plus_none_and_the_norm_helps():
    toy = chapter.undone(seeds=(0, 1))
    left = [row["minus"] for row in toy.values()]
    assert left == sorted(left)
    assert left[0] < 0.05
    assert left[-1] < 0.6
    for row in toy.values():
        assert row["minus"] < row["without norm"]
        assert row["plus without norm"] > row["plus"] > 1.95
    assert toy[1.0]["without norm"] > 1


def test_a_step_that_hardly_depends_on_where_one_stands_is_undone():
    torch.manual_seed(0)
    model = create_model("crate_nano", depth=2, num_classes=1).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.out.weight.mul_(1e-3)
    for row in chapter.layers_undone(model, images):
        assert row["minus"] < 0.02
        assert row["plus"] == pytest.approx(2, abs=0.02)
        assert row["repeated"] < 1e-3


def test_facts_and_figure_of_the_way_back():
    toy = {c: dict.fromkeys(chapter.WAYS, c) for c in (0.1, 1.0)}
    rows = [{"minus": 0.4, "plus": 1.8, "repeated": 0.1}, {"minus": 1.2, "plus": 1.1, "repeated": 0.9}]
    found = {n: rows for name in chapter.NETWORKS for n in (name, f"{name} untrained")}
    facts = chapter.undo_facts(toy, found)
    assert (facts["n_layers"], facts["not_reached"], facts["beyond"]) == (4, 2, 2)
    assert (facts["trained_minus_least"], facts["fresh_plus_most"]) == (40, 180)
    assert facts["without_norm_full"] == 100
    assert [len(ax.lines) for ax in chapter.undo_figure(toy, found).axes] == [5, 5]


def test_what_the_playground_is_given():
    data = chapter.play_data()
    assert len(json.dumps(data)) < 25_000
    Z = torch.tensor(data["Z"])
    assert torch.allclose(Z.norm(dim=1), torch.full((len(Z),), 24**0.5), atol=1e-3)


def test_what_is_seen_stays():
    torch.manual_seed(0)
    model = create_model("crate_nano", depth=1, num_classes=1, embedding="linear").eval()
    images = (255 * torch.rand(9, 3, 64, 64)).to(torch.uint8)
    found = chapter.filled_in(model, PatchDecoder(model.config).eval(), images)
    seen = found["what is seen"] != 0.5
    for name in ("blend", "CRATE-MAE"):
        assert torch.equal(found[name][seen], found["the drawing"][seen])
        assert not torch.equal(found[name], found["the drawing"])
    assert len(chapter.filled_in_figure(found, shown=3).axes) == 12
    assert chapter.drawn_facts(found)["drawn_better"] <= 100


def row(arm, seed, error, **more):
    about = {"name": f"{arm}_{seed}", "arm": arm, "seed": seed, "model": "crate_nano"}
    return about | {"error": [error, 0, 1], "knn": 0.1, "probe": 0.2} | more


def signed(seed, error, turned, encoder, decoder):
    more = {"turned": [turned, 0, 1], "left_out": [0.1, 0, 1]}
    return row("tied_minus", seed, error, rates={"encoder": [encoder], "decoder": [decoder]}, **more)


RESULTS = {
    "guesses": {"mean colour of the set": [0.066, 0, 1], "blend by distance": [0.035, 0, 1]},
    "pixels": {"knn": 0.13, "probe": 0.17},
    "networks": [
        signed(1, 0.05, 0.2, -1.0, 3.0),
        signed(0, 0.03, 0.3, -2.0, 4.0),
        row("none", 0, 0.06),
        {"name": "u", "arm": "untrained", "seed": 0, "model": "vit_nano", "knn": 0.08, "probe": 0.1},
    ],
}


def test_rows_and_facts():
    rows = chapter.error_rows(RESULTS)
    assert [r["error"] for r in rows] == ["66.0", "60.0", "30.0, 50.0", "35.0"]
    assert rows[2]["sign turned"] == "300.0, 200.0"
    known = chapter.knowledge_rows(RESULTS)
    assert known[0]["probe (%)"] == "17.0"
    assert [r["neighbours (%)"] for r in known[1:]] == ["", "8.0", "10.0, 10.0", "10.0"]
    facts = chapter.answer_facts(RESULTS)
    assert (facts["n_trained"], facts["n_untrained"]) == (3, 1)
    assert facts["tied_minus_error_least"] == pytest.approx(30)
    assert facts["trained_error_most"] == pytest.approx(60)
    assert (facts["tied_minus_decoder_rate_least"], facts["tied_minus_encoder_rate_most"]) == (3.0, -1.0)


def test_what_stands_in_the_results():
    """Every sentence of the page that says "every" or "each", on the results as they are."""
    found = chapter.scores()
    facts = chapter.answer_facts(found)
    assert all(facts[f"n_{arm}"] == 2 for arm in chapter.ARMS)
    signs = [
        facts[f"{arm}_error_{end}"]
        for arm in ("tied_minus", "tied_plus", "minus")
        for end in ("least", "most")
    ]
    assert min(signs) - 0.5 < facts["none_error_least"] <= facts["none_error_most"] < max(signs)
    assert max(facts["mae_error_most"], facts["vit_mae_error_most"]) < min(
        [*signs, facts["none_error_least"]]
    )
    assert facts["between"] < facts["seeds"]
    assert facts["below_blend"] == facts["n_trained"]
    assert facts["tied_minus_decoder_rate_most"] < 0 < facts["tied_plus_decoder_rate_least"]
    assert facts["crate_encoder_rate_most"] < 0
    for sign in ("minus", "plus"):
        for row in chapter.of(found, f"tied_{sign}"):
            assert row["error"][1] < row["error"][0] < row["left_out"][0] < row["turned"][0]
    assert facts["blind_error_least"] > 1000 * found["guesses"]["mean colour of what is seen"][0]
    assert facts["crate_probe_most"] <= facts["fresh_probe_least"]
