"""Chapter 17: what is coded comes back, facts are least and most, and what every training says."""

from __future__ import annotations

import pytest
import torch

from crate_mini.chapters import chapter_17 as chapter
from crate_mini.data import sound


def test_samples_come_back():
    wave = torch.linspace(-1, 1, 101)
    again = chapter.expand(chapter.mu_law(wave))
    assert ((again - wave).abs() <= 0.025 * wave.abs() + 1e-4).all()
    assert chapter.expand(chapter.mu_law(torch.zeros(3))).tolist() == [0, 0, 0]


def test_noise_as_far_below_as_asked():
    speech = torch.zeros(1000).double()
    speech[100:300] = torch.randn(200).double() + 0.01
    word, noise = chapter.mixed(speech, torch.randn(1000).double(), 7.5)
    ratio = 10 * (word[100:300].square().mean() / noise.square().mean()).log10()
    assert ratio.item() == pytest.approx(7.5)


def test_words_where_there_are_no_digits(tmp_path, monkeypatch):
    monkeypatch.setenv("CRATE_MINI_DATA", str(tmp_path))
    few = sound.made_words(1)
    monkeypatch.setattr(sound, "made_words", lambda: few)
    found, said = chapter.recordings()
    assert found.tier == "embedded"
    assert "made words" in said
    assert len(chapter.pictures_figure(found, shown=(0, 6)).axes) == 8


def test_levels_and_a_phone(tmp_path):
    """On noise for a word: only what is drawn, and that a recording comes back from its file."""
    word, noise = (
        torch.zeros(sound.LENGTH),
        torch.randn(sound.LENGTH, generator=torch.Generator().manual_seed(0)),
    )
    word[3000:6000] = sound.made_words(1).waves[0][:3000]
    maps = {name: [[1.0] * 63 + [2.0]] * 2 for name in chapter.MODELS.values()}
    data = {
        "speech": chapter.mu_law(word), "noises": {"babble": chapter.mu_law(noise / 5)},
        "snrs": [0, 10], "maps": {"babble": maps},
    }  # fmt: skip
    figure = chapter.levels_figure(data, snrs=(10, 0))
    assert [ax.get_ylabel() for ax in figure.axes[::4]] == ["+10 dB", "0 dB"]
    assert figure.axes[2].get_title().startswith("CRATE, 0.")
    told = chapter.level_facts(data, snrs=(10, 0))
    assert 0 < told["hard"] < told["easy"] < 100
    assert told["crate_most"] == told["vit_most"]  # the same map
    again = sound.open_wave(chapter.as_a_phone_would(word))
    assert abs(len(again) - 3000) < 400


def row(model, speaker, state, fixed, mean=0.5, top1=0.6, seed=0):
    maps = {"auroc": {"fixed": [fixed, 0, 1], "mean": [mean, 0, 1], "best": [0.9, 0, 1]}}
    where = ["none", *(f"{noise} {snr}" for noise in chapter.NOISES for snr in (0, 5, 10))]
    about = {"model": model, "speaker": speaker, "seed": seed, "state": state}
    return about | {"top1": dict.fromkeys(where, top1), "maps": dict.fromkeys(chapter.NOISES, maps)}


def blind(speaker, value):
    where = dict.fromkeys(("none", "white 5", "babble 5"), 0.4)
    maps = {"auroc": {name: [value, 0, 1] for name in (*chapter.BLIND, "random", "ceiling")}, "area": 0.1}
    named = {"neighbour": where, "ridge": where, "aligned/neighbour": 0.5, "aligned/ridge": 0.6}
    return {"speaker": speaker, "maps": dict.fromkeys(chapter.NOISES, maps), "named": named}


@pytest.fixture
def rows():
    return [
        row(model, speaker, state, fixed)
        for model in chapter.MODELS
        for speaker, fixed in (("ann", 0.7), ("bob", 0.8))
        for state in chapter.STATES
    ]


def test_least_and_most(rows):
    facts = chapter.answer_facts(rows, [blind("ann", 0.65), blind("bob", 0.85)])
    assert (facts["n_trained"], facts["n_speakers"], facts["n_each"]) == (4, 2, 2)
    assert (facts["crate_white_fixed_least"], facts["vit_babble_fixed_most"]) == (0.7, 0.8)
    assert facts["loudness_white_mean"] == pytest.approx(0.75)
    assert facts["mean_mask_by_loudness_babble_most"] == 0.85
    assert facts["ridge_aligned_mean"] == pytest.approx(60)
    assert facts["crate_gain_most"] == 0, "of each training its own start is taken off"


def test_tables_and_figure(rows):
    beside = [blind("ann", 0.65), blind("bob", 0.85)]
    assert chapter.named_rows(rows, beside)[0]["silence (%)"] == "60"
    table = {line["map"]: line["AUROC, babble"] for line in chapter.map_rows(rows, beside)}
    assert table["CRATE: one head"].replace("\N{NO-BREAK SPACE}", " ") == "0.75 (0.70 to 0.80)"
    assert len(table) == 12 + len(chapter.BLIND) + 2
    ax = chapter.maps_figure(rows, beside).axes[0]
    assert len(ax.lines) == 12 + len(chapter.BLIND) + 1 + 1


def test_what_stands_in_the_results():
    """Every sentence of the page that speaks of all trainings, on the results as they are."""
    rows, beside = chapter.scores(), chapter.beside()
    facts = chapter.answer_facts(rows, beside) | chapter.set_facts()
    assert facts["n_speakers"] >= 2
    assert {(row["speaker"], row["seed"]) for row in chapter.of(rows, model="crate_nano")} == {
        (row["speaker"], row["seed"]) for row in chapter.of(rows, model="vit_nano")
    }
    assert facts["crate_gain_least"] > 0.05 > facts["vit_gain_least"]
    for short in ("crate", "vit"):
        assert facts[f"{short}_white_fixed_least"] > facts[f"untrained_{short}_white_fixed_most"]
        for noise in chapter.NOISES:
            assert facts[f"loudness_{noise}_least"] > facts[f"{short}_{noise}_fixed_most"]
        assert facts[f"{short}_none_top1_most"] < facts["ridge_none_top1_least"]
    assert min(facts["same_neighbour"], facts["same_ridge"]) > facts["neighbour_aligned_most"]
