r"""Chapter 17, sound: its figures, its tables, what its playground plays, and the numbers of its sentences."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from crate_mini import figures
from crate_mini.data import sound
from crate_mini.errors import DataError
from crate_mini.results import read
from crate_mini.segmentation.ranking import count_patches
from crate_mini.stats import auroc as auroc_of

Row = Mapping[str, Any]
MODELS: Mapping[str, str] = {"crate_nano": "CRATE", "vit_nano": "ViT"}
NOISES: Mapping[str, str] = {"white": "white noise", "babble": "babble"}
STATES: Mapping[str, str] = {"heard": "", "drawings": ", before it heard", "untrained": ", untrained"}
"""Trained on sounds; as it was before, with drawn animals behind it; with random weights: and what a label adds."""
BLIND: Mapping[str, str] = {
    "mean mask": "where digits lie on average",
    "loudness": "loudness",
    "over its band": "loudness above the band's mean",
    "mean mask, by loudness": "loudness times the average place",
}
"""Maps that anybody can draw: name in the results, and in the page."""

# ---- what is heard --------------------------------------------------------------------------------------------------


def recordings() -> tuple[sound.Recordings, str]:
    """The spoken digits, where they are; else words that nobody said. And a sentence that says which."""
    try:
        found = sound.spoken_digits()
        return found, (
            f"This page was made with the Free Spoken Digit Dataset: {len(found):,} recordings of "
            f"{len({*found.speakers})} speakers, ten digits, CC BY-SA 4.0."
        )
    except DataError:
        found = sound.made_words()
        return found, (
            f"The spoken digits are not on this machine, so the live cells of this page use {len(found):,} made words "
            f"in their place: ten words that nobody said, in {len({*found.speakers})} made voices. The measured "
            "numbers are those of the digits."
        )


def mu_law(wave: Float[Tensor, " n"]) -> str:
    r"""Samples in [-1, 1] as text: eight bits each, :math:`\mathrm{sign}(x) \ln(1 + 255|x|) / \ln 256`, in base64."""
    codes = wave.sign() * torch.log1p(255 * wave.abs()) / np.log(256)
    return base64.b64encode((128 + 127 * codes).round().to(torch.uint8).numpy().tobytes()).decode()


def expand(text: str) -> Float[Tensor, " n"]:
    """The inverse of :func:`mu_law`, but for rounding."""
    codes = (torch.tensor(list(base64.b64decode(text)), dtype=torch.float64) - 128) / 127
    return codes.sign() * (256 ** codes.abs() - 1) / 255


def mixed(
    speech: Float[Tensor, " n"], noise: Float[Tensor, " n"], snr: float | int
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """A word, and noise that is ``snr`` decibels below it: power over the word's own length."""
    spoken = speech.square().sum() / (speech != 0).sum()
    return speech, noise * (spoken / noise.square().mean()).sqrt() * 10 ** (-snr / 20)


def play_data() -> dict[str, Any]:
    """For the playground ``sound``: a made word, what hides it, and maps, from ``results/sound/play.json``."""
    found = read("sound/play")
    kept = ("speech", "noises", "snrs", "word", "said")
    order = ("CRATE", "CRATE, chosen head", "ViT", "CRATE, before it heard")
    maps = {noise: {name: drawn[name] for name in order} for noise, drawn in found["maps"].items()}
    return {k: found[k] for k in kept} | {
        "maps": maps,
        "rate": sound.RATE, "hop": sound.HOP, "window": sound.WINDOW, "points": sound.POINTS, "bands": sound.BANDS,
        "frames": sound.FRAMES, "range": sound.RANGE, "lowest": sound.LOWEST, "patches": 8, "start": 5,
    }  # fmt: skip


def play_facts() -> dict[str, float]:
    """How many words of the voice that was left out the playground's networks name in silence, in per cent."""
    rows = of(read("sound/play")["networks"])
    return {f"made_{row['model'].split('_')[0]}": 100 * row["top1"]["none"] for row in rows}


