"""The built book: whole, current, readable with the network off, in a real browser, wide and narrow.

The strict build behind ``built_book`` executes every notebook; that it succeeds is the first test here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import address
import axe_playwright_python
import build_book
import executed_copies
import nbformat
import notebook_form
import page_costs
import page_sizes
import pytest
import sphinx_head
import widgets
from browser import SETTLED, offline_context
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*build_book.toc_entries(), "index", "search", "genindex"]
WIDTHS = (1280, 360)
THEMES = ("light", "dark")


# ---- the files -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def soups(built_book) -> dict[str, BeautifulSoup]:
    """Every page of the book, parsed."""
    pages = {page: (built_book / f"{page}.html").read_text(encoding="utf-8") for page in PAGES}
    return {page: BeautifulSoup(text, "html.parser") for page, text in pages.items()}


def test_every_notebook_was_executed(built_book):
    known, keys = build_book.cached(), build_book.execution_keys(build_book.notebooks())
    for path, key in keys.items():
        assert known[path]["key"] == key, (
            f"{path.name}: executed with another package, or by Jupyter Book itself"
        )
    rows = json.loads(build_book.TIMES.read_text(encoding="utf-8"))
    assert [row["notebook"] for row in rows] == [path.name for path in build_book.notebooks()]
    assert all(row["seconds"] > 0 and row["cpu_seconds"] > 0 and row["peak_mib"] > 0 for row in rows)
    status = BeautifulSoup((built_book / "book" / "status.html").read_text(encoding="utf-8"), "html.parser")
    told = [
        [cell.get_text(strip=True) for cell in row.select("td")] for row in status.table.select("tbody tr")
    ]
    assert [line[0] for line in told] == [*(row["notebook"] for row in rows), "all"]
    assert all(cell.isdigit() for line in told[:-1] for cell in line[1:])


def test_a_code_host_can_show_the_executed_copies(built_book):
    """All outputs, nothing that would have to run, and small enough to be shown."""
    for path in build_book.notebooks():
        text = (build_book.COPIES / path.name).read_text(encoding="utf-8")
        assert "<script" not in text
        assert executed_copies.WIDGET not in text
        assert len(text) < 10e6, f"{path.name}: {len(text) / 1e6:.1f} MB"
        cells = nbformat.reads(text, as_version=4).cells
        assert any(cell.get("outputs") for cell in cells)


def test_no_warning_and_no_progress_bar_on_a_page(built_book):
    """Nothing that a notebook wrote to standard error reaches the reader."""
    from jupyter_cache import get_cache

    cache = get_cache(str(build_book.CACHE))
    for record in cache.list_cache_records():
        for cell in cache.get_cache_bundle(record.pk).nb.cells:
            for output in cell.get("outputs", ()):
                assert output.get("name") != "stderr", f"{Path(record.uri).name}: {output.text[:300]}"


def test_pages_load_nothing_from_elsewhere(soups):
    """What the browser test sees when it opens a page; this one also sees what a click would load."""
    for page, soup in soups.items():
        loaded = [
            tag.get("src")
            for tag in soup.select("script[src], img[src], iframe[src], source[src], video[src]")
        ]
        loaded += [
            tag.get("href") for tag in soup.select("link[href]") if "canonical" not in (tag.get("rel") or ())
        ]
        assert not [
            url for url in loaded if urlsplit(url).scheme in ("http", "https") or url.startswith("//")
        ], page


LIGHT = {"book/intro": 0.4, "notebooks/00_what_you_will_see": 1.5}  # MB; what readers open first


def test_no_page_is_too_heavy(soups, built_book):
    """Six megabytes a page at most, its pictures not counted. Networks that a page can run lie in files beside it."""
    sizes = {page: (built_book / f"{page}.html").stat().st_size / 1e6 for page in soups}
    assert {page: f"{size:.1f} MB" for page, size in sizes.items() if size > LIGHT.get(page, 6)} == {}
    weights = [tag for soup in soups.values() for tag in soup.select("script[data-weights]")]
    assert len(weights) >= 4
    assert all(not tag.get_text() for tag in weights)
    files = {Path(tag["data-file"]).name for tag in weights}
    assert files == {file.name for file in (built_book / "_static" / "weights").iterdir()}, "none twice"


def test_a_page_loads_each_script_once(soups, built_book):
    """However many of its outputs need it. The text lies in files, which pages share; of a style one copy is enough."""
    loaded = set()
    for page, soup in soups.items():
        scripts = [Path(tag["src"]).name for tag in soup.select("script[src*='_static/shared/']")]
        styles = [tag.get_text() for tag in soup.select("article style")]
        assert len(scripts) == len(set(scripts)), page
        assert len(styles) == len(set(styles)), page
        inline = soup.select("article script:not([src]):not([type])")
        assert max((len(tag.get_text()) for tag in inline), default=0) < 20_000, page
        loaded |= set(scripts)
    assert loaded == {file.name for file in (built_book / "_static" / "shared").iterdir()}


def test_no_dead_widget_and_no_bare_object(soups):
    for page, soup in soups.items():
        assert not soup.select('script[type^="application/vnd.jupyter.widget"]'), f"{page}: needs a kernel"
        for output in soup.select(".cell_output"):
            text = output.get_text()
            for leftover in ("<Figure size", "<matplotlib.", "Traceback (most recent", "object at 0x"):
                assert leftover not in text, f"{page}: {leftover!r} in an output"


def test_links_between_pages_resolve(soups, built_book):
    anchors = {}
    for page, soup in soups.items():
        anchors[built_book / f"{page}.html"] = {tag["id"] for tag in soup.select("[id]")}
    for page, soup in soups.items():
        for link in soup.select("a[href]"):
            parts = urlsplit(link["href"])
            if parts.scheme or parts.netloc:
                continue
            here = built_book / f"{page}.html"
            target = (here.parent / unquote(parts.path)).resolve() if parts.path else here
            assert target.exists(), f"{page}: {link['href']}"
            if parts.fragment and target in anchors:
                assert unquote(parts.fragment) in anchors[target], f"{page}: no place called {link['href']}"


def test_images_say_what_they_show(soups):
    """Figures need words for those who cannot see them; the name of a file is none."""
    for page, soup in soups.items():
        for image in soup.select("article img"):
            alt = image.get("alt", "")
            said = alt.strip() and "_images/" not in alt
            assert said, f"{page}: {image.get('src', '')[:80]}"


def test_buttons_lead_where_the_address_is(soups):
    """To Colab where the address is written, to the repository where it is known, nowhere where it is not."""
    url = address.of_book()
    for path in build_book.notebooks():
        name = path.relative_to(ROOT).as_posix()
        links = {link["href"] for link in soups[name.removesuffix(".ipynb")].select("a[href]")}
        colab = {link for link in links if link.startswith("https://colab.research.google.com")}
        assert colab == ({address.colab_of(url, name)} - {None} if url and address.written() else set())
        assert (url in links) == bool(url)


def test_every_page_says_what_it_is_about(soups):
    """What a search engine shows, and a message that a reader sends to a friend."""
    told = {}
    for page in build_book.toc_entries():
        soup = soups[page]
        content = {
            tag.get("name") or tag.get("property"): tag["content"] for tag in soup.select("meta[content]")
        }
        assert content["og:title"].strip(), page
        told[page] = content.get("description", "")
        assert content.get("og:description", "") == told[page]
        assert len(told[page]) <= sphinx_head.LONGEST, page
        assert len(told[page]) >= 40, page
    assert len(set(told.values())) == len(told), "two pages describe themselves alike"


def test_scripts_from_elsewhere_are_refused(built_book, browser):
    """The page's own policy does it: nothing of ours stands between this browser and the outside."""
    text = (built_book / "book" / "notation.html").read_text(encoding="utf-8")
    page = built_book / "book" / "with-a-script-from-elsewhere.html"
    page.write_text(
        text.replace(
            "</body>",
            "<script>window.own = true</script><script src='http://localhost:9/x.js'></script></body>",
        ),
        encoding="utf-8",
    )
    try:
        with offline_context(browser, []) as context:
            tab, refused = context.new_page(), []
            tab.on("console", lambda message: refused.append(message.text))
            tab.goto(page.as_uri())
            assert tab.evaluate("window.own")
            assert any("Content Security Policy" in text and "x.js" in text for text in refused), refused
    finally:
        page.unlink()


AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
ASKED_OTHERWISE = ("color-contrast", "link-in-text-block")
NEVER_SERIOUS = re.findall(r'\bid:"([\w-]+)",impact:"(?:moderate|minor)"', AXE.read_text(encoding="utf-8"))
"""Rules whose faults are not counted here, and which are a third of axe's work."""

# ---- in a browser ----------------------------------------------------------------------------------------

INSPECT = """() => {
  const seen = element => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && getComputedStyle(element).visibility !== 'hidden';
  };
  const root = document.documentElement, all = what => [...document.querySelectorAll(what)];
  const wide = [];
  if (root.scrollWidth > root.clientWidth) {
    for (const element of all('main *')) {
      const right = element.getBoundingClientRect().right;
      if (right > root.clientWidth + 1 && seen(element))
        wide.push(element.tagName + '.' + element.className + ' ' + right);
    }
  }
  return {
    overflow: root.scrollWidth - root.clientWidth,
    wide: wide.slice(0, 8),
    missing: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.getAttribute('src')),
    unset: all('.math').filter(m => !m.querySelector('mjx-container')).map(m => m.textContent),
    faulty: all('mjx-merror, [data-mjx-error]').map(m => m.textContent),
    formulas: all('mjx-container').length,
    plain: all('article :is(p, li, td, dd) a[href]:not(.headerlink)')
      .filter(a => getComputedStyle(a).textDecorationLine !== 'underline').map(a => a.textContent.trim()),
  };
}"""


