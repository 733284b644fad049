# `make demo` and `make test` set everything up in .venv and need nothing but Python 3.11 and pip.
#
# Torch comes from wherever pip is set up to look. On Linux the public index has the build with CUDA (about 3 GB with
# its libraries); point pip at a CPU index (PIP_EXTRA_INDEX_URL, or pip.conf) to have the small one.

PYTHON ?= python3.11
VENV   ?= .venv
OUT    ?= out

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test check docs format clean

demo: $(VENV)/.runtime
	$(BIN)/openemo demo -o $(OUT)

# A process of tests for each core, at most four (each grows to 1.7 GB), and one thread in each: threads of
# several processes would wait for each other. `.venv/bin/pytest tests/FILE` runs in one process.
test: check
	OMP_NUM_THREADS=1 OPENCV_FOR_THREADS_NUM=1 $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist worksteal

# All that is checked without running the program.
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, with the API pages made from the docstrings, into site/.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(OUT) build site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# The stamps make a second run instant; a changed dependency renews them.
$(VENV)/.runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) --editable '.[dev]'
	touch $@
