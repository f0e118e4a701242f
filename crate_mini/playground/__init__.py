"""Things to play with on a page: figures that answer to sliders, with no kernel, no server and no network.

Each playground is one JavaScript file here that defines ``function play(kit, data)``. The kit (``kit.js``,
``kit.css``) gives it controls that work by keyboard and touch, plots that follow the page's width and theme, and
the little linear algebra that the derivation needs. Python hands over numbers and puts the pieces together::

    from crate_mini.playground import play

    play("coding_rate", {"eps_sq": 0.5}, title="Count the balls")
"""

from __future__ import annotations

import hashlib
import html
import itertools
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from crate_mini.playground.library import library

_serial = itertools.count()


class Playground:
    """One playground as a piece of HTML that carries its script and data; made by :func:`play`."""

    def __init__(self, name: str, script: str, data: Any, title: str) -> None:
        self.name, self.script, self.title = name, script, title
        # Escaped so that no text can close the script element it stands in.
        self._json = json.dumps(data, allow_nan=False, separators=(",", ":"), default=_plain).replace(
            "<", "\\u003c"
        )
        digest = hashlib.sha256((name + self._json).encode()).hexdigest()[:8]
        self.id = f"crate-play-{digest}-{next(_serial)}"

    def __repr__(self) -> str:
        return f"Playground({self.name!r}, {len(self._json) / 1000:.0f} kB of data)"

    def _repr_html_(self) -> str:
        title = html.escape(self.title)
        kit, mount = library(_asset("kit.js"), "mountPlayground")
        # A plain function; wrapped, it neither leaks nor clashes with another playground's.
        script = f"(() => {{\n{self.script}\n{mount}({self.id!r}, play);\n}})();"
        return (
            f'<div class="crate-play tex2jax_ignore mathjax_ignore" id="{self.id}" role="group" aria-label="{title}"'
            ' data-lm-suppress-shortcuts="true">'
            f"<style>{_asset('kit.css')}</style>"
            + (f'<p class="cp-title">{title}</p>' if title else "")
            + '<p class="cp-fallback">Here is something to play with. It needs scripts: trust this notebook and run '
            "the cell, or open the page in a browser where scripts may run.</p>"
            f'<script type="application/json">{self._json}</script>'
            f"{kit}<script>{script}</script></div>"
        )


def play(name: str, data: Any = None, *, title: str = "") -> Playground:
    """A playground by name, for the last line of a cell.

    Args:
        name: one of :func:`playground_names`.
        data: what its script reads, made of JSON's types, tensors and arrays; numbers must be finite.
        title: a line above it.

    Raises:
        ValueError: no such playground, or numbers that are not finite.
        TypeError: data of another type.
    """
    if name not in playground_names():
        raise ValueError(f"no playground {name!r}; there are {', '.join(playground_names())}")
    return Playground(name, _asset(f"{name}.js"), data, title)


def playground_names() -> list[str]:
    """Every name that :func:`play` knows."""
    scripts = (re.fullmatch(r"(\w+)\.js", entry.name) for entry in files(__package__).iterdir())
    return sorted(found[1] for found in scripts if found and found[1] != "kit")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(
        f"a playground's data is made of JSON's types, tensors and arrays; got {type(value).__name__}"
    )


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
