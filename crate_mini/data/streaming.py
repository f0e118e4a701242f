"""Sets that do not fit into memory: decoded on the way by worker processes, batch for batch the same images."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from crate_mini.data.images import read_square, read_squares
from crate_mini.data.imageset import ImageSet
from crate_mini.data.opening import open_image
from crate_mini.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageStream(Dataset):
    """Image files with labels, read when they are asked for. :meth:`read` brings them into memory.

    Training takes a stream wherever it takes an :class:`ImageSet`, and does the same with it, bit for bit.

    Attributes:
        files: one path per image.
        labels: ``(n,)`` int64, indices into ``classes``.
        classes: class names.
        image_size: side in pixels that every image is brought to.
        name: what was opened, for captions and result files.
        tier: ``"local"`` or ``"download"``.
        workers: processes that decode while training goes on; 0 decodes in the process that trains, None takes
            what the cores at hand leave, :func:`default_workers`.
        not_taken: files that lie among the images and are no pictures that are read here.
    """

    files: tuple[str, ...]
    labels: Tensor
    classes: tuple[str, ...] = ()
    image_size: int = 64
    name: str = "unnamed"
    tier: str = "local"
    workers: int | None = None
    not_taken: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.files),):
            raise ValueError(
                f"{len(self.files)} files need labels of shape ({len(self.files)},), got {tuple(self.labels.shape)}"
            )
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers must be 0 or more, got {self.workers}")

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, 3, H, W)``, the shape that the images would have in memory."""
        return (len(self), 3, self.image_size, self.image_size)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        image = torch.from_numpy(read_square(self.files[i], self.image_size).copy()).permute(2, 0, 1)
        return {"image": image.contiguous(), "label": self.labels[i]}

    def subset(self, indices: Sequence[int] | Tensor) -> ImageStream:
        """The images at ``indices``, in that order."""
        index = torch.as_tensor(indices, dtype=torch.long)
        return replace(self, files=tuple(self.files[i] for i in index.tolist()), labels=self.labels[index])

    def read(self, *, progress: bool | None = None) -> ImageSet:
        """All images in memory.

        Raises:
            DataError: an image that cannot be read, or more than this machine's memory holds.
        """
        return ImageSet(
            images=read_squares(self.files, self.image_size, title=self.name, progress=progress),
            labels=self.labels,
            classes=self.classes,
            name=self.name,
            tier=self.tier,
            files=self.files,
        )

    def damaged(self) -> Iterator[str]:
        """What is wrong with the files that cannot be read, one message each; reads them all."""

        def trouble(file: str) -> str | None:
            try:
                open_image(file)
            except DataError as error:
                return str(error)
            return None

        with ThreadPoolExecutor() as pool:
            yield from filter(None, pool.map(trouble, self.files))


def default_workers() -> int:
    """Processes that decode: the cores that this process may use, shared with others on this machine, less one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1) if cores > 1 else 0


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor without making the host wait for a GPU: from pinned memory, in the order of the stream."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Feed:
    """Batches of a set on a device, in an order that the caller chooses.

    Args:
        data: an :class:`ImageSet`, indexed, or an :class:`ImageStream`, decoded ahead by its workers.
        device: where the batches are needed.
        hold: keep an :class:`ImageSet` on the device as a whole.
    """

    def __init__(self, data: ImageSet | ImageStream, device: torch.device, *, hold: bool = True) -> None:
        if hold and isinstance(data, ImageSet):
            data = replace(data, masks=None, parts=None, instances=None).to(device)
        self.data, self.device = data, device
        self._loader: DataLoader | None = None
        self._order = _Order()
        self._running: Iterator | None = None

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *error: object) -> None:
        """End the workers."""
        if self._running is not None:
            self._running.close()
        # the loader ends them when nothing refers to it any more; the traceback of an error still may
        iterator = getattr(self._loader, "_iterator", None)
        if hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
        self._running = self._loader = None

    def batches(self, order: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Uint8 images and labels on the device, one pair for each tensor of indices.

        Raises:
            DataError: an image that cannot be read, named; or a worker that died.
        """
        if self._running is not None:
            self._running.close()
        read = self._stream if isinstance(self.data, ImageStream) else self._index
        self._running = read(list(order))
        return self._running

    def _index(self, order: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.data.images, self.data.labels
        for index in order:
            index = to_device(index, images.device)
            yield to_device(images[index], self.device), to_device(labels[index], self.device)

    def _stream(self, order: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        self._order.batches = order
        self._loader = self._loader or self._make_loader()
        ahead = iter(self._loader)
        for index in order:
            try:
                images = next(ahead)
            except RuntimeError as error:
                raise DataError(
                    f"{self.data.name}: a process that reads images died ({error}). If memory ran out, take fewer "
                    "workers; with 0 the images are read in the process that trains"
                ) from error
            if isinstance(images, DataError):
                raise images
            yield (
                images.to(self.device, non_blocking=True),  # pinned by the loader
                to_device(self.data.labels[index], self.device),
            )

    def _make_loader(self) -> DataLoader:
        workers = default_workers() if self.data.workers is None else self.data.workers
        return DataLoader(
            _Decoder(self.data),
            batch_sampler=self._order,
            num_workers=workers,
            collate_fn=_as_it_is,
            worker_init_fn=_leave_signals_to_the_parent,
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            generator=torch.Generator(),  # else it draws from the global one
        )


class _Order:
    """The batches to come, for the loader to ask for; another list every epoch, and the workers stay."""

    batches: Sequence[Tensor] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (index.tolist() for index in self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Decoder(Dataset):
    """What the workers run. An error is handed over as it is, for one raised there comes as a page of traceback."""

    def __init__(self, data: ImageStream) -> None:
        # one block of bytes: a million strings would be copied into each worker, count by count of references
        self.files = np.array([os.fsencode(file) for file in data.files])
        self.image_size = data.image_size

    def __getitems__(self, indices: list[int]) -> Tensor | DataError:
        images = np.empty((len(indices), self.image_size, self.image_size, 3), np.uint8)
        try:
            for i, index in enumerate(indices):
                images[i] = read_square(os.fsdecode(self.files[index]), self.image_size)
        except DataError as error:
            return DataError(str(error))
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def __len__(self) -> int:
        return len(self.files)


def _as_it_is(batch: Tensor | DataError) -> Tensor | DataError:
    return batch


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C and the end of a job reach every process of a group; the one that trains ends its workers itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
