"""The one layout every data set of the book has: images, labels and, where they exist, masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

IGNORE = 255
"""Mask value of pixels that no score may count, such as the border ring of a trimap."""
PIXELWISE = ("masks", "parts", "instances")
"""What an :class:`ImageSet` may know of every pixel: its fields with one number a pixel."""


@dataclass(frozen=True, eq=False)
class ImageSet(Dataset):
    """Images of one size, held in memory as ``uint8``, with what is known about them.

    Attributes:
        images: ``(n, 3, H, W)`` uint8.
        labels: ``(n,)`` int64, indices into ``classes``; -1 where an image has no label.
        classes: class names.
        masks: ``(n, H, W)`` uint8, 0 background, 1 object, :data:`IGNORE` not counted; or None.
        parts: ``(n, H, W)`` uint8, indices into ``part_names`` (0 is always "background"); or None.
        part_names: names of the part indices.
        name: what was loaded, for captions and result files.
        tier: ``"embedded"``, ``"local"`` or ``"download"``: where the images came from.
        files: one path per image where images came from files, else empty.
        instances: ``(n, H, W)`` uint8, 0 background, 1, 2, ... the objects of an image one by one, :data:`IGNORE` not
            counted; or None.
        instance_classes: for every image the classes of its instances 1, 2, ..., as indices into ``part_names``. It
            counts those, too, that are too small to have a pixel left at this size.

    An item is a dict with ``image`` and ``label``, and ``mask``, ``parts`` and ``instances`` where they exist,
    so a :class:`torch.utils.data.DataLoader` batches it as it is.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...] = ()
    masks: Tensor | None = None
    parts: Tensor | None = None
    part_names: tuple[str, ...] = ()
    name: str = "unnamed"
    tier: str = "local"
    files: tuple[str, ...] = ()
    instances: Tensor | None = None
    instance_classes: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.images)
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise ValueError(
                f"images must be uint8 of shape (n, 3, H, W), got {self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels.shape != (n,):
            raise ValueError(f"{n} images need labels of shape ({n},), got {tuple(self.labels.shape)}")
        for field in PIXELWISE:
            value = getattr(self, field)
            expected = (n, *self.images.shape[2:])
            if value is not None and tuple(value.shape) != expected:
                raise ValueError(f"{field} must have shape {expected}, got {tuple(value.shape)}")
        if self.files and len(self.files) != n:
            raise ValueError(f"{n} images need {n} file names or none, got {len(self.files)}")
        if self.instance_classes and len(self.instance_classes) != n:
            raise ValueError(
                f"{n} images need {n} lists of classes or none, got {len(self.instance_classes)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, 3, H, W)``."""
        return tuple(self.images.shape)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        item = {"image": self.images[i], "label": self.labels[i]}
        keys = {"masks": "mask", "parts": "parts", "instances": "instances"}
        return item | {keys[k]: v[i] for k in PIXELWISE if (v := getattr(self, k)) is not None}

    def subset(self, indices: Sequence[int] | Tensor) -> ImageSet:
        """The images at ``indices``, in that order."""
        index = torch.as_tensor(indices, dtype=torch.long)
        lists = {k: getattr(self, k) for k in ("files", "instance_classes")}
        return replace(
            self,
            **{
                k: None if (v := getattr(self, k)) is None else v[index]
                for k in ("images", "labels", *PIXELWISE)
            },
            **{k: tuple(v[i] for i in index.tolist()) if v else () for k, v in lists.items()},
        )

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set with every tensor on ``device``."""
        moved = {k: getattr(self, k) for k in ("images", "labels", *PIXELWISE)}
        return replace(self, **{k: None if v is None else v.to(device) for k, v in moved.items()})
