# Everything a developer or a newcomer runs. Each target makes its own environment first; python3, a C compiler and
# make are all that may be assumed.
SHELL := /bin/bash
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
SOURCES := $(wildcard ext/*.pyx ext/*.pxd plant_models/*.pyx plant_models/*.pxd) setup.py

.PHONY: help install build debug demo demo-open test check types lint contracts docs-check soak browser clean

help:
	@echo "make demo       check, simulate and run the example site; ends by itself"
	@echo "make demo-open  the same, and keeps running with the live page"
	@echo "make test       the tests"
	@echo "make check      lint, types, import contracts, documentation"
	@echo "make browser    tests in a real browser (needs chromium)"
	@echo "make soak       the long suites"
	@echo "make debug      build with checks on and run the kernel tests in it"

# ---------------------------------------------------------------------------------------------- environment
$(VENV)/.tools:
	@command -v $(PY) >/dev/null || { echo "python3 is missing. On Debian: apt-get install python3 python3-venv"; exit 1; }
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $$($(PY) --version) was found"; exit 1; }
	@$(PY) -c 'import venv, ensurepip' 2>/dev/null || { echo "python3-venv is missing. On Debian: apt-get install python3-venv"; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { echo "A C compiler is missing. On Debian: apt-get install gcc libc6-dev python3-dev"; exit 1; }
	@$(PY) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { echo "The headers of Python are missing. On Debian: apt-get install python3-dev"; exit 1; }
	$(PY) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip setuptools wheel "cython>=3.3,<4"
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.tools
	$(BIN)/python -m pip install -q --no-build-isolation -e ".[hmi,frames,dev]"
	@touch $@ $(VENV)/.built

$(VENV)/.built: $(SOURCES) $(VENV)/.installed
	$(BIN)/python setup.py -q build_ext --inplace -j $(JOBS)
	@touch $@

install: $(VENV)/.built
build: $(VENV)/.built

# ---------------------------------------------------------------------------------------------- use
demo: $(VENV)/.built
	$(BIN)/python configs/heat_treatment/demo.py

demo-open: $(VENV)/.built
	$(BIN)/python configs/heat_treatment/demo.py --open

# ---------------------------------------------------------------------------------------------- proof
test: $(VENV)/.built
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "not slow and not browser"

check: lint types contracts docs-check

lint: $(VENV)/.built
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.built
	$(BIN)/mypy

contracts: $(VENV)/.built
	$(BIN)/lint-imports

docs-check: $(VENV)/.built
	$(BIN)/python -m pytest -q tests/docs

# Debug build in a copy of the tree, so that the release build stays as it is.
debug: $(VENV)/.built
	rm -rf build/debug && mkdir -p build/debug
	git ls-files -z | xargs -0 cp --parents -t build/debug
	cd build/debug && CTRL_DEBUG=1 ../../$(BIN)/python setup.py -q build_ext --inplace -j $(JOBS)
	cd build/debug && ../../$(BIN)/python -m pytest -q -n $(JOBS) -p no:cacheprovider tests/unit tests/property tests/loop -k "kernel or block or plant or loop or world"

browser: $(VENV)/.built
	$(BIN)/python -m pytest -q -m browser tests/browser

soak: $(VENV)/.built
	$(BIN)/python -m pytest -q -m slow tests

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find ext plant_models -name '*.so' -delete
