"""Spoken digits in noise, a speaker left out: ``results/sound/scores.json``.

    CRATE_MINI_DATA=... python tools/score_sound.py --runs runs              trains what is missing, and scores it
    CRATE_MINI_DATA=... python tools/score_sound.py --runs runs --speakers theo --seeds 0    a part of it
    python tools/score_sound.py --runs runs --play      the same with made words, and ``results/sound/play.json``

Every training begins with the shipped network of its name, which knows drawn animals, and learns from five speakers of
the Free Spoken Digit Dataset, in silence, in white noise and in babble, by the digit alone. It is tested on the sixth.
How often is the digit named; and how well does the class token's map rank the cells in which the digit is louder than
the noise, the ideal binary mask? Heads and layers are chosen on takes of the five speakers that were not trained on.
Beside them, under the same rule: the networks before they heard anything, and untrained; loudness, the mean mask of the
training set, chance, and what no map on this grid can exceed. What was scored before stays.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from crate_mini.attention_maps import cls_attention_maps
from crate_mini.chapters.chapter_17 import expand, mixed, mu_law
from crate_mini.data import ImageSet
from crate_mini.data.sound import (
    LENGTH,
    NOISES,
    VOICES,
    WORDS,
    Recordings,
    cell_power,
    hide,
    made_words,
    pictures,
    spoken_digits,
)
from crate_mini.model import CRATE
from crate_mini.registry import create_model
from crate_mini.results import add_dirty, plain, provenance, read, require_clean, write
from crate_mini.segmentation import evaluate as score_attention
from crate_mini.segmentation.ranking import count_patches, score_maps
from crate_mini.stats import mean_interval
from crate_mini.training import Recipe, train
from crate_mini.training.tasks import evaluate
from crate_mini.weights import load_model

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "sound" / "scores.json"
PLAY = ROOT / "results" / "sound" / "play.json"
MODELS = ("crate_nano", "vit_nano")
SPEAKERS = (
    "jackson",
    "theo",
    "lucas",
    "george",
    "nicolas",
    "yweweler",
)
LEARNED = (0.0, 10.0)  # decibels of the training
TESTED = (0.0, 5.0, 10.0)
MAPPED = 5.0  # decibels at which maps are scored
COPIES = 3
VOICE, TAKES = "alto", 30  # who is left out of the made words, and how many takes there are
SNRS = [-10.0 + 2.5 * i for i in range(11)]
RULES = ("auroc", "best_iou")
GRID = (8, 8)


def recipe(seed: int) -> Recipe:
    """How all networks are trained: no crops and no mirror, for place and order mean something in a sound."""
    return Recipe(
        epochs=2, batch_size=64, lr=2e-3, warmup_epochs=0.2, crop_area=(1.0, 1.0), flip=False, keep_patches=0.5,
        precision="float32", seed=seed,
    )  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the trainings are, or will be")
    parser.add_argument(
        "--speakers",
        nargs="+",
        default=SPEAKERS,
        choices=SPEAKERS,
        help="who is left out, one after the other",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="of the trainings of each")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument(
        "--play", action="store_true", help="made words, and what the playground shows of them"
    )
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)
    if a.play:
        content = provenance("cpu", **playground(a.runs))
        write(PLAY, content, allow_dirty=a.dirty)
        return
    for seed, speaker in itertools.product(a.seeds, a.speakers):
        (there, drawn), rows = known(), {}
        for about, model in networks(a.runs, speaker, seed, a.models):
            if about["name"] not in there:
                rows[about["name"]] = about | network_scores(model, speaker)
                print(about["name"], rows[about["name"]]["top1"], flush=True)
        blind = {} if speaker in drawn else {speaker: {"speaker": speaker} | without_network(speaker)}
        there, drawn = known()  # another process may have written meanwhile
        content = {"networks": list((there | rows).values()), "beside": list((drawn | blind).values())}
        facts = {
            "learned": list(LEARNED),
            "mapped": MAPPED,
            "copies": COPIES,
            "same_speakers": same_speakers(),
        }
        write(RESULT, provenance("cpu", **facts, **content), allow_dirty=a.dirty)


def known() -> tuple[dict[str, Any], dict[str, Any]]:
    """What is in the file: networks by name, and what never saw a network by speaker."""
    found = read("sound/scores") if RESULT.is_file() else {"networks": [], "beside": []}
    return {row["name"]: row for row in found["networks"]}, {row["speaker"]: row for row in found["beside"]}


# ---- networks -------------------------------------------------------------------------------------------------------


def networks(
    runs: Path, speaker: str, seed: int, models: Sequence[str] = MODELS
) -> Iterator[tuple[dict[str, Any], CRATE]]:
    """Untrained; as it was before it heard anything; and trained, if need be: three states of each network."""
    for name in models:
        about = {"model": name, "speaker": speaker, "seed": seed}
        torch.manual_seed(seed)
        fresh = create_model(name, num_classes=10).eval()
        yield about | {"name": f"{name}_{speaker}_untrained_s{seed}", "state": "untrained"}, fresh
        yield (
            about | {"name": f"{name}_{speaker}_drawings_s{seed}", "state": "drawings"},
            start(name, seed).eval(),
        )
        out = runs / f"{name}_{speaker}_s{seed}"
        if not (out / "model.safetensors").is_file():
            model, held = start(name, seed), chosen(speaker)["babble"]
            run = train(
                model, learned(speaker, seed), held, recipe(seed), out=out, device="cpu", progress=False
            )
            print(out.name, f"{run.minutes:.1f} minutes", flush=True)
        yield about | {"name": out.name, "state": "heard"}, load_model(out / "model.safetensors")


def start(name: str, seed: int) -> CRATE:
    """What every training begins with: the shipped network that knows drawn animals, with another classifier."""
    model = create_model(name, pretrained=f"{name}_embedded", num_classes=10)
    torch.manual_seed(seed)
    torch.nn.init.trunc_normal_(model.head.weight, std=0.02)
    torch.nn.init.zeros_(model.head.bias)
    return model


def network_scores(model: CRATE, speaker: str) -> dict[str, Any]:
    """Digits named, and what maps show."""
    tests = tested(speaker)
    top1 = {name: plain(evaluate(model, data, top=(1,))["top1"]) for name, data in tests.items()}
    maps = {}
    for noise in NOISES[1:]:
        found = score_attention(
            model,
            mapped(speaker, noise),
            rule=RULES,
            choose_on=chosen(speaker)[noise],
            untrained=False,
            progress=False,
        )
        maps[noise] = {
            rule: {
                "layer": found.choice[rule]["layer"],
                "head": found.choice[rule]["head"],
                "fixed": plain(list(mean_interval(found.values(rule))), 4),
                "mean": plain(list(mean_interval(found.values(rule, "mean_of_heads"))), 4),
                "best": plain(list(mean_interval(found.scores[f"best_of/{rule}"][:, -1, -1])), 4),
                "chance": plain(list(mean_interval(found.scores[f"chance/{rule}"][:, -1, -1])), 4),
                "heads": plain(found.scores[f"heads/{rule}"].mean(0), 3),
            }
            for rule in RULES
        }
    return {"top1": top1, "maps": maps}


def playground(runs: Path) -> dict[str, Any]:
    """Networks that learned made words, and their maps of one word of the voice that was left out.

    The word is the one on which the chosen head of CRATE is nearest to its median, over both noises.
    """
    found = list(networks(runs, VOICE, 0))
    rows = [about | network_scores(model, VOICE) for about, model in found]
    scored = {noise: mapped(VOICE, noise) for noise in NOISES[1:]}
    crate, row = next(
        (m, r)
        for (_, m), r in zip(found, rows, strict=True)
        if r["state"] == "heard" and r["model"] == MODELS[0]
    )
    place = row["maps"]["babble"]["auroc"]
    values = []
    for data in scored.values():
        objects, background = count_patches(data.masks, GRID)
        drawn = cls_attention_maps(crate, data.images, [place["layer"]])[:, 0, place["head"]].flatten(1)
        values.append(score_maps(drawn, objects, background)["auroc"])
    distance = sum((v - v.median()).abs() for v in values)
    word = 2 * int(distance.argmin())  # every other clip was scored
    five, _, sixth = parts(VOICE)
    speech = hide(sixth, "white", (MAPPED, MAPPED), seed=5).speech[word]
    noises = {
        noise: hide(sixth, noise, (MAPPED, MAPPED), babble=five, seed=5).noise[word] for noise in NOISES[1:]
    }
    coded = {name: mu_law(wave / wave.abs().max()) for name, wave in {"word": speech, **noises}.items()}
    maps: dict[str, dict[str, Any]] = {}
    said = {}
    for noise in noises:
        clips = [mixed(expand(coded["word"]), expand(coded[noise]), snr) for snr in SNRS]
        seen = pictures(cell_power(torch.stack([a + b for a, b in clips]))).contiguous()
        maps[noise] = {
            name: plain(shown.mul(1e4).round(), 5) for name, shown in maps_of(found, place, seen).items()
        }
        said[noise] = [WORDS[i] for i in crate(seen.float() / 255).argmax(1).tolist()]
    return {
        "word": WORDS[int(sixth.labels[word])], "said": said, "snrs": SNRS, "speech": coded["word"],
        "noises": {noise: coded[noise] for noise in noises}, "maps": maps,
        "networks": rows, "beside": without_network(VOICE),
    }  # fmt: skip


def maps_of(
    found: list[tuple[dict[str, Any], CRATE]], place: Mapping[str, int], seen: Tensor
) -> dict[str, Tensor]:
    """Maps of these pictures ``(n, 64)``, by the name that the playground gives them."""
    maps = {}
    for about, model in found:
        name, heard = ("CRATE" if about["model"] == MODELS[0] else "ViT"), about["state"] == "heard"
        if not heard and (name == "ViT" or about["state"] == "untrained"):
            continue
        drawn = cls_attention_maps(model, seen)
        if heard and name == "CRATE":
            maps["CRATE, chosen head"] = drawn[:, place["layer"], place["head"]].flatten(1)
        maps[name if heard else "CRATE, before it heard"] = drawn[:, -1].mean(1).flatten(1)
    return maps


# ---- what never saw a network ---------------------------------------------------------------------------------------


def without_network(speaker: str) -> dict[str, Any]:
    """Digits named by pixels alone, and maps that anybody can draw, by the rule of the networks."""
    five, _, sixth = parts(speaker)
    named = named_by_pixels(learned(speaker, 0), tested(speaker))
    named |= {
        f"aligned/{way}": v["none"]
        for way, v in named_by_pixels(aligned(five), {"none": aligned(sixth)}).items()
    }
    maps = {}
    for noise in NOISES[1:]:
        data = mapped(speaker, noise)
        objects, background = (counts.float() for counts in count_patches(data.masks, GRID))
        drawn = blind_maps(data, mean_mask(speaker, noise)) | {"ceiling": objects}
        found = {name: score_maps(values, objects, background) for name, values in drawn.items()}
        maps[noise] = {
            rule: {name: plain(list(mean_interval(s[rule])), 4) for name, s in found.items()}
            for rule in RULES
        }
        maps[noise]["area"] = plain(data.masks.double().mean())
        maps[noise]["n"] = len(data)
    return {"named": named, "maps": maps}


def blind_maps(data: ImageSet, mask: Tensor) -> dict[str, Tensor]:
    """One value a patch: how loud it is; against the mean of its band in this clip; the mean mask; mask times
    loudness; random numbers.
    """  # fmt: skip
    loud = F.avg_pool2d(data.images[:, :1].float() / 255, 8)[:, 0]
    draw = torch.Generator().manual_seed(0)
    return {
        "loudness": loud.flatten(1),
        "over its band": (loud - loud.mean(2, keepdim=True)).flatten(1),
        "mean mask": mask.flatten().expand(len(loud), -1),
        "mean mask, by loudness": (loud * mask).flatten(1),
        "random": torch.rand(len(loud), 64, generator=draw),
    }


def mean_mask(speaker: str, noise: str) -> Tensor:
    """Where the five speakers' digits are, on average, at the loudness that is tested."""
    five = parts(speaker)[0]
    masks = hide(five, noise, (MAPPED, MAPPED), babble=five, seed=3).images().masks
    return F.avg_pool2d(masks.float()[:, None], 8).mean((0, 1))


