"""Build the book strictly: execute every notebook, render every page, say where to look and what it cost.

Two questions decide how much work there is, and both are answered by hashes, not by dates:

1. *Can an executed notebook be kept?* jupyter-cache keys on the cells alone, so a change inside the package would be
   served stale. What a result depends on besides its cells (the package with weights and scripts, measured results,
   installed versions, local data) is hashed into an execution key that is kept with the outputs; with another key
   they are dropped. The modules that serve one chapter alone count for its notebook alone.
2. *Can the rendered pages be kept?* Sphinx re-reads changed pages only. That leaves stale side bars, and lets
   a build that failed on a warning pass the second time. So pages are kept only if nothing changed since a
   build that succeeded; otherwise every page is rendered again.

Notebooks are executed beforehand, several at once (``execution.py``); Jupyter Book finds them all in the cache.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path

import executed_copies
import execution
import yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
HTML = BUILD / "html"
CACHE = BUILD / ".jupyter_cache"
DOCTREES = BUILD / ".doctrees"
FINISHED = BUILD / ".finished"
REPORTS = BUILD / "reports"
TIMES = BUILD / "run-times.json"
COPIES = BUILD / "executed"

EXECUTION_INPUTS = ("crate_mini", "results", "requirements.lock")
PAGE_INPUTS = ("book", "notebooks", "tools", "_config.yml", "_toc.yml", "README.md")
ROOM = 64 * 2**20  # bytes; with less than that left, the disk is called full
NO_ROOM = f"A build takes about 1 GB in {BUILD}. Make room and run it again: what was executed is kept."
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
NOT_YOURS = (
    f"A build writes into {BUILD}. Let yourself write there, or build in a copy of the book that is yours."
)
IGNORED_FOLDERS = {"__pycache__", ".ipynb_checkpoints"}
# Checkers, figures and facts of one chapter, by its number: a test sees that nothing else imports them.
OF_ONE_CHAPTER = re.compile(r"crate_mini/(?:chapters|exercises)/[a-z_]*(\d\d)")


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


def digest(files: Iterable[Path], *words: str) -> str:
    """SHA-256 over the words and over path and content of every file."""
    total = hashlib.sha256()
    for word in words:
        total.update(word.encode() + b"\0")
    for file in files:
        total.update(file.relative_to(ROOT).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def local_data() -> str:
    """Which local data sets the notebooks can see; their presence decides what some cells show."""
    folder = os.environ.get("CRATE_MINI_DATA", "")
    return f"{folder}:{sorted(os.listdir(folder)) if os.path.isdir(folder) else ''}"


def surroundings() -> tuple[str, ...]:
    """What outputs depend on besides files: Python, the system, installed versions, local data."""
    installed = sorted({f"{d.name}=={d.version}" for d in distributions()})
    return sys.version, platform.platform(), local_data(), *installed


def execution_keys(paths: Iterable[Path]) -> dict[Path, str]:
    """For each notebook, everything that its outputs depend on, except the notebook itself."""
    shared, own = [], {}
    for file in files_below(EXECUTION_INPUTS):
        found = OF_ONE_CHAPTER.match(file.relative_to(ROOT).as_posix())
        (own.setdefault(found[1], []) if found else shared).append(file)
    base = digest(shared, *surroundings())
    return {path: digest(own.get(path.stem[:2], ()), base) for path in paths}


def page_key() -> str:
    """Everything that the rendered pages depend on."""
    return digest(files_below([*EXECUTION_INPUTS, *PAGE_INPUTS]), *surroundings())


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


def cached() -> dict[Path, dict]:
    """What is known of every notebook's last execution that is kept: ``key``, ``seconds``, ``ended`` and so on."""
    from jupyter_cache import get_cache

    if not CACHE.exists():
        return {}
    records = sorted(get_cache(str(CACHE)).list_cache_records(), key=lambda record: record.created)
    return {Path(record.uri): {**record.data, "ended": record.created.timestamp()} for record in records}


# ---- executing -------------------------------------------------------------------------------------------


def drop_stale(keys: dict[Path, str]) -> list[Path]:
    """Take out of the cache what is not to be shown again; returns the notebooks to execute."""
    from jupyter_cache import get_cache

    cache = get_cache(str(CACHE))
    missing = []
    for path, key in keys.items():
        try:
            current = cache.match_cache_file(str(path))
        except KeyError:
            current = None
        if current is not None and current.data.get("key") != key:
            cache.remove_cache(current.pk)
            current = None
        if current is None:
            missing.append(path)
    return missing


def keep(done: execution.Executed, key: str) -> None:
    """Put an executed notebook into the cache, in place of what is there of it."""
    from jupyter_cache import get_cache
    from jupyter_cache.base import CacheBundleIn

    cache = get_cache(str(CACHE))
    for record in cache.list_cache_records():
        if record.uri == str(done.path):
            cache.remove_cache(record.pk)
    facts = {
        "key": key,
        "seconds": done.seconds,
        "execution_seconds": done.seconds,  # the name by which the status page asks for it
        "cpu_seconds": done.cpu_seconds,
        "peak_mib": done.peak_mib,
    }
    cache.cache_notebook_bundle(
        CacheBundleIn(done.notebook, str(done.path), data=facts), check_validity=False, overwrite=True
    )


def longest_first(paths: Iterable[Path]) -> list[Path]:
    """As long as the last time, so that no long one is begun when the others are done; new ones before all."""
    times = (
        {row["notebook"]: row["cpu_seconds"] for row in json.loads(TIMES.read_text())}
        if TIMES.exists()
        else {}
    )
    return sorted(paths, key=lambda path: -times.get(path.name, float("inf")))


