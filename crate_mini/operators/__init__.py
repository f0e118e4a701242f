r"""The two operators of a block, as layers: what each of them is, and what may be asked of it.

Every block has an *attention*, in which tokens meet, and a *feed*, which sees each token on its own:

.. math:: Z^{l+1/2} = a Z^l + b\,\mathrm{attention}(\mathrm{LN}(Z^l)), \qquad
    Z^{l+1} = \mathrm{feed}(\mathrm{LN}(Z^{l+1/2}))

with a skip connection around the feed if it asks for one. :class:`Attention` and :class:`Feed` are the contracts.
Whoever reads a model (the recorder, the layer-wise meter, the counts of multiply-adds, the viewer) asks its operators
and nothing else, so a new operator is one class under :func:`register`:

.. code-block:: python

    @register("mean")
    class Mean(Attention):
        ...

    create_model("crate_nano", attention="mean")

Equations of the operators are functions, in :mod:`crate_mini.compression` and :mod:`crate_mini.sparsification`.

========  =========  ===================================================================================
name      kind       what
========  =========  ===================================================================================
``mssa``  attention  :class:`MSSA` of CRATE
``mhsa``  attention  :class:`MHSA` of the ViT
``tssa``  attention  :class:`TSSA` of ToST: heads share tokens out; no token looks at another
``cbsa``  attention  :class:`CBSA`: tokens meet in a few representatives
``ista``  feed       :class:`ISTA` of CRATE
``odl``   feed       :class:`ODL` of CRATE-alpha: two proximal steps in an overcomplete dictionary
``mlp``   feed       :class:`MLP` of the ViT
========  =========  ===================================================================================
"""

from __future__ import annotations

from crate_mini.operators.basic import ISTA, MHSA, MLP, MSSA
from crate_mini.operators.cbsa import CBSA
from crate_mini.operators.contract import (
    ATTENTIONS,
    FEEDS,
    Attention,
    CannotAnswer,
    Feed,
    Layout,
    Mask,
    SubspaceAttention,
    build,
    causal_mask,
    padding_mask,
    register,
    settings_of,
)
from crate_mini.operators.odl import ODL
from crate_mini.operators.query import QueryMSSA
from crate_mini.operators.tssa import TSSA

__all__ = [
    "ATTENTIONS",
    "CBSA",
    "FEEDS",
    "ISTA",
    "MHSA",
    "MLP",
    "MSSA",
    "ODL",
    "TSSA",
    "Attention",
    "CannotAnswer",
    "Feed",
    "Layout",
    "Mask",
    "QueryMSSA",
    "SubspaceAttention",
    "build",
    "causal_mask",
    "padding_mask",
    "register",
    "settings_of",
]
