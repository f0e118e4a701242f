"""Draw the picture of the README from the shipped weights: ``python tools/make_picture.py``."""

from __future__ import annotations

from pathlib import Path

from crate_mini import attention_maps, data, figures
from crate_mini.segmentation import stored
from crate_mini.weights import load_pretrained

TARGET = Path(__file__).resolve().parent.parent / "book" / "_assets" / "heads.png"
MODELS = {"CRATE": "crate_mini_all_lion_s0", "ViT": "vit_mini_6_all_lion_s0"}


def main() -> None:
    """Write the picture and say where."""
    figures.use_style()
    animals = data.load("embedded", "test", n=60, seed=1, image_size=160)
    image = animals.images[int((animals.labels == animals.classes.index("elephant")).nonzero()[0])]
    maps = {}
    for name, weights in MODELS.items():
        # the layer of the head that does best on photographs of cats and dogs
        layer = stored(weights, "pets/test")["rules"]["auroc"]["fixed"]["layer"]
        model = load_pretrained(weights)
        maps[name] = attention_maps.cls_attention_maps(model, image[None], [layer])[0, 0]
    figures.lit_models(image, maps).savefig(TARGET, dpi=110, metadata={"Software": None})
    print(TARGET)


if __name__ == "__main__":
    main()
