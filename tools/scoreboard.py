"""Write ``book/scoreboard.md`` from the files under ``results/``: ``python tools/scoreboard.py``.

The paper's numbers stand here, ours never do: they are read from the result files, and a test holds the page against
what this script writes. A row whose result file does not exist shows a dash and stays until it does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

from crate_mini.chapters import chapter_15 as without_labels
from crate_mini.chapters.family import FAMILY, SHOWN
from crate_mini.recipes import get_recipe

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "book" / "scoreboard.md"
RESULTS = ROOT / "results"
NONE = "—"
SETS = {"pets/test": "cats and dogs", "horses/test": "horses"}
SIZE = "128"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def page() -> str:
    """The page as it follows from the results there are."""
    parts = [
        INTRODUCTION,
        _maps(),
        _coarse(),
        _maskcut(),
        _operators(),
        _layers(),
        _transfer(),
        _theorem(),
        _later_operators(),
        _without_labels(),
        _text(),
        _masked(),
        _commands(),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


INTRODUCTION = """
# Scoreboard

Every table and figure of *Emergence of Segmentation with Minimalistic White-Box Transformers* {cite:p}`yu2024emergence`, the paper's number, and ours.

A dash means: not done yet. Such a row stays here until it is filled. **Ours** is never typed: this page is written by `tools/scoreboard.py` from the files under `results/`, each of which names its command, commit, seed, data and device, and a test holds the page against them. All of the family's scores, a row for each network, seed, set and rule: {download}`scores.csv <../results/scores.csv>`.

:::{admonition} Scale
:class: important
The paper pre-trains on ImageNet-21k: 14.2 million images, 90 epochs, and scores on PASCAL VOC and COCO. Ours are trained on the 100,000 thumbnails of 64 pixels and the 200 classes of Tiny-ImageNet: networks of the paper's width, of five million parameters, and many of a million. Those of Table 2 have one to four million and saw 12,500 thumbnails in 25 classes. So the number to compare ours with is not the paper's but the others in the same column: the ViT, the untrained networks, and the map that knows only where the middle is.
:::
"""

# results whose command stands for that of all of their kind: folder, what of a file's name is another's, the rest
TOLD = (
    ("reading", "crate_mini_all_lion_s0", "val"),
    ("heads", "crate_mini_animals_s0", "pets_test"),
    ("layerwise", "crate_mini_all_lion_s0", "val"),
)


def _commands() -> str:
    """How each kind of result was made: the commands are those that the files name."""
    rows = [
        ["the networks", "`recipes/animals.sh`, `recipes/all_classes.sh`, `recipes/flagship.sh`"],
        [
            "`results/masks/`",
            "`python tools/score_masks.py`; `variants.json`: `python tools/score_variants.py`",
        ],
    ]
    for folder, network, rest in TOLD:
        path = RESULTS / folder / f"{network}_{rest}.json"
        command = json.loads(path.read_text(encoding="utf-8"))["command"] if path.is_file() else None
        command = command and command.replace(network, "NAME").replace("__main__.py", "crate-mini")
        rows.append([f"`results/{folder}/`", f"`{command}`" if command else NONE])
    rows += [
        [
            "`results/maskcut/`",
            "`python tools/score_maskcut.py`, `python tools/score_maskcut.py --ablations`",
        ],
        ["`results/family/`", "`python tools/score_family.py`, by the list in `plan.json`"],
        [
            "`results/flagship/`",
            "`python tools/score_family.py --list results/flagship`, by the list in `plan.json`",
        ],
        [
            "`results/square/`",
            "`python tools/score_family.py --list results/square`, by the list in `plan.json`",
        ],
        ["`results/floors/`", "`python tools/floors.py`"],
        ["`results/denoising/`", "`python tools/theorem.py`"],
        [
            "`results/views/`",
            "`python tools/score_views.py`, `python tools/score_views.py --animals`, "
            "`python tools/score_family.py --list results/views/photographs`",
        ],
        ["`results/text/`", "`python tools/score_text.py`, `python tools/induction.py`"],
        ["`results/sound/`", "`python tools/score_sound.py`; `play.json`: with `--play`"],
        ["`results/masked/`", "`python tools/score_masked.py`"],
        ["`results/scores.csv`", "`python tools/score_table.py`, from the files of the family"],
        ["`results/transfer/`", "`crate-mini train --sweep three_in_four`, `python tools/score_transfer.py`"],
        ["`results/names/`", "`python tools/name_heads.py`"],
        ["`results/clicks/`", "`python tools/score_clicks.py`"],
        ["`results/acting/`", "`python tools/score_acting.py heads`, `python tools/score_acting.py atoms`"],
        [
            "`results/training/`",
            "log and card of `crate-mini train`, put there by `python tools/ship_weights.py runs/NAME NAME`",
        ],
        [
            "`results/archive.json`",
            "numbers of the first edition, which no page reads; each of its files names its own command",
        ],
        ["this page", "`python tools/scoreboard.py`"],
    ]
    told = """A command refuses to write a result while code is changed that no commit holds, unless it is told `--dirty`.
The files ship with the package: `crate_mini.results.read("masks/comparisons")` finds them where there is no clone, too."""
    return f"## Commands\n\n{table(['results', 'command'], rows)}\n\n{told}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A Markdown table; columns named in ``numbers`` are set to the right."""
    rule = ["---:" if i in numbers else "---" for i in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))


def chapter(name: str, title: str) -> str:
    """A link to a chapter."""
    return f"[{title}](../notebooks/{name}.ipynb)"


SEEN = chapter("00_what_you_will_see", "What you will see")
EMERGES = chapter("08_segmentation_emerges", "Does segmentation emerge?")
SCORING = chapter("09_scoring", "What is a score worth?")
BETTER = chapter("09b_is_crate_better", "Is CRATE better?")
CUT = chapter("10_maskcut", "Objects without labels")
WHY = chapter("11_emergence", "What makes it emerge")
HEADS = chapter("12_heads", "What does a head mean?")
OPERATORS = chapter("14_operators", "New operators by name")
DENOISE = chapter("13_denoising", "When does attention denoise?")
VIEWS = chapter("15_rate_as_loss", "The coding rate as a loss")
TEXT = chapter("16_text", "Text: a causal CRATE on characters")
MASKED = chapter("18_masked_autoencoding", "Masked autoencoding")


