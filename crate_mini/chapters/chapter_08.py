"""Chapter 08, does segmentation emerge: networks looked at, their scores on drawings, the figures of the page.

Everything is worked out when the page is made, on drawings of the package and on photographs that come with
scikit-image, for every training of the family that is in the package.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from crate_mini import data, figures, results
from crate_mini.attention_maps import cls_attention_maps, smooth_maps, spread, upsample
from crate_mini.chapters.family import trainings
from crate_mini.chapters.outlined import NAMES, OUTLINES, map_scores, outlined
from crate_mini.checkpoints import load_pretrained
from crate_mini.data.imageset import ImageSet
from crate_mini.model import CRATE
from crate_mini.noise import gaussian_noise, rank_correlation
from crate_mini.recorder import record
from crate_mini.segmentation import count_patches
from crate_mini.segmentation.baselines import centre_map
from crate_mini.segmentation.evaluation import untrained_twin
from crate_mini.stats import welch_interval, welch_test
from crate_mini.tables import number
from crate_mini.token_pca import TokenPCA, border, fit_token_pca, patch_features

SIZE = 128
"""Pixels of the drawings and photographs of the page."""
DRAWINGS = 40
NOISE = (75, 0.5)
"""Grey levels of the noise, and the share of the pixels that it hits."""
NOISY = 12
"""Drawings that are disturbed."""


# ---- pictures -------------------------------------------------------------------------------------------------------


def drawings(n: int = DRAWINGS, size: int = SIZE) -> ImageSet:
    """The drawings of the page: the first is the same at any size."""
    return data.load("embedded", "test", n=n, seed=1, image_size=size)


def choices(size: int = 64) -> ImageSet:
    """Other drawings, on which heads are chosen, at the size at which the networks were trained."""
    return data.load("embedded", "train", n=DRAWINGS, seed=2, image_size=size)


def viewer_pictures(
    drawn: ImageSet, picture: int
) -> tuple[list[UInt8[Tensor, "3 H W"]], list[str], list[UInt8[Tensor, "H W"] | None]]:
    """What the viewer shows: the opening drawing, three others, the photographs; pictures, titles, outlines."""
    index = few_with(picture, 4)
    size = drawn.images.shape[-1]
    photos = [outlined(name, size) for name in OUTLINES]
    return (
        [*drawn.images[index], data.photographs(size)["cat"], *(image for image, _ in photos)],
        [f"a drawn {drawn.classes[int(drawn.labels[i])]}" for i in index] + ["a cat", *NAMES.values()],
        [*drawn.masks[index], None, *(mask for _, mask in photos)],
    )


def few_with(picture: int, n: int = NOISY) -> list[int]:
    """The first drawings, and in front of them the one that the page shows."""
    return [picture, *(i for i in range(n) if i != picture)][:n]


# ---- networks and their scores --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Looked:
    """A network, the head that was chosen for it on other drawings, and how well its heads find the animals.

    Attributes:
        kind: CRATE or ViT.
        name: of the weights, or ``untrained``.
        model: itself.
        layer, head: the one chosen.
        maps: of all heads on the drawings, ``(n, L, K, h, w)``.
        auroc: of all heads, ``(n, L, K)``.
    """

    kind: str
    name: str
    model: CRATE
    layer: int
    head: int
    maps: Float[Tensor, "n L K h w"]
    auroc: Float[Tensor, "n L K"]

    @property
    def trained(self) -> bool:
        """Whether its weights were learned."""
        return self.name != "untrained"

    @property
    def label(self) -> str:
        """How figures call it."""
        return self.kind if self.trained else f"{self.kind}, untrained"

    @property
    def chosen(self) -> Float[Tensor, " n"]:
        """AUROC of the chosen head, for every drawing."""
        return self.auroc[:, self.layer, self.head]

    @property
    def picked(self) -> Float[Tensor, " n"]:
        """AUROC of the head that is best for this very drawing: picked with the outline in view."""
        return self.auroc.flatten(1).amax(1)


def look(kind: str, name: str, model: CRATE, drawn: ImageSet, others: ImageSet) -> Looked:
    """Choose a head on other drawings; score all heads on those of the page."""
    mean = map_scores(cls_attention_maps(model, others.images), others.masks)["auroc"].mean(0)
    layer, head = divmod(int(mean.argmax()), mean.shape[1])
    maps = cls_attention_maps(model, drawn.images)
    return Looked(kind, name, model, layer, head, maps, map_scores(maps, drawn.masks)["auroc"])


def look_at_all(drawn: ImageSet, others: ImageSet) -> list[Looked]:
    """Every training of the family that is in the package, those shown first of their kind, and an untrained twin."""
    found = []
    for kind, names in trainings().items():
        models = {name: load_pretrained(name) for name in names}
        models["untrained"] = untrained_twin(models[names[0]])
        found += [look(kind, name, model, drawn, others) for name, model in models.items()]
    return found


def shown(looked: Sequence[Looked]) -> dict[str, Looked]:
    """By kind the first training, with which the page's pictures are made."""
    pair: dict[str, Looked] = {}
    for one in looked:
        if one.trained:
            pair.setdefault(one.kind, one)
    return pair


