"""The head viewer: a picture of every head that a reader can leaf through, with no kernel behind it."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from crate_mini import progress
from crate_mini.attention_maps import recorded_maps
from crate_mini.inspector.contract import Key, build_contract, data_uri, decode_maps, in_words, parts
from crate_mini.inspector.network import encode_network
from crate_mini.inspector.patches import MAX_PAGE, prepare_pairs
from crate_mini.inspector.strip import KEPT, layer_strip
from crate_mini.outputs import write_atomically
from crate_mini.passes import evaluating
from crate_mini.playground.library import library
from crate_mini.progress import bar
from crate_mini.recorder import layer_numbers, record

Models = nn.Module | Mapping[str, nn.Module | Mapping[str, nn.Module]]
"""A model; several by name; for a name, several trainings of one network by what tells them apart."""

_serial = itertools.count()
END_OF_THEME = "/* End of the theme. */"


class HeadViewer:
    """Class-token attention of every head and layer on a few images, as one piece of HTML.

    Show it by making it the last line of a notebook cell: the output carries its own script and data, so it
    works in JupyterLab, VS Code and Colab, in the rendered book with the network off, and in a file.

    Args:
        images, maps: see :func:`~crate_mini.inspector.build_contract`, where all settings are described.
        networks: the models themselves, by the keys of ``maps`` (or one model for one tensor). With them the page
            can run the models: for the attention of any patch, and on the reader's own photo, which is dropped,
            pasted, chosen or taken by camera, and never leaves the page. Costs about 2.3 MB of page for a million
            parameters.
        settings: what else ``build_contract`` takes: ``titles``, ``masks``, ``layers``, ``image``, ``layer``,
            ``head``, ``view``, ``share``, ``colours``, ``photo_side``, ``strips``, ``pairs``, ``asks_kernel``.

    Values are kept in eight bits, see :mod:`crate_mini.inspector.contract` for the bound on the error.

    Raises:
        ValueError: shapes, counts or values that do not fit.
        TypeError: images that are not uint8, maps that are not floating point, networks that a page cannot run.
    """

    def __init__(
        self,
        images: Tensor | Sequence[Tensor],
        maps: Tensor | Sequence[Tensor] | Mapping[Any, Tensor | Sequence[Tensor] | None],
        *,
        networks: nn.Module | Mapping[Any, nn.Module] | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(networks, nn.Module):
            networks = {"": networks}
        encoded = (
            None if networks is None else {k: encode_network(m, in_words(k)) for k, m in networks.items()}
        )
        headers = None if encoded is None else {k: header for k, (header, _) in encoded.items()}
        self.contract = build_contract(images, maps, networks=headers, **settings)
        keys = maps if isinstance(maps, Mapping) else [""]
        self._weights = [encoded[key][1] for key in keys] if encoded else []
        self._json = as_json(self.contract)
        self.id = new_id("crate-heads", self._json)
        self._preview = _preview(self.contract)

    def __repr__(self) -> str:
        models = (f"{m['name']} {len(m['layers'])}x{m['heads']}".strip() for m, _ in _panels(self.contract))
        return f"HeadViewer({len(self.contract['images'])} images; layers x heads: {', '.join(models)})"

    def _repr_html_(self) -> str:
        """The viewer for a page that has other things on it too."""
        return self.fragment(files_of(self.contract["patches"]))

    def fragment(self, scripts: Sequence[str] = ()) -> str:
        """The viewer without the scripts that bring it to life, or with these."""
        title = self.contract["images"][self.contract["start"]["image"]]["title"]
        return embedded(
            self.id,
            css=_asset("heads.css"),
            preview=self._preview,
            alt=f"{title}, and what each head attends to",
            still="A still of the head viewer: the image, then every head of one layer. To leaf through all "
            "layers, open this page where scripts may run, or trust this notebook and run the cell.",
            data=self._json,
            weights=self._weights,
            scripts=scripts,
            mount="mountHeadViewers",
        )

    def to_html(self, title: str = "What each head attends to") -> str:
        """A whole page that needs nothing else: no network, no server, no folder of assets."""
        title = html.escape(title)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            # Nothing can be fetched or sent, not even by mistake: a photo in here stays in here.
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<title>{title}</title>\n<link rel="icon" href="data:,">\n'
            f"<style>{_PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{self._repr_html_()}\n</main>\n</body>\n</html>\n"
        )

    def save(self, path: str | os.PathLike, title: str = "What each head attends to") -> Path:
        """Write :meth:`to_html` to ``path``, whole or not at all.

        Raises:
            FileNotFoundError: the folder does not exist.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"no folder {path.parent} to write {path.name} into; create it first")
        page = self.to_html(title)
        return write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))


