"""Which browser the tests use, what is brought where there is none, and what is said where none can be had."""

from __future__ import annotations

import os

import browser
import pytest


@pytest.fixture
def machine(monkeypatch):
    """A machine without any browser, where commands are noted and not run; ``works`` says which succeed."""

    class Machine:
        def __init__(self) -> None:
            self.ran: list[str] = []
            self.works: dict[str, str] = {}  # beginning of a command -> browser that it brings
            self.programs = {"apt-get": "/usr/bin/apt-get"}

        def runs(self, command, *, quietly=False):
            line = " ".join(command)
            self.ran.append(line)
            for start, program in self.works.items():
                if start in line:
                    self.programs[program] = f"/usr/bin/{program}"
                    return True
            return "update" in line

    here = Machine()
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("CRATE_MINI_NO_BROWSER", raising=False)
    monkeypatch.setattr(browser, "MAC", "/nowhere-at-all")
    monkeypatch.setattr(browser, "runs", here.runs)
    monkeypatch.setattr(browser.shutil, "which", here.programs.get)

    def playwrights():
        return here.programs.get("playwrights")

    playwrights.cache_clear = lambda: None
    monkeypatch.setattr(browser, "playwrights", playwrights)
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    return here


def test_a_browser_of_the_system_is_taken_and_nothing_run(machine):
    machine.programs |= {"google-chrome": "/usr/bin/google-chrome", "playwrights": "/opt/playwrights"}
    assert browser.provide() == "/usr/bin/google-chrome"
    assert machine.ran == []


def test_playwrights_comes_before_the_package_manager(machine):
    machine.works = {"playwright install chromium": "playwrights", "apt-get install": "chromium"}
    assert browser.provide() == "/usr/bin/playwrights"
    assert len(machine.ran) == 1


def test_the_package_manager_comes_last(machine):
    machine.works = {"apt-get install": "chromium"}
    assert browser.provide() == "/usr/bin/chromium"
    assert machine.ran[-2].startswith("apt-get update")
    assert "chromium" in machine.ran[-1]


def test_nobodys_system_is_changed_without_rights(machine, monkeypatch):
    machine.works = {"apt-get install": "chromium", "sudo": "sudo"}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert browser.provide() is None
    assert not [line for line in machine.ran if "apt-get" in line or "sudo" in line]
    monkeypatch.setenv("CI", "true")
    assert browser.provide() == "/usr/bin/chromium"
    assert machine.ran[-1].startswith("sudo -n apt-get install")


def test_a_browser_that_is_named_and_missing_is_not_replaced(machine, monkeypatch):
    machine.programs["google-chrome"] = "/usr/bin/google-chrome"
    monkeypatch.setenv("CHROMIUM", "no-such-browser")
    assert browser.provide() is None
    assert machine.ran == []


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_without_any_it_is_said_what_to_install_and_ci_stops(machine, monkeypatch, capsys, ci, status):
    monkeypatch.setenv("CI", ci)
    assert browser.main() == status
    assert "apt-get install chromium" in capsys.readouterr().err
    assert len([line for line in machine.ran if line.startswith("apt-get install")]) == browser.ATTEMPTS


def test_a_reader_may_leave_the_browser_out_and_ci_may_not(machine, monkeypatch):
    monkeypatch.setenv("CRATE_MINI_NO_BROWSER", "1")
    assert browser.main() == 0
    assert machine.ran == []
    monkeypatch.setenv("CI", "true")
    assert browser.main() == 1


def test_a_command_that_is_not_there_or_fails_is_no_way():
    assert not browser.runs(["no-such-command"])
    assert not browser.runs(["false"])
    assert browser.runs(["true"])
