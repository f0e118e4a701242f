"""Wrong answers to the exercises of chapter 05, each with the message that it should get."""

import torch

from crate_mini.compression import mssa
from crate_mini.sparsification import ista_step


def layer(Z, U, W, b, D, norm1, norm2):
    Z = Z + mssa(norm1(Z), U, W, b)
    return ista_step(norm2(Z), D)


def skip_from_normalised(Z, U, W, b, D, norm1, norm2):
    X = norm1(Z)
    return ista_step(norm2(X + mssa(X, U, W, b)), D)


def second_skip(Z, U, W, b, D, norm1, norm2):
    Z = Z + mssa(norm1(Z), U, W, b)
    return Z + ista_step(norm2(Z), D)


def sparsify_first(Z, U, W, b, D, norm1, norm2):
    Z = ista_step(norm1(Z), D)
    return Z + mssa(norm2(Z), U, W, b)


def attention(Z, U, *, scale=None, axis=-1, back=True):
    p = U.shape[-1]
    heads = []
    for Uk in U:
        Zk = Z @ Uk
        weights = (Zk @ Zk.mT * (p**-0.5 if scale is None else scale)).softmax(axis)
        heads.append(weights @ Zk @ Uk.T if back else weights @ Zk)
    return sum(heads) if back else torch.cat(heads, -1)


def rows(U):
    return U.permute(0, 2, 1).reshape(-1, U.shape[1])


def operations(B, N, d, ista):
    return B * (2 * N * d**2 + 2 * N**2 * d) + ista


def read(shapes):
    classes, dim = shapes["head.weight"]
    grid = round((shapes["embedding.position"][1] - 1) ** 0.5)
    patch = round((shapes["embedding.patches.1.weight"][1] / 3) ** 0.5)
    return {
        "dim": dim,
        "depth": len({name.split(".")[2] for name in shapes if ".blocks." in name}),
        "patch_size": patch,
        "image_size": grid * patch,
        "num_classes": classes,
        "attention": "mhsa" if "encoder.blocks.0.attention.project.bias" in shapes else "mssa",
        "feed": "ista" if "encoder.blocks.0.feed.D" in shapes else "mlp",
    }


