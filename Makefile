# Two commands on a fresh machine with python3, a C++ compiler and make:
#   make demo    sets up .venv and runs the main job on simulated events
#   make test    sets up .venv and passes every test and check
# and
#   make benchmarks [QUICK=1]    measures, and writes docs/benchmarks.md (with QUICK, build/benchmarks/)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -q
TORCH := torch==2.13.0
SOURCES := pyproject.toml CMakeLists.txt $(shell find cpp_bridge -name '*.[ch]pp' -not -path '*/tests/*')

.DEFAULT_GOAL := help
.PHONY: help demo test lint benchmarks clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.demo-ready
	$(BIN)/xec-deploy demo demo

test: $(VENV)/.test-ready lint
	$(BIN)/python -m pytest

lint: $(VENV)/.test-ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

benchmarks: $(VENV)/.test-ready
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip

# Editable, so that the environment always runs the sources of this tree.
$(VENV)/.demo-ready: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install -e '.[plot]'
	@touch $@

# torch first and by its version: a range would fetch gigabytes of CUDA libraries.
$(VENV)/.test-ready: $(VENV)/.demo-ready
	$(PIP) install $(TORCH)
	$(PIP) install --pre 'root==0.1a12'
	$(PIP) install -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