SIDEWAYS = """wide => {
  // What of code, tables, figures and formulas does not fit: on a wide screen what needs scrolling, also where it is
  // folded away; on a phone what is cut off and cannot be scrolled.
  const folded = [...document.querySelectorAll('.bd-article details:not([open])')];
  for (const details of folded) details.open = true;
  const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
  const found = [], told = e => e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 60);
  const boxes = 'pre, table, img, figure, .cell_output, .pst-scrollable-table-container, div.math mjx-container';
  for (const element of document.querySelectorAll('.bd-article :is(' + boxes + ')')) {
    if (!element.checkVisibility() || element.closest('.crate-play, .crate-heads')) continue;
    if (wide) {
      const over = element.scrollWidth - element.clientWidth;
      if (element.clientWidth && over > 1 && scrolls(element)) found.push(over + ' px ' + told(element));
    }
    const right = element.getBoundingClientRect().right;
    for (let above = element.parentElement; above && !above.matches('.bd-article'); above = above.parentElement) {
      if (scrolls(above)) break;
      const over = right - above.getBoundingClientRect().right;
      if (over > 1 && getComputedStyle(above).overflowX !== 'visible') found.push('cut off: ' + told(element));
    }
  }
  for (const details of folded) details.open = false;
  return found;
}"""


def open_page(context, path: Path, errors: list[str]):
    """A tab with the page, settled; what the page complains about is appended to ``errors``."""
    tab = context.new_page()
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("requestfailed", lambda request: errors.append(f"failed: {request.url}"))
    tab.goto(path.as_uri())
    tab.wait_for_load_state("load")
    tab.evaluate(SETTLED)
    return tab


def test_index_leads_to_the_first_page(built_book, browser):
    with offline_context(browser, []) as context:
        tab = context.new_page()
        tab.goto((built_book / "index.html").as_uri())
        tab.wait_for_url(f"**/{build_book.toc_entries()[0]}.html")


def serious_faults(tab) -> list:
    """What axe-core finds that keeps somebody from reading this page by keyboard or by ear: rule, degree, places.

    Contrast has a test of its own, in both themes, and that links are seen among words is asked of their underline:
    axe compares colours for it, which is half of its work.
    """
    tab.evaluate(f"{AXE.read_text(encoding='utf-8')};0")
    found = tab.evaluate(
        # without preload: it would fetch style sheets, which a page opened from disk may not
        "async off => (await axe.run({preload: false, resultTypes: ['violations'],"
        " rules: Object.fromEntries(off.map(rule => [rule, {enabled: false}]))}))"
        ".violations.map(v => [v.id, v.impact, ...v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))])",
        [*ASKED_OTHERWISE, *NEVER_SERIOUS],
    )
    return [rule for rule in found if rule[1] in ("serious", "critical")]


