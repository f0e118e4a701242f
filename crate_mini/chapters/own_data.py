"""Your own data: folders of drawings that stand in for the reader's own pictures, and one table of scores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PIL import Image

from crate_mini import data
from crate_mini.segmentation import Evaluation


def stand_in(folder: str | os.PathLike[str], *, train: int = 1200, val: int = 200, masks: int = 24) -> Path:
    """Drawn animals as files, laid out as a reader's own pictures would be.

    ``train/<class>/*.png`` and ``val/<class>/*.png``; ``images/*.png`` with ``masks/*.png``, white where the animal is.

    Args:
        folder: made if it is not there.
        train: pictures to learn from.
        val: held-out pictures.
        masks: larger pictures with an outline each.

    Returns:
        The folder.
    """
    folder = Path(folder)
    for split, count in (("train", train), ("val", val)):
        drawn = data.load("embedded", split, n=count, image_size=64)
        for i, (picture, label) in enumerate(zip(drawn.images, drawn.labels.tolist(), strict=True)):
            _save(picture.permute(1, 2, 0).numpy(), folder / split / drawn.classes[label] / f"{i:04}.png")
    drawn = data.load("embedded", "test", n=masks, image_size=128)
    for i, (picture, mask) in enumerate(zip(drawn.images, drawn.masks, strict=True)):
        _save(picture.permute(1, 2, 0).numpy(), folder / "images" / f"{i:04}.png")
        _save(255 * (mask == 1).numpy().astype("uint8"), folder / "masks" / f"{i:04}.png")
    return folder


def _save(pixels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def beside_controls(result: Evaluation, rule: str = "auroc") -> list[dict[str, Any]]:
    """A score, and what it has to be held against, with 95 % intervals over pictures: rows for ``tables.table``.

    The head is chosen on one half of the pictures and scored on the other, so that nobody's luck is counted.
    """
    kept = result.summary()["rules"][rule]
    found = {"one head, chosen on other pictures": kept["cross_fitted"]["score"]}
    if result.untrained is not None:
        control = result.untrained.summary()["rules"][rule]
        found["the same, untrained network"] = control["cross_fitted"]["score"]
    found["a bell in the middle of the picture"] = kept["baselines"]["centre"]
    return [
        {"map": name, rule.upper(): score, "from": low, "to": high}
        for name, (score, low, high) in found.items()
    ]
