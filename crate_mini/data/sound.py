r"""Sound as pictures: recordings, what hides them, and the truth about where they are.

A clip is 1.26 seconds at 8 kHz. Its picture has 64 bands of frequency, low ones at the bottom, and 64 frames of 20
milliseconds; every cell holds the power in a band and a frame, in decibels below the loudest cell. So a network for
images can hear. Whoever adds noise knows both parts of the sum, and with them the *ideal binary mask*: the cells in
which the recording is louder than what hides it.

Recordings come from files of any rate (:func:`open_wave`), from the Free Spoken Digit Dataset
(:func:`spoken_digits`), or out of nothing (:func:`made_words`).
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, UInt8
from torch import Tensor

from crate_mini.data.imageset import ImageSet
from crate_mini.data.request import data_root
from crate_mini.errors import DataError

RATE = 8000
"""Samples a second."""
HOP, WINDOW, POINTS = 160, 256, 512
"""Samples from frame to frame, of a window, and of its Fourier transform."""
BANDS = FRAMES = 64
"""Rows and columns of a picture."""
LENGTH = HOP * (FRAMES - 1)
"""Samples of a clip."""
STEP = 8 * HOP
"""Samples from one place where a hidden word may begin to the next: the left edges of patches of 8 pixels."""
LOWEST = 60.0
"""Where the lowest band begins, in hertz."""
RANGE = 60.0
"""Decibels from black to white."""

# ---- pictures -------------------------------------------------------------------------------------------------------


def spectrogram(waves: Float[Tensor, "*batch n"]) -> Complex[Tensor, "*batch f t"]:
    """Short-time Fourier transform with a Hann window; of a clip, as many frames as a picture has columns."""
    window = torch.hann_window(WINDOW, dtype=waves.dtype)
    flat = waves.reshape(-1, waves.shape[-1])
    found = torch.stft(flat, POINTS, HOP, WINDOW, window, pad_mode="constant", return_complex=True)
    return found.reshape(*waves.shape[:-1], *found.shape[1:])


def resynthesise(
    waves: Float[Tensor, "*batch n"], gains: Float[Tensor, "*batch bands t"]
) -> Float[Tensor, "*batch n"]:
    """What is heard of waves when every cell of their picture is made quieter; phases stay those of the sum.

    Args:
        waves: clips.
        gains: for every cell, from 0 (silent) to 1 (as it was); rows as in a picture, high bands first.
    """
    bank = mel_bank().flip(0).to(waves.dtype)
    by_frequency = torch.einsum("bf,...bt->...ft", bank / bank.sum(0).clamp(min=1e-9), gains.to(waves.dtype))
    masked = spectrogram(waves) * by_frequency
    window = torch.hann_window(WINDOW, dtype=waves.dtype)
    flat = masked.reshape(-1, *masked.shape[-2:])
    return torch.istft(flat, POINTS, HOP, WINDOW, window, length=waves.shape[-1]).reshape(waves.shape)


@cache
def mel_bank() -> Float[Tensor, "bands f"]:
    r"""Triangles that are equally wide on the mel scale, :math:`m = 2595 \log_{10}(1 + f/700)`; each adds up to 1.

    So white noise is equally loud in all bands. The lowest comes first.
    """
    mel = torch.linspace(*(2595 * math.log10(1 + f / 700) for f in (LOWEST, RATE / 2)), BANDS + 2)
    edges = 700 * (10 ** (mel.double() / 2595) - 1)
    f = torch.linspace(0, RATE / 2, POINTS // 2 + 1, dtype=torch.float64)
    rise = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    bank = torch.minimum(rise, fall).clamp(min=0)
    return (bank / bank.sum(1, keepdim=True)).float()


def cell_power(waves: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch bands t"]:
    """Power in every cell, high bands first: the rows of a picture."""
    return torch.einsum(
        "bf,...ft->...bt", mel_bank().flip(0).to(waves.dtype), spectrogram(waves).abs().square()
    )


def pictures(power: Float[Tensor, "*batch bands t"]) -> UInt8[Tensor, "*batch 3 bands t"]:
    r"""Grey pictures of the power in every cell: white is the loudest cell, black :data:`RANGE` decibels below.

    .. math:: x = \Big[1 + \tfrac{10}{60} \log_{10} \frac{P}{\max P}\Big]_+

    How loud a clip is as a whole makes no difference. A network that wants to know how a cell changes in time finds
    differences of neighbouring columns in a patch by itself: they are linear.
    """
    loudest = power.amax((-2, -1), keepdim=True).clamp(min=1e-30)
    grey = 1 + 10 / RANGE * (power / loudest).clamp(min=1e-30).log10()
    return (255 * grey.clamp(min=0)).round().to(torch.uint8).unsqueeze(-3).expand(*grey.shape[:-2], 3, -1, -1)


def one_picture(wave: Float[Tensor, " n"]) -> UInt8[Tensor, "3 bands t"]:
    """The picture of a word near the middle of a clip, such as :func:`open_wave` gives, as :func:`hide` places it.

    Raises:
        ValueError: it is longer than a clip.
    """
    if len(wave) > LENGTH:
        raise ValueError(f"a clip has {LENGTH} samples, got {len(wave)}; cut it by spoken()")
    before = (LENGTH - len(wave)) // 2 // STEP * STEP
    return pictures(cell_power(torch.nn.functional.pad(wave, (before, LENGTH - len(wave) - before))))


def ideal_mask(
    speech: Float[Tensor, "*batch bands t"], noise: Float[Tensor, "*batch bands t"]
) -> Bool[Tensor, "*batch bands t"]:
    r"""The ideal binary mask: cells where the recording has more power than the noise, and is within :data:`RANGE`.

    .. math:: M_{ft} = [S_{ft} > N_{ft}]

    The aim of computational auditory scene analysis (Wang, 2005); without noise, every cell that is not black.
    """
    audible = speech > speech.amax((-2, -1), keepdim=True) * 10 ** (-RANGE / 10)
    return (speech > noise) & audible


# ---- recordings -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Recordings:
    """Recordings of one word each, as they were spoken.

    Attributes:
        waves: samples in [-1, 1] at :data:`RATE`, no longer than a clip.
        labels: ``(n,)``, indices into ``classes``.
        speakers: who spoke, one a recording.
        takes: how often this speaker had said this word before.
        classes: the words.
        name, tier: as of an :class:`~crate_mini.data.ImageSet`.
        files: where they come from, or empty.
    """

    waves: tuple[Tensor, ...]
    labels: Tensor
    speakers: tuple[str, ...]
    takes: tuple[int, ...]
    classes: tuple[str, ...]
    name: str = "unnamed"
    tier: str = "local"
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.waves)
        for field in ("labels", "speakers", "takes", "files"):
            found = len(getattr(self, field))
            if found != n and not (field == "files" and not found):
                raise ValueError(f"{n} recordings need {n} {field}, got {found}")

    def __len__(self) -> int:
        return len(self.waves)

    def where(self, wanted: Callable[[str, int], bool]) -> Recordings:
        """Those whose speaker and take are wanted.

        Raises:
            ValueError: nothing is.
        """
        rows = [i for i, who in enumerate(zip(self.speakers, self.takes, strict=True)) if wanted(*who)]
        if not rows:
            raise ValueError(
                f"no recording of {self.name!r} is wanted; its speakers are {', '.join(sorted({*self.speakers}))}"
            )
        lists = {
            k: tuple(v[i] for i in rows)
            for k in ("waves", "speakers", "takes", "files")
            if (v := getattr(self, k))
        }
        return replace(self, labels=self.labels[rows], **lists)

    def leave_out(self, speaker: str, held: int = 5) -> tuple[Recordings, Recordings, Recordings]:
        """To learn from, to choose on, to be tested on: all takes but the first ``held`` of the other speakers, these
        first takes, and all of the speaker who is left out.

        Raises:
            ValueError: nobody of this name.
        """  # fmt: skip
        test = self.where(lambda who, _: who == speaker)
        return (
            self.where(lambda who, take: who != speaker and take >= held),
            self.where(lambda who, take: who != speaker and take < held),
            test,
        )


def open_wave(path: str | os.PathLike) -> Float[Tensor, " n"]:
    """The word in a WAV file of any rate and number of channels, as a clip can hold it.

    Of several channels the loudest; at :data:`RATE`; without the silence around (:func:`spoken`).

    Raises:
        DataError: the file is missing, is no WAV file, or holds nothing that can be heard; and what to do.
    """
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; name a WAV file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of chunks that hold no sound
            rate, found = wavfile.read(path)
    except Exception as error:  # whatever a damaged file makes of the reader
        raise DataError(
            f"{path} cannot be read as WAV ({error}); other formats can be converted, for example by "
            f"'ffmpeg -i {path.name} {path.stem}_16bit.wav'"
        ) from error
    if found.size == 0 or rate < 1:
        raise DataError(f"{path} holds no samples; record it again")
    samples = found.reshape(len(found), -1)
    if samples.dtype.kind in "iu":
        whole = np.iinfo(samples.dtype)
        middle = (int(whole.max) + int(whole.min) + 1) // 2  # eight bits are stored from 0 to 255
        samples = (samples.astype(np.float64) - middle) / (int(whole.max) - middle + 1)
    samples = samples.astype(np.float64)
    if not np.isfinite(samples).all():
        raise DataError(f"{path} holds samples that are no numbers; export it again, as 16 bit")
    if len(samples) > 60 * rate:
        raise DataError(f"{path} is {len(samples) / rate:.0f} s long; cut out one word, of about a second")
    samples = samples - samples.mean(0)
    channel = samples[:, np.square(samples).sum(0).argmax()]
    if rate != RATE:
        step = math.gcd(rate, RATE)
        channel = resample_poly(channel, RATE // step, rate // step)
    wave = torch.from_numpy(np.ascontiguousarray(channel, np.float32))
    if len(wave) < WINDOW or not wave.abs().max() > 1e-4:
        raise DataError(
            f"{path} holds nothing to hear: {len(wave) / RATE:.2f} s, loudest sample {wave.abs().max():.5f}"
        )
    return spoken(wave)


def spoken(wave: Float[Tensor, " n"], below: float = 35.0) -> Float[Tensor, " m"]:
    """The stretch from the first to the last moment that is within ``below`` decibels of the loudest; of a longer one
    the clip that holds most power.
    """  # fmt: skip
    size = HOP // 2
    moments = wave[: len(wave) // size * size].unflatten(0, (-1, size)).square().mean(1)
    loud = (moments > moments.max() * 10 ** (-below / 10)).nonzero().flatten()
    first, last = int(loud[0]), int(loud[-1]) + 1
    if (last - first) * size > LENGTH:
        total = torch.nn.functional.pad(moments.double().cumsum(0), (1, 0))
        room = LENGTH // size
        first = int((total[room:] - total[:-room]).argmax())
        last = first + room
    return wave[first * size : last * size].clone()


# ---- the Free Spoken Digit Dataset ----------------------------------------------------------------------------------

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FOLDER = "free-spoken-digit-dataset"
LAYOUT = f"{FOLDER}/recordings/<digit>_<speaker>_<take>.wav"


def spoken_digits(root: str | os.PathLike | None = None) -> Recordings:
    """The Free Spoken Digit Dataset: six speakers, ten digits, fifty takes of each, 8 kHz, CC BY-SA 4.0.

    Args:
        root: the folder that holds data sets; else ``CRATE_MINI_DATA``.

    Raises:
        DataError: the recordings are not there, or damaged.
    """
    folder = data_root(root) / FOLDER / "recordings"
    if not folder.is_dir():
        raise DataError(
            f"{folder} is missing. Expected: {LAYOUT}. Clone the set (github.com/Jakobovski/free-spoken-digit-dataset) "
            "there, or name the folder that holds it as root or in the environment variable CRATE_MINI_DATA. "
            "made_words() needs no files at all."
        )
    named = [(m, f) for f in folder.glob("*.wav") if (m := re.fullmatch(r"(\d)_([^_]+)_(\d+)", f.stem))]
    if not named:
        raise DataError(f"{folder} holds no recordings named <digit>_<speaker>_<take>.wav; get the set again")
    rows = sorted((int(m[1]), m[2], int(m[3]), f) for m, f in named)
    return Recordings(
        waves=tuple(open_wave(file) for *_, file in rows),
        labels=torch.tensor([digit for digit, *_ in rows]),
        speakers=tuple(who for _, who, *_ in rows),
        takes=tuple(take for _, _, take, _ in rows),
        classes=DIGITS,
        name="spoken-digits",
        files=tuple(str(file) for *_, file in rows),
    )


# ---- words that nobody said -----------------------------------------------------------------------------------------

VOWELS = {
    "a": (750, 1200, 2500),
    "e": (450, 1900, 2500),
    "i": (300, 2250, 3000),
    "o": (450, 850, 2500),
    "u": (320, 700, 2300),
}
"""The first three formants of vowels, in hertz."""
WORDS = ("ai", "ia", "au", "ua", "eo", "oe", "sa", "as", "si", "us")
"""The made words: two sounds each, of which ``s`` is a hiss."""
VOICES = {
    "bass": (95.0, 0.92, 1.1),
    "baritone": (125.0, 0.97, 0.95),
    "tenor": (155.0, 1.0, 1.0),
    "alto": (190.0, 1.08, 0.9),
    "mezzo": (220.0, 1.12, 1.05),
    "soprano": (260.0, 1.18, 0.95),
}
"""The made voices: pitch in hertz, length of formants as against the table, and how slowly they speak."""


def made_words(takes: int = 12, seed: int = 0) -> Recordings:
    """Words that nobody said, from vowels and hisses, by six made voices: no file, no licence.

    A vowel is the harmonics of a falling pitch, each as loud as the nearest formants let it be; ``s`` is noise above
    2,500 hertz. Every take has its own pitch, speed, and slightly other formants.

    Args:
        takes: of every word by every voice.
        seed: of everything that is drawn.
    """
    dice = np.random.default_rng(seed)
    rows = [(label, voice, take) for label in range(len(WORDS)) for voice in VOICES for take in range(takes)]
    return Recordings(
        waves=tuple(spoken(_say(WORDS[label], VOICES[voice], dice)) for label, voice, _ in rows),
        labels=torch.tensor([label for label, *_ in rows]),
        speakers=tuple(voice for _, voice, _ in rows),
        takes=tuple(take for *_, take in rows),
        classes=WORDS,
        name="made-words",
        tier="embedded",
    )


def _say(word: str, voice: tuple[float, float, float], dice: np.random.Generator) -> Tensor:
    """One take of a word by a voice."""
    pitch, formants, slow = voice
    pitch, formants, slow = (
        pitch * dice.normal(1, 0.05),
        formants * dice.normal(1, 0.025),
        slow * dice.normal(1, 0.1),
    )
    lengths = [int(RATE * slow * dice.uniform(0.14, 0.26)) for _ in word]
    n = sum(lengths)
    # how far the second sound has come, gliding over some 60 ms
    second = 1 / (1 + np.exp(-(np.arange(n) - lengths[0]) / (0.012 * RATE)))
    fall = pitch * (1.1 - 0.25 * np.arange(n) / n)
    phase = 2 * np.pi * np.cumsum(fall) / RATE
    loud = [_envelope(sound, formants, fall) for sound in word]
    wave = np.zeros(n)
    for h in range(1, int(RATE / 2 / fall.min()) + 1):
        amplitude = (1 - second) * loud[0](h) + second * loud[1](h)
        wave += np.where(h * fall < 0.95 * RATE / 2, amplitude, 0) * np.sin(h * phase)
    hiss = sum(share for sound, share in zip(word, (1 - second, second), strict=True) if sound == "s")
    wave += 0.25 * np.max(np.abs(wave)) * hiss * _high(dice.normal(size=n))
    edge = np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.02 * RATE))
    wave *= edge
    wave += 1e-3 * np.max(np.abs(wave)) * dice.normal(size=n)
    return torch.from_numpy((0.5 * wave / np.max(np.abs(wave))).astype(np.float32))


def _envelope(sound: str, formants: float, pitch: np.ndarray) -> Callable[[int], np.ndarray | float]:
    """How loud a harmonic is in a sound; the higher the formant, the wider and the quieter."""
    if sound not in VOWELS:
        return lambda h: 0.0
    centres = [formants * f for f in VOWELS[sound]]
    return lambda h: sum(
        gain / (1 + ((h * pitch - f) / (60 + 0.06 * f)) ** 2)
        for f, gain in zip(centres, (1, 0.5, 0.25), strict=True)
    )


def _high(noise: np.ndarray) -> np.ndarray:
    """Noise above 2,500 hertz, with deviation 1."""
    found = np.fft.rfft(noise)
    found[np.fft.rfftfreq(len(noise), 1 / RATE) < 2500] = 0
    back = np.fft.irfft(found, len(noise))
    return back / back.std()


# ---- hidden in noise ------------------------------------------------------------------------------------------------

NOISES = ("none", "white", "babble")
"""What a recording can be hidden in: nothing, white noise, other people's words played backwards."""
BABBLERS = 3
"""How many are heard at once in babble."""


