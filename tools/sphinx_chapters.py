"""A Sphinx extension for what all chapters share: links to the glossary, figures that suit the dark, and numbers.

*Glossary.* The first time a chapter's text uses a term of ``book/glossary.md``, the word leads there; nobody has to
mark it. Words that mean something else in everyday language as well are left alone (``AMBIGUOUS``) and marked by hand,
``{term}``, where the glossary is meant.

*Figures.* A figure of lines and words, drawn dark on white, gets a twin for the dark theme: what is white becomes
clear, and what is black becomes light, so that it stands on the page's own ground. A cell asks for it by
``mystnb: {image: {classes: ink}}``. With ``ink pictures`` the heat maps and photographs in it, where each colour means
something, stay as they are, and only what is written around them turns. A figure that does not ask keeps its paper.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
from docutils import nodes
from PIL import Image
from scipy import ndimage
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

BEFORE_IMAGES_ARE_COLLECTED = 400
AFTER_SPHINX_HAS_COUNTED = 900
INK = np.array([0.90, 0.91, 0.93], dtype=np.float32)  # what is black by day
THICK = 6  # pixels: a colour bar is, a stroke of a letter is not
AMBIGUOUS = {"code", "spread", "tied", "head", "sharpness", "compression", "temperature", "incoherent"}
NOT_PROSE = (
    nodes.title,
    nodes.rubric,
    nodes.table,
    nodes.reference,
    nodes.FixedTextElement,
    nodes.literal,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.citation_reference,
    addnodes.pending_xref,
    addnodes.download_reference,
)


# ---- glossary --------------------------------------------------------------------------------------------


def glossary_terms(text: str) -> list[str]:
    """The terms that a page with one ``{glossary}`` defines: lines of it that are not indented."""
    (body,) = re.findall(r"^:::\{glossary\}\n(.*?)^:::", text, re.MULTILINE | re.DOTALL)
    return [line for line in body.splitlines() if line and not line.startswith((" ", ":"))]


@cache
def pattern(terms: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the terms, the longest first, also in the plural; small or capital at the beginning only."""

    def word(term: str) -> str:
        first = f"[{term[0].upper()}{term[0]}]" if term[0].islower() else re.escape(term[0])
        rest = re.escape(term[1:]).replace("\\ ", r"\s")
        return first + (f"{rest[:-1]}(?:y|ie)" if rest.endswith("y") else rest)

    some = "|".join(f"(?P<t{i}>{word(term)})(?:e?s)?" for i, term in sorted(
        enumerate(terms), key=lambda pair: -len(pair[1])
    ))  # fmt: skip
    return re.compile(rf"(?<![\w-])(?:{some})(?![\w-])")


def link_first_uses(doctree: nodes.document, terms: tuple[str, ...], docname: str) -> None:
    """Make the first use of every term in running text a reference to the glossary, in place."""
    used = {node["reftarget"] for node in doctree.findall(addnodes.pending_xref) if node["reftype"] == "term"}
    for text in list(doctree.findall(nodes.Text)):
        above, parent = [], text.parent
        while parent is not None:
            above.append(parent)
            parent = parent.parent
        if any(isinstance(node, NOT_PROSE) for node in above):
            continue
        if not any(isinstance(node, nodes.paragraph | nodes.caption) for node in above):
            continue
        pieces, end, whole = [], 0, str(text)
        for found in pattern(terms).finditer(whole):
            term = terms[int(found.lastgroup[1:])]
            if term in used:
                continue
            used.add(term)
            pieces += [nodes.Text(whole[end : found.start()]), term_reference(found[0], term, docname)]
            end = found.end()
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(whole[end:])])


def term_reference(words: str, term: str, docname: str) -> addnodes.pending_xref:
    """What ``{term}`` makes, with words of its own."""
    shown = nodes.inline(words, words, classes=["xref", "std", "std-term"])
    return addnodes.pending_xref(
        "", shown, refdomain="std", reftype="term", reftarget=term, refexplicit=True, refwarn=True, refdoc=docname
    )  # fmt: skip


# ---- figures in the dark ---------------------------------------------------------------------------------


def on_dark(pixels: np.ndarray) -> np.ndarray:
    """A figure on white as ink of its own colours on nothing, and the darker a colour the more it is lightened.

    Args:
        pixels: RGB in [0, 1], shape ``(h, w, 3)``.

    Returns:
        RGBA in [0, 1]. White is clear; black is :data:`INK`.
    """
    alpha = 1 - pixels.min(-1, keepdims=True)
    colour = (pixels - (1 - alpha)) / np.maximum(alpha, 1e-6)
    lighter = colour + (1 - colour.max(-1, keepdims=True)) * INK
    return np.concatenate([lighter.clip(0, 1), alpha], -1)