def result(name: str) -> dict | None:
    """A file of the results; None where it has not been made."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def masks(name: str, where: str) -> dict | None:
    """Scores of a network on a set, by rule; None if it was not scored."""
    path = RESULTS / "masks" / f"{name}.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))["scores"].get(where, {}).get(SIZE)
    return None if found is None else found["rules"]


def percent(values: Sequence[float] | None) -> str:
    """A mean with its interval, in per cent."""
    if values is None:
        return NONE
    mean, low, high = (100 * v for v in values)
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def best_of_last(name: str, rule: str) -> list[str]:
    """The score of the last layer's best head for each image, as the paper takes it."""
    found = [masks(name, where) for where in SETS]
    return [percent(None if f is None else f[rule]["last_layer"]["score"]) for f in found]


def mean_of_last(name: str, rule: str) -> list[str]:
    """The score of the mean of the last layer's maps: no head is chosen."""
    found = [masks(name, where) for where in SETS]
    return [percent(None if f is None else f[rule]["mean_of_heads"]["last"]) for f in found]


def _maps() -> str:
    scale = "1.0 M parameters, 100,000 thumbnails of 64 px, 200 classes"
    rows = [
        ["Figure 1", "one head per image outlines the object; supervised CRATE, patch 8",
         "all heads, on drawings and photographs", scale, SEEN],
        ["Figure 2", "how a map is made: image, tokens, class token, head", "by hand, in four lines of code", "the same", EMERGES],
        ["Figure 7", "four heads stand for legs, body, face, ear (0, 1, 3, 4 of CRATE-B; chosen by hand)",
         "all heads against true parts, with controls", "0.14 M parameters, drawn animals", HEADS],
        ["Figure 8", "supervised CRATE-S/8 beside self-supervised DINO ViT-S/8",
         "both, and the two cells that it lacks, in numbers", "0.13 M parameters, drawn animals", VIEWS],
        ["Figures 11, 12", "maps under Gaussian noise on the pixels", "the same noise, as pictures and in numbers", scale, EMERGES],
        ["Figure 13", "maps of the variants: MSSA or MHSA, ISTA, soft threshold or MLP",
         "the four of MSSA or MHSA and ISTA or MLP", "0.9 to 3.6 M parameters", WHY],
        ["Figure 14", "maps on COCO, CRATE beside ViT", "CRATE beside ViT, on drawings and photographs, not on COCO", scale, EMERGES],
    ]  # fmt: skip
    head = ["in the paper", "what it shows", "ours", "scale", "page"]
    return "## Attention maps of the class token\n\n" + table(head, rows)


COARSE = {
    "CRATE-S/8": 23.9, "CRATE-B/8": 23.6, "ViT-S/8, supervised": 14.1,
    "ViT-B/8, supervised": 19.2, "ViT-S/8, DINO": 27.0, "ViT-B/8, DINO": 27.3,
}  # fmt: skip
"""The paper's mean IoU on VOC, in per cent."""


def _coarse() -> str:
    rows = [[name, f"{number:.1f}", NONE] for name, number in COARSE.items()]
    wide, narrow = _family_rows(("voc_paper",), "flagship"), _family_rows(("voc_paper",))
    ours = {label: cells for label, cells in wide.items() if label not in narrow} | narrow
    rows += [[f"{label}, ours", NONE, cells[0]] for label, cells in ours.items()]
    return f"""## Coarse segmentation: Figure 4b

PASCAL VOC 2012 val, mean IoU in per cent. For each object the best head of the last layer; the mask is the top 60 % of the *patches*, as the paper's appendix says: `crate-mini evaluate segmentation --data voc2012 --objects parts`. The paper scores 1,449 images; ours are {_seen_by("voc_paper")} of them, and a mean over trainings has the lowest and the highest beside it. The paper's rows have no number of ours: no weights of that scale are shipped.

{table(["model", "paper: VOC", "ours: VOC"], rows, (1, 2))}

{_floors()}

{_final()}

{_looked_at()}"""


def final_scores(folder: str = "family") -> dict[str, list[dict]]:
    """What was scored by a list that was written before (``tools/score_family.py``), by kind of network."""
    found: dict[str, list[dict]] = {}
    for path in sorted((RESULTS / folder).glob("*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if "scores" in kept and "network" in kept:
            found.setdefault(kept["kind"], []).append(kept)
    return {kind: found[kind] for kind in sorted(found, key=lambda kind: ("untrained" in kind, kind))}


def spread(values: Sequence[float]) -> str:
    """The mean over trainings, the lowest and the highest, in per cent."""
    low, mean, high = (100 * v for v in (min(values), sum(values) / len(values), max(values)))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})" if len(values) > 1 else f"{mean:.1f}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _mean_of(n: int) -> str:
    return f"mean of {n} trainings" if n > 1 else "1 training"


def _family_rows(scores: Sequence[str], folder: str = "family") -> dict[str, list[str]]:
    """By kind of network a cell for every score, and what saw no network last."""
    found = final_scores(folder)
    rows = {
        f"{kind}{WIDTH[folder]} ({_count(len(trained), 'draw' if 'untrained' in kind else 'training')})": [
            spread([_first(one["scores"][key]["score"]) for one in trained]) for key in scores
        ]
        for kind, trained in found.items()
    }
    if found:
        (one, *_), *_ = found.values()
        beside = [one["scores"][key] for key in scores]
        rows["*a map that is brighter in the middle*"] = [
            percent(of["centre"]) if "centre" in of else NONE for of in beside
        ]
    return rows


def _seen_by(score: str) -> str:
    for one, *_ in final_scores().values():
        return f"{one['scores'][score]['images']:,}"
    return NONE


WIDTH = {"family": "", "flagship": ", width 384"}
"""What a row says of its networks beside their kind, by the folder of results."""
FINAL = {
    "voc_paper": "VOC, paper's rule",
    "voc_auroc": "VOC, AUROC",
    "voc_auroc_smooth": "VOC, AUROC, maps enlarged",
    "voc_auroc_shifts": "VOC, AUROC, maps enlarged, 2 × 2 shifts",
    "coco_auroc": "COCO, AUROC by object",
    "coco_maskcut": "COCO, MaskCut's boxes, AP50",
}
PLANNED = {"pets_paper": "cats and dogs, paper's rule", "horses_paper": "horses, paper's rule"}
"""What the list of the wide networks asks besides."""


