"""Progress bars: one way to show how far work is and how long it still takes, where somebody is looking.

Whoever runs over many things passes them through :func:`bar`. Whether it is drawn the caller may say (``progress``);
where nobody says, it is drawn inside :func:`shown`, which is how the command line asks for all of them at once. Into a
file or a pipe no bar is ever drawn.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_SHOWN: ContextVar[bool] = ContextVar("progress bars are shown", default=False)


def bar(items: Iterable | None = None, *, progress: bool | None = None, **settings: Any) -> Any:
    """A bar of tqdm around items, or to be moved by hand, with the time that is left.

    Args:
        items: what to run over; None for a bar that is moved by its ``update``.
        progress: draw it; None for what :func:`shown` says.
        settings: of tqdm: ``desc``, ``unit``, ``total``, ``initial``.
    """
    from tqdm.auto import tqdm  # the command line knows of bars, and loads nothing

    wanted = _SHOWN.get() if progress is None else progress
    return tqdm(items, disable=not (wanted and watched()), **settings)


@contextmanager
def shown(on: bool = True) -> Iterator[None]:
    """Draw the bars of everything inside, or none of them, unless a caller says otherwise."""
    before = _SHOWN.set(on)
    try:
        yield
    finally:
        _SHOWN.reset(before)


def watched() -> bool:
    """Whether bars come before somebody's eyes: in a terminal, or in a notebook; of several processes the first's."""
    looking = "ipykernel" in sys.modules or bool(getattr(sys.stderr, "isatty", bool)())
    return looking and os.environ.get("RANK", "0") == "0"
