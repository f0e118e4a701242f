"""Every figure that two chapters share: one style, one size, one colour for each model.

Functions return a closed :class:`matplotlib.figure.Figure`, which a notebook shows once, as the last line of a cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini.attention_maps import upsample

WIDTH = 8.0
"""Inches; the text column of the rendered page."""

PALETTE = sns.color_palette("colorblind")
"""Ten colours that are told apart with colour blindness too."""

COLOURS = dict(zip(("crate", "vit", "crate_mhsa", "crate_mlp", "baseline", "truth"), PALETTE, strict=False))
"""Colour of each model family and of what is drawn beside them."""

MAP_COLOURS = "viridis"


def use_style() -> None:
    """The book's look for every figure drawn after this call."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette="colorblind",
        rc={
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "axes.titleweight": "normal",
            "font.size": 10,
            "legend.frameon": False,
        },
    )


def shades(n: int) -> list[tuple[float, ...]]:
    """So many colours of :data:`MAP_COLOURS` from dark to light, without its ends, for what has an order."""
    return sns.color_palette(MAP_COLOURS, n)


def to_pixels(image: Shaped[Tensor, "3 h w"]) -> np.ndarray:
    """An image tensor, uint8 or float in [0, 1], as matplotlib wants it: ``(h, w, 3)``."""
    return image.detach().cpu().permute(1, 2, 0).numpy()


def bare(ax: Axes, title: str = "") -> Axes:
    """An axes that holds a picture: no ticks, no frame."""
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def image_grid(
    images: Shaped[Tensor, "n 3 h w"] | Sequence[Tensor],
    titles: Sequence[str] | None = None,
    *,
    columns: int = 8,
    masks: Shaped[Tensor, "n h w"] | None = None,
) -> Figure:
    """Pictures in rows; with the outline of the object where masks are given."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height = WIDTH / columns * rows * (1.18 if titles is not None else 1.0)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False)
    for i, ax in enumerate(axes.flat):
        bare(ax)
        if i >= len(images):
            continue
        ax.imshow(to_pixels(images[i]))
        ax.set_title("" if titles is None else titles[i], fontsize=9)
        if masks is not None:
            outline(ax, masks[i])
    plt.close(fig)
    return fig


def outline(ax: Axes, mask: Shaped[Tensor, "h w"]) -> None:
    """Draw the border of a true mask (pixels equal to 1), white on black so that it shows on anything."""
    inside = (mask == 1).numpy().astype(float)
    for colour, width in (("black", 2.2), ("white", 1.0)):
        ax.contour(inside, levels=[0.5], colors=[colour], linewidths=width)


def spotlight(image: Shaped[Tensor, "3 H W"], attention: Float[Tensor, "h w"]) -> np.ndarray:
    """The image as lit by one attention map: ``(H, W, 3)`` in [0, 1].

    Brightness follows the attention, smoothly enlarged; its 98th percentile gets full light, so that a single
    bright patch does not leave the rest in the dark.
    """
    light = upsample(attention, tuple(image.shape[-2:]), mode="bicubic").clamp(min=0)
    light = (light / light.quantile(0.98).clamp(min=1e-12)).clamp(max=1) ** 0.8
    pixels = to_pixels(image)
    pixels = pixels / 255 if pixels.dtype == np.uint8 else pixels
    return pixels * (0.08 + 0.92 * light.numpy()[..., None])


def head_grid(
    image: Shaped[Tensor, "3 H W"],
    maps: Float[Tensor, "L K h w"],
    *,
    layers: Sequence[int] | None = None,
    title: str = "",
    lit: bool = False,
) -> Figure:
    """All heads of all layers on one image: a row for each layer, a column for each head, the image on the left.

    Each map is scaled by its own maximum; colours of different heads do not compare. With ``lit`` the image itself
    is shown as each head lights it (:func:`spotlight`), otherwise the bare map.
    """
    L, K = maps.shape[:2]
    layers = list(range(L)) if layers is None else list(layers)
    side = min(1.15, WIDTH / (K + 1))
    tall = image.shape[-2] / image.shape[-1]
    size = (side * (K + 1), side * tall * L * 1.06 + 0.25 + 0.25 * bool(title))
    fig, axes = plt.subplots(L, K + 1, figsize=size, squeeze=False)
    for row, layer in enumerate(layers):
        bare(axes[row, 0]).imshow(to_pixels(image))
        axes[row, 0].set_ylabel(f"layer {layer}", fontsize=9)
        for k in range(K):
            ax = bare(axes[row, k + 1], f"head {k}" if row == 0 else "")
            if lit:
                ax.imshow(spotlight(image, maps[row, k]))
            else:
                ax.imshow(maps[row, k].numpy(), cmap=MAP_COLOURS)
    if title:
        fig.suptitle(title, fontsize=10)
    plt.close(fig)
    return fig


def training_curves(
    runs: Mapping[str, Sequence[Mapping[str, float | int | None]]], *, chance: float | None = None
) -> Figure:
    """Training loss, held-out loss and held-out accuracy by epoch, one colour for each run.

    Args:
        runs: name -> history of :func:`crate_mini.training.train`; epochs that were not evaluated are left out of the
            lines of what was held out.
        chance: accuracy of guessing, drawn as a line.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9))
    for colour, (name, history) in zip(PALETTE, runs.items(), strict=False):
        epoch = [row["epoch"] for row in history]
        left.plot(
            epoch, [row["train_loss"] for row in history], color=colour, ls=":", label=f"{name}, training"
        )
        measured = [row for row in history if row["val_top1"] is not None]
        epoch = [row["epoch"] for row in measured]
        left.plot(epoch, [row["val_loss"] for row in measured], color=colour, label=f"{name}, held out")
        right.plot(epoch, [100 * row["val_top1"] for row in measured], color=colour, marker=".", label=name)
    if chance is not None:
        right.axhline(100 * chance, color="grey", lw=1, ls="--")
        right.text(1, 100 * chance + 1, "guessing", fontsize=8, color="grey", va="bottom")
    left.set(xlabel="epoch", ylabel="cross-entropy (nats)")
    right.set(xlabel="epoch", ylabel="top-1 on held-out images (%)", ylim=(0, None))
    left.legend(fontsize=8)
    if len(runs) > 1:
        right.legend(fontsize=8)
    plt.close(fig)
    return fig