def _compared(folder: str, look: str = "comparisons") -> list[list[str]]:
    """The comparisons of a list, as rows: the last ones, or those of its ``first_look``."""
    path = RESULTS / folder / f"{look}.json"
    lines = []
    if path.is_file():
        for line in json.loads(path.read_text(encoding="utf-8"))["comparisons"]:
            told = [(FINAL | PLANNED)[line["score"]], " and ".join(map(str, line["trainings"]))]
            if "p" in line:
                difference = [100 * v for v in line["over_trainings"]]
                told.append(f"{difference[0]:+.1f} ({difference[1]:+.1f} to {difference[2]:+.1f})")
                told += [f"{line['p']:.2g}", "yes" if line["differs"] else "no"]
            else:
                told += [NONE, NONE, line["waits"]]
            lines.append(told)
    return lines or [[NONE] * 5]


def _looks(head: Sequence[str]) -> str:
    """The comparisons of the wide networks, with those of the first look beside them where there was a second."""
    now = table(head, _compared("flagship"), (1, 2, 3))
    if not (RESULTS / "flagship" / "first_look.json").is_file():
        return f"The six comparisons, at {_level('comparisons')} % by Holm's rule for six:\n\n{now}"
    first = table(head, _compared("flagship", "first_look"), (1, 2, 3))
    return f"""The six comparisons were looked at twice. First, at {_level("first_look")} % by Holm's rule for six:

{first}

A third training of each was a second look at the same six. It was written down before it was scored, with its level, {_level("comparisons")} %, and is the last:

{now}"""


def _level(look: str) -> str:
    """What the comparisons of the wide networks are held against, all together, in per cent."""
    return f"{100 * (result(f'flagship/{look}') or {}).get('level', 0.05):g}"


def _added() -> str:
    """Of a kind that no comparison names, how it came onto the list; empty while none is scored."""
    if "CRATE-MHSA" not in final_scores("flagship"):
        return ""
    return (
        " CRATE-MHSA, which is CRATE with the attention of the ViT, came onto the list while it trained: it is scored "
        "by the same rules, and no comparison names it. CRATE-MLP and the ViT of CRATE's width are not trained at this "
        "width: one training of each, three hours of a core, would say nothing of a kind, as the square of operators "
        f"below shows with three of each ({WHY}). `recipes/flagship.sh` trains them."
    )


def _named() -> str:
    """What the wide networks that were scored name right, as a sentence, from their cards."""
    path = RESULTS / "training" / "cards.json"
    cards = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    told = []
    for kind, of in final_scores("flagship").items():
        top1 = [100 * cards[one["network"]]["held_out"]["top1"] for one in of if one["network"] in cards]
        told += [f"{kind} {', '.join(f'{value:.1f}' for value in top1)}"] if top1 else []
    return f" Of the validation pictures they name right, in per cent: {'; '.join(told)}." if told else ""


def _expected(folder: str) -> list[list[str]]:
    """What a list expects of the last layer's mean map: where it was seen, and what came, as rows."""
    path = RESULTS / folder / "comparisons.json"
    kept = json.loads(path.read_text(encoding="utf-8")).get("predictions", []) if path.is_file() else []
    found = final_scores(folder)
    rows = []
    for line in kept:
        cells = [FINAL[line["score"]]]
        for kind in (line["a"], line["b"]):
            later = line["last_layer"][kind]
            last = {
                one["network"]: one["scores"][line["score"]]["mean_map_by_layer"][-1] for one in found[kind]
            }
            for asked in (False, True):
                values = [100 * value for name, value in last.items() if (name in later) == asked]
                cells.append(", ".join(f"{value:.1f}" for value in values) or NONE)
        rows.append([*cells, {True: "yes", False: "no"}.get(line.get("holds"), NONE)])
    return rows or [[NONE] * 6]


def _final() -> str:
    """The scores of the lists that were written before, and their comparisons."""
    rows = [[label, *cells] for label, cells in _family_rows(tuple(FINAL)).items()]
    asked = FINAL | PLANNED
    wide = [[label, *cells] for label, cells in _family_rows(tuple(asked), "flagship").items()]
    compared = ["score", "trainings", "CRATE minus ViT", "p", "differs"]
    sides = [f"{kind}, {when}" for kind in ("CRATE", "ViT") for when in ("first", "later")]
    expected = ["mean map of the last layer", *sides, "came"]
    return f"""### Ours, on sets that nobody tuned on

What is scored here, and what is compared, was written down before any of these networks met these images (`results/family/plan.json`). VOC val is here {_seen_by("voc_auroc")} of 1,449 images, COCO val2017 {_seen_by("coco_auroc")} of 5,000: small parts, that cannot show small differences. In per cent, the mean over trainings and from the lowest to the highest; [Is CRATE better?](../notebooks/09b_is_crate_better.ipynb) reads them.

{table(["ours, 200 classes", *FINAL.values()], rows or [[NONE] * (1 + len(FINAL))], range(1, 1 + len(FINAL)))}

The four comparisons: CRATE minus ViT in points, with its 95 % interval over trainings; and whether it differs at 5 % by Holm's rule for four.

{table(compared, _compared("family"), (1, 2, 3))}

### Ours, at the paper's width

CRATE of width 384 with six heads and twelve layers, as the paper's S, and the ViT of as many parameters and heads, on the same thumbnails with patches of 4 pixels: `crate-mini train --sweep flagship`. Their own list was written before they were scored (`results/flagship/plan.json`). Cats and dogs and horses are on it because the networks of a million parameters were looked at there, and what was seen can be tested on new trainings alone.{_added()}{_named()}

{table(["ours, 200 classes", *asked.values()], wide or [[NONE] * (1 + len(asked))], range(1, 1 + len(asked)))}

{_looks(compared)}

In the first training of each the mean map of the *last* layer was higher in CRATE. That was seen, so it is no result; it went on the list before later trainings were scored, and only they are asked whether every one of CRATE is above every one of the ViT:

{table(expected, _expected("flagship"), (1, 2, 3, 4))}"""


