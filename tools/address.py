"""The repository's address, in one place, and everywhere that it is said.

    make set-repository URL=https://github.com/OWNER/NAME     write it, everywhere
    make set-repository URL=                                  take it out again, everywhere

The place is ``Repository`` under ``[project.urls]`` of pyproject.toml. Without one nothing leads to an address that may
not be: no badge, no rocket, and what is to be typed works from a copy of the repository. The rendered book then takes
the checkout's own origin for its buttons, if that is a public one (:func:`of_book`).

What says the address: pyproject.toml, CITATION.cff, the set-up cell of every notebook (``notebook_form.py``), and
blocks of Markdown between ``<!-- address: NAME -->`` and ``<!-- end -->``, one of :data:`BLOCKS` each.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BRANCH = "main"
HOSTS = ("github.com", "gitlab.com", "bitbucket.org")
"""Where the buttons of a page can lead."""
PUBLIC = re.compile(
    rf"(?:https://(?:[^/@]+@)?|ssh://git@|git@)(?P<host>{'|'.join(map(re.escape, HOSTS))})[/:]"
    r"(?P<path>[\w.-]+/[\w.-]+?)(?:\.git)?/?"
)
BLOCK = re.compile(r"(<!-- address: (\w+) -->\n).*?(\n<!-- end -->)", re.DOTALL)
PAGES = ("README.md", "book/how_to_run.md")


# ---- the address -----------------------------------------------------------------------------------------


def normal(url: str) -> str | None:
    """``https://HOST/OWNER/NAME`` of an address on a public host, however it is written; None of any other."""
    found = PUBLIC.fullmatch(url.strip())
    return found and f"https://{found['host']}/{found['path']}"


def written(root: Path = ROOT) -> str | None:
    """The address that pyproject.toml holds, if there is such a file and it holds one."""
    file = root / "pyproject.toml"
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"] if file.is_file() else {}
    return project.get("urls", {}).get("Repository")


def of_book(root: Path = ROOT) -> str | None:
    """The address that is written; else that of a public origin; else None."""
    if found := written(root):
        return found
    asked = subprocess.run(
        ["git", "-C", str(root), "remote", "get-url", "origin"], capture_output=True, text=True, check=False
    )
    return normal(asked.stdout) if asked.returncode == 0 else None


def pages_of(url: str) -> str | None:
    """Where GitHub publishes the book of a repository; None of other hosts, which have no one rule."""
    host, owner, name = url.removeprefix("https://").split("/")
    return f"https://{owner.lower()}.github.io/{name}/" if host == "github.com" else None


def colab_of(url: str, notebook: str) -> str | None:
    """Where Colab opens a notebook of a repository on GitHub; None of other hosts."""
    prefix = "https://github.com/"
    if not url.startswith(prefix):
        return None
    return f"https://colab.research.google.com/github/{url.removeprefix(prefix)}/blob/{BRANCH}/{notebook}"


# ---- what is said with it, and without ---------------------------------------------------------------------


def _clone(url: str | None) -> str:
    begin = f"git clone {url}\ncd {url.rpartition('/')[2]}" if url else "# in a copy of this repository:"
    return f"""```bash
{begin}
make book    # execute every notebook, render the book, say which page to open
make test    # the same, and lint, unit tests, and every page in a browser
```"""


def _install(url: str | None) -> str:
    return f"```bash\npip install {f'git+{url}' if url else '.    # in a copy of this repository'}\n```"


def _readme_colab(url: str | None) -> str:
    first = url and colab_of(url, "notebooks/00_what_you_will_see.ipynb")
    cell = "The first cell installs the package and leaves Colab's own PyTorch alone."
    if first:
        badge = f"[![Open in Colab](book/_assets/colab.svg)]({first})"
        return f"{badge} Start with the first chapter, or press the rocket at the top of any other. {cell}"
    return f"Upload a notebook, and beside it a wheel of the package, which `pip wheel . --no-deps` makes. {cell}"


def _page_colab(url: str | None) -> str:
    if url and colab_of(url, ""):
        return "Press the rocket at the top of a chapter and choose *Colab*."
    return (
        "Upload a notebook to Colab, and into the session's files a wheel of the package, which "
        "`pip wheel . --no-deps` makes in a copy of the repository."
    )


BLOCKS: dict[str, Callable[[str | None], str]] = {
    "clone": _clone,
    "install": _install,
    "readme_colab": _readme_colab,
    "page_colab": _page_colab,
}
"""Name -> what the block says with an address, and without."""


def with_blocks(text: str, url: str | None) -> str:
    """Markdown with all its blocks as they are with this address.

    Raises:
        KeyError: a block that is none of :data:`BLOCKS`.
    """
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](url)}{found[3]}", text)


# ---- writing it ------------------------------------------------------------------------------------------


def set_everywhere(url: str | None, root: Path = ROOT) -> list[Path]:
    """Write the address wherever it is said, or take it out; returns the files that changed."""
    changed = []

    def rewrite(name: str, change: Callable[[str], str]) -> None:
        path = root / name
        before = path.read_text(encoding="utf-8")
        if (after := change(before)) != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)

    rewrite("pyproject.toml", lambda text: _in_project(text, url))
    rewrite("CITATION.cff", lambda text: _in_citation(text, url))
    for page in PAGES:
        rewrite(page, lambda text: with_blocks(text, url))
    return changed


def _in_project(text: str, url: str | None) -> str:
    text = re.sub(r"\[project\.urls\]\n(?:\w+ = .*\n)*\n", "", text)
    if url is None:
        return text
    lines = [f'Repository = "{url}"'] + [f'Book = "{book}"' for book in [pages_of(url)] if book]
    return text.replace(
        "[project.scripts]\n", "[project.urls]\n" + "\n".join(lines) + "\n\n[project.scripts]\n"
    )


def _in_citation(text: str, url: str | None) -> str:
    text = re.sub(r"^(?:repository-code|url): .*\n", "", text, flags=re.MULTILINE)
    if url is None:
        return text
    lines = [f'repository-code: "{url}"'] + [f'url: "{book}"' for book in [pages_of(url)] if book]
    return text.replace("abstract: ", "\n".join(lines) + "\nabstract: ", 1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "url", nargs="?", help="as https://github.com/OWNER/NAME; empty: none; left out: say it"
    )
    a = parser.parse_args()
    if a.url is None:
        print(written() or f"no address is written; pages take {of_book() or 'none'}")
        return
    url = normal(a.url) if a.url else None
    if a.url and url is None:
        raise SystemExit(
            f"{a.url!r} is no address like https://github.com/OWNER/NAME, on one of {', '.join(HOSTS)}"
        )
    for path in set_everywhere(url):
        print(f"written: {path.relative_to(ROOT)}")
    import notebook_form  # reads the address when it is imported, so now

    for path in notebook_form.all_notebooks():
        notebook_form.mend(path)
    notebook_form.strip()
    print("and the set-up cell of every notebook; commit them, and run make test")


if __name__ == "__main__":
    main()
