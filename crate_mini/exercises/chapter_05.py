"""Checkers of chapter 05, CRATE: the layer from its parts, what it costs, and what it shares with a ViT's."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from crate_mini.compression import MSSA, mssa
from crate_mini.exercises import checker, expect, expect_close
from crate_mini.model import MHSA, count_parameters, create_model
from crate_mini.sparsification import ista_step


@checker
def check_layer_parameters(answer):
    """`answer(d, K, p)` is the number of parameters of a CRATE layer with K heads of dimension p."""
    for d, K, p in [(48, 4, 12), (48, 4, 24), (64, 1, 8), (96, 6, 32)]:
        expected = count_parameters(create_model("crate_nano", dim=d, heads=K, head_dim=p).blocks[0])
        got = answer(d, K, p)
        slips = {
            3 * d**2 + 5 * d: "that is right only for Kp = d: U and W have Kp rows or columns, not d",
            expected - d: "that is d too few: W has a bias",
            expected - 4 * d: "that is 4d too few: the two LayerNorms have a scale and a shift each",
            expected - 2 * d: "that is 2d too few: there are two LayerNorms, with a scale and a shift each",
            expected + K * p: "that is Kp too many: the projection U has no bias",
            expected - d * K * p - d: "W and its bias are missing: the output has a matrix of its own",
            expected + 2 * d * K * p: "one projection serves as query, key and value: count U once",
        }
        said = next((text for value, text in slips.items() if got == value and value != expected), "")
        expect(
            got == expected,
            f"for d={d}, K={K}, p={p} a layer has {expected:,} parameters, you say {got:,}"
            + (f"; {said}" if said else ""),
        )
    return "Right: 2dKp + d² + 5d, which is 3d² + 5d when Kp = d."


@checker
def check_equivariance(answer):
    """`answer(layer, Z, order)` says whether shuffling the tokens shuffles the layer's output, and no more."""
    layer = create_model("crate_nano", dim=24, heads=2).blocks[0]
    order = torch.tensor([3, 0, 1, 4, 2, 6, 5])
    Z = torch.randn(2, 7, 24)
    places = torch.randn(7, 24)
    with torch.no_grad():
        expect(
            answer(layer, Z, order),
            "a CRATE layer shuffles with its tokens, you say it does not: compare with the shuffled output, "
            "and allow for rounding",
        )
        expect(not answer(lambda Z: Z.cumsum(1), Z, order), "a running sum depends on the order, you say not")
        expect(
            not answer(lambda Z: Z + places, Z, order),
            "adding something to each place depends on the order, you say it does not",
        )
        expect(
            not answer(lambda Z: Z + Z[:, :1], Z, order),
            "a layer that treats the first token apart depends on the order, you say it does not",
        )
        expect(
            not answer(lambda Z: Z + 1e-2 * places, Z, order),
            "a difference of a hundredth is not rounding: your tolerance is too wide",
        )
    return "Right. So without the position embedding, CRATE would see a bag of patches."


@checker
def check_layer(answer):
    """`answer(Z, U, W, b, D, norm1, norm2)` is one CRATE layer, with ISTA's default steps."""
    d, K, p = 12, 3, 4
    norms = []
    for shift in (0.3, -0.2):
        norm = nn.LayerNorm(d, dtype=torch.float64)
        nn.init.normal_(norm.weight, 1.0, 0.3)
        nn.init.constant_(norm.bias, shift)
        norms.append(norm.requires_grad_(False))
    norm1, norm2 = norms
    U, W, b, D = (
        torch.randn(s, dtype=torch.float64) / math.sqrt(d) for s in [(K, d, p), (d, K * p), (d,), (d, d)]
    )

    def attend(X: Tensor) -> Tensor:
        return mssa(X, U, W, b)

    for n in (5, 20):
        Z = torch.randn(2, n, d, dtype=torch.float64)
        X = norm1(Z)
        middle = Z + attend(X)
        expected = ista_step(norm2(middle), D)
        slips = {
            "the skip starts from the tokens before their LayerNorm, Z, and not from LN(Z)": ista_step(
                norm2(X + attend(X)), D
            ),
            "the first half adds to what came in: its skip connection is missing": ista_step(
                norm2(attend(X)), D
            ),
            "there is no skip connection around the second half": middle + expected,
            "the second half has its own LayerNorm, norm2": ista_step(norm1(middle), D),
            "the second half sees its tokens through norm2": ista_step(middle, D),
            "attention sees its tokens through norm1": ista_step(norm2(Z + attend(Z)), D),
            "attention gets W, but its bias b is missing": ista_step(norm2(middle - b), D),
            "hand ista_step the dictionary D as it is, not its transpose": ista_step(norm2(middle), D.T),
            "ISTA ends in its own threshold; the soft one is another model": ista_step(
                norm2(middle), D, proximal="soft"
            ),
            "compress first, then sparsify": _sparsify_first(Z, attend, D, norm1, norm2),
        }
        got = answer(Z, U, W, b, D, norm1, norm2)
        hint = next((text for text, value in slips.items() if _same(got, value)), "")
        expect_close(got, expected, f"for {n} tokens of width {d}", hint=hint)
    return "Right: two lines, and the whole network is these two lines, repeated."