def pictures_figure(digits: sound.Recordings, shown: Sequence[int] = (0, 4, 6, 8), seed: int = 17) -> Figure:
    """Four words: alone, in white noise, in babble, and where each is louder than the babble."""
    first = digits.where(lambda who, take: who == digits.speakers[0] and take == 0)
    words = first.where(lambda *_: True)
    columns = [int((words.labels == label).nonzero()[0]) for label in shown]
    rows = []
    for noise in sound.NOISES:
        clips = sound.hide(words, noise, (5, 5), babble=digits, seed=seed)
        images = clips.images()
        rows.append((f"{NOISES.get(noise, 'alone')}", images.images[:, 0]))
    rows.append(("the truth", images.masks))
    fig, axes = plt.subplots(
        len(rows), len(columns), figsize=(0.82 * figures.WIDTH, 5.6), layout="constrained"
    )
    for line, (name, pictures) in zip(axes, rows, strict=True):
        for ax, i in zip(line, columns, strict=True):
            ax.imshow(pictures[i], cmap="gray" if name == "the truth" else "magma", aspect="auto")
            ax.set(xticks=[], yticks=[])
            if name == "alone":
                ax.set_title(words.classes[int(words.labels[i])], fontsize=10)
        line[0].set_ylabel(name, fontsize=9)
    axes[-1][0].set_xlabel("1.26 seconds", fontsize=9)
    plt.close(fig)
    return fig


# ---- the results ----------------------------------------------------------------------------------------------------


def scores() -> list[Row]:
    """The networks of ``results/sound/scores.json`` that heard digits."""
    return [row for row in read("sound/scores")["networks"] if row["speaker"] not in sound.VOICES]


def beside() -> list[Row]:
    """What never saw a network, one row a left-out speaker, under the same rules."""
    return [row for row in read("sound/scores")["beside"] if row["speaker"] not in sound.VOICES]


def of(rows: Sequence[Row], *, model: str | None = None, state: str = "heard") -> list[Row]:
    """Those of a model, in one of three :data:`STATES`."""
    return [row for row in rows if row["state"] == state and model in (None, row["model"])]


def auroc(row: Row, noise: str, what: str) -> float:
    """Of one network: ``fixed``, the head chosen on other speakers; ``mean``, of the last layer's heads; or
    ``best``, of these heads, found anew for every clip.
    """  # fmt: skip
    return row["maps"][noise]["auroc"][what][0]


def set_facts() -> dict[str, float | int]:
    """What every training saw, and what pixels name where the same voices are on both sides."""
    found = read("sound/scores")
    five_speakers = 5 * len(sound.DIGITS) * 45  # takes 5 to 49
    same = {f"same_{way}": 100 * share for way, share in found["same_speakers"].items()}
    return {"pictures": five_speakers * found["copies"]} | same


def answer_facts(rows: Sequence[Row], beside: Sequence[Row]) -> dict[str, Any]:
    """What the sentences say: least, most and mean over all trainings of a kind, and over the left-out speakers."""
    facts: dict[str, Any] = {
        "n_trained": len(of(rows)),
        "n_speakers": len({row["speaker"] for row in of(rows)}),
    }
    facts["n_each"] = len(of(rows, model="crate_nano"))

    def tell(name: str, values: Sequence[float]) -> None:
        facts[f"{name}_least"], facts[f"{name}_most"] = min(values), max(values)
        facts[f"{name}_mean"] = sum(values) / len(values)

    for model, short in (("crate_nano", "crate"), ("vit_nano", "vit")):
        for state in STATES:
            group = of(rows, model=model, state=state)
            kind = short if state == "heard" else f"{state}_{short}"
            for noise in NOISES:
                for what in ("fixed", "mean", "best"):
                    tell(f"{kind}_{noise}_{what}", [auroc(row, noise, what) for row in group])
            for where in ("none", "white 5", "babble 5", "white 0", "babble 0"):
                tell(f"{kind}_{where.replace(' ', '')}_top1", [100 * row["top1"][where] for row in group])
        tell(f"{short}_gain", gains(rows, model, "white"))
    for way in ("neighbour", "ridge"):
        for where in ("none", "white 5", "babble 5"):
            tell(f"{way}_{where.replace(' ', '')}_top1", [100 * row["named"][way][where] for row in beside])
        tell(f"{way}_aligned", [100 * row["named"][f"aligned/{way}"] for row in beside])
    for noise in NOISES:
        for name in (*BLIND, "random", "ceiling"):
            key = name.replace(", ", "_").replace(" ", "_")
            tell(f"{key}_{noise}", [row["maps"][noise]["auroc"][name][0] for row in beside])
        tell(f"area_{noise}", [100 * row["maps"][noise]["area"] for row in beside])
    return facts


