# Headrace: every command a contributor needs. `make help` lists them.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
MEMBERS := $(wildcard packages/*) $(wildcard services/*)
STAMP := $(VENV)/.installed
LOCKED := requirements/dev.txt
export UV_LINK_MODE ?= hardlink

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: install
install: $(STAMP) ## Make .venv with everything pinned, members editable, bytecode compiled

$(STAMP): $(LOCKED) requirements/uv.txt pyproject.toml $(MEMBERS:%=%/pyproject.toml)
	@$(PYTHON) scripts/preflight.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r $(LOCKED)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(MEMBERS:%=-e %)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m compileall -q -j 0 $(VENV)/lib packages services >/dev/null || true
	@touch $@

.PHONY: lock
lock: ## Resolve the pins anew into requirements/*.txt
	@PYTHON=$(PYTHON) scripts/lock

.PHONY: demo
demo: install ## Crawl a generated site durably on embedded real stores
	@$(BIN)/headrace-local demo

.PHONY: up
up: install ## Run the whole system on embedded real stores in the foreground
	@$(BIN)/headrace-local up

.PHONY: dev
dev: install ## Run the whole system and restart the services whose code changes
	@$(BIN)/headrace-local up --reload --logs

.PHONY: hooks
hooks: install ## Check format, lint, imports and types at each commit, the rules of the repository at each push
	@$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

.PHONY: test
test: install ## Run the tests that need no container and are quick: a few minutes
	@$(BIN)/python -m pytest -n 4 --dist loadfile -m "not slow and not containers"

.PHONY: slow
slow: install ## Run the slow tests: whole systems under kills and losses
	@$(BIN)/python -m pytest -n 3 --dist loadfile -m "slow and not containers"

.PHONY: mutants
mutants: install ## Break one rule at a time and see the chaos suite notice: fifteen mutants, about ten minutes
	@$(BIN)/python -m tests.chaos.mutants

.PHONY: e2e
e2e: install ## Run the browser tests (Debian: apt-get install chromium): every page and action on a whole system
	@$(BIN)/python -m pytest -q tests/e2e

.PHONY: screenshots
screenshots: install ## Take the pictures of the dashboard anew: docs/img/
	@$(BIN)/python tests/e2e/screenshots.py docs/img

.PHONY: lint
lint: install ## Format check, lint, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

.PHONY: format
format: install ## Format the code and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: types
types: install ## mypy --strict on every package
	@$(BIN)/mypy $(MEMBERS:%=%/src) $(wildcard examples/*/src)

.PHONY: check
check: lint types audit docs ## What CI checks, the quickest first; then all tests but containers, with a floor per member
	@$(BIN)/python scripts/coverage_per_member.py

.PHONY: bench
bench: install ## Run the benchmarks, one after another
	@for name in job_queue drain submit claim pickup memory; do $(BIN)/python -m benchmarks.$$name || exit 1; done

.PHONY: load
load: install ## Load a whole local system for a minute; the HTML report is .run/load/report.html
	@$(BIN)/python tests/load/run.py --seconds 60

.PHONY: docs-session
docs-session: install ## Write the session of docs/command-line.md anew
	@$(BIN)/python scripts/command_line_session.py

.PHONY: simulate
simulate: install ## Run 2,000 simulated schedules of the real code over model stores
	@$(BIN)/python -m tests.simulation --schedules 2000

.PHONY: chaos
chaos: install ## Break everything: all failpoints with all actions, crowds, wrong clocks, and 8 seeds; under five minutes
	@$(BIN)/python -m tests.chaos --failpoints --hardships --seeds 1-8 --seconds 10 --at-once 2

.PHONY: chaos-long
chaos-long: install ## 60 seeds of a minute, 8 of them with losses for good, and the mutants
	@$(BIN)/python -m tests.chaos --failpoints --hardships --seeds 1-52 --seconds 60 --liveness 53-60 --at-once 2
	@$(BIN)/python -m tests.chaos.mutants

.PHONY: openapi
openapi: install ## Write services/scheduler/openapi.json anew from the routes
	@$(BIN)/python -m headrace.scheduler.openapi services/scheduler/openapi.json

.PHONY: audit
audit: install ## Hold the pins of the images to requirements/policy.toml; needs no network
	@$(BIN)/python scripts/pins.py audit

.PHONY: sbom
sbom: install ## Write a bill of materials of each image to .run/sbom
	@$(BIN)/python scripts/pins.py sbom .run/sbom

.PHONY: docs
docs: .run/docs-venv/.installed ## Build the documentation site into .run/site; a warning is an error
	@.run/docs-venv/bin/python scripts/site/build.py .run/site

.PHONY: docs-serve
docs-serve: .run/docs-venv/.installed ## Build it and show it on http://127.0.0.1:8090/
	@.run/docs-venv/bin/python scripts/site/build.py .run/site --serve 8090

# The site's tools bring three dozen distributions that nothing else needs, so they have an environment of their own.
.run/docs-venv/.installed: requirements/docs.txt | $(STAMP)
	@test -x .run/docs-venv/bin/python || $(PYTHON) -m venv --without-pip .run/docs-venv
	@$(BIN)/uv pip install --quiet --python .run/docs-venv/bin/python --require-hashes --no-deps -r requirements/docs.txt
	@touch $@

.PHONY: clean
clean: ## Remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache htmlcov .coverage* .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