def interval_bars(
    values: Mapping[str, tuple[float, float, float]],
    *,
    xlabel: str,
    colours: Mapping[str, tuple] | None = None,
) -> Figure:
    """Means with their intervals, one bar a name, the number written beside it.

    Args:
        values: name -> (mean, low, high).
        xlabel: what is measured.
        colours: name -> colour; grey for the others.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 0.36 * len(values) + 0.8))
    for y, (name, (mean, low, high)) in enumerate(values.items()):
        ax.barh(y, mean, color=(colours or {}).get(name, "0.75"), height=0.65)
        ax.errorbar(mean, y, xerr=[[mean - low], [high - mean]], color="0.2", lw=1.2, capsize=2.5)
        ax.text(high + 0.008, y, f"{mean:.2f}", va="center", fontsize=9)
    ax.set(yticks=range(len(values)), yticklabels=list(values), xlabel=xlabel)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    plt.close(fig)
    return fig


def outline_of(prediction: Shaped[Tensor, "h w"], size: tuple[int, int]) -> Tensor:
    """A patch mask at pixel resolution, as uint8 for :func:`outline`."""
    return upsample(prediction.bool(), size).to(torch.uint8)


def lit_rows(
    images: Shaped[Tensor, "n 3 H W"], maps: Float[Tensor, "n K h w"], *, titles: Sequence[str] | None = None
) -> Figure:
    """A row for each image: the image, then the image as each head lights it (:func:`spotlight`)."""
    n, K = maps.shape[:2]
    side = WIDTH / (K + 1)
    fig, axes = plt.subplots(
        n, K + 1, figsize=(WIDTH, side * n * images.shape[-2] / images.shape[-1] + 0.25), squeeze=False
    )
    for row in range(n):
        bare(axes[row, 0]).imshow(to_pixels(images[row]))
        for k in range(K):
            title = titles[k] if titles is not None and row == 0 else ""
            bare(axes[row, k + 1], title).imshow(spotlight(images[row], maps[row, k]))
    plt.close(fig)
    return fig


def lit_models(image: Shaped[Tensor, "3 H W"], maps: Mapping[str, Float[Tensor, "_ h w"]]) -> Figure:
    """A row for each model, named at its left: one image as every head of one layer lights it."""
    columns = 1 + max(len(m) for m in maps.values())
    side = WIDTH / columns
    fig, axes = plt.subplots(len(maps), columns, figsize=(WIDTH, side * len(maps) + 0.2), squeeze=False)
    for row, (name, heads) in enumerate(maps.items()):
        for ax in axes[row]:
            bare(ax).set_visible(False)
        for k, ax in enumerate(axes[row, : len(heads) + 1]):
            ax.set_visible(True)
            ax.imshow(to_pixels(image) if k == 0 else spotlight(image, heads[k - 1]))
            ax.set_title(f"head {k - 1}" if row == 0 and k else "", fontsize=9)
        axes[row, 0].set_ylabel(name, fontsize=9)
    plt.close(fig)
    return fig