def _looked_at() -> str:
    """Sets on which recipe and heads were chosen, of the family's trainings."""
    shown = {label: [name for name in names if masks(name, "pets/test")] for label, names in FAMILY.items()}
    shown["CRATE, untrained"] = [name for name in ("crate_mini_untrained",) if masks(name, "pets/test")]
    kinds = {
        "paper's rule, last layer, best head": lambda f: f["patch"]["last_layer"]["score"],
        "AUROC, last layer, mean of heads": lambda f: f["auroc"]["mean_of_heads"]["last"],
        "AUROC, one head of any layer": lambda f: f["auroc"]["fixed"]["score"],
        "best IoU, one head of any layer": lambda f: f["best_iou"]["fixed"]["score"],
    }
    rows = []
    for label, names in shown.items():
        cells = [
            spread([_first(of(masks(name, where))) for name in names]) if names else NONE
            for of in kinds.values()
            for where in SETS
        ]
        rows.append([label, str(len(names)) if names else NONE, *cells])
    centre = [masks(SHOWN["CRATE"], where) for where in SETS]
    rows.append(
        ["*a map that is brighter in the middle*", NONE]
        + [
            percent(None if c is None else c[rule]["baselines"]["centre"])
            for rule in ("patch", "auroc", "auroc", "best_iou")
            for c in centre
        ]
    )
    head = ["ours, 200 classes", "trainings"]
    head += [f"{what}, {place}" for what in kinds for place in SETS.values()]
    return f"""### Ours, on sets that were looked at

Recipe, optimiser and classes were chosen while looking at these photographs of cats and dogs and of horses: they describe the networks and cannot decide between them. In per cent, the mean over trainings and from the lowest to the highest; one head is chosen on other photographs of cats and dogs.

{table(head, rows, range(1, 2 + len(kinds) * len(SETS)))}"""


def floors(name: str) -> dict | None:
    """What scored without an image; None if nothing did."""
    return result(f"floors/{name}")


def _floors() -> str:
    """The rule for masks, by reading: what never saw an image, and what nothing can exceed."""
    shown = {
        "disc": "centred ellipse", "random": "random mask", "best of 6 random": "best of 6 random masks",
        "best of 12 random": "best of 12", "everything": "everything", "ceiling": "highest possible",
    }  # fmt: skip
    found = floors("voc2012")
    readings = [row for row in found["readings"] if row["truth"] == "patch"] if found else []
    lines = [
        [
            ("cropped" if row["crop"] else "whole")
            + (", background too" if row["background"] else ", objects"),
            f"over {row['over']}",
            *(percent(row["scores"][name]) for name in shown),
        ]
        for row in readings
    ]
    head = ["image, classes", "mean", *shown.values()]
    text = f"""### What the rule gives away

Before any network is run much of this is settled, for a mask of this rule covers 60 % of the image, whatever it shows. Scored like the heads of a network, on the class masks of all official val images ({f"{found['masks']:,}" if found else NONE}), in per cent with the 95 % interval over images; the first row is the rule as it is written:

{table(head, lines or [[NONE] * len(head)], range(2, len(head)))}

The paper does not say whether an image is cropped to its centre square or squeezed into one, nor whether background counts as a class, and a mean over classes is as usual as one over images: hence eight rows."""
    if not found:
        return text

    def above(model: str, name: str) -> str:
        count = sum(COARSE[model] > round(100 * row["scores"][name][0], 1) for row in readings)
        return f"{count or 'none'} of the {len(readings)} readings"

    def span(name: str) -> str:
        values = [100 * row["scores"][name][0] for row in readings]
        return f"{min(values):.0f} to {max(values):.0f}"

    pixels = {tuple(row[k] for k in ("crop", "background", "over")): row for row in found["readings"]}
    change = max(
        abs(100 * (value[0] - pixels[row["crop"], row["background"], row["over"]]["scores"][name][0]))
        for row in readings
        for name, value in row["scores"].items()
    )
    return f"""{text} (True masks have one value a patch here; with one a pixel no number changes by more than {change:.1f}.)

So the scale ends, by the reading, at {span("ceiling")}, not at 100, and {span("disc")} are given to whoever aims at the middle. What the rule shows: the six heads of the supervised ViT-S/8 ({COARSE["ViT-S/8, supervised"]}) beat the best of six random masks in {above("ViT-S/8, supervised", "best of 6 random")}, those of CRATE-S/8 ({COARSE["CRATE-S/8"]}) in {above("CRATE-S/8", "best of 6 random")}. What it can hardly show: whether a network finds objects or looks at the middle. CRATE-S/8 beats the ellipse in {above("CRATE-S/8", "disc")}, DINO's ViT-S/8 ({COARSE["ViT-S/8, DINO"]:.1f}) in {above("ViT-S/8, DINO", "disc")}, and both take the best of six heads for every class, where the ellipse is one mask for all images."""


def _boxes() -> str:
    """MaskCut's score of boxes that are the same in every image."""
    found = floors("coco")
    kinds = ("AP50", "AP75", "AP")
    lines = [
        [name, *(percent(row[kind]) for kind in kinds)]
        for name, row in (found or {"boxes": {}})["boxes"].items()
    ]
    part = f"{found['images']:,} of its 5,000 images, {found['objects']:,} objects" if found else NONE
    return f"""Boxes that saw no image, the same in every one, score on this scale, too ({part}; with the 95 % interval over images):

{table(["boxes, about the centre", *kinds], lines or [[NONE] * 4], (1, 2, 3))}"""


LAST = "7"  # the last layer of every network that MaskCut is scored for here


def _cut(name: str, where: str = "pets") -> dict | None:
    """MaskCut's result of a network's last layer on photographs with one object each."""
    path = RESULTS / "maskcut" / f"{name}_{where}_test.json"
    return json.loads(path.read_text(encoding="utf-8"))["by_layer"].get(LAST) if path.is_file() else None


def _first(value: float | Sequence[float]) -> float:
    return value[0] if isinstance(value, list | tuple) else value


def _three(result: dict | None, kind: str) -> str:
    if result is None:
        return NONE
    return " / ".join(f"{100 * _first(result[kind][name]):.1f}" for name in ("AP50", "AP75", "AP"))


