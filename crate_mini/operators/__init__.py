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

from crate_mini.operators.basic import ISTA as ISTA
from crate_mini.operators.basic import MHSA as MHSA
from crate_mini.operators.basic import MLP as MLP
from crate_mini.operators.basic import MSSA as MSSA
from crate_mini.operators.cbsa import CBSA as CBSA
from crate_mini.operators.contract import ATTENTIONS as ATTENTIONS
from crate_mini.operators.contract import FEEDS as FEEDS
from crate_mini.operators.contract import Attention as Attention
from crate_mini.operators.contract import CannotAnswer as CannotAnswer
from crate_mini.operators.contract import Feed as Feed
from crate_mini.operators.contract import Layout as Layout
from crate_mini.operators.contract import Mask as Mask
from crate_mini.operators.contract import build as build
from crate_mini.operators.contract import causal_mask as causal_mask
from crate_mini.operators.contract import padding_mask as padding_mask
from crate_mini.operators.contract import register as register
from crate_mini.operators.contract import settings_of as settings_of
from crate_mini.operators.odl import ODL as ODL
from crate_mini.operators.tssa import TSSA as TSSA
