# `make demo` and `make test` set everything up in .venv and need nothing but Python 3.11 and pip.
#
# Torch comes from wherever pip is set up to look. On Linux the public index has the build with CUDA (about 3 GB with
# its libraries); point pip at a CPU index (PIP_EXTRA_INDEX_URL, or pip.conf) to have the small one.

PYTHON ?= python3.11
VENV   ?= .venv
OUT    ?= out

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test check format clean

demo: $(VENV)/.runtime
	$(BIN)/openemo demo --out $(OUT)

test: check
	$(BIN)/pytest

# All that is checked without running the program.
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(OUT) build .mypy_cache .pytest_cache .ruff_cache

# The stamps make a second run instant; a changed dependency renews them.
$(VENV)/.runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) --editable '.[dev]'
	touch $@
