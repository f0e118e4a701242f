"""``crate-mini``: train, evaluate, measure layer by layer, inspect and look at data from the command line."""

from __future__ import annotations

import argparse
import json
import re
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import torch

from crate_mini import data, distributed, figures
from crate_mini.checkpoints import (
    CheckpointError,
    list_pretrained,
    load_model,
    load_pretrained,
    save_model,
    write_atomically,
)
from crate_mini.inspector import inspect_images
from crate_mini.inspector.network import fits_in_page
from crate_mini.layerwise import NORMALISE, curve, measure
from crate_mini.model import CRATE, count_parameters, create_model, model_names
from crate_mini.provenance import provenance
from crate_mini.segmentation import RULES, best_head, mean_interval, score_baselines, score_heads
from crate_mini.training import Recipe, default_device, evaluate, train


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns 0, or 2 with one line on standard error where the input was at fault."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, data.DataError, CheckpointError, FloatingPointError, OSError) as error:
        print(f"crate-mini: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        told = str(stop) or "stopped; run the same command again to go on or start over"
        print(f"\ncrate-mini: {told}", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crate-mini", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    defaults = {"formatter_class": argparse.ArgumentDefaultsHelpFormatter}
    weights = f"one of {', '.join(list_pretrained())}, or a .safetensors file"

    p = commands.add_parser("train", help="train a model; run it again to resume", **defaults)
    p.add_argument("--model", default="crate_mini", help=f"one of {', '.join(model_names())}")
    _add_data(p, "embedded")
    p.add_argument("--patch-size", type=int, help="pixels; by default the model's own")
    p.add_argument("--out", type=Path, required=True, help="folder for the state, the log and the weights")
    p.add_argument("--device", help="by default the best there is")
    recipe = Recipe()
    for f in fields(Recipe):
        value, flag = getattr(recipe, f.name), f"--{f.name.replace('_', '-')}"
        if isinstance(value, bool):
            p.add_argument(flag, action=argparse.BooleanOptionalAction, default=value, help=" ")
        elif isinstance(value, tuple):
            p.add_argument(flag, type=float, nargs=2, default=value, help=" ", metavar=("MIN", "MAX"))
        else:
            p.add_argument(flag, type=float if value is None else type(value), default=value, help=" ")
    p.set_defaults(run=_train)

    p = commands.add_parser("evaluate", help="accuracy, and mask scores where the data has masks", **defaults)
    p.add_argument("--weights", default="crate_mini_animals", help=weights)
    _add_data(p, "tiny-imagenet-animals")
    p.add_argument("--split", help="by default the last the set has")
    p.add_argument("--n", type=int, help="images to draw; by default all")
    p.add_argument("--seed", type=int, default=0, help="of the draw")
    p.add_argument("--rule", choices=RULES, default="mass", help="how a map becomes a mask")
    p.add_argument("--share", type=float, default=0.6, help="of attention, or of patches")
    p.add_argument("--untrained", action="store_true", help="fresh random weights of the same architecture")
    p.add_argument("--head-from", type=Path, help="take the fixed head that an earlier --out file chose")
    p.add_argument("--device", help="by default the best there is")
    p.add_argument("--out", type=Path, help="write the numbers, with their provenance, to this JSON file")
    p.set_defaults(run=_evaluate)

    p = commands.add_parser("layerwise", help="R^c, R and sparsity by layer and head", **defaults)
    p.add_argument("--weights", default="crate_mini_animals", help=weights)
    _add_data(p, "tiny-imagenet-animals")
    p.add_argument("--split", help="by default the last the set has")
    p.add_argument("--n", type=int, help="images to draw; by default all")
    p.add_argument("--seed", type=int, default=0, help="of the draw")
    p.add_argument("--untrained", action="store_true", help="fresh random weights of the same architecture")
    p.add_argument(
        "--eps-sq", type=float, nargs="+", default=[0.01], help="squared precision, one or several"
    )
    p.add_argument(
        "--normalise", nargs="+", choices=NORMALISE, default=list(NORMALISE), help="how tokens are scaled"
    )
    p.add_argument("--lam", type=float, default=0.1, help="nats for each non-zero entry, in the objective")
    p.add_argument("--near-zero", type=float, default=0.01, help="in units of the tokens' root mean square")
    p.add_argument("--batch-size", type=int, default=32, help="images a forward pass")
    p.add_argument("--device", help="by default the best there is")
    p.add_argument("--out", type=Path, help="write the numbers, with their provenance, to this JSON file")
    p.set_defaults(run=_layerwise)

    p = commands.add_parser("inspect", help="see what every head sees in photos of your own", **defaults)
    p.add_argument("photos", nargs="+", type=Path, help="image files")
    p.add_argument("--weights", default="crate_mini_animals", help=weights)
    p.add_argument("--compare", default="vit_mini_animals", help="a second model beside it; '' for none")
    p.add_argument(
        "--size", type=int, default=160, help="pixels of the shorter side; larger gives finer maps"
    )
    p.add_argument("--out", type=Path, default=Path("heads.html"), help="the page to write")
    p.add_argument("--open", action="store_true", help="open the page in a browser")
    p.set_defaults(run=_inspect)

    p = commands.add_parser("data", help="which data sets are here, and a look at one", **defaults)
    p.add_argument("name", nargs="?", choices=data.SETS, help="the set to look at; none: list them all")
    p.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    p.add_argument("--split", help="by default the first the set has")
    p.add_argument("--image-size", type=int, default=64, help="pixels")
    p.add_argument("--download", action="store_true", help="fetch the set if it is not there")
    p.add_argument("--out", type=Path, default=Path("data.png"), help="the picture to write")
    p.set_defaults(run=_data)
    return parser


def _add_data(p: argparse.ArgumentParser, default: str) -> None:
    p.add_argument("--data", default=default, choices=data.SETS, help="data set")
    p.add_argument("--root", type=Path, help="folder of the data sets; by default CRATE_MINI_DATA")
    p.add_argument("--image-size", type=int, default=64, help="pixels")
    p.add_argument("--download", action="store_true", help="fetch the data set if it is not there")


def _train(a: argparse.Namespace) -> None:
    with distributed.processes(a.device) as device:
        _train_here(a, device or default_device())


def _train_here(a: argparse.Namespace, device: torch.device) -> None:
    """The training as this process takes part in it; rank 0 talks and writes."""
    given = {f.name: getattr(a, f.name) for f in fields(Recipe)}
    recipe = Recipe.from_dict(given)
    first = distributed.rank() == 0
    source = {"image_size": a.image_size, "root": a.root, "download": a.download, "progress": first}
    held_out = "val" if "val" in data.SETS[a.data][1] else "test"
    with distributed.first_rank_first():
        train_set, val_set = (data.load(a.data, split, **source) for split in ("train", held_out))
    torch.manual_seed(recipe.seed)
    model = create_model(
        a.model, image_size=a.image_size, patch_size=a.patch_size, num_classes=max(1, len(train_set.classes))
    )
    size = count_parameters(model)
    card = provenance(  # taken before training: the commit that was run, not the one of the day it ended
        device,
        model=a.model,
        parameters=size,
        data={
            "train": train_set.name, "images": len(train_set), "held_out": val_set.name, "tier": train_set.tier,
        },
        recipe=asdict(recipe),
        processes=distributed.world_size(),
    )  # fmt: skip
    if first:
        print(f"{a.model}: {size:,} parameters; {len(train_set):,} images on {device}", flush=True)
    run = train(model, train_set, val_set, recipe, out=a.out, device=device)
    card |= {"minutes": round(run.minutes, 1), "held_out": evaluate(model, val_set)}
    if first:
        save_model(model, a.out / "model.safetensors", card, classes=train_set.classes)
        print(f"top-1 on {val_set.name}: {card['held_out']['top1']:.1%}; weights and card in {a.out}")


def _model_and_images(a: argparse.Namespace) -> tuple[CRATE, data.ImageSet, torch.device]:
    """What ``evaluate`` and ``layerwise`` look at: the model on its device, and the images."""
    device = torch.device(a.device) if a.device else default_device()
    model = _weights(a.weights)
    if a.untrained:
        classes = getattr(model, "classes", ())
        torch.manual_seed(a.seed)
        model = CRATE(model.config).eval()
        model.classes = classes
    model.to(device)
    images = data.load(
        a.data,
        a.split or data.SETS[a.data][1][-1],
        image_size=a.image_size,
        n=a.n,
        seed=a.seed,
        root=a.root,
        download=a.download,
        progress=True,
    )
    return model, images, device


def _evaluate(a: argparse.Namespace) -> None:
    model, images, _ = _model_and_images(a)
    result = provenance(
        default_device(), weights=a.weights, data=images.name, images=len(images), seed=a.seed
    )
    result |= {"image_size": a.image_size, "untrained": a.untrained}
    if images.classes and images.classes == getattr(model, "classes", ()):
        result["accuracy"] = evaluate(model, images)
        print(f"top-1 {result['accuracy']['top1']:.1%}, top-5 {result['accuracy']['top5']:.1%}")
    if images.masks is not None:
        result["masks"] = _score_masks(model, images, a)
    if not {"accuracy", "masks"} & set(result):
        raise ValueError(f"{images.name} has neither masks nor the classes that {a.weights} was trained on")
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


def _layerwise(a: argparse.Namespace) -> None:
    model, images, device = _model_and_images(a)
    result = provenance(device, weights=a.weights, data=images.name, seed=a.seed)
    result |= {"image_size": a.image_size, "untrained": a.untrained}
    if images.classes and images.classes == getattr(model, "classes", ()):
        result["accuracy"] = evaluate(model, images)
    result |= measure(
        model, images, eps_sq=a.eps_sq, normalise=a.normalise, lam=a.lam, near_zero=a.near_zero,
        batch_size=a.batch_size, progress=True,
    )  # fmt: skip
    _print_layers(result, a.normalise, a.eps_sq)
    if a.out is not None:
        write_atomically(a.out, lambda temporary: temporary.write_text(_compact(result), encoding="utf-8"))


def _print_layers(result: dict, normalise: Sequence[str], precisions: Sequence[float]) -> None:
    """A table for each reading: R^c where the released code takes it and where the caption does, and its change."""
    zeros = curve(result, "zeros", "tokens_out")["mean"]
    for eps_sq in precisions:
        for name in normalise:
            print(f"\nR^c in nats, {NORMALISE[name]}; eps_sq {eps_sq:g}; mean over {result['images']} images")
            print("  layer   what attention sees   after attention   change   falls in   zeros after ISTA")
            seen, after = (
                curve(result, "Rc", p, name, eps_sq)["mean"] for p in ("attention_in", "tokens_mid")
            )
            change, lower = (
                curve(result, q, "compress", name, eps_sq)["mean"] for q in ("Rc", "share_lower")
            )
            for i in range(len(zeros)):
                print(
                    f"  {i:>5}   {seen[i]:>19.1f}   {after[i]:>15.1f}   {change[i]:>+6.1f}   {lower[i]:>8.0%}"
                    f"   {zeros[i]:>16.1%}"
                )


def _compact(result: dict) -> str:
    """JSON with every innermost list on one line: short enough to keep, and readable beside its neighbours."""
    text = json.dumps(result, indent=1)
    return re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m[0].split()), text) + "\n"