CONTRAST = """() => {
  // WCAG contrast of every visible piece of text in the article against the nearest painted background.
  const parse = c => { const n = c.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const linear = v => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = c => .2126 * linear(c[0]) + .7152 * linear(c[1]) + .0722 * linear(c[2]);
  const over = (top, base) => [0, 1, 2].map(i => top[i] * top[3] + base[i] * (1 - top[3])).concat(1);
  const grounds = new Map([[null, [255, 255, 255, 1]]]);  // what is painted behind an element, and by itself
  const ground = element => {
    if (!grounds.has(element))
      grounds.set(element, over(parse(getComputedStyle(element).backgroundColor), ground(element.parentElement)));
    return grounds.get(element);
  };
  const weak = new Map();
  const walker = document.createTreeWalker(document.querySelector('article'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const drawn = 'svg, mjx-container, script, style, .onlyprint';
    if (!walker.currentNode.textContent.trim() || element.closest(drawn)) continue;
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (!box.width || !box.height || style.visibility === 'hidden' || style.opacity === '0') continue;
    const base = ground(element), ink = over(parse(style.color), base);
    const [a, b] = [light(ink.slice(0, 3)), light(base.slice(0, 3))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    const name = element.tagName + '.' + element.className + ' ' + style.color;
    if (ratio < 4.5) weak.set(name, ratio.toFixed(2));
  }
  return [...weak].map(entry => entry.join(' '));
}"""


REWRITTEN = [  # a chapter is added as it is rewritten
    "notebooks/00_what_you_will_see",
    "notebooks/01_coding_rate",
    "notebooks/02_rate_reduction",
    "notebooks/03_compression",
    "notebooks/04_sparsification",
    "notebooks/05_crate",
    "notebooks/06_training",
    "notebooks/07_layers",
    "notebooks/08_segmentation_emerges",
    "notebooks/09_scoring",
    "notebooks/09b_is_crate_better",
    "notebooks/10_maskcut",
    "notebooks/11_emergence",
    "notebooks/12_heads",
    "notebooks/13_denoising",
    "notebooks/14_operators",
    "notebooks/15_rate_as_loss",
    "notebooks/16_text",
    "notebooks/17_sound",
    "notebooks/18_masked_autoencoding",
    "notebooks/19_acting",
]


ON_A_PHONE = [*(page for page in PAGES if page.startswith("notebooks/")), "book/intro"]
"""Nothing of their widgets is hidden or out of sight there, and nothing moves by itself."""


def weak_text(tab) -> dict[str, list]:
    """Text with a contrast below 4.5 to 1, in either theme; the theme follows the reader's system."""
    weak = {}
    for theme in THEMES:
        tab.emulate_media(color_scheme=theme)
        tab.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        if found := tab.evaluate(CONTRAST):
            weak[theme] = found
    tab.emulate_media(color_scheme=THEMES[0])
    return weak


@pytest.mark.parametrize("page", [page for page in PAGES if page != "index"])
def test_page_in_a_browser(built_book, browser, page):
    """All that is asked of a page, on one visit: to open and typeset it is most of the work.

    A rewritten chapter is short, and soon there is something to play with: at most ten screens of text, and a widget
    within the first one and a half. Measured with the fonts of one machine; those of another may be a little wider.
    """
    refused, errors, asked = [], [], []
    with offline_context(browser, refused, viewport=page_sizes.SCREEN) as context:
        context.add_init_script(page_costs.WATCH)
        context.on("request", lambda request: asked.append(request.url))
        tab = open_page(context, built_book / f"{page}.html", errors)
        assert tab.locator("svg g.missing").count() == 0, "an icon that sphinx_light.py has taken out"
        assert page_costs.dearer(page, page_costs.weight(asked), page_costs.shift_of(tab)) == []
        if page in REWRITTEN:
            found = page_sizes.measure(tab)
            assert found["height"] <= 9000
            assert found["toy"] <= 1350
        if page in build_book.toc_entries():
            assert weak_text(tab) == {}
        for width in WIDTHS:
            tab.set_viewport_size({"width": width, "height": 800})
            tab.evaluate(SETTLED)
            if width == WIDTHS[0] and page in ON_A_PHONE:
                widgets.mark(tab)
            state = tab.evaluate(INSPECT)
            assert state["missing"] == []
            assert state["unset"] == []
            assert state["faulty"] == []
            assert state["plain"] == [], "links that nobody sees among the words"
            assert state["overflow"] <= 0, f"{width} pixels wide, and these stick out: {state['wide']}"
            if page.startswith(("notebooks/", "book/")) and not page.startswith(("book/api", "book/status")):
                assert tab.evaluate(SIDEWAYS, width > 1000) == [], f"{width} pixels wide"
        if page in ON_A_PHONE:
            assert widgets.faults(tab) == []
            assert widgets.restless(tab) == []
        assert serious_faults(tab) == []
    assert refused == [], "the page asked for something outside itself"
    assert errors == []