def inspect_images(
    models: Models,
    images: Tensor | Sequence[Tensor],
    *,
    layers: Sequence[int] | None = None,
    run_in_page: bool = False,
    prepare_patches: bool = False,
    strip: bool = True,
    **settings: Any,
) -> HeadViewer:
    """Run models on images and view all their heads.

    Args:
        models: one of :mod:`crate_mini.model`'s models, or several by name. For a name, a dict of models stands for
            several trainings of one network, of which the reader chooses one.
        images: ``(B, 3, H, W)`` or a list of ``(3, H, W)`` of any sizes, uint8 or float in [0, 1]; sides must
            be multiples of every model's patch.
        layers: numbers of the layers to show, negative ones counted from the end; all if None.
        run_in_page: put the models into the page, so that the reader can ask any patch what it attends to, and
            see their own photo with every head. Further trainings of a network then bring no maps, and run when they
            are looked at.
        prepare_patches: for models too large for that: put their queries and keys of these images into the page, so
            that patches can be asked. The page stays under 6 MB; where the layers are too many for that, those
            nearest to the one shown first go in, and the page says so.
        strip: show what each layer does to all tokens: colours by their principal components, share of zeros,
            coding rate.
        settings: anything else :class:`HeadViewer` takes.
    """
    flat = by_key(models)
    pictures = [torch.as_tensor(picture) for picture in images]
    later = later_trainings(flat) if run_in_page else set()
    blocks = {key: list(model.blocks) for key, model in flat.items()}
    passes = sum(len(blocks[key]) * ((key not in later or strip) + prepare_patches) for key in flat)
    with _layers_told(itertools.chain.from_iterable(blocks.values()), passes * len(pictures)):
        maps: dict[Key, Any] = {}
        strips: dict[Key, Any] = {}
        numbers = {key: layer_numbers(model, layers) for key, model in flat.items()}
        for key, model in flat.items():
            kept = ("cls_scores",) * (key not in later) + KEPT * strip
            with evaluating(model):  # one pass for maps and strip: at many patches it is what one waits for
                seen = [record(model, p[None], kept, layers=layers) for p in pictures] if kept else []
            maps[key] = None if key in later else [recorded_maps(r, numbers[key])[0].cpu() for r in seen]
            if strip:
                strips[key] = layer_strip(model, pictures, layers, records=seen)
                if key in later:
                    strips[key]["images"] = [None] * len(pictures)
        shown = [p if p.dtype == torch.uint8 else (p.clamp(0, 1) * 255).round().byte() for p in pictures]
        settings |= {
            "layers": None if layers is None else numbers,
            "strips": strips or None,
            "networks": flat if run_in_page else None,
        }
        viewer = HeadViewer(shown, maps, **settings)
        if not prepare_patches:
            return viewer
        first = dict(zip(flat, viewer.contract["start"]["layer"], strict=True))
        room = MAX_PAGE - len(viewer.to_html().encode()) - len(_asset("patches.js"))
        pairs = prepare_pairs(flat, pictures, layers, first, room)
    return HeadViewer(shown, maps, pairs=pairs, **settings)


def by_key(models: Models) -> dict[Key, Any]:
    """All models in one dict: by name, or by name and training."""
    found: dict[Key, Any] = {}
    for name, given in (models if isinstance(models, Mapping) else {"": models}).items():
        found |= (
            {(name, training): m for training, m in given.items()}
            if isinstance(given, Mapping)
            else {name: given}
        )
    return found


def later_trainings(keys: Iterable[Key]) -> set[Key]:
    """All but the first of each network."""
    first: dict[str, Key] = {}
    return {key for key in keys if first.setdefault(parts(key)[0], key) != key}


