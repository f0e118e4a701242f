"""The tool that trains and scores networks of sound, on few made words: every part of a row, and controls that hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import score_sound
import torch

from crate_mini.chapters import chapter_17 as chapter
from crate_mini.data import sound
from crate_mini.results import result_text


@pytest.fixture(scope="module")
def parts():
    return sound.made_words(2).leave_out("alto", held=1)


@pytest.fixture
def few(parts, monkeypatch):
    """Two takes of every made word, one to learn from; one epoch."""
    recipe = replace(score_sound.recipe(0), epochs=1, warmup_epochs=0)
    monkeypatch.setattr(score_sound, "parts", lambda speaker: parts)
    monkeypatch.setattr(score_sound, "recipe", lambda seed: recipe)
    monkeypatch.setattr(score_sound, "COPIES", 3)
    monkeypatch.setattr(score_sound, "TESTED", (score_sound.MAPPED,))
    for cached in (score_sound.learned, score_sound.tested, score_sound.chosen):
        cached.cache_clear()
    yield parts
    for cached in (score_sound.learned, score_sound.tested, score_sound.chosen):
        cached.cache_clear()


def test_what_the_playground_shows(few, tmp_path):
    found = score_sound.playground(tmp_path)
    assert result_text(found)  # JSON, and every number finite
    assert found["word"] in sound.WORDS
    assert [row["state"] for row in found["networks"]] == ["untrained", "drawings", "heard"] * 2
    for noise in sound.NOISES[1:]:
        maps = found["maps"][noise]
        assert set(maps) == {"CRATE, before it heard", "CRATE, chosen head", "CRATE", "ViT"}
        for shown in maps.values():
            assert torch.tensor(shown).shape == (len(score_sound.SNRS), 64)
            assert torch.tensor(shown).sum(1).numpy() == pytest.approx(1e4, rel=0.01)
    # the word that is shipped is the one in the sixth voice, and it is heard
    assert len(chapter.expand(found["speech"])) == sound.LENGTH
    first = (tmp_path / "crate_nano_alto_s0" / "model.safetensors").stat().st_mtime_ns
    list(score_sound.networks(tmp_path, "alto", 0))
    assert (tmp_path / "crate_nano_alto_s0" / "model.safetensors").stat().st_mtime_ns == first, (
        "trained again"
    )


def test_controls(few):
    found = score_sound.without_network("alto")
    for noise in sound.NOISES[1:]:
        scores = {name: score[0] for name, score in found["maps"][noise]["auroc"].items()}
        assert scores["ceiling"] == max(scores.values()) > 0.9
        assert scores["random"] == pytest.approx(0.5, abs=0.08)
        assert scores["loudness"] > 0.6, "at 5 dB a word is loud"
        assert found["maps"][noise]["n"] == 10
    named = found["named"]
    assert set(named["ridge"]) == set(named["neighbour"]) == set(score_sound.tested("alto"))
    assert named["aligned/neighbour"] > 0.3


def test_maps_that_anybody_can_draw(few):
    data = score_sound.mapped("alto", "white")
    mask = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    found = score_sound.blind_maps(data, mask)
    loud = found["loudness"].view(-1, 8, 8)
    assert loud[0, 2, 3].item() == pytest.approx(data.images[0, 0, 16:24, 24:32].float().mean().item() / 255)
    assert found["over its band"].view(-1, 8, 8).mean(2).abs().max() < 1e-6
    torch.testing.assert_close(found["mean mask, by loudness"], (loud * mask).flatten(1))