def _maskcut() -> str:
    paper = [
        ("CRATE-S/8", "2.9 / 1.0 / 1.1", "1.8 / 0.7 / 0.8"),
        ("CRATE-B/8", "2.9 / 1.0 / 1.3", "2.2 / 0.7 / 1.0"),
        ("ViT-S/8, supervised", "0.1 / 0.1 / 0.0", "0.0 / 0.0 / 0.0"),
        ("ViT-B/8, supervised", "0.8 / 0.2 / 0.4", "0.7 / 0.5 / 0.4"),
        ("ViT-S/8, DINO", "5.0 / 2.0 / 2.4", "4.0 / 1.3 / 1.7"),
        ("ViT-B/8, DINO", "5.1 / 2.3 / 2.5", "4.1 / 1.3 / 1.8"),
    ]
    head = [
        "model",
        "paper: boxes, AP50 / AP75 / AP",
        "paper: masks, AP50 / AP75 / AP",
        "ours: boxes",
        "ours: masks",
    ]
    rows = [[*row, NONE, NONE] for row in paper]
    for folder in ("flagship", "family"):
        for kind, trained in final_scores(folder).items():
            if "untrained" not in kind:
                cells = [
                    " / ".join(_over(trained, of, name) for name in ("AP50", "AP75", "AP"))
                    for of in ("box", "mask")
                ]
                label = f"{kind}{WIDTH[folder]}, ours ({_mean_of(len(trained))})"
                rows.append([label, NONE, NONE, *cells])
    ours = [
        [
            label,
            str(len(found)) if found else NONE,
            *(spread([_first(cut[of][name]) for cut in found]) if found else NONE for of, name in columns),
        ]
        for label, names in FAMILY.items()
        for columns in [(("box", "AP50"), ("box", "AP"), ("mask", "AP50"), ("mask", "AP"))]
        for found in [[cut for cut in map(_cut, names) if cut]]
    ]
    return f"""## Objects discovered by MaskCut: Figure 5 and Table 1

COCO val2017, three masks per image, $\\tau = 0.15$, no conditional random field, features of the last layer. Average precision, class-agnostic, in per cent; ours on {_seen_by("coco_maskcut")} of the 5,000 images, 30 × 30 patches.

{table(head, rows)}

{_boxes()}

Ours, on cats and dogs, one object an image, of the last layer ({CUT}); these photographs were looked at. With one large object in the middle of every image these numbers are higher by far and say less: the whole image and a centred disc stand beside them in the chapter.

{table(["model", "trainings", "boxes, AP50", "boxes, AP", "masks, AP50", "masks, AP"], ours, range(1, 6))}"""


def _over(trained: Sequence[dict], of: str, name: str) -> str:
    """The mean of one number of MaskCut over trainings, in per cent."""
    return f"{100 * mean(_first(one['scores']['coco_maskcut']['all'][of][name]) for one in trained):.1f}"


def _operators() -> str:
    cells = [
        ("MSSA", "ISTA", "2.1 / 0.7 / 0.8", "23.9", "crate_mini_animals_s0"),
        ("MSSA", "MLP", "0.2 / 0.2 / 0.2", "22.0", "crate_mlp_mini_animals_s0"),
        ("MHSA", "ISTA", "0.1 / 0.1 / 0.0", "18.4", "crate_mhsa_mini_animals_s0"),
        ("MHSA", "MLP", "0.1 / 0.1 / 0.0", "14.1", "vit_wide_mini_animals_s0"),
    ]
    rows = [
        [
            attention,
            second,
            boxes,
            _three(_cut(name), "box"),
            voc,
            *best_of_last(name, "patch"),
            *mean_of_last(name, "auroc"),
        ]
        for attention, second, boxes, voc, name in cells
    ]
    head = [
        "attention", "second operator", "paper: boxes, AP50 / AP75 / AP",
        "ours: boxes, cats and dogs", "paper: VOC", *(f"ours: paper's rule, {place}" for place in SETS.values()),
        *(f"ours: AUROC, mean of heads, {place}" for place in SETS.values()),
    ]  # fmt: skip
    return f"""## What makes it emerge: Table 2

Size S/8 in the paper. Boxes of MaskCut on COCO; mean IoU on VOC as above. The first row disagrees with Table 1 for the same model; both are the paper's. Ours: boxes and maps of the last layer; seed 0, width 192, depth 8, 25 classes; {WHY} has the other seeds.

{table(head, rows, (4,))}

{_square()}"""


def _square() -> str:
    """The same four over several trainings, on sets on which none of them had been scored; and the list's contrasts."""
    found = result("square/comparisons")
    if found is None:
        return f"Several trainings of each, on VOC and COCO: {NONE}"
    sets = {"voc_auroc": "VOC", "coco_auroc": "COCO, by object"}
    files = {name: result(f"square/{name}")["scores"] for names in found["seeds"].values() for name in names}
    rows = [
        [
            kind,
            str(len(names)),
            *(_least_mean_most([files[name][key]["score"][0] for name in names]) for key in sets),
        ]
        for kind, names in found["seeds"].items()
    ]
    one = next(iter(files.values()))
    rows.append(["a bell in the middle", "", *(f"{100 * one[key]['centre'][0]:.1f}" for key in sets)])
    lines = {(line["of"], line["score"]): line for line in found["comparisons"]}
    worth = []
    for of in dict.fromkeys(line["of"] for line in found["comparisons"]):
        row = [of]
        for key in sets:
            value, low, high = (100 * v for v in lines[of, key]["over_trainings_and_images"])
            row += [f"{value:+.1f} ({low:+.1f} to {high:+.1f})", f"{lines[of, key]['p']:.3f}"]
            row.append("differs" if lines[of, key]["differs"] else "open")
        worth.append(row)
    images = [one[key]["images"] for key in sets]
    head = [
        "worth of",
        *(word for title in sets.values() for word in (f"AUROC, {title}", "p", "by the list")),
    ]
    return f"""**Several trainings of each, on VOC ({images[0]} images) and COCO ({images[1]}), small parts of both.** AUROC of the last layer's mean map, mean over trainings (least to most). What is tested was written down before any of these networks was scored on either set (`results/square/plan.json`): the worth of each operator over trainings, Welch's t, Holm's rule for six tests at 5 %. In brackets 95 % over new trainings and new images.

{table(["network", "trainings", *sets.values()], rows, (1,))}

{table(head, worth, (2, 5))}"""