def _panels(contract: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    """What is seen first: of each network one training, and the position of a layer."""
    found: dict[str, tuple[dict[str, Any], int]] = {}
    for model, layer in zip(contract["models"], contract["start"]["layer"], strict=True):
        found.setdefault(model["name"], (model, layer))
    return list(found.values())


def as_json(data: Any) -> str:
    """JSON that may stand in a script element: no title can close it."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def new_id(kind: str, data: str) -> str:
    """The same notebook gives the same page; two viewers of the same data still differ."""
    return f"{kind}-{hashlib.sha256(data.encode()).hexdigest()[:8]}-{next(_serial)}"


def embedded(
    id: str,
    *,
    classes: str = "",
    css: str,
    preview: str,
    alt: str,
    still: str,
    data: str,
    weights: Sequence[str],
    scripts: Sequence[str],
    mount: str,
) -> str:
    """The element in which a viewer lives, with all that it needs: style, data, weights and script.

    Args:
        id: of the element.
        classes: further ones, beside ``crate-heads``.
        css: after that of the theme.
        preview: for who runs no scripts, a picture as a ``data:`` address.
        alt: what that picture shows.
        still: what is said below it.
        data: JSON, in which no ``<`` may stand.
        weights: of each network, as text.
        scripts: files that are run; their names stay their own. None: somebody else brings it to life.
        mount: the function of theirs that is called with ``id``.
    """
    text, call = library("\n".join(map(_asset, scripts)), mount) if scripts else ("", "")
    return (
        f'<div class="{" ".join(["crate-heads", *classes.split()])} tex2jax_ignore mathjax_ignore" id="{id}"'
        ' data-lm-suppress-shortcuts="true">'
        f"<style>{_theme()}\n{css}</style>"
        f'<div class="ch-fallback"><img src="{preview}" alt="{html.escape(alt)}"><p>{still}</p></div>'
        f'<script type="application/json">{data}</script>'
        # Inert text until the reader asks for something that the model must compute.
        + "".join(
            f'<script type="text/plain" data-weights="{m}">{text}</script>' for m, text in enumerate(weights)
        )
        + (f'{text}<script>{call}("{id}");</script></div>' if scripts else "</div>")
    )


@contextmanager
def _layers_told(blocks: Iterable[nn.Module], total: int) -> Iterator[None]:
    """A progress bar of layers, so that it moves within a single large picture, too."""
    with ExitStack() as stack:
        done = stack.enter_context(bar(total=total, desc="layers", unit="layer"))
        stack.enter_context(progress.shown(False))
        for block in blocks:
            stack.callback(block.register_forward_hook(lambda *_: done.update() and None).remove)
        yield


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def files_of(patches: str | None) -> tuple[str, ...]:
    """What the page runs: the viewer, what answers for patches where they can be asked, and the models."""
    models = ("crate.js", "photo.js") if patches == "page" else ()
    return ("heads.js", *(("patches.js",) if patches else ()), *models)


@cache
def _theme() -> str:
    """Colours and themes, which stand once, at the top of the playgrounds' style sheet."""
    return (
        files("crate_mini.playground")
        .joinpath("kit.css")
        .read_text(encoding="utf-8")
        .partition(END_OF_THEME)[0]
    )


def _preview(contract: dict[str, Any], side: int = 96) -> str:
    """A still for readers without scripts: for each model a row of the image and every head of one layer."""
    start = contract["start"]
    table = np.frombuffer(base64.b64decode(contract["colours"]), np.uint8).reshape(256, 3)
    source = contract["images"][start["image"]]["src"].split(",", 1)[1]
    photo = Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB").resize((side, side))
    gap, panels = 4, _panels(contract)
    columns, rows = 1 + max(m["heads"] for m, _ in panels), len(panels)
    sheet = Image.new("RGB", (columns * (side + gap) - gap, rows * (side + gap) - gap), "white")
    for row, (model, layer) in enumerate(panels):
        q, low, _ = decode_maps(model["maps"][start["image"]], len(model["layers"]), model["heads"])
        sheet.paste(photo, (0, row * (side + gap)))
        for k in range(model["heads"]):
            shade = np.rint(255 * (q[layer, k] / 255.0) ** 2).astype(int)
            pixels = np.full((*shade.shape, 3), 160) if np.isnan(low[layer, k]) else table[shade]
            tile = Image.fromarray(pixels.astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR)
            sheet.paste(tile, ((k + 1) * (side + gap), row * (side + gap)))
    return data_uri(sheet, "JPEG", quality=70, optimize=True)


_PAGE_STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;font-family:system-ui,sans-serif;line-height:1.5;background:Canvas;color:CanvasText}"
    "main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem;box-sizing:border-box}"
    "h1{font-size:1.25rem;font-weight:600;margin:0 0 1rem}"
)