def named_by_pixels(train_set: ImageSet, tests: Mapping[str, ImageSet]) -> dict[str, dict[str, float]]:
    """The nearest picture by cosine, and ridge regression, on 16 x 16 pixels: shares that are right."""
    x, y = small(train_set), train_set.labels
    mean = x.mean(0)
    xc = x - mean
    target = F.one_hot(y, 10).double() - 0.1
    held = torch.rand(len(x), generator=torch.Generator().manual_seed(0)) < 0.2

    def fit(rows: Tensor, strength: float) -> Tensor:
        gram = xc[rows].mT @ xc[rows]
        shrunk = gram + strength * gram.trace() / len(gram) * torch.eye(len(gram))
        return torch.linalg.solve(shrunk, xc[rows].mT @ target[rows])

    def right(logits: Tensor, labels: Tensor) -> float:
        return (logits.argmax(1) == labels).double().mean().item()

    best = max((1e-3, 1e-2, 1e-1, 1.0), key=lambda s: right(xc[held] @ fit(~held, s), y[held]))
    weight = fit(torch.ones_like(held), best)
    unit = F.normalize(xc, dim=1)
    found: dict[str, dict[str, float]] = {"neighbour": {}, "ridge": {}}
    for name, data in tests.items():
        z = small(data) - mean
        near = torch.cat([(F.normalize(part, dim=1) @ unit.mT).argmax(1) for part in z.split(256)])
        found["neighbour"][name] = plain((y[near] == data.labels).double().mean())
        found["ridge"][name] = plain(right(z @ weight, data.labels))
    return found


