"""``crate-mini evaluate segmentation``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from crate_mini import data
from crate_mini.checkpoints import write_atomically
from crate_mini.cli.common import DEFAULTS, add_data, add_evaluation, model_and_images
from crate_mini.model import CRATE
from crate_mini.provenance import provenance
from crate_mini.segmentation import RULES, best_head, mean_interval, score_baselines, score_heads


def add(kinds: argparse._SubParsersAction) -> None:
    """Add the kind to the parser of ``evaluate``."""
    p = kinds.add_parser("segmentation", help="attention maps against true masks", **DEFAULTS)
    add_evaluation(p)
    add_data(p, "embedded")
    p.add_argument("--rule", choices=RULES, default="mass", help="how a map becomes a mask")
    p.add_argument("--share", type=float, default=0.6, help="of attention, or of patches")
    p.add_argument("--head-from", type=Path, help="take the fixed head that an earlier --out file chose")
    p.set_defaults(run=_segmentation)


def _segmentation(a: argparse.Namespace) -> None:
    model, images, device = model_and_images(a)
    result = provenance(device, weights=a.weights, data=images.name, images=len(images), seed=a.seed)
    result |= {"image_size": a.image_size, "untrained": a.untrained}
    result["masks"] = _score_masks(model, images, a)
    if a.out is not None:
        text = json.dumps(result, indent=2) + "\n"
        write_atomically(a.out, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _score_masks(model: CRATE, images: data.ImageSet, a: argparse.Namespace) -> dict:
    scores = score_heads(model, images, rule=a.rule, share=a.share, progress=True)
    summary = best_head(scores)
    layer, head = divmod(int(summary["fixed"].argmax()), scores.shape[2])
    chosen_on = images.name
    if a.head_from is not None:
        earlier = json.loads(a.head_from.read_text(encoding="utf-8"))["masks"]["best_fixed"]
        layer, head, chosen_on = earlier["layer"], earlier["head"], earlier["chosen_on"]
        if layer >= scores.shape[1] or head >= scores.shape[2]:
            raise ValueError(
                f"{a.head_from} chose layer {layer}, head {head}, which this model does not have"
            )
    oracle_layer = int(summary["oracle"].argmax())
    result = {
        "rule": a.rule,
        "share": a.share,
        "oracle_by_layer": summary["oracle"].tolist(),
        "fixed_by_layer_and_head": summary["fixed"].tolist(),
        "best_fixed": {
            "layer": layer,
            "head": head,
            "chosen_on": chosen_on,
            "iou": mean_interval(scores[:, layer, head]),
        },
        "best_oracle": {"layer": oracle_layer, "iou": mean_interval(scores[:, oracle_layer].amax(-1))},
        "baselines": {name: mean_interval(values) for name, values in score_baselines(images).items()},
    }
    print(f"IoU with {images.name}, {a.rule} rule, share {a.share:g}: mean over {len(images)} images")
    print("  layer   best head per image   best fixed head")
    for i, oracle in enumerate(result["oracle_by_layer"]):
        fixed, k = summary["fixed"][i].max(0)
        print(f"  {i:>5}   {oracle:>19.3f}   {fixed:>9.3f} (head {int(k)})")
    rows = {f"layer {layer} head {head}, chosen on {chosen_on}": result["best_fixed"]["iou"]} | result[
        "baselines"
    ]
    for name, (mean, low, high) in rows.items():
        print(f"  {name}: {mean:.3f} ({low:.3f} to {high:.3f})")
    return result
