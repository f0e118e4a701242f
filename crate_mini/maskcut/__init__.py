r"""MaskCut: objects without labels, by cutting the graph of an image's patches in two, again and again.

Patches are joined where their features are alike. The second eigenvector of that graph says how to cut it with the
least harm (the normalised cut of Shi and Malik, 2000); the side with the strongest entry is taken for an object, its
patches are painted over, and what is left is cut again. The procedure is that of MaskCut (arXiv 2301.11320),
written from its description, with the setting of arXiv 2308.16271, section C: features are CRATE's projections
:math:`U_k^\top z` (of a ViT its keys), three masks, :math:`\tau = 0.15`, no refinement of the edges.

What is special here is the solver. The affinity is :math:`A = \varepsilon 11^\top + (1 - \varepsilon) S` with ``S`` a
matrix of zeros and ones, so one product with ``S`` and one sum are all that an iterative solver needs; painting
patches over only switches rows of ``S`` off. :func:`maskcut` therefore forms ``S`` once for all masks, where the usual
way solves a dense eigenproblem for each.
"""

import inspect
import sys
from types import ModuleType
from typing import Any

from crate_mini.maskcut.eigenvectors import (
    ITERATIONS,
    NEARLY_APART,
    SMALL,
    TOLERANCE,
    lanczos,
    second_eigenvector,
)
from crate_mini.maskcut.graph import EPSILON, TAU, affinity, neighbours, normalised_product
from crate_mini.maskcut.masks import (
    LARGEST_OVERLAP,
    SMALLEST_AREA,
    SOLVERS,
    Round,
    boxes_of,
    discover,
    maskcut,
    maskcut_batch,
    maskcut_rounds,
    split,
)

__all__ = [
    "EPSILON",
    "ITERATIONS",
    "LARGEST_OVERLAP",
    "NEARLY_APART",
    "SMALL",
    "SMALLEST_AREA",
    "SOLVERS",
    "TAU",
    "TOLERANCE",
    "Round",
    "affinity",
    "boxes_of",
    "discover",
    "lanczos",
    "maskcut",
    "maskcut_batch",
    "maskcut_rounds",
    "neighbours",
    "normalised_product",
    "second_eigenvector",
    "split",
]


class _CallableModule(ModuleType):
    """A module that can be called: ``crate_mini.maskcut(...)`` is :func:`maskcut`, whatever was imported before."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.maskcut(*args, **kwargs)


# crate_mini has a public function and a module of one name, and Python puts the module in the function's place as soon
# as anybody imports it. So the module is both: what it holds is found in it, and called it is the function.
sys.modules[__name__].__class__ = _CallableModule
__signature__ = inspect.signature(maskcut)  # what help() and editors show of it
