"""See what every attention head sees: in a notebook, in the rendered page, in a file; no kernel, no network.

Python prepares the data (:mod:`~crate_mini.inspector.contract`), one plain JavaScript file shows it
(``heads.js``, ``heads.css``), and :class:`HeadViewer` puts the two together. On request the models themselves go
along (:mod:`~crate_mini.inspector.network`) and run in the page (``crate.js``) on the reader's own photo
(``photo.js``).
"""

from crate_mini.inspector.contract import build_contract, dequantise, quantise
from crate_mini.inspector.viewer import HeadViewer, inspect_images

__all__ = ["HeadViewer", "build_contract", "dequantise", "inspect_images", "quantise"]
