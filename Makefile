# cht-sync for operators. `make` alone lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Node.js comes as a Python package where the machine has none.
COMMA := ,
NODE_EXTRA := $(if $(and $(shell command -v node),$(shell command -v npm)),,$(COMMA)node)
# What an image is built from: the same versions, and nothing but the very files that were there when they
# were pinned.
HASHED = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11
# How many processes share the tests.
TEST_PROCESSES ?= 2
SHARED = --numprocesses $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder
PIP_INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help local gamma prod down status logs test test-all test-fast soak lint format env-template plugin-docs pictures bench constraints audit clean

help: ## Show this list
	@echo "cht-sync: CouchDB to PostgreSQL for the Community Health Toolkit"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

local: $(VENV)/.local ## Run everything on this machine, with generated documents
	@$(BIN)/cht-sync up --env local --detach

gamma: $(VENV)/.local ## Run beside a test CouchDB (settings in .env)
	@$(BIN)/cht-sync up --env gamma --detach

prod: $(VENV)/.local ## Run beside the real CouchDB and PostgreSQL (settings in .env)
	@$(BIN)/cht-sync up --env prod --detach

down: $(VENV)/.local ## Stop everything; the data stays
	@$(BIN)/cht-sync down

status: $(VENV)/.local ## Show what runs, what is pending, how far behind
	@$(BIN)/cht-sync status

logs: $(VENV)/.local ## Follow all logs
	@$(BIN)/cht-sync logs --follow

test: lint ## Check everything, as CI does
	@$(BIN)/pytest $(SHARED) $(PYTEST_ARGS)

test-all: lint ## The same with every fault, more kills and longer searches (half an hour and more)
	@FAULTS=all FUZZ_EXAMPLES=1000 ORACLE_EXAMPLES=50 $(BIN)/pytest $(SHARED) $(PYTEST_ARGS)

soak: $(VENV)/.dev ## An hour of people at work and faults at random moments (docs/reliability.md)
	@PYTHONPATH=tests $(BIN)/python -m faults.soak --output build/soak.json $(SOAK_ARGS)

test-fast: $(VENV)/.dev ## Run the tests that need no whole environment
	@$(BIN)/pytest --ignore tests/e2e $(SHARED) $(PYTEST_ARGS)

lint: $(VENV)/.dev ## Check form, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/sqlfluff lint --disable-progress-bar dbt/packages/cht_pipeline/models
	@$(BIN)/shellcheck postgres/*.sh data-generator/*.sh superset/start .ci/run .ci/with-docker .ci/compose-plugin .ci/kubectl .ci/from-debian-13 \
	    cht_sync/runtime/containers/with-settings \
	    tests/docker/build-images tests/docker/images/*/docker-entrypoint.sh tests/docker/images/couchdb/couchdb
	@$(BIN)/hadolint --no-color */Dockerfile tests/docker/images/*/Dockerfile

format: $(VENV)/.dev ## Bring the code into form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

env-template: $(VENV)/.local ## Write env.template anew from the declared settings
	@$(BIN)/python -c 'from cht_sync.settings import env_template; print(env_template(), end="")' > env.template

plugin-docs: $(VENV)/.local ## Write docs/plugins.md anew from the plugins
	@$(BIN)/python -c 'from cht_sync.pipeline.plugin_docs import plugin_docs; print(plugin_docs(), end="")' \
	    > docs/plugins.md

pictures: $(VENV)/.dev ## Draw the pictures of the docs anew, from a dashboard in a browser
	@UPDATE_GOLDEN=1 $(BIN)/pytest tests/e2e/test_superset_dashboards.py -k picture

bench: $(VENV)/.local ## Measure the whole chain on this machine (twenty minutes; see bench/README.md)
	@$(BIN)/python -m bench.suite --output build/bench $(BENCH_ARGS)

constraints: $(VENV)/.dev ## Pin the newest versions that fit together, with hashes for the images
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --upgrade --no-header --python-version 3.11 \
	    --extra local --extra node --extra dev setup.cfg --output-file constraints.txt
	@$(HASHED) --constraints constraints.txt setup.cfg --output-file logstash/requirements.txt
	@$(HASHED) --constraints constraints.txt --extra dbt setup.cfg --output-file dbt/requirements.txt
	@echo 'setuptools>=70' | $(HASHED) --upgrade - --output-file build-requirements.txt

audit: $(VENV)/.dev ## Ask the registries for known vulnerabilities of what is pinned
	@$(BIN)/pip install --quiet pip-audit || true
	@$(BIN)/python .ci/audit.py

clean: ## Delete what was installed and built (not the data)
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	    sys.exit(0 if ok else "cht-sync needs Python 3.11 to 3.13, this is " + sys.version.split()[0] \
	    + ". Name another one: make PYTHON=python3.12 ...")'
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.local: setup.cfg constraints.txt | $(BIN)/pip
	@echo "Installing cht-sync and what it runs (once)"
	@$(PIP_INSTALL) --editable '.[local$(NODE_EXTRA)]'
	@touch $@

$(VENV)/.dev: setup.cfg constraints.txt | $(BIN)/pip
	@echo "Installing cht-sync and what its tests need (once)"
	@$(PIP_INSTALL) --editable '.[local,dev$(NODE_EXTRA)]'
	@touch $@ $(VENV)/.local
