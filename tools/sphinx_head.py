"""A Sphinx extension for what stands in the head of every page: what it is about, and what it may load.

*A description*, for search engines and for those who get the page's address from a friend (``description`` and the
``og:`` tags): the page's first paragraph, cut at a sentence. With it a picture, where the book has a public address.

*A content security policy.* Scripts, styles, pictures and data come from the book itself or stand in the page; what
comes from elsewhere is refused by the browser, whatever a page might hold.
"""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

LONGEST = 200  # characters of a description
PICTURE = "_static/heads.png"
# Pages open from disk as well, where "self" means little: hence file:. Widgets carry their scripts in the page.
POLICY = "; ".join(
    [
        "default-src 'self' file: data: blob:",
        "script-src 'self' file: 'unsafe-inline'",
        "style-src 'self' file: 'unsafe-inline'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self' file:",
    ]
)


def description_of(doctree: nodes.document) -> str:
    """The first paragraph of the text, in whole sentences if they fit; empty if there is none."""
    for paragraph in doctree.findall(nodes.paragraph):
        parent = paragraph.parent
        if isinstance(parent, nodes.section | nodes.document):
            copy = paragraph.deepcopy()
            for formula in [*copy.findall(nodes.math), *copy.findall(nodes.image)]:
                formula.parent.remove(formula)
            text = " ".join(copy.astext().split())
            if len(text) >= 40:
                return shortened(text)
    return ""


def shortened(text: str) -> str:
    """As many whole sentences as fit; of a first one that is too long as many words."""
    if len(text) <= LONGEST:
        return text
    sentences = re.findall(r"(?:.*?[.!?])(?=\s|$)", text)
    kept = ""
    for sentence in sentences:
        if len(kept) + len(sentence) > LONGEST:
            break
        kept += sentence
    return kept.strip() or text[: LONGEST - 1].rsplit(" ", 1)[0] + "…"


def add_tags(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Write them into the head of a page."""
    tags = [("http-equiv", "Content-Security-Policy", POLICY)]
    if doctree is not None:
        title = re.sub(r"<[^>]*>", "", context.get("title", "")) or app.config.project
        tags += [
            ("property", "og:type", "article"),
            ("property", "og:site_name", app.config.html_title or ""),
        ]
        tags.append(("property", "og:title", html.unescape(title)))
        if text := description_of(doctree):
            tags += [("name", "description", text), ("property", "og:description", text)]
        if base := app.config.html_baseurl:
            tags.append(("property", "og:url", f"{base}{page}.html"))
            tags.append(("property", "og:image", base + PICTURE))
    lines = [
        f'<meta {kind}="{name}" content="{html.escape(content, quote=True)}" />'
        for kind, name, content in tags
        if content
    ]
    # docutils calls it a list, whose members say that they are no list's
    context["body"] = context.get("body", "").replace(
        '<div role="list" class="citation-list">', '<div class="citation-list">'
    )
    # the policy comes first: it holds for what follows
    context["metatags"] = "\n".join([*lines, context.get("metatags", "")])


def setup(app: Sphinx) -> dict[str, object]:
    """Sphinx calls this when it loads the extension."""
    app.connect("html-page-context", add_tags)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
