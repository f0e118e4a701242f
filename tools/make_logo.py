"""Draw the book's logo, the attention map of a cat on an eight by eight grid of patches, as an SVG.

    python tools/make_logo.py            writes book/_assets/logo.svg

A test holds the committed file equal to what this script draws.
"""

from __future__ import annotations

from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "book" / "_assets" / "logo.svg"

# One digit per patch: how much attention it gets, 0 for background.
MAP = """\
00000000
04004000
06556000
05995000
00777704
00687705
00566650
00606600"""

COLOURS = ("#8a94a6", "#3f6ea8", "#4f86c0", "#79a9d1", "#f0b264", "#ee9b3f", "#e8852e")
PATCH, GAP = 14, 2


def colour(level: int) -> str:
    """Fill of a patch: grey for background, then from blue to orange."""
    return COLOURS[0] if level == 0 else COLOURS[min(max(level - 3, 1), len(COLOURS) - 1)]


def svg() -> str:
    """The whole file."""
    rows = MAP.split("\n")
    side = len(rows) * (PATCH + GAP) - GAP
    size = f'width="{side}" height="{side}" viewBox="0 0 {side} {side}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        "<title>CRATE, step by step</title>",
    ]
    for y, row in enumerate(rows):
        for x, digit in enumerate(row):
            faint = ' fill-opacity="0.28"' if digit == "0" else ""
            lines.append(
                f'<rect x="{x * (PATCH + GAP)}" y="{y * (PATCH + GAP)}" width="{PATCH}" height="{PATCH}" '
                f'rx="3" fill="{colour(int(digit))}"{faint}/>'
            )
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(svg(), encoding="utf-8")
    print(f"wrote {TARGET.name}")
