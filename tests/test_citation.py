"""How to cite: the entry says what the citation file says, with the version, and an address only where there is one."""

from __future__ import annotations

from pathlib import Path

import sphinx_citation
import yaml

CITED = yaml.safe_load((Path(__file__).parent.parent / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_entry_says_what_the_file_says():
    bare = {key: value for key, value in CITED.items() if key not in ("url", "repository-code")}
    entry = sphinx_citation.bibtex(bare, "2026", "0123456789ab")
    assert entry.startswith("@software{crate_mini,")
    assert entry.count("{") == entry.count("}")
    for said in (CITED["title"], CITED["version"], CITED["license"], "2026", "commit 0123456789ab"):
        assert said in entry
    assert "url" not in entry


def test_an_address_is_said_where_there_is_one():
    entry = sphinx_citation.bibtex(
        CITED | {"repository-code": "https://x.org/a", "url": "https://x.org/b"}, "2026"
    )
    assert "https://x.org/b" in entry
    assert "https://x.org/a" not in entry
    assert "note" not in entry
