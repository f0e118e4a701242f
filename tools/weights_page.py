"""Write ``book/weights.md`` from the cards of the weights that come with the package: ``python tools/weights_page.py``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scoreboard import NONE, table

from crate_mini.weights import list_pretrained

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "book" / "weights.md"
WEIGHTS = ROOT / "crate_mini" / "weights"
SETS = {
    "embedded": "10 drawn animals",
    "tiny-imagenet": "200 classes",
    "tiny-imagenet-animals": "25 animals",
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

{len(cards) + len(texts)} trained networks come with the package, {size:.0f} MB in half precision. Each has a *card* beside it, a JSON file: data, recipe, command, commit, seed, minutes, device, accuracy, calibration, the SHA-256 of the file. This page is written from the cards (`tools/weights_page.py`).

```python
import crate_mini

network = crate_mini.load_pretrained("flagship_crate_s0")
card = crate_mini.list_pretrained()["flagship_crate_s0"]
```

```bash
crate-mini evaluate accuracy --weights flagship_crate_s0
crate-mini inspect photo.jpg --open \\
    --weights flagship_crate_s0 --compare flagship_vit_s0
```

## With labels

{table(*_labelled(labelled))}

*M*: millions of parameters. *200 classes*: all of Tiny-ImageNet {{cite:p}}`le2015tiny`; *25 animals*: 25 of them, all animals; drawn animals are the package's own. *Top-1*: right answers on held-out pictures, of the weights as they are shipped. *Sure*: the mean confidence. A perfectly calibrated network is as sure as it is right; *error* is the expected calibration error in bins of equal mass, beside what a perfect network would have with so few pictures; dividing the logits by the *temperature* is what would help most. {_sure(labelled)}

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


def _about(name: str, card: Card) -> list[str]:
    """Name, size, what it was trained on, and how often it saw it."""
    size = f"{card['parameters'] / 1e6:.{1 if card['parameters'] > 5e5 else 2}f}"
    return [f"`{name}`", size, SETS[card["data"]["train"].partition("/")[0]], str(card["recipe"]["epochs"])]


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f}"


Table = tuple[list[str], list[list[str]], Sequence[int]]
ABOUT = ["weights", "M", "trained on", "epochs"]


def _labelled(cards: Mapping[str, Card]) -> Table:
    head = [*ABOUT, "top-1, %", "sure, %", "error (perfect), %", "temperature"]
    rows = []
    for name, card in cards.items():
        found = card["held_out_as_shipped"]
        error, floor = (_percent(found.get(f"calibration_{of}")) for of in ("error", "floor"))
        best = found.get("temperature")
        rows.append(
            [*_about(name, card), _percent(found["top1"]), _percent(found.get("confidence")), f"{error} ({floor})",
             NONE if best is None else f"{best:.2f}"]
        )  # fmt: skip
    return head, rows, (1, *range(3, len(head)))


def _unlabelled(cards: Mapping[str, Card]) -> Table:
    head = [*ABOUT, "by", "neighbours, %"]
    rows = [
        [*_about(name, card), TASKS[card["task"]["name"]], _percent(card["held_out_as_shipped"]["top1"])]
        for name, card in cards.items()
    ]
    return head, rows, (1, 3, 5)


def _texts(cards: Mapping[str, Card]) -> Table:
    rows = [[*_about(name, card), f"{card['held_out']['loss']:.2f}"] for name, card in cards.items()]
    return [*ABOUT, "loss, nats"], rows, (1, 3, 4)


if __name__ == "__main__":
    main()
