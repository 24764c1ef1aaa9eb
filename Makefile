# The one list of verbs. Everything here runs on a machine that has Python 3.11 or newer, make and
# a package index; the second run of a verb does only what has become necessary.
#
# Another Python:          make setup PYTHON=python3.12
# Options for a command:   make serve ARGS="--port 9000"    make test ARGS="-k breaker -x"

PYTHON ?= python3
SPEC = examples/iris.yaml
PORT ?= 8000
ARGS =

SHELL = /bin/sh
VENV = .venv
BIN = $(VENV)/bin
BASE = $(VENV)/.stamp-base
DEV = $(VENV)/.stamp-dev
TRAINING = .venv-training/.stamp
BENCH = .venv-bench/.stamp
LOCKING = .venv-lock/.stamp

INSTALL = bin/python -m pip install --quiet --no-input --disable-pip-version-check
FULLY_COVERED = src/penstock/core/*,src/penstock/spec/*,src/penstock/patterns/*,src/penstock/graph/*

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup setup-dev serve test lint types coverage check format docs models bench lock \
	clean distclean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(BASE) ## Install what serving needs into .venv

setup-dev: $(DEV) ## Install what developing needs as well

serve: $(BASE) ## Serve the demo on 127.0.0.1:8000 (PORT=..., SPEC=..., ARGS=...)
	$(BIN)/penstock serve $(SPEC) --host 127.0.0.1 --port $(PORT) $(ARGS)

test: $(DEV) ## Run the tests (ARGS=... go to pytest)
	$(BIN)/python -m pytest $(ARGS)

lint: $(DEV) ## Look for mistakes, bad format, misspellings and forbidden imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports --no-logo

types: $(DEV) ## Check the types
	$(BIN)/mypy

coverage: $(DEV) ## Run the tests and check what they cover
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage report --fail-under=90
	$(BIN)/coverage report --fail-under=100 --include='$(FULLY_COVERED)'

check: lint types coverage ## Do all that CI does

format: $(DEV) ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(DEV) ## Write the generated pages of the reference anew
	$(BIN)/python scripts/generate_reference.py $(ARGS)

models: $(TRAINING) ## Train the demo's models anew
	.venv-training/bin/python -m training $(ARGS)

bench: $(BENCH) ## Run the benchmarks
	.venv-bench/bin/python -m benchmarks $(ARGS)

lock: $(LOCKING) ## Resolve the requirements anew (ARGS=--upgrade)
	@for name in base dev training bench; do \
		test -f requirements/$$name.in || continue; \
		echo "requirements/$$name.lock"; \
		.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-config --no-header --no-emit-index-url $(ARGS) \
			requirements/$$name.in --output-file requirements/$$name.lock || exit 1; \
	done

clean: ## Remove caches and reports
	rm -rf .coverage .coverage.* htmlcov build dist .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	find src tests training benchmarks scripts -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || :

distclean: clean ## Remove the virtual environments as well
	rm -rf .venv .venv-training .venv-bench .venv-lock

# --- virtual environments: a stamp is as old as the last complete install --------------------

$(BASE): $(BIN)/python requirements/base.lock pyproject.toml
	$(VENV)/$(INSTALL) --require-hashes -r requirements/base.lock
	$(VENV)/$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(BASE) requirements/dev.lock
	$(VENV)/$(INSTALL) --require-hashes -r requirements/dev.lock
	@touch $@

$(TRAINING): .venv-training/bin/python requirements/training.lock
	.venv-training/$(INSTALL) --require-hashes -r requirements/training.lock
	@touch $@

$(BENCH): .venv-bench/bin/python requirements/bench.lock pyproject.toml
	.venv-bench/$(INSTALL) --require-hashes -r requirements/bench.lock
	.venv-bench/$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(LOCKING): .venv-lock/bin/python
	.venv-lock/$(INSTALL) uv
	@touch $@

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Penstock needs Python 3.11 or newer; name one like this: make PYTHON=python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv --clear $* || { rm -rf $*; exit 1; }
