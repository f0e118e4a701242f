"""Checkers of chapter 08: maps, sharpness, other tokens, noise, components, positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange

from crate_mini.attention_maps import spread
from crate_mini.exercises import checker, expect, expect_close, name_the_mistake
from crate_mini.token_pca import fit_token_pca


@checker
def check_cls_map(answer):
    """`answer(Z, U)`: maps (K, n) of the class token, Z[0], on the patches, Z[1:]; U is (K, d, p)."""
    for K, d, p, n in [(2, 8, 3, 5), (4, 12, 5, 9)]:
        Z = torch.randn(1 + n, d, dtype=torch.float64)
        U = torch.randn(K, d, p, dtype=torch.float64)
        Zk = Z @ U
        scores = (Zk @ Zk[:, 0, :, None])[..., 0]
        right = (scores[:, 1:] * p**-0.5).softmax(-1)
        got = answer(Z, U)
        name_the_mistake(
            got,
            ((scores * p**-0.5).softmax(-1)[:, 1:], "the softmax runs over the patches alone: drop the class "
             "token's own score before it, not after"),
            ((scores * p**-0.5).softmax(-1), "that has a value for the class token itself; the map is on the "
             "patches alone"),
            (scores[:, 1:].softmax(-1), "the factor 1/√p is missing"),
            ((scores[:, 1:] / p).softmax(-1), "the scale is the root of p, not p"),
            ((scores[:, 1:] * d**-0.5).softmax(-1), "the scale holds p, the dimension of a head, not d"),
            ((scores[:, 1:] * p**-0.5).softmax(0), "the softmax runs over patches (dim=-1); yours runs over heads"),
            (scores[:, 1:] * p**-0.5, "these are the scores; a map is their softmax"),
        )  # fmt: skip
        expect_close(got, right, f"for {K} heads of {p} dimensions and {n} patches")
    return "Right. One matrix product, one row of it, one softmax."


@checker
def check_temperature_for(answer):
    """`answer(scores, wanted)`: the temperature T at which softmax(scores / T) has a spread of `wanted` patches."""
    for n, size, wanted in [(16, 1.0, 8.0), (64, 3.0, 5.0), (64, 3.0, 60.0)]:
        scores = size * torch.randn(n, dtype=torch.float64)
        T = torch.as_tensor(answer(scores, wanted), dtype=torch.float64)
        expect(T.numel() == 1, f"return one number, the temperature; got shape {tuple(T.shape)}")
        expect(bool(T > 0), f"a temperature is positive, got {float(T):.3g}")

        def reached(factor, scores=scores):
            return float(spread((scores * factor).softmax(-1).view(1, -1)))

        got = reached(1 / T)
        case = f"for {n} patches and a spread of {wanted:g}"
        if abs(got - wanted) > 0.02 * wanted:
            if abs(reached(T) - wanted) < 0.02 * wanted:
                expect(False, f"{case}: that is 1/T; the scores are divided by T")
            if abs(torch.tensor(got).log().item() - wanted) < 0.02 * wanted:
                expect(False, f"{case}: the entropy is that; the spread is its exponential")
            q = (scores / T).softmax(-1)
            if abs(1 / q.square().sum().item() - wanted) < 0.02 * wanted:
                expect(
                    False,
                    f"{case}: that is another count, 1/Σq²; the spread is the exponential of an entropy",
                )
            expect(False, f"{case}: T = {float(T):.4g} gives a spread of {got:.3g}; a larger T spreads more")
    return "Right. Now maps of different sharpness can be compared at one."


@checker
def check_token_map(answer):
    """`answer(Zk, i)`: what patch i looks at, maps (K, n) with 0 at the patch itself; Zk is (K, 1 + n, p)."""
    for K, n, p, i in [(2, 6, 3, 0), (3, 9, 4, 5), (1, 4, 8, 3)]:
        Zk = torch.randn(K, 1 + n, p, dtype=torch.float64)

        def maps(row, own=True, Zk=Zk, i=i, p=p):
            scores = (Zk[:, 1:] @ Zk[:, row, :, None])[..., 0] / p**0.5
            if own:
                scores[:, i] = -torch.inf
            return scores.softmax(-1)

        zeroed = maps(1 + i, own=False)
        zeroed[:, i] = 0
        got = answer(Zk, i)
        name_the_mistake(
            got,
            (maps(i), f"patch {i} is Zk[:, 1 + {i}]: the class token comes first"),
            (maps(i, own=False), f"patch {i} is Zk[:, 1 + {i}]: the class token comes first"),
            (maps(1 + i, own=False), "the patch itself is still in the map: its score has to go before the softmax"),
            (zeroed, "the map does not sum to one: take the patch's own score out before the softmax, not after"),
        )  # fmt: skip
        expect_close(got, maps(1 + i), f"for {K} heads, {n} patches and patch {i}")
    return "Right. Every patch has a map; the class token's is only the one that is read."


@checker
def check_add_noise(answer):
    """`answer(image, noise, hit, sigma)`: uint8 (3, H, W) with sigma * noise (3, H, W) added where hit (H, W)."""
    image = torch.randint(256, (3, 12, 10), dtype=torch.uint8)
    noise, hit = torch.randn(3, 12, 10), torch.rand(12, 10) < 0.5
    for sigma in (10.0, 75.0):
        before = image.clone()
        got = answer(image, noise, hit, sigma)
        expect(
            torch.equal(image, before), "your function changes the image that it was given; make a new one"
        )
        plain = image.float() + sigma * noise * hit
        right = plain.round().clamp(0, 255)
        same = isinstance(got, torch.Tensor) and got.shape == plain.shape
        expect(
            not (same and (got.float() - plain).abs().max() < 1e-3),
            "pixels below 0 or above 255 do not exist: round, clamp, and return uint8",
        )  # fmt: skip
        name_the_mistake(
            got,
            (plain.long().remainder(256), "bytes wrap around: 260 became 4. Clamp to [0, 255] before you turn "
             "to uint8"),
            (plain.round().long().remainder(256), "bytes wrap around: 260 became 4. Clamp to [0, 255] before you turn "
             "to uint8"),
            (plain.clamp(0, 255).floor(), "turning to uint8 cuts off; round first"),
            ((image.float() + sigma * noise).round().clamp(0, 255), "every pixel was hit; only those where hit is "
             "true may be"),
            ((image.float() + sigma**0.5 * noise * hit).round().clamp(0, 255), "sigma is the standard deviation, "
             "not the variance"),
            ((image.float() + 255 * sigma * noise * hit).round().clamp(0, 255), "sigma is in grey levels already"),
        )  # fmt: skip
        expect_close(got, right, f"for sigma = {sigma:g}")
        expect(got.dtype == torch.uint8, f"return uint8, got {got.dtype}")
    return "Right."


@checker
def check_first_component(answer):
    """`answer(X, edge)`: coordinates (n,) of tokens X (n, f) along the first component, the edge's mean below."""
    for n, f in [(30, 6), (80, 12)]:
        X = torch.randn(n, f, dtype=torch.float64) * 0.6 ** torch.arange(f) + 4
        edge = X[:, 0] + 0.5 * torch.randn(n, dtype=torch.float64) > 4.3
        for outside in (edge, ~edge):
            right = fit_token_pca(X, outside).scores(X)[:, 0]
            values, vectors = torch.linalg.eigh(torch.cov(X.T))
            through_origin = X @ torch.linalg.svd(X, full_matrices=False).Vh[0]
            got = answer(X, outside)
            name_the_mistake(
                got,
                (-right, "the sign: tokens of the edge must score lower on average than the others"),
                (right + X.mean(0) @ vectors[:, -1] * _sign(right, (X - X.mean(0)) @ vectors[:, -1]),
                 "centre the tokens before you project them"),
                (through_origin, "centre the tokens first: without that the first direction is mostly their mean"),
                (-through_origin, "centre the tokens first: without that the first direction is mostly their mean"),
                *((s * (X - X.mean(0)) @ vectors[:, 0], "that is the last component: eigh sorts from small to large")
                  for s in (1, -1)),
                *((s * right / values[-1].sqrt(), "do not divide by the spread: the coordinate itself is asked for")
                  for s in (1, -1)),
            )  # fmt: skip
            expect_close(got, right, f"for {n} tokens of {f} features", rtol=1e-5)
    return "Right. That sign is a convention: it says where the border is, not where the object is."