@checker
def check_tied(answer):
    """`answer(Z, U)` is attention whose output basis is U again, without any other parameter."""
    d = 24
    for K, p in [(3, 8), (2, 5)]:
        Z, U = torch.randn(2, 7, d, dtype=torch.float64), torch.randn(K, d, p, dtype=torch.float64) / 3
        Zk = torch.einsum("bnd,kdp->bknp", Z, U)
        gram = Zk @ Zk.mT

        def out(weights: Tensor, Zk: Tensor = Zk, U: Tensor = U) -> Tensor:
            return torch.einsum("bknm,bkmp,kdp->bnd", weights, Zk, U)

        expected = out((gram / p**0.5).softmax(-1))
        slips = {
            "the scale p^{-1/2} inside the softmax is missing": out(gram.softmax(-1)),
            "the scale is 1/√p, not 1/p": out((gram / p).softmax(-1)),
            "the scale is 1/√p, with the dimension of a head, not 1/√d": out((gram / d**0.5).softmax(-1)),
            "the softmax runs over the wrong axis: the weights of one token, a row, sum to one": out(
                (gram / p**0.5).softmax(-2)
            ),
            "the heads are summed, not averaged": expected / K,
            "the softmax is missing": out(gram / p**0.5),
            "this is the updated token: return the update alone": Z + expected,
        }
        got = answer(Z, U)
        expect(
            tuple(getattr(got, "shape", ())) != (2, 7, K * p) or K * p == d,
            "that is still in the coordinates of the heads: map each head back with the transpose of U_k, and add",
        )
        hint = next((text for text, value in slips.items() if _same(got, value)), "")
        expect_close(got, expected, f"with {K} heads of dimension {p}", hint=hint)
    saved = count_parameters(MSSA(d, 3)) - count_parameters(MSSA(d, 3, tied=True))
    return f"Right. At d = {d} a layer saves {saved} parameters, d² + d."


@checker
def check_vit_weight(answer):
    """`answer(U)` is the weight of a ViT's projection for which its attention computes MSSA."""
    for d, K, p in [(12, 3, 4), (10, 2, 3)]:
        ours, vit = MSSA(d, K, p).double(), MHSA(d, K, p).double()
        U = ours.U.detach()
        got = answer(U)
        expect(isinstance(got, Tensor), f"return a tensor, not {type(got).__name__}")
        shape = (3 * K * p, d)
        hint = ""
        if tuple(got.shape) == shape[::-1]:
            hint = ": that is the transpose, for a Linear's weight has one row for each output"
        elif tuple(got.shape) == (K * p, d):
            hint = ": that is one projection, and queries, keys and values need one each"
        expect(
            tuple(got.shape) == shape,
            f"for U of shape {tuple(U.shape)} the weight must be {shape}, got {tuple(got.shape)}{hint}",
        )
        rows = U.permute(0, 2, 1).reshape(K * p, d)
        expect(
            not torch.equal(got, rows.view(K, p, d).repeat_interleave(3, 0).view(shape)),
            "query, key and value of one head stand together: put all queries first, then all keys, all values",
        )
        expect(
            not torch.equal(got, U.permute(2, 0, 1).reshape(K * p, d).repeat(3, 1)),
            "the heads are interleaved: the p rows of the first head come first, then those of the second",
        )
        expect(
            not torch.equal(got, U.reshape(K * p, d).repeat(3, 1)),
            "reshape alone mixes up rows and columns: bring U to (K, p, d) with permute first",
        )
        with torch.no_grad():
            vit.project.weight.copy_(got)
            vit.project.bias.zero_()
            vit.out.load_state_dict(ours.out.state_dict())
            Z = torch.randn(2, 6, d, dtype=torch.float64)
            expect_close(
                vit(Z), ours(Z), f"output of the ViT's attention with {K} heads",
                hint="each third of the rows must hold the columns of U_1, then of U_2, …",
            )  # fmt: skip
    return "Right: whatever MSSA can do, a ViT's attention can, with three times the parameters before W."