def middle_scores(masks: UInt8[Tensor, "n H W"]) -> dict[str, Float[Tensor, " n"]]:
    """The same scores of a map that sees nothing and is brighter in the middle."""
    return map_scores(centre_map(tuple(masks.shape[-2:])).float().expand(masks.shape), masks)


def gaps(looked: Sequence[Looked]) -> Float[Tensor, " n"]:
    """By drawing, AUROC of the chosen head of the CRATE that is shown less that of the ViT."""
    pair = shown(looked)
    return pair["CRATE"].chosen - pair["ViT"].chosen


def opening(looked: Sequence[Looked]) -> int:
    """The drawing that the page opens with: its gap is the median gap of all of them."""
    found = gaps(looked)
    return int((found - found.median()).abs().argmin())


# ---- what the page says ---------------------------------------------------------------------------------------------


def _group(looked: Sequence[Looked], kind: str, *, trained: bool = True) -> list[Looked]:
    return [one for one in looked if one.kind == kind and one.trained == trained]


def span(values: Iterable[float], form: str = ".2f") -> str:
    """``0.81 to 0.85``, or one number where all are written alike."""
    values = list(values)
    low, high = number(min(values), form), number(max(values), form)
    return low if low == high else f"{low} to {high}"


def told_apart(crate: Sequence[float], vit: Sequence[float]) -> str:
    """What trainings of either kind allow to say of the two architectures."""
    if min(len(crate), len(vit)) < 2:
        return "On these drawings one training a side says nothing about architectures."
    difference, low, high = welch_interval(crate, vit)
    told = (
        f"On these drawings CRATE minus ViT is {number(100 * difference, '+.1f')} points "
        f"({number(100 * low, '+.1f')} to {number(100 * high, '+.1f')} over trainings, 95 %)"
    )
    if welch_test(crate, vit) >= 0.05:
        return f"{told}: not decided."
    return f"{told}: {'CRATE' if difference > 0 else 'the ViT'} is ahead."


def headline(above: int, of: int) -> str:
    """Whether one head of a training finds the animal better than the middle of the picture does."""
    trainings = "every training" if above == of else f"{above} of {of} trainings" if above else "no training"
    return f"In {trainings} one head finds drawn animals better than the middle of the picture does."


def answer_facts(looked: Sequence[Looked], masks: UInt8[Tensor, "n H W"]) -> dict[str, Any]:
    """Numbers and sentences of the page's answer."""
    middle = float(middle_scores(masks)["auroc"].mean())
    scores = {kind: [float(one.chosen.mean()) for one in _group(looked, kind)] for kind in ("CRATE", "ViT")}
    fresh = [one for one in looked if not one.trained]
    everyone = [one for one in looked if one.trained]
    above = {kind: sum(v > middle for v in values) for kind, values in scores.items()}
    kinds = {kind: len(values) for kind, values in scores.items()}
    return {
        "drawings": len(masks),
        "heads": everyone[0].auroc[0].numel(),
        "middle": middle,
        "crate": span(scores["CRATE"]),
        "vit": span(scores["ViT"]),
        "crates": kinds["CRATE"],
        "vits": kinds["ViT"],
        "crate_above": above["CRATE"],
        "vit_above": above["ViT"],
        "headline": headline(sum(above.values()), sum(kinds.values())),
        "trained": span(v for of in scores.values() for v in of),
        "fresh": span(float(one.chosen.mean()) for one in fresh),
        "fresh_picked": span(float(one.picked.mean()) for one in fresh),
        "picked": span(float(one.picked.mean()) for one in everyone),
        "picking_beats": picking_beats(fresh, everyone),
        "verdict": told_apart(scores["CRATE"], scores["ViT"]),
    }


