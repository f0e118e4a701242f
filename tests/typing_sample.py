"""Every public name as its user writes it, for a type checker: this file is checked, not run.

Each ``type: ignore`` marks a mistake that the checker must report; one that it does not report is an error, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

from torch import Tensor

import crate_mini
from crate_mini import (
    CRATE,
    HeadInspector,
    cls_attention_maps,
    coding_rate,
    compression_rate,
    create_model,
    evaluate_segmentation,
    list_models,
    list_pretrained,
    load_pretrained,
    maskcut,
    record,
    register_model,
    sparse_rate_reduction,
)
from crate_mini.data import ImageSet
from crate_mini.maskcut import maskcut_batch
from crate_mini.segmentation import Evaluation

assert_type(crate_mini.__version__, str)
print(crate_mini.coding_rates)  # type: ignore[attr-defined]


def rates(Z: Tensor, U: Tensor) -> None:
    assert_type(coding_rate(Z, 0.25), Tensor)
    assert_type(compression_rate(Z, U, 0.25), Tensor)
    assert_type(sparse_rate_reduction(Z, U, 0.25, 0.1, norm="l1"), Tensor)
    coding_rate(Z)  # type: ignore[call-arg]
    coding_rate("Z", 0.25)  # type: ignore[arg-type]
    sparse_rate_reduction(Z, U, 0.25, 0.1, norm="l2")  # type: ignore[arg-type]


def models() -> None:
    assert_type(create_model("crate_mini", num_classes=10, depth=2), CRATE)
    assert_type(create_model("vit_mini", pretrained=True), CRATE)
    assert_type(create_model("vit_mini", pretrained=Path("model.safetensors")), CRATE)
    assert_type(list_models("crate_*", pretrained=True), list[str])
    register_model("crate_wide", dim=1024, heads=16, depth=2)
    assert_type(load_pretrained("crate_mini_all_lion_s0", device="cuda"), CRATE)
    assert_type(list_pretrained(), dict[str, dict[str, Any]])
    create_model(0)  # type: ignore[arg-type]
    create_model("crate_mini", num_classes="ten")  # type: ignore[arg-type]
    create_model("crate_mini", pretrained=1.0)  # type: ignore[arg-type]
    list_models(8)  # type: ignore[arg-type]
    register_model(dim=1024, heads=16, depth=2)  # type: ignore[call-arg]
    load_pretrained()  # type: ignore[call-arg]


def sharing(model: CRATE) -> None:
    assert_type(CRATE.from_pretrained("owner/name", revision="main"), CRATE)
    assert_type(model.save_pretrained(Path("folder"), card={"data": "mine"}), str | None)
    assert_type(model.push_to_hub("owner/name"), str)
    CRATE.from_pretrained()  # type: ignore[call-arg]
    model.save_pretrained("folder", dtype="half")  # type: ignore[arg-type]


def measuring(model: CRATE, images: Tensor, masked: ImageSet) -> None:
    assert_type(cls_attention_maps(model, images, layers=[-1]), Tensor)
    print(record(model, images, ["tokens_in"])["tokens_in"][0].shape)
    result = evaluate_segmentation(model, masked, layer=-1)
    assert_type(result, Evaluation)
    cls_attention_maps(images, model)  # type: ignore[arg-type]
    record(model, images, layers="all")  # type: ignore[arg-type]
    evaluate_segmentation(model, images)  # type: ignore[arg-type]


def objects(features: Tensor) -> None:
    assert_type(maskcut(features, (8, 8), n_masks=1), Tensor)
    assert_type(maskcut_batch(features[None], (8, 8)), list[Tensor])
    maskcut(features, 8)  # type: ignore[arg-type]
    maskcut(features, (8, 8), n_mask=1)  # type: ignore[call-arg]


def viewer(crate: CRATE, vit: CRATE, picture: Tensor) -> None:
    inspector = HeadInspector({"CRATE": crate, "ViT": vit}, side=96)
    assert_type(inspector, HeadInspector)
    assert_type(inspector.titles, list[Any])
    inspector.add(picture, "mine")
    inspector.add("mine.png", "mine")  # type: ignore[arg-type]
    HeadInspector(crate, side="large")  # type: ignore[arg-type]
