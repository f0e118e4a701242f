"""Wrong answers to the exercises of chapter 08, each with the message that it should get."""

import torch
import torch.nn.functional as F


def cls_scores(Z, U, power=0.5, size=None):
    Zk = Z @ U
    return (Zk @ Zk[:, 0, :, None])[..., 0] / (size or U.shape[-1]) ** power


def find_temperature(scores, count, wanted, low=1e-3, high=1e3):
    for _ in range(200):
        T = (low * high) ** 0.5
        low, high = (T, high) if count((scores / T).softmax(-1)) < wanted else (low, T)
    return T


def spread(q):
    return torch.special.entr(q).sum().exp()


def token_map(Zk, i, row=None, own=-torch.inf):
    row = 1 + i if row is None else row
    scores = (Zk[:, 1:] @ Zk[:, row, :, None])[..., 0] / Zk.shape[-1] ** 0.5
    if own is not None:
        scores[:, i] = own
    return scores.softmax(-1)


def zero_after(Zk, i):
    maps = token_map(Zk, i, own=None)
    maps[:, i] = 0
    return maps


def add(image, noise, hit, sigma):
    return image.float() + sigma * noise * hit


def in_place(image, noise, hit, sigma):
    image.copy_(add(image, noise, hit, sigma).round().clamp(0, 255))
    return image


def component(X, edge, *, which=-1, centre=True, flip=1, divide=False):
    Y = X - X.mean(0)
    values, vectors = torch.linalg.eigh(Y.T @ Y / (len(Y) - 1))
    v = vectors[:, which]
    y = Y @ v
    v = v if y[edge].mean() < y[~edge].mean() else -v
    scores = flip * ((Y if centre else X) @ v)
    return scores / values[-1].sqrt() if divide else scores


def not_centred(X, edge):
    return X @ torch.linalg.svd(X, full_matrices=False).Vh[0]


def positions(position, rows, columns, *, cls="first", mode="bicubic", corners=False, scramble=False):
    g, d = round((position.shape[1] - 1) ** 0.5), position.shape[2]
    rest = position[:, 1:]
    grid = rest.reshape(1, d, g, g) if scramble else rest.reshape(1, g, g, d).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (rows, columns), mode=mode, align_corners=corners)
    tokens = grid.flatten(2).mT
    return {
        "first": torch.cat([position[:, :1], tokens], 1),
        "last": torch.cat([tokens, position[:, :1]], 1),
        "none": tokens,
    }[cls]


WRONG = {
    "check_cls_map": [
        (lambda Z, U: cls_scores(Z, U).softmax(-1)[:, 1:], "before it, not after"),
        (lambda Z, U: cls_scores(Z, U).softmax(-1), "patches alone"),
        (lambda Z, U: cls_scores(Z, U, 0)[:, 1:].softmax(-1), "is missing"),
        (lambda Z, U: cls_scores(Z, U, 1)[:, 1:].softmax(-1), "root of p"),
        (lambda Z, U: cls_scores(Z, U, size=U.shape[1])[:, 1:].softmax(-1), "not d"),
        (lambda Z, U: cls_scores(Z, U)[:, 1:].softmax(0), "over heads"),
        (lambda Z, U: cls_scores(Z, U)[:, 1:], "their softmax"),
        (lambda Z, U: cls_scores(Z, U)[:, 1:].softmax(-1).T, "expected shape"),
    ],
    "check_temperature_for": [
        (lambda s, w: 1 / find_temperature(s, spread, w), "that is 1/T"),
        (lambda s, w: find_temperature(s, lambda q: 1 / q.square().sum(), w), "another count"),
        (lambda s, w: 1.0, "a larger T spreads more"),
        (lambda s, w: -1.0, "is positive"),
        (lambda s, w: (s / find_temperature(s, spread, w)).softmax(-1), "one number"),
    ],
    "check_token_map": [
        (lambda Zk, i: token_map(Zk, i, row=i), "class token comes first"),
        (lambda Zk, i: token_map(Zk, i, own=None), "itself is still in the map"),
        (zero_after, "does not sum to one"),
        (lambda Zk, i: token_map(Zk, i)[:, :-1], "expected shape"),
    ],
    "check_add_noise": [
        (lambda x, n, h, s: add(x, n, h, s), "do not exist"),
        (lambda x, n, h, s: add(x, n, h, s).round().long().remainder(256).to(torch.uint8), "wrap around"),
        (lambda x, n, h, s: add(x, n, h, s).clamp(0, 255).to(torch.uint8), "round first"),
        (lambda x, n, h, s: (x + s * n).round().clamp(0, 255).to(torch.uint8), "every pixel was hit"),
        (lambda x, n, h, s: add(x, n, h, s**0.5).round().clamp(0, 255).to(torch.uint8), "not the variance"),
        (in_place, "make a new one"),
        (lambda x, n, h, s: add(x, n, h, s).round().clamp(0, 255), "return uint8"),
    ],
    "check_first_component": [
        (lambda X, edge: component(X, edge, flip=-1), "sign"),
        (lambda X, edge: component(X, edge, which=0), "from small to large"),
        (lambda X, edge: component(X, edge, centre=False), "before you project"),
        (not_centred, "mostly their mean"),
        (lambda X, edge: component(X, edge, divide=True), "do not divide"),
    ],
    "check_resize_position": [
        (lambda p, r, c: positions(p, r, c, cls="none"), "is missing"),
        (lambda p, r, c: positions(p, r, c, cls="last"), "not last"),
        (lambda p, r, c: positions(p, r, c, scramble=True), "does not swap axes"),
        (lambda p, r, c: positions(p, r, c, mode="bilinear"), "not bilinear"),
        (lambda p, r, c: positions(p, r, c, corners=True), "is an area"),
        (lambda p, r, c: positions(p, c, r), "swapped"),
    ],
}