def picking_beats(fresh: Sequence[Looked], everyone: Sequence[Looked]) -> str:
    """How untrained networks whose heads are picked stand beside trained ones whose heads are not."""
    best = max(float(one.picked.mean()) for one in fresh)
    beaten = sum(best > float(one.chosen.mean()) for one in everyone)
    if beaten == 0:
        return "which is still below the chosen head of every training"
    if beaten == len(everyone):
        return "more than the chosen head of any training has"
    return f"more than the chosen heads of {beaten} of the {len(everyone)} trainings have"


def spread_facts(looked: Sequence[Looked]) -> dict[str, Any]:
    """How many patches maps rest on, and whether the sharper network finds the animals better."""
    rests = {
        kind: [float(spread(one.maps).mean()) for one in _group(looked, kind)] for kind in ("CRATE", "ViT")
    }
    patches = looked[0].maps[0, 0, 0].numel()
    heads = torch.cat(
        [
            torch.stack([spread(one.maps).mean(0).flatten(), one.auroc.mean(0).flatten()], 1)
            for one in looked
            if one.trained
        ]
    )
    link = -float(rank_correlation(heads[None, :, :1], heads[None, :, 1:]))
    return {
        "patches": patches,
        "crate_spread": span(rests["CRATE"], ".0f"),
        "vit_spread": span(rests["ViT"], ".0f"),
        "sharper": _sharper(rests["CRATE"], rests["ViT"]),
        "all_heads": len(heads),
        "link": link,
        "link_says": link_says(link),
    }


def link_says(link: float) -> str:
    """What the rank correlation of sharpness and score allows to say."""
    if abs(link) < 0.3:
        return "sharpness says little of the score"
    return f"sharper heads score {'higher' if link > 0 else 'lower'}"


def _sharper(crate: Sequence[float], vit: Sequence[float]) -> str:
    if max(vit) < min(crate):
        return "every ViT is sharper than every CRATE"
    if max(crate) < min(vit):
        return "every CRATE is sharper than every ViT"
    return "neither network is sharper in all its trainings"


# ---- finer maps -----------------------------------------------------------------------------------------------------


def finer(
    one: Looked, drawn: ImageSet, index: Sequence[int], shifts: int = 2
) -> dict[str, Float[Tensor, "n h w"]]:
    """The chosen head's maps of some drawings: as they are, enlarged smoothly, and as the mean over moved pictures."""
    plain = one.maps[index, one.layer, one.head]
    images = drawn.images[index]
    moved = cls_attention_maps(one.model, images, [one.layer], shifts=shifts)[:, 0, one.head]
    size = tuple(images.shape[-2:])
    return {
        "patches": plain,
        "bilinear": smooth_maps(plain, size),
        f"bilinear, {shifts} × {shifts} shifts": smooth_maps(moved, size),
    }


def finer_rows(
    found: Mapping[str, Mapping[str, Tensor]], masks: UInt8[Tensor, "n H W"]
) -> list[dict[str, Any]]:
    """Mean AUROC of finer maps: a row a way to make them, a column a network."""
    scores = {
        kind: {way: float(map_scores(maps, masks)["auroc"].mean()) for way, maps in ways.items()}
        for kind, ways in found.items()
    }
    return [
        {"map": way} | {f"{kind}, AUROC": of[way] for kind, of in scores.items()}
        for way in next(iter(found.values()))
    ]


def finer_says(rows: Sequence[Mapping[str, Any]]) -> str:
    """What finer maps do to the score of each network."""
    told = []
    for head in list(rows[0])[1:]:
        first, *others = (f"{row[head]:.3f} ({row['map']})" for row in rows)
        told.append(f"from {first} to {' and '.join(others)} in {_the(head.split(',')[0])}")
    return f"The AUROC goes {', and '.join(told)}."


def finer_on_photographs(scored: Sequence[Mapping[str, Any]]) -> str:
    """What finer maps do on VOC, over trainings.

    Args:
        scored: ``results/family``, one a training.
    """
    ways = ("voc_auroc", "voc_auroc_smooth", "voc_auroc_shifts")
    plain, smooth, moved = (np.array([one["scores"][way]["score"][0] for one in scored]) for way in ways)
    images = scored[0]["scores"][ways[0]]["images"]

    def gains(by: np.ndarray) -> str:
        low, high = 100 * by.min(), 100 * by.max()
        return f"{number(low, '+.1f')} to {number(high, '+.1f')} points"

    return (
        f"On {images} photographs of VOC the mean map of each of the {len(scored)} trainings changes by "
        f"{gains(smooth - plain)} when it is enlarged, and by another {gains(moved - smooth)} with the shifts."
    )


def family_scores() -> list[dict[str, Any]]:
    """``results/family`` of the trainings that are in the package."""
    return [results.read(f"family/{name}") for names in trainings().values() for name in names]


def _the(kind: str) -> str:
    return "the ViT" if kind == "ViT" else kind


# ---- noise ----------------------------------------------------------------------------------------------------------


def noise_facts(looked: Sequence[Looked], drawn: ImageSet) -> dict[str, Any]:
    """What strong noise does to the order of patches in all maps, and to the score of the chosen head."""
    few = drawn.subset(range(NOISY))
    noisy = gaussian_noise(few.images, *NOISE)
    told: dict[str, Any] = {"sigma": NOISE[0], "share": NOISE[1], "noisy": NOISY}
    for one in shown_and_fresh(looked):
        clean = one.maps[:NOISY]
        after = cls_attention_maps(one.model, noisy)
        scored = map_scores(after[:, one.layer, one.head], few.masks)["auroc"]
        key = one.kind.lower() + ("" if one.trained else "_fresh")
        told |= {
            f"{key}_kept": float(rank_correlation(after, clean).mean()),
            f"{key}_floor": float(rank_correlation(clean, clean.roll(1, 0)).mean()),
            f"{key}_before": float(one.chosen[:NOISY].mean()),
            f"{key}_after": float(scored.mean()),
        }
    return told | {"noise_says": noise_says(told)}


def noise_says(told: Mapping[str, Any]) -> str:
    """Whether maps of trained networks survive noise better than those of untrained ones."""
    trained, fresh = (
        [v for key, v in told.items() if key.endswith("_kept") and ("fresh" in key) == untrained]
        for untrained in (False, True)
    )
    if fresh and max(fresh) > min(trained):
        return "An untrained network keeps as much, so a map that survives proves little."
    return "The maps of untrained networks survive less."


# ---- tokens as colours ----------------------------------------------------------------------------------------------


def colours_of(
    one: Looked, images: UInt8[Tensor, "n 3 H W"], layer: int
) -> tuple[Float[Tensor, "n h w"], Float[Tensor, "n h w 3"]]:
    """First component and colours of the tokens of a group of pictures, fitted together."""
    features, axes = _fitted(one.model, images, layer)
    h, w = one.model.embedding.grid(images)
    return (
        axes.scores(features)[..., 0].float().view(len(images), h, w),
        axes.colours(features).float().view(len(images), h, w, 3),
    )


def _fitted(model: CRATE, images: Tensor, layer: int) -> tuple[Tensor, TokenPCA]:
    features = patch_features(model, images, [layer])[layer]
    edge = border(*model.embedding.grid(images)).flatten().repeat(len(images))
    return features, fit_token_pca(features.flatten(0, 1), edge)


def shown_and_fresh(looked: Sequence[Looked]) -> list[Looked]:
    """The training that is shown of each kind, and its untrained twin."""
    pair = shown(looked)
    return [one for one in looked if not one.trained or one is pair[one.kind]]


def component_facts(looked: Sequence[Looked], drawn: ImageSet) -> dict[str, Any]:
    """AUROC of the first component in the last layer, fitted to two drawings of a kind, beside what sees nothing."""
    groups = [(drawn.labels == c).nonzero().flatten()[:2] for c in range(len(drawn.classes))]
    groups = [group for group in groups if len(group) == 2]
    masks = drawn.masks[torch.cat(groups)]
    told: dict[str, Any] = {
        "in_pairs": len(masks),
        "middle_here": float(middle_scores(masks)["auroc"].mean()),
    }
    for one in shown_and_fresh(looked):
        layer = len(one.model.blocks) - 1
        scores = []
        for group in groups:
            first, _ = colours_of(one, drawn.images[group], layer)
            positive = first - first.amin((-2, -1), keepdim=True)
            scores.append(map_scores(positive, drawn.masks[group])["auroc"].mean())
        key = one.kind.lower() + ("" if one.trained else "_fresh")
        told[f"{key}_first"] = float(torch.stack(scores).mean())
    return told | {"component_says": component_says(told)}


def component_says(told: Mapping[str, Any]) -> str:
    """Which networks' first component is above the middle of the picture."""
    names = {"crate": "CRATE", "vit": "the ViT"}
    above = [name for key, name in names.items() if told.get(f"{key}_first", 0) > told["middle_here"]]
    if not above:
        return "Neither network is above the middle."
    return (
        "Both networks are above the middle." if len(above) == 2 else f"Only {above[0]} is above the middle."
    )


# ---- for the page's scripts -----------------------------------------------------------------------------------------


def viewer_settings(looked: Sequence[Looked], drawn: ImageSet, picture: int) -> dict[str, Any]:
    """For the head viewer: two trainings of both networks, each with its chosen head first, and the pictures."""
    trained: dict[str, list[Looked]] = {}
    for one in looked:
        if one.trained:
            trained.setdefault(one.kind, []).append(one)
    named = {
        kind: {f"training {i}": one for i, one in enumerate(found[:2], 1)} for kind, found in trained.items()
    }
    keyed = {(kind, name): one for kind, found in named.items() for name, one in found.items()}
    pictures, titles, masks = viewer_pictures(drawn, picture)
    return {
        "models": {kind: {name: one.model for name, one in found.items()} for kind, found in named.items()},
        "images": pictures,
        "titles": titles,
        "masks": masks,
        "layer": {key: one.layer for key, one in keyed.items()},
        "head": {key: one.head for key, one in keyed.items()},
    }


def temperature_data(looked: Sequence[Looked], drawn: ImageSet, picture: int) -> dict[str, Any]:
    """For the playground: the scores of all heads of the two layers that are shown, on one drawing."""
    image, mask = drawn.images[picture], drawn.masks[picture]
    heads, start = [], 0
    for kind, one in shown(looked).items():
        seen = record(one.model, image[None], "cls_scores", layers=[one.layer])
        if kind == "CRATE":
            start = len(heads) + one.head
        heads += [
            {"name": f"{kind}, layer {one.layer}, head {k}", "scores": [round(v, 3) for v in row.tolist()]}
            for k, row in enumerate(seen.patches("cls_scores", one.layer)[0])
        ]
    side = one.model.embedding.grid(image[None])[0]
    objects, background = (c.tolist() for c in count_patches(mask, (side, side)))
    return {
        "picture": _address(image, mask), "side": side, "heads": heads, "start": start,
        "objects": objects, "background": background,
    }  # fmt: skip


def _address(image: UInt8[Tensor, "3 H W"], mask: UInt8[Tensor, "H W"]) -> str:
    """The picture as JPEG in a data address, with the true outline drawn into it."""
    inside = (mask == 1).float()[None, None]
    edge = (F.max_pool2d(inside, 5, 1, 2) - inside)[0, 0] > 0
    pixels = torch.where(edge, torch.tensor(255, dtype=torch.uint8), image)
    stream = io.BytesIO()
    Image.fromarray(figures.to_pixels(pixels)).save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


# ---- figures --------------------------------------------------------------------------------------------------------


def every_head_figure(looked: Sequence[Looked], picture: int) -> Figure:
    """All heads of all layers of the two networks on one drawing; the chosen head of each is framed."""
    pair = shown(looked)
    depth = max(len(one.maps[picture]) for one in pair.values())
    heads = sum(one.maps.shape[2] for one in pair.values())
    size = (0.85 * figures.WIDTH, 0.8 * figures.WIDTH / (heads + 1) * depth + 0.3)
    fig, axes = plt.subplots(1, len(pair), figsize=size, squeeze=False)
    for ax, (kind, one) in zip(axes[0], pair.items(), strict=True):
        maps = one.maps[picture]
        maps = F.pad(maps / maps.amax((-2, -1), keepdim=True), (1, 1, 1, 1), value=torch.nan)
        L, K, h, w = maps.shape
        figures.bare(ax, kind).imshow(
            maps.permute(0, 2, 1, 3).reshape(L * h, K * w).numpy(), cmap=figures.MAP_COLOURS
        )
        ax.set_yticks([h * (layer + 0.5) - 0.5 for layer in range(L)], [str(i) for i in range(L)], fontsize=8)
        ax.set_xticks([w * (k + 0.5) - 0.5 for k in range(K)], [str(k) for k in range(K)], fontsize=8)
        ax.set(xlabel="head", ylabel="layer")
        ax.tick_params(length=0)
        corner = (one.head * w - 0.5, one.layer * h - 0.5)
        ax.add_patch(plt.Rectangle(corner, w, h, fill=False, ec="#d55e00", lw=2.5, clip_on=False))
    plt.close(fig)
    return fig


