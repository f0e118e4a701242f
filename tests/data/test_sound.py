"""Sound as pictures: known sounds in known cells, files of other kinds, exact sums, and clear errors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from scipy.signal import resample_poly

from crate_mini.data import sound
from crate_mini.errors import DataError


@pytest.fixture(scope="module")
def words() -> sound.Recordings:
    return sound.made_words(takes=2)


def tone(hertz: float, rate: int = sound.RATE, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def db(power: torch.Tensor) -> torch.Tensor:
    return 10 * power.log10()


# ---- pictures -------------------------------------------------------------------------------------------------------


def test_a_clip_is_as_many_frames_as_a_picture_has_columns():
    assert sound.cell_power(torch.zeros(2, sound.LENGTH)).shape == (2, sound.BANDS, sound.FRAMES)


def test_every_band_hears_and_white_noise_is_equally_loud_in_all():
    assert bool((sound.mel_bank() > 0).any(1).all())
    noise = torch.randn(40, sound.LENGTH, generator=torch.Generator().manual_seed(0))
    bands = db(sound.cell_power(noise).mean((0, 2)))
    assert bands.max() - bands.min() < 1


@pytest.mark.parametrize("hertz", [250, 1000, 3000])
def test_a_tone_lights_its_row(hertz):
    """Rows are equal steps of mel, the highest first; how loud a clip is changes nothing."""
    clip = torch.zeros(sound.LENGTH, dtype=torch.float64)
    clip[2000:6000] = torch.from_numpy(tone(hertz))
    picture = sound.pictures(sound.cell_power(clip))
    low, mel, high = (2595 * math.log10(1 + f / 700) for f in (sound.LOWEST, hertz, sound.RATE / 2))
    row = sound.BANDS - (mel - low) / (high - low) * (sound.BANDS + 1)
    assert abs(int(picture[0, :, 25].argmax()) - row) <= 1
    assert (picture[0, :, :10].max(), picture.max()) == (0, 255)  # silence is black, the loudest cell white
    assert torch.equal(sound.pictures(sound.cell_power(0.01 * clip)), picture)
    assert torch.equal(picture[0], picture[2])


def test_the_mask_is_where_the_recording_is_louder():
    speech, noise = torch.tensor([[4.0, 1.0], [3.0, 1e-9]]), torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    # what is 60 decibels below the loudest cell is not heard even in silence
    assert sound.ideal_mask(speech, noise).tolist() == [[True, False], [True, False]]


def test_heard_through_a_mask(words):
    clips = sound.hide(words.where(lambda who, take: who == "tenor" and take == 0), snr=(0, 0))
    masks = sound.ideal_mask(sound.cell_power(clips.speech), sound.cell_power(clips.noise)).float()

    def snr(wave: torch.Tensor) -> torch.Tensor:
        return db(clips.speech.square().sum(1) / (wave - clips.speech).square().sum(1))

    whole = sound.resynthesise(clips.waves, torch.ones_like(masks))
    assert (whole - clips.waves).square().mean() < 0.03 * clips.waves.square().mean()  # less the lowest 60 Hz
    assert sound.resynthesise(clips.waves, torch.zeros_like(masks)).abs().max() == 0
    assert (snr(sound.resynthesise(clips.waves, masks)) - snr(clips.waves)).min() > 5
    one = sound.resynthesise(clips.waves[0], masks[0])
    torch.testing.assert_close(one, sound.resynthesise(clips.waves, masks)[0])


# ---- files ----------------------------------------------------------------------------------------------------------


def save(path: Path, wave: np.ndarray, kind: str = "int16", rate: int = sound.RATE) -> Path:
    scaled = {"int16": 32767 * wave, "int32": 2147483647 * wave, "uint8": 127 * wave + 128, "float32": wave}[
        kind
    ]
    wavfile.write(path, rate, scaled.astype(kind))
    return path


@pytest.mark.parametrize(
    ("rate", "kind", "channels"),
    [(8000, "float32", 1), (8000, "uint8", 1), (16000, "int16", 2), (44100, "int16", 1), (48000, "int32", 2)],
)
def test_a_word_recorded_otherwise_is_the_same_picture(words, tmp_path, rate, kind, channels):
    """Other rates, depths and channels, with a constant and with silence around it."""
    word = words.waves[0].double().numpy()
    step = math.gcd(rate, sound.RATE)
    other = resample_poly(np.pad(word, 3000), rate // step, sound.RATE // step)
    if channels == 2:  # a dead channel beside it
        other = np.stack([0.001 * other, other], 1)
    found = sound.open_wave(save(tmp_path / "word.wav", 0.5 * other + 0.05, kind, rate))
    expected = sound.open_wave(save(tmp_path / "plain.wav", 0.9 * word))
    pictures = [
        sound.pictures(sound.cell_power(torch.nn.functional.pad(w, (800, 800))))[0].float()
        for w in (found, expected)
    ]
    width = min(p.shape[1] for p in pictures)
    assert abs(len(found) - len(expected)) <= 2 * sound.HOP
    a, b = (p[8:, :width].flatten() for p in pictures)  # the top rows end at the old rate's filter
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > (0.8 if kind == "uint8" else 0.9)


def test_long_recordings_keep_what_is_loudest():
    wave = torch.zeros(5 * sound.RATE)
    wave[2 * sound.RATE : 4 * sound.RATE] = 0.1
    wave[3 * sound.RATE : 3 * sound.RATE + 800] = 1.0
    found = sound.spoken(wave)
    assert len(found) == sound.LENGTH
    assert (found == 1).sum() == 800


def test_files_that_are_no_words(tmp_path):
    second = tone(400, seconds=1.0)
    cases = {
        "missing.wav": (None, "missing"),
        "song.mp3": (b"ID3" + bytes(200), "ffmpeg"),
        "cut.wav": (b"RIFF\x24\x00\x00\x00WAVEfmt ", "ffmpeg"),
        "silent.wav": (0 * second, "nothing to hear"),
        "short.wav": (second[:50], "nothing to hear"),
        "empty.wav": (second[:0], "no samples"),
        "nan.wav": (np.where(second > 0.4, np.nan, second), "no numbers"),
        "long.wav": (np.tile(second, 61), "cut out one word"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            save(path, content, "float32")
        with pytest.raises(DataError, match=message) as error:
            sound.open_wave(path)
        assert name in str(error.value)
        if message == "ffmpeg":
            assert f" {Path(name).stem}_16bit.wav'" in str(error.value), "never onto the file itself"
    with pytest.raises(DataError, match="folder"):
        sound.open_wave(tmp_path)


def test_digits_from_a_folder(words, tmp_path, monkeypatch):
    monkeypatch.setenv("CRATE_MINI_DATA", str(tmp_path))
    with pytest.raises(DataError, match="CRATE_MINI_DATA"):
        sound.spoken_digits()
    folder = tmp_path / "free-spoken-digit-dataset" / "recordings"
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match="no recordings named"):
        sound.spoken_digits()
    for name, wave in zip(("1_ann_10", "1_ann_9", "0_bob_0"), words.waves, strict=False):
        save(folder / f"{name}.wav", wave.numpy())
    (folder / "notes.txt").write_text("no sound")
    found = sound.spoken_digits()
    assert (found.labels.tolist(), found.speakers, found.takes) == (
        [0, 1, 1],
        ("bob", "ann", "ann"),
        (0, 9, 10),
    )


@pytest.mark.realdata
def test_the_whole_set():
    found = sound.spoken_digits()
    assert (len(found), len({*found.speakers}), len({*found.takes})) == (3000, 6, 50)


# ---- recordings -----------------------------------------------------------------------------------------------------


def test_nobody_is_on_both_sides(words):
    train, held, test = words.leave_out("alto", held=1)
    assert {*test.speakers} == {"alto"}
    assert "alto" not in {*train.speakers, *held.speakers}
    assert ({*train.takes}, {*held.takes}) == ({1}, {0})
    assert len(train) + len(held) + len(test) == len(words)
    with pytest.raises(ValueError, match="tenor"):
        words.leave_out("nobody")


def test_made_words_can_be_told_apart_across_voices(words):
    """By the nearest of other voices, well above one in ten; and the same seed says the same."""
    again = sound.made_words(takes=2)
    assert all(map(torch.equal, words.waves, again.waves))
    images = sound.hide(words, "none").images()
    # by what is in every band, wherever the word lies
    said = images.images[:, 0].float().mean(2)
    said = torch.nn.functional.normalize(said - said.mean(0), dim=1)
    voices = np.array(words.speakers)
    near = said @ said.T - 9 * torch.from_numpy(voices[:, None] == voices).float()
    assert (words.labels[near.argmax(1)] == words.labels).float().mean() > 0.4


@pytest.mark.parametrize("noise", sound.NOISES)
def test_hidden_as_loud_as_asked(words, noise):
    few = words.where(lambda who, take: who in ("bass", "alto") and take == 0)
    clips = sound.hide(few, noise, (-3, 6), babble=words)
    lengths = torch.tensor([len(w) for w in few.waves])
    assert (clips.speech.square().sum(1) / lengths).numpy() == pytest.approx(1, rel=1e-3)
    ratio = -db(clips.noise.square().mean(1))
    if noise == "none":
        assert ratio.isinf().all()
    else:
        assert ((ratio > -3.01) & (ratio < 6.01)).all()
        assert ratio.std() > 1
    starts = (clips.speech != 0).int().argmax(1)
    assert len(starts.unique()) > 4
    assert bool(((starts % sound.STEP) < 40).all())  # a word's first samples may be 0
    anywhere = sound.hide(few, noise, (-3, 6), babble=words, step=1)
    assert len((anywhere.speech != 0).int().argmax(1).unique()) > 0.8 * len(few)
    assert torch.equal(clips.labels, few.labels)
    same, other = (sound.hide(few, noise, (-3, 6), babble=words, seed=s) for s in (0, 1))
    assert torch.equal(same.waves, clips.waves)
    assert not torch.equal(other.waves, clips.waves)


def test_pictures_of_clips_know_the_truth(words):
    clips = sound.hide(words, "white", (5, 5))
    images = clips.images()
    assert images.images.shape == (len(words), 3, 64, 64)
    i = 7
    speech, noise = (sound.cell_power(part[i]) for part in (clips.speech, clips.noise))
    assert torch.equal(images.masks[i].bool(), sound.ideal_mask(speech, noise))
    assert images.tier == "embedded"
    assert bool((images.masks.flatten(1).sum(1) > 0).all())


def test_what_cannot_be_hidden(words):
    for settings, message in (
        ({"noise": "rain"}, "rain"),
        ({"snr": (5, 0)}, "least to the largest"),
        ({"noise": "babble"}, "babble="),
    ):
        with pytest.raises(ValueError, match=message):
            sound.hide(words, **settings)
