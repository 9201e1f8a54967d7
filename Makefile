# make demo: the main job on the embedded sample. make test: the fast test suite.
# Both create .venv if it is missing, or if a file that it is made from has changed. Nothing else is needed.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= 2.13.0
PARLAI := 1.7.2
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2
DATA ?= data

.PHONY: demo test test-all lint results zoo lock clean help

help:
	@echo "make demo      train, evaluate and talk to persona:memnet on the embedded sample (about a minute)"
	@echo "make test      the fast test suite"
	@echo "make test-all  all tests, the slow ones too"
	@echo "make lint      ruff and mypy"
	@echo "make results   write RESULTS.md and results/*.md from results/*.csv"
	@echo "make zoo       train the models of the zoo and publish them in zoo/ (hours; DATA=data is ParlAI's data folder)"
	@echo "make lock      pin today's versions in requirements.lock (needs the registry)"

$(READY): requirements.lock setup.py pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info[:2] <= (3, 13) else \
	  f"Python 3.10 to 3.13 is needed; $(PYTHON) is {sys.version.split()[0]}. Try: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@test -x $(BIN)/python || { echo "[1/4] creating the virtual environment $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "[2/4] installing torch $(TORCH) (the largest part)"
	@$(BIN)/python -m pip install --quiet torch==$(TORCH)
	@echo "[3/4] installing ParlAI $(PARLAI) without its outdated pins, and what it really needs"
	@$(BIN)/python -m pip install --quiet --no-deps parlai==$(PARLAI)
	@$(BIN)/python -m pip install --quiet --no-deps --requirement requirements.lock
	@echo "[4/4] installing parlai-persona (editable)"
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "ready: $(BIN)/parlai knows persona:"

demo: $(READY)
	@$(BIN)/python -m parlai_persona.demo

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) -m 'not slow'

test-all: $(READY)
	$(BIN)/python -m pytest -n $(JOBS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

results: $(READY)
	$(BIN)/python -m benchmarks.results

zoo: $(READY)
	$(BIN)/python -m benchmarks.suite.zoo --datapath $(DATA)

lock: $(READY)
	@$(BIN)/python -m pip install --quiet uv
	$(BIN)/python .ci/lock.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
