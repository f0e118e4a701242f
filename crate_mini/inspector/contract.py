r"""What passes from Python to the page: one JSON object, described here and nowhere else.

::

    {
      "contract": "crate-mini/heads", "version": 4,
      "images": [                           one entry an image
        {"title": str,
         "width": int, "height": int,       pixels of the picture in src, only its shape matters
         "src": str,                        data URI, JPEG or PNG
         "truth": null |                    the true mask, where there is one:
           {"width": int, "height": int,    its own resolution
            "runs": [value, count, ...]}}   row by row; values 0 background, 1 object, 255 not counted
      ],
      "photo": null |                       null: the page has maps only; otherwise it runs every model itself
        {"side": int, "patch": int},        how a reader's photo is fitted: shorter side, multiple of both sides
      "patches": null |                     null: patches cannot be asked; otherwise, where queries and keys come from:
        "page" | "prepared" | "kernel",     a run of the networks below; "pairs"; "pairs" that the kernel brings
      "models": [                           one entry a model, shown side by side; those of equal name are trainings of
        {"name": str,                       one network, share a place, and have the same layers, heads and grids
         "training": str,                   which of them, or empty
         "layers": [int, ...],              layer numbers, as the recorder counts them (from 0)
         "heads": int,                      K
         "maps": [                          one entry an image, in the order of "images"
           {"grid": [h, w],                 patches
            "low": [...], "high": [...],    L*K numbers, layer by layer; both null where a map is not finite
            "values": str,                  base64 of L*K*h*w bytes q, by layer, head, row; all three null where the
                                            page runs the network when it is looked at
            "pairs": null |                 null: the page runs the networks, or patches cannot be asked
              [null |                       one entry a layer, null where the page does not have it
                {"keys": str,               base64 of float16, little endian: (1 + h*w)*K*p numbers, by token, class
                 "queries": null | str},    token first, and head; null where queries are the keys (MSSA)
               ...]}],
         "network": null |                  what the page needs to run the model
           {"config": {"dim": int, "heads": int, "head_dim": int, "depth": int, "num_classes": int,
                       "patch": int, "grid": int,            pixels of a patch; patches a side in training
                       "readout": "class" | "mean", "keep": float, "move": float,   the block's weights
                       "attention": "mssa" | "mhsa", "tied": bool, "feed": "ista" | "mlp",
                       "step": float, "lam": float, "proximal": "relu" | "soft",    of ISTA
                       "mlp_ratio": int,                                            of the MLP
                       "mean": [r, g, b], "std": [r, g, b]},
            "classes": [str, ...],          names of the logits, or empty
            "tensors": [[str, [int, ...]], ...]},  names and shapes, in the order of the weights
         "strip": null |                    what each layer does to all tokens
           {"eps_sq": float,                of the rates
            "axes": [                       one entry a layer, to colour other pictures by; null where not finite
              null | {"low": [r, g, b], "high": [r, g, b],    scores that become 0 and 1
                      "values": str}],      base64 of float32, little endian: the mean, then four components
            "images": [                     one entry an image; numbers by layer, null where not finite; null for all
              {"zeros": [...],              share of exact zeros in the tokens that leave the layer
               "rates": [...],              nats, of the projections that attention is computed from, all tokens
               "colours": str}]}}           base64 of L*h*w RGB triples, by layer and row; where maps are null, too
      ],
      "colours": str,                       base64 of 256 RGB triples
      "start": {"image": int, "layer": [int, ...], "head": [int, ...],   positions, not numbers; one a model
                "view": "heat" | "lit" | "overlay" | "mask", "share": float}
    }

A picture that comes later, from the kernel, brings one entry each of ``images``, of every model's ``maps`` and of
every strip's ``images``: ``{"number": int, "image": ..., "maps": [...], "strips": [...]}``, handed to the viewer's
``receive``. The number makes a second delivery harmless. The page asks the kernel for pairs by
``{"image": int, "wanted": [[model, layer], ...]}``, two positions each; the answer repeats the question, with
``"pairs": [...]``, an entry for each, or with ``"error": str`` instead, and is handed to ``receivePairs``.

A byte stands for

.. math:: x = \text{low} + (\text{high} - \text{low}) \, (q / 255)^2,

so the finest steps are where most patches are, near the lowest value, and a map with one sharp peak keeps its
body. The error is at most :math:`(\text{high} - \text{low}) / 255`, reached only at the peak.

Weights are no part of the JSON. Model ``m`` has a script element of its own beside it, ``type="text/plain"`` and
``data-weights="m"``. It holds all tensors one after the other in half precision: first the high byte of every
number, then the low byte of every number, zlib over both, base64. It is inert text until the reader asks for
something that needs the model; then ``crate.js`` decodes it. A page therefore needs no second file and may be opened
from disk, where browsers refuse to fetch one.

What the page computes with them is float64 on these weights. Where the model's weights are half-precision numbers,
as those shipped are, and pictures are PNG (they are, where there is a network), it differs from PyTorch's float32 by
rounding only: attention by less than 1e-5, well under the 1e-3 that the tests demand. Maps that Python prepared stay
on show for prepared pictures, within the bound above.

Attention of any patch is not in the JSON either: all pairs of 400 patches for 48 heads would be 8 MB a picture. The
page computes it, as the softmax over the patches (the class token left out) of p^{-1/2} <q_i, k_j>. Where there is a
network, queries and keys are kept of one run a picture; this is exact to the same 1e-5, for pictures of up to 1600
patches that were not made smaller for the page. Models too large for a page send queries and keys alone
(:mod:`crate_mini.inspector.patches`), in half precision: 0.8 MB of text a layer for CRATE-Base and 400 patches.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

CONTRACT = "crate-mini/heads"
VERSION = 4
VIEWS = ("heat", "lit", "overlay", "mask")
COLOUR_MAPS = ("viridis", "cividis", "magma", "inferno", "plasma")
"""Maps of even perceived steps. Lightness alone orders them, so colour blindness hides nothing."""
SHARES = (0.2, 0.9)
Key = str | tuple[str, str]
"""A model's name; or the name of a network and which training of it."""
MAX_SIDE = 640
"""Larger pictures are shrunk to this many pixels; maps and true masks keep their own resolution."""


