# Each target installs what it needs: only Python, make and a package index are required.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What the demo and a deployment need, and what the tests need in addition.
READY := $(VENV)/ready
TESTED := $(VENV)/tested
# The Python that the project is tested with, which is also the oldest supported. The functions' runtime is
# the version of the Python that deploys them.
STATED := $(shell sed -n 's/^requires-python = ">=\([0-9.]*\)".*/\1/p' pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help demo test check simulate mutants screenshots bench setup upgrade clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# Recipes read the variables of make's command line from the environment, where make puts them: the shell
# would run what is written into a recipe.

demo: $(READY) ## four nights on a local cloud, or SCENARIO=company or rows; KEEP=1 leaves it running for you to try
	@$(BIN)/python -m demo $(if $(value SCENARIO),--scenario "$$SCENARIO") $(if $(value KEEP),--keep)

# These tests cover every line of the product; the others run faster without coverage.
COVERED := tests/unit tests/usecases tests/contract tests/test_app.py tests/test_openapi.py
# One more than most runners' two processors, because many tests wait most of the time.
SIDE_BY_SIDE := --numprocesses 3

test: $(if $(value TESTS),$(TESTED),check) ## lint, format, types, all tests, coverage; or some TESTS alone
ifdef TESTS
	$(BIN)/pytest $(SIDE_BY_SIDE) $$TESTS
else
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest $(SIDE_BY_SIDE) $(COVERED)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/pytest $(SIDE_BY_SIDE) $(addprefix --ignore=,$(COVERED))
endif

check: $(TESTED) ## lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

simulate: $(TESTED) ## random histories against the guarantees; N=20000 of them, SEED=… to replay
	@HISTORIES="$${N:-5000}" $(BIN)/pytest -qx $(SIDE_BY_SIDE) tests/simulation/test_histories.py

mutants: $(TESTED) ## N=300 random faults in the code, and which of them the tests find; SEED=1
	@nice $(BIN)/python -m tests.mutants

screenshots: $(TESTED) ## the pictures of console and terminal in docs/; needs Chromium
	@$(BIN)/pytest --quiet tests/browser/screenshots.py

bench: $(TESTED) ## cost and speed against the floor, into docs/benchmarks.md; takes ten minutes
	@$(BIN)/python -m bench

setup: $(READY) ## the virtual environment, and the wheels that chalice deploy packs

INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

$(READY): requirements.txt requirements-chalice.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(STATED)".split("."))))' \
		|| { echo "Python $(STATED) or newer is needed; name one with make PYTHON=python3.x"; exit 1; }
	@$(PYTHON) -c 'import sys; here = "%d.%d" % sys.version_info[:2]; here == "$(STATED)" or print(f"this is Python {here}: \
	functions deployed from here get the runtime python{here}; the project is tested with $(STATED): make clean, then make PYTHON=python$(STATED) setup, to use that")'
	@echo "setting up $(VENV); the first time this takes about a minute and 270 MB"
	@test -e $@ || $(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --no-deps --require-hashes -r requirements.txt -r requirements-chalice.txt
	@$(INSTALL) --editable '.[console,demo,deploy]'
	@$(BIN)/pip download --quiet --disable-pip-version-check --only-binary=:all: \
		--dest $(VENV)/wheels -r requirements.txt
	@touch $@

$(TESTED): $(READY)
	@echo "installing what the tests need; the first time this takes a minute or two and 640 MB"
	@$(INSTALL) --editable '.[dev]'
	@touch $@

# For every platform and the oldest Python. Nothing is built, so nothing that was downloaded runs here.
PIN := uv pip compile --quiet --upgrade --generate-hashes --universal --no-build --no-annotate \
	--python-version $(STATED) --custom-compile-command "make upgrade" \
	$(if $(filter 0,$(value DAYS)),,--exclude-newer "$${DAYS:-7} days")

upgrade: $(TESTED) ## the newest pins with hashes, without releases of this week; DAYS=0 takes even today's
	$(BIN)/$(PIN) --group lambda --output-file requirements.txt
	$(BIN)/$(PIN) --group deploy --no-deps --output-file requirements-chalice.txt

clean: ## delete the virtual environment and every cache
	rm -rf $(VENV) .chalice/deployments .coverage .coverage.* \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache
