"""Chapter 9b, is CRATE better: every training, every comparison that was written down beforehand, and what they allow.

Lines of the comparison come from two places. Cats and dogs and horses (``results/masks``) were looked at through the
whole search for a recipe, so they stand here without a test. VOC and COCO were not: ``tools/score_family.py`` scores
them by ``results/family/plan.json`` into ``results/family``. Networks of the paper's width have a list of their own,
``results/flagship``. No sentence assumes how they end, or that they are there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import beta, chi2, norm
from scipy.stats import t as student
from torch import Tensor

from crate_mini import data, figures, results
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.chapters import front_page
from crate_mini.chapters.chapter_09 import PLACES, UNTRAINED, one_head, scored
from crate_mini.chapters.family import FAMILY, SHOWN, SHOWN_WIDE, WIDE
from crate_mini.chapters.outlined import NAMES, OUTLINES, map_scores, outlined
from crate_mini.checkpoints import load_pretrained
from crate_mini.segmentation import stored
from crate_mini.stats import Interval, welch_interval
from crate_mini.tables import PlusMinus, number, table
from crate_mini.weights import list_pretrained

LEVEL = 0.05
"""What the comparisons of a list are held against, all together, where their results say no other."""
RULE = "auroc"
"""Of the lines that were looked at: it needs no threshold."""
PLANNED = {
    "voc_paper": "VOC by the paper's rule",
    "voc_auroc": "VOC by AUROC",
    "coco_auroc": "COCO by AUROC",
    "coco_maskcut": "COCO by MaskCut",
    "pets_paper": "cats and dogs by the paper's rule",
    "horses_paper": "horses by the paper's rule",
}
"""The planned scores, as a sentence calls them."""
WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
KINDS = ("CRATE", "ViT")


@dataclass(frozen=True)
class Line:
    """One score of both networks on one set.

    Attributes:
        said: how a sentence calls it.
        state: ``"looked at"`` of a set that the search saw; of a planned one ``"not scored"``, ``"waits"`` for a second
            training a side, ``"differs"`` or ``"does not differ"``, after the correction for several tests.
        images: how many were scored.
        scores: by kind of network, one score a training.
        fresh: the same of untrained networks.
        middle: of a map that is only brighter in the middle, by the same rule.
        gap: CRATE minus ViT with its 95 % interval over new trainings.
        both: with that over new trainings and new images together.
        p: of the test over trainings.
    """

    said: str
    state: str
    images: int | None = None
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fresh: Mapping[str, Sequence[float]] = field(default_factory=dict)
    middle: float | None = None
    gap: Interval | None = None
    both: Interval | None = None
    p: float | None = None

    @property
    def pairs(self) -> list[float]:
        """CRATE minus ViT of all pairs of one training each."""
        return [a - b for a in self.scores.get("CRATE", ()) for b in self.scores.get("ViT", ())]


# ---- what was measured ----------------------------------------------------------------------------------------------


def looked_at() -> list[Line]:
    """Photographs that recipe, optimiser and heads were chosen in sight of: one head, chosen on other photographs."""
    lines = []
    for place, said in PLACES.items():
        found = {kind: scored(kind, place) for kind in KINDS}
        scores = {kind: [one_head(one, RULE) for one in of] for kind, of in found.items()}
        first = next(one for of in found.values() for one in of)
        gap = _whole(welch_interval(scores["CRATE"], scores["ViT"])) if all(scores.values()) else None
        lines.append(
            Line(
                said,
                "looked at",
                first["images"],
                scores,
                {kind: [one_head(stored(name, place), RULE)] for kind, name in UNTRAINED.items()},
                first["rules"][RULE]["baselines"]["centre"][0],
                gap,
                _both(place, gap),
            )
        )
    return lines


def _both(place: str, gap: Interval | None) -> Interval | None:
    """The interval over trainings and images, if it was measured of the same trainings as the gap."""
    names = [FAMILY[kind][0].rsplit("_s", 1)[0] for kind in KINDS]
    for row in results.read("masks/comparisons")["trainings"]:
        if [row["a"], row["b"], row["data"], row["size"], row["rule"]] == [*names, place, 128, RULE]:
            found = row["fixed"].get("both")
            same = found and gap and abs(found[0] - gap[0]) < 1e-3
            return _whole(found) if same else None
    return None


def planned(folder: str = "family") -> list[Line]:
    """The comparisons of a list, all of them and in its order, scored or not; ``flagship`` at the paper's width."""
    asked = [one["score"] for one in results.read(f"{folder}/plan")["comparisons"]]
    try:
        found = results.read(f"{folder}/comparisons")
    except FileNotFoundError:
        return [Line(PLANNED[key], "not scored") for key in asked]
    rows = {
        kind: [results.read(f"{folder}/{name}")["scores"] for name in names]
        for kind, names in found["seeds"].items()
    }
    lines = []
    for key, line in zip(asked, found["comparisons"], strict=True):
        of = {kind: [_first(row[key]["score"]) for row in files] for kind, files in rows.items()}
        one = next(row[key] for files in rows.values() for row in files)
        lines.append(
            Line(
                PLANNED[key],
                "waits" if "p" not in line else "differs" if line["differs"] else "does not differ",
                one["images"],
                {kind: of.get(kind, []) for kind in KINDS},
                {kind: of.get(f"{kind}, untrained", []) for kind in KINDS},
                _first(one["centre"]) if "centre" in one else None,
                _whole(line.get("over_trainings")),
                _whole(line.get("over_trainings_and_images")),
                line.get("p"),
            )
        )
    return lines


