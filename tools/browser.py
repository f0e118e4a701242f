"""Chromium for tests and screenshots: found on this machine, started once, cut off from the network."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, BrowserContext, Route, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"

FLAGS = [
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
LOCAL = ("file:", "data:", "blob:", "about:")


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome, from ``CHROMIUM`` or the usual names; None if there is none."""
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named)
    for name in NAMES:
        if path := shutil.which(name):
            return path
    return MAC if os.path.exists(MAC) else None


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser.

    Raises:
        RuntimeError: no Chromium on this machine.
    """
    path = find_chromium()
    if path is None:
        raise RuntimeError(
            f"no browser found (looked for {', '.join(NAMES)}): install Chromium, for example with "
            "'apt-get install chromium', or set CHROMIUM to the path of one"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def offline_context(browser: Browser, refused: list[str], **options: object) -> Iterator[BrowserContext]:
    """A fresh context in which every request that leaves this machine is refused and noted in ``refused``."""
    context = browser.new_context(**options)

    def guard(route: Route) -> None:
        if route.request.url.startswith(LOCAL):
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    # Web sockets do not pass through routes.
    context.route_web_socket("**/*", lambda socket: (refused.append(socket.url), socket.close()))
    try:
        yield context
    finally:
        context.close()


# JavaScript that resolves once a page has settled: scripts run, fonts and images there, math set.
SETTLED = """async () => {
  if (document.fonts) await document.fonts.ready;
  if (window.MathJax && window.MathJax.startup) await window.MathJax.startup.promise;
  for (const image of document.images) image.loading = 'eager';
  await Promise.all([...document.images].map(image => image.complete ? null :
    new Promise(done => { image.onload = image.onerror = done; })));
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