def parts(key: Key) -> tuple[str, str]:
    """The name of a network, and which training of it."""
    return (key, "") if isinstance(key, str) else key


def in_words(key: Key) -> str:
    """How a model is called in messages."""
    return ", ".join(filter(None, parts(key)))


def quantise(maps: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eight bits a value, with a scale of its own for every map.

    Args:
        maps: ``(..., h, w)``, floating point.

    Returns:
        ``q`` uint8 ``(..., h, w)``, and ``low`` and ``high`` float64 ``(...)``. A map with a value that is
        not finite gets NaN for both and zeros for ``q``.
    """
    x = maps.detach().cpu().double().numpy()
    broken = ~np.isfinite(x).all((-2, -1))
    x = np.where(broken[..., None, None], 0.0, x)
    low, high = (_six_digits(f(x, axis=(-2, -1))) for f in (np.min, np.max))
    span = np.where(high > low, high - low, 1.0)
    t = np.clip((x - low[..., None, None]) / span[..., None, None], 0, 1)
    q = np.rint(255 * np.sqrt(t)).astype(np.uint8)
    return q, np.where(broken, np.nan, low), np.where(broken, np.nan, high)


def dequantise(q: np.ndarray, low: np.ndarray, high: np.ndarray) -> Tensor:
    """What the page computes from :func:`quantise`'s result: float64 ``(..., h, w)``, NaN maps as NaN."""
    t = (q / 255.0) ** 2
    return torch.from_numpy(low[..., None, None] + (high - low)[..., None, None] * t)


def build_contract(
    images: Tensor | Sequence[Tensor],
    maps: Tensor | Sequence[Tensor] | Mapping[Any, Tensor | Sequence[Tensor] | None],
    *,
    titles: Sequence[str] | None = None,
    masks: Tensor | Sequence[Tensor | None] | None = None,
    layers: Mapping[Any, Sequence[int]] | Sequence[int] | None = None,
    image: int = 0,
    layer: Mapping[Any, int] | int | None = None,
    head: Mapping[Any, int] | int = 0,
    view: str = "overlay",
    share: float = 0.6,
    colours: str = "viridis",
    networks: Mapping[Any, Any] | None = None,
    photo_side: int = 160,
    strips: Mapping[Any, Any] | None = None,
    pairs: Mapping[Any, Any] | None = None,
    asks_kernel: bool = False,
) -> dict[str, Any]:
    """The object described at the top of this module.

    Args:
        images: uint8 ``(B, 3, H, W)``, or a list of ``(3, H, W)`` whose sizes may differ.
        maps: attention on the patches, each map summing to 1: ``(B, L, K, h, w)``, or a list of
            ``(L, K, h, w)``; or a dict of them by model name, shown side by side. Layers, heads and grids may
            differ between models. A map with a value that is not finite is shown as such. Several trainings of one
            network have a key ``(name, training)`` each: the reader chooses which to see. Of all but the first, the
            maps may be None where there are ``networks``: the page computes them when they are looked at.
        titles: one for each image.
        masks: true masks ``(B, H, W)`` with 0 background, 1 object, 255 not counted; or a list of ``(H, W)``,
            None where unknown. With them the viewer draws the outline and gives the IoU of the mask on show.
        layers: the numbers of the layers in ``maps``, if not 0 to L-1; by model name where they differ.
        image: the position of the one seen first.
        layer: the number of the layer seen first, last but one if None; may be a dict by model name.
        head: seen first; may be a dict by model name.
        view: seen first, ``"heat"``, ``"lit"`` (the picture as bright as the attention), ``"overlay"`` or ``"mask"``.
        share: how much of the attention a mask holds, on the fewest patches that do (DINO's rule).
        colours: a perceptual colour map of matplotlib: viridis, cividis, magma, inferno, plasma.
        networks: the ``network`` entries, by the names in ``maps``, each from
            :func:`crate_mini.inspector.network.encode_network`.
        photo_side: pixels that the shorter side of a reader's photo is brought to.
        strips: what each layer does to the tokens, by the names in ``maps``, each from
            :func:`crate_mini.inspector.strip.layer_strip` with the same images and layers.
        pairs: queries and keys, by the names in ``maps``: for every image the ``pairs`` entry, with the same layers.
        asks_kernel: there is a kernel that brings ``pairs`` when it is asked.

    Raises:
        ValueError: shapes, counts or values that do not fit, saying which and what was expected.
        TypeError: images that are not uint8, maps that are not floating point.
    """
    pictures = _images(images)
    models = maps if isinstance(maps, Mapping) else {"": maps}
    if not models:
        raise ValueError("no maps: give a tensor (images, layers, heads, h, w), or a dict by model name")
    titles = _titles(titles, len(pictures))
    truths = _masks(masks, pictures)
    _check_start(view, share, image, len(pictures))
    sides = _check_networks(models, networks, photo_side)
    if pairs is not None and (networks is not None or asks_kernel):
        raise ValueError(
            "queries and keys come with the page, from its networks or from a kernel: choose one"
        )
    entries, starts = [], []
    grids: dict[str, Any] = {}
    for key, given in models.items():
        name, training = parts(key)
        if given is None and (networks is None or name not in grids):
            raise ValueError(f"{_called(key)}no maps, and nothing to compute them with or to compare them to")
        per_image = None if given is None else _maps(key, given, len(pictures))
        depth, width, *grid = grids[name] if per_image is None else _shapes(per_image)
        if grids.setdefault(name, (depth, width, *grid)) != (depth, width, *grid):
            raise ValueError(
                f"{_called(key)}trainings of a network must have equal layers, heads and patches"
            )
        numbers = _layer_numbers(key, _of(layers, key), depth)
        of_image = [[None] * depth] * len(pictures) if asks_kernel else (pairs or {}).get(key)
        encoded = (
            [NO_MAPS | {"grid": list(g)} for g in grid] if per_image is None else map(_encode_maps, per_image)
        )
        entries.append(
            {
                "name": name,
                "training": training,
                "layers": numbers,
                "heads": width,
                "maps": [m | {"pairs": of_image[i] if of_image else None} for i, m in enumerate(encoded)],
                "network": None if networks is None else networks[key],
                "strip": (strips or {}).get(key),
            }
        )
        starts.append(_first_shown(key, numbers, width, _of(layer, key), _of(head, key) or 0))
    return {
        "contract": CONTRACT,
        "version": VERSION,
        "images": [
            _encode_image(picture, exact=networks is not None)
            | {"title": title, "truth": None if truth is None else _encode_mask(truth)}
            for picture, title, truth in zip(pictures, titles, truths, strict=True)
        ],
        "photo": None if networks is None else {"side": photo_side, "patch": math.lcm(*sides)},
        "patches": "page" if networks else "prepared" if pairs else "kernel" if asks_kernel else None,
        "models": entries,
        "colours": _base64(colour_table(colours)),
        "start": {
            "image": image,
            "layer": [position for position, _ in starts],
            "head": [first for _, first in starts],
            "view": view,
            "share": share,
        },
    }


def _first_shown(name: Key, numbers: list[int], heads: int, layer: int | None, head: int) -> tuple[int, int]:
    """The position of the layer and the head that a model shows first."""
    if layer is not None and layer not in numbers:
        raise ValueError(f"{_called(name)}there is no layer {layer}; layers are {_listed(numbers)}")
    if not 0 <= head < heads:
        raise ValueError(f"{_called(name)}there is no head {head}; heads are 0 to {heads - 1}")
    return max(0, len(numbers) - 2) if layer is None else numbers.index(layer), head


def _check_start(view: str, share: float, image: int, images: int) -> None:
    """What is seen first is there."""
    if view not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(VIEWS)}; got {view!r}")
    if not SHARES[0] <= share <= SHARES[1]:
        raise ValueError(f"share must lie between {SHARES[0]} and {SHARES[1]}, got {share}")
    if not 0 <= image < images:
        raise ValueError(f"image must be a position from 0 to {images - 1}, got {image}")


