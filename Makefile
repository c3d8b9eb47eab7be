# `make` alone lists the targets. PYTHON chooses the interpreter, PIP_ARGS goes to pip (see README, Install).
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
# Parallel torch processes with several threads each starve one another: one thread per test process. What is compiled is
# kept, whatever the environment says: tests start processes. Each process begins with its own half, and helps the other.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-data test-oracles test-slurm test-gpu lint types format docs lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(PIP_ARGS) -e '.[dev,sweep]'
	@touch $@

demo: .venv/installed  ## install, train on the embedded data (two to four minutes), draw what it looks at, write the report
	$(BIN)/python train.py
	-@$(BIN)/python scripts/visualize.py run=latest images=worst
	@$(BIN)/python scripts/visualize.py run=latest
	@$(BIN)/python scripts/report.py
	@echo "You have just reproduced docs/default.md: the default learns, and its map's peak lies on the digit."
	@echo "What was found in the four papers: docs/findings.md; in numbers: docs/results.md."
	@echo "Every run keeps its record under outputs/runs: metrics.json, history.csv, config.yaml, checkpoints."
	@echo "Next: $(BIN)/python train.py -m attention=none,loupe,cbam seed=0,1   or   $(BIN)/python scripts/reproduce.py --list"

test: lint .venv/extras  ## install, run every check: formatting, lint, tests
	$(PYTEST) -m "not slow and not gpu and not slurm"

test-slow: .venv/notebook .venv/extras  ## the tests that take longer, the notebook among them
	$(PYTEST) -m "slow and not gpu and not slurm"

test-data: .venv/installed  ## the tests on real data: make test-data ZOOMEXP_DATA_DIR=...
	$(PYTEST) -m data

test-oracles: .venv/oracles  ## the tests that compare with the transformers library
	$(PYTEST) -rs -k transformers_library tests/losses tests/tokens

test-slurm: .venv/installed  ## sweeps on a real SLURM, started here (Debian: apt-get install slurmctld slurmd munge)
	$(BIN)/python -m pytest -m slurm -rs tests/slurm

test-gpu: .venv/installed  ## the tests that need a GPU; scripts/dev/gpu.sh also measures
	$(BIN)/python -m pytest -m gpu -rs

lint: .venv/installed  ## formatting and lint
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .

types: .venv/installed  ## every annotation of the package, checked strictly by mypy
	$(BIN)/python -m mypy

format: .venv/installed  ## format and mend what can be mended
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --fix --quiet .

# What the tests of attacks and of segmentation need; without it they skip.
.venv/extras: pyproject.toml | .venv/installed
	$(BIN)/pip install --quiet $(PIP_ARGS) -e '.[robustness,segmentation]'
	@touch $@

.venv/notebook: pyproject.toml | .venv/installed
	$(BIN)/pip install --quiet $(PIP_ARGS) -e '.[notebook]'
	@touch $@

.venv/oracles: pyproject.toml | .venv/installed
	$(BIN)/pip install --quiet $(PIP_ARGS) -e '.[oracles]'
	@touch $@

.venv/docs: pyproject.toml | .venv/installed
	$(BIN)/pip install --quiet $(PIP_ARGS) -e '.[docs]'
	@touch $@

docs: .venv/docs  ## the documentation as a site, in site/: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock: .venv/installed  ## requirements.lock: every version that is tested here, with its hashes; docs/licences.md: their licences
	$(BIN)/pip install --quiet $(PIP_ARGS) uv==0.13.9 pip-licenses==5.5.5 -e '.[corruptions,dashboard,data,detection,dev,docs,notebook,onnx,oracles,robustness,segmentation,sweep]'
	$(BIN)/pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' > requirements.lock  # uv keeps to it where all Pythons can
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --all-extras --custom-compile-command 'make lock' pyproject.toml -o requirements.lock
	scripts/dev/licences.sh $(BIN) > docs/licences.md

clean:  ## remove the environment and caches, keep outputs
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