WRONG = {
    "check_layer_parameters": [
        (lambda d, K, p: 3 * d**2 + 5 * d, r"d=48, K=4, p=24.*right only for Kp = d"),
        (lambda d, K, p: 2 * d * K * p + d**2 + 4 * d, "W has a bias"),
        (lambda d, K, p: 2 * d * K * p + d**2 + d, "4d too few: the two LayerNorms"),
        (lambda d, K, p: 2 * d * K * p + d**2 + 3 * d, "2d too few: there are two LayerNorms"),
        (lambda d, K, p: 2 * d * K * p + d**2 + 5 * d + K * p, "the projection U has no bias"),
        (lambda d, K, p: d * K * p + d**2 + 4 * d, "W and its bias are missing"),
        (lambda d, K, p: 4 * d * K * p + d**2 + 5 * d, "count U once"),
        (lambda d, K, p: 1, r"a layer has 7,152 parameters, you say 1$"),
    ],
    "check_equivariance": [
        (lambda layer, Z, order: True, "a running sum depends on the order"),
        (lambda layer, Z, order: False, "a CRATE layer shuffles with its tokens"),
        (lambda layer, Z, order: torch.allclose(layer(Z[:, order]), layer(Z), atol=1e-5), "compare with the shuffled"),
        (lambda layer, Z, order: torch.allclose(layer(Z[:, order]), layer(Z)[:, order], atol=0.3), "tolerance"),
        (
            lambda layer, Z, order: torch.allclose(
                layer(Z[:, order]).sort(1).values, layer(Z).sort(1).values, atol=1e-5
            )
            or torch.allclose(layer(Z[:, order]) - Z[:, order], layer(Z) - Z, atol=1e-5),
            "adding something to each place depends on the order",
        ),
    ],
    "check_layer": [
        (skip_from_normalised, "The skip starts from the tokens before"),
        (second_skip, "There is no skip connection around the second half"),
        (sparsify_first, "Compress first, then sparsify"),
        (lambda Z, U, W, b, D, n1, n2: ista_step(n2(mssa(n1(Z), U, W, b)), D), "its skip connection is missing"),
        (lambda Z, U, W, b, D, n1, n2: ista_step(n1(Z + mssa(n1(Z), U, W, b)), D), "its own LayerNorm, norm2"),
        (lambda Z, U, W, b, D, n1, n2: ista_step(Z + mssa(n1(Z), U, W, b), D), "sees its tokens through norm2"),
        (lambda Z, U, W, b, D, n1, n2: ista_step(n2(Z + mssa(Z, U, W, b)), D), "Attention sees its tokens through"),
        (lambda Z, U, W, b, D, n1, n2: layer(Z, U, W, None, D, n1, n2), "its bias b is missing"),
        (lambda Z, U, W, b, D, n1, n2: layer(Z, U, W, b, D.T, n1, n2), "not its transpose"),
        (
            lambda Z, U, W, b, D, n1, n2: ista_step(n2(Z + mssa(n1(Z), U, W, b)), D, proximal="soft"),
            "the soft one is another model",
        ),
        (lambda Z, U, W, b, D, n1, n2: Z, r"for 5 tokens of width 12: off by up to [\d.]+, where [-\d.]+ was"),
    ],
    "check_tied": [
        (lambda Z, U: attention(Z, U, scale=1), "The scale p.* inside the softmax is missing"),
        (lambda Z, U: attention(Z, U, scale=1 / U.shape[-1]), "The scale is 1/√p, not 1/p"),
        (lambda Z, U: attention(Z, U, scale=U.shape[1] ** -0.5), "not 1/√d"),
        (lambda Z, U: attention(Z, U, axis=-2), "over the wrong axis"),
        (lambda Z, U: attention(Z, U) / len(U), "summed, not averaged"),
        (lambda Z, U: Z + attention(Z, U), "return the update alone"),
        (lambda Z, U: sum(Z @ u @ (Z @ u).mT @ (Z @ u) @ u.T / u.shape[1] ** 0.5 for u in U), "The softmax is missing"),
        (lambda Z, U: attention(Z, U, back=False) if len(U) == 2 else attention(Z, U), "still in the coordinates"),
        (lambda Z, U: Z[0], "expected shape"),
    ],
    "check_vit_weight": [
        (rows, "that is one projection"),
        (lambda U: rows(U).repeat(3, 1).T.contiguous(), "that is the transpose"),
        (lambda U: torch.cat([u.T.repeat(3, 1) for u in U]), "stand together: put all queries first"),
        (lambda U: U.permute(2, 0, 1).reshape(-1, U.shape[1]).repeat(3, 1), "the heads are interleaved"),
        (lambda U: U.reshape(-1, U.shape[1]).repeat(3, 1), "reshape alone mixes up"),
        (lambda U: 2 * rows(U).repeat(3, 1), "Each third of the rows must hold"),
        (lambda U: 3, "return a tensor, not int"),
    ],
    "check_operations": [
        (lambda B, N, d: operations(B, N, d, 3 * B * N * d**2), "the released code's ISTA"),
        (lambda B, N, d: operations(B, N, d, 2 * B * N * d**2), "folds into one matrix"),
        (lambda B, N, d: operations(B, N, d, B * (N * d**2 + d**3)), "d³ is paid once for the batch"),
        (lambda B, N, d: operations(B, N, d, B * N * d**2), "forming the matrix costs d³"),
        (
            lambda B, N, d: 2 * B * N * d**2
            + 2 * (B * N) ** 2 * d
            + B * N * d**2 + d**3,
            "tokens of different images never meet",
        ),
        (
            lambda B, N, d: 2 * operations(B, N, d, B * N * d**2 + d**3),
            "with its addition counts as one",
        ),
        (
            lambda B, N, d: operations(B, N, d, B * N * d**2 + d**3) - B * N**2 * d,
            "two products of N²d",
        ),
    ],
    "check_read_config": [
        (lambda s: list(s), "return a dictionary, not list"),
        (lambda s: {"dim": 96}, "the dictionary lacks depth, patch_size"),
        (lambda s: read(s) | {"dim": s["embedding.patches.1.weight"][1]}, "dim is 96, you say 192"),
        (lambda s: read(s) | {"depth": max(int(k[15]) for k in s if ".blocks." in k) + 1}, "two digits"),
        (lambda s: read(s) | {"patch_size": s["embedding.patches.1.weight"][1]}, r"has 3·patch² columns"),
        (lambda s: read(s) | {"image_size": s["embedding.position"][1]}, "position has one row for the class token"),
        (lambda s: read(s) | {"attention": "mssa"}, "vit_nano: attention is 'mhsa'"),
        (lambda s: read(s) | {"feed": "ista"}, "feed.D"),
        (lambda s: read(s) | {"num_classes": s["head.weight"][1]}, "first size of head.weight"),
    ],
}  # fmt: skip