def _check_networks(
    models: Mapping[Any, Any], networks: Mapping[Any, Any] | None, photo_side: int
) -> list[int]:
    """Every model has its network or none has; returns the sides of their patches."""
    if networks is None:
        return []
    if set(networks) != set(models):
        raise ValueError(
            f"networks are needed for all models or none: {sorted(models, key=str)}, "
            f"got {sorted(networks, key=str)}"
        )
    sides = [network["config"]["patch"] for network in networks.values()]
    if photo_side < max(sides):
        raise ValueError(f"photo_side must be at least one patch, {max(sides)} pixels; got {photo_side}")
    return sides


def colour_table(name: str) -> np.ndarray:
    """The 256 RGB bytes of one of :data:`COLOUR_MAPS`, ``(256, 3)``."""
    if name not in COLOUR_MAPS:
        raise ValueError(f"colours must be one of {', '.join(COLOUR_MAPS)}; got {name!r}")
    return matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3]


def decode_maps(entry: Mapping[str, Any], layers: int, heads: int) -> tuple[np.ndarray, ...]:
    """``q, low, high`` of one ``maps`` entry again, ``(L, K, h, w)`` and twice ``(L, K)``."""
    q = np.frombuffer(base64.b64decode(entry["values"]), np.uint8).reshape(layers, heads, *entry["grid"])
    low, high = (np.array(entry[k], dtype=float).reshape(layers, heads) for k in ("low", "high"))
    return q, low, high


