"""``crate-mini evaluate text``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from crate_mini.cli.common import COUNT, SEED, number, report
from crate_mini.cli.said import file_or_folder
from crate_mini.data.text import TRAINED, encode, read_text
from crate_mini.language import LanguageModel, text_losses, write
from crate_mini.ngrams import NGrams, compressed
from crate_mini.results import add_dirty, provenance
from crate_mini.weights import load_language_model

TEMPERATURE = number(lambda x: x >= 0, "not be negative")
ORDERS = range(1, 8)


def add(kinds: argparse._SubParsersAction) -> None:
    """Add the kind to the parser of ``evaluate``."""
    p = kinds.add_parser(
        "text",
        help="nats a character of a text, beside n-grams and bz2",
        description="How surprised a network of the task next-token is by the last tenth of a text; n-grams and bz2 "
        "have read the nine tenths before. With --write, what it writes.",
    )
    p.add_argument(
        "--weights", required=True, type=Path, help="the folder of crate-mini train, or its .safetensors"
    )
    p.add_argument(
        "--root", type=file_or_folder, metavar="FILE",
        help="a text in UTF-8, or the folder of the sets; by default CRATE_MINI_DATA, with tiny Shakespeare in it",
    )  # fmt: skip
    p.add_argument("--write", type=COUNT, metavar="N", help="let it write so many characters, too")
    p.add_argument("--temperature", type=TEMPERATURE, metavar="X", default=0.8, help="of what it writes")
    p.add_argument("--seed", type=SEED, metavar="N", default=0, help="of what it writes")
    p.add_argument("--out", type=file_or_folder, metavar="FILE", help="write the numbers as JSON")
    p.add_argument("--json", action="store_true", help="print that JSON in place of a table")
    add_dirty(p)
    p.set_defaults(run=_text)


def _text(a: argparse.Namespace) -> None:
    model = load_language_model(a.weights)
    text, name, _ = read_text(root=a.root)
    result = provenance(weights=str(a.weights), text=name) | measure(model, text)
    if a.write:
        begin, _ = encode(model.config.alphabet[:1], model.config.alphabet)
        draw = torch.Generator().manual_seed(a.seed)
        numbers = write(model, begin[None], a.write, temperature=a.temperature, generator=draw)[0, 1:]
        result["written"] = "".join(model.config.alphabet[i] for i in numbers.tolist())
    report(a, result, _print)


@torch.no_grad()
def measure(model: LanguageModel, text: str) -> dict[str, Any]:
    """Nats a character of the last tenth: of the network, of n-grams by their order, and of bz2.

    Raises:
        ValueError: nothing of the text is in the network's alphabet.
    """
    alphabet = model.config.alphabet
    numbers, strange = encode(text, alphabet)
    cut = int(TRAINED * len(numbers))
    if cut < 2 or len(numbers) - cut < 2:
        raise ValueError(
            f"the text has {len(numbers)} characters of the network's alphabet; that is too few to score"
        )
    known, rest = numbers[:cut].numpy(), numbers[cut:].numpy()
    orders = [n for n in ORDERS if n <= len(rest)]
    return {
        "characters": len(rest),
        "left_out": strange,
        "network": round(text_losses(model, numbers[cut:]).mean().item(), 4),
        "ngrams": {
            str(n): round(NGrams(known, len(alphabet), n).losses(rest)[1:].mean().item(), 4) for n in orders
        },
        "bz2": round(compressed(*("".join(alphabet[i] for i in part) for part in (rest, known))), 4),
    }


def _print(result: dict[str, Any]) -> None:
    print(
        f"{result['weights']} on the last {result['characters']:,} characters of {result['text']}, nats a character"
    )
    if result["left_out"]:
        print(f"  left out, for the network does not know them: {' '.join(result['left_out'])}")
    print(f"  network  {result['network']:.3f}")
    for order, loss in result["ngrams"].items():
        print(f"  {order}-gram   {loss:.3f}")
    print(f"  bz2      {result['bz2']:.3f}")
    if "written" in result:
        print(result["written"])
