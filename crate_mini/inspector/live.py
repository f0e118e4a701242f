"""The head viewer in a running notebook: any model, and photos of your own uploaded to the kernel."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import anywidget
import ipywidgets as widgets
import torch
import traitlets
from PIL import Image
from torch import Tensor

from crate_mini import data
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.inspector.contract import Key, build_contract
from crate_mini.inspector.network import fits_in_page
from crate_mini.inspector.patches import encode_pair, tokens_seen
from crate_mini.inspector.strip import layer_strip
from crate_mini.inspector.viewer import HeadViewer, Models, _asset, by_key, inspect_images
from crate_mini.model import CRATE
from crate_mini.recorder import layer_numbers

SMALLEST = 8
"""Pixels of the shorter side below which a photo has nothing to show."""
KEPT = 4
"""Pictures whose tokens stay in memory for further questions: 15 MB each for CRATE-Base and 400 patches."""


class HeadPicture(anywidget.AnyWidget):
    """The head viewer as a widget: what the page asks comes as a message, and what it is told goes as one.

    Args:
        page: the viewer's HTML; its script is this widget's.
    """

    _esm = "\n".join(map(_asset, ("heads.js", "patches.js", "crate.js", "photo.js", "live.js")))
    page = traitlets.Unicode().tag(sync=True)


class HeadInspector(widgets.VBox):
    """See what every head of a model sees, in Jupyter, VS Code or Colab: ``HeadInspector(model, images)``.

    The picture is the head viewer's, drawn in the page: its sliders and pointers never wait for the kernel, and
    nothing flickers. Small models go into the page whole, where they answer for patches and photos themselves.
    For larger ones the kernel does: when a patch is pointed at, it sends queries and keys of the layer, from which
    the page answers for all patches and heads; and an uploaded photo is run and added to the viewer, which stays as
    it is: layer, head and view are kept.

    Args:
        models: one of :mod:`crate_mini.model`'s models, or several by name; for a name, a dict of models stands for
            several trainings of one network, of which the reader chooses one.
        images: uint8 ``(B, 3, H, W)`` or a list of ``(3, H, W)`` of any sizes, cut to whole patches; without any,
            three photographs that come with scikit-image.
        side: pixels of the shorter side of photos: those shown without ``images``, and those of your own.
        run_in_page: put the models into the page; by default if they are small enough together.
        settings: anything else :func:`~crate_mini.inspector.inspect_images` takes.

    Attributes:
        viewer: the :class:`~crate_mini.inspector.HeadViewer` on show, as it began.
        titles: of all pictures, the uploaded ones last.

    Raises:
        ValueError, TypeError: what :class:`~crate_mini.inspector.HeadViewer` refuses.
    """

    def __init__(
        self,
        models: Models,
        images: Tensor | Sequence[Tensor] | None = None,
        *,
        side: int = 160,
        run_in_page: bool | None = None,
        **settings: Any,
    ) -> None:
        self.models: dict[Key, CRATE] = by_key(models)
        self.side, self.layers = side, settings.get("layers")
        self._patch = max(model.config.patch_size for model in self.models.values())
        if images is None:
            found = data.photographs()
            names = ("cat", "astronaut", "coffee")
            images = [data.to_patch_grid(found[name], side, self._patch) for name in names]
            settings.setdefault("titles", names)
        pictures = [self._whole_patches(torch.as_tensor(image)) for image in images]
        if run_in_page is None:
            run_in_page = fits_in_page(self.models.values())
        self.viewer: HeadViewer = inspect_images(
            models,
            pictures,
            run_in_page=run_in_page,
            photo_side=side,
            asks_kernel=not run_in_page,
            **settings,
        )
        self.titles = [image["title"] for image in self.viewer.contract["images"]]
        self._pictures = pictures
        self._seen: dict[int, dict[int, dict[int, Tensor]]] = {}
        self._picture = HeadPicture(page=self.viewer.fragment())
        self._picture.on_msg(self._asked)
        self.upload = widgets.FileUpload(accept="image/*", multiple=False, description="Your own photo")
        self.upload.layout.width = "auto"
        self.status = widgets.HTML("It is read by the kernel, and goes nowhere else.")
        self.upload.observe(self._uploaded, names="value")
        row = [] if run_in_page else [widgets.HBox([self.upload, self.status])]
        super().__init__([*row, self._picture])

    def add(self, image: Image.Image | Tensor, title: str) -> None:
        """Run the models on one more picture and show it, in the viewer that is there.

        Args:
            image: a picture of PIL, or uint8 ``(3, h, w)``; fitted to ``side`` and whole patches.
            title: its name.

        Raises:
            ValueError: too small, or too long and thin.
            DataError: pixels that cannot be read as colours.
        """
        width, height = image.size if isinstance(image, Image.Image) else image.shape[:0:-1]
        if min(width, height) < SMALLEST:
            raise ValueError(f"{title} is only {width} x {height} pixels; take a photo with more in it")
        picture = data.to_patch_grid(image, self.side, self._patch)
        with torch.no_grad():
            maps = {n: cls_attention_maps(m, picture[None], self.layers) for n, m in self.models.items()}
        contract = build_contract([picture], maps, titles=[title], asks_kernel=True)
        strips = [
            entry["strip"]
            and layer_strip(model, [picture], self.layers, axes=entry["strip"]["axes"])["images"][0]
            for entry, model in zip(self.viewer.contract["models"], self.models.values(), strict=True)
        ]
        self.titles.append(title)
        self._pictures.append(picture)
        news = {
            "number": len(self.titles) - 1,
            "image": contract["images"][0],
            "maps": [entry["maps"][0] for entry in contract["models"]],
            "strips": strips,
        }
        self._picture.send({"method": "receive", "news": news})

    def _asked(self, _: widgets.Widget, question: Mapping[str, Any], __: list) -> None:
        """Send queries and keys of the layers that the page wants, of the picture that a patch was pointed at in."""
        models = list(self.models.values())
        answer: dict[str, Any] = {key: question[key] for key in ("image", "wanted")}
        pairs = []
        try:
            for m, position in question["wanted"]:
                number = layer_numbers(models[m], self.layers)[position]
                pairs.append(encode_pair(models[m], number, self._tokens_of(question["image"], m)[number]))
            answer["pairs"] = pairs
        except (RuntimeError, MemoryError) as error:  # a model that does not fit on its device, for example
            answer["error"] = str(error).partition("\n")[0] or type(error).__name__
        self._picture.send({"method": "receivePairs", "news": answer})

    def _tokens_of(self, image: int, m: int) -> dict[int, Tensor]:
        """What attention sees of a picture in a model, kept for the pictures asked last."""
        if image not in self._seen:
            while len(self._seen) >= KEPT:
                del self._seen[next(iter(self._seen))]
            self._seen[image] = {}
        kept = self._seen[image]
        if m not in kept:
            kept[m] = tokens_seen(list(self.models.values())[m], self._pictures[image], self.layers)
        return kept[m]

    def _uploaded(self, change: Mapping[str, Any]) -> None:
        if not change["new"]:
            return
        file = change["new"][-1]
        name = PurePosixPath(file["name"].replace("\\", "/")).name or "photo"
        try:
            photo = data.open_image(bytes(file["content"]), name)
            self._say(f"Running the model on {name} …")
            self.add(photo, name)
        except (ValueError, data.DataError, MemoryError) as error:
            self._say(str(error))
        else:
            self._say(f"{name}: {photo.width} x {photo.height} pixels. It goes nowhere but to the kernel.")

    def _say(self, text: str) -> None:
        self.status.value = html.escape(text)

    def _whole_patches(self, image: Tensor) -> Tensor:
        if image.ndim != 3:
            raise ValueError(f"images must be (3, height, width) each, got shape {tuple(image.shape)}")
        h, w = (side // self._patch * self._patch for side in image.shape[-2:])
        if not h * w:
            raise ValueError(
                f"an image of {image.shape[-2]} x {image.shape[-1]} pixels has no whole patch of {self._patch}"
            )
        top, left = (image.shape[-2] - h) // 2, (image.shape[-1] - w) // 2
        return image[..., top : top + h, left : left + w]