def _least_mean_most(values: Sequence[float]) -> str:
    return f"{100 * mean(values):.1f} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def _layers() -> str:
    depth = [
        f"{d}: {_auroc(name)}"
        for d, name in [
            (2, "crate_mini_depth2_animals_s0"), (4, "crate_mini_depth4_animals_s0"),
            (6, "crate_mini_depth6_animals_s0"), (8, "crate_mini_animals_s0"),
        ]
    ]  # fmt: skip
    time = [
        f"{share}: {_auroc(name)}"
        for share, name in [
            ("untrained", "crate_mini_untrained"), ("2 %", "crate_mini_animals_s0_at02"),
            ("5 %", "crate_mini_animals_s0_at05"), ("20 %", "crate_mini_animals_s0_at20"),
            ("50 %", "crate_mini_animals_s0_at50"), ("100 %", "crate_mini_animals_s0"),
        ]
    ]  # fmt: skip
    cuts = "; ".join(
        f"{share}: {100 * _first(cut['box']['AP50']):.1f}"
        for share, name in [
            ("untrained", "crate_mini_animals_untrained"), ("2 %", "crate_mini_animals_s0_at02"),
            ("20 %", "crate_mini_animals_s0_at20"), ("50 %", "crate_mini_animals_s0_at50"),
            ("100 %", "crate_mini_animals_s0"),
        ]
        if (cut := _cut(name))
    )  # fmt: skip
    rows = [
        ["Figure 3", "principal components of the tokens, foreground in colour", "photographs and drawings", EMERGES],
        ["Figure 6, left", "MaskCut's mask AP rises from layer 7 to layer 12, CRATE-B/8 far above ViT-B/8",
         _cut_by_layer() + "By number of layers, AUROC of the last one's mean map on cats and dogs: "
         + "; ".join(depth), WHY],
        ["Figure 6, right; Figure 9", "principal components layer by layer, CRATE-B/8", "layer by layer, CRATE and ViT, in the viewer", EMERGES],
        ["Figure 10", "box AP and components over training, epochs 2 to 90",
         _cut_on_the_way() + "AUROC of the last layer's mean map on cats and dogs, by share of the training: " + "; ".join(time)
         + f". AP50 of MaskCut's boxes there: {cuts}", WHY],
    ]  # fmt: skip
    return "## Layers, epochs and tokens\n\n" + table(["in the paper", "what it shows", "ours", "page"], rows)


def _cut_by_layer() -> str:
    """MaskCut on COCO at the last layers of the wide networks, as in the paper's Figure 6."""
    told = []
    for kind, trained in final_scores("flagship").items():
        if "untrained" not in kind:
            layers = [one["scores"]["coco_maskcut"]["by_layer"] for one in trained]
            values = [
                f"{int(layer) + 1}: {100 * mean(_first(of[layer]['mask']['AP']) for of in layers):.1f}"
                for layer in sorted(layers[0], key=int)
            ]
            told.append(f"{kind} {'; '.join(values)} ({_mean_of(len(trained))})")
    if not told:
        return ""
    return f"MaskCut's mask AP on COCO at width 384, by layer, counted from 1: {', '.join(told)}. "


def _cut_on_the_way() -> str:
    """MaskCut on COCO along the trainings of the wide networks, as in the paper's Figure 10."""
    path = RESULTS / "flagship" / "on_the_way.json"
    if not path.is_file():
        return ""
    before, told = json.loads(path.read_text(encoding="utf-8"))["trainings"], []
    for kind, trained in final_scores("flagship").items():
        kept = [before[one["network"]] for one in trained if one["network"] in before]
        if kept:
            ends = [one["scores"] for one in trained if one["network"] in before]
            stops = [(f"{share} %", [of[share] for of in kept]) for share in kept[0]] + [("100 %", ends)]
            values = [
                f"{said}: {100 * mean(_first(of['coco_maskcut']['all']['box']['AP']) for of in scores):.1f}"
                for said, scores in stops
            ]
            told.append(f"{kind} {'; '.join(values)} ({_mean_of(len(kept))})")
    return f"MaskCut's box AP on COCO at width 384, by share of the training: {', '.join(told)}. "


def _theorem() -> str:
    """What a later paper proves of attention alone, and what became of it."""
    claim = "every layer multiplies the signal-to-noise ratio by the same factor, $1 + \\eta\\tau$"
    path = RESULTS / "denoising" / "theorem.json"
    rows = [[claim, NONE, NONE, DENOISE]]
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = []
        for row in found["rows"]:
            grow, kept = row["grow"], row["kept"]
            held, start, top, end, rate, last = (
                sum(values) / len(values)
                for values in (grow["layers_on_the_rate"], grow["start"], grow["highest"], grow["end"],
                               kept["rate_over_all"], kept["end"])
            )  # fmt: skip
            rows.append([
                claim, f"{found['rate']:.2f}",
                f"δ = {row['delta']}: for {held:.2g} of {found['setting']['depth']} layers, "
                f"{start:.1f} to {top:.1f}, then down to {end:.2f}; "
                f"rescaled {rate:.2f} a layer, to {last:,.{0 if last > 99 else 2}f}",
                DENOISE,
            ])  # fmt: skip
    told = """The attention-only transformer's theorem {cite:p}`wang2025attention`, run on drawn tokens without training; means over draws. `python tools/theorem.py` with other sizes makes the table of other sizes."""
    return (
        "## Beyond the paper: attention alone\n\n"
        + told
        + "\n\n"
        + table(["claim", "factor", "ours", "page"], rows)
    )


def _arms(before: str, after: str) -> str:
    """Mean top-1 of the trainings of two arms of the sweep ``operators``."""
    path = RESULTS / "training" / "operators.json"
    if not path.is_file():
        return NONE
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    sides = [
        [100 * run["top1"] for name, run in runs.items() if name[: -len("_s0")] == f"operators_{arm}"]
        for arm in (before, after)
    ]
    return " to ".join(f"{mean(side):.1f}" for side in sides) + f" ({len(sides[0])} trainings each)"


