"""Questions and progress on a page, in a browser: by keyboard, without scripts, and when the page is opened again."""

from __future__ import annotations

import pytest
from browser import offline_context
from build_book import ROOT

ASSETS = ROOT / "book" / "_assets"
PAGE = """<!doctype html><html data-theme="light"><head><meta charset="utf-8"><title>p</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="../book.css"></head><body>
<nav class="bd-links"><a class="internal" href="01_one.html">1. One</a>
<a class="internal" href="02_two.html">2. Two</a></nav>
<article class="bd-article"><section><h1>One</h1>
<p>Question 1.</p>
<details class="choice"><summary>It grows.</summary><p>No: it is a rate per token.</p></details>
<details class="choice right"><summary>It stays.</summary><p>Right: nothing changes.</p></details>
<p>Question 2.</p>
<details class="choice right"><summary>Yes.</summary><p>Right.</p></details>
<details class="choice"><summary>No.</summary><p>Look again.</p></details>
<h3>Exercise 1 · A (★, 5 minutes)</h3><p>Do it.</p>
<div style="height: 3000px"></div>
<section id="summary"><h2>Summary</h2><ul><li>end</li></ul></section></section></article>
<script src="../progress.js"></script></body></html>"""


@pytest.fixture
def chapter(tmp_path):
    (tmp_path / "notebooks").mkdir()
    for name in ("book.css", "progress.js"):
        (tmp_path / name).write_bytes((ASSETS / name).read_bytes())
    path = tmp_path / "notebooks" / "01_one.html"
    path.write_text(PAGE, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def context(browser):
    refused = []
    with offline_context(browser, refused, viewport={"width": 1280, "height": 900}) as context:
        yield context
    assert refused == []


def opened(context, address):
    tab = context.new_page()
    tab.on("pageerror", lambda error: pytest.fail(str(error)))
    tab.goto(address)
    return tab


def line(tab) -> str:
    return tab.locator(".progress-line").inner_text()


def test_an_answer_says_why_and_the_right_one_is_kept(context, chapter):
    tab = opened(context, chapter)
    assert "questions answered: 0 of 2, exercises done: 0 of 1, chapter not read" in line(tab)
    wrong, right = tab.get_by_text("It grows."), tab.get_by_text("It stays.")
    wrong.focus()
    tab.keyboard.press("Enter")
    assert tab.get_by_text("rate per token").is_visible()
    assert "0 of 2" in line(tab), "a wrong answer is none"
    right.focus()
    tab.keyboard.press("Space")
    assert tab.get_by_text("Right: nothing changes.").is_visible()
    style = "e => { const mark = getComputedStyle(e, '::before'); return [mark.content, mark.color]; }"
    marks = [summary.evaluate(style) for summary in (wrong, right)]
    assert [mark for mark, _ in marks] == ['"✗"', '"✓"']
    assert marks[0][1] != marks[1][1]
    tab.wait_for_function("document.querySelector('.progress-line').innerText.includes('answered: 1 of 2')")


def test_progress_is_found_again_and_can_be_forgotten(context, chapter):
    tab = opened(context, chapter)
    tab.get_by_role("checkbox", name="done").check()
    assert tab.locator(".progress-read").count() == 0
    tab.locator("#summary").scroll_into_view_if_needed()
    tab.wait_for_selector(".progress-read")
    again = opened(context, chapter)
    assert "exercises done: 1 of 1, chapter read" in line(again)
    assert again.locator(".progress-read").inner_text() == "1. One"
    assert again.get_by_role("checkbox", name="done").is_checked()
    again.get_by_role("button", name="Forget this chapter").click()
    third = opened(context, chapter)
    assert "exercises done: 0 of 1" in line(third)


def test_a_browser_that_keeps_nothing_is_no_obstacle(context, chapter):
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied'); } })"
    )
    tab = opened(context, chapter)
    tab.get_by_text("It stays.").click()
    assert tab.get_by_text("Right: nothing changes.").is_visible()
    tab.wait_for_function("document.querySelector('.progress-line').innerText.includes('answered: 1 of 2')")


def test_without_scripts_all_can_be_read(browser, chapter):
    with offline_context(browser, [], java_script_enabled=False) as context:
        tab = opened(context, chapter)
        assert tab.get_by_text("rate per token").is_hidden()
        tab.get_by_text("It grows.").click()
        assert tab.get_by_text("rate per token").is_visible()
        assert tab.locator(".progress-line").count() == 0
