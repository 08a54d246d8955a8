# Everything sets itself up: Python, make and a package index are all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# The Python that this is tested with, and the oldest that will do. The functions' runtime is that of the
# Python that deploys them.
STATED := $(shell sed -n 's/^requires-python = ">=\([0-9.]*\)".*/\1/p' pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help demo test check simulate console screenshots bench configure deploy destroy package doctor setup upgrade clean

help: ## say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(READY) ## four nights on a local cloud, or SCENARIO=company; KEEP=1 leaves it running to be tried
	@$(BIN)/python -m demo $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(KEEP),--keep)

# The product's rooms are covered by these to the last line; the others are quicker without a tracer.
COVERED := tests/unit tests/usecases tests/contract tests/test_app.py
# One more than most runners' two processors, for many tests wait rather than work.
SIDE_BY_SIDE := --numprocesses 3 --dist loadfile

test: check ## everything: lint, format, types, all tests, coverage
ifdef TESTS
	$(BIN)/pytest $(SIDE_BY_SIDE) $(TESTS)
else
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest $(SIDE_BY_SIDE) $(COVERED)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/pytest $(SIDE_BY_SIDE) $(addprefix --ignore=,$(COVERED))
endif

check: $(READY) ## lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

simulate: $(READY) ## random histories against the guarantees; N=20000 of them, SEED=… to replay
	@HISTORIES=$(or $(N),5000) $(if $(SEED),SEED=$(SEED)) $(BIN)/python -m tests.simulation.test_histories

console: $(READY) ## the console of STAGE=… in your browser, with your own AWS credentials; PORT=…, URL=…
	@$(BIN)/python -m cli.console --stage "$$STAGE" $(if $(PORT),--port "$$PORT") $(if $(URL),--url "$$URL")

screenshots: $(READY) ## the console's pictures in docs/, taken in Chromium
	@$(BIN)/pytest --quiet tests/browser/screenshots.py

bench: $(READY) ## cost and speed against the floor, into docs/benchmarks.md; takes a quarter of an hour
	@$(BIN)/python -m bench

configure: $(READY) ## write STAGE=… and its policies; any setting by its name, MAIN_PIPELINE_ARN=…
	@$(BIN)/python -m stage.configure --stage "$(STAGE)"

doctor: $(READY) ## check STAGE=… in its account, with a fix for each fault; JSON=1 for machines
	@$(BIN)/python -m stage.doctor --stage "$(STAGE)" $(if $(JSON),--json)

deploy: $(READY) ## STAGE=… into your account: parameters and topic, functions, alarms; EMAIL=… subscribes
	@$(BIN)/python -m stage.deploy --stage "$(STAGE)"

destroy: $(READY) ## delete STAGE=… but not its parameters, topic and logs; PARAMETERS=delete deletes those too
	@$(BIN)/python -m stage.destroy --stage "$(STAGE)"

package: $(READY) ## write STAGE=… as CloudFormation templates
	@$(BIN)/python -m stage.package --stage "$(STAGE)"

setup: $(READY) ## the virtual environment, and the wheels that chalice deploy packs

$(READY): requirements.txt requirements-chalice.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(STATED)".split("."))))' \
		|| { echo "Python $(STATED) or newer is needed; name one with make PYTHON=python3.x"; exit 1; }
	@$(PYTHON) -c 'import sys; here = "%d.%d" % sys.version_info[:2]; here == "$(STATED)" or print(f"this is Python {here}: \
	functions deployed from here get the runtime python{here}; it is tested with $(STATED)")'
	@echo "setting up $(VENV), once; this takes about a minute"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r requirements.txt -r requirements-chalice.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/pip download --quiet --disable-pip-version-check --only-binary=:all: \
		--dest $(VENV)/wheels -r requirements.txt
	@touch $@

upgrade: $(READY) ## newest pins with hashes, newest ranges; DAYS=0 takes even today's releases
	@$(BIN)/python -m upgrade $(if $(DAYS),--days $(DAYS))

clean: ## forget the virtual environment and every cache
	rm -rf $(VENV) .chalice/deployments .coverage .coverage.* \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache
