// What scrolls sideways within its own box, a figure or a table on a phone, can be reached and moved by keyboard, and
// fades out on the right as long as there is more of it (book.css).

"use strict";

(() => {
  const BOXES = [".cell_output", ".cell_output .output", "div.math", "figure", "pre", ".pst-scrollable-table-container"].map((box) => `.bd-article ${box}`).join();

  const scrolls = (box) => box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible";
  const fade = (box) =>
    box.classList.toggle("goes-on", scrolls(box) && box.scrollLeft + box.clientWidth < box.scrollWidth - 1);

  function mark() {
    for (const box of document.querySelectorAll(BOXES)) {
      if (scrolls(box)) box.tabIndex = 0;
      else if (box.tabIndex === 0) box.removeAttribute("tabindex");
    }
    for (const box of document.querySelectorAll(`${BOXES}, .bd-article mjx-container`)) fade(box);
  }

  // Formulas are set and pictures loaded late, details unfold, and windows change their width.
  const watch = new ResizeObserver(mark);
  const start = () => {
    // the arrows of the table of contents are pictures without a word
    for (const arrow of document.querySelectorAll("summary:has(> .toctree-toggle)")) arrow.setAttribute("aria-label", "Pages below this one");
    for (const box of document.querySelectorAll(BOXES)) watch.observe(box);
    const moved = ({ target }) => target !== document && target.closest(".bd-article") && fade(target);
    document.addEventListener("scroll", moved, { capture: true, passive: true });
    mark();
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
  addEventListener("load", mark);
})();