def _sign(a, b):
    return torch.sign((a * b).sum())


@checker
def check_resize_position(answer):
    """`answer(position, rows, columns)`: positions (1, 1 + g*g, d) on another grid; class token first."""
    for g, d, rows, columns in [(4, 6, 9, 9), (3, 5, 4, 7), (8, 4, 3, 5)]:
        position = torch.randn(1, 1 + g * g, d)

        def moved(rows, columns, tokens=position[:, 1:], g=g, **how):
            grid = rearrange(tokens, "1 (h w) d -> 1 d h w", h=g)
            how = {"mode": "bicubic", "align_corners": False} | how
            return rearrange(F.interpolate(grid, size=(rows, columns), **how), "1 d h w -> 1 (h w) d")

        first = position[:, :1]
        right = torch.cat([first, moved(rows, columns)], 1)
        scrambled = position[:, 1:].reshape(1, d, g, g)
        scrambled = F.interpolate(scrambled, size=(rows, columns), mode="bicubic", align_corners=False)
        turned = rearrange(position[:, 1:], "1 (w h) d -> 1 d h w", h=g)
        turned = F.interpolate(turned, size=(rows, columns), mode="bicubic", align_corners=False)
        what = f"from {g} x {g} to {rows} x {columns} patches"
        suspects = [
            (moved(rows, columns), f"{what}: the class token's own position is missing; it comes first, unchanged"),
            (torch.cat([moved(rows, columns), first], 1), f"{what}: the class token comes first, not last"),
            (torch.cat([first, scrambled.reshape(1, rows * columns, d)], 1),
             f"{what}: reshape does not swap axes; channels have to come to the front by permute or rearrange"),
            (torch.cat([first, scrambled.flatten(2).mT], 1),
             f"{what}: reshape does not swap axes; channels have to come to the front by permute or rearrange"),
            (torch.cat([first, rearrange(turned, "1 d h w -> 1 (h w) d")], 1),
             f"{what}: patches are counted row by row"),
            (torch.cat([first, moved(rows, columns, mode="bilinear")], 1), f"{what}: bicubic, not bilinear"),
            (torch.cat([first, moved(rows, columns, align_corners=True)], 1), f"{what}: align_corners=False: a patch "
             "is an area, and its position is that of its middle"),
        ]  # fmt: skip
        if rows != columns:
            suspects.append(
                (torch.cat([first, moved(columns, rows)], 1), f"{what}: rows and columns are swapped")
            )
        got = answer(position, rows, columns)
        _name_roughly(got, suspects)
        expect_close(got, right, what, rtol=1e-5)
    return "Right. That is all that a network trained on thumbnails needs to read a large picture."


def _name_roughly(got, suspects):
    """As :func:`name_the_mistake`, for single precision."""
    got = torch.as_tensor(got)
    for wrong, said in suspects:
        expect(got.shape != wrong.shape or not torch.allclose(got.float(), wrong, atol=1e-5), said)
