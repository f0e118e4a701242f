"""Where images come from: one function a source, all of them behind :func:`load`."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pooch
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision import datasets
from tqdm.auto import tqdm

from crate_mini.data import embedded
from crate_mini.data.imageset import IGNORE, ImageSet

# Twenty-five animals whose pictures show the whole body against a background more often than not.
TINY_IMAGENET_ANIMALS = (
    "n02085620", "n02094433", "n02099601", "n02099712", "n02106662", "n02113799",  # dogs
    "n02123045", "n02123394", "n02124075", "n02125311", "n02129165",  # cats
    "n02132136", "n02364673", "n02395406", "n02403003", "n02410509", "n02415577", "n02423022",
    "n02437312", "n02480495", "n02481823", "n02504458", "n02509815", "n01882714", "n02056570",
)  # fmt: skip


class DataError(RuntimeError):
    """A data set that is not there, not whole, or not readable; the message says what to do."""


def load(
    name: str,
    split: str = "train",
    *,
    image_size: int = 64,
    n: int | None = None,
    seed: int = 0,
    root: str | os.PathLike | None = None,
    download: bool = False,
    classes: Sequence[str] | None = None,
    progress: bool = False,
) -> ImageSet:
    """Load a data set into memory, every image ``image_size`` pixels square.

    Images of another size are resized so that the shorter side fits, and centre-cropped; masks move with them.

    Args:
        name: one of :data:`SETS`:
            ``embedded`` (tier 1, made on the spot, with masks and parts),
            ``tiny-imagenet``, ``tiny-imagenet-animals`` (25 of its classes), ``cifar10``, ``cifar100``,
            ``pets`` and ``horses`` (with masks; for evaluation),
            ``folder`` (``root/<split>/<class>/*.jpg``), ``masks`` (``root/images`` and ``root/masks``, paired by name).
        split: ``"train"``, ``"val"`` or ``"test"``, as far as the set has it. For ``pets``, train is the
            trainval list; ``horses`` and ``masks`` have one split only, ``"test"``.
        image_size: side in pixels.
        n: how many images, drawn by ``seed`` (balanced over classes for ``embedded``); all if None.
        seed: of the draw; for ``embedded`` of the images themselves.
        root: the folder that holds the data sets; ``CRATE_MINI_DATA`` if None. For ``folder`` and ``masks``,
            the data set itself.
        download: fetch the set if it is not there. Archives are checked before they are unpacked, and a
            download that breaks off leaves nothing behind.
        classes: keep only these classes, in this order.
        progress: show a progress bar while images are read.

    Raises:
        ValueError: unknown name or split, or a class the set does not have.
        DataError: missing or damaged data, naming the file and the way out.
    """
    if name not in SETS:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(SETS)}")
    source, splits = SETS[name]
    if split not in splits:
        raise ValueError(f"{name!r} has the splits {', '.join(splits)}; got {split!r}")
    if n is not None and n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel, got {image_size}")
    return source(_Request(name, split, image_size, n, seed, root, download, classes, progress))


class _Request:
    """What the caller of :func:`load` asked for, with the few things every source does with it."""

    def __init__(self, name, split, image_size, n, seed, root, download, classes, progress):
        self.name, self.split, self.image_size, self.n, self.seed = name, split, image_size, n, seed
        self.root, self.download, self.classes, self.progress = root, download, classes, progress

    @property
    def folder(self) -> Path:
        return data_root(self.root)

    def choose_classes(self, available: Sequence[str]) -> list[str]:
        if self.classes is None:
            return list(available)
        if unknown := [c for c in self.classes if c not in available]:
            raise ValueError(f"{self.name!r} has no classes {unknown}; it has {', '.join(available)}")
        return list(self.classes)

    def draw(self, items: list) -> list:
        """N of the items, in their order; all of them if n is None."""
        if self.n is None or self.n >= len(items):
            return items
        chosen = torch.randperm(len(items), generator=torch.Generator().manual_seed(self.seed))[: self.n]
        return [items[i] for i in sorted(chosen.tolist())]

    def read(self, files: list[Path], *, masks: list[Path] | None = None) -> dict:
        """Decode images, and masks where given, on all cores."""

        def one(paths: tuple[Path, Path | None]) -> tuple[np.ndarray, np.ndarray | None]:
            image = open_image(paths[0])
            mask = None
            if paths[1] is not None:
                mask = _open_mask(paths[1])
                if mask.size != image.size:
                    raise DataError(f"{paths[1]} is {mask.size} pixels, its image {paths[0]} is {image.size}")
                mask = np.asarray(fit_image(mask, self.image_size, nearest=True))
            return np.asarray(fit_image(image, self.image_size)), mask

        pairs = list(zip(files, masks or [None] * len(files), strict=True))
        images = np.empty((len(pairs), self.image_size, self.image_size, 3), np.uint8)
        labels = []
        with ThreadPoolExecutor() as pool:
            bar = tqdm(
                pool.map(one, pairs),
                total=len(pairs),
                desc=self.name,
                unit="image",
                disable=not self.progress,
            )
            for i, (image, mask) in enumerate(bar):
                images[i] = image
                labels.append(mask)
        read = {
            "images": torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
            "files": tuple(map(str, files)),
        }
        return read | ({"raw_masks": torch.from_numpy(np.stack(labels).astype(np.uint8))} if masks else {})


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder that holds local data sets: ``root``, else ``CRATE_MINI_DATA``, else a cache folder of the user."""
    return Path(root or os.environ.get("CRATE_MINI_DATA") or pooch.os_cache("crate_mini"))


def open_image(path: str | os.PathLike) -> Image.Image:
    """An image file as upright RGB: EXIF rotation applied, grey and palette converted, transparency on white.

    Raises:
        DataError: missing, truncated, or not an image.
    """
    image = ImageOps.exif_transpose(_open(Path(path)))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def fit_image(image: Image.Image, size: int, *, nearest: bool = False) -> Image.Image:
    """Resize so that the shorter side is ``size``, and crop the centre square."""
    if image.size == (size, size):
        return image
    return ImageOps.fit(
        image, (size, size), Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    )


def to_patch_grid(image: Image.Image | Tensor, size: int, patch: int) -> Tensor:
    """A photo as a model can read it: shorter side about ``size``, both sides multiples of ``patch``.

    The aspect ratio is kept; what does not fill a patch is cropped, half on either side.

    Args:
        image: RGB, or uint8 ``(3, h, w)``.
        size: pixels of the shorter side, at least one patch.
        patch: pixels of a patch.

    Returns:
        uint8 ``(3, h, w)``.

    Raises:
        ValueError: ``size`` below one patch, or an image so long that its longer side would exceed 32 x ``size``.
    """
    if isinstance(image, Tensor):
        image = Image.fromarray(image.permute(1, 2, 0).numpy())
    if size < patch:
        raise ValueError(f"size must be at least one patch, {patch} pixels; got {size}")
    shorter, longer = sorted(image.size)
    if longer > 32 * shorter:
        raise ValueError(
            f"an image of {image.size[0]}x{image.size[1]} pixels is too long and thin to be cut into patches"
        )
    scale = size // patch * patch / shorter
    sides = [max(patch, int(side * scale + 1e-6) // patch * patch) for side in image.size]
    fitted = ImageOps.fit(image, tuple(sides), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1)


def whereabouts(name: str, root: Path) -> str:
    """``"embedded"``, ``"here"`` or ``"not here"``: whether a set is in the folder ``root``, without reading it."""
    folders = {
        "tiny-imagenet": "tiny-imagenet-200", "tiny-imagenet-animals": "tiny-imagenet-200",
        "cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python",
        "pets": "oxford-iiit-pet", "horses": "weizmann-horse", "folder": "train", "masks": "masks",
    }  # fmt: skip
    if name == "embedded":
        return "embedded"
    return "here" if (root / folders[name]).is_dir() else "not here"


def photographs(image_size: int | None = None) -> dict[str, Tensor]:
    """The photographs that come with scikit-image, public domain or CC0, as uint8 ``(3, h, w)``.

    Args:
        image_size: fit into a square of this side; original size if None.

    Returns:
        ``{"cat": ..., "astronaut": ..., "coffee": ..., "rocket": ...}``.
    """
    from skimage import data as samples

    sources = {
        "cat": samples.chelsea,
        "astronaut": samples.astronaut,
        "coffee": samples.coffee,
        "rocket": samples.rocket,
    }
    pictures = {name: Image.fromarray(source()) for name, source in sources.items()}
    if image_size is not None:
        pictures = {name: fit_image(p, image_size) for name, p in pictures.items()}
    return {name: torch.from_numpy(np.array(p)).permute(2, 0, 1) for name, p in pictures.items()}


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError as error:
        raise DataError(f"no image at {path}") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} has too many pixels to be opened safely ({error})") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is not an image that can be read, or is truncated ({error})") from error
    return image


def _open_mask(path: Path) -> Image.Image:
    mask = _open(path)
    # black and white, but stored as colours or in 16 bits
    return mask if mask.mode in ("1", "L", "P") else mask.convert("L")


def _require(path: Path, name: str, hint: str = "") -> Path:
    if not path.exists():
        raise DataError(
            f"{name}: {path} is missing. Put the data set there, or name the folder that holds it by root=... or the "
            f"environment variable CRATE_MINI_DATA.{hint} The set 'embedded' needs no files at all."
        )
    return path


# --- tier 1 ----------------------------------------------------------------------------------------------------------


def _embedded(request: _Request) -> ImageSet:
    if request.classes is not None:
        raise ValueError("the embedded set is balanced over all its classes; choose among them with subset()")
    n = request.n or (5000 if request.split == "train" else 1000)
    return embedded.generate(n, seed=request.seed, image_size=request.image_size, split=request.split)


# --- tiers 2 and 3 ---------------------------------------------------------------------------------------------------

_TINY_IMAGENET = ("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "md5:90528d7ca1a48142e341f4ef8d21d0de")


def _tiny_imagenet(request: _Request, default_classes: Sequence[str] | None = None) -> ImageSet:
    folder = request.folder / "tiny-imagenet-200"
    if request.download and not folder.exists():
        _fetch_and_unpack(*_TINY_IMAGENET, folder)
    hint = " Or pass download=True."
    words = dict(
        line.split("\t")
        for line in _require(folder / "words.txt", request.name, hint).read_text().splitlines()
        if line
    )
    wnids = sorted(_require(folder / "wnids.txt", request.name, hint).read_text().split())
    chosen = (
        request.choose_classes(wnids) if request.classes or not default_classes else list(default_classes)
    )
    index = {w: i for i, w in enumerate(chosen)}
    if request.split == "train":
        pairs = []
        for wnid in chosen:
            files = sorted(_require(folder / "train" / wnid / "images", request.name, hint).glob("*.JPEG"))
            if not files:
                raise DataError(f"{folder / 'train' / wnid / 'images'} holds no .JPEG files")
            pairs += [(f, index[wnid]) for f in files]
    else:
        lines = _require(folder / "val" / "val_annotations.txt", request.name, hint).read_text().splitlines()
        rows = [line.split("\t")[:2] for line in lines if line]
        pairs = [(folder / "val" / "images" / f, index[w]) for f, w in rows if w in index]
    names = tuple(words.get(w, w).split(",")[0] for w in chosen)
    return _labelled(request, pairs, names)


def _tiny_imagenet_animals(request: _Request) -> ImageSet:
    return _tiny_imagenet(request, TINY_IMAGENET_ANIMALS)


def _image_folder(request: _Request) -> ImageSet:
    folder = _require(request.folder / request.split, request.name)
    available = sorted(d.name for d in folder.iterdir() if d.is_dir() and not d.name.startswith("."))
    if not available:
        raise DataError(f"{folder} holds no folders; expected one per class, as {folder}/<class>/<image>.jpg")
    chosen = request.choose_classes(available)
    suffixes = set(Image.registered_extensions())
    pairs = [
        (f, i)
        for i, c in enumerate(chosen)
        for f in sorted((folder / c).rglob("*"))
        if f.suffix.lower() in suffixes and not f.name.startswith(".")
    ]
    if empty := [c for i, c in enumerate(chosen) if i not in {i for _, i in pairs}]:
        raise DataError(f"{folder / empty[0]} holds no images; remove the folder if this is no class")
    return _labelled(request, pairs, tuple(chosen))


def _labelled(request: _Request, pairs: list[tuple[Path, int]], classes: tuple[str, ...]) -> ImageSet:
    if not pairs:
        raise DataError(f"{request.name}/{request.split} lists no images of the classes {', '.join(classes)}")
    pairs = request.draw(pairs)
    read = request.read([f for f, _ in pairs])
    labels = torch.tensor([i for _, i in pairs])
    return ImageSet(labels=labels, classes=classes, name=f"{request.name}/{request.split}", **read)


def _cifar(cls: type) -> Callable[[_Request], ImageSet]:
    def source(request: _Request) -> ImageSet:
        try:
            cifar = cls(request.folder, train=request.split == "train", download=request.download)
        except RuntimeError as error:
            raise DataError(
                f"{request.name} is not in {request.folder}, or damaged. Pass download=True, or name the folder that "
                f"holds it by root=... or CRATE_MINI_DATA. The set 'embedded' needs no files at all. ({error})"
            ) from error
        except OSError as error:
            raise DataError(
                f"could not download {request.name} ({error}); the set 'embedded' needs no network"
            ) from error
        chosen = request.choose_classes(cifar.classes)
        index = {cifar.classes.index(c): i for i, c in enumerate(chosen)}
        rows = request.draw([i for i, t in enumerate(cifar.targets) if t in index])
        images = torch.from_numpy(cifar.data[rows]).permute(0, 3, 1, 2)
        if request.image_size != images.shape[-1]:
            images = _resize(images, request.image_size)
        return ImageSet(
            images=images.contiguous(),
            labels=torch.tensor([index[cifar.targets[i]] for i in rows]),
            classes=tuple(chosen),
            name=f"{request.name}/{request.split}",
        )

    return source


def _pets(request: _Request) -> ImageSet:
    folder = request.folder / "oxford-iiit-pet"
    if request.download and not folder.exists():
        _fetch_torchvision(datasets.OxfordIIITPet, request)
    listing = "trainval.txt" if request.split == "train" else "test.txt"
    lines = (
        _require(folder / "annotations" / listing, request.name, " Or pass download=True.")
        .read_text()
        .splitlines()
    )
    stems = [line.split()[0] for line in lines if line and not line.startswith("#")]
    breeds = {s: s.rsplit("_", 1)[0].replace("_", " ") for s in stems}
    chosen = request.choose_classes(sorted(set(breeds.values())))
    stems = request.draw([s for s in stems if breeds[s] in chosen])
    read = request.read(
        [folder / "images" / f"{s}.jpg" for s in stems],
        masks=[folder / "annotations" / "trimaps" / f"{s}.png" for s in stems],
    )
    trimap = read.pop("raw_masks")  # 1 animal, 2 background, 3 border
    if strange := sorted(set(trimap.unique().tolist()) - {1, 2, 3}):
        raise DataError(
            f"the trimaps in {folder} hold the values {strange}; expected 1 animal, 2 background, 3 border"
        )
    masks = torch.where(trimap == 3, IGNORE, (trimap == 1).to(torch.uint8)).to(torch.uint8)
    labels = torch.tensor([chosen.index(breeds[s]) for s in stems])
    return ImageSet(labels=labels, classes=tuple(chosen), masks=masks, name=f"pets/{request.split}", **read)


def _horses(request: _Request) -> ImageSet:
    return _image_and_mask_folder(request, request.folder / "weizmann-horse")


def _masks(request: _Request) -> ImageSet:
    return _image_and_mask_folder(request, request.folder)


def _image_and_mask_folder(request: _Request, folder: Path) -> ImageSet:
    """``images/NAME.*`` with ``masks/NAME.png``.

    Masks are black and white pictures, or hold 0 background, 1 object, 255 not counted: where any mask of the set
    holds a 1, the second reading applies to all of them.
    """
    if request.classes is not None:
        raise ValueError(f"{request.name!r} has no classes to choose from")
    images = _by_stem(_require(folder / "images", request.name))
    masks = _by_stem(_require(folder / "masks", request.name))
    if not images:
        raise DataError(f"{folder / 'images'} holds no images")
    if lone := sorted(set(images) ^ set(masks)):
        where = "mask" if lone[0] in images else "image"
        raise DataError(
            f"{len(lone)} files of {folder} have no partner; for example {lone[0]!r} has no {where}"
        )
    stems = request.draw(list(images))
    read = request.read([images[s] for s in stems], masks=[masks[s] for s in stems])
    raw = read.pop("raw_masks")
    # The whole set decides, not the draw: a drawn mask may happen to hold no 1.
    others = (np.asarray(_open_mask(file)) for stem, file in masks.items() if stem not in stems)
    indexed = bool((raw == 1).any()) or any(bool((values == 1).any()) for values in others)
    allowed = torch.tensor([0, 1, IGNORE] if indexed else [0, IGNORE])
    if not torch.isin(raw, allowed).all():
        bad = next(i for i in range(len(raw)) if not torch.isin(raw[i], allowed).all())
        raise DataError(
            f"{masks[stems[bad]]} holds values other than {allowed.tolist()}; "
            "masks must be black and white, or hold 0 background, 1 object, 255 not counted"
        )
    return ImageSet(
        labels=torch.full((len(stems),), -1),
        masks=raw if indexed else (raw > 0).to(torch.uint8),
        name=request.name,
        **read,
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    """Name without suffix -> image file, refusing two of one name."""
    suffixes = set(Image.registered_extensions())
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in suffixes and not file.name.startswith("."):
            if file.stem in found:
                raise DataError(f"{found[file.stem]} and {file.name} have one name; pairs are made by name")
            found[file.stem] = file
    return found


def _resize(images: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(
        images.float(), size=(size, size), mode="bicubic", antialias=True, align_corners=False
    ).round().clamp(0, 255).to(torch.uint8)  # fmt: skip


def _fetch_torchvision(cls: type, request: _Request) -> None:
    try:  # into a folder of its own, so that a download that breaks off is not taken for the data set
        request.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=request.folder, prefix=f".{request.name}.") as temporary:
            cls(temporary, download=True)
            for fetched in Path(temporary).iterdir():
                shutil.move(fetched, request.folder / fetched.name)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"could not download {request.name} ({error}). Get it by other means and put it into {request.folder}; "
            "the set 'embedded' needs no network"
        ) from error


def _fetch_and_unpack(url: str, known_hash: str, folder: Path) -> None:
    """Download an archive, check it, and unpack it so that ``folder`` appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        archive = Path(pooch.retrieve(url, known_hash, path=folder.parent, fname=url.rsplit("/", 1)[1]))
    except (OSError, ValueError) as error:
        raise DataError(
            f"could not download {url} ({error}). Get it by other means and unpack it to {folder}; "
            "the set 'embedded' needs no network"
        ) from error
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        with zipfile.ZipFile(archive) as z:
            z.extractall(temporary)
        shutil.move(Path(temporary) / folder.name, folder)
    archive.unlink()


SETS: dict[str, tuple[Callable[[_Request], ImageSet], tuple[str, ...]]] = {
    "embedded": (_embedded, ("train", "val", "test")),
    "tiny-imagenet": (_tiny_imagenet, ("train", "val")),
    "tiny-imagenet-animals": (_tiny_imagenet_animals, ("train", "val")),
    "cifar10": (_cifar(datasets.CIFAR10), ("train", "test")),
    "cifar100": (_cifar(datasets.CIFAR100), ("train", "test")),
    "pets": (_pets, ("train", "test")),
    "horses": (_horses, ("test",)),
    "folder": (_image_folder, ("train", "val", "test")),
    "masks": (_masks, ("test",)),
}
"""Name -> (source, splits)."""