def small(data: ImageSet) -> Tensor:
    """16 x 16 pixels of a picture."""
    return F.avg_pool2d(data.images[:, :1].double() / 255, 4).flatten(1)


@cache
def same_speakers() -> dict[str, float]:
    """The same, where the first takes of all six are tested and all have been learned from: what a split hides."""
    digits = recordings()
    train_set, test = (
        aligned(digits.where(w)) for w in (lambda _, take: take >= 5, lambda _, take: take < 5)
    )
    return {way: v["none"] for way, v in named_by_pixels(train_set, {"none": test}).items()}


# ---- sets -----------------------------------------------------------------------------------------------------------


@cache
def recordings() -> Recordings:
    """All digits."""
    return spoken_digits()


@cache
def parts(speaker: str) -> tuple[Recordings, Recordings, Recordings]:
    """To learn from, to choose on, to be tested on; made words for the voice that made them."""
    return (made_words(TAKES) if speaker in VOICES else recordings()).leave_out(speaker)


@lru_cache(maxsize=1)
def learned(speaker: str, seed: int) -> ImageSet:
    """What is trained on: every recording in silence, in noise and in babble, at places of its own."""
    five = parts(speaker)[0]
    heard = [
        hide(five, NOISES[i % len(NOISES)], LEARNED, babble=five, seed=100 * seed + 10 + i).images()
        for i in range(COPIES)
    ]
    images, labels = (torch.cat([getattr(data, field) for data in heard]) for field in ("images", "labels"))
    return ImageSet(images, labels, five.classes, name=f"{five.name}, {speaker} left out", tier=five.tier)


