"""Build the book strictly: execute every notebook, render every page, say where to look and what it cost.

Two questions decide how much work there is, and both are answered by hashes, not by dates:

1. *Can the executed notebooks be kept?* jupyter-cache keys on the cells alone, so a change inside the package
   would be served stale. What a result depends on besides its cells (the package with weights and scripts,
   measured results, installed versions, local data) is hashed into the execution key; another key, no cache.
2. *Can the rendered pages be kept?* Sphinx re-reads changed pages only. That leaves stale side bars, and lets
   a build that failed on a warning pass the second time. So pages are kept only if nothing changed since a
   build that succeeded; otherwise every page is rendered again, which takes seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
HTML = BUILD / "html"
CACHE = BUILD / ".jupyter_cache"
DOCTREES = BUILD / ".doctrees"
EXECUTION_KEY = BUILD / ".execution-key"
FINISHED = BUILD / ".finished"

EXECUTION_INPUTS = ("crate_mini", "results", "requirements.lock")
PAGE_INPUTS = ("book", "notebooks", "tools", "_config.yml", "_toc.yml", "README.md")
IGNORED_FOLDERS = {"__pycache__", ".ipynb_checkpoints"}


# ---- keys ------------------------------------------------------------------------------------------------


def files_below(names: Iterable[str]) -> Iterator[Path]:
    """Every file of the named files and folders, sorted, without what Python and Jupyter leave behind."""
    for name in names:
        path = ROOT / name
        if path.is_file():
            yield path
        elif path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file() and not IGNORED_FOLDERS.intersection(file.parts):
                    yield file


def digest(names: Iterable[str], *words: str) -> str:
    """SHA-256 over the words and over path and content of every named file."""
    total = hashlib.sha256()
    for word in words:
        total.update(word.encode() + b"\0")
    for file in files_below(names):
        total.update(file.relative_to(ROOT).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def local_data() -> str:
    """Which local data sets the notebooks can see; their presence decides what some cells show."""
    folder = os.environ.get("CRATE_MINI_DATA", "")
    return f"{folder}:{sorted(os.listdir(folder)) if os.path.isdir(folder) else ''}"


def execution_key() -> str:
    """Everything that a notebook's outputs depend on, except the notebook."""
    installed = sorted({f"{d.name}=={d.version}" for d in distributions()})
    return digest(EXECUTION_INPUTS, sys.version, platform.platform(), local_data(), *installed)


def page_key(execution: str) -> str:
    """Everything that the rendered pages depend on."""
    return digest(PAGE_INPUTS, execution)


# ---- what is in the book ---------------------------------------------------------------------------------


def toc_entries() -> list[str]:
    """Pages of the table of contents, root first, in reading order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))

    def walk(node: dict) -> Iterator[str]:
        for name in ("root", "file"):
            if name in node:
                yield node[name]
        for name in ("parts", "chapters", "sections"):
            for child in node.get(name, ()):
                yield from walk(child)

    return list(walk(toc))


def notebooks() -> list[Path]:
    """The notebooks of the table of contents."""
    return [path for entry in toc_entries() if (path := ROOT / f"{entry}.ipynb").exists()]


def run_times() -> dict[Path, tuple[float, float]]:
    """Seconds of execution and the time it ended, for every notebook in the execution cache."""
    from jupyter_cache import get_cache

    if not CACHE.exists():
        return {}
    times: dict[Path, tuple[float, float]] = {}
    for record in get_cache(str(CACHE)).list_cache_records():
        path, ended = Path(record.uri), record.created.timestamp()
        if path not in times or times[path][1] < ended:
            times[path] = (record.data.get("execution_seconds", float("nan")), ended)
    return times


# ---- building --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two builds at once would share a cache; the second one waits. The lock dies with its process."""
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / ".lock", "w") as handle:
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Another build of this book is running; waiting for it to end.", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_environment() -> dict[str, str]:
    """The environment of the build: the reader's, less what would leak into a page."""
    env = dict(os.environ)
    env["CRATE_MINI_BOOK"] = "1"  # the package turns progress bars off
    env["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, not one in the home folder
    env["JUPYTER_PLATFORM_DIRS"] = "1"
    env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])
    for name in ("MPLBACKEND", "PYTHONPATH", "PYTHONSTARTUP"):
        env.pop(name, None)
    return env