def _without_labels() -> str:
    """What is reported of networks trained without labels, and what became of it, on photographs and on drawings."""
    path = RESULTS / "views" / "scores.json"
    found = json.loads(path.read_text(encoding="utf-8"))["networks"] if path.is_file() else []
    there = (RESULTS / "views" / "photographs" / "comparisons.json").is_file()
    photographs = without_labels.photographs() if there else {}

    def ours(task: str, model: str, what: Callable[[dict], float]) -> str:
        """A number for each training on drawings, in per cent."""
        kept = [r for r in found if (r["task"], r["model"], r["varied"]) == (task, model, "")]
        return ", ".join(f"{100 * what(r):.1f}" for r in kept) or NONE

    def shown(kind: str, *measures: str) -> str:
        """A number for each training on photographs, in per cent, measures one after the other."""
        values = [photographs.get(kind, {}).get(measure, ()) for measure in measures]
        return " / ".join(", ".join(f"{100 * v:.1f}" for v in each) or NONE for each in values)

    def row(claim: str, paper: str, kind: str, *measures: str) -> list[str]:
        return [claim, paper, shown(kind, *measures), VIEWS]

    top1, wide = ("knn", "probe"), "CRATE, labels of 200 classes"
    reported = [
        row("SimDINO, ViT-B/16, 100 epochs of ImageNet-1K: neighbours / probe", "74.9 / 77.3", "ViT, SimDINO", *top1),
        row("DINO, ViT-B/16, 100 epochs of ImageNet-1K: neighbours / probe", "72.9 / 76.3", "ViT, DINO", *top1),
        row("Figure 4b, VOC, 60 % of patches: CRATE-S/8 with labels; ours: of 200 classes", "23.9", wide, "voc_paper"),
        row("the same; ours: of 25 classes", "23.9", "CRATE, labels", "voc_paper"),
        row("the same: ViT-S/8 with labels; ours: of 25 classes", "14.1", "ViT, labels", "voc_paper"),
        row("the same: ViT-S/8 by DINO", "27.0", "ViT, DINO", "voc_paper"),
        row("the same: CRATE by DINO", NONE, "CRATE, DINO", "voc_paper"),
        row("the same: ViT by SimDINO", NONE, "ViT, SimDINO", "voc_paper"),
        row("the same: CRATE by SimDINO", NONE, "CRATE, SimDINO", "voc_paper"),
        row("the same: untrained, CRATE", NONE, "CRATE, untrained", "voc_paper"),
        row("the same: a bell in the middle", NONE, "the middle", "voc_paper"),
        row("Table 1, COCO, MaskCut's boxes, AP50: CRATE-S/8 with labels; ours: of 200 classes", "2.9", wide, "coco_maskcut"),
        row("the same: ViT-S/8 with labels; ours: of 25 classes", "0.1", "ViT, labels", "coco_maskcut"),
        row("the same: ViT-S/8 by DINO", "5.0", "ViT, DINO", "coco_maskcut"),
        row("the same: CRATE by DINO", NONE, "CRATE, DINO", "coco_maskcut"),
        row("the same: ViT by SimDINO (paper of SimDINO: B/16)", "5.2", "ViT, SimDINO", "coco_maskcut"),
        row("the same: CRATE by SimDINO", NONE, "CRATE, SimDINO", "coco_maskcut"),
        row("the same: untrained, CRATE", NONE, "CRATE, untrained", "coco_maskcut"),
        row("the same: a disc in the middle", NONE, "the middle", "coco_maskcut"),
    ]  # fmt: skip
    drawn = [
        [
            f"{name} {how}",
            " / ".join(ours(task, model, lambda r, k=k: r[k]) for k in ("knn", "probe")),
            ours(task, model, lambda r: r["maps"]["patch"]["best"][0]),
            VIEWS,
        ]
        for task, how in (("classification", "with labels"), ("dino", "by DINO"), ("simdino", "by SimDINO"))
        for model, name in (("crate_nano", "CRATE"), ("vit_nano", "ViT"))
    ]
    told = (
        "SimDINO {cite:p}`wu2025simdino` and DINO {cite:p}`caron2021dino`. A number for each training. Ours on "
        "*photographs*: a million parameters, the 12,500 of 25 animals seen six times, the sweep `views_animals`; VOC val is 78 "
        "of 1,449 images, COCO 100 of 5,000, and what is compared was written down before "
        "(`results/views/photographs/plan.json`)."
    )
    small = (
        "On *drawn animals*, 0.13 M parameters, the sweep `views`. A mask that looks at nothing, a bell in the middle, "
        f"scores {_middle()} by the rule of the maps. What the class token learns instead of the animal stands on the page."
    )
    parts = [
        "## Beyond the paper: without labels",
        told,
        table(["claim", "paper", "ours", "page"], reported),
        small,
        table(["network", "neighbours / probe", "60 % of patches, best head", "page"], drawn),
    ]
    return "\n\n".join(part.strip() for part in parts)


def _text() -> str:
    """What is reported of language models with CRATE's operators, and what became of it."""
    path = RESULTS / "text" / "scores.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"networks": [], "beside": {}}

    def ours(name: str, what: Callable[[dict], float]) -> str:
        """A number for each training."""
        return ", ".join(f"{what(r):.2f}" for r in found["networks"] if r["name"] == name) or NONE

    beside = found["beside"]
    counts = f"{beside['ngrams'][4]:.2f}; {beside['bz2']:.2f}" if beside else NONE
    rows = [
        [
            "causal CRATE, nats (paper: 60 M, a token of OWT)",
            "3.37",
            ours("crate_text", lambda r: r["loss"]),
            TEXT,
        ],
        ["GPT of as many parameters (paper: 64 M)", "3.04", ours("gpt_text", lambda r: r["loss"]), TEXT],
        ["a 5-gram, and bz2", NONE, counts, TEXT],
        [
            "units of CRATE: AUROC in their own axes",
            NONE,
            ours("crate_text", lambda r: r["units"]["mean"]),
            TEXT,
        ],
        ["the same, in turned axes", NONE, ours("crate_text", lambda r: r["rotated"]["mean"]), TEXT],
        [
            "units of the GPT: AUROC in their own axes",
            NONE,
            ours("gpt_text", lambda r: r["units"]["mean"]),
            TEXT,
        ],
        ["the same, in turned axes", NONE, ours("gpt_text", lambda r: r["rotated"]["mean"]), TEXT],
    ]
    told = (
        "Causal CRATE {cite:p}`bai2025cratelm`; ours: 0.12 M parameters, characters of tiny Shakespeare, a number for "
        "each training, by `python tools/score_text.py`. The papers' losses are a token of many characters, so that no "
        "number of theirs is one of ours."
    )
    return "## Beyond the paper: text\n\n" + told + "\n\n" + table(["claim", "paper", "ours", "page"], rows)


def _middle() -> str:
    """The bell's score on the drawings of the sweep ``views``."""
    path = RESULTS / "views" / "scores.json"
    if not path.is_file():
        return NONE
    return percent(json.loads(path.read_text(encoding="utf-8"))["beside"]["centre"]["patch"])


