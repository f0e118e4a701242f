"""Pictures of pages show them as a reader's window does: whole, from the left edge, each row once."""

from __future__ import annotations

import io

import numpy as np
import screenshots
from browser import offline_context
from PIL import Image

ROWS = 25  # of 100 pixels
PAGE = """<!doctype html><html><head><meta charset="utf-8"><title>p</title><link rel="icon" href="data:,">
<style>body { margin: 0 } #side { position: sticky; top: 0; float: left; width: 50px; height: 200px; background: #f00 }
.row { height: 100px; margin-left: 60px; width: calc(100vw - 60px) }</style></head>
<body><div id="side"></div><canvas id="map"></canvas><script>
const canvas = document.getElementById('map');
canvas.style.cssText = 'position: absolute; left: 60px; top: 0; height: 20px';
const fit = () => { canvas.style.width = `${innerWidth - 60}px`; };
new ResizeObserver(fit).observe(document.documentElement);
for (let i = 0; i < %d; i++) {
  const row = document.createElement('div');
  row.className = 'row';
  row.style.background = `rgb(0, ${10 * i}, 100)`;
  document.body.append(row);
}
</script></body></html>"""


def test_pieces_are_the_page(browser, tmp_path):
    (tmp_path / "page.html").write_text(PAGE % ROWS, encoding="utf-8")
    with offline_context(browser, [], viewport={"width": 640, "height": 900}) as context:
        tab = context.new_page()
        tab.goto((tmp_path / "page.html").as_uri())
        pictures = [Image.open(io.BytesIO(p)).convert("RGB") for p in screenshots.pieces(tab, 640, 1000)]
    assert [picture.size for picture in pictures] == [(640, 1000), (640, 1000), (640, 500)]
    column = np.concatenate([np.asarray(picture)[:, 630] for picture in pictures])
    assert column[50::100].tolist() == [[0, 10 * i, 100] for i in range(ROWS)]
    for picture in pictures[:2]:
        assert picture.getpixel((10, 10)) == (255, 0, 0), "what stays beside the text is in every window"


def test_a_page_that_is_not_there_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["screenshots.py", "--html", str(tmp_path), "book/none"])
    assert screenshots.main() == 1
    assert "book/none.html is not in the built book: run `make book`" in capsys.readouterr().err
