"""crate_mini: CRATE, the white-box vision transformer, small enough to read."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Only who asks for it pays for importing PyTorch and the widgets.
    if name == "HeadInspector":
        from crate_mini.inspector import HeadInspector

        return HeadInspector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
