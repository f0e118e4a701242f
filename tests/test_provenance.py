"""Provenance: enough to make a number again."""

from __future__ import annotations

import datetime
import io
import json
import platform
import re
import subprocess
import sys

import pytest
import torch

from crate_mini import provenance as module
from crate_mini.provenance import provenance, read_result, result_text


def test_what_it_says(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/crate-mini", "train", "--out", "a folder"])
    facts = provenance(seed=3, data={"train": "embedded"})
    assert list(facts)[:2] == ["seed", "data"]
    assert facts["command"] == "crate-mini train --out 'a folder'"  # no path of this machine
    assert facts["versions"] == {"python": platform.python_version(), "torch": torch.__version__}
    assert facts["device"].startswith("cpu (")
    assert abs(datetime.date.fromisoformat(facts["date"]) - datetime.date.today()).days <= 1
    assert json.loads(json.dumps(facts)) == facts


def answers(monkeypatch, *, changed: str = "", fail: type[Exception] | None = None) -> None:
    def run(command, **_):
        if fail:
            raise fail
        out = "0123456789ab\n" if "rev-parse" in command else changed
        return subprocess.CompletedProcess(command, 0, stdout=out)

    monkeypatch.setattr(module.subprocess, "run", run)


def test_commit(monkeypatch):
    answers(monkeypatch)
    assert provenance()["commit"] == "0123456789ab"
    answers(monkeypatch, changed=" M crate_mini/model.py\n")
    assert provenance()["commit"] == "0123456789ab+"


@pytest.mark.parametrize("error", [FileNotFoundError, subprocess.SubprocessError])
def test_outside_a_checkout(monkeypatch, error):
    answers(monkeypatch, fail=error)
    assert provenance()["commit"] is None


def test_real_commit():
    commit = provenance()["commit"]
    assert commit is None or re.fullmatch(r"[0-9a-f]{12}\+?", commit)


def test_results_of_a_checkout_and_nothing_else(monkeypatch):
    """Beside the package lies all there is, so nobody waits for a network to learn that a file is not there."""
    monkeypatch.setattr(module.urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked the network"))
    assert "networks" in json.loads(read_result("masks/comparisons.json"))
    with pytest.raises(FileNotFoundError, match="no_such"):
        read_result("masks/no_such.json")


def test_results_without_a_checkout(monkeypatch, tmp_path):
    """Installed without a clone: from the repository, or an error that says what to do."""
    monkeypatch.setattr(module, "__file__", str(tmp_path / "crate_mini" / "provenance.py"))
    asked = []

    def answer(address, timeout):
        asked.append(address)
        if "there" not in address:
            raise OSError("no route")
        return io.BytesIO(b"{}")

    monkeypatch.setattr(module.urllib.request, "urlopen", answer)
    assert read_result("masks/there.json") == "{}"
    assert asked == [f"{module.RESULTS_URL}/masks/there.json"]
    with pytest.raises(FileNotFoundError, match=r"no results/gone.json .*no route.*work in a clone"):
        read_result("gone.json")


def test_a_result_as_text_is_json_with_short_lists_on_one_line():
    content = {"rows": [[0.1, 0.2], [0.3, 0.4]], "name": "a [b]"}
    text = result_text(content)
    assert json.loads(text) == content
    assert "[ 0.1, 0.2 ]" in text
    assert text.endswith("}\n")