def test_weak_text_is_found_in_the_theme_that_has_it(built_book, browser):
    """On a page of the book, whose scripts choose the theme."""
    with offline_context(browser, [], viewport=page_sizes.SCREEN) as context:
        tab = open_page(context, built_book / "book" / "notation.html", [])
        tab.evaluate("""() => document.querySelector('article').insertAdjacentHTML('afterbegin',
            '<p class=on-white style="color: #999">a</p><p class=on-black style="color: #444">b</p>')""")
        weak = {theme: [name.split()[0] for name in found] for theme, found in weak_text(tab).items()}
    assert weak == {"light": ["P.on-white"], "dark": ["P.on-black"]}


def test_what_does_not_fit_is_found(browser, tmp_path):
    long = "x" * 400
    page = f"""<!doctype html><title>p</title><article class="bd-article"><pre style="overflow-x: auto">{long}</pre>
    <details><summary>more</summary><pre style="overflow-x: auto" class="folded">{long}</pre></details>
    <div style="overflow: hidden"><table class="cut"><tr><td style="min-width: 3000px">1</td></tr></table></div>
    <div style="overflow-x: auto"><table class="scrolls"><tr><td style="min-width: 3000px">1</td></tr></table></div>
    </article>"""
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    with offline_context(browser, [], viewport=page_sizes.SCREEN) as context:
        tab = context.new_page()
        tab.goto((tmp_path / "page.html").as_uri())
        wide, narrow = tab.evaluate(SIDEWAYS, True), tab.evaluate(SIDEWAYS, False)
        assert [" PRE.:" in wide[0], "PRE.folded" in wide[1], wide[2][:18]] == [
            True,
            True,
            "cut off: TABLE.cut",
        ]
        assert [found[:18] for found in narrow] == ["cut off: TABLE.cut"]
        assert tab.evaluate("document.querySelector('details').open") is False


def test_axe_can_find_something(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<html lang='en'><title>x</title><main><h1>x</h1><button></button><img src='data:,'></main>"
    )
    with offline_context(browser, []) as context:
        found = {rule[0]: rule[1] for rule in serious_faults(open_page(context, page, []))}
    assert found["button-name"] == found["image-alt"] == "critical"


def test_formulas_are_set(built_book, browser):
    with offline_context(browser, [], viewport={"width": 1280, "height": 900}) as context:
        tab = open_page(context, built_book / "book" / "notation.html", [])
        assert tab.evaluate(INSPECT)["formulas"] > 40


def test_search_finds_from_disk(built_book, browser):
    refused, errors = [], []
    with offline_context(browser, refused, viewport={"width": 1280, "height": 900}) as context:
        tab = context.new_page()
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.goto((built_book / "search.html").as_uri() + "?q=coding+rate")
        tab.wait_for_selector("#search-results ul.search li a")
        assert "glossary" in " ".join(
            link.get_attribute("href") for link in tab.query_selector_all("#search-results li a")
        )
    assert refused == []
    assert errors == []