# ---- checks ----------------------------------------------------------------------------------------------


def _images(images: Tensor | Sequence[Tensor]) -> list[Tensor]:
    found = [torch.as_tensor(picture).detach().cpu() for picture in images]
    if not found:
        raise ValueError("no images: at least one is needed")
    for i, picture in enumerate(found):
        if picture.ndim != 3 or picture.shape[0] != 3 or not picture.numel():
            raise ValueError(f"image {i} must have shape (3, height, width), got {tuple(picture.shape)}")
        if picture.dtype != torch.uint8:
            raise TypeError(
                f"images must be uint8, image {i} is {picture.dtype}; (255 * x).byte() makes them so"
            )
    return found


def _titles(titles: Sequence[str] | None, n: int) -> list[str]:
    if titles is None:
        return [f"image {i}" for i in range(n)]
    if isinstance(titles, str) or len(titles) != n:
        got = repr(titles) if isinstance(titles, str) else len(titles)
        raise ValueError(f"{n} images need a list of {n} titles, got {got}")
    return [str(title) for title in titles]


def _masks(masks: Tensor | Sequence[Tensor | None] | None, pictures: list[Tensor]) -> list[np.ndarray | None]:
    if masks is None:
        return [None] * len(pictures)
    if len(masks) != len(pictures):
        raise ValueError(f"{len(pictures)} images need {len(pictures)} masks, got {len(masks)}")
    found = []
    for i, (mask, picture) in enumerate(zip(masks, pictures, strict=True)):
        if mask is None:  # a list may have masks for some images only
            found.append(None)
            continue
        values = torch.as_tensor(mask).detach().cpu().to(torch.int64).numpy()
        if values.shape != tuple(picture.shape[1:]):
            expected = tuple(picture.shape[1:])
            raise ValueError(f"mask {i} must have its image's shape {expected}, got {values.shape}")
        if extra := sorted(set(np.unique(values).tolist()) - {0, 1, 255}):
            raise ValueError(f"mask {i} may hold 0, 1 (object) and 255 (not counted); found {extra[:5]}")
        found.append(values.astype(np.uint8))
    return found


