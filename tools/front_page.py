"""Choose the picture of the front page: ``results/front_page.json``.

    python tools/front_page.py        half a minute on one core

Not the prettiest: of the drawings of chapter 00 the one for which the two networks differ by the median.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from crate_mini import weights
from crate_mini.chapters import front_page
from crate_mini.results import add_dirty, provenance, require_clean, write
from crate_mini.segmentation import score_images

RESULT = Path(__file__).resolve().parent.parent / "results" / "front_page.json"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_dirty(parser)
    a = parser.parse_args()
    require_clean(a.dirty)
    pictures = front_page.drawings()
    scored = {
        name: score_images(weights.load_pretrained(file), pictures, rule=front_page.RULE)
        for name, file in front_page.NETWORKS.items()
    }
    found = front_page.measure(
        {name: scores[f"heads/{front_page.RULE}"] for name, scores in scored.items()},
        scored["CRATE"][f"centre/{front_page.RULE}"],
    )
    write(RESULT, provenance(data=pictures.name, networks=front_page.NETWORKS) | found, allow_dirty=a.dirty)
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