def pictures_in(pixels: np.ndarray) -> np.ndarray:
    """Where a figure on white holds heat maps and photographs: all that is thick, with the white in it.

    Args:
        pixels: RGB in [0, 1], shape ``(h, w, 3)``.

    Returns:
        A mask, ``(h, w)``.
    """
    drawn = pixels.min(-1) < 0.99
    thick = ndimage.binary_opening(drawn, np.ones((THICK, THICK)))
    kept = ndimage.binary_fill_holes(thick)
    pieces, _ = ndimage.label(drawn)
    for place in ndimage.find_objects(pieces * thick):
        if place is None:  # letters and lines alone
            continue
        inside = drawn[place]
        edges = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
        if all(edge.mean() > 0.6 for edge in edges):  # a rectangle: what is white at its edge belongs to it
            kept[place] = True
    return kept


def make_twin(path: Path, pictures: bool = False) -> Path:
    """Write the figure for the dark beside the one by day, with ``pictures`` as they are or turned as well."""
    twin = path.with_name(f"{path.stem}-dark.png")
    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255
    turned = on_dark(pixels)
    if pictures:
        kept = pictures_in(pixels)
        turned[kept] = np.concatenate([pixels, np.ones((*kept.shape, 1))], -1)[kept]
    image = Image.fromarray((255 * turned).round().astype(np.uint8), "RGBA")
    if pictures:  # in 256 colours a quarter of its weight: everybody loads it, whatever the theme
        image = image.quantize(256, method=Image.Quantize.FASTOCTREE)
    image.save(twin)
    return twin


def give_twins(doctree: nodes.document, source: Path) -> None:
    """After each image of class ``ink`` put its twin; the page's style shows one of the two."""
    for image in list(doctree.findall(nodes.image)):
        if "ink" not in image.get("classes", ()) or image.get("twin"):
            continue
        path = source / image["uri"].lstrip("/")
        twin = image.deepcopy()
        uri = image["uri"]
        twin["uri"] = f"{uri.removesuffix('.png')}-dark.png"
        make_twin(path, "pictures" in image["classes"])
        image["classes"] = [*image["classes"], "ink-light"]
        twin["classes"] = [*twin["classes"], "ink-dark"]
        image.parent.insert(image.parent.index(image) + 1, twin)


# ---- numbers ---------------------------------------------------------------------------------------------


def own_number(docname: str) -> int | str | None:
    """The number that a chapter's file begins with: 9, or ``"9b"``; None for a page that is no chapter."""
    found = re.fullmatch(r"notebooks/0*(\d+)([a-z]?)_\w+", docname)
    return found and (f"{found[1]}{found[2]}" if found[2] else int(found[1]))


def number_by_file(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Put the number of its file in place of the one that Sphinx has counted; all that was numbered follows.

    Returns:
        The chapters whose number has changed.
    """
    changed = []
    for docname, numbers in env.toc_secnumbers.items():
        own, counted = own_number(docname), numbers.get("")
        if own is None or not counted or counted[0] == own:
            continue
        changed.append(docname)
        for anchor, number in numbers.items():
            numbers[anchor] = (own, *number[1:]) if number else number
        for node in (env.titles[docname], *env.tocs[docname].findall(nodes.reference)):
            if node.get("secnumber"):
                node["secnumber"] = [own, *node["secnumber"][1:]]
        for placed in env.toc_fignumbers.get(docname, {}).values():
            for name, number in placed.items():
                placed[name] = (own, *number[1:])
    return changed


# ---- Sphinx ----------------------------------------------------------------------------------------------


def finish(app: Sphinx, doctree: nodes.document) -> None:
    """Both, for each page as it has been read."""
    docname = app.env.docname
    give_twins(doctree, Path(app.srcdir))
    if docname.startswith("notebooks/"):
        page = Path(app.srcdir) / "book" / "glossary.md"
        if page.exists():
            terms = glossary_terms(page.read_text(encoding="utf-8"))
            app.env.note_dependency(str(page))
            plain = tuple(term for term in terms if "," not in term and term not in AMBIGUOUS)
            link_first_uses(doctree, plain, docname)


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    app.connect("doctree-read", finish, priority=BEFORE_IMAGES_ARE_COLLECTED)
    app.connect("env-get-updated", number_by_file, priority=AFTER_SPHINX_HAS_COUNTED)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
