# `make train` and `make test` each work alone on a fresh machine with Python 3.10-3.12, a C compiler, make and git.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
SOURCES := $(shell find packages -name pyproject.toml -o -name setup.py -o -name '*.p[yx][xd]')
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: help install train test check coverage standalone wheels lint docs bench prove chaos resume faults mutants clean

help:            ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

install: $(DEV)  ## create the virtual environment with everything in it

$(RUN): requirements.txt constraints.txt $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	@touch $@

$(DEV): requirements-dev.txt constraints.txt $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements-dev.txt
	@touch $@ $(RUN)

train: $(RUN)    ## train, evaluate and film an agent (under 20 minutes on 2 cores)
	@echo "the command is $(BIN)/av-td3; for 'av-td3' alone: . $(BIN)/activate"
	$(BIN)/av-td3 train --preset quick $(ARGS)

test: $(DEV)     ## run all tests (under 8 minutes on 2 cores)
	$(BIN)/python -m pytest -n auto $(ARGS)

check: $(DEV)    ## run the quick tests (under 90 seconds on 2 cores), for working
	$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

lint: $(DEV)     ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint --max-line-length 110 packages
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DEV)     ## build the documentation into build/site (10 seconds)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(DEV)    ## speed of the simulator and of the update
	$(BIN)/python -m benchmarks.update_speed
	$(BIN)/python -m benchmarks.minicarla_speed

standalone: $(DEV) ## minicarla and rundoctor install alone and bring nothing that they should not (1 minute)
	$(BIN)/python -m verification.standalone

wheels: $(DEV)   ## build wheels and use them in an empty environment without a compiler (2 minutes)
	$(BIN)/python -m verification.wheels $(ARGS)

coverage: $(DEV) ## run all tests and print what they cover, branches included
	$(BIN)/python -m pytest -n auto --cov --cov-report=term:skip-covered $(ARGS)

prove: $(DEV)    ## what minicarla promises, one line each: held or not (35 minutes; ARGS=--short: 3)
	$(BIN)/python -m verification.minicarla_proofs $(ARGS)

chaos: $(DEV)    ## train while 200 faults strike, and check that it goes on and its data are right (10 minutes)
	$(BIN)/python -m verification.chaos --steps 20000 $(ARGS)

resume: $(DEV)   ## kill a training 20 times: it must equal one that never stopped (10 minutes)
	$(BIN)/python -m verification.resume $(ARGS)

faults: $(DEV)   ## train once with each fault of the catalogue: does the diagnosis name it? (ARGS="--jobs 2": 45 minutes)
	$(BIN)/python -m verification.fault_table $(ARGS)

mutants: $(DEV)  ## put faults into the update and the replay: a test must fail for each (2 minutes)
	$(BIN)/python -m verification.mutants

clean:           ## remove the virtual environment and caches (not the runs)
	find packages -name "*.so" -delete
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis packages/*/build packages/*/dist packages/*/src/*.egg-info
