"""What each chapter shows: a module for each, with the figures and the facts that its notebook calls.

A figure takes what was computed and returns a matplotlib figure; a fact returns the numbers of a sentence, by name, so
that a text with ``{named}`` fields can be filled in and the numbers can be tested. What two chapters draw alike stands
in `crate_mini.figures`.

How a notebook uses them, with ``chapter_NN`` for its own module:

- A figure is a cell tagged ``remove-input`` that ends in ``chapter.some_figure(...)``. Its metadata carry what a reader
  needs: ``mystnb: {image: {alt: ..., classes: ink}, figure: {caption: ..., name: fig-NN-some}}``. The caption says what
  to see and is numbered by chapter; text refers to it by ``{numref}`fig-NN-some` ``. ``classes: ink`` gives a figure of
  lines and words a twin for the dark theme; leave it out where colours carry values (heat maps, photographs).
- A sentence with numbers is a cell tagged ``remove-input`` that ends in ``say(r"...{low:.2f}...", **chapter.facts())``
  (`crate_mini.notebook`). Prose without numbers is Markdown.
- A table is `crate_mini.tables.table` of rows, with units in the heads.
- A question with choices is Markdown that every viewer knows: below the question one ``<details class="choice">`` for
  each answer with a ``<summary>``, a blank line, and why; ``class="choice right"`` for the right one, which begins with
  "Right".
- What its tags hide is folded in JupyterLab and Colab by ``make format``.
"""