def jupyter_book(*options: str) -> int:
    """Run ``jb build`` on this book; returns its exit status."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(ROOT)]
    return subprocess.call([*command, *options], cwd=ROOT, env=build_environment())


def render() -> int:
    """Run Jupyter Book as strictly as it can be run; returns its exit status."""
    return jupyter_book("-n", "-W", "--keep-going")


def build_page(page: str) -> int:
    """One page alone, beside the book and without touching it: the loop while writing a chapter.

    Links to other pages lead nowhere and are reported; the strict build of the whole book says which are wrong.
    """
    page = page.removesuffix(".ipynb").removesuffix(".md")
    if not any((ROOT / f"{page}{suffix}").exists() for suffix in (".ipynb", ".md")):
        print(
            f"There is no {page}.ipynb and no {page}.md; name a page like notebooks/05_crate.",
            file=sys.stderr,
        )
        return 1
    folder = BUILD / "pages" / page
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / ".execution-key"
    if not key.exists() or key.read_text() != execution_key():
        shutil.rmtree(folder / "_build", ignore_errors=True)
        key.write_text(execution_key())
    shutil.rmtree(folder / "_build" / "html", ignore_errors=True)
    toc = folder / "_toc.yml"
    root = toc_entries()[0]
    pages = {"root": root} if page == root else {"root": root, "chapters": [{"file": page}]}
    toc.write_text(yaml.safe_dump({"format": "jb-book", **pages}))
    status = jupyter_book("--toc", str(toc), "--path-output", str(folder))
    if status == 0:
        print(f"\nOpen this page:\n{folder / '_build' / 'html' / f'{page}.html'}")
    return status


def is_finished(key: str) -> bool:
    """Whether the pages on disk are those of this key, all of them."""
    if not FINISHED.exists() or FINISHED.read_text() != key:
        return False
    return all((HTML / f"{entry}.html").exists() for entry in ["index", *toc_entries()])


def build(*, fresh: bool = False) -> int:
    """Build what is out of date; returns 0 if the book on disk is whole and current."""
    execution = execution_key()
    pages = page_key(execution)
    if fresh or not EXECUTION_KEY.exists() or EXECUTION_KEY.read_text() != execution:
        shutil.rmtree(CACHE, ignore_errors=True)
        FINISHED.unlink(missing_ok=True)
        EXECUTION_KEY.write_text(execution)
    if is_finished(pages):
        print("Nothing changed since the last build.")
        return 0

    FINISHED.unlink(missing_ok=True)
    for folder in (DOCTREES, HTML):
        shutil.rmtree(folder, ignore_errors=True)
    status = render()
    if status != 0:
        print("\nThe book was not built: the first error or warning above says why.", file=sys.stderr)
        return status
    if page_key(execution_key()) != pages:
        print("\nFiles changed while the book was being built: run it again.", file=sys.stderr)
        EXECUTION_KEY.unlink()
        return 1
    FINISHED.write_text(pages)
    return 0


def report(started: float) -> None:
    """How long each notebook took, and the page to open."""
    times = run_times()
    rows = []
    for path in notebooks():
        seconds, ended = times.get(path, (float("nan"), 0.0))
        rows.append({"notebook": path.name, "seconds": round(seconds, 1), "executed_now": ended >= started})
    if rows:
        print(f"\n{'notebook':<40} {'seconds':>8}")
        for row in rows:
            note = "" if row["executed_now"] else "   (kept: nothing it depends on changed)"
            print(f"{row['notebook']:<40} {row['seconds']:>8.1f}{note}")
        print(f"{'all notebooks':<40} {sum(row['seconds'] for row in rows):>8.1f}")
    (BUILD / "run-times.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"\nBuilt in {time.time() - started:.0f} s. Open this page:\n{HTML / 'index.html'}")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the book strictly.")
    parser.add_argument("--fresh", action="store_true", help="execute every notebook again")
    parser.add_argument(
        "--page", help="render this page alone, such as notebooks/05_crate, below _build/pages"
    )
    arguments = parser.parse_args()
    started = time.time()
    if arguments.page:
        return build_page(arguments.page)
    with one_at_a_time():
        status = build(fresh=arguments.fresh)
        if status == 0:
            report(started)
    return status


if __name__ == "__main__":
    sys.exit(main())
