# `make demo`, `make test` and `make check` each build what they need from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: bench bench-quality bench-quality-slow demo test test-all check format clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	touch $@

demo: $(INSTALLED)
	$(BIN)/python examples/demo.py

test: $(INSTALLED)
	$(BIN)/python -m pytest

test-all: $(INSTALLED)
	$(BIN)/python -m pytest -m "slow or not slow"

# Every figure beside its peer and its bound, and growth with hours of video, into docs/performance.md.
bench: $(INSTALLED)
	$(BIN)/python -m examples.benchmark --write docs

# Answers per byte on held-out films, into docs/quality.md; goes on where it was interrupted.
bench-quality: $(INSTALLED)
	$(BIN)/python -m examples.quality --write docs

# With a film of ten hours, asked after its first hour and at its end.
bench-quality-slow: $(INSTALLED)
	$(BIN)/python -m examples.quality --ten-hours 1 --write docs

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