def execute(paths: Iterable[Path], *, fresh: bool = False) -> bool:
    """Execute the notebooks whose outputs are not in the cache; returns whether all went well."""
    keys = execution_keys(paths)
    shutil.rmtree(REPORTS, ignore_errors=True)
    if fresh:
        shutil.rmtree(CACHE, ignore_errors=True)
    missing, failed = longest_first(drop_stale(keys)), 0
    if missing:
        together = min(len(missing), execution.workers())
        print(f"executing {len(missing)} of {len(keys)} notebooks, {together} at a time", flush=True)
    for done in execution.execute_all(missing):
        name = done.path.name
        if done.failure:
            failed += 1
            REPORTS.mkdir(parents=True, exist_ok=True)
            report = REPORTS / f"{done.path.stem}.txt"
            report.write_text(done.failure, encoding="utf-8")
            print(f"{name} failed:\n{done.failure}\nThis is kept in {report}", file=sys.stderr, flush=True)
        else:
            keep(done, keys[done.path])
            print(f"{name}: {done.seconds:.0f} s, {done.cpu_seconds:.0f} s of a core", flush=True)
    return not failed


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
    env = os.environ | execution.KERNEL
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])
    for name in execution.NOT_FOR_KERNELS:
        env.pop(name, None)
    return env


def is_full() -> bool:
    """Whether the disk has no room left, which every library says in its own words."""
    return shutil.disk_usage(ROOT).free <= ROOM


def jupyter_book(*options: str) -> int:
    """Run ``jb build`` on this book; returns its exit status."""
    tools = str(Path(__file__).resolve().parent)
    program = f"import sys; sys.path.insert(0, {tools!r}); import quick_nbformat; sys.path.pop(0)"
    command = [sys.executable, "-c", f"{program}; from jupyter_book.cli.main import main; main()", "build"]
    return subprocess.call([*command, str(ROOT), *options], cwd=ROOT, env=build_environment())


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
    notebook = ROOT / f"{page}.ipynb"
    if notebook.exists() and not execute([notebook]):
        return 1
    shutil.rmtree(folder / "_build", ignore_errors=True)  # Sphinx would not read a page again for new outputs
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
    if not FINISHED.exists() or FINISHED.read_text() != key or not TIMES.exists():
        return False
    return all((HTML / f"{entry}.html").exists() for entry in ["index", *toc_entries()])


def build(*, fresh: bool = False) -> int:
    """Build what is out of date; returns 0 if the book on disk is whole and current."""
    pages = page_key()
    if is_finished(pages) and not fresh:
        print("Nothing changed since the last build.")
        return 0

    FINISHED.unlink(missing_ok=True)
    if not execute(notebooks(), fresh=fresh):
        print("\nThe book was not built: the notebooks that failed are named above.", file=sys.stderr)
        return 1
    note_costs()
    executed_copies.write_all(notebooks(), CACHE, COPIES)
    for folder in (DOCTREES, HTML):
        shutil.rmtree(folder, ignore_errors=True)
    status = render()
    if status != 0:
        why = f"the disk is full.\n{NO_ROOM}" if is_full() else "the first error or warning above says why."
        print(f"\nThe book was not built: {why}", file=sys.stderr)
        return status
    if page_key() != pages:
        print("\nFiles changed while the book was being built: run it again.", file=sys.stderr)
        shutil.rmtree(CACHE)  # nobody knows which notebook saw what
        return 1
    FINISHED.write_text(pages)
    return 0


def note_costs() -> None:
    """Write down what each notebook cost: for the status page, for the next build, for who asks."""
    known, rows = cached(), []
    for path in notebooks():
        facts = known[path]
        rows.append(
            {
                "notebook": path.name,
                "seconds": round(facts["seconds"], 1),
                "cpu_seconds": round(facts["cpu_seconds"], 1),
                "peak_mib": round(facts["peak_mib"]),
                "ended": facts["ended"],
            }
        )
    TIMES.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def report(started: float) -> None:
    """What each notebook cost, and the page to open."""
    rows = json.loads(TIMES.read_text(encoding="utf-8"))
    print(f"\n{'notebook':<40} {'seconds':>8} {'of a core':>10} {'MiB':>6}")
    for row in rows:
        note = "" if row["ended"] >= started else "   (kept: nothing it depends on changed)"
        costs = f"{row['seconds']:>8.1f} {row['cpu_seconds']:>10.1f} {row['peak_mib']:>6}"
        print(f"{row['notebook']:<40} {costs}{note}")
    print(f"{'all notebooks':<49} {sum(row['cpu_seconds'] for row in rows):>10.1f}")
    print(f"Executed copies, for code hosts: {COPIES}")
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
    try:
        with one_at_a_time():
            if arguments.page:
                return build_page(arguments.page)
            status = build(fresh=arguments.fresh)
            if status == 0:
                report(started)
        return status
    except KeyboardInterrupt:
        print("\nStopped. Run it again: notebooks that were executed are kept.", file=sys.stderr)
        return 130
    except Exception as error:  # of any library that writes
        if is_full():
            print(f"\nThe disk is full ({error}).\n{NO_ROOM}", file=sys.stderr)
        elif isinstance(error, OSError) and error.errno in REFUSED:
            print(
                f"\n{error.filename or BUILD} cannot be written ({error.strerror}).\n{NOT_YOURS}",
                file=sys.stderr,
            )
        else:
            raise
        return 1


if __name__ == "__main__":
    sys.exit(main())