def _looks(folder: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """The first look at a list's comparisons and the second one, if there were two."""
    try:
        return results.read(f"{folder}/first_look"), results.read(f"{folder}/comparisons")
    except FileNotFoundError:
        return None


def _trainings(look: Mapping[str, Any]) -> str:
    return WORDS[min(n for line in look["comparisons"] for n in line["trainings"])]


def look_sentence(folder: str = "flagship") -> str:
    """If a list was looked at twice: how the first look ended, and what the second is held against; else empty."""
    if (looks := _looks(folder)) is None:
        return ""
    first, now = looks
    tested, again = ([line for line in look["comparisons"] if "p" in line] for look in looks)
    differed = [PLANNED[line["score"]] for line in tested if line["differs"]]
    before, smallest = (min(of, key=lambda line: line["p"]) for of in (tested, again))
    asked = len(now["comparisons"])
    return (
        f"This is the second look, and the last. The first, by {_trainings(first)} trainings of each and at "
        f"{100 * first.get('level', LEVEL):g} %, separated the two on {several(differed) if differed else 'none'} "
        f"(smallest $p$ {number(before['p'], '.2g')}, {PLANNED[before['score']]}). This one is held against "
        f"{100 * now['level']:g} %: {number(now['level'] / asked, '.2g')} is asked of the smallest $p$, which is "
        f"{number(smallest['p'], '.2g')} ({PLANNED[smallest['score']]})."
    )


def first_look(folder: str = "flagship") -> str:
    """The same in few words, for the first screen."""
    if (looks := _looks(folder)) is None:
        return ""
    decided = sum(line.get("differs", False) for line in looks[0]["comparisons"])
    return f" A first look, by {_trainings(looks[0])} of each, decided {WORDS[decided]}."


def expected_sentence(folder: str = "flagship") -> str:
    """What a list expected of later trainings, from what was seen in the first, and whether it came.

    Empty while no later training is scored.
    """
    try:
        kept = results.read(f"{folder}/comparisons").get("predictions", [])
    except FileNotFoundError:
        return ""
    told: dict[bool, list[str]] = {True: [], False: []}
    for line in (line for line in kept if "holds" in line):
        a, b = ([100 * v for v in line["last_layer"][line[side]].values()] for side in "ab")
        told[line["holds"]].append(f"{PLANNED[line['score']]} ({_span(a)} and {_span(b)} %)")
        orders = math.comb(len(a) + len(b), len(a))
    if not any(told.values()):
        return ""
    parts = [
        f"{said} on {several(told[holds])}"
        for holds, said in ((True, "came"), (False, "did not come"))
        if told[holds]
    ]
    return (
        "**Seen in the first two, expected of the next.** In its last layer the mean map of wide CRATE was above that "
        f"of the wide ViT. It was written down before the others were scored: it {' and '.join(parts)}, CRATE first. "
        f"Luck alone brings such an order once in {WORDS[orders] if orders < len(WORDS) else orders}."
    )


def lines() -> list[Line]:
    """All of them: first what was looked at, then what was planned."""
    return [*looked_at(), *planned()]


def _first(value: Any) -> float:
    """A number, or the first of a value with its interval."""
    return float(value[0] if isinstance(value, list | tuple) else value)


def _whole(interval: Any) -> Interval | None:
    """An interval; None where an end is missing, as with one training a side."""
    if not interval or any(v is None or np.isnan(v) for v in interval):
        return None
    value, low, high = map(float, interval)
    return value, low, high


# ---- what it allows to say ------------------------------------------------------------------------------------------


def several(names: Sequence[str]) -> str:
    """Names in a sentence."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


def verdict(of: Sequence[Line]) -> str:
    """The answer, from the planned comparisons alone."""
    asked = [line for line in of if line.state != "looked at"]
    n = WORDS[len(asked)]
    if all(line.state == "not scored" for line in asked):
        return (
            f"**Not scored yet.** The {n} comparisons that decide it are written down, on photographs that nobody "
            "tuned on; none of them is scored. What this page shows meanwhile was looked at while the recipe was "
            "chosen, and decides nothing."
        )
    waits = [line for line in asked if line.state == "waits"]
    if len(waits) == len(asked):
        return f"**Not decided.** The {n} comparisons wait for a second training of each network."
    ahead = [line.said for line in asked if line.state == "differs" and line.gap[0] > 0]
    behind = [line.said for line in asked if line.state == "differs" and line.gap[0] < 0]
    if ahead and behind:
        told = (
            f"**Each is, somewhere.** Of {n} comparisons that were written down beforehand CRATE is ahead in "
            f"{WORDS[len(ahead)]} ({several(ahead)}), the ViT in {WORDS[len(behind)]} ({several(behind)})."
        )
    elif ahead or behind:
        who, where = ("CRATE", ahead) if ahead else ("The ViT", behind)
        told = (
            f"**{who} is ahead in {WORDS[len(where)]} of {n}** comparisons that were written down beforehand: "
            f"{several(where)}."
        )
    else:
        told = f"**Not decided.** None of the {n} comparisons that were written down beforehand separates the two."
    rest = len(asked) - len(ahead) - len(behind) - len(waits)
    if (ahead or behind) and rest:
        told += f" {WORDS[rest].capitalize()} {'does' if rest == 1 else 'do'} not separate them."
    return told + (f" {WORDS[len(waits)].capitalize()} wait for a second training a side." if waits else "")


def one_draw(of: Sequence[Line]) -> str:
    """What a comparison of one training each would have said."""
    told = [line for line in of if len(line.pairs) > 1]
    if not told:
        scored = any(line.pairs for line in of)
        return "There is one training of each network here, and one training is one draw." if scored else ""
    shares = {line.said: (sum(v > 0 for v in line.pairs), len(line.pairs)) for line in told}
    split = {said: share for said, share in shares.items() if 0 < share[0] < share[1]}
    if not split:
        return (
            "**One training of each would have said the same.** In every line all pairs of one CRATE and one ViT agree "
            "on who is ahead."
        )
    said, (k, n) = min(split.items(), key=lambda item: abs(item[1][0] / item[1][1] - 0.5))
    return (
        f"**With one training of each you can report either.** On {said} CRATE is ahead in {k} of {n} pairs of one "
        f"training each; in {WORDS[len(split)]} of {WORDS[len(told)]} lines the pairs disagree."
    )


def against_the_middle(of: Sequence[Line]) -> str:
    """How many scores are above those of a map that saw nothing."""
    counts = {
        kind: [score > line.middle for line in of if line.middle is not None for score in line.scores[kind]]
        for kind in KINDS
    }
    n = sum(line.middle is not None for line in of)
    if not n:
        return ""
    told = " and ".join(f"{sum(c)} of {len(c)} scores of {_kind(kind)}" for kind, c in counts.items())
    return (
        f"**Hold both against the middle of the picture.** A map that is only brighter there is beaten by {told} "
        f"({WORDS[n]} line{'s' if n != 1 else ''}, a score for each training)."
    )


def _kind(kind: str) -> str:
    return "CRATE" if kind == "CRATE" else "the ViT"


def answer_facts(
    of: Sequence[Line],
    wide: Sequence[Line],
    reads: Mapping[str, Sequence[Any]],
    wide_reads: Mapping[str, Sequence[Any]],
) -> dict[str, str]:
    """The sentences of the first screen."""
    return {
        "verdict": verdict(of),
        "wide": f"**At the paper's width.** {verdict(wide).replace('**', '')}{first_look()}",
        "one_draw": one_draw(of),
        "middle": against_the_middle(of),
        "reading": f"{reading_sentence(reads)} {reading_at_width(wide_reads)}",
    }


def gap_rows(of: Sequence[Line]) -> list[dict[str, Any]]:
    """The table: a row a line, in per cent and points, means over trainings; no column of which nothing is known."""
    said = {
        "looked at": "looked at",
        "not scored": "not scored yet",
        "waits": "waits",
    }
    rows = []
    for line in of:
        row: dict[str, Any] = {"score, %": line.said, "n": line.images}
        for kind in KINDS:
            row[kind] = 100 * float(np.mean(line.scores[kind])) if line.scores.get(kind) else None
        row["middle"] = None if line.middle is None else 100 * line.middle
        row["CRATE − ViT, ± trainings"] = _plus_minus(line.gap)
        row["± trainings and images"] = None if line.both is None else 50 * (line.both[2] - line.both[1])
        row["says, p"] = said.get(line.state) or (
            f"{_ahead(line)}, {number(line.p, '.2g')}"
            if line.state == "differs"
            else f"open,\u00a0{number(line.p, '.2g')}"
        )
        rows.append(row)
    empty = {key for key in rows[0] if all(row[key] is None for row in rows)}
    return [{key: value for key, value in row.items() if key not in empty} for row in rows]


GAP_FORMATS = dict.fromkeys((*KINDS, "middle", "CRATE − ViT, ± trainings", "± trainings and images"), ".1f")


def gap_table(of: Sequence[Line]) -> Any:
    """:func:`gap_rows` as a table."""
    rows = gap_rows(of)
    return table(rows, {key: how for key, how in GAP_FORMATS.items() if key in rows[0]})


def _plus_minus(interval: Interval | None) -> PlusMinus | None:
    return None if interval is None else PlusMinus(100 * interval[0], 50 * (interval[2] - interval[1]))


def _ahead(line: Line) -> str:
    return "CRATE is ahead" if line.gap[0] > 0 else "the ViT is ahead"


def _of_all(names: Sequence[str], of: Sequence[str]) -> str:
    """Names in a sentence; of most of them, those that are missing."""
    missing = [name for name in of if name not in names]
    if 2 * len(missing) >= len(of) or len(of) < 3:
        return several(names)
    return f"all {WORDS[len(of)]} lines" + (f" but {several(missing)}" if missing else "")


def holds(of: Sequence[Line], wide: Sequence[Line], reads: Mapping[str, Sequence[Any]]) -> str:
    """What is true of every training that there is, as items of a list."""
    several_of_each = [line for line in wide if min(len(line.scores.get(kind, ())) for kind in KINDS) > 1]

    def where(test: Callable[[Line], bool]) -> str:
        told = []
        for widths, which in ((of, "on"), (several_of_each, "the wide ones on")):
            scored = [line for line in widths if all(line.scores.get(kind) for kind in KINDS)]
            found = [line.said for line in scored if test(line)]
            if found:
                told.append(f"{which} {_of_all(found, [line.said for line in scored])}")
        return "; ".join(told)

    def trained(line: Line, kind: str) -> bool:
        return bool(line.fresh.get(kind)) and min(line.scores[kind]) > max(line.fresh[kind])

    def above(line: Line, kind: str) -> bool:
        return line.middle is not None and min(line.scores[kind]) > line.middle

    def over(line: Line, a: str, b: str) -> bool:
        enough = (
            min(len(line.scores[kind]) for kind in KINDS) >= 3
        )  # of two a side chance orders one in three so
        return enough and min(line.scores[a]) > max(line.scores[b])

    items = {
        "Every training of both is above untrained networks of its kind": where(
            lambda line: all(trained(line, kind) for kind in KINDS)
        ),
        "Every training of both is above the middle": where(
            lambda line: all(above(line, kind) for kind in KINDS)
        ),
        "Every training of CRATE is above the middle, of the ViT not every one,": where(
            lambda line: above(line, "CRATE") and not above(line, "ViT")
        ),
        "Every training of the ViT is above the middle, of CRATE not every one,": where(
            lambda line: above(line, "ViT") and not above(line, "CRATE")
        ),
        "Every training of CRATE is above every one of the ViT": where(
            lambda line: over(line, "CRATE", "ViT")
        ),
        "Every training of the ViT is above every one of CRATE": where(
            lambda line: over(line, "ViT", "CRATE")
        ),
    }
    told = [f"- {said} {places}." for said, places in items.items() if places]
    ordered = [line for line in (*of, *wide) if over(line, *KINDS) or over(line, *KINDS[::-1])]
    if ordered:
        a, b = (min(len(line.scores[kind]) for line in ordered) for kind in KINDS)
        told[-1] += (
            f" Luck alone brings such an order on one line in {math.comb(a + b, a)}, and lines of the same trainings "
            "are not so many witnesses."
        )
    answer, _, numbers = reading_sentence(reads).partition(":")  # which stand above
    return "\n".join([*told, f"- {answer}{'.' if numbers else ''}"])


def open_questions(of: Sequence[Line]) -> str:
    """Which lines do not say who is ahead, as a sentence."""
    unsure = [line.said for line in of if line.state == "does not differ"]
    missing = [line.said for line in of if line.state in ("not scored", "waits")]
    told = []
    if unsure:
        told.append(f"Who is ahead is not decided on {several(unsure)}.")
    if missing:
        told.append(f"Nothing can be said yet of {several(missing)}.")
    inside = [
        line.said for line in of if line.state == "looked at" and line.gap and line.gap[1] < 0 < line.gap[2]
    ]
    if inside:
        told.append(f"Of what was looked at, the interval over trainings holds zero on {several(inside)}.")
    return " ".join(told) or "Every line says who is ahead."


# ---- how many trainings a claim needs -------------------------------------------------------------------------------

MOST = 20
"""Trainings a side, in the playground."""
RATIOS = np.linspace(0, 4, 21)
"""True differences, in standard deviations of a training."""


def power(ratio: float, n: int, points: int = 60) -> float:
    r"""How often Welch's test over ``n`` trainings a side finds a difference of ``ratio`` standard deviations, at 5 %.

    With as many on both sides, normal and of one spread, the difference of the means is normal about
    :math:`\sqrt{n/2}` times the ratio, in standard errors. The sum of the two observed variances is a :math:`\chi^2` of
    :math:`2n - 2` degrees of freedom; of it the first has a share :math:`r`, a Beta variable, which sets the degrees of
    freedom that the test believes in, :math:`(n - 1) / (r^2 + (1 - r)^2)`. Averaged over both.
    """
    places = (np.arange(points) + 0.5) / points
    r = beta.ppf(places, (n - 1) / 2, (n - 1) / 2)
    limit = student.ppf(0.975, (n - 1) / (r**2 + (1 - r) ** 2))
    errors = np.sqrt(chi2.ppf(places, 2 * n - 2) / (2 * n - 2))
    beyond, shift = np.outer(limit, errors), ratio * (n / 2) ** 0.5
    return float(np.mean(norm.cdf(shift - beyond) + norm.cdf(-shift - beyond)))


def spread_of(line: Line) -> float:
    """Standard deviation of a training about the mean of its kind, in points."""
    return 100 * float(np.mean([np.var(line.scores[kind], ddof=1) for kind in KINDS])) ** 0.5


def smallest_found(spread: float, n: int, chance: float = 0.8) -> float:
    """The true difference, in points, that ``n`` trainings a side find with this chance."""
    ratios = np.linspace(0, 12, 121)
    powers = [power(ratio, n) for ratio in ratios]
    return spread * float(np.interp(chance, powers, ratios))


def play_data(of: Sequence[Line]) -> dict[str, Any]:
    """For the playground: how often a test decides, and where it starts, at what cats and dogs show."""
    first = of[0]
    return {
        "ratios": RATIOS.round(3).tolist(),
        "power": [[round(power(ratio, n), 4) for ratio in RATIOS] for n in range(2, MOST + 1)],
        "t": [round(float(student.ppf(0.975, nu)), 4) for nu in range(1, 2 * MOST)],
        "difference": round(100 * abs(first.gap[0]), 1),
        "spread": round(spread_of(first), 1),
        "trainings": min(len(first.scores[kind]) for kind in KINDS),
    }


def power_facts(of: Sequence[Line]) -> dict[str, Any]:
    """What so many trainings a side can find, with the spread that they show."""
    first = of[0]
    n, spread = min(len(first.scores[kind]) for kind in KINDS), spread_of(first)
    return {
        "trainings": n,
        "said": first.said,
        "spread": spread,
        "found": smallest_found(spread, n),
        "more": 2 * n,
        "found_by_more": smallest_found(spread, 2 * n),
    }


# ---- the networks ---------------------------------------------------------------------------------------------------


def network_facts() -> dict[str, Any]:
    """What both networks are and saw, from the cards of the weights in the package."""
    shipped = list_pretrained()
    cards = {kind: shipped[FAMILY[kind][0]] for kind in KINDS}
    one = cards["CRATE"]
    counts = [WORDS[len(scored(kind, "pets/test"))] for kind in KINDS]
    return {
        "crate_size": one["parameters"] / 1e6,
        "vit_size": cards["ViT"]["parameters"] / 1e6,
        "classes": len(one["classes"]),
        "train_images": f"{one['data']['images']:,}",
        "epochs": one["recipe"]["epochs"],
        "trainings": f"{counts[0].capitalize()} trainings of CRATE and {counts[1]} of the ViT were scored",
        "precisions": precisions(
            {kind: [shipped[n] for n in FAMILY[kind] if n in shipped] for kind in KINDS}
        ),
        "cannot_tell": results.read("family/plan")["cannot_tell"],
    }


def precisions(cards: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """In what the trainings of each kind were computed."""
    told = {}
    for kind, of in cards.items():
        counts = Counter(card["recipe"]["precision"] for card in of)
        told[kind] = " and ".join(f"{WORDS[count]} in {how}" for how, count in sorted(counts.items()))
    if told["CRATE"] == told["ViT"]:
        return f"{told['CRATE']} of each kind"
    return f"of CRATE {told['CRATE']}, of the ViT {told['ViT']}"


def wide_facts(of: Sequence[Line]) -> dict[str, Any]:
    """What the networks of the paper's width are and saw, from their cards, and what so many of them can find."""
    kept = results.read("training/cards")
    cards = {kind: [kept[name] for name in names if name in kept] for kind, names in WIDE.items()}
    told = {"cannot_tell": results.read("flagship/plan")["cannot_tell"], "power": ""}
    told |= {"verdict": verdict(of), "look": look_sentence(), "expected": expected_sentence()}
    if not all(cards.values()):
        return told | {"networks": "Networks of its width are not trained yet."}
    one, config = cards["CRATE"][0], cards["CRATE"][0]["config"]
    counts = [WORDS[len(cards[kind])] for kind in KINDS]
    trainings = "training" if len(cards["CRATE"]) == 1 else "trainings"
    narrow = {kind: [kept[name] for name in FAMILY[kind]] for kind in KINDS}
    top1 = {
        (kind, width): _span([100 * card["held_out"]["top1"] for card in of_width[kind]])
        for width, of_width in (("narrow", narrow), ("wide", cards))
        for kind in KINDS
    }
    networks = (
        f"CRATE is {config['dim']} wide, as the paper's S is, with {config['heads']} heads and {config['depth']} "
        f"layers: {one['parameters'] / 1e6:.1f} million parameters. The ViT has as many heads and layers and "
        f"{cards['ViT'][0]['parameters'] / 1e6:.1f} million. Patches are {config['patch_size']} pixels wide, of which "
        f"a step looks at {one['recipe']['keep_patches']:.0%}; {one['recipe']['epochs']} epochs of the same "
        f"{one['data']['images']:,} thumbnails, by the same optimiser. {counts[0].capitalize()} {trainings} of CRATE "
        f"and {counts[1]} of the ViT name {top1['CRATE', 'wide']} and {top1['ViT', 'wide']} % of the validation "
        f"pictures right, the narrow ones {top1['CRATE', 'narrow']} and {top1['ViT', 'narrow']} %: more than the width "
        "differs."
    )
    tested = [line for line in of if line.p is not None]
    if not tested:
        return told | {"networks": networks}
    n = min(len(tested[0].scores[kind]) for kind in KINDS)
    spreads = [spread_of(line) for line in tested]
    found = [number(smallest_found(spread, n), ".2g") for spread in (min(spreads), max(spreads))]
    return told | {
        "networks": networks,
        "power": (
            f"With the spreads that these lines show, {WORDS[n]} trainings a side find a true difference of "
            f"{' to '.join(found)} points, by the line, four times in five, each tested alone at 5 %."
        ),
    }


# ---- what they look at ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A picture, its outline, and by network the mean map of one layer and its AUROC."""

    title: str
    image: UInt8[Tensor, "3 H W"]
    mask: UInt8[Tensor, "H W"]
    maps: Mapping[str, Float[Tensor, "h w"]]
    scores: Mapping[str, float]


def side_by_side(size: int = 128) -> list[Seen]:
    """The photographs that are outlined and the drawing of the front page, by the narrow pair and by the wide one.

    A network shows the mean map of the layer that its list chose on photographs of VOC's training part.
    """
    drawn = data.load("embedded", "test", n=front_page.shown()["picture"] + 1, seed=1, image_size=size)
    pictures = [(NAMES[name], *outlined(name, size)) for name in OUTLINES]
    thing = drawn.classes[int(drawn.labels[-1])]
    pictures.append((f"a drawn {thing}", drawn.images[-1], drawn.masks[-1]))
    names = {
        f"{kind}, {width}": (f"{folder}/{shown[kind]}", shown[kind])
        for kind in KINDS
        for width, folder, shown in (("narrow", "family", SHOWN), ("wide", "flagship", SHOWN_WIDE))
    }
    layers = {who: results.read(told)["layer"] for who, (told, _) in names.items()}
    networks = {who: load_pretrained(name) for who, (_, name) in names.items()}
    seen = []
    for title, image, mask in pictures:
        maps = {
            who: cls_attention_maps(network, image[None], [layers[who]])[0, 0].mean(0)
            for who, network in networks.items()
        }
        scores = {who: float(map_scores(a[None], mask[None])["auroc"]) for who, a in maps.items()}
        seen.append(Seen(title, image, mask, maps, scores))
    return seen


def side_by_side_figure(seen: Sequence[Seen]) -> Figure:
    """A row a picture: its outline, then a column a network."""
    columns = 1 + len(seen[0].maps)
    side = figures.WIDTH / columns
    fig, axes = plt.subplots(len(seen), columns, figsize=(figures.WIDTH, len(seen) * (side + 0.12) + 0.25))
    for i, (row, one) in enumerate(zip(axes, seen, strict=True)):
        figures.bare(row[0]).imshow(figures.to_pixels(one.image))
        figures.outline(row[0], one.mask)
        row[0].set_title(one.title, fontsize=8, pad=2)
        for ax, (who, attention) in zip(row[1:], one.maps.items(), strict=True):
            figures.bare(ax).imshow(attention.numpy(), cmap=figures.MAP_COLOURS)
            above = f"{who}\n" if i == 0 else ""
            ax.set_title(f"{above}{one.scores[who]:.2f}", fontsize=8, pad=2)
    plt.close(fig)
    return fig


# ---- where the class token reads ------------------------------------------------------------------------------------


def readings(of: Mapping[str, Sequence[str]] = FAMILY) -> dict[str, list[dict[str, Any]]]:
    """What every training loses without reading, by kind; those that were measured."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for name in of[kind]:
            try:
                found[kind].append(results.read(f"reading/{name}_val")["reading"])
            except FileNotFoundError:
                continue
    return found


def lost_in_last(reads: Mapping[str, Sequence[Any]]) -> dict[str, list[float]]:
    """Points of accuracy that are lost if the class token does not read in the last layer, one a training."""
    return {kind: [100 * one["alone"][-1][0] for one in of] for kind, of in reads.items()}


def reading_sentence(reads: Mapping[str, Sequence[Any]]) -> str:
    """Whether the two differ in how much they need their last layer."""
    lost = lost_in_last(reads)
    if not all(lost.values()):
        return "Where the class token reads is not measured yet."
    counts = several([f"{len(lost[kind])} of {_kind(kind)}" for kind in KINDS])
    told = {kind: _span(lost[kind]) for kind in KINDS}
    numbers = (
        f"without reading in its last layer CRATE loses {told['CRATE']} points of accuracy, the ViT {told['ViT']} "
        f"(trainings: {counts})."
    )
    if min(map(len, lost.values())) < 2:
        return f"In one training of each, {numbers}"
    if min(lost["CRATE"]) > max(lost["ViT"]):
        return f"CRATE needs its last layer more than the ViT does: {numbers}"
    if min(lost["ViT"]) > max(lost["CRATE"]):
        return f"The ViT needs its last layer more than CRATE does: {numbers}"
    return f"How much the last layer is needed does not tell the two apart: {numbers}"


def reading_at_width(wide: Mapping[str, Sequence[Any]]) -> str:
    """The same of the networks of the paper's width, beside what they name right at all."""
    if not all(wide.values()):
        return ""
    lost = lost_in_last(wide)
    crate, vit = (
        f"{_span(lost[kind])} of {_span([100 * one['top1'][0] for one in wide[kind]])}" for kind in KINDS
    )
    counts = several([str(len(wide[kind])) for kind in KINDS])
    return f"At the paper's width CRATE loses {crate}, the ViT {vit} ({counts})."


def _span(values: Sequence[float]) -> str:
    low, high = (number(v, ".1f") for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def reading_facts(reads: Mapping[str, Sequence[Any]], wide: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """What the text says of the ablation; every field is words, for a side may not be measured."""
    facts = {"sentence": reading_sentence(reads), "wide": reading_at_width(wide)}
    for kind in KINDS:
        key = kind.lower()
        tops = [100 * one["top1"][0] for one in reads[kind]]
        most = [int(np.argmax([row[0] for row in one["alone"]])) for one in reads[kind]]
        facts[f"{key}_top1"] = f"{_span(tops)} %" if tops else "not measured"
        facts[f"{key}_layer"] = several(sorted({str(layer) for layer in most})) if most else "not measured"
    return facts


# ---- figures --------------------------------------------------------------------------------------------------------


def _colour(kind: str) -> Any:
    return figures.COLOURS[kind.lower()]


def trainings_figure(of: Sequence[Line]) -> Figure:
    """A panel a line: a dot a training, open dots for untrained networks, and the middle as a dashed line."""
    shown = [line for line in of if line.scores]
    columns = 2 if len(shown) <= 4 else 3
    rows = max(1, -(-len(shown) // columns))
    fig, axes = plt.subplots(rows, columns, figsize=(figures.WIDTH, 1.75 * rows), squeeze=False)
    for ax, line in zip(axes.flat, shown, strict=False):
        for y, kind in enumerate(KINDS):
            for values, filled in ((line.scores.get(kind, ()), True), (line.fresh.get(kind, ()), False)):
                for score in values:
                    colour = _colour(kind) if filled else "0.55"
                    ax.plot(
                        100 * score, y, "o", color=colour, mfc=colour if filled else "none", ms=7, alpha=0.85
                    )
        if line.middle is not None:
            ax.axvline(100 * line.middle, color="0.4", lw=1, ls="--", zorder=0)
        ax.set_title(line.said + (" *" if line.state == "looked at" else ""), fontsize=9)
        _bare_rows(ax, KINDS)
    for ax in axes.flat[len(shown) :]:
        ax.set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("score (%)", fontsize=9)
    plt.close(fig)
    return fig


def _bare_rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def gaps_figure(of: Sequence[Line]) -> Figure:
    """CRATE minus ViT, a row a line: all pairs of trainings, and both intervals about their mean."""
    shown = [line for line in of if line.pairs]
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 0.9 + 0.36 * len(shown)))
    for y, line in enumerate(shown):
        ax.plot(
            [100 * v for v in line.pairs], [y + 0.22] * len(line.pairs), "o", color="0.55", ms=4, mfc="none"
        )
        for interval, width, at in ((line.both, 1.2, y - 0.2), (line.gap, 4, y)):
            if interval is not None:
                ax.plot([100 * v for v in interval[1:]], [at, at], color="0.25", lw=width)
        middle = line.gap[0] if line.gap else float(np.mean(line.pairs))
        ax.plot(100 * middle, y, "D", color="0.25", ms=6)
    ax.axvline(0, color="0.5", lw=0.9, ls="--", zorder=0)
    _bare_rows(ax, [line.said + (" *" if line.state == "looked at" else "") for line in shown])
    ax.set_xlabel("CRATE minus ViT (points)")
    plt.close(fig)
    return fig


def reading_figure(reads: Mapping[str, Sequence[Any]]) -> Figure:
    """A column a kind: what is lost without reading in a layer, and how its mean map scores; a line a training."""
    fig, axes = plt.subplots(2, 2, figsize=(figures.WIDTH, 3.6), sharex=True, sharey="row")
    for column, kind in zip(axes.T, KINDS, strict=True):
        for one in reads[kind]:
            lost = [100 * row[0] for row in one["alone"]]
            column[0].plot(range(len(lost)), lost, "o-", color=_colour(kind), ms=4, lw=1.2)
        found = scored(kind, "horses/test")
        for one in found:
            by_layer = one["rules"][RULE]["mean_of_heads"]["by_layer"]
            column[1].plot(
                range(len(by_layer)), [100 * v for v in by_layer], "o-", color=_colour(kind), ms=4, lw=1.2
            )
        column[1].axhline(
            100 * found[0]["rules"][RULE]["baselines"]["centre"][0], color="0.5", lw=0.9, ls="--"
        )
        column[0].axhline(0, color="0.6", lw=0.8)
        column[0].set_title(kind, fontsize=9)
        column[1].set(xlabel="layer", xticks=range(len(by_layer)))
    axes[0, 0].set_ylabel("points lost", fontsize=9)
    axes[1, 0].set_ylabel("mean map,\nAUROC (%)", fontsize=9)
    plt.close(fig)
    return fig
