"""What happens when a head is muted or an atom is held: ``results/acting/heads.json`` and ``atoms.json``.

    python tools/score_acting.py heads      every head of every network, beside random parts of its layer
    python tools/score_acting.py atoms      where atoms fire, and what holding one does, beside random directions

Networks are the shipped pairs of CRATE and the ViT of as many parameters, on images of their own validation set, and
CRATE of the drawn animals on drawings with a seed of their own. Where atoms fire is asked on the same drawings.
"""

from __future__ import annotations

import argparse
import json
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from skimage.color import rgb2lab
from torch import Tensor

from crate_mini import atoms, data
from crate_mini.data import ImageSet
from crate_mini.model import CRATE
from crate_mini.results import add_dirty, commit, plain, provenance, require_clean, write
from crate_mini.segmentation.evaluation import untrained_twin
from crate_mini.weights import list_pretrained, load_pretrained

RESULTS = Path(__file__).resolve().parent.parent / "results" / "acting"
SEED = 19
NETWORKS = {
    "crate_mini_all_lion_s0": "CRATE", "vit_mini_6_all_lion_s0": "ViT",
    "crate_mini_all_lion_s1": "CRATE", "vit_mini_6_all_lion_s1": "ViT",
    "crate_mini_all_lion_s2": "CRATE", "vit_mini_6_all_lion_s2": "ViT",
    "crate_mini_animals_s0": "CRATE", "vit_mini_animals_s0": "ViT",
    "crate_nano_embedded": "CRATE", "crate_nano_embedded_s1": "CRATE", "vit_nano_embedded": "ViT",
}  # fmt: skip
IMAGES = 150  # whose answers are watched
DRAWINGS = 60  # on which atoms fire
RANDOM = 4  # random subspaces a layer
HELD = 8  # atoms a layer that are held
LOUD = 0.99  # quantile of its own values at which an atom is held


@lru_cache
def own_images(place: str) -> ImageSet:
    """Images that the network was not trained on, of the set that it was trained on."""
    name = place.partition("/")[0]
    if name == "embedded":
        return data.load("embedded", "test", n=IMAGES, seed=SEED)
    return data.load(name, "val", n=IMAGES, seed=SEED, progress=False)


def moved_by(
    model: CRATE, module: Any, change: Any, Z: Tensor, layer: int, before: Tensor
) -> dict[str, float]:
    """What a change of one module's output does to the answers."""
    with atoms.changed(module, change):
        return atoms.moved(before, atoms.onward(model, Z, layer))


# ---- heads ----------------------------------------------------------------------------------------------------------


def score_heads(model: CRATE, images: ImageSet) -> dict[str, Any]:
    """For every head what muting it does; for every layer, what as large a random part of its heads' output does, and
    for every head what as long a step in a random direction does.
    """  # fmt: skip
    entering = atoms.tokens_before(model, images)
    before = atoms.onward(model, entering[0], 0)
    named = (before.argmax(1) == images.labels).double().mean().item()
    rows: dict[str, list] = {"muted": [], "subspace": [], "direction": []}
    for layer, block in enumerate(model.blocks):
        attention, Z = block.attention, entering[layer]
        m, p, d = attention.heads * attention.head_dim, attention.head_dim, model.config.dim
        W = attention.out.weight.detach()
        seen: list[Tensor] = []
        hook = attention.out.register_forward_hook(lambda _, args, output: seen.append(args[0]))  # noqa: B023
        atoms.onward(model, Z, layer)
        hook.remove()
        joined = seen[0]  # (b, n, m): what the heads found, side by side
        ask = partial(moved_by, model, attention.out, Z=Z, layer=layer, before=before)
        steps = atoms.random_directions(attention.heads, d, seed=1000 * SEED + layer)
        for name in rows:
            rows[name].append([])
        for head in range(attention.heads):
            of_head = slice(head * p, (head + 1) * p)
            added = joined[..., of_head] @ W[:, of_head].T
            rows["muted"][-1].append(ask(lambda y, x=added: y - x))
            step = added.norm(dim=-1, keepdim=True) * steps[head]
            rows["direction"][-1].append(ask(lambda y, x=step: y - x))
        for i in range(RANDOM):
            generator = torch.Generator().manual_seed(10_000 * SEED + 100 * layer + i)
            Q = torch.linalg.qr(torch.randn(m, p, generator=generator))[0]
            added = (joined @ Q) @ Q.T @ W.T
            rows["subspace"][-1].append(ask(lambda y, x=added: y - x))
    told = {
        name: {key: [[plain(one[key], 4) for one in layer] for layer in layers] for key in layers[0][0]}
        for name, layers in rows.items()
    }
    return {"images": len(images), "named": plain(named, 4)} | told


# ---- atoms ----------------------------------------------------------------------------------------------------------


@lru_cache
def drawings() -> tuple[ImageSet, dict[str, Tensor]]:
    """Drawings, and of every patch the part that covers most of it, its place and its colour."""
    found = data.load("embedded", "test", n=DRAWINGS, seed=SEED, image_size=128)
    n, size = len(found), 8
    cells = found.parts.unfold(1, size, size).unfold(2, size, size).reshape(n, 256, -1)
    parts = F.one_hot(cells.long(), len(found.part_names)).sum(2).argmax(-1)
    small = F.avg_pool2d(found.images.float() / 255, size).permute(0, 2, 3, 1).numpy()
    lab = torch.from_numpy(rgb2lab(small)).float().reshape(-1, 3) / 100
    squares = torch.stack([lab[:, i] * lab[:, j] for i in range(3) for j in range(i, 3)], 1)
    return found, {
        "parts": parts,
        "places": torch.arange(256).repeat(n),
        "colours": torch.cat([lab, squares], 1),
    }


def firing(model: CRATE) -> dict[str, Any]:
    """Where units fire on the drawings, layer by layer: means over units, and over as many random directions."""
    found, about = drawings()
    rows: dict[str, list] = {}
    entering = atoms.tokens_before(model, found)
    for layer in range(len(model.blocks)):
        units, leaving = (t[:, 1:] for t in atoms.fired(model, layer, entering[layer]))
        directions = atoms.random_directions(units.shape[-1], model.config.dim, seed=1000 * SEED + layer)
        for name, values in (("units", units), ("directions", leaving @ directions.T)):
            flat = values.flatten(0, 1)
            scores = {
                "part": atoms.explained(flat, about["parts"].flatten()),
                "place": atoms.explained(flat, about["places"]),
                "colour": atoms.explained(flat, features=about["colours"]),
                "agreement": atoms.agreement(values, about["parts"]),
            }
            alive = flat.std(0) > 0
            told = {key: plain(of[alive].nanmean().item(), 4) for key, of in scores.items()}
            told |= {f"{key}_best": plain(of[alive].quantile(0.95).item(), 4) for key, of in scores.items()}
            told |= {"alive": int(alive.sum()), "zeros": plain((flat == 0).double().mean().item(), 4)}
            rows.setdefault(name, []).append(told)
    chosen = torch.randint(256, (DRAWINGS, 200), generator=torch.Generator().manual_seed(SEED))
    rows["chance"] = plain(
        (about["parts"].gather(1, chosen)[:, None] == about["parts"].gather(1, chosen)[None])
        .double().mean().item(), 4)  # fmt: skip
    return rows


def holding(model: CRATE, images: ImageSet) -> dict[str, Any]:
    """What holding a unit at a loud value does, layer by layer, and whether it says the class that it fires for.

    Where it fires is taken from one half of the images, what it does from the other. Beside it the same of random
    directions, and as large a change along a random direction.
    """
    half = len(images) // 2
    reading, acting = images.subset(range(half)), images.subset(range(half, len(images)))
    entering = atoms.tokens_before(model, acting)
    before = atoms.onward(model, entering[0], 0)
    classes = reading.labels.unique()
    rows: dict[str, list] = {"units": [], "directions": [], "beside": []}
    read_from = atoms.tokens_before(model, reading)
    for layer in range(len(model.blocks)):
        (units, leaving), out = atoms.fired(model, layer, read_from[layer]), model.blocks[layer].feed.writes
        now, plain_out = atoms.fired(model, layer, entering[layer])
        d = model.config.dim
        generator = torch.Generator().manual_seed(1000 * SEED + layer)
        alive = (units.flatten(0, 1).std(0) > 0).nonzero()[:, 0]
        held = alive[torch.randperm(len(alive), generator=generator)[:HELD]].tolist()
        along = atoms.random_directions(2 * HELD, d, seed=2000 * SEED + layer)
        of: dict[str, list] = {name: [] for name in rows}
        for k, unit in enumerate(held):
            loud = units[..., unit].flatten().quantile(LOUD)
            rise = (loud - now[..., unit])[..., None]
            of["units"].append(
                effect(model, plain_out + rise * out[unit], layer, before, units[..., unit], reading, classes)
            )
            size = rise * out[unit].norm()
            of["beside"].append(
                effect(model, plain_out + size * along[k], layer, before, None, reading, classes)
            )
            u = along[HELD + k]
            values = leaving @ u
            rise = (values.flatten().quantile(LOUD) - plain_out @ u)[..., None]
            of["directions"].append(
                effect(model, plain_out + rise * u, layer, before, values, reading, classes)
            )
        for name, each in of.items():
            rows[name].append({
                key: plain(torch.tensor([one[key] for one in each]).nanmean().item(), 4) for key in each[0]
            })  # fmt: skip
    return {"classes": len(classes), "images": half} | rows


def effect(
    model: CRATE,
    Z: Tensor,
    layer: int,
    before: Tensor,
    values: Tensor | None,
    reading: ImageSet,
    classes: Tensor,
) -> dict[str, float]:
    """Of tokens that leave a layer, changed: what the network says, and how well it goes with the classes fired for."""
    after = atoms.onward(model, Z, layer + 1)
    told = atoms.moved(before, after)
    if values is None:
        return told
    fires = torch.stack([values[reading.labels == c].mean() for c in classes])
    rises = (after - before).mean(0)[classes]
    both = torch.stack([fires, rises]).double()
    same = float(fires.argmax() == rises.argmax())
    return told | {"correlation": float(torch.corrcoef(both)[0, 1]), "same": same}


def score_atoms(model: CRATE, images: ImageSet) -> dict[str, Any]:
    """Both questions."""
    return {"firing": firing(model), "holding": holding(model, images)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("heads", "atoms"))
    there = [name for name in NETWORKS if name in list_pretrained()]
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=there)
    add_dirty(parser)
    args = parser.parse_args()
    require_clean(args.dirty)
    torch.set_num_threads(1)
    about = {"seed": SEED, "random": RANDOM, "held": HELD, "loud": LOUD, "drawings": DRAWINGS} | provenance(
        "cpu"
    )
    path = RESULTS / f"{args.what}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else {}
    score = {"heads": score_heads, "atoms": score_atoms}[args.what]
    for name in args.networks:
        card, model = list_pretrained()[name], load_pretrained(name)
        place = card["data"]["train"]
        print(name, place, flush=True)
        said = {
            "kind": NETWORKS[name],
            "set": place.partition("/")[0],
            "sha256": card["sha256"],
            "commit": commit(),
        }
        rows[name] = said | score(model, own_images(place))
        if args.what == "atoms":
            rows[name] |= {"untrained": firing(untrained_twin(model))}
        rows = {key: rows[key] for key in NETWORKS if key in rows}
        write(path, {"about": about, "rows": rows}, allow_dirty=args.dirty)


if __name__ == "__main__":
    main()
