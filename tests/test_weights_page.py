"""book/weights.md says what the cards say."""

from __future__ import annotations

import json

import weights_page

from crate_mini.weights import list_pretrained


def test_the_page_is_what_the_cards_give():
    assert weights_page.PAGE.read_text(encoding="utf-8") == weights_page.page(), (
        "run: python tools/weights_page.py"
    )


def test_every_network_has_its_row():
    page = weights_page.page()
    for name in list_pretrained():
        assert page.count(f"| `{name}` |") == 1, name


def test_a_card_moves_its_row(monkeypatch):
    cards = list_pretrained()
    before = weights_page.page().splitlines()
    other = json.loads(json.dumps(cards))
    other["vit_mini_animals_s0"]["held_out_as_shipped"]["top1"] = 0.1234
    other["vit_mini_animals_simdino_s0"]["held_out_as_shipped"]["top1"] = 0.5678
    monkeypatch.setattr(weights_page, "list_pretrained", lambda: other)
    changed = [b for a, b in zip(before, weights_page.page().splitlines(), strict=True) if a != b]
    assert len(changed) == 3
    assert "12.3" in changed[0]
    labelled = sum(bool(card["classes"]) for card in cards.values())
    assert f"{labelled - 1} of {labelled} are less sure than right" in changed[1]
    assert "56.8" in changed[2]


def test_calibration_is_told_of_all_that_name_classes():
    for name, card in list_pretrained().items():
        if card["classes"]:
            found = card["held_out_as_shipped"]
            assert 0 <= found["calibration_floor"] <= found["calibration_error"] < 1, name
