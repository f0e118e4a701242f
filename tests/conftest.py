"""What all tests share: the order they run in, the data they may need, the built book, the browser."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).resolve().parent.parent
BOOK_MINUTES = (
    40  # for the whole build on a slow machine; a single test is held to the timeout in pyproject.toml
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests first, the book last; a test that asks for the built book is a book test."""
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
    items.sort(key=lambda item: item.get_closest_marker("book") is not None)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images; only for tests marked ``realdata``."""
    return Path(os.environ["CRATE_MINI_DATA"])


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


@pytest.fixture(scope="session")
def built_book(request: pytest.FixtureRequest) -> Path:
    """Folder of the rendered pages, built now if anything changed; the log is shown as it comes."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\nbuilding the book", flush=True)
        status = subprocess.call([sys.executable, str(ROOT / "tools" / "build_book.py")], cwd=ROOT)
    if status != 0:
        pytest.fail("the strict build of the book failed; its log is above", pytrace=False)
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """One Chromium for all tests. Without one they fail, unless CRATE_MINI_NO_BROWSER=1 says to skip them."""
    if os.environ.get("CRATE_MINI_NO_BROWSER") == "1" and not os.environ.get("CI"):
        pytest.skip("CRATE_MINI_NO_BROWSER=1")
    from browser import chromium

    with chromium() as running:
        yield running