def gains(rows: Sequence[Row], model: str, noise: str) -> list[float]:
    """What names did to the mean map of the last layer, training by training: AUROC after, less before."""
    before = {
        (r["speaker"], r["seed"]): auroc(r, noise, "mean") for r in of(rows, model=model, state="drawings")
    }
    return [auroc(r, noise, "mean") - before[r["speaker"], r["seed"]] for r in of(rows, model=model)]


def _over(values: Sequence[float], form: str) -> str:
    """Mean, and from where to where."""
    mean, low, high = sum(values) / len(values), min(values), max(values)
    ends = f"{low:{form}} to {high:{form}}".replace(" ", "\N{NO-BREAK SPACE}")
    same = f"{low:{form}}" == f"{high:{form}}"
    return f"{mean:{form}}" if same else f"{mean:{form}}\N{NO-BREAK SPACE}({ends})"


def named_rows(rows: Sequence[Row], beside: Sequence[Row]) -> list[dict[str, str]]:
    """Digits of the left-out speaker that are named: mean over trainings, and from the least to the most."""
    places = {"none": "silence (%)", "white 5": "white noise, 5 dB (%)", "babble 5": "babble, 5 dB (%)"}
    named = {
        MODELS[model]: {w: [100 * r["top1"][w] for r in of(rows, model=model)] for w in places}
        for model in MODELS
    }
    for label, way in (("nearest picture", "neighbour"), ("ridge regression on pixels", "ridge")):
        named[label] = {w: [100 * r["named"][way][w] for r in beside] for w in places}
    return [
        {"what names": name} | {head: _over(found[w], ".0f") for w, head in places.items()}
        for name, found in named.items()
    ]


def map_rows(rows: Sequence[Row], beside: Sequence[Row]) -> list[dict[str, str]]:
    """AUROC of every map: mean over trainings or speakers, and from the least to the most."""
    found: dict[str, dict[str, list[float]]] = {}
    for state, more in STATES.items():
        for model, name in MODELS.items():
            group = of(rows, model=model, state=state)
            for what, said in (("fixed", "one head"), ("mean", "mean of the last layer")):
                label = f"{name}{more}: {said}"
                found[label] = {noise: [auroc(row, noise, what) for row in group] for noise in NOISES}
    for name, said in {**BLIND, "random": "random numbers", "ceiling": "the truth, on this grid"}.items():
        found[said] = {noise: [row["maps"][noise]["auroc"][name][0] for row in beside] for noise in NOISES}
    return [
        {"map": name} | {f"AUROC, {said}": _over(values[noise], ".2f") for noise, said in NOISES.items()}
        for name, values in found.items()
    ]


def maps_figure(rows: Sequence[Row], beside: Sequence[Row]) -> Figure:
    """AUROC of every map, a dot a training or a left-out speaker; white noise left, babble right."""
    lines: list[tuple[str, dict[str, str], dict[str, list[float]]]] = []
    for state, more in STATES.items():
        for model, name in MODELS.items():
            group = of(rows, model=model, state=state)
            for what, said in (("fixed", "one head"), ("mean", "mean of heads")):
                values = {noise: [auroc(row, noise, what) for row in group] for noise in NOISES}
                own = figures.COLOURS["crate" if model == "crate_nano" else "vit"]
                style = {"drawings": {"color": "0.5"}, "untrained": {"color": "0.5", "mfc": "none"}}
                lines.append((f"{name}{more}: {said}", style.get(state, {"color": own}), values))
    for name, said in {**BLIND, "ceiling": "the truth, on this grid"}.items():
        values = {noise: [row["maps"][noise]["auroc"][name][0] for row in beside] for noise in NOISES}
        own = figures.COLOURS["truth" if name == "ceiling" else "baseline"]
        lines.append((said, {"color": own}, values))
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 4.4), sharey=True, layout="constrained")
    for ax, (noise, said) in zip(axes, NOISES.items(), strict=True):
        for y, (_, style, values) in enumerate(lines):
            ax.plot(values[noise], [y] * len(values[noise]), "o", ms=4.5, alpha=0.8, **style)
        ax.axvline(0.5, color="0.5", lw=0.8)
        ax.set(title=said, xlabel="AUROC", xlim=(0.2, 1))
        ax.grid(axis="y", color="0.85", lw=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(lines)), [name for name, *_ in lines], fontsize=9)
    axes[0].invert_yaxis()
    plt.close(fig)
    return fig


