# make demo: install into .venv and run on the built-in data.   make test: install with the test tools and run the tests.
# make bench: what a step takes against its floor and against other packages (half an hour; on a GPU: make bench DEVICE=cuda).
# pip follows its own settings (PIP_INDEX_URL, pip.conf, ...); make PYTHON=... chooses another interpreter.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTHON := python3 python3.14 python3.13 python3.12 python3.11 python
RECENT := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

DEVICE := cpu

.PHONY: demo test lint bench

demo: $(VENV)/.installed
	$(BIN)/python run.py --task unida

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks --device $(DEVICE)

# The stamps are younger than pyproject.toml where nothing is left to install.
$(VENV)/.installed: pyproject.toml | $(VENV)/.created
	$(PIP) install -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/.created
	$(PIP) install -e '.[test,offline]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: pyproject.toml | $(VENV)/.created
	$(PIP) install -e '.[bench,offline]'
	@touch $(VENV)/.installed $@

# A .venv that somebody has made is used, not replaced. Debian's python3 comes without what `venv` needs; virtualenv
# does without.
$(VENV)/.created:
	@if [ -e $(VENV) ]; then \
	    if $(BIN)/python $(RECENT) 2>/dev/null && $(PIP) --version >/dev/null 2>&1; then touch $@; exit 0; fi; \
	    echo "error: $(VENV) is there but has no pip or no Python 3.11; remove it, or choose another with make VENV=..." >&2; \
	    exit 1; \
	fi; \
	for python in $(PYTHON); do \
	    $$python $(RECENT) >/dev/null 2>&1 || continue; \
	    recent=$$python; \
	    for tool in "$$python -m venv" "$$python -m virtualenv" "virtualenv -p $$python"; do \
	        if $$tool $(VENV) >/dev/null 2>&1 && $(PIP) --version >/dev/null 2>&1; then touch $@; exit 0; fi; \
	        rm -rf $(VENV); \
	    done; \
	done; \
	if [ -z "$$recent" ]; then \
	    echo "error: Python 3.11 or later is needed and none of '$(PYTHON)' is that; install one, or name it with make PYTHON=/path/to/python3" >&2; \
	else \
	    echo "error: $$recent cannot make a virtual environment; install what it needs for that (on Debian and Ubuntu: apt-get install python3-venv)" >&2; \
	fi; \
	exit 1