@dataclass(frozen=True)
class Entry:
    """A picture of the gallery: what it shows, and for each map a mask at its best threshold and both scores."""

    title: str
    image: UInt8[Tensor, "3 H W"]
    mask: UInt8[Tensor, "H W"]
    maps: Mapping[str, Float[Tensor, "h w"]]
    scores: Mapping[str, tuple[float, float]]


def best_mask(attention: Float[Tensor, "h w"], mask: UInt8[Tensor, "H W"]) -> Tensor:
    """The patches above the threshold at which their overlap with the outline is largest."""
    objects, background = count_patches(mask, tuple(attention.shape))
    values, order = attention.flatten().sort(descending=True, stable=True)
    inside, outside = objects[order].cumsum(0), background[order].cumsum(0)
    overlap = inside / (objects.sum() + outside)
    ends = torch.cat(
        [values[1:] != values[:-1], torch.tensor([True])]
    )  # equal patches stand and fall together
    best = torch.where(ends, overlap, -1).argmax()
    return attention >= values[best]


def gallery(looked: Sequence[Looked], drawn: ImageSet, count: int = 12) -> list[Entry]:
    """The photographs that are outlined and the first drawings, none left out; those first in which CRATE is best."""
    pair = shown(looked)
    pictures = [(NAMES[name], *outlined(name, drawn.images.shape[-1])) for name in OUTLINES]
    pictures += [
        (f"a drawn {drawn.classes[int(drawn.labels[i])]}", drawn.images[i], drawn.masks[i])
        for i in range(count - len(pictures))
    ]
    entries = []
    for title, image, mask in pictures:
        maps = {
            kind: cls_attention_maps(one.model, image[None], [one.layer])[0, 0, one.head]
            for kind, one in pair.items()
        } | {"middle": centre_map(tuple(mask.shape)).float()}
        found = {kind: map_scores(a[None], mask[None]) for kind, a in maps.items()}
        scores = {kind: (float(s["auroc"]), float(s["best_iou"])) for kind, s in found.items()}
        entries.append(Entry(title, image, mask, maps, scores))
    return sorted(entries, key=lambda entry: -entry.scores["CRATE"][0])


def gallery_facts(entries: Sequence[Entry]) -> dict[str, Any]:
    """How often each network is behind what sees nothing, and behind the other."""

    def behind(kind: str, other: str) -> int:
        return sum(entry.scores[kind][0] < entry.scores[other][0] for entry in entries)

    return {
        "gallery": len(entries),
        "photographs": len(OUTLINES),
        "crate_behind_middle": behind("CRATE", "middle"),
        "vit_behind_middle": behind("ViT", "middle"),
        "crate_behind_vit": behind("CRATE", "ViT"),
    }


