r"""What a head stands for, measured: part scores with controls, consistency, matching across seeds, and steering.

The segmentation paper shows four heads picked by hand (arXiv 2308.16271, Figure 7: legs, body, face, ear). Here a
head is asked the same question with numbers. Its map orders the patches of a picture; :func:`part_scores` says how
well that order tells the pixels of one part from the others. What the number is worth, the controls say: random
subspaces of the same tokens (:func:`random_bases`), the head's map of another picture, an untrained network; and the
best of many is called best only after :func:`~crate_mini.stats.expected_best_of` or
:func:`~crate_mini.stats.simultaneous` has been asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE
from crate_mini.passes import run
from crate_mini.progress import bar, shown
from crate_mini.recorder import layer_numbers, record
from crate_mini.stats import auroc, expected_best_of, patch_counts, refuse_nan
from crate_mini.stats import simultaneous as simultaneous

BY = {
    "attention": "p^{-1/2} <U_k^T z_cls, U_k^T z_i>: what the class token's attention is the softmax of",
    "energy": "|| U_k^T z_i ||^2: how much of a patch lies in the subspace of the head",
}
"""What a head's map can be made of."""

WITHIN = {
    "object": "pixels of the part against all other pixels of the object",
    "image": "pixels of the part against all other pixels of the picture",
}
"""What a part is told apart from."""

# ---- maps -----------------------------------------------------------------------------------------------------------


def head_maps(
    model: CRATE,
    images: Shaped[Tensor, "b 3 H W"],
    layers: Sequence[int] | None = None,
    *,
    by: str = "attention",
    bases: Float[Tensor, "L R d p"] | None = None,
    batch_size: int = 64,
) -> Float[Tensor, "b L K n"]:
    r"""One number a patch for each head, higher where the head answers more.

    Attention is left before its softmax: the order of the patches is the same, and nothing rounds to zero.

    Args:
        model: any model of :mod:`crate_mini.model`.
        images: uint8 or float in [0, 1].
        layers: layer numbers; all if None.
        by: a key of :data:`BY`. For a ViT, queries and keys take the place of the projections (the keys alone for
            ``"energy"``).
        bases: for each of ``layers`` ``R`` subspaces that take the heads' place: the same tokens, seen through
            others than the network's own. For a ViT too they serve as queries and keys at once.
        batch_size: images a forward pass.

    Returns:
        On the CPU, float32; the patches row by row; ``K`` is ``R`` where ``bases`` are given.

    Raises:
        ValueError: an unknown ``by``, or bases that do not fit the layers and the tokens.
    """
    if by not in BY:
        raise ValueError(f"by must be one of {tuple(BY)}, got {by!r}")
    numbers = layer_numbers(model, layers)
    if bases is not None and (len(bases) != len(numbers) or bases.shape[2] != model.config.dim):
        raise ValueError(
            f"bases must be ({len(numbers)} layers, R, {model.config.dim}, p), got {tuple(bases.shape)}"
        )
    name = "attention_in" if bases is not None else "cls_scores" if by == "attention" else "projections"

    def look(batch: Tensor) -> Tensor:
        kept = record(model, batch, name, layers=numbers)
        by_layer = [kept.patches(name, i) for i in numbers]
        if bases is not None:
            of_class = [kept[name][i][:, 0] for i in numbers]
            by_layer = [
                _seen_through(U.to(patches), asks, patches, by)
                for U, asks, patches in zip(bases, of_class, by_layer, strict=True)
            ]
        elif by == "energy":
            by_layer = [keys.square().sum(-1) for keys in by_layer]
        return torch.stack(by_layer, 1).float()

    return run(model, images, look, batch_size=batch_size)


def _seen_through(
    U: Float[Tensor, "R d p"], of_class: Float[Tensor, "b d"], patches: Float[Tensor, "b n d"], by: str
) -> Float[Tensor, "b R n"]:
    if by == "energy":
        return torch.einsum("bnd,rdp->brnp", patches, U).square().sum(-1)
    # U (U^T z_cls) first: a vector a subspace, where the projections of all patches would be n of them
    probe = torch.einsum("rdp,bd,rep->bre", U, of_class, U) / U.shape[-1] ** 0.5
    return probe @ patches.mT


def random_bases(
    layers: int, count: int, dim: int, head_dim: int, *, seed: int = 0
) -> Float[Tensor, "L R d p"]:
    """Orthonormal bases of random subspaces, for ``bases`` of :func:`head_maps`."""
    if head_dim > dim:
        raise ValueError(f"{dim} dimensions have no subspace of {head_dim}")
    dice = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(layers, count, dim, head_dim, generator=dice)).Q


