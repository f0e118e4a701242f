# Two commands do everything: `make book` and `make test`. Each makes its own environment in .venv.
# Every step writes its stamp last, so an interrupted run is simply run again.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
PAGES  ?=
PAGE   ?= book/intro
SHOTS  ?= _build/screenshots

# Compiled modules are kept, whatever the shell says: a test run starts PyTorch some hundred times.
unexport PYTHONDONTWRITEBYTECODE

# Code that ruff reads; the notebooks are linted as they are.
CODE := $(wildcard crate_mini hubconf.py tests tools benchmarks notebooks)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup book page test fast browser lint format test-lowest lock screenshots serve clean set-repository pdf archive links rehearse

help:
	@echo "make book         set up .venv, execute every notebook, render the book (strict)"
	@echo "make test         set up, lint, unit tests, the strict book build, every page in a real browser"
	@echo "make page         one page alone, quickly: make page PAGE=notebooks/05_crate"
	@echo "make fast         lint and unit tests only: the loop while writing code"
	@echo "make test-lowest  unit tests with the oldest versions that pyproject.toml allows, in an environment of their own"
	@echo "make lint         ruff on code and notebooks, spelling everywhere; no notebook with outputs"
	@echo "make format       let ruff and nbstripout mend what make lint complains about"
	@echo "make pdf          the whole book as one file, _build/book.pdf"
	@echo "make archive      the rendered book in one archive that opens from disk, _build/book.zip"
	@echo "make links        does every link to the outside lead somewhere: the one check that needs a network"
	@echo "make rehearse     every notebook with each cell run twice, and with its training passed over or stopped"
	@echo "make serve        serve the built book at http://localhost:8000"
	@echo "make screenshots  wide and narrow, light and dark; PAGES='book/intro' for some, SHOTS=folder for where"
	@echo "make lock         refresh requirements.lock from pyproject.toml (newest versions that agree)"
	@echo "make set-repository URL=https://github.com/OWNER/NAME  write the repository's address everywhere; empty: nowhere"
	@echo "make clean        remove what was built; .venv stays (remove it by hand to start from nothing)"
	@echo "Which Python: make book PYTHON=python3.12 (3.11 or newer; only used when .venv is made)"

# ---- set-up ----------------------------------------------------------------------------------------------

NO_PACKAGES = { echo "Packages could not be installed; the lines above say why. This takes a network (or a mirror that pip"; \
  echo "knows) and about 8 GB of disk. Then run the same command again: what is there is kept."; exit 1; }

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)' on this machine."; \
	  echo "crate-mini needs Python 3.11 or newer. Name one that is there: make book PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "crate-mini needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make book PYTHON=python3.12"; exit 1; }
	@# A .venv that was cut off half-way has no working pip: only then is it cleared.
	@if $(PY) -m pip --version >/dev/null 2>&1; then :; else $(PYTHON) -m venv --clear $(VENV); fi
	$(PY) -m pip install --quiet --disable-pip-version-check "uv>=0.4" || $(NO_PACKAGES)
	@touch $@

# uv is fast; where it cannot be used (a pip-only mirror, say), pip does the same more slowly.
$(VENV)/.locked: $(VENV)/.created requirements.lock
	$(PY) -m uv pip install --python $(PY) -r requirements.lock || $(PY) -m pip install -r requirements.lock || $(NO_PACKAGES)
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(PY) -m uv pip install --python $(PY) --no-deps --editable . \
	  || $(PY) -m pip install --no-deps --editable . || $(NO_PACKAGES)
	@touch $@

setup: $(VENV)/.installed

# ---- the two commands ------------------------------------------------------------------------------------

book: setup
	@$(PY) tools/build_book.py

# The loop while writing: a few seconds for prose, the notebook's own time for code.
page: setup
	@$(PY) tools/build_book.py --page "$(PAGE)"

# One pytest run on all cores holds all of it; one worker builds the book while the others are at the unit tests, and
# what needs the book comes last. For one test alone, in one process: .venv/bin/python -m pytest tests/test_rates.py
test: lint browser
	$(PY) -m pytest -n auto

fast: lint browser
	$(PY) -m pytest -n auto -m "not book"

# In _build/lowest: what we name in its oldest version, what that needs itself in the newest that goes with it.
LOWEST := _build/lowest
test-lowest: setup browser
	$(PY) -m uv venv --quiet --seed --allow-existing --python $(PY) $(LOWEST)
	$(PY) -m uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct --editable ".[book,hub,export,test]"
	$(LOWEST)/bin/python -m pytest -n auto -m "not book"

# Which browser the tests will use; where there is none, it is brought or it is said what to install.
browser: setup
	@$(PY) tools/browser.py

lint: setup
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m codespell_lib $(CODE) README.md CONTRIBUTING.md book Makefile
	@$(PY) tools/notebook_form.py check

format: setup
	$(PY) -m ruff check --fix $(CODE)
	$(PY) -m ruff format $(CODE)
	@$(PY) tools/notebook_form.py mend

# ---- helpers ---------------------------------------------------------------------------------------------

lock: $(VENV)/.created
	$(PY) -m uv pip compile --universal --python-version 3.11 --all-extras --upgrade --no-header \
	  --quiet pyproject.toml --output-file requirements.lock
	@echo "requirements.lock refreshed; make test says whether the book still builds with it"

screenshots: setup
	$(PY) tools/screenshots.py --out $(SHOTS) $(PAGES)

set-repository: setup
	@$(PY) tools/address.py "$(URL)"

links: setup
	@$(PY) tools/outside_links.py

rehearse: setup
	@$(PY) tools/rehearse.py

pdf: book browser
	@$(PY) tools/book_pdf.py

# Unpack it anywhere and open index.html.
archive: book
	@cd _build && rm -f book.zip && ../$(PY) -m zipfile -c book.zip html && echo "_build/book.zip: unpack it, open html/index.html"

serve: book
	$(PY) -m http.server --directory _build/html --bind 127.0.0.1 8000

clean:
	rm -rf _build .pytest_cache .ruff_cache build *.egg-info
	find crate_mini tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
