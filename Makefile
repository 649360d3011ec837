# `make train` and `make test` each work alone on a fresh machine with Python 3.10-3.12, a C compiler, make and git.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install train test lint bench prove faults mutants clean

help:            ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

install: $(STAMP)  ## create the virtual environment with everything in it

$(STAMP): pyproject.toml setup.py constraints.txt $(shell find src -name '*.p[yx][xd]')
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

train: $(STAMP)  ## train, evaluate and film an agent (under 20 minutes on 2 cores)
	$(BIN)/av-td3 train --preset quick $(ARGS)

test: $(STAMP)   ## run the tests (under 10 minutes on 2 cores)
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)   ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint --max-line-length 110 src
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## speed of the simulator and of the update
	$(BIN)/python -m benchmarks.update_speed
	$(BIN)/python -m benchmarks.minicarla_speed

prove: $(STAMP)  ## what minicarla promises, one line each: held or not (35 minutes; ARGS=--short: 3)
	$(BIN)/python -m benchmarks.minicarla_proofs $(ARGS)

faults: $(STAMP) ## commit every fault of the catalogue and see whether the diagnosis names it (hours)
	$(BIN)/python -m benchmarks.fault_table $(ARGS)

mutants: $(STAMP) ## put faults into the update and the replay: a test must fail for each (2 minutes)
	$(BIN)/python -m benchmarks.mutants

clean:           ## remove the virtual environment and caches (not the runs)
	find src -name "*.so" -delete
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info
