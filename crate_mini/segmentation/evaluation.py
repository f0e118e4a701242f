"""A network, its untrained twin and everything that never saw a network, on one scale.

:func:`evaluate` scores a network and what its score has to be held against. :func:`compare` holds two networks
against each other on the same images, :func:`compare_trainings` several trainings of each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from crate_mini import results
from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE
from crate_mini.segmentation.scoring import RULES, Scores, score_images
from crate_mini.stats import hierarchical_interval, mean_interval, refuse_nan, welch_interval

ITSELF = "these images"
"""Said of a head that was chosen on the images it is scored on."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a network and of its untrained twin, with the heads that were chosen for each.

    Attributes:
        scores: of the network.
        choice: of :func:`choose`, made on other images or handed over.
        chosen_on: their name.
        untrained: the same for the untrained twin, or None.
    """

    scores: Scores
    choice: dict[str, Any]
    chosen_on: str
    untrained: Evaluation | None = None

    def values(self, rule: str, what: str = "fixed", heads: int | None = None) -> Float[Tensor, " n"]:
        """One score an image, by one of four ways to choose the head.

        Args:
            rule: a key of :data:`RULES`.
            what: ``"fixed"``, one head for all images, chosen beforehand; ``"cross_fitted"``, one head for each half
                of the images, the best on the other half (:func:`cross_fit`); ``"mean_of_heads"``, none: the mean of
                the maps of the last layer; ``"per_image"``, the best of ``heads`` heads for each image.
            heads: for ``"per_image"``; all if None.
        """
        chosen = self.choice[rule]
        if what == "fixed":
            return self.scores[f"heads/{rule}"][:, chosen["layer"], chosen["head"]]
        if what == "cross_fitted":
            return cross_fit(self.scores, rule)[0]
        if what == "mean_of_heads":
            return self.scores[f"mean/{rule}"][:, -1]
        if what != "per_image":
            ways = "'fixed', 'cross_fitted', 'mean_of_heads' or 'per_image'"
            raise ValueError(f"what must be {ways}, got {what!r}")
        K = self.scores["spread"].shape[2]
        heads = K if heads is None else heads
        if not 1 <= heads <= K:
            raise ValueError(f"heads must lie between 1 and {K}, got {heads}")
        return self.scores[f"best_of/{rule}"][:, chosen["best_of_layer"][heads - 1], heads - 1]

    def summary(self) -> dict[str, Any]:
        """Everything as JSON: by rule, scores with their intervals, and the controls beside them."""
        s, rules = self.scores, {}
        for rule in s.rules:
            chosen = self.choice[rule]
            layer, head = chosen["layer"], chosen["head"]
            at = (slice(None), layer, head)
            centre = _centre(s, rule)
            rules[rule] = {
                "fixed": {
                    "layer": layer,
                    "head": head,
                    "score": _interval(s[f"heads/{rule}"][at]),
                    "shuffled": _interval(s[f"shuffled/{rule}"][at]),
                    "elsewhere": _interval(s[f"elsewhere/{rule}"][at]) if len(s) > 1 else None,
                    "above_centre": _interval(s[f"heads/{rule}"][at] - centre),
                },
                "cross_fitted": self._cross_fitted(rule, centre),
                "mean_of_heads": {
                    "by_layer": [round(v, 4) for v in s[f"mean/{rule}"].mean(0).tolist()],
                    "last": _interval(self.values(rule, "mean_of_heads")),
                    "above_centre": _interval(self.values(rule, "mean_of_heads") - centre),
                },
                "per_image": [
                    {
                        "heads": k + 1,
                        "layer": best,
                        "score": _interval(s[f"best_of/{rule}"][:, best, k]),
                        "chance": _interval(s[f"chance/{rule}"][:, best, k]),
                    }
                    for k, best in enumerate(chosen["best_of_layer"])
                ],
                "last_layer": {
                    "score": _interval(s[f"best_of/{rule}"][:, -1, -1]),
                    "chance": _interval(s[f"chance/{rule}"][:, -1, -1]),
                },
                "off_centre": self._off_centre(rule),
                "baselines": {
                    "everything": _interval(s[f"everything/{rule}"]),
                    "centre": _interval(centre),
                },
                "heads": _rounded(s[f"heads/{rule}"].mean(0)),
                "best_of": _rounded(s[f"best_of/{rule}"].mean(0)),
                "chance": _rounded(s[f"chance/{rule}"].mean(0)),
            }
        result = {
            **s.facts, "chosen_on": self.chosen_on, "spread": _rounded(s["spread"].mean(0)), "rules": rules,
        }  # fmt: skip
        return result | ({"untrained": self.untrained.summary()} if self.untrained else {})

    def _cross_fitted(self, rule: str, centre: Tensor) -> dict[str, Any] | None:
        """Heads chosen on one half of these images, scored on the other, and the other way round."""
        if len(self.scores) < 2:
            return None
        values, places = cross_fit(self.scores, rule)
        return {"chosen": places, "score": _interval(values), "above_centre": _interval(values - centre)}

    def _off_centre(self, rule: str) -> dict[str, Any]:
        """Fixed head and centre prior on the half of the images whose objects lie farthest from the centre."""
        offset, centre = self.scores["offset"], _centre(self.scores, rule)
        far = offset >= offset.median()
        return {
            "images": int(far.sum()),
            "score": _interval(self.values(rule)[far]),
            "centre": _interval(centre[far]),
            "difference": _interval((self.values(rule) - centre)[far]),
        }


def evaluate(
    model: CRATE,
    dataset: ImageSet,
    *,
    rule: str | Sequence[str] = tuple(RULES),
    layer: int | Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    choose_on: ImageSet | Evaluation | Mapping[str, Any] | None = None,
    untrained: bool = True,
    partial: str | os.PathLike | None = None,
    **how: Any,
) -> Evaluation:
    """Score a network's attention maps against true masks, with the controls that say what a score is worth.

    Args:
        model: any model of :mod:`crate_mini.model`, on any device.
        dataset: images with masks, or with parts.
        rule: keys of :data:`RULES`, one or several.
        layer: consider this layer only, or these; all if None.
        heads: consider these heads only; all if None.
        choose_on: other images to choose the fixed head and the layer on; or an earlier result (an
            :class:`Evaluation`, or its summary from a file), whose choice is taken over. None chooses on ``dataset``
            itself, which flatters; the result says so.
        untrained: score the same architecture with fresh random weights too.
        partial: folder for what is done so far, so that a run that was stopped can be taken up again.
        how: as for :func:`score_images`: ``resolution``, ``size``, ``objects``, ``share``, ``shifts``,
            ``smooth``, ``batch_size``, ``seed``, ``leave_out``, ``progress``.

    Raises:
        ValueError: an unknown rule, layer or head; no masks; an image without an object, by name.
    """
    rules = [rule] if isinstance(rule, str) else list(rule)
    passed = {"rule": rules, "layer": layer, "heads": heads, "partial": partial, **how}

    def score(network: CRATE, twin: bool) -> Evaluation:
        scores = score_images(network, dataset, **passed)
        if choose_on is None:
            return Evaluation(scores, choose(scores), ITSELF)
        if isinstance(choose_on, ImageSet):
            other = score_images(network, choose_on, **passed)
            return Evaluation(scores, choose(other), other.facts["data"])
        earlier = choose_on.summary() if isinstance(choose_on, Evaluation) else choose_on
        if twin and earlier.get("untrained") is None:
            raise ValueError("the earlier result holds no untrained network; pass untrained=False")
        return Evaluation(scores, *_taken_over(scores, earlier["untrained"] if twin else earlier))

    result = score(model, twin=False)
    if untrained:
        result = replace(result, untrained=score(untrained_twin(model, how.get("seed", 0)), twin=True))
    return result


def untrained_twin(model: CRATE, seed: int = 0) -> CRATE:
    """The same architecture with fresh random weights, on the same device; the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CRATE(model.config).eval().to(model.position.device)


