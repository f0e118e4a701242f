"""Scores of attention maps against true masks, with the baselines that say what a score is worth.

:mod:`~crate_mini.segmentation.ranking` scores maps by every rule, :mod:`~crate_mini.segmentation.objects` finds
what they are scored against, :mod:`~crate_mini.segmentation.baselines` scores what never saw a network by the same
rules, :mod:`~crate_mini.segmentation.scoring` does all that for every head over a set of images, and
:mod:`~crate_mini.segmentation.evaluation` puts a network, its controls and its baselines on one scale.
:func:`evaluate` is the way in; two of its results meet in :func:`compare`, several trainings of two networks in
:func:`compare_trainings`.
"""

from crate_mini.segmentation.baselines import score_baselines
from crate_mini.segmentation.evaluation import (
    Evaluation,
    choose,
    compare,
    compare_trainings,
    cross_fit,
    evaluate,
    stored,
)
from crate_mini.segmentation.masks import (
    MASK_RULES,
    best_head,
    centre_prior,
    iou,
)
from crate_mini.segmentation.objects import OBJECTS
from crate_mini.segmentation.ranking import (
    chance_iou,
    count_patches,
    majority,
    score_maps,
)
from crate_mini.segmentation.scoring import RULES, Scores, score_heads, score_images
from crate_mini.stats import expected_best_of, mean_interval

__all__ = [
    "MASK_RULES",
    "OBJECTS",
    "RULES",
    "Evaluation",
    "Scores",
    "best_head",
    "centre_prior",
    "chance_iou",
    "choose",
    "compare",
    "compare_trainings",
    "count_patches",
    "cross_fit",
    "evaluate",
    "expected_best_of",
    "iou",
    "majority",
    "mean_interval",
    "score_baselines",
    "score_heads",
    "score_images",
    "score_maps",
    "stored",
]
