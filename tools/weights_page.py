"""Write ``book/weights.md`` from the cards of the weights that come with the package: ``python tools/weights_page.py``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scoreboard import NONE, table

from crate_mini.weights import list_pretrained

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "book" / "weights.md"
WEIGHTS = ROOT / "crate_mini" / "weights"
SETS = {
    "embedded": "drawn animals",
    "tiny-imagenet": "Tiny-ImageNet",
    "tiny-imagenet-animals": "25 animals of Tiny-ImageNet",
    "tiny-shakespeare": "Shakespeare",
}
TASKS = {"simdino": "SimDINO", "dino": "DINO"}
Card = Mapping[str, Any]


def main() -> None:
    """Command line."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def page() -> str:
    """The page as it follows from the cards."""
    cards = list_pretrained()
    labelled = {name: card for name, card in cards.items() if card["classes"]}
    others = {name: card for name, card in cards.items() if not card["classes"]}
    texts = {
        file.stem: json.loads(file.read_text("utf-8")) for file in sorted((WEIGHTS / "text").glob("*.json"))
    }
    size = sum(file.stat().st_size for file in WEIGHTS.rglob("*.safetensors")) / 1e6
    return f"""# Weights

{len(cards) + len(texts)} trained networks come with the package, {size:.0f} MB in half precision. Each has a *card* beside it, a JSON file: data, recipe, command, commit, seed, minutes, device, accuracy, the SHA-256 of the file. This page is written from the cards (`tools/weights_page.py`).

```python
import crate_mini

network = crate_mini.load_pretrained("flagship_crate_s0")
card = crate_mini.list_pretrained()["flagship_crate_s0"]
```

```bash
crate-mini inspect photo.jpg --weights flagship_crate_s0 --compare flagship_vit_s0 --open
crate-mini evaluate accuracy --weights flagship_crate_s0    # with the set at hand
```

## With labels

{table(*_labelled(labelled))}

*Top-1*, *top-5*: right answers among the held-out pictures that the network was never trained on, of the weights as they are shipped. *Sure*: the mean confidence. A perfectly calibrated network is as sure as it is right; *error* is the expected calibration error in bins of equal mass, beside what a perfect network would have with so few pictures; dividing the logits by the *temperature* is what would help most. {_sure(labelled)} *Minutes*: of one core of a CPU, of several kinds.

## Without labels

{table(*_unlabelled(others))}

*Neighbours*: how often the 20 nearest training pictures name a held-out one right. {_chapter("15_rate_as_loss")} is about these networks.

## Text

{table(*_texts(texts))}

*Loss*: in nats a character, on the last tenth of the text. {_chapter("16_text")} reads it.
"""


def _sure(cards: Mapping[str, Card]) -> str:
    """How many are less sure than right, which smoothed labels teach."""
    known = [found for card in cards.values() if "confidence" in (found := card["held_out_as_shipped"])]
    less = sum(found["confidence"] < found["top1"] for found in known)
    smoothed = all(card["recipe"]["label_smoothing"] > 0 for card in cards.values())
    why = "All were trained with smoothed labels: " if smoothed else ""
    return f"{why}{less} of {len(known)} are less sure than right."


def _chapter(name: str) -> str:
    return f"{{doc}}`../notebooks/{name}`"


def _about(name: str, card: Card, file: Path) -> dict[str, str]:
    where = card["data"]["train"].partition("/")[0]
    recipe = card["recipe"]
    return {
        "name": f"`{name}`",
        "size": f"{card['parameters'] / 1e6:.{1 if card['parameters'] > 5e5 else 2}f}",
        "set": SETS[where],
        "epochs": str(recipe["epochs"]),
        "minutes": f"{card['minutes']:.0f}",
        "file": f"{file.stat().st_size / 1e6:.1f}",
    }


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f}"


def _labelled(cards: Mapping[str, Card]) -> tuple[list[str], list[list[str]], range]:
    head = ["weights", "parameters, M", "trained on", "classes", "epochs", "top-1, %", "top-5, %", "sure, %",
            "error (perfect), %", "temperature", "minutes", "MB"]  # fmt: skip
    rows = []
    for name, card in cards.items():
        told, found = _about(name, card, WEIGHTS / f"{name}.safetensors"), card["held_out_as_shipped"]
        error, floor = (_percent(found.get(f"calibration_{of}")) for of in ("error", "floor"))
        best = found.get("temperature")
        rows.append([
            told["name"], told["size"], told["set"], str(len(card["classes"])), told["epochs"],
            _percent(found["top1"]), _percent(found["top5"]), _percent(found.get("confidence")), f"{error} ({floor})",
            NONE if best is None else f"{best:.2f}", told["minutes"], told["file"],
        ])  # fmt: skip
    return head, rows, [1, *range(3, len(head))]


def _unlabelled(cards: Mapping[str, Card]) -> tuple[list[str], list[list[str]], list[int]]:
    head = ["weights", "parameters, M", "trained on", "by", "epochs", "neighbours, %", "minutes", "MB"]
    rows = []
    for name, card in cards.items():
        told = _about(name, card, WEIGHTS / f"{name}.safetensors")
        rows.append([
            told["name"], told["size"], told["set"], TASKS[card["task"]["name"]], told["epochs"],
            _percent(card["held_out_as_shipped"]["top1"]), told["minutes"], told["file"],
        ])  # fmt: skip
    return head, rows, [1, *range(4, len(head))]


def _texts(cards: Mapping[str, Card]) -> tuple[list[str], list[list[str]], list[int]]:
    head = ["weights", "parameters, M", "trained on", "epochs", "loss, nats", "minutes", "MB"]
    rows = []
    for name, card in cards.items():
        told = _about(name, card, WEIGHTS / "text" / f"{name}.safetensors")
        loss = f"{card['held_out']['loss']:.2f}"
        rows.append(
            [told["name"], told["size"], told["set"], told["epochs"], loss, told["minutes"], told["file"]]
        )
    return head, rows, [1, *range(3, len(head))]


if __name__ == "__main__":
    main()