LEVELS = (10, 5, 0, -5)
"""Decibels of the word of the playground over what hides it, from easy to hard."""


def at_level(data: Row, snr: float | int, noise: str = "babble") -> dict[str, Any]:
    """The word of the playground so loud: its picture, the ideal mask, and by network a map and its AUROC."""
    word, rest = mixed(expand(data["speech"]), expand(data["noises"][noise]), snr)
    mask = sound.ideal_mask(sound.cell_power(word), sound.cell_power(rest))
    counts = count_patches(mask.to(torch.uint8), (8, 8))
    found: dict[str, Any] = {
        "picture": sound.pictures(sound.cell_power(word + rest))[0],
        "mask": mask,
        "maps": {},
    }
    for name in MODELS.values():
        drawn = torch.tensor(data["maps"][noise][name][data["snrs"].index(snr)], dtype=torch.float64)
        found["maps"][name] = drawn.view(8, 8), float(auroc_of(drawn, *counts))
    return found


def level_facts(data: Row, snrs: Sequence[float | int] = LEVELS) -> dict[str, float]:
    """Of the clip at these levels: the share of cells that are the word's, in per cent, and what the maps score."""
    found = [at_level(data, snr) for snr in snrs]
    shares = [100 * float(one["mask"].double().mean()) for one in found]
    facts = {"easy": shares[0], "hard": shares[-1]}
    for name in MODELS.values():
        scored = [one["maps"][name][1] for one in found]
        facts |= {f"{name.lower()}_least": min(scored), f"{name.lower()}_most": max(scored)}
    return facts


def levels_figure(data: Row, snrs: Sequence[float | int] = LEVELS) -> Figure:
    """The word of the playground from easy to hard: picture, truth, and the maps of both networks with their scores."""
    fig, axes = plt.subplots(
        len(snrs), 4, figsize=(0.82 * figures.WIDTH, 1.45 * len(snrs)), layout="constrained"
    )
    for line, snr in zip(axes, snrs, strict=True):
        found = at_level(data, snr)
        line[0].imshow(found["picture"], cmap="magma", aspect="auto")
        line[1].imshow(found["mask"], cmap="gray", aspect="auto")
        said = f"{snr:+g} dB" if snr else "0 dB"
        line[0].set_ylabel(said.replace("-", "−"), fontsize=9)
        for ax, (name, (drawn, score)) in zip(line[2:], found["maps"].items(), strict=True):
            ax.imshow(drawn, cmap=figures.MAP_COLOURS, aspect="auto")
            ax.set_title(f"{name}, {score:.2f}", fontsize=9)
        for ax in line:
            ax.set(xticks=[], yticks=[])
    axes[0][0].set_title("seen", fontsize=9)
    axes[0][1].set_title("truth", fontsize=9)
    plt.close(fig)
    return fig


def as_a_phone_would(wave: Float[Tensor, " n"]) -> Path:
    """A word saved with silence around it, at 44,100 samples a second, on two channels; a file that is thrown away."""
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    loud = resample_poly(np.pad(wave.double().numpy(), sound.RATE // 2), 441, 80)
    path = Path(tempfile.mkdtemp()) / "word.wav"
    wavfile.write(
        path, 44100, (20000 * np.stack([0.2 * loud, loud], 1) / np.abs(loud).max()).astype(np.int16)
    )
    return path
