"""What all tests share: the order they run in, the data they may need, the built book, the browser.

``pytest -n auto`` runs one worker on each core: unit tests file by file, then those of the book, its pages one by one.
One worker builds the book first, once for all, while the others are at the unit tests; so none has to wait for it long.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import first_calls
import numpy as np
import pytest
from execution import cores
from PIL import Image

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("CRATE_MINI_DIRTY", "1")  # results of tests are thrown away, committed code or not

ROOT = Path(__file__).resolve().parent.parent
BOOK_MINUTES = 80  # a test of the book may have to wait until all of it is built, on a slow and busy machine
BUILDERS = (
    "test_every_notebook_was_executed",
    "test_build_is_never_stale_and_never_forgives",
    "test_one_page_alone",
)
"""Tests that build for minutes and need no tab: begun first where others are at work beside them."""
TOGETHER = {"tests/test_export.py": "tests/test_new_operators.py"}
"""Files that go to the worker of another: both export, and what that imports takes ten seconds."""


# ---- order and workers -----------------------------------------------------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests first, the book last; a test that asks for the built book is a book test.

    Where there are several workers, one of them begins with what builds.
    """
    folder = os.environ.get("CRATE_MINI_DATA", "")
    if not folder:
        no_data = "CRATE_MINI_DATA names no folder of real images"
    elif not os.path.isdir(folder):
        no_data = f"CRATE_MINI_DATA names {folder!r}, which is not a folder"
    else:
        no_data = ""
    for item in items:
        if "built_book" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.book)
            item.add_marker(pytest.mark.timeout(BOOK_MINUTES * 60))
        if no_data and item.get_closest_marker("realdata"):
            item.add_marker(pytest.mark.skip(reason=no_data))
    together = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1

    def place(item: pytest.Item) -> int:
        if together and item.name in BUILDERS:
            return BUILDERS.index(item.name) - len(BUILDERS)
        return int(item.get_closest_marker("book") is not None or item.path.name == "test_book.py")

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What is imported stays: who looks for garbage need not look there again and again."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    """At the end all of it may go."""
    gc.unfreeze()


def pytest_runtest_setup() -> None:
    """Of every test the first calls are checked."""
    first_calls.begin()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker a core; each holds a browser and PyTorch, some 2 GB, so not more than eight."""
    return min(cores(), 8)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list) -> None:
    """The workers share the cores: what each inherits says how many threads are its own."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // len(specs))))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Files stay whole, for what their tests share, and in order; what builds and the pages go one by one."""
    from xdist.scheduler import LoadScopeScheduling

    class InOrder(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, name = nodeid.split("::", 1)
            alone = "test_book.py" in file and ("[" in name or name in BUILDERS)
            return nodeid if alone else TOGETHER.get(file, file)

    config.option.loadscopereorder = False
    return InOrder(config, log)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A failure is told when it happens; its traceback follows at the end, as always."""
    if report.failed and (terminal := _terminal.get("reporter")):
        crash = getattr(report.longrepr, "reprcrash", None)
        message = crash.message if crash else report.longreprtext
        terminal.write_line(
            f"\n{report.nodeid} failed: {next(iter(message.splitlines()), '')[:200]}", red=True
        )


_terminal: dict[str, pytest.TerminalReporter] = {}


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Only the process that writes to the terminal tells of failures."""
    if not hasattr(config, "workerinput") and (
        reporter := config.pluginmanager.getplugin("terminalreporter")
    ):
        _terminal["reporter"] = reporter


def pytest_report_header() -> str:
    """Which browser will be used, or what to install, before anything runs."""
    from browser import MISSING, find_chromium

    return f"browser: {find_chromium() or f'none, so its tests are skipped. {MISSING}'}"


# ---- data ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images; only for tests marked ``realdata``."""
    return Path(os.environ["CRATE_MINI_DATA"])


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if standard error were a terminal: progress bars are drawn where they are asked for."""
    from crate_mini import progress  # not before jaxtyping has prepared the package

    monkeypatch.setattr(progress, "watched", lambda: True)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve training and six validation images of either of two classes, which differ in brightness."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 12), ("val", 6)):
        for name, level in (("dark", 60), ("light", 190)):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = np.clip(level + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "pictures"


# ---- book and browser ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def built_book(request: pytest.FixtureRequest) -> Path:
    """Folder of the rendered pages, built now if anything changed; the log is shown as it comes."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\nbuilding the book", file=sys.stderr, flush=True)
        # A worker's standard output belongs to its conversation with the main process; its errors are shown.
        status = subprocess.call(
            [sys.executable, str(ROOT / "tools" / "build_book.py")], cwd=ROOT, stdout=sys.stderr.fileno()
        )
    if status != 0:
        pytest.fail("the strict build of the book failed; its log is above", pytrace=False)
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """One Chromium for all tests of a worker. Where there is none they are skipped, in CI they fail."""
    from browser import MISSING, chromium, find_chromium

    if not os.environ.get("CI"):
        if os.environ.get("CRATE_MINI_NO_BROWSER") == "1":
            pytest.skip("CRATE_MINI_NO_BROWSER=1")
        if find_chromium() is None:
            pytest.skip(f"no browser. {MISSING}")
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def tabs(browser) -> Iterator:
    """Tabs of that Chromium, which tests take turns with."""
    from tabs import Tabs

    opened = Tabs(browser)
    yield opened
    opened.close()
