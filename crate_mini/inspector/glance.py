"""The head viewer in small: one picture, two networks or more, one slider through the layers.

Made for the front of a book: who has ten seconds moves the slider, who has a photo drops it. In every layer one head
of each network is shown, which was chosen beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from crate_mini.attention_maps import cls_attention_maps
from crate_mini.inspector.contract import build_contract
from crate_mini.inspector.network import encode_network
from crate_mini.inspector.viewer import _asset, _preview, as_json, embedded, new_id
from crate_mini.model import CRATE


class Glance:
    """One picture as heads of several networks see it, layer by layer, as one piece of HTML.

    Show it as :class:`~crate_mini.inspector.HeadViewer` is shown; it runs the networks on the reader's own photo as
    that one does.

    Args:
        networks: by name; as many layers each.
        picture: ``(3, H, W)``, uint8.
        heads: for each network the head that is shown in every layer.
        scores: for each network a number for every layer, which says how well that head's map of this picture fits
            ``mask``: the AUROC, in [0, 1]. None where nothing is known.
        middle: the same of a map that is only brighter in the middle.
        mask: ``(H, W)`` with 0 background, 1 object, 255 not counted; its outline is drawn.
        title: what the picture shows, as in "a drawn elephant".
        thing: what is outlined, as in "elephant".
        layer: seen first.
        photo_side: pixels that the shorter side of a reader's photo is brought to.

    Raises:
        ValueError: networks of unequal depth, or too many or too few heads or scores; and what
            :func:`~crate_mini.inspector.build_contract` refuses.
    """

    def __init__(
        self,
        networks: Mapping[str, CRATE],
        picture: UInt8[Tensor, "3 H W"],
        *,
        heads: Mapping[str, Sequence[int]],
        scores: Mapping[str, Sequence[float]] | None = None,
        middle: float | None = None,
        mask: Tensor | None = None,
        title: str = "picture",
        thing: str = "object",
        layer: int = 0,
        photo_side: int = 160,
    ) -> None:
        depths = {name: len(model.blocks) for name, model in networks.items()}
        if len(set(depths.values())) != 1:
            raise ValueError(f"one slider moves all networks, so all must have as many layers, got {depths}")
        for what, given in (("heads", heads), ("scores", scores)):
            counts = depths if given is None else {name: len(given.get(name, ())) for name in networks}
            if counts != depths:
                raise ValueError(f"{what} are needed for every layer, {depths}; got {counts}")
        encoded = {name: encode_network(model, name) for name, model in networks.items()}
        self.contract = build_contract(
            picture[None],
            {name: _maps(model, picture, heads[name]) for name, model in networks.items()},
            titles=[title],
            masks=None if mask is None else mask[None],
            layer=layer,
            networks={name: header for name, (header, _) in encoded.items()},
            photo_side=photo_side,
        ) | {
            "thing": thing,
            "middle": middle,
            "shown": [list(map(int, heads[name])) for name in networks],
            "scores": None if scores is None else [list(map(float, scores[name])) for name in networks],
        }
        self._weights = [text for _, text in encoded.values()]
        self._json = as_json(self.contract)
        self.id = new_id("crate-glance", self._json)

    def _repr_html_(self) -> str:
        title = self.contract["images"][0]["title"]
        return embedded(
            self.id,
            classes="crate-glance",
            css=f"{_asset('heads.css')}\n{_asset('glance.css')}",
            preview=_preview(self.contract),
            alt=f"{title}, and what a head of each network attends to",
            still="A still: the picture, and a head of each network. To move through the layers, open this page where "
            "scripts may run.",
            data=self._json,
            weights=self._weights,
            scripts=("heads.js", "patches.js", "crate.js", "photo.js", "glance.js"),
            mount="mountGlances",
        )


def _maps(model: CRATE, picture: Tensor, heads: Sequence[int]) -> Float[Tensor, "1 L 1 h w"]:
    """Of every layer the map of one head."""
    with torch.no_grad():
        maps = cls_attention_maps(model, picture[None])[0]
    return maps[torch.arange(len(maps)), torch.as_tensor(heads)][None, :, None]
