# Saltus. `make help` says what there is; every target first makes the environment it needs.

PYTHON ?= python3
# Test processes side by side; repetitions of every torture test; more arguments for pytest.
WORKERS ?= 2
COUNT ?= 200
ARGS ?=
TABLE ?=

VENV := .venv
BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q

.DEFAULT_GOAL := help
.PHONY: help reproduce test torture audit bench lint format clean FORCE

help: ## show this list
	@echo "Saltus: a laboratory for the training dynamics of transformers"
	@echo
	@awk -F ':.*## ' '/^[.a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

reproduce: .venv ## run every study at quick scale: progress, ledger, report
	@$(BIN)/saltus reproduce --scale quick

test: .venv ## run the test suite (ARGS="-k name" narrows it, WORKERS=1 is easiest to debug)
	@$(PYTEST) -n $(WORKERS) $(ARGS)

torture: .venv ## kill, flip bits, fill disks COUNT=200 times (TABLE=docs/torture.md writes the table)
	@SALTUS_TORTURE_COUNT=$(COUNT) SALTUS_TORTURE_TABLE=$(TABLE) $(PYTEST) -n $(WORKERS) \
	  -m torture tests/torture tests/training $(ARGS)

audit: .venv ## put faults into trajectories and count those that the auditor of `saltus analyse` finds
	@$(BIN)/python -m saltus.bench.audit --faults 1008

bench: .venv ## time the engine against loops, the instruments, and the solver against scipy
	@$(BIN)/python -m saltus.bench

lint: .venv ## check style, formatting, types and the direction of imports
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "These files are not formatted: make format"; \
	  $(BIN)/ruff format --check .; exit 1; }
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

format: .venv ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

clean: ## remove caches and builds (runs, reports and .venv stay)
	@rm -rf build dist .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last and holds the folder's name. Scripts in an environment hold absolute
# paths, so an environment that was copied or moved with its folder is made anew.
STAMP := $(VENV)/installed-in
HERE := $(shell pwd -P)
STAMPED := $(shell cat $(STAMP) 2>/dev/null)
ifneq "$(STAMPED)" "$(HERE)"
$(STAMP): FORCE
CLEAR := $(if $(STAMPED),--clear)
endif

.venv: $(STAMP) ## make the environment: pinned dependencies, and Saltus in place
	@:

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>/dev/null) || found=missing; \
	  echo "Saltus needs Python 3.11 or newer, and $(PYTHON) is $$found." \
	    "Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing pinned dependencies into $(VENV); the first time takes a few minutes."
	@$(PYTHON) -m venv $(CLEAR) $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[all]'
	@pwd -P > $@
