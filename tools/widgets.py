"""What a phone does not show of a page's widgets, and what moves by itself: asked of a page in a browser.

Used by the tests of the book. :func:`mark` is asked first, with the page wide; then :func:`faults`, with a narrow one.
"""

from __future__ import annotations

from typing import Any

NARROW = {"width": 360, "height": 640}
"""A small phone."""

COMMON = """
  const WIDGETS = '.crate-play, .crate-heads';
  const frames = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())));
  const wait = time => new Promise(done => setTimeout(done, time));
  const open = widget => {
    for (let e = widget; e; e = e.parentElement) if (e.matches('details')) e.open = true;
  };
  const nameOf = widget => `${widget.getAttribute('aria-label') || ''} (${widget.id || widget.className})`;
  const seen = element => {
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.height > 1 && getComputedStyle(element).visibility !== 'hidden';
  };
  const parts = widget => [...widget.querySelectorAll('*')].filter(e => !e.ownerSVGElement);
  const PARTS = 'canvas, svg, img, figure, figcaption, table, th, td, output, input, select, button, textarea, audio';
  const pictures = widget => [...widget.querySelectorAll('canvas, svg, img')].filter(seen);
  const state = element => element.matches('canvas') ? element.toDataURL() : element.matches('img') ? element.src
    : element.outerHTML;
"""

MARK = f"""async () => {{
  {COMMON}
  for (const widget of document.querySelectorAll(WIDGETS)) open(widget);
  await frames();
  for (const widget of document.querySelectorAll(WIDGETS))
    for (const part of widget.querySelectorAll(PARTS)) if (!part.ownerSVGElement && seen(part)) part.dataset.wide = '';
}}"""

FAULTS = f"""async ({{room, near}}) => {{
  {COMMON}
  const found = [];
  for (const widget of document.querySelectorAll(WIDGETS)) {{
    open(widget);
    await frames();
    const name = nameOf(widget), frame = widget.getBoundingClientRect();

    // 1. Nothing that a wide page shows is left out, and nothing lies outside of it or of a box that cuts it off.
    for (const part of widget.querySelectorAll('[data-wide]'))
      if (part.isConnected && !seen(part)) found.push(`${{name}}: ${{part.tagName}}.${{part.className}} is hidden`);
    for (const part of parts(widget)) {{
      const box = part.getBoundingClientRect();
      if (!seen(part) || part.closest('.ch-hidden')) continue;
      if (box.right > frame.right + 1 || box.left < frame.left - 1)
        found.push(`${{name}}: ${{part.tagName}}.${{part.className}} sticks out by ${{box.right - frame.right}}`);
      else if (part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflowX !== 'visible'
               && !part.matches('input, select, textarea'))
        found.push(`${{name}}: ${{part.tagName}}.${{part.className}} is cut off or scrolls`);
    }}
    for (const text of widget.querySelectorAll('svg text')) {{
      const box = text.getBoundingClientRect(), edge = text.ownerSVGElement.getBoundingClientRect();
      if (box.width && (box.right > edge.right + 2 || box.left < edge.left - 2))
        found.push(`${{name}}: the words "${{text.textContent}}" are cut off`);
    }}

    // 2. A slider stands where what it moves can be seen with it: of the largest picture that changes at least `near`
    // pixels in height, or all of it, within `room` pixels together with the slider.
    for (const slider of widget.querySelectorAll('input[type=range]')) {{
      if (!seen(slider) || slider.disabled) continue;
      const before = new Map(pictures(widget).map(e => [e, state(e)])), value = slider.value;
      const other = Math.abs(slider.max - value) > Math.abs(value - slider.min) ? slider.max : slider.min;
      let moved = [];
      for (const target of [other, (Number(slider.min) + Number(slider.max)) / 2]) {{
        slider.value = target;
        slider.dispatchEvent(new Event('input', {{bubbles: true}}));
        for (let i = 0; i < 8 && !moved.length; i++) {{
          await frames();
          moved = pictures(widget).filter(e => before.has(e) && before.get(e) !== state(e));
          if (!moved.length) await wait(30);
        }}
        if (moved.length) break;
      }}
      const area = e => e.getBoundingClientRect().width * e.getBoundingClientRect().height;
      const most = Math.max(...moved.map(area)), s = slider.getBoundingClientRect();
      const spans = moved.filter(e => area(e) > 0.8 * most).map(e => {{
        const box = e.getBoundingClientRect(), need = Math.min(box.height, near);
        return box.top >= s.bottom ? box.top + need - s.top : box.bottom <= s.top ? s.bottom - (box.bottom - need)
          : Math.max(box.bottom, s.bottom) - Math.min(box.top, s.top);
      }});
      const label = slider.getAttribute('aria-label') || slider.closest('label')?.textContent || 'a slider';
      if (spans.length && Math.min(...spans) > room)
        found.push(`${{name}}: "${{label}}" stands ${{Math.round(Math.min(...spans))}} pixels from what it moves`);
      slider.value = value;
      slider.dispatchEvent(new Event('input', {{bubbles: true}}));
      await frames();
    }}
  }}
  return [...new Set(found)];
}}"""

RESTLESS = f"""async () => {{
  {COMMON}
  const found = [], widgets = [...document.querySelectorAll(WIDGETS)];
  const before = widgets.map(widget => pictures(widget).map(state).join());
  for (const element of document.body.querySelectorAll('*')) {{
    if (element.closest('svg, mjx-container')) continue;
    for (const pseudo of [null, '::before', '::after']) {{
      const style = getComputedStyle(element, pseudo);
      if (style.animationName !== 'none' || !/^0s(, 0s)*$/.test(style.transitionDuration)) {{
        found.push(`${{element.tagName}}.${{element.className}}${{pseudo ?? ''}} moves`);
        break;
      }}
    }}
  }}
  if (getComputedStyle(document.documentElement).scrollBehavior === 'smooth') found.push('the page glides');
  await wait(150);
  widgets.forEach((widget, i) => {{
    if (pictures(widget).map(state).join() !== before[i]) found.push(`${{nameOf(widget)}} moves by itself`);
  }});
  return [...new Set(found)];
}}"""


def mark(tab: Any) -> None:
    """Remember what a wide page shows of its widgets; folded ones are opened."""
    tab.evaluate(MARK)


def faults(tab: Any) -> list[str]:
    """What a phone does not show of them: hidden or cut off, or a slider too far from what it moves."""
    before = tab.viewport_size
    tab.set_viewport_size(NARROW)
    # the bar at the top of a page stays, and takes its part
    found = tab.evaluate(FAULTS, {"room": NARROW["height"] - 60, "near": 150})
    tab.set_viewport_size(before)
    return found


def restless(tab: Any) -> list[str]:
    """What moves although the reader's system asks for rest."""
    tab.emulate_media(reduced_motion="reduce")
    found = tab.evaluate(RESTLESS)
    tab.emulate_media(reduced_motion="no-preference")
    return found