@cache
def chosen(speaker: str) -> dict[str, ImageSet]:
    """What heads are chosen on."""
    five, held, _ = parts(speaker)
    return {noise: hide(held, noise, (MAPPED, MAPPED), babble=five, seed=4).images() for noise in NOISES[1:]}


@lru_cache(maxsize=1)
def tested(speaker: str) -> dict[str, ImageSet]:
    """The left-out speaker, in silence and at every loudness; the babble is the other five."""
    five, _, sixth = parts(speaker)
    tests = {"none": hide(sixth, "none", seed=5).images()}
    for noise in NOISES[1:]:
        for snr in TESTED:
            tests[f"{noise} {snr:g}"] = hide(sixth, noise, (snr, snr), babble=five, seed=5).images()
    return tests


def mapped(speaker: str, noise: str) -> ImageSet:
    """Every other clip of those whose digits are named at the same loudness."""
    data = tested(speaker)[f"{noise} {MAPPED:g}"]
    return data.subset(range(0, len(data), 2))


def aligned(digits: Recordings) -> ImageSet:
    """In silence, beginning where the clip begins: easier than what networks are given."""
    waves = torch.zeros(len(digits), LENGTH)
    for wave, row in zip(digits.waves, waves, strict=True):
        row[: len(wave)] = wave
    grey = torch.cat([pictures(cell_power(part))[:, :1] for part in waves.split(512)])
    return ImageSet(grey.expand(-1, 3, -1, -1).contiguous(), digits.labels, digits.classes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