def compare(
    a: Evaluation,
    b: Evaluation,
    rule: str,
    what: str = "fixed",
    *,
    heads: int | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean difference ``a - b`` over the same images, with its 95 % interval: ``(mean, low, high)``.

    Images are drawn anew in pairs (a paired bootstrap), so that what makes an image hard for both cancels.

    Args:
        a: one network's result.
        b: another's, on the same images.
        rule: a key of :data:`RULES`.
        what: ``"fixed"``, ``"cross_fitted"``, ``"mean_of_heads"`` or ``"per_image"``, as for :meth:`Evaluation.values`.
        heads: for ``"per_image"``, the number of heads, the same for both.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: results on different images.
    """
    _require_same_images(a, b)
    difference = a.values(rule, what, heads) - b.values(rule, what, heads)
    return mean_interval(difference, draws=draws, seed=seed)


def compare_trainings(
    a: Sequence[Evaluation], b: Sequence[Evaluation], rule: str, what: str = "fixed"
) -> dict[str, list[float]]:
    """Several trainings of one network against several of another, on the same images.

    An interval over images says how sure we are of *these* networks. What a new training would bring, only other
    trainings can say, and with three of them they say it roughly.

    Args:
        a: results of one network, one a training (a seed each).
        b: of another; not necessarily as many.
        rule: a key of :data:`RULES`.
        what: as for :func:`compare`, but for ``"per_image"``.

    Returns:
        ``"images"``: difference of the mean over trainings, with its 95 % interval over images, by :func:`compare`'s
        paired bootstrap. ``"trainings"``: the same difference with the 95 % interval of Welch's t, each training one
        draw, images fixed; low and high are NaN if either side has one training only. ``"both"``: with the 95 %
        interval over new trainings and new images together (:func:`~crate_mini.stats.hierarchical_interval`), NaN
        likewise. ``"pairs"``: the differences of all ``len(a) * len(b)`` pairs, rising.

    Raises:
        ValueError: nothing to compare, or results on different images.
    """
    if not a or not b:
        raise ValueError(f"both sides need a training at least, got {len(a)} and {len(b)}")
    for other in (*a, *b):
        _require_same_images(a[0], other)
    mine, theirs = (torch.stack([e.values(rule, what) for e in side]) for side in (a, b))
    scores = [side.mean(1).tolist() for side in (mine, theirs)]
    return {
        "images": list(mean_interval(mine.mean(0) - theirs.mean(0))),
        "trainings": list(welch_interval(*scores)),
        "both": list(hierarchical_interval(mine, theirs)),
        "pairs": sorted(float(x - y) for x in scores[0] for y in scores[1]),
    }


def choose(scores: Scores) -> dict[str, Any]:
    """By rule: the best head for all images (``layer``, ``head``), and the best layer for each number of heads."""
    choice = {}
    for rule in scores.rules:
        mean = scores[f"heads/{rule}"].mean(0)
        refuse_nan(mean, f"mean scores by {rule}")
        layer, head = divmod(int(mean.argmax()), mean.shape[1])
        best = scores[f"best_of/{rule}"].mean(0).argmax(0).tolist()
        choice[rule] = {"layer": layer, "head": head, "best_of_layer": best}
    return choice


def cross_fit(scores: Scores, rule: str) -> tuple[Float[Tensor, " n"], list[list[int]]]:
    """One head for each half of the images, chosen on the other half: held-out images of the same kind.

    Halves are every other image, so that sets sorted by class are split alike.

    Args:
        scores: of every head on at least two images.
        rule: a key of :data:`RULES`.

    Returns:
        One score an image, and ``[layer, head]`` as used for images 0, 2, ... and for images 1, 3, ...

    Raises:
        ValueError: fewer than two images.
    """
    every = scores[f"heads/{rule}"]
    if len(every) < 2:
        raise ValueError(f"cross-fitting needs at least 2 images, got {len(every)}")
    refuse_nan(every, f"scores by {rule}")
    values, places = torch.empty(len(every)), []
    for mine, others in ((0, 1), (1, 0)):
        place = divmod(int(every[others::2].mean(0).argmax()), every.shape[2])
        values[mine::2] = every[mine::2, place[0], place[1]]
        places.append(list(place))
    return values, places


def stored(weights: str, data: str, size: int = 128) -> dict[str, Any]:
    """A summary from ``results/masks``: of ``weights`` on ``data`` (``"pets/test"``) at one input size.

    Raises:
        FileNotFoundError: these weights were not scored; KeyError: not on this set, or not at this size.
    """
    return results.read(f"masks/{weights}")["scores"][data][str(size)]


def _require_same_images(a: Evaluation, b: Evaluation) -> None:
    for fact in ("data", "images", "left_out", "objects", "size", "resolution", "fingerprint"):
        if a.scores.facts[fact] != b.scores.facts[fact]:
            raise ValueError(
                f"only results on the same images can be compared; {fact} is {a.scores.facts[fact]!r} here "
                f"and {b.scores.facts[fact]!r} there"
            )


def _taken_over(scores: Scores, earlier: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What an earlier summary chose, and on which images."""
    for fact in ("layers", "heads"):
        if scores.facts[fact] != earlier[fact]:
            raise ValueError(
                f"the earlier result is about the {fact} {earlier[fact]}, this one about {scores.facts[fact]}: "
                "a head can only be taken over within one architecture"
            )
    if missing := [rule for rule in scores.rules if rule not in earlier["rules"]]:
        raise ValueError(f"the earlier result has not the rules {missing}; it has {list(earlier['rules'])}")
    choice = {}
    for rule in scores.rules:
        kept = earlier["rules"][rule]
        choice[rule] = {
            "layer": kept["fixed"]["layer"],
            "head": kept["fixed"]["head"],
            "best_of_layer": [row["layer"] for row in kept["per_image"]],
        }
    return choice, earlier["data"] if earlier["chosen_on"] == ITSELF else earlier["chosen_on"]


def _centre(scores: Scores, rule: str) -> Float[Tensor, " n"]:
    """The centre prior, under this rule."""
    return scores[f"centre/{rule}"]


def _interval(values: Float[Tensor, " n"]) -> list[float]:
    return [round(v, 4) for v in mean_interval(values)]


def _rounded(values: Tensor) -> list:
    return [[round(v, 4) for v in row] for row in values.tolist()]
