# Every target sets up what it needs: on a fresh machine with git, make and python3 >= 3.11 (with pip and venv),
# `make demo` and `make test` are enough. The environment is rebuilt when constraints.txt or pyproject.toml change.

PYTHON ?= python3
VENV ?= .venv
# Another build of torch, for example the one without CUDA: make demo TORCH_INDEX=<address of PyTorch's CPU wheels>
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
# More options for a target: make test ARGS="-k solvers -x", make demo ARGS=--small
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
HASH := $(shell cat constraints.txt pyproject.toml | sha256sum | cut -c1-12)
CORE := $(VENV)/.core-$(HASH)
DEV := $(VENV)/.dev-$(HASH)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test slow peers check lint bench docs clean

help:
	@echo "  make demo     train on the digits, sample, evaluate and write runs/demo (about three minutes)"
	@echo "  make test     run the tests"
	@echo "  make check    ruff, format, types and the rules of the house"
	@echo "  make lint     the same as check"
	@echo "  make slow     run the recipes that take long"
	@echo "  make peers    compare with other libraries, in an environment of their own ($(VENV)-peers)"
	@echo "  make bench    run the benchmarks, one script per claim (hours; alone: .venv/bin/python benchmarks/NAME.py)"
	@echo "  make docs     run every example in the documentation and follow its links"
	@echo "  make venv     create or renew the environment in $(VENV), with the tools for development"
	@echo "  make clean    remove the environment and the caches; runs stay"
	@echo "  make help     this list"

# What a user needs. Torch comes first, so that nothing pulls another version; the stamp comes last, so that an
# interrupted installation is taken up again.
$(CORE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pushforward needs Python 3.11 or newer; make PYTHON=python3.12 chooses another one.")'
	@rm -f $(VENV)/.core-* $(VENV)/.dev-*
	@$(PYTHON) -m venv $(VENV) || { echo 'This Python has no venv; on Debian: apt install python3-venv'; exit 1; }
	@echo "Installing into $(VENV): torch first, then the rest"
	@$(PIP) install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) --constraint constraints.txt $(TORCH)
	@$(PIP) install --quiet -c constraints.txt hatchling editables
	@$(PIP) install --quiet --no-build-isolation -c constraints.txt -e .
	@touch $@

# What a developer needs on top.
$(DEV): $(CORE)
	@echo "Installing the tools for development"
	@$(PIP) install --quiet --no-build-isolation -c constraints.txt -e '.[dev]'
	@touch $@

venv: $(DEV)

demo: $(CORE)
	$(BIN)/pushforward demo $(ARGS)

# As many processes as there are cores, each with one thread of its own; ARGS="-n 0" is a single one.
test: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 $(ARGS)

slow: $(DEV)
	$(BIN)/python -m pytest -m slow $(ARGS)

# Other libraries that some tests compare with and skip without: any versions that go with our own. torchcfm comes alone:
# what it asks for besides brings a torchvision, which is often of another build than torch and then stops transformers.
PEERS := zuko nflows normflows diffusers transformers flow_matching x-transformers jieba rjieba

peers:
	@$(MAKE) --no-print-directory VENV=$(VENV)-peers venv
	@echo "Installing other libraries into $(VENV)-peers"
	@$(VENV)-peers/bin/python -m pip install --quiet -c constraints.txt $(PEERS)
	@$(VENV)-peers/bin/python -m pip install --quiet -c constraints.txt --no-deps torchcfm
	OMP_NUM_THREADS=1 $(VENV)-peers/bin/python -m pytest -n auto --maxprocesses 8 \
		$$(grep -rlE 'importorskip|find_spec' tests --include='test_*.py') $(ARGS)

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest tests/house

lint: check

bench: $(DEV)
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script $(ARGS) || exit 1; done

docs: $(DEV)
	$(BIN)/python -m pytest src tests/house/test_files.py $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-peers build dist .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +
