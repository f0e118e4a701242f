"""Draw the picture of the README from the shipped weights: ``python tools/make_picture.py``."""

from __future__ import annotations

from pathlib import Path

from crate_mini import attention_maps, checkpoints, data, figures

TARGET = Path(__file__).resolve().parent.parent / "book" / "_assets" / "heads.png"
LAYER = 4


def main() -> None:
    """Write the picture and say where."""
    figures.use_style()
    animals = data.load("embedded", "test", n=60, seed=1, image_size=160)
    image = animals.images[int((animals.labels == animals.classes.index("elephant")).nonzero()[0])]
    models = {"CRATE": "crate_mini_animals", "ViT": "vit_mini_animals"}
    maps = {
        name: attention_maps.cls_attention_maps(checkpoints.load_pretrained(weights), image[None], [LAYER])[
            0, 0
        ]
        for name, weights in models.items()
    }
    figures.lit_models(image, maps).savefig(TARGET, dpi=110, metadata={"Software": None})
    print(TARGET)


if __name__ == "__main__":
    main()
