"""The inspector where it is used: a real JupyterLab with a real kernel, in Chromium, with the network cut off.

One notebook shows it twice. The first inspector works as with large models, through the kernel; the second has its
model in the page and must not notice anything.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from browser import FLAGS, PATIENT, find_chromium
from PIL import Image

from crate_mini import data
from crate_mini.attention_maps import cls_attention_maps
from crate_mini.inspector import quantise
from crate_mini.inspector.contract import colour_table

pytest.importorskip("jupyterlab")

SETUP = """\
import os
import torch
from crate_mini import HeadInspector
from crate_mini.model import create_model

torch.manual_seed(0)
model = create_model("crate_nano", image_size=32, num_classes=3).eval()
for parameter in model.parameters():
    parameter.data = 1.25 * parameter.data  # sharper heads than untrained ones
images = (255 * torch.rand(2, 3, 48, 48)).byte()
"""
NOTE_PROCESS = """
with open("kernels.txt", "a") as file:
    print(os.getpid(), file=file)
"""
SHOWS = (
    'HeadInspector(model, images, side=48, run_in_page=False, view="heat", layer=2)',
    'HeadInspector(model, images, side=48, run_in_page=True, view="heat", layer=2)',
)
READY = """() => {
  const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
  const kernel = context?.session?.kernel;
  return context?.isReady && kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
}"""
# Parts of JupyterLab that the test has no use for and that take long to start.
WITHOUT = ("debugger", "extensionmanager", "lsp", "mermaid", "terminal")


@dataclass
class Lab:
    """A running JupyterLab: where it is, and what it has of its own."""

    folder: Path
    port: int
    token: str
    process: subprocess.Popen = field(repr=False)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}"

    def answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url("api/status"), timeout=10):
            return True
        return False

    def close(self) -> None:
        """Server and kernels, asked first and then made to."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            urllib.request.urlopen(
                urllib.request.Request(self.url("api/shutdown"), method="POST"), timeout=30
            ).close()
            self.process.wait(30)
        for number in [self.process.pid, *self.kernels()]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(number, signal.SIGKILL)  # both lead groups of their own
        self.process.wait()

    def kernels(self) -> list[int]:
        """Process numbers of all kernels that ran the notebook."""
        path = self.folder / "work" / "kernels.txt"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture
def lab(tmp_path) -> Iterator[Lab]:
    work, config = tmp_path / "work", tmp_path / "config"
    work.mkdir()
    cells = [SETUP + NOTE_PROCESS, *SHOWS]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": kernel}, cells=[nbformat.v4.new_code_cell(source) for source in cells]
    )
    nbformat.write(notebook, work / "heads.ipynb")
    settings = {
        "labconfig/page_config.json": {
            "disabledExtensions": {f"@jupyterlab/{name}-extension": True for name in WITHOUT}
        },
        "jupyter_server_config.json": {
            "ServerApp": {
                "jpserver_extensions": {
                    "jupyterlab": True,
                    "jupyter_lsp": False,
                }
            },
            "LabApp": {"extension_manager": "readonly", "expose_app_in_browser": True},
            "LabServerApp": {"app_settings_dir": str(config)},
        },
        "overrides.json": {  # or it asks whether it may look for news
            "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
        },
    }
    for name, content in settings.items():
        (config / name).parent.mkdir(parents=True, exist_ok=True)
        (config / name).write_text(json.dumps(content))
    own = {f"JUPYTER_{part}_DIR": str(tmp_path / part.lower()) for part in ("DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{part}_DIR": str(tmp_path / part.lower()) for part in ("SETTINGS", "WORKSPACES")}
    own |= {"JUPYTER_CONFIG_DIR": str(config), "IPYTHONDIR": str(tmp_path / "ipython")}
    root = Path(__file__).resolve().parents[2]
    own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={work}",
    ]  # fmt: skip
    with open(tmp_path / "lab.log", "wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | own, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )  # fmt: skip
    running = Lab(tmp_path, port, token, process)
    try:
        end = time.monotonic() + PATIENT / 1000
        while not running.answers():
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail((tmp_path / "lab.log").read_text()[-3000:], pytrace=False)
            time.sleep(0.1)
        yield running
    finally:
        running.close()
    for number in running.kernels():
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


@dataclass
class Seen:
    """What a tab did besides showing the notebook."""

    refused: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture
def notebook(browser, lab) -> Iterator[tuple]:
    """A tab with the notebook, its kernel ready; and what else the tab did."""
    seen, here = Seen(), f"127.0.0.1:{lab.port}/"
    flags = [flag for flag in FLAGS if not flag.startswith("--host-resolver-rules")]
    flags.append("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")

    def guard(route) -> None:
        url = route.request.url
        if url.startswith((f"http://{here}", "data:", "blob:")):
            seen.fetched.append(url)
            return route.continue_()
        seen.refused.append(url)
        return route.abort()

    def theirs(where: str) -> bool:
        """Whether something happened in JupyterLab's own files; our scripts stand in the page."""
        return "/static/" in where or "/lab/extensions/" in where

    def on_message(message) -> None:
        if message.type in ("error", "warning") and not theirs(message.location["url"]):
            seen.errors.append(f"{message.text} ({message.location['url']})")

    running = browser.browser_type.launch(executable_path=find_chromium(), args=flags)
    try:
        context = running.new_context(viewport={"width": 1100, "height": 3000})  # all cells in sight
        context.route("**/*", guard)
        tab = context.new_page()
        tab.set_default_timeout(PATIENT)
        tab.on("console", on_message)
        tab.on("pageerror", lambda e: None if theirs(e.stack or "") else seen.errors.append(str(e)))
        tab.goto(lab.url("doc/tree/heads.ipynb"))
        tab.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        yield tab, seen
    finally:
        running.close()


# ---- what the reader sees, and what PyTorch says ---------------------------------------------------------


def run_all(tab) -> None:
    """By the menu, once the kernel has said hello: JupyterLab drops cells that it is told to run before."""
    tab.wait_for_function(READY)
    tab.get_by_role("menuitem", name="Run", exact=True).click()
    tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    tab.locator(".jp-CodeCell .jp-InputPrompt", has_text="[*]").or_(
        tab.locator(".jp-CodeCell .jp-InputPrompt", has_text="[1]")
    ).first.wait_for()


def viewers(tab) -> list:
    """Both inspectors on show, drawn."""
    roots = [tab.locator(".jp-CodeCell").nth(i).locator(".crate-heads:has(.ch-body)") for i in (1, 2)]
    for root in roots:
        root.wait_for()
    return roots


def shows(root, **wanted: object) -> dict:
    """Wait until the viewer has drawn this state."""
    for key, value in wanted.items():
        text = f'"{key}":{json.dumps(value, separators=(",", ":"))}'
        root.page.locator(f"[id='{root.get_attribute('id')}'][data-shown*='{text}']").wait_for()
    return json.loads(root.get_attribute("data-shown"))


def colours_at_patches(root, h: int, w: int) -> np.ndarray:
    """Of the large picture as the reader has it, ``(h, w, 3)``."""
    url = root.locator(".ch-large canvas").evaluate("canvas => canvas.toDataURL('image/png')")
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB")).astype(int)
    y, x = (
        ((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip((h, w), picture.shape, strict=False)
    )
    return picture[y[:, None], x]


def assert_shows(root, attention: torch.Tensor) -> None:
    """The large picture is this map ``(h, w)`` in colours; one step of the eight bits is left to rounding."""
    q, _, _ = quantise(attention)
    assert len(np.unique(q)) > 5, "there must be something to see"
    shades = np.rint(255 * (q / 255.0) ** 2).astype(int)
    found = colours_at_patches(root, *attention.shape)
    near = [colour_table("viridis")[np.clip(shades + step, 0, 255)].astype(int) for step in (-2, -1, 0, 1, 2)]
    assert (np.abs(np.stack(near) - found).max(-1).min(0) <= 1).all()


def attention_of_patch(model, picture: torch.Tensor, layer: int, head: int, patch: int) -> torch.Tensor:
    from crate_mini.recorder import record

    z = record(model, picture[None], "attention_in", layers=[layer])["attention_in"][layer]
    with torch.no_grad():
        keys = model.blocks[layer].attention.project(z)[0].unflatten(-1, (model.config.heads, -1))[:, head]
        return (keys[1:] @ keys[1 + patch] / keys.shape[-1] ** 0.5).softmax(-1)


def smooth_off(root) -> None:
    root.locator("input[value=patches]").check(force=True)
    shows(root, smooth=False)


def slide(root, layer: int) -> None:
    slider = root.get_by_role("slider", name="layer")
    steps = layer - int(slider.input_value())
    for _ in range(abs(steps)):
        slider.press("ArrowRight" if steps > 0 else "ArrowLeft")
    shows(root, layer=[layer])


def upload(cell, name: str, kind: str, content: bytes) -> None:
    """By the button, which opens the browser's own dialog for files."""
    with cell.page.expect_file_chooser() as chooser:
        cell.get_by_role("button", name="Your own photo").click()
    chooser.value.set_files({"name": name, "mimeType": kind, "buffer": content})


def test_in_a_real_jupyterlab(notebook):
    """Slider, patch, photo, the second inspector, and everything once more after a restart."""
    tab, seen = notebook
    here: dict = {}
    exec(SETUP.replace("from crate_mini import HeadInspector\n", ""), here)
    model, images = here["model"], here["images"]
    maps = cls_attention_maps(model, images)

    run_all(tab)
    first, second = viewers(tab)
    for extension in ("@jupyter-widgets/jupyterlab-manager", "anywidget"):
        assert any(f"/lab/extensions/{extension}/" in url for url in seen.fetched)
    smooth_off(first)
    untouched = shows(second, image=0)
    still = colours_at_patches(second, 6, 6)

    # the slider moves and the picture follows
    assert_shows(first, maps[0, 2, 0])
    for layer in (1, 3):
        slide(first, layer)
        assert_shows(first, maps[0, layer, 0])

    # a patch is pointed at, and the kernel is asked
    box = first.locator(".ch-large canvas").bounding_box()
    tab.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.7 * box["height"])
    assert shows(first, token=[1 + 4 * 6 + 2])["spot"] is None
    assert_shows(first, attention_of_patch(model, images[0], 3, 0, 4 * 6 + 2).view(6, 6))
    assert "row 5, column 3" in first.locator(".ch-from").inner_text()
    tab.mouse.move(0, 0)
    shows(first, token=[0])
    first.locator(".ch-large canvas").focus()
    tab.keyboard.press("ArrowDown")  # the middle
    shows(first, token=[1 + 3 * 6 + 3])
    slide(first, 0)  # another layer: the kernel is asked again
    shows(first, token=[1 + 3 * 6 + 3])
    assert_shows(first, attention_of_patch(model, images[0], 0, 0, 3 * 6 + 3).view(6, 6))
    first.get_by_role("button", name="Back to the class token").click()

    # a photo of one's own
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    file = io.BytesIO()
    photo.save(file, "PNG")
    cell = tab.locator(".jp-CodeCell").nth(1)
    upload(cell, "mine.png", "image/png", file.getvalue())
    assert shows(first, image=2)["layer"] == [0]
    assert first.locator(".ch-title").inner_text() == "mine.png"
    mine = data.to_patch_grid(photo, 48, 8)
    assert_shows(first, cls_attention_maps(model, mine[None])[0, 0, 0])
    box = first.locator(".ch-large canvas").bounding_box()
    tab.mouse.click(box["x"] + 1, box["y"] + 1)  # its patches answer, too
    shows(first, token=[1])
    assert_shows(first, attention_of_patch(model, mine, 0, 0, 0).view(*(s // 8 for s in mine.shape[-2:])))
    cell.get_by_text("mine.png: 90 x 60 pixels").wait_for()
    upload(cell, "notes.jpg", "image/jpeg", b"no photo at all")
    cell.get_by_text("notes.jpg is not an image that can be read").wait_for()
    assert shows(first, image=2)["token"] == [1]  # and it lives on

    # the second inspector noticed nothing
    assert shows(second, image=0) == untouched
    assert (colours_at_patches(second, 6, 6) == still).all()

    # restart the kernel and run all cells
    for root in (first, second):
        root.evaluate("root => { root.dataset.before = 'yes'; }")
    tab.locator('[data-jp-item-name="restart-and-run"]').click()
    tab.locator(".jp-Dialog .jp-mod-accept").click()
    tab.wait_for_function("!document.querySelector('[data-before]')")
    first, second = viewers(tab)
    assert shows(first, image=0, token=[0])["layer"] == [2]
    smooth_off(first)
    slide(first, 1)
    assert_shows(first, maps[0, 1, 0])
    box = first.locator(".ch-large canvas").bounding_box()
    tab.mouse.click(box["x"] + 1, box["y"] + 1)
    shows(first, token=[1])
    assert_shows(first, attention_of_patch(model, images[0], 1, 0, 0).view(6, 6))
    assert shows(second, image=0) == untouched

    assert seen.refused == []
    assert seen.errors == []
