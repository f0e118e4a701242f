r"""The layer-wise meter: what each half of each layer does to :math:`R^c`, :math:`R` and sparsity.

:func:`measure` streams over images once and keeps, for every layer and head, the mean over images, the spread and a
confidence interval. Its memory does not grow with the number of images, and a run of a thousand small images takes
a minute or two on a CPU, so it has no half-way state to resume from.

Two definitions of "the compression rate of layer :math:`\ell`" are in circulation, and they are different numbers:

* the **released** code's, :func:`released_rate`: coordinates of the *normalised input* of the attention block, every
  one scaled to unit length in every head;
* the **caption's** (arXiv 2306.01129, Fig. 3), :math:`R^c(Z^{\ell+1/2} \mid U^\ell_{[K]})`: the tokens that *leave*
  the attention block.

Here both are entries of one grid, *place* x *normalisation* x :math:`\varepsilon^2`, so any other reading is there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE, Block
from crate_mini.operators import Attention
from crate_mini.passes import batches, evaluating
from crate_mini.rates import all_finite, coding_rate, coding_rate_gradient, rate_from_gram, small_gram
from crate_mini.recorder import record
from crate_mini.results import plain
from crate_mini.stats import Running

PLACES = {
    "tokens_in": "Z^l, the stream that enters the layer",
    "attention_in": "LN(Z^l), what attention sees",
    "tokens_mid": "Z^{l+1/2}, the stream after compression",
    "attention_mid": "LN(Z^{l+1/2}) by the LayerNorm of attention: what it would see after its own step",
    "feed_in": "what ISTA (or the MLP) sees: Z^{l+1/2} by the LayerNorm of its own",
    "tokens_out": "Z^{l+1}, the stream that leaves the layer",
}
"""Where tokens are measured, always with the projections of the layer itself."""

NORMALISE = {
    "none": "tokens as they are",
    "token": "every token scaled to unit length, as the derivation assumes",
    "head": "every token's coordinates scaled to unit length in each head, as the released code does",
}
"""How tokens are scaled before they are measured."""

STEPS = {
    "compress": ("tokens_in", "tokens_mid"),
    "compress_seen": ("attention_in", "attention_mid"),
    "sparsify": ("tokens_mid", "tokens_out"),
    "sparsify_seen": ("feed_in", "tokens_out"),
}
"""Half steps, from place to place; ``_seen`` starts from what the operator is given, behind its LayerNorm."""

WHAT_IFS = {
    "mirrored": "the step with its sign turned: Z^l less attention's move",
    "turned": "Z^{l+1/2} with every token at the length it had in Z^l: the change of direction alone",
    "downhill": "a step as long as attention's, but straight down the gradient of R^c",
}
"""Steps that the layer did not take, each from ``tokens_in``: what its own step is compared with."""

_RECORDED = ("tokens_in", "attention_in", "tokens_mid", "feed_in", "tokens_out")


def released_rate(
    projections: Float[Tensor, "*batch K n p"], eps_sq: float = 0.01
) -> Float[Tensor, "*batch"]:
    r"""What the authors' released meter computes, in nats.

    .. math:: \tfrac12 \sum_k \log\det\!\Big(I_n + \frac{p}{n\varepsilon^2} X_k X_k^\top\Big), \qquad
        (X_k)_i = \frac{U_k^\top \mathrm{LN}(z_i)}{\lVert U_k^\top \mathrm{LN}(z_i)\rVert}

    with :math:`\varepsilon^2 = 0.01` (github.com/Ma-Lab-Berkeley/CRATE, ``vis_utils``). There the ``n x n``
    determinant is taken in single precision; here the smaller Gram matrix is used, in double. No value can exceed
    :math:`\tfrac12 Kp \log(1 + 1/\varepsilon^2)`.

    Args:
        projections: of the attention block's normalised input, all tokens; ``"projections"`` of
            :func:`~crate_mini.recorder.record`. Coordinates that are all zero stay zero (there: NaN).
        eps_sq: :math:`\varepsilon^2 > 0`.

    Raises:
        ValueError: as :func:`~crate_mini.rates.coding_rate`.
    """
    # widened by the division alone: one array of that size, not two
    length = torch.linalg.vector_norm(projections, dim=-1, keepdim=True, dtype=_widest(projections))
    return coding_rate(projections / length.clamp_min(1e-12), eps_sq).sum(-1)


def coordinates(attention: Attention, Z: Float[Tensor, "b n d"]) -> Float[Tensor, "b K n p"]:
    """Coordinates of tokens in every head: ``Z U_k`` of MSSA, the keys of MHSA (its bias included)."""
    # project is not called, so that hooks on it see the forward pass alone
    return attention.coordinates(attention.project.forward(Z))


def bases(attention: Attention) -> Float[Tensor, "K d p"]:
    """The bases ``U_k`` that :func:`coordinates` projects on; of MHSA, those of its keys."""
    return attention.U


def effective_rank(Zk: Float[Tensor, "*batch n p"]) -> Float[Tensor, "*batch"]:
    r"""How many directions tokens fill, as the exponential of an entropy.

    .. math:: \exp\Big(-\sum_i q_i \log q_i\Big), \qquad q_i = \frac{\sigma_i^2}{\sum_j \sigma_j^2}

    with :math:`\sigma_i` the singular values of the tokens (Roy and Vetterli 2007, with squares). 1 for tokens on a
    line, ``p`` for an isotropic cloud, 0 where all tokens are zero.
    """
    energy = torch.linalg.eigvalsh(small_gram(Zk)).clamp(min=0)
    total = energy.sum(-1, keepdim=True)
    share = energy / torch.where(total > 0, total, 1)
    return torch.special.entr(share).sum(-1).exp() * (total[..., 0] > 0)


def coherence(U: Float[Tensor, "K d p"]) -> Float[Tensor, "K K"]:
    r"""How much the subspaces overlap: the mean squared cosine of the principal angles between each two.

    .. math:: \frac1p \lVert Q_k^\top Q_l \rVert_F^2, \qquad Q_k \text{ an orthonormal basis of } \mathrm{span}\,U_k

    1 on the diagonal and for equal subspaces, 0 for orthogonal ones, ``p/d`` on average for random ones.
    """
    Q = torch.linalg.qr(_wide(U)).Q
    return torch.einsum("kdp,ldq->klpq", Q, Q).square().sum((-2, -1)) / U.shape[-1]


def subspace_gram(U: Float[Tensor, "K d p"]) -> Float[Tensor, "Kp Kp"]:
    r"""Gram matrix :math:`[U_1 \dots U_K]^\top [U_1 \dots U_K]` of all bases, columns scaled to unit length."""
    columns = F.normalize(rearrange(U, "k d p -> d (k p)"), dim=0)
    return columns.mT @ columns


def alignment(attention: Attention) -> Float[Tensor, " K"] | None:
    r"""Which sign learning chose: the cosine between each head's output map and its basis.

    .. math:: \frac{\langle W_k, U_k\rangle_F}{\lVert W_k\rVert_F \lVert U_k\rVert_F}

    where :math:`\mathrm{MSSA}(Z) = \sum_k \mathrm{SSA}_k W_k^\top + b`. 1 where the learned map is the derived one,
    :math:`Z + \sum_k \mathrm{SSA}_k U_k^\top`; -1 where it is its negative; 0 for maps that know nothing of each
    other. None where there is no learned map, or more than one basis (MHSA).
    """
    W = attention.output_map
    return None if W is None else F.cosine_similarity(W.flatten(1), attention.U.flatten(1), dim=-1)


def weight_facts(block: Block) -> dict[str, Any]:
    r"""What can be said about a layer without any image, as plain numbers.

    Keys: ``coherence`` (K x K, :func:`coherence`); ``orthonormality`` (one a head), the relative distance
    :math:`\lVert U_k^\top U_k / s - I\rVert_F / \sqrt p` with the best scale :math:`s`; ``alignment`` (one a head, or
    None); ``dictionary``, None for a feed without, else :math:`\lVert D^\top D - I\rVert` as ``frobenius`` (divided by
    :math:`\sqrt d`) and ``spectral``, ``scaled`` for the former with the best scale, and ``norm`` for
    :math:`\lVert D\rVert_2`, whose square bounds the step.
    """
    U = _wide(bases(block.attention).detach())
    aligned = alignment(block.attention)
    facts = {
        "coherence": plain(coherence(U)),
        "orthonormality": [_from_identity(u.mT @ u, scaled=True) for u in U],
        "alignment": None if aligned is None else plain(aligned),
        "dictionary": None,
    }
    if block.feed.dictionary is not None:
        D = block.feed.dictionary.detach().to(U.dtype)
        gram = D.mT @ D
        eye = torch.eye(len(gram), dtype=D.dtype, device=D.device)
        facts["dictionary"] = {
            "frobenius": _from_identity(gram, scaled=False),
            "scaled": _from_identity(gram, scaled=True),
            "spectral": plain(torch.linalg.matrix_norm(gram - eye, 2).item()),
            "norm": plain(torch.linalg.matrix_norm(D, 2).item()),
        }
    return facts


def _from_identity(gram: Tensor, *, scaled: bool) -> float:
    """||G/s - I||_F / sqrt(size), with s = 1 or the scale that makes it smallest."""
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    s = gram.square().sum() / gram.trace() if scaled and gram.trace() > 0 else 1.0
    return plain(((gram / s - eye).norm() / len(gram) ** 0.5).item())


def reading(normalise: str, eps_sq: float) -> str:
    """Key of one reading in a result: ``reading("head", 0.01) == "head 0.01"``."""
    return f"{normalise} {eps_sq:g}"


def measure(
    model: CRATE,
    images: ImageSet | Tensor | Iterable[Tensor],
    *,
    eps_sq: float | Sequence[float] = 0.01,
    normalise: str | Sequence[str] = tuple(NORMALISE),
    lam: float = 0.1,
    near_zero: float = 0.01,
    batch_size: int = 32,
    progress: bool | None = None,
) -> dict[str, Any]:
    r"""Measure every layer and head over a set of images, in one pass.

    Args:
        model: any model of :mod:`crate_mini.model`; a ViT is measured with the projections of its keys.
        images: an :class:`~crate_mini.data.ImageSet`, a tensor ``(n, 3, h, w)``, or anything that yields batches of
            images, which need not fit in memory together.
        eps_sq: :math:`\varepsilon^2`, one or several.
        normalise: keys of :data:`NORMALISE`.
        lam: :math:`\lambda`, nats for each non-zero entry, in the objective
            :math:`R - R^c - \lambda\lVert Z\rVert_0`.
        near_zero: an entry is near zero if its size is at most this share of the root mean square of its image's
            tokens at that place.
        batch_size: images a forward pass (not for an iterable, which brings its own).
        progress: show a progress bar; None as :func:`crate_mini.progress.shown` says.

    Returns:
        Plain JSON types. A *statistic* is ``{"mean", "std", "low", "high"}``: mean and standard deviation over images
        and the 95 % interval of the mean by the normal approximation, each a list over layers (for ``_heads``, lists
        over heads in it). With r of :func:`reading`, p of :data:`PLACES` and s of :data:`STEPS`:

        - ``rates[r][p]``: statistics ``Rc_heads``, ``Rc`` (their sum), and but for ``"head"``, whose coordinates are
          not those of any one set of tokens, ``R``, ``delta`` (R - Rc) and ``objective``;
        - ``changes[r][s]``: statistics of the difference of each of these, image by image, and ``share_lower``: in
          which share of images Rc fell;
        - ``changes[r][w]`` with w of :data:`WHAT_IFS`: ``Rc`` and ``share_lower`` of steps that were not taken (for
          ``"token"`` and ``"head"`` only ``"mirrored"``);
        - ``descent[r]``: the cosine between attention's move :math:`Z^{\ell+1/2} - Z^\ell` and
          :math:`-\nabla R^c(Z^\ell)` (only ``"none"``): 1 is steepest descent of :math:`R^c`, negative is ascent;
        - ``sparsity[p]``: shares ``zeros`` and ``near_zeros`` of all entries, ``length`` (mean length of a token);
        - ``effective_rank[p]``: one a head, of the tokens as they are;
        - ``layers``: :func:`weight_facts` of each;
        - ``images``, ``settings``.

    Raises:
        ValueError: no images, a setting out of range, an unknown normalisation, or tokens that are not finite.
    """
    readings = _readings(eps_sq, normalise)
    if lam < 0 or near_zero < 0:
        raise ValueError(f"lam and near_zero must not be negative, got {lam} and {near_zero}")
    seen: dict[tuple[str, ...], list[Running]] = {}
    with evaluating(model) as device:
        for batch in batches(images, batch_size, progress=progress, desc="layers"):
            kept = record(model, batch.to(device), _RECORDED)
            for layer, block in enumerate(model.blocks):
                tokens = {place: kept[place][layer] for place in _RECORDED}
                tokens["attention_mid"] = block.norm1(tokens["tokens_mid"])
                try:
                    values = _of_one_layer(block, tokens, readings, lam, near_zero)
                except ValueError as error:
                    raise ValueError(f"layer {layer} cannot be measured: {error}") from error
                for key, value in values.items():
                    seen.setdefault(key, [Running() for _ in model.blocks])[layer].add(value)
    count = next(iter(seen.values()))[0].count
    result: dict[str, Any] = {
        "images": count,
        "settings": {
            "eps_sq": sorted({e for _, e in readings}),
            "normalise": sorted({n for n, _ in readings}),
            "lam": lam,
            "near_zero": near_zero,
        },
    }
    for key, by_layer in seen.items():
        inner = result
        for part in key[:-1]:
            inner = inner.setdefault(part, {})
        inner[key[-1]] = _statistic(by_layer)
    result["layers"] = [weight_facts(block) for block in model.blocks]
    return result


def _statistic(by_layer: list[Running]) -> dict[str, list]:
    """Mean, spread and interval, each a list over layers."""
    summaries = [running.summary() for running in by_layer]
    return {part: [plain(summary[part]) for summary in summaries] for part in summaries[0]}


def curve(
    result: dict[str, Any],
    quantity: str,
    place: str,
    normalise: str = "none",
    eps_sq: float = 0.01,
) -> dict[str, np.ndarray]:
    """One statistic of a result of :func:`measure`, by layer: ``{"mean": (L,) or (L, K), "std", "low", "high"}``.

    Args:
        result: of :func:`measure`, also after JSON.
        quantity: ``Rc``, ``Rc_heads``, ``R``, ``delta``, ``objective``, ``zeros``, ``near_zeros``, ``length`` or
            ``effective_rank``.
        place: a key of :data:`PLACES`, or of :data:`STEPS` or :data:`WHAT_IFS` for the change of a rate.
        normalise: of a rate, as ``eps_sq``; the other quantities do not depend on them.
        eps_sq: of a rate.

    Raises:
        KeyError: not in this result, with what is.
    """
    key = reading(normalise, eps_sq)
    if quantity == "effective_rank":
        path = [quantity, place]
    elif quantity in ("zeros", "near_zeros", "length"):
        path = ["sparsity", place, quantity]
    else:
        path = ["changes" if place in {**STEPS, **WHAT_IFS} else "rates", key, place, quantity]
    found: Any = result
    for part in path:
        if part not in found:
            raise KeyError(f"no {' / '.join(path)} in this result; at {part!r} there are {', '.join(found)}")
        found = found[part]
    return {k: np.array(v, dtype=float) for k, v in found.items()}


def _readings(eps_sq: float | Sequence[float], normalise: str | Sequence[str]) -> list[tuple[str, float]]:
    precisions = [float(e) for e in (eps_sq if isinstance(eps_sq, Sequence) else [eps_sq])]
    names = [normalise] if isinstance(normalise, str) else list(normalise)
    if not precisions or not names:
        raise ValueError("eps_sq and normalise must name at least one reading")
    if bad := [e for e in precisions if not 0 < e < float("inf")]:
        raise ValueError(f"eps_sq is the squared precision and must be positive, got {bad[0]}")
    if unknown := [n for n in names if n not in NORMALISE]:
        raise ValueError(f"cannot normalise by {unknown}; known are {', '.join(NORMALISE)}")
    return [(n, e) for n in dict.fromkeys(names) for e in dict.fromkeys(precisions)]


def _of_one_layer(
    block: Block,
    tokens: dict[str, Tensor],
    readings: list[tuple[str, float]],
    lam: float,
    near_zero: float,
) -> dict[tuple[str, ...], Tensor]:
    """Every quantity of one layer for a batch: where it goes in the result -> one value (or K) for each image."""
    for place, Z in tokens.items():
        if not all_finite(Z):
            raise ValueError(
                f"{place} holds NaN or infinite entries; a rate is defined for finite tokens only"
            )
    seen: dict[tuple[str, ...], Tensor] = {}
    Zk = {place: coordinates(block.attention, Z) for place, Z in tokens.items()}
    for place, Z in tokens.items():
        sizes = Z.abs().flatten(1)
        small = near_zero * sizes.square().mean(1, keepdim=True).sqrt()
        seen["sparsity", place, "zeros"] = (sizes == 0).float().mean(1)
        seen["sparsity", place, "near_zeros"] = (sizes <= small).float().mean(1)
        seen["sparsity", place, "length"] = Z.norm(dim=-1).mean(1)
        seen["effective_rank", place] = effective_rank(Zk[place])

    for normalise in dict.fromkeys(name for name, _ in readings):
        grams = {place: _Grams(block, Z, normalise) for place, Z in tokens.items()}
        before = tokens["tokens_in"]
        move = tokens["tokens_mid"] - before
        others = {"mirrored": _Grams(block, before - move, normalise)}
        if normalise == "none":
            length = before.norm(dim=-1, keepdim=True)
            others["turned"] = _Grams(block, F.normalize(tokens["tokens_mid"], dim=-1) * length, normalise)
        for eps_sq in (e for name, e in readings if name == normalise):
            key = reading(normalise, eps_sq)
            rates = {place: gram.rates(eps_sq, lam) for place, gram in grams.items()}
            for place, quantities in rates.items():
                seen |= {("rates", key, place, name): value for name, value in quantities.items()}
            for step, (start, end) in STEPS.items():
                changes = {name: rates[end][name] - rates[start][name] for name in rates[end]}
                seen |= {("changes", key, step, name): value for name, value in changes.items()}
                seen["changes", key, step, "share_lower"] = (changes["Rc"] < 0).double()

            what_if = dict(others)
            if normalise == "none":
                gradient = coding_rate_gradient(Zk["tokens_in"], eps_sq)
                downhill = -torch.einsum("bknp,kdp->bnd", gradient, bases(block.attention))
                seen["descent", key] = F.cosine_similarity(downhill.flatten(1), move.flatten(1))
                stride = move.norm(dim=(1, 2), keepdim=True) / downhill.norm(dim=(1, 2), keepdim=True)
                what_if["downhill"] = _Grams(block, before + stride * downhill, normalise)
            for name, gram in what_if.items():
                change = gram.head_rates(eps_sq).sum(-1) - rates["tokens_in"]["Rc"]
                seen["changes", key, name, "Rc"] = change
                seen["changes", key, name, "share_lower"] = (change < 0).double()
    return seen


class _Grams:
    """Tokens of one place, scaled as asked, as the Gram matrices from which their rates follow for every precision."""

    def __init__(self, block: Block, Z: Tensor, normalise: str) -> None:
        self.attention, self.normalise = block.attention, normalise
        self.Z = F.normalize(Z, dim=-1) if normalise == "token" else Z
        Zk = self._coordinates()
        self.heads, self.n, self.p, self.d = small_gram(Zk), Zk.shape[-2], Zk.shape[-1], Z.shape[-1]
        self.whole = None

    def _coordinates(self) -> Tensor:
        """Made again in the rare case that a rate asks for them, so that they need not be kept."""
        Zk = coordinates(self.attention, self.Z)
        return F.normalize(_wide(Zk), dim=-1) if self.normalise == "head" else Zk

    def head_rates(self, eps_sq: float) -> Tensor:
        """R^c of every head, (b, K)."""
        return rate_from_gram(self.heads, self.p / (self.n * eps_sq), self._coordinates)

    def rates(self, eps_sq: float, lam: float) -> dict[str, Tensor]:
        """All rates of one reading, one value (or K) for each image."""
        heads = self.head_rates(eps_sq)
        found = {"Rc_heads": heads, "Rc": heads.sum(-1)}
        # coordinates that every head scales for itself are not those of any one set of tokens
        if self.normalise != "head":
            self.whole = small_gram(self.Z) if self.whole is None else self.whole
            found["R"] = rate_from_gram(self.whole, self.d / (self.n * eps_sq), lambda: self.Z)
            found["delta"] = found["R"] - found["Rc"]
            size = (self.Z != 0).sum((-2, -1), dtype=found["R"].dtype)
            found["objective"] = found["delta"] - lam * size
        return found


def _wide(Z: Tensor) -> Tensor:
    """In the widest precision of the device."""
    return Z.to(_widest(Z))


def _widest(Z: Tensor) -> torch.dtype:
    return torch.float32 if Z.device.type == "mps" else torch.float64