def _maps(name: Key, maps: Tensor | Sequence[Tensor], n: int) -> list[Tensor]:
    who = _called(name)
    if isinstance(maps, Tensor) and maps.ndim != 5:
        raise ValueError(f"{who}maps must be (images, layers, heads, h, w), got shape {tuple(maps.shape)}")
    if len(maps) != n:
        raise ValueError(f"{who}there are {n} images, but maps of {len(maps)}")
    for i, m in enumerate(maps):
        if m.ndim != 4 or not m.numel():
            raise ValueError(f"{who}maps of image {i} must be (layers, heads, h, w), got {tuple(m.shape)}")
        if m.shape[:2] != maps[0].shape[:2]:
            raise ValueError(
                f"{who}layers and heads must be the same for all images, got {tuple(maps[0].shape[:2])} "
                f"for image 0 and {tuple(m.shape[:2])} for image {i}"
            )
        if not m.is_floating_point():
            raise TypeError(f"{who}maps must be floating point, got {m.dtype}")
        m = m.detach()
        finite = m[m.flatten(-2).isfinite().all(-1)]  # the others are shown as such, not refused
        if (finite < 0).any():
            lowest = float(finite.min())
            raise ValueError(f"{who}attention cannot be negative, found {lowest:.3g} (image {i})")
        sums = finite.double().sum((-2, -1))
        if ((sums - 1).abs() > 0.01).any():
            worst = float(sums[(sums - 1).abs().argmax()])
            raise ValueError(
                f"{who}every map must sum to 1 over its patches, found {worst:.4g} (image {i}); "
                "leave out the class token and divide by the sum"
            )
    return list(maps)


def _layer_numbers(name: Key, numbers: Sequence[int] | None, depth: int) -> list[int]:
    if numbers is None:
        return list(range(depth))
    if len(numbers) != depth or len(set(numbers)) != depth:
        raise ValueError(f"{_called(name)}{depth} layers need {depth} different numbers, got {list(numbers)}")
    return [int(number) for number in numbers]


def _shapes(per_image: list[Tensor]) -> tuple[Any, ...]:
    """Layers, heads, and the grid of every image."""
    return (*per_image[0].shape[:2], *(tuple(m.shape[-2:]) for m in per_image))


def _of(setting: Any, key: Key) -> Any:
    """What holds for a model: set for it, for its network, or for all."""
    return setting.get(key, setting.get(parts(key)[0])) if isinstance(setting, Mapping) else setting


def _called(key: Key) -> str:
    return f"{in_words(key)}: " if in_words(key) else ""


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


# ---- encodings -------------------------------------------------------------------------------------------


NO_MAPS = {"low": None, "high": None, "values": None}


def _encode_maps(maps: Tensor) -> dict[str, Any]:
    q, low, high = quantise(maps)
    numbers = {
        key: [None if math.isnan(x) else x for x in values.ravel().tolist()]
        for key, values in (("low", low), ("high", high))
    }
    return {"grid": list(maps.shape[-2:]), **numbers, "values": _base64(q)}


def _encode_image(picture: Tensor, *, exact: bool) -> dict[str, Any]:
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    lossless = exact or max(image.size) <= 96
    kind, options = ("PNG", {"optimize": True}) if lossless else ("JPEG", {"quality": 85, "optimize": True})
    return {"width": image.width, "height": image.height, "src": data_uri(image, kind, **options)}


def _encode_mask(mask: np.ndarray) -> dict[str, Any]:
    flat = mask.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    counts = np.diff(np.append(starts, flat.size))
    runs = np.stack([flat[starts].astype(np.int64), counts], 1).ravel().tolist()
    return {"width": mask.shape[1], "height": mask.shape[0], "runs": runs}


def data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    """The picture as text that an ``img`` can show: ``data:image/...;base64,...``."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, np.uint8).tobytes()).decode()


def _six_digits(values: np.ndarray | float) -> np.ndarray:
    """Shorter JSON; values are measured against the rounded ends, so nothing drifts."""
    return np.array([float(f"{x:.6g}") for x in np.ravel(values)]).reshape(np.shape(values))