@checker
def check_operations(answer):
    """`answer(B, N, d)` is the number of multiply-adds of a CRATE layer for B images of N tokens."""
    for B, N, d in [(1, 5, 12), (1, 24, 12), (4, 5, 12), (3, 16, 8)]:
        block = create_model("crate_nano", dim=d, heads=2).blocks[0]
        heads, Z = block.attention, torch.randn(B, N, d)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            mssa(Z, heads.U, heads.out.weight, heads.out.bias)
            block.feed(Z)
        expected, got = counter.get_total_flops() // 2, answer(B, N, d)
        around = 2 * B * N * d**2
        look = 2 * B * N**2 * d
        slips = {
            around + look + 3 * B * N * d**2: "that is the released code's ISTA, with three products",
            around
            + look
            + 2 * B * N * d**2: "ISTA folds into one matrix: form it once, then one product for each token",
            around + look + B * N * d**2: "forming the matrix costs d³, once",
            around
            + look
            + B * (N * d**2 + d**3): "all images share the matrix: d³ is paid once for the batch",
            around + 2 * (B * N) ** 2 * d + expected - around - look: "tokens of different images never meet",
            2 * expected: "a multiplication with its addition counts as one",
            expected - look // 2: "attention has two products of N²d: comparing, and gathering",
        }
        said = next((text for value, text in slips.items() if got == value and value != expected), "")
        expect(
            got == expected,
            f"for B={B}, N={N}, d={d} PyTorch counts {expected:,}, you say {got:,}"
            + (f"; {said}" if said else ""),
        )
    return "Right: one product a token, and d³ once for all images."


@checker
def check_read_config(answer):
    """`answer(shapes)` reads dim, depth, sizes, classes and both operators from the shapes of a state dict."""
    cases = [
        ("crate_nano", {"num_classes": 7}),
        ("vit_nano", {"patch_size": 4, "image_size": 32, "num_classes": 100}),
        ("crate_mlp_nano", {"depth": 11, "patch_size": 16, "image_size": 48}),
        ("crate_mhsa_nano", {"dim": 64, "heads": 8, "depth": 3}),
    ]
    where = {
        "dim": "the second size of head.weight is one place to read it",
        "depth": "count the different numbers behind 'encoder.blocks.'; from ten layers on they have two digits",
        "patch_size": "embedding.patches.1.weight has 3·patch² columns",
        "image_size": "embedding.position has one row for the class token; all others are the grid, counted in patches",
        "num_classes": "the first size of head.weight",
        "attention": "a ViT's project has a bias, CRATE's has none",
        "feed": "ISTA has a dictionary, feed.D; an MLP has feed.0 and feed.2",
    }
    for name, settings in cases:
        with torch.device("meta"):
            model = create_model(name, **settings)
        got = answer({key: tuple(value.shape) for key, value in model.state_dict().items()})
        expect(isinstance(got, dict), f"return a dictionary, not {type(got).__name__}")
        missing = [key for key in where if key not in got]
        expect(not missing, f"the dictionary lacks {', '.join(missing)}")
        for key, place in where.items():
            expected = getattr(model.config, key)
            expect(got[key] == expected, f"{name}: {key} is {expected!r}, you say {got[key]!r}; {place}")
    return (
        "Right. What cannot be read is the number of heads: U has Kp columns, and nothing says where a head ends. "
        "Weights without a configuration are not a model."
    )


def _same(got: object, value: Tensor) -> bool:
    return isinstance(got, Tensor) and got.shape == value.shape and torch.allclose(got.to(value.dtype), value)


def _sparsify_first(Z: Tensor, attend, D: Tensor, norm1: nn.Module, norm2: nn.Module) -> Tensor:
    Z = ista_step(norm1(Z), D)
    return Z + attend(norm2(Z))