@dataclass(frozen=True, eq=False)
class Clips:
    """Recordings at random places in what hides them, and both parts of every sum.

    Attributes:
        speech, noise: ``(n, LENGTH)``; the clip is their sum.
        labels, classes, name, tier: as of :class:`Recordings`.
    """

    speech: Float[Tensor, "n samples"]
    noise: Float[Tensor, "n samples"]
    labels: Tensor
    classes: tuple[str, ...]
    name: str = "unnamed"
    tier: str = "local"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def waves(self) -> Float[Tensor, "n samples"]:
        """What is heard."""
        return self.speech + self.noise

    def images(self) -> ImageSet:
        """Their pictures, with the ideal binary mask as mask."""
        found, masks = [], []
        for speech, noise in zip(self.speech.split(64), self.noise.split(64), strict=True):
            found.append(pictures(cell_power(speech + noise))[:, :1])
            masks.append(ideal_mask(cell_power(speech), cell_power(noise)).to(torch.uint8))
        grey = torch.cat(found).expand(-1, 3, -1, -1).contiguous()
        return ImageSet(
            grey, self.labels, self.classes, masks=torch.cat(masks), name=self.name, tier=self.tier
        )


def hide(
    recordings: Recordings,
    noise: str = "white",
    snr: tuple[float | int, float | int] = (0, 0),
    *,
    babble: Recordings | None = None,
    step: int = STEP,
    seed: int = 0,
) -> Clips:
    """Put every recording at a random place of a clip, and noise over it.

    Args:
        recordings: what to hide.
        noise: one of :data:`NOISES`.
        snr: least and largest ratio of the power of the recording, over its own length, to that of the noise, in
            decibels; uniform.
        babble: who babbles: their recordings are played backwards, :data:`BABBLERS` at once.
        step: places are multiples of so many samples, as far as the recording fits.
        seed: of places, ratios and noise.

    Raises:
        ValueError: an unknown noise, ratios in the wrong order, babble without anybody.
    """
    if noise not in NOISES:
        raise ValueError(f"unknown noise {noise!r}; known are {', '.join(NOISES)}")
    if not snr[0] <= snr[1]:
        raise ValueError(f"snr goes from the least to the largest ratio, got {snr}")
    if noise == "babble" and babble is None:
        raise ValueError("say with babble= whose words are heard backwards")
    n, draw = len(recordings), torch.Generator().manual_seed(seed)
    speech, over = torch.zeros(2, n, LENGTH)
    if noise == "white":
        over = torch.randn(n, LENGTH, generator=draw)
    elif noise == "babble":
        tape = _tape(babble, draw)
        starts = torch.randint(len(tape) - LENGTH, (n, BABBLERS), generator=draw).tolist()
        over = torch.stack([sum(tape[s : s + LENGTH] for s in row) for row in starts])
    ratios = snr[0] + (snr[1] - snr[0]) * torch.rand(n, 1, generator=draw)
    over *= over.square().mean(1, keepdim=True).clamp(min=1e-12).rsqrt() * 10 ** (-ratios / 20)
    for row, wave in zip(speech, recordings.waves, strict=True):
        start = step * int(torch.randint((LENGTH - len(wave)) // step + 1, (), generator=draw))
        row[start : start + len(wave)] = wave / wave.square().mean().sqrt()
    name = recordings.name if noise == "none" else f"{recordings.name} in {noise}"
    return Clips(speech, over, recordings.labels, recordings.classes, name, recordings.tier)


def _tape(recordings: Recordings, draw: torch.Generator) -> Tensor:
    """All recordings, backwards, equally loud, in any order, one after the other, and as much again as a clip."""
    waves = [recordings.waves[i].flip(0) for i in torch.randperm(len(recordings), generator=draw).tolist()]
    one = torch.cat([wave / wave.square().mean().sqrt() for wave in waves])
    return torch.cat([one, one[:LENGTH]]) if len(one) >= LENGTH else one.repeat(2 * LENGTH // len(one) + 1)
