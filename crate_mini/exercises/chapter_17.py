"""Checkers of chapter 17, sound: decibels, how much noise, the ideal mask, a map without a network."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from crate_mini.data.sound import ideal_mask
from crate_mini.exercises import checker, expect, expect_close, name_the_mistake


@checker
def check_grey(answer):
    """`answer(P)` is the picture of the power P (bands, frames): 1 the loudest cell, 0 at 60 dB below and under."""
    for scale in (1.0, 50.0):
        P = scale * 10 ** (-8 * torch.rand(6, 9, dtype=torch.float64))
        ratio = P / P.max()
        expected = (1 + ratio.log10() / 6).clamp(min=0)
        got = answer(P)
        name_the_mistake(
            got,
            (
                1 + ratio.log10() / 6,
                "what is more than 60 dB below the loudest cell shall be 0, and is negative",
            ),
            (
                (1 + ratio.log10() / 3).clamp(min=0),
                "a decibel is a tenth of the logarithm of a ratio of powers; 20 is for amplitudes",
            ),
            ((1 + ratio.log() / 6).clamp(min=0), "decibels count powers of ten: take log10"),
            (
                (1 + P.log10() / 6).clamp(min=0),
                "compare with the loudest cell, or a louder clip has another picture",
            ),
            (ratio, "that is the power itself; its logarithm is wanted"),
        )
        expect_close(got, expected, "for powers over 80 dB")
    return "Right. Ten times the power is a sixth of the way from black to white."


@checker
def check_gain(answer):
    """`answer(speech, noise, snr)` is the factor of noise (n,) that puts it snr dB below speech while that lasts."""
    for snr in (-5.0, 0.0, 12.0):
        n, start, length = 400, 50, 90
        speech = torch.zeros(n, dtype=torch.float64)
        speech[start : start + length] = torch.randn(length, dtype=torch.float64) + 0.1
        noise = 3 * torch.randn(n, dtype=torch.float64)
        powers = speech[speech != 0].square().mean() / noise.square().mean()
        expected = (powers * 10 ** (-snr / 10)).sqrt()
        got = torch.as_tensor(answer(speech, noise, snr), dtype=torch.float64)
        for wrong, said in (
            (
                expected * (length / n) ** 0.5,
                "the word's power is a mean over its own length, where it is not 0, or a short word would count less",
            ),
            (powers * 10 ** (-snr / 10), "a factor of samples is the root of a factor of power"),
            (
                powers.sqrt() * 10 ** (-snr / 10),
                "10 dB are a factor of 10 in power, of the root of 10 in samples",
            ),
            (powers.sqrt() * 10 ** (snr / 20), "more dB mean less noise: mind the sign"),
            (1 / expected, "that is the factor of the word"),
        ):
            close = torch.isclose(got, wrong, rtol=1e-6) and not torch.isclose(wrong, expected, rtol=1e-6)
            expect(not close, f"For {snr:g} dB: {said}.")
        expect_close(got, expected, f"for {snr:g} dB")
    return "Right. At 0 dB the word is as loud as the noise while it lasts."


@checker
def check_mask(answer):
    """`answer(speech, noise)` is True where speech (bands, frames) has more power than noise and can be heard."""
    for _ in range(2):
        speech, noise = (10 ** (-8 * torch.rand(12, 16, dtype=torch.float64)) for _ in range(2))
        speech[0, 0], noise[0, :8] = 2.0, 0.0
        speech[0, 1:8] = 10 ** (-7 * torch.rand(7, dtype=torch.float64) - 1)
        speech[0, 1], speech[1, 1], noise[1, 1] = 1e-9, 0.01, 0.01
        expected = ideal_mask(speech, noise)
        got = torch.as_tensor(answer(speech, noise))
        expect(
            got.shape == speech.shape,
            f"One answer a cell is wanted, {tuple(speech.shape)}; got {tuple(got.shape)}.",
        )
        name_the_mistake(
            got.double(),
            (
                (speech > noise).double(),
                "where there is no noise, cells that nobody hears count as the word: ask the word, too",
            ),
            ((~expected).double(), "True is where the word is louder"),
            ((speech > speech.max() * 1e-6).double(), "that is the word alone; hold it against the noise"),
            (
                ((speech > (speech + noise).mean()) & (speech > speech.max() * 1e-6)).double(),
                "compare with the noise of the same cell, not with one number for all",
            ),
        )
        expect(bool((got.bool() == expected).all()), f"{int((got.bool() != expected).sum())} cells differ.")
    return "Right. It needs both parts of the sum, which is why nobody has it for a recording of the street."


@checker
def check_over_band(answer):
    """`answer(picture)` (64, 64) -> (8, 8): mean of every patch less the mean of its row of patches."""
    for _ in range(2):
        picture = (
            torch.rand(64, 64, dtype=torch.float64) + torch.linspace(0, 2, 64, dtype=torch.float64)[:, None]
        )
        loud = F.avg_pool2d(picture[None, None], 8)[0, 0]
        expected = loud - loud.mean(1, keepdim=True)
        got = answer(picture)
        name_the_mistake(
            got,
            (loud, "that is loudness; take off what the band has on average"),
            (loud - loud.mean(0), "rows are bands: take the mean over time, along the row"),
            (loud - loud.mean(), "one mean for all changes no order; every band has its own"),
            (expected * 64, "the mean of a patch, please, not its sum"),
            (-expected, "the sign is turned: louder than usual is positive"),
        )
        expect_close(got, expected, "for a picture that is brighter below")
    return "Right. Three lines, no network: the control that a map of sound has to beat."
