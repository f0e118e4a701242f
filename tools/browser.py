"""Chromium for tests and screenshots: found on this machine or brought, started once, cut off from the network.

    python tools/browser.py

says which one the tests will use. Where there is none it fetches Playwright's, and where that cannot be had it asks
the system's package manager, as root, or in CI by a sudo that needs no password. Nothing else is ever installed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

from playwright.sync_api import Browser, BrowserContext, Route, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
MISSING = (
    "Install Chromium or Chrome, for example with 'apt-get install chromium' or "
    "'python -m playwright install --with-deps chromium', or set CHROMIUM to the path of one."
)
MINUTES_TO_FETCH = 10
ATTEMPTS = 3  # mirrors have bad moments
MANAGERS = {
    # The browser's package brings its libraries; the font is for the text in the pages.
    "apt-get": [
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core"],
    ],
    "dnf": [["dnf", "install", "-y", "-q", "chromium", "dejavu-sans-fonts"]],
    "apk": [["apk", "add", "--quiet", "chromium", "font-dejavu"]],
}

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
OUTSIDE = re.compile(r"^(?!file:|data:|blob:|about:)")
"""Addresses that lead out of this machine. Only these are asked about: each question costs a way to Python and back."""
PATIENT = (
    300_000  # milliseconds for any one thing: against hanging for ever, not against a machine that is busy
)


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome: what ``CHROMIUM`` names, the system's, or Playwright's; None if there is none."""
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named)
    for name in NAMES:
        if path := shutil.which(name):
            return path
    return MAC if os.path.exists(MAC) else playwrights()


@functools.cache
def playwrights() -> str | None:
    """Path of the browser that Playwright has fetched, if it has and this machine can start it."""
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) and runs([path, "--version"], quietly=True) else None


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser.

    Raises:
        RuntimeError: no Chromium on this machine.
    """
    path = find_chromium()
    if path is None:
        raise RuntimeError(f"no browser found (looked for {', '.join(NAMES)} and Playwright's). {MISSING}")
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
    context.set_default_timeout(PATIENT)

    def guard(route: Route) -> None:
        refused.append(route.request.url)
        route.abort()

    context.route(OUTSIDE, guard)
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


# ---- bringing one ----------------------------------------------------------------------------------------


def runs(command: list[str], *, quietly: bool = False) -> bool:
    """Whether a command is there and ends well, in time."""
    out = subprocess.DEVNULL if quietly else sys.stderr
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            timeout=60 * MINUTES_TO_FETCH,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def fetch_playwrights() -> bool:
    """Let Playwright fetch its own Chromium; needs no rights, but its libraries must be there."""
    print("no browser here; fetching Playwright's", flush=True)
    fetch = [sys.executable, "-m", "playwright", "install", "chromium"]
    fetched = runs(fetch, quietly=True)
    playwrights.cache_clear()
    return fetched and playwrights() is not None


def install_from_system() -> bool:
    """Ask the package manager, where nobody has to be asked for a password."""
    manager = next((name for name in MANAGERS if shutil.which(name)), None)
    if manager is None or not hasattr(os, "geteuid"):
        return False
    if os.geteuid() == 0:
        prefix = []
    elif os.environ.get("CI") and runs(["sudo", "-n", "true"], quietly=True):
        prefix = ["sudo", "-n"]
    else:
        return False
    print(f"installing chromium with {manager}", flush=True)
    return any(all(runs([*prefix, *command]) for command in MANAGERS[manager]) for _ in range(ATTEMPTS))


def provide() -> str | None:
    """Path of a browser: found, or else fetched, or else installed; None if there is no way."""
    for bring in (lambda: True, fetch_playwrights, install_from_system):
        if bring() and (path := find_chromium()):
            return path
        if os.environ.get("CHROMIUM"):  # somebody chose one, and it is not there: that is for them to mend
            break
    return None


def main() -> int:
    """Say which browser the tests will use; 1 if there is none and CI needs one."""
    if os.environ.get("CRATE_MINI_NO_BROWSER") == "1" and not os.environ.get("CI"):
        print("CRATE_MINI_NO_BROWSER=1: tests in a browser are skipped")
        return 0
    if path := provide():
        print(f"browser for the tests: {path}")
        return 0
    print(f"No browser, so tests in a browser are skipped. {MISSING}", file=sys.stderr)
    return 1 if os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
