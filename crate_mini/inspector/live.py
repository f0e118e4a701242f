"""The head viewer in a running notebook: any model, and photos of your own uploaded to the kernel."""

from __future__ import annotations

import html
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import ipywidgets as widgets
import torch
from PIL import Image
from torch import Tensor, nn

from crate_mini import data
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.inspector.contract import build_contract
from crate_mini.inspector.network import fits_in_page
from crate_mini.inspector.strip import layer_strip
from crate_mini.inspector.viewer import HeadViewer, inspect_images
from crate_mini.model import CRATE

SMALLEST = 8
"""Pixels of the shorter side below which a photo has nothing to show."""


class HeadInspector(widgets.VBox):
    """See what every head of a model sees, in Jupyter, VS Code or Colab: ``HeadInspector(model, images)``.

    The picture is the head viewer's, drawn in the page: its sliders and pointers never wait for the kernel, and
    nothing flickers. Small models go into the page whole, where they answer for patches and photos themselves.
    For larger ones an upload button stands above the viewer; an uploaded photo is run in the kernel and added to
    the viewer, which stays as it is: layer, head and view are kept.

    Args:
        models: one of :mod:`crate_mini.model`'s models, or several by name.
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
        models: nn.Module | Mapping[str, nn.Module],
        images: Tensor | Sequence[Tensor] | None = None,
        *,
        side: int = 160,
        run_in_page: bool | None = None,
        **settings: Any,
    ) -> None:
        self.models: dict[str, CRATE] = dict(models) if isinstance(models, Mapping) else {"": models}
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
            self.models, pictures, run_in_page=run_in_page, photo_side=side, **settings
        )
        self.titles = [image["title"] for image in self.viewer.contract["images"]]
        self._picture, self._news = widgets.Output(), widgets.Output()
        self._picture.outputs = (_display(self.viewer._repr_html_()),)
        self.upload = widgets.FileUpload(accept="image/*", multiple=False, description="Your own photo")
        self.upload.layout.width = "auto"
        self.status = widgets.HTML("It is read by the kernel, and goes nowhere else.")
        self.upload.observe(self._uploaded, names="value")
        row = [] if run_in_page else [widgets.HBox([self.upload, self.status])]
        super().__init__([*row, self._picture, self._news])

    def add(self, image: Image.Image | Tensor, title: str) -> None:
        """Run the models on one more picture and show it, in the viewer that is there.

        Args:
            image: a PIL image, or uint8 ``(3, h, w)``; fitted to ``side`` and whole patches.
            title: its name.

        Raises:
            ValueError: too small, or too long and thin.
        """
        width, height = image.size if isinstance(image, Image.Image) else image.shape[:0:-1]
        if min(width, height) < SMALLEST:
            raise ValueError(f"{title} is only {width} x {height} pixels; take a photo with more in it")
        if isinstance(image, Image.Image):
            image = image.convert("RGB")
        picture = data.to_patch_grid(image, self.side, self._patch)
        with torch.no_grad():
            maps = {n: cls_attention_maps(m, picture[None], self.layers) for n, m in self.models.items()}
        contract = build_contract([picture], maps, titles=[title])
        strips = [
            entry["strip"]
            and layer_strip(model, [picture], self.layers, axes=entry["strip"]["axes"])["images"][0]
            for entry, model in zip(self.viewer.contract["models"], self.models.values(), strict=True)
        ]
        self.titles.append(title)
        news = {
            "number": len(self.titles) - 1,
            "image": contract["images"][0],
            "maps": [entry["maps"][0] for entry in contract["models"]],
            "strips": strips,
        }
        text = json.dumps(news, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
        roots = f"document.querySelectorAll('[id=\"{self.viewer.id}\"]')"
        script = f"for (const root of {roots}) root.headViewer?.receive({text});"
        self._news.outputs = (_display(f"<script>{{{script}}}</script>"),)

    def _uploaded(self, change: Mapping[str, Any]) -> None:
        if not change["new"]:
            return
        file = change["new"][-1]
        name = PurePosixPath(file["name"].replace("\\", "/")).name or "photo"
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "photo"
                path.write_bytes(bytes(file["content"]))
                try:
                    photo = data.open_image(path)
                except data.DataError as error:
                    raise ValueError(f"{name} could not be read as a picture") from error
            self._say(f"Running the model on {name} …")
            self.add(photo, name)
        except (ValueError, Image.DecompressionBombError, MemoryError) as error:
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


def _display(text: str) -> dict[str, Any]:
    """An output as the notebook protocol has it: set as state, it needs no running cell to appear under."""
    return {"output_type": "display_data", "data": {"text/html": text, "text/plain": ""}, "metadata": {}}
