"""Act on a network in the page: click an object, mute a head, hold an atom, and see what it says and where it looks.

The networks run in the page (``crate.js``), so that nothing here waits for a kernel; ``acting.js`` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from crate_mini.clicks import GOAL, MOST, smoothed_lab
from crate_mini.inspector.contract import (
    CONTRACT,
    VERSION,
    _base64,
    _encode_image,
    _encode_mask,
    colour_table,
)
from crate_mini.inspector.network import encode_network
from crate_mini.inspector.viewer import _asset, as_json, embedded, new_id
from crate_mini.model import CRATE

FILES = ("heads.js", "patches.js", "crate.js", "acting.js")


class Acting:
    """Three ways to act on networks, on a few pictures, as one piece of HTML.

    Args:
        networks: by name; small enough for a page, and of one patch size.
        pictures: ``(n, 3, H, W)`` uint8, with whole patches.
        masks: ``(n, H, W)``: 1 on the object, 0 elsewhere; anything else is not counted.
        titles: what each shows, as in "a drawn cat".
        guides: for each network and for ``"attention"`` and ``"tokens"`` what
            :func:`crate_mini.clicks.choose` chose: ``option``, ``threshold`` and ``join``.
        growing: the same of colour growing, whose option is the blur.
        direction: a unit vector in the space of each network's tokens, by name; shown beside an atom.
        view: pixels a side at which masks are compared and colours taken.

    Raises:
        ValueError: pictures, masks and titles that do not go together; sides that are no multiple of ``view``; and what
            :func:`~crate_mini.inspector.network.encode_network` refuses.
    """

    def __init__(
        self,
        networks: Mapping[str, CRATE],
        pictures: UInt8[Tensor, "n 3 H W"],
        *,
        masks: UInt8[Tensor, "n H W"],
        titles: Sequence[str],
        guides: Mapping[str, Mapping[str, Mapping[str, Any]]],
        growing: Mapping[str, Any],
        direction: Mapping[str, Float[Tensor, " d"]],
        view: int = 64,
    ) -> None:
        n, _, H, W = pictures.shape
        if not len(masks) == len(titles) == n:
            raise ValueError(
                f"{n} pictures need as many masks and titles, got {len(masks)} and {len(titles)}"
            )
        if H != W or H % view:
            raise ValueError(f"pictures must be square and a multiple of {view} pixels wide, got {H} x {W}")
        encoded = {name: encode_network(model, name) for name, model in networks.items()}
        step, blur = H // view, float(growing["option"].removeprefix("blur "))
        small = F.avg_pool2d(pictures.float(), step).round().byte()
        truths = masks[:, step // 2 :: step, step // 2 :: step].numpy()
        self.data = {
            "contract": CONTRACT,
            "version": VERSION,
            "colours": _base64(colour_table("viridis")),
            "pictures": [
                _encode_image(picture, exact=True)
                | {
                    "title": title,
                    "truth": _encode_mask(truth),
                    "lab": _base64(_bytes(smoothed_lab(own, blur))),
                }
                for picture, title, truth, own in zip(pictures, titles, truths, small, strict=True)
            ],
            "models": [
                {
                    "name": name,
                    "network": header,
                    "guides": {kind: dict(guides[name][kind]) for kind in ("attention", "tokens")},
                    "direction": [round(v, 5) for v in direction[name].tolist()],
                }
                for name, (header, _) in encoded.items()
            ],
            "growing": {key: growing[key] for key in ("threshold", "join")},
            "view": view,
            "goal": GOAL,
            "most": MOST,
        }
        self._weights = [text for _, text in encoded.values()]
        self._json = as_json(self.data)
        self.id = new_id("crate-acting", self._json)

    def _repr_html_(self) -> str:
        first = self.data["pictures"][0]
        return embedded(
            self.id,
            classes="crate-acting",
            css=f"{_asset('heads.css')}\n{_asset('acting.css')}",
            preview=first["src"],
            alt=first["title"],
            still="A still: a picture to click at. To act on the networks, open this page where scripts may run.",
            data=self._json,
            weights=self._weights,
            scripts=FILES,
            mount="mountActing",
        )


def _bytes(lab: np.ndarray) -> np.ndarray:
    """CIELAB by hundredths, L in [0, 1] and a, b in [-1, 1], as the page reads it."""
    return np.clip(np.rint(255 * (lab * [1, 0.5, 0.5] + [0, 0.5, 0.5])), 0, 255).astype(np.uint8)
