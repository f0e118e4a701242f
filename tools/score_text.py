"""Language models and what stands beside them: ``results/text/scores.json``.

    crate-mini train --task next-token --epochs 2 ... --out runs/crate_s0
    python tools/score_text.py --runs runs      all that are there, and as many before training
    python tools/score_text.py --ship runs/crate_s0     the network that the page runs, into the package

On the last tenth of tiny Shakespeare, which nobody learned from: nats a character; what units of feeds stand for, on
held-out halves, beside the same activations in rotated axes; who looks at whom; and what is written when one unit is
held fast. Beside them n-grams and bz2, which had the same nine tenths.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crate_mini.atoms import clamped
from crate_mini.data.text import SHAKESPEARE, Text, open_text
from crate_mini.language import LanguageModel, create_language_model, text_losses, write
from crate_mini.model import count_parameters
from crate_mini.ngrams import NGrams, compressed
from crate_mini.results import add_dirty, plain, provenance, require_clean
from crate_mini.results import write as write_result
from crate_mini.text_reading import (
    lengths,
    looking_back,
    looks,
    predicates,
    rotated,
    unit_scores,
    units,
)
from crate_mini.weights import load_language_model, save_model

RESULT = Path(__file__).resolve().parent.parent / "results" / "text" / "scores.json"
SHIPPED = resources.files("crate_mini") / "weights" / "text" / "crate_text.safetensors"
CHARACTERS = 6_400  # that units are scored on, half and half; whole half-windows
HELD = "in a speaker's name"  # the predicate of the unit that is held
OTHERS = 6  # units at random that are held in its place
STREAMS, WRITTEN = 8, 64  # texts side by side, and characters of each


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the trainings are")
    parser.add_argument("--some", type=int, default=10**6, help="stop after so many networks")
    parser.add_argument(
        "--ship", type=Path, metavar="RUN", help="write this training into the package, for the page"
    )
    add_dirty(parser)
    a = parser.parse_args()
    if a.ship:
        card = json.loads((a.ship / "model.json").read_text(encoding="utf-8"))
        save_model(load_language_model(a.ship), SHIPPED, card, dtype=torch.float16)
        return
    require_clean(a.dirty)
    torch.set_num_threads(1)
    learned, others = open_text(SHAKESPEARE)
    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {"networks": []}
    done = {(row["name"], row["seed"]) for row in found["networks"]}
    if "beside" not in found:
        found["beside"] = beside(learned, others)
    for name, seed, card, folder in networks(a.runs):
        if (name, seed) in done or not a.some:
            continue
        a.some -= 1
        row = {"name": name, "seed": seed}
        if folder is None:
            torch.manual_seed(seed)
            model = create_language_model(card["model"], others.alphabet, card["config"]["length"]).eval()
        else:
            model = load_language_model(folder)
            row |= {"minutes": card["minutes"], "training": card["command"], "trained_at": card["commit"]}
        alone = card["config"]["move"] == 0
        found["networks"].append(row | score(model, others, alone=alone) | provenance())
        print(name, seed, found["networks"][-1]["loss"], flush=True)
        write_result(RESULT, found | provenance(), allow_dirty=a.dirty)


def networks(runs: Path) -> Iterator[tuple[str, int, Mapping[str, Any], Path | None]]:
    """Name, seed, card and folder of every training that is there; and the same networks before it, with no folder."""
    for path in sorted(runs.glob("*/model.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        seed, alone = card["recipe"]["seed"], card["config"]["move"] == 0
        yield card["model"] + ("_alone" if alone else ""), seed, card, path.parent
        if not alone:
            yield f"{card['model']}_untrained", seed, card, None


def beside(learned: Text, others: Text) -> dict[str, Any]:
    """What never saw a network."""
    known, rest = learned.numbers.numpy(), others.numbers.numpy()
    orders = range(1, 8)
    grams = [NGrams(known, len(learned.alphabet), n).losses(rest)[1:].mean().item() for n in orders]
    return {
        "characters": [len(known), len(rest)],
        "ngrams": plain([round(loss, 4) for loss in grams]),
        "bz2": round(compressed(str(others), str(learned)), 4),
    }


@torch.no_grad()
def score(model: LanguageModel, others: Text, *, alone: bool = False) -> dict[str, Any]:
    """All that is measured of one network; of one without attention its loss."""
    told = {
        "parameters": count_parameters(model),
        "loss": plain(text_losses(model, others.numbers).mean(), 5),
    }
    return told if alone else told | {"attention": attention(model, others), **of_units(model, others)}


def attention(model: LanguageModel, others: Text) -> dict[str, Any]:
    """Who looks at whom; and how often a token prefers another, also one whose key is no longer than its own."""
    n = model.config.length
    numbers = others.numbers[: 32 * n].view(32, n)
    all_looks, keys = looks(model, numbers), lengths(model, numbers)
    longer = [k[..., None, :] > k[..., :, None] * (1 + 1e-5) for k in keys]
    more = [A / A.diagonal(0, -2, -1)[..., None] > 1 + 1e-4 for A in all_looks]
    pairs = model.mask.sum().item() * all_looks[0].shape[0] * all_looks[0].shape[1] * len(all_looks)
    told = {
        "preferred": sum(m.sum().item() for m in more) / pairs,
        "preferred_not_longer": sum((m & ~w).sum().item() for m, w in zip(more, longer, strict=True)) / pairs,
    }
    return {k: plain(v, 3) for k, v in looking_back(all_looks).items()} | told


def of_units(model: LanguageModel, others: Text) -> dict[str, Any]:
    """What units stand for, in their own axes and in others, and what holding one does."""
    half = model.config.length // 2
    starts = torch.arange(0, CHARACTERS, half)
    at = starts[:, None] + torch.arange(2 * half)
    found = [u[:, half:].flatten(0, 1) for u in units(model, others.numbers[at])]
    text = str(others)[: CHARACTERS + half]
    said = {name: holds[half:] for name, holds in predicates(text).items()}
    own = [unit_scores(u, said) for u in found]
    other = [unit_scores(rotated(u, seed=16), said)["score"] for u in found]
    high = [u.quantile(0.99, dim=0) for u in found]
    best = [
        {"layer": layer, "unit": u, "predicate": s["predicate"][u], "score": plain(s["score"][u], 4)}
        | {"value": plain(high[layer][u], 4), "up": bool(s["up"][u])}
        for layer, s in enumerate(own)
        for u in s["score"].topk(4).indices.tolist()
    ]
    result = {
        "units": summary(torch.cat([s["score"] for s in own]), torch.cat([s["dead"] for s in own])),
        "rotated": summary(torch.cat(other)),
        "layers": [plain(s["score"].mean(), 4) for s in own],
        "layers_rotated": [plain(s.mean(), 4) for s in other],
        "best": best,
    }
    chosen = [
        (s["score"][u].item(), layer, u)
        for layer, s in enumerate(own)
        for u, name in enumerate(s["predicate"])
        if name == HELD and s["up"][u]
    ]
    held_one = {"held": holding(model, others, found, *max(chosen)[1:])} if chosen else {}
    return result | held_one


def summary(scores: Tensor, dead: Tensor | None = None) -> dict[str, Any]:
    """Of the scores of all units of a network."""
    told = {
        "mean": plain(scores.mean(), 4),
        "median": plain(scores.median(), 4),
        "above_90": plain((scores >= 0.9).float().mean(), 4),
        "count": len(scores),
    }
    return told if dead is None else told | {"dead": int(dead.sum())}


def holding(
    model: LanguageModel, others: Text, found: list[Tensor], layer: int, unit: int
) -> Mapping[str, Any]:
    """Capitals among the letters that are written, while one unit is held at a high value of its own, or another is."""
    starts = torch.randint(len(others.numbers) - 64, (STREAMS,), generator=torch.Generator().manual_seed(16))
    begin = others.numbers[starts[:, None] + torch.arange(32)]
    values = found[layer].quantile(0.99, dim=0)
    live = [u for u in (values > 0).nonzero().flatten().tolist() if u != unit]
    order = torch.randperm(len(live), generator=torch.Generator().manual_seed(16))

    def capitals(held_unit: int | None) -> float:
        draw = torch.Generator().manual_seed(16)
        if held_unit is None:
            numbers = write(model, begin, WRITTEN, generator=draw)
        else:
            with clamped(model.encoder.blocks[layer].feed, held_unit, values[held_unit].item()):
                numbers = write(model, begin, WRITTEN, generator=draw)
        written = "".join(others.alphabet[i] for i in numbers[:, 32:].flatten().tolist())
        letters = [c for c in written if c.isalpha()]
        return round(sum(c.isupper() for c in letters) / max(1, len(letters)), 4)

    return {
        "predicate": HELD,
        "layer": layer,
        "unit": unit,
        "value": plain(values[unit], 4),
        "nobody": capitals(None),
        "held": capitals(unit),
        "others": [capitals(live[i]) for i in order[:OTHERS].tolist()],
    }


if __name__ == "__main__":
    main()
