"""See what every attention head sees: in a notebook, in the rendered page, in a file; no kernel, no network.

Python prepares the data (:mod:`~crate_mini.inspector.contract`), one plain JavaScript file shows it
(``heads.js``, ``heads.css``), and :class:`HeadViewer` puts the two together. On request the models themselves go
along (:mod:`~crate_mini.inspector.network`) and run in the page (``crate.js``) on the reader's own photo
(``photo.js``). In a running notebook :class:`HeadInspector` does the same with models of any size.
"""

from typing import TYPE_CHECKING, Any

from crate_mini.inspector.contract import build_contract, dequantise, quantise
from crate_mini.inspector.viewer import HeadViewer, inspect_images

__all__ = ["HeadInspector", "HeadViewer", "build_contract", "dequantise", "inspect_images", "quantise"]

if TYPE_CHECKING:
    from crate_mini.inspector.live import HeadInspector
else:

    def __getattr__(name: str) -> Any:
        # Only who asks for it pays for importing the widgets.
        if name == "HeadInspector":
            from crate_mini.inspector.live import HeadInspector

            return HeadInspector
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