# ---- scores ---------------------------------------------------------------------------------------------------------


def pixel_counts(labels: UInt8[Tensor, "b H W"], patch_size: int, count: int) -> Float[Tensor, "b count n"]:
    """How many pixels of each label from 0 to ``count - 1`` every patch holds; other labels are not counted."""
    h, w = (side // patch_size for side in labels.shape[-2:])
    return torch.stack([patch_counts(labels == label, (h, w)) for label in range(count)], 1).float()


def part_scores(
    maps: Float[Tensor, "b *heads n"],
    pixels: Float[Tensor, "b labels n"],
    within: str = "object",
    *,
    least: int = 16,
) -> Float[Tensor, "b *heads P"]:
    """How well each map finds each part: the AUROC of its pixels, picture by picture.

    Every pixel has the value of the patch it lies in. Since a patch on the border holds several parts, even the best
    map stays below 1: see :func:`part_ceiling`.

    Args:
        maps: of :func:`head_maps`, in any arrangement of layers and heads.
        pixels: of :func:`pixel_counts`; label 0 is the background, the others are the parts.
        within: a key of :data:`WITHIN`.
        least: NaN for a picture that shows fewer pixels of the part, or fewer of what it is told apart from.

    Returns:
        The last dimension are the parts, label 1 first.

    Raises:
        ValueError: an unknown ``within``.
    """
    if within not in WITHIN:
        raise ValueError(f"within must be one of {tuple(WITHIN)}, got {within!r}")
    positive = pixels[:, 1:]
    against = positive if within == "object" else pixels
    negative = against.sum(1, keepdim=True) - positive
    flat = maps.flatten(1, -2) if maps.ndim > 2 else maps[:, None]
    # one picture after the other: all at once would hold heads x parts x patches of them in memory
    pictures = bar(list(zip(flat, positive, negative, strict=True)), desc="scores", unit="image", leave=False)
    scores = torch.stack([auroc(m[:, None], a, b).float() for m, a, b in pictures])
    seen = (positive.sum(-1) >= least) & (negative.sum(-1) >= least)
    return torch.where(seen[:, None], scores, torch.nan).view(*maps.shape[:-1], -1)


def part_ceiling(pixels: Float[Tensor, "b labels n"], within: str = "object", *, least: int = 16) -> Tensor:
    """The highest :func:`part_scores` that any map on this grid of patches can have."""
    positive = pixels[:, 1:]
    total = (positive if within == "object" else pixels).sum(1, keepdim=True)
    share = positive / total.clamp(min=1)  # ordering patches by their share of the part is best
    scores = part_scores(share, pixels, within, least=least)  # (b, P maps, P parts)
    return scores.diagonal(dim1=-2, dim2=-1)


def part_mass(
    maps: Float[Tensor, "b *heads n"], pixels: Float[Tensor, "b labels n"], *, least: int = 16
) -> Float[Tensor, "b *heads P"]:
    r"""The share of a head's attention on each part: :math:`\sum_i \mathrm{softmax}(s)_i\, a_i / (a_i + b_i)`.

    Within a patch of :math:`a_i` pixels of the part and :math:`b_i` others attention is taken to be spread evenly. The
    softmax is over the patches alone. Attention that is the same everywhere has the part's share of the picture:
    :func:`part_area`.

    Args:
        maps: of :func:`head_maps`, before the softmax.
        pixels: of :func:`pixel_counts`; every pixel of a patch must be counted.
        least: NaN for a picture that shows fewer pixels of the part.
    """
    share = pixels[:, 1:] / pixels.sum(1, keepdim=True)
    weight = maps.flatten(1, -2) if maps.ndim > 2 else maps[:, None]
    mass = weight.softmax(-1) @ share.mT
    seen = pixels[:, 1:].sum(-1) >= least
    return torch.where(seen[:, None], mass, torch.nan).view(*maps.shape[:-1], -1)


def part_area(pixels: Float[Tensor, "b labels n"]) -> Float[Tensor, "b P"]:
    """The share of the picture that each part covers."""
    return pixels[:, 1:].sum(-1) / pixels.sum((1, 2))[:, None]


# ---- what a score is worth ------------------------------------------------------------------------------------------


class Names(NamedTuple):
    """Which head may be called by which part, ``(L, K, P)`` each; see :func:`names`.

    Attributes:
        above: above chance.
        looks: better than its maps of other pictures.
        rare: better than the best of as many random subspaces.
        lies: more of its attention lies on the part than the part covers.
    """

    above: Bool[Tensor, "L K P"]
    looks: Bool[Tensor, "L K P"]
    rare: Bool[Tensor, "L K P"]
    lies: Bool[Tensor, "L K P"]

    @property
    def earned(self) -> Bool[Tensor, "L K P"]:
        """All four."""
        return self.above & self.looks & self.rare & self.lies


def names(
    scores: Float[Tensor, "n L K P"],
    elsewhere: Float[Tensor, "n L K P"],
    pool: Float[Tensor, "L R P"],
    excess: Float[Tensor, "n L K P"],
) -> Names:
    """The four tests that a name has to pass, each corrected for all heads and parts at once.

    Args:
        scores: :func:`part_scores` of the heads, within the object.
        elsewhere: the same with :func:`shuffle_pictures`, the maps of other pictures.
        pool: mean scores of random subspaces of each layer's tokens.
        excess: :func:`part_mass` less :func:`part_area`.
    """
    return Names(
        above=simultaneous(scores)["low"] > 0.5,
        looks=simultaneous(scores - elsewhere)["low"] > 0,
        rare=standing(mean_seen(scores), pool)["p"] < 0.05,
        lies=simultaneous(excess)["low"] > 0,
    )


best_of = expected_best_of
"""The expected highest of ``k`` values drawn from a pool."""


def mean_seen(scores: Float[Tensor, " n *entries"]) -> Float[Tensor, "*entries"]:
    """Mean over the pictures that show the part (NaN is: does not show it); NaN where none does."""
    return scores.double().nanmean(0)


def standing(
    observed: Float[Tensor, "L K P"], pool: Float[Tensor, "L R P"], *, draws: int = 2000, seed: int = 0
) -> dict[str, Any]:
    r"""How every head stands among random subspaces of its own layer, corrected for all heads and parts at once.

    A score is written as :math:`z = (\text{score} - \text{mean of the pool}) / \text{its standard deviation}`, layer by
    layer and part by part (a subspace of the pool is held against the others of its layer). Then ``K`` subspaces are
    drawn from the pool of every layer, as many as a network has, and the largest ``z`` of all of them and all parts is
    noted, ``draws`` times. What is higher than all but 5 % of these maxima, the best of as many random ones would
    hardly reach.

    Args:
        observed: mean scores of the heads.
        pool: mean scores of ``R`` random subspaces a layer, on the same pictures.
        draws: of sets of random subspaces.
        seed: of the draws.

    Returns:
        ``z`` ``(L, K, P)``; ``p`` ``(L, K, P)``, the share of draws whose maximum is at least as high (one added to
        both, so never 0); ``threshold``, the 95 % quantile of the maxima.

    Raises:
        ValueError: a pool of fewer than three subspaces, or than there are heads.
    """
    K, R = observed.shape[1], pool.shape[1]
    if max(3, K) > R:
        raise ValueError(f"the pool must hold at least {max(3, K)} subspaces a layer, got {R}")
    pool = pool.double()
    z = (observed.double() - pool.mean(1, keepdim=True)) / pool.std(1, keepdim=True)
    # each against the mean and the spread of the others: against its own too, none would ever stand out
    others = (pool.sum(1, keepdim=True) - pool) / (R - 1)
    squares = pool.square().sum(1, keepdim=True) - pool.square() - (R - 1) * others.square()
    among = (pool - others) / (squares / (R - 2)).clamp(min=1e-12).sqrt()
    high = among.nan_to_num(-torch.inf).amax(-1)  # the best part of every random subspace
    dice = torch.Generator().manual_seed(seed)
    chosen = torch.rand(draws, *high.shape, generator=dice).argsort(-1)[..., :K]
    maxima = high.expand(draws, -1, -1).gather(-1, chosen).flatten(1).amax(1)
    reached = (maxima[:, None] >= z.flatten().nan_to_num(-torch.inf)).sum(0)
    p = ((1 + reached) / (1 + draws)).view(z.shape)
    return {
        "z": z,
        "p": torch.where(z.isnan(), torch.nan, p.double()),
        "threshold": float(maxima.quantile(0.95)),
    }


def choose_and_report(
    scores: Float[Tensor, "n heads P"], *, draws: int = 200, seed: int = 0
) -> dict[str, Float[Tensor, " P"]]:
    """For each part the best head, chosen on a random half of the pictures and reported on the other.

    Returns:
        Means over ``draws`` halvings: ``chosen``, its score where it was chosen (flattering); ``reported``, on the
        other half (fair); ``same``, how often the other half would have chosen it too.
    """
    found = {"chosen": [], "reported": [], "same": []}
    for a, b in _halvings(len(scores), draws, seed):
        here, there = mean_seen(scores[a]), mean_seen(scores[b])
        best, other = (s.nan_to_num(-1).argmax(0, keepdim=True) for s in (here, there))
        found["chosen"].append(here.gather(0, best)[0])
        found["reported"].append(there.gather(0, best)[0])
        found["same"].append((best == other)[0].double())
    seen = (~scores[:, 0].isnan()).sum(0) > 1  # one picture has no other half
    return {k: torch.stack(v).nanmean(0).masked_fill(~seen, torch.nan) for k, v in found.items()}


def shuffle_pictures(maps: Float[Tensor, "b *heads n"]) -> Float[Tensor, "b *heads n"]:
    """Every picture gets the maps of the picture half a set away: what is left is where heads look anyway.

    Raises:
        ValueError: a single picture, which would get its own.
    """
    if len(maps) < 2:
        raise ValueError("a picture cannot get the maps of another one: there is no other; take two or more")
    return maps.roll(len(maps) // 2, 0)


def permute_heads(scores: Float[Tensor, "n K P"], *, seed: int = 0) -> Float[Tensor, "n K P"]:
    """In each picture the heads in another random order: heads with nothing of their own."""
    order = torch.rand(scores.shape[:2], generator=torch.Generator().manual_seed(seed)).argsort(1)
    return scores.gather(1, order[..., None].expand_as(scores))


# ---- consistency ----------------------------------------------------------------------------------------------------


def recognised(a: Float[Tensor, "K P"], b: Float[Tensor, "K P"]) -> Float[Tensor, ""]:
    """Share of heads that are known again: profiles of the same heads on other pictures, matched one to one.

    A profile is a head's mean score for each part, less the mean of all heads: what sets it apart. Parts without a
    score on either side are left out. Matched by :func:`match_heads` on the squared distance; guessing gets ``1 / K``
    right on average.
    """
    known = ~(a.isnan() | b.isnan()).any(0)
    a, b = a[:, known] - a[:, known].mean(0), b[:, known] - b[:, known].mean(0)
    partner = match_heads(-torch.cdist(a, b).square())
    return (partner == torch.arange(len(a))).double().mean()


def recognised_on_halves(
    scores: Float[Tensor, "n K P"], *, draws: int = 100, seed: int = 0
) -> Float[Tensor, " draws"]:
    """:func:`recognised` between random halves of the pictures."""
    return torch.stack(
        [
            recognised(mean_seen(scores[a]), mean_seen(scores[b]))
            for a, b in _halvings(len(scores), draws, seed)
        ]
    )


def match_heads(similarity: Float[Tensor, "A B"]) -> Int[Tensor, " A"]:
    """For each head of one network its partner in another, so that the similarities add up to the most (Hungarian).

    Raises:
        ValueError: there are fewer partners than heads, or a similarity is not finite.
    """
    A, B = similarity.shape
    if A > B:
        raise ValueError(f"{A} heads cannot each have a partner among {B}; hand the matrix over transposed")
    if not torch.isfinite(similarity).all():
        raise ValueError("similarities must be finite numbers")
    return torch.from_numpy(linear_sum_assignment(similarity.cpu().numpy(), maximize=True)[1])


def map_similarity(a: Float[Tensor, "b A n"], b: Float[Tensor, "b B n"]) -> Float[Tensor, "b A B"]:
    """Correlation over the patches of each map of one network with each of another, picture by picture."""

    def unit(maps: Tensor) -> Tensor:
        return torch.nn.functional.normalize(maps - maps.mean(-1, keepdim=True), dim=-1)

    return unit(a) @ unit(b).mT


def matched_similarity(similarity: Float[Tensor, "n A B"]) -> Float[Tensor, ""]:
    """Mean similarity of matched heads: partners found on the even pictures, similarity taken on the odd ones."""
    partner = match_heads(similarity[::2].mean(0))
    return similarity[1::2].mean(0).gather(1, partner[:, None]).mean()


def _halvings(n: int, draws: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    dice = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        order = torch.randperm(n, generator=dice)
        yield order[: n // 2], order[n // 2 :]


# ---- the images and patches a head answers to most ------------------------------------------------------------------


def strongest_patches(maps: Float[Tensor, "b n"], count: int = 8) -> list[tuple[int, int, float]]:
    """The patches with the largest share of a head's attention, one from a picture: ``(picture, patch, share)``.

    Args:
        maps: of one head, before the softmax.
        count: how many pictures.
    """
    refuse_nan(maps, "values of maps")
    share, patch = maps.softmax(-1).max(-1)
    top = share.argsort(descending=True)[:count]
    return [(int(i), int(patch[i]), float(share[i])) for i in top]


def cut_out(
    image: Shaped[Tensor, "3 H W"], patch: int, patch_size: int, *, around: int = 1
) -> Shaped[Tensor, "3 s s"]:
    """A patch and ``around`` patches on every side of it; moved inwards where the picture ends."""
    rows, columns = (side // patch_size for side in image.shape[-2:])
    side = 1 + 2 * around
    if side > min(rows, columns):
        raise ValueError(f"{side} patches do not fit into a picture of {rows} x {columns}")
    y, x = divmod(patch, columns)
    top, left = (min(max(at - around, 0), limit - side) for at, limit in ((y, rows), (x, columns)))
    p = patch_size
    return image[:, top * p : (top + side) * p, left * p : (left + side) * p]


# ---- steering -------------------------------------------------------------------------------------------------------


@contextmanager
def scaled_heads(model: CRATE, factors: Mapping[tuple[int, int], float | int]) -> Iterator[CRATE]:
    """Within the ``with`` block, what a head adds to the tokens counts ``factor`` times; 0 silences it.

    The slice of the head is scaled on its way into the layer's output map, so that its attention itself stays. MSSA
    without an output map (``tied``) has its coordinates set to zero instead, which takes the whole head away, its
    attention included; there only the factor 0 exists. The model is restored whatever happens inside.

    Args:
        model: any model of :mod:`crate_mini.model`.
        factors: ``{(layer, head): factor}``, negative numbers counted from the end.

    Raises:
        ValueError: no such layer or head, or a factor other than 0 for a tied layer.
    """
    by_layer: dict[int, dict[int, float]] = {}
    for (layer, head), factor in factors.items():
        (layer,) = layer_numbers(model, [layer])
        heads = model.blocks[layer].attention.heads
        if not -heads <= head < heads:
            raise ValueError(f"a layer has heads 0 to {heads - 1}; got {head}")
        if model.blocks[layer].attention.out is None and factor != 0:
            raise ValueError(
                "a tied layer has no output map to scale; its heads can only be silenced, factor 0"
            )
        by_layer.setdefault(layer, {})[head % heads] = float(factor)
    with ExitStack() as stack:
        for layer, chosen in by_layer.items():
            attention = model.blocks[layer].attention
            weight = torch.ones(attention.heads)
            weight[list(chosen)] = torch.tensor(list(chosen.values()))
            weight = weight.repeat_interleave(attention.head_dim)
            if attention.out is None:
                hook = attention.project.register_forward_hook(lambda _, args, Z, w=weight: Z * w.to(Z))
            else:
                hook = attention.out.register_forward_pre_hook(
                    lambda _, args, w=weight: (args[0] * w.to(args[0]),)
                )
            stack.callback(hook.remove)
        yield model


def named_right(model: CRATE, data: ImageSet, *, batch_size: int = 128) -> Bool[Tensor, " n"]:
    """Which pictures the model gives their own name.

    Raises:
        ValueError: logits that are NaN.
    """
    logits = run(model, data, lambda batch: model(batch).float(), batch_size=batch_size)
    refuse_nan(logits, "logits")
    return logits.argmax(-1) == data.labels.cpu()


def right_without(model: CRATE, data: ImageSet, *, batch_size: int = 128) -> Bool[Tensor, "n L K"]:
    """Which pictures it still names right with one head silenced, for every head of every layer."""
    columns = []
    every = [
        (layer, head) for layer, block in enumerate(model.blocks) for head in range(block.attention.heads)
    ]
    for one in bar(every, desc="heads", unit="head"):
        with scaled_heads(model, {one: 0}), shown(False):
            columns.append(named_right(model, data, batch_size=batch_size))
    return torch.stack(columns, 1).view(len(data), len(model.blocks), -1)


def by_class(
    values: Shaped[Tensor, " n *rest"], labels: Int[Tensor, " n"], classes: int
) -> Float[Tensor, " C *rest"]:
    """Means over the pictures of each class; NaN for a class without any."""
    return torch.stack([values[labels == c].double().mean(0) for c in range(classes)])


def attention_moved(
    before: Float[Tensor, "*batch n"], after: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch"]:
    """The share of a head's attention on the patches that went elsewhere: total variation of the two maps.

    Args:
        before: of :func:`head_maps`, not yet through the softmax.
        after: of the same heads and pictures.
    """
    return (before.softmax(-1) - after.softmax(-1)).abs().sum(-1) / 2