def test_the_guard_sees_outside_requests_and_errors(browser, tmp_path):
    """The browser test can fail: a page that fetches, throws, misses an image and is too wide is caught."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<main><img src='https://example.org/a.png'><img src='gone.png'><p class='math'>\\(x\\)</p>"
        "<article><p>Words, <a href='#a'>a link</a> and <a href='#b' style='text-decoration: none'>one that hides</a>"
        "</article><div style='width:2000px;height:9px'></div><script>throw new Error('thrown')</script></main>"
    )
    refused, errors = [], []
    with offline_context(browser, refused, viewport={"width": 360, "height": 800}) as context:
        tab = open_page(context, page, errors)
        state = tab.evaluate(INSPECT)
    assert refused == ["https://example.org/a.png"]
    assert any("thrown" in error for error in errors)
    assert "gone.png" in state["missing"]
    assert state["unset"] == ["\\(x\\)"]
    assert state["plain"] == ["one that hides"]
    assert state["overflow"] > 1000


# ---- the build itself, on a book of one page and one notebook --------------------------------------------


@pytest.fixture
def tiny_book(tmp_path) -> Path:
    """A copy of the build tools with a book small enough to build several times over."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "book" / "_assets", tmp_path / "book" / "_assets")
    for name in ("_config.yml", "requirements.lock", "book/references.bib"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nchapters:\n- file: notebooks/one\n"
    )
    (tmp_path / "book" / "intro.md").write_text("# Intro\n\n$x^2$\n")
    (tmp_path / "crate_mini").mkdir()
    (tmp_path / "crate_mini" / "value.txt").write_text("first")
    (tmp_path / "notebooks").mkdir()
    book = nbformat.v4.new_notebook(metadata={"kernelspec": notebook_form.KERNEL})
    book.cells = [
        nbformat.v4.new_markdown_cell("# One"),
        nbformat.v4.new_code_cell(
            "import os, pathlib\n"
            "assert os.environ['CRATE_MINI_BOOK'] == '1'\n"
            "assert os.environ['OMP_NUM_THREADS'] == '1'\n"
            f"value = pathlib.Path({str(tmp_path / 'crate_mini' / 'value.txt')!r}).read_text()\n"
            "assert value != 'broken', 'value is broken'\n"
            "print('the val', end='', flush=True)  # sent in two pieces\n"
            "print('ue is', value)"
        ),
    ]
    nbformat.write(book, tmp_path / "notebooks" / "one.ipynb")
    return tmp_path


def build_tiny(folder: Path, *options: str) -> tuple[int, str]:
    """Exit status and log of a build, errors first, as the report comes last."""
    command = [sys.executable, str(folder / "tools" / "build_book.py"), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stderr + done.stdout


@pytest.mark.book
def test_build_is_never_stale_and_never_forgives(tiny_book):
    page = tiny_book / "_build" / "html" / "notebooks" / "one.html"
    value, intro = tiny_book / "crate_mini" / "value.txt", tiny_book / "book" / "intro.md"

    status, log = build_tiny(tiny_book)
    assert status == 0, log
    assert "the value is first" in page.read_text()
    assert "Executing notebook" not in log, (
        "by Jupyter Book itself, one at a time: it found none in the cache"
    )
    assert "WARNING" not in log
    copy = nbformat.read(tiny_book / "_build" / "executed" / "one.ipynb", as_version=4)
    assert copy.cells[1].outputs[0].text == "the value is first\n"
    assert log.rstrip().endswith(str(tiny_book / "_build" / "html" / "index.html"))

    status, log = build_tiny(tiny_book)
    assert (status, "Nothing changed" in log) == (0, True)

    value.write_text("second")  # inside the package: results must be made again
    intro.write_text("# Intro\n\nThere is no {doc}`such-page`.\n")  # a warning, twice: strict both times
    for executed in (True, False):
        status, log = build_tiny(tiny_book)
        assert status != 0
        assert "such-page" in log
        assert ("executing 1 of 1 notebooks" in log) == executed

    intro.write_text("# Intro, mended\n")
    status, log = build_tiny(tiny_book)
    assert status == 0, log
    assert "kept: nothing it depends on changed" in log  # the notebook was not executed again for that
    assert "the value is second" in page.read_text()
    assert "Intro, mended" in page.read_text(), "the side bar of the other page is stale"

    value.write_text("broken")
    status, log = build_tiny(tiny_book)
    assert status != 0
    assert "value is broken" in log
    assert "value is broken" in (tiny_book / "_build" / "reports" / "one.txt").read_text()


@pytest.mark.book
def test_one_page_alone(tiny_book):
    """A page with its results as current as in the book, and the book itself left alone."""
    page = tiny_book / "_build" / "pages" / "notebooks" / "one" / "_build" / "html" / "notebooks" / "one.html"
    for value in ("first", "second"):
        (tiny_book / "crate_mini" / "value.txt").write_text(value)
        status, log = build_tiny(tiny_book, "--page", "notebooks/one.ipynb")
        assert status == 0, log
        assert log.rstrip().endswith(str(page))
        assert f"the value is {value}" in page.read_text()
    status, log = build_tiny(tiny_book, "--page", "book/intro")
    assert status == 0, log
    assert not (tiny_book / "_build" / "html").exists()
    status, log = build_tiny(tiny_book, "--page", "notebooks/two")
    assert (status, "There is no notebooks/two.ipynb" in log) == (1, True)
