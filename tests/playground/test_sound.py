"""The playground of chapter 17 in a browser: pictures, masks, scores and sounds are those of the package."""

from __future__ import annotations

import base64
import io

import pytest
import torch
from scipy.io import wavfile

from crate_mini.attention_maps import patch_mask
from crate_mini.chapters.chapter_17 import expand, mixed, mu_law
from crate_mini.data import sound
from crate_mini.segmentation.ranking import count_patches
from crate_mini.stats import auroc

GRID = (8, 8)


@pytest.fixture(scope="module")
def data():
    """A made word, noise, and a map that is drawn by dice; and the two sounds as the page decodes them."""
    words = sound.made_words(takes=1)
    one = words.where(lambda who, _: who == "alto")
    clips = {name: sound.hide(one, name, babble=words, seed=3) for name in ("white", "babble")}
    coded = {name: mu_law(found.noise[2] / found.noise[2].abs().max()) for name, found in clips.items()}
    speech = clips["white"].speech[2]
    dice = torch.rand(2, 3, 64, generator=torch.Generator().manual_seed(0)).mul(1e4).round().tolist()
    return {
        "speech": mu_law(speech / speech.abs().max()), "noises": coded, "word": "ai", "snrs": [-5, 0, 5],
        "maps": {name: {"a map": maps} for name, maps in zip(coded, dice, strict=True)},
        "rate": sound.RATE, "hop": sound.HOP, "window": sound.WINDOW, "points": sound.POINTS, "bands": sound.BANDS,
        "frames": sound.FRAMES, "range": sound.RANGE, "lowest": sound.LOWEST, "patches": 8, "start": 0,
    }  # fmt: skip


def parts(data, noise: str, snr: float):
    return mixed(expand(data["speech"]), expand(data["noises"][noise]), snr)


def heard(tab, label: str) -> torch.Tensor:
    address = tab.page.locator(f'audio[aria-label="{label}"]').get_attribute("src")
    rate, samples = wavfile.read(io.BytesIO(base64.b64decode(address.split(",")[1])))
    assert rate == sound.RATE
    return torch.from_numpy(samples.astype(float))


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    """The same sound, however loud."""
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.999


@pytest.mark.parametrize(("noise", "snr"), [("white noise", -5), ("babble", 5)])
def test_scores_are_those_of_the_package(open_play, data, noise, snr):
    tab = open_play("sound", data).choose("hidden in", noise).slide("word over noise (dB)", snr)
    name = noise.split()[0]
    speech, over = parts(data, name, snr)
    mask = sound.ideal_mask(*(sound.cell_power(part) for part in (speech, over)))
    objects, background = count_patches(mask.to(torch.uint8), GRID)
    seen = sound.pictures(sound.cell_power(speech + over))[0].double()
    loud = seen.unflatten(0, (8, 8)).unflatten(2, (8, 8)).mean((1, 3)).flatten()
    drawn = torch.tensor(data["maps"][name]["a map"][data["snrs"].index(snr)])
    for source, values in (("a map", drawn), ("loudness", loud), ("the truth", objects.double())):
        tab.choose("listen through", source)
        assert tab.number("AUROC") == pytest.approx(float(auroc(values, objects, background)), abs=0.011), (
            source
        )


def test_what_is_heard(open_play, data):
    tab = open_play("sound", data).choose("listen through", "the truth").slide("patches kept (%)", 25)
    speech, over = parts(data, "white", 0)
    mask = sound.ideal_mask(*(sound.cell_power(part) for part in (speech, over)))
    objects, _ = count_patches(mask.to(torch.uint8), GRID)
    kept = patch_mask(objects.double().view(8, 8), 0.25).double()
    gains = kept.repeat_interleave(8, 0).repeat_interleave(8, 1)
    word, rest = sound.resynthesise(torch.stack([speech, over]), gains.expand(2, -1, -1))
    close(heard(tab, "The clip"), speech + over)
    close(heard(tab, "Through the map"), word + rest)
    before, after = (
        10 * (a.square().sum() / b.square().sum()).log10() for a, b in ((speech, over), (word, rest))
    )
    gained = float(tab.readout("through the map the word gains").removesuffix(" dB"))
    assert gained == pytest.approx(float(after - before), abs=0.06)
    assert gained > 3
    tab.slide("patches kept (%)", 100)
    assert abs(float(tab.readout("through the map the word gains").removesuffix(" dB"))) < 0.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_narrow_page(open_play, data, theme):
    tab = open_play("sound", data, width=360, theme=theme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