def _inspect(a: argparse.Namespace) -> None:
    models = {name: _weights(name) for name in (a.weights, a.compare) if name}
    patches = [model.config.patch_size for model in models.values()]
    images = [data.to_patch_grid(data.open_image(path), a.size, max(patches)) for path in a.photos]
    viewer = inspect_images(
        models,
        images,
        titles=[path.name for path in a.photos],
        run_in_page=fits_in_page(models.values()),  # patches can be asked then, and further photos dropped in
        photo_side=a.size,
    )
    written = viewer.save(a.out)
    print(f"wrote {written} ({written.stat().st_size / 1024:.0f} KB); it opens in any browser, also offline")
    if a.open:
        webbrowser.open(written.resolve().as_uri())


def _data(a: argparse.Namespace) -> None:
    if a.name is None:
        root = data.data_root(a.root)
        print(f"data sets are looked for in {root}")
        for name, (_, splits) in data.SETS.items():
            print(f"  {name:<22} {data.whereabouts(name, root):<12} splits: {', '.join(splits)}")
        return
    split = a.split or data.SETS[a.name][1][0]
    images = data.load(
        a.name, split, image_size=a.image_size, n=48, root=a.root, download=a.download, progress=True
    )
    titles = [images.classes[i] if i >= 0 else "" for i in images.labels.tolist()] if images.classes else None
    figures.use_style()
    figure = figures.image_grid(images.images, titles, columns=8, masks=images.masks)
    write_atomically(a.out, lambda temporary: figure.savefig(temporary, format="png"))
    print(f"wrote {len(images)} images of {images.name} ({images.tier}) to {a.out}")


def _weights(name: str) -> CRATE:
    """Weights by the name of a shipped model or by the path of a file."""
    return load_model(name) if name.endswith(".safetensors") else load_pretrained(name)


if __name__ == "__main__":
    sys.exit(main())
