"""Wrong answers to the exercises of chapter 17, each with the message that it should get."""

import torch.nn.functional as F


def grey(P, base=10, scale=6, relative=True, clamp=True):
    ratio = P / P.max() if relative else P
    x = 1 + (ratio.log10() if base == 10 else ratio.log()) / scale
    return x.clamp(min=0) if clamp else x


def gain(speech, noise, snr, own=True, root=True, db=20, sign=-1):
    power = speech[speech != 0].square().mean() if own else speech.square().mean()
    ratio = power / noise.square().mean()
    return (ratio.sqrt() if root else ratio) * 10 ** (sign * snr / db)


def loud(picture, pool=F.avg_pool2d):
    return pool(picture[None, None], 8)[0, 0]


WRONG = {
    "check_grey": [
        (lambda P: grey(P, clamp=False), "negative"),
        (lambda P: grey(P, scale=3), "for amplitudes"),
        (lambda P: grey(P, base=0), "log10"),
        (lambda P: grey(P, relative=False), "loudest cell"),
        (lambda P: P / P.max(), "logarithm is wanted"),
    ],
    "check_gain": [
        (lambda s, n, snr: gain(s, n, snr, own=False), "own length"),
        (lambda s, n, snr: gain(s, n, snr, root=False, db=10), "root of a factor"),
        (lambda s, n, snr: gain(s, n, snr, db=10), "root of 10"),
        (lambda s, n, snr: gain(s, n, snr, sign=1), "mind the sign"),
        (lambda s, n, snr: 1 / gain(s, n, snr), "factor of the word"),
    ],
    "check_mask": [
        (lambda s, n: s > n, "nobody hears"),
        (lambda s, n: ~((s > n) & (s > 1e-6 * s.max())), "word is louder"),
        (lambda s, n: s > 1e-6 * s.max(), "against the noise"),
        (lambda s, n: s > (s + n).mean(), "same cell"),
        (lambda s, n: (s > n).any(0), "One answer a cell"),
        (lambda s, n: (s >= n) & (s > 1e-6 * s.max()), "cells differ"),
    ],
    "check_over_band": [
        (loud, "take off"),
        (lambda p: loud(p) - loud(p).mean(0), "along the row"),
        (lambda p: loud(p) - loud(p).mean(), "every band has its own"),
        (lambda p: 64 * (loud(p) - loud(p).mean(1, keepdim=True)), "not its sum"),
        (lambda p: loud(p).mean(1, keepdim=True) - loud(p), "sign is turned"),
    ],
}