def gallery_figure(entries: Sequence[Entry]) -> Figure:
    """Pictures with their true outline; heat maps of CRATE, ViT and the middle, cut at their best threshold."""
    kinds = ["CRATE", "ViT", "middle"]
    across = 2 * (len(kinds) + 1)
    rows = -(-len(entries) // 2)
    side = figures.WIDTH / across
    fig, axes = plt.subplots(rows, across, figsize=(figures.WIDTH, rows * (side + 0.2) + 0.2), squeeze=False)
    for ax in axes.flat:
        figures.bare(ax).set_visible(False)
    for i, entry in enumerate(entries):
        cells = axes[i % rows, (i // rows) * (len(kinds) + 1) :][: len(kinds) + 1]
        for ax in cells:
            ax.set_visible(True)
        cells[0].imshow(figures.to_pixels(entry.image))
        figures.outline(cells[0], entry.mask)
        cells[0].set_title(entry.title.removeprefix("a drawn "), fontsize=8, pad=2)
        size = tuple(entry.mask.shape)
        for ax, kind in zip(cells[1:], kinds, strict=True):
            attention = entry.maps[kind]
            ax.imshow(upsample(attention, size).numpy(), cmap=figures.MAP_COLOURS)
            figures.outline(ax, figures.outline_of(best_mask(attention, entry.mask), size))
            title = "{:.2f}·{:.2f}".format(*entry.scores[kind])
            ax.set_title(f"{kind}\n{title}" if i % rows == 0 else title, fontsize=8, pad=2)
    plt.close(fig)
    return fig


def finer_figure(
    looked: Sequence[Looked], drawn: ImageSet, picture: int, maps: Mapping[str, Mapping[str, Tensor]]
) -> Figure:
    """One drawing, and the chosen head of each network: at the size of training, at the page's, and finer."""
    pair = shown(looked)
    image = drawn.images[picture]
    small = drawings(picture + 1, 64).images[picture]
    fig, axes = plt.subplots(len(pair), 5, figsize=(figures.WIDTH, 1.66 * len(pair)))
    for row, (kind, one) in zip(axes, pair.items(), strict=True):
        coarse = cls_attention_maps(one.model, small[None], [one.layer])[0, 0, one.head]
        views = {"64 pixels": coarse} | {way: found[0] for way, found in maps[kind].items()}
        views = {("128 pixels" if way == "patches" else way): a for way, a in views.items()}
        figures.bare(row[0], "the drawing" if kind == "CRATE" else "").imshow(figures.to_pixels(image))
        for ax, (way, attention) in zip(row[1:], views.items(), strict=True):
            title = way.replace(", ", ",\n") if kind == "CRATE" else ""
            figures.bare(ax, title).imshow(attention.numpy(), cmap=figures.MAP_COLOURS)
        row[0].set_ylabel(kind, fontsize=9)
    plt.close(fig)
    return fig


def lit_figure(looked: Sequence[Looked], drawn: ImageSet, picture: int) -> Figure:
    """Heat map and lit picture of the chosen head, trained and not: what lighting adds by itself."""
    rows = shown_and_fresh(looked)
    size = (figures.WIDTH, figures.WIDTH / (2 * len(rows)) + 0.4)
    fig, axes = plt.subplots(1, 2 * len(rows), figsize=size)
    for heat, lit, one in zip(axes[::2], axes[1::2], rows, strict=True):
        attention = one.maps[picture, one.layer, one.head]
        figures.bare(heat, one.label.replace(", ", ",\n")).imshow(attention.numpy(), cmap=figures.MAP_COLOURS)
        figures.bare(lit, f"{float(one.chosen[picture]):.2f}").imshow(
            figures.spotlight(drawn.images[picture], attention)
        )
    plt.close(fig)
    return fig


def colours_figure(looked: Sequence[Looked], drawn: ImageSet, kind_of_animal: str = "giraffe") -> Figure:
    """Drawings of one kind of animal and two photographs, and below them their tokens as colours."""
    group = (drawn.labels == drawn.classes.index(kind_of_animal)).nonzero().flatten()[:4]
    photos = data.photographs(drawn.images.shape[-1])
    alone = [photos["cat"], photos["astronaut"]]
    pair = shown(looked)
    fig, axes = plt.subplots(
        1 + len(pair), len(group) + 2, figsize=(0.92 * figures.WIDTH, 1.2 * (1 + len(pair)))
    )
    for ax, image in zip(axes[0], [*drawn.images[group], *alone], strict=True):
        figures.bare(ax).imshow(figures.to_pixels(image))
    for row, (kind, one) in zip(axes[1:], pair.items(), strict=True):
        layer = len(one.model.blocks) - 1
        views = [*colours_of(one, drawn.images[group], layer)[1]]
        views += [colours_of(one, photo[None], layer)[1][0] for photo in alone]
        for ax, colours in zip(row, views, strict=True):
            figures.bare(ax).imshow(colours.numpy())
        row[0].set_ylabel(f"{kind},\nlayer {layer}", fontsize=9)
    plt.close(fig)
    return fig