def _masked() -> str:
    """What CRATE-MAE reports, and what became of it."""
    path = RESULTS / "masked" / "scores.json"
    found = (
        json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"networks": [], "guesses": {}}
    )

    def ours(arm: str, what: Callable[[dict], float], form: str) -> str:
        """A number for each training."""
        rows = sorted((r for r in found["networks"] if r["arm"] == arm), key=lambda r: r["seed"])
        return ", ".join(format(what(r), form) for r in rows) or NONE

    def probe(arm: str) -> str:
        return ours(arm, lambda r: 100 * r["probe"], ".1f")

    def error(arm: str) -> str:
        return ours(arm, lambda r: 1000 * r["error"][0], ".1f")

    def guess(name: str) -> str:
        return f"{1000 * found['guesses'][name][0]:.1f}" if name in found["guesses"] else NONE

    rows = [
        ["linear probe, CRATE-MAE (paper: S, CIFAR-100)", "56.6", probe("minus"), MASKED],
        ["linear probe, ViT-MAE (paper: S, CIFAR-100)", "62.3", probe("vit_mae"), MASKED],
        ["error of what is hidden, CRATE-MAE, tied, minus", NONE, error("tied_minus"), MASKED],
        ["the same, plus in place of minus", NONE, error("tied_plus"), MASKED],
        ["the same, ViT-MAE of about this size", NONE, error("vit_mae"), MASKED],
        ["the same, a blend of what is seen, no network", NONE, guess("blend by distance"), MASKED],
    ]
    told = (
        "CRATE-MAE {cite:p}`pai2024masked`, whose numbers are on ImageNet-1K at 25 M parameters and more; ours: 0.16 M, 25 "
        "animals of Tiny-ImageNet, two epochs, a number for each training, by `python tools/score_masked.py`. Errors are "
        "mean squares in thousandths, pixels in 0 to 1; probes in per cent, ours of 25 animals."
    )
    head = ["claim", "paper", "ours", "page"]
    return "## Beyond the paper: masked autoencoding\n\n" + told + "\n\n" + table(head, rows)


def _later_operators() -> str:
    """What later papers report of their operators, and what became of it."""
    path = RESULTS / "benchmarks" / "operators.json"
    faster = kept = NONE
    if path.is_file():
        last = json.loads(path.read_text(encoding="utf-8"))["rows"][-1]
        ours, fused = last["sides"]["TSSA"], last["sides"]["MSSA, PyTorch"]
        faster = f"{ours['faster_both'][0]:.0f} times as fast as fused MSSA at {last['tokens']:,} tokens"
        kept = f"{ours['kept_bytes'] / fused['kept_bytes']:.1f} times what fused MSSA keeps"
    rows = [
        [
            "ODL in place of ISTA, B/32, ImageNet-1K top-1; ours: drawn animals",
            "68.5 to 76.5",
            _arms("ista", "odl"),
            OPERATORS,
        ],
        [
            "ODL in place of ISTA, equal parameters; ours: drawn animals",
            NONE,
            _arms("ista", "odl_narrow"),
            OPERATORS,
        ],
        ["ODL in place of ISTA, B/8, MaskCut's mask AP on COCO", "1.0 to 1.1", NONE, OPERATORS],
        [
            "TSSA in place of no attention; ours: drawn animals, top-1",
            NONE,
            _arms("none_mean", "tssa_mean"),
            OPERATORS,
        ],
        ["TSSA: time linear in the tokens", "linear", faster, OPERATORS],
        ["TSSA: memory linear in the tokens", "linear", kept, OPERATORS],
        ["TSSA with two class-attention layers, ToST-S, ImageNet-1K top-1", "77.9", NONE, OPERATORS],
        ["CBSA, CBT-S, ImageNet-1K top-1", "71.4", NONE, OPERATORS],
    ]
    told = (
        "CRATE-α {cite:p}`yang2024cratealpha`, ToST {cite:p}`wu2025tost` and CBT {cite:p}`wen2025cbsa`. The trainings are "
        "the sweep `operators`; `python benchmarks/bench_operators.py` measures time and memory."
    )
    return (
        "## Beyond the paper: later operators\n\n"
        + told
        + "\n\n"
        + table(["what", "their papers", "ours", "page"], rows)
    )


def _auroc(name: str) -> str:
    found = masks(name, "pets/test")
    return NONE if found is None else f"{100 * found['auroc']['mean_of_heads']['last'][0]:.1f}"


def _transfer() -> str:
    rows = [
        ["parameters", "5.74M", "14.12M", "38.83M", "10.36M", "102.61M"],
        ["ImageNet-1K", "62.7", "74.2", "79.5", "71.8", "85.8"],
        ["CIFAR-10", "94.1", "97.2", "98.1", "97.2", "98.9"],
        ["CIFAR-100", "76.7", "84.1", "87.9", "84.4", "90.1"],
        ["Flowers-102", "82.2", "92.2", "96.7", "92.1", "99.5"],
        ["Pets", "77.0", "86.4", "90.7", "86.2", "91.8"],
    ]
    head = ["", "CRATE-T", "CRATE-S", "CRATE-B", "ViT-T", "ViT-B"]
    return f"""## Transfer: Table 3

Pre-trained on ImageNet-21k, then fine-tuned; top-1 accuracy in per cent. Parameters are counted with the 21,841-class head of the pre-training. Ours are asked for other sets, which stand below.

{table(head, rows, range(1, 6))}

{_transferred()}"""


KINDS = {"crate_mini": "CRATE", "vit_mini_6": "ViT"}


def _transferred() -> str:
    """Ours: classes that a network has not met, and breeds."""
    if not (RESULTS / "transfer" / "scores.json").is_file():
        return NONE
    sets = json.loads((RESULTS / "transfer" / "scores.json").read_text(encoding="utf-8"))["sets"]
    epochs = {name: get_recipe(name).recipe.epochs for name in ("three_in_four", "all_classes")}
    told = {
        "tiny-imagenet-50": f"Trained on 150 classes of Tiny-ImageNet ({epochs['three_in_four']} epochs), then asked for the other 50",
        "pets": f"Trained on all 200 classes of Tiny-ImageNet ({epochs['all_classes']} epochs, the family), then asked for three breeds of cats and dogs",
    }
    parts = []
    for where, what in told.items():
        if where not in sets:
            continue
        found = sets[where]
        rows = []
        for trained, shown in ((True, ""), (False, ", from scratch")):
            for model, name in KINDS.items():
                group = [r for r in found["networks"] if (r["model"], r["trained"]) == (model, trained)]
                if group:
                    cells = [", ".join(f"{100 * r[way]:.1f}" for r in group) for way in ("probe", "tuned")]
                    rows.append([name + shown, *cells])
        rows.append(["*the pixels, 16 × 16*", f"{100 * found['pixels']:.1f}", NONE])
        seen = f"{found['learned']['images']:,} images to learn from, {found['asked']['images']:,} asked; chance is {100 / found['classes']:.0f} %."
        parts.append(
            f"{what}: {seen}\n\n{table(['top-1', 'linear probe', 'all weights trained on'], rows, (1, 2))}"
        )
    outro = "A number for each training. *From scratch* is the same architecture with fresh weights, under the same probe and the same training; `python tools/score_transfer.py` says which."
    return "\n\n".join([*parts, outro])


if __name__ == "__main__":
    main()
