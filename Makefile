# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Needed beforehand: Python 3.11 to 3.14, make, and a package registry.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] < (3,15))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
WORKERS ?= 2  # of the whole suite: each has servers of its own, and mostly waits
BIN := $(VENV)/bin
SOURCES := photo_archive core schemas consumers producers ingress standalone migrations training benchmarks examples tests

.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.14 is needed and was not found: set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "'$(PYTHON) -m venv' failed: install the venv package of your system"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	@touch $@

# The project itself: the command, and imports from wherever one stands. Built by the lock's own
# setuptools, so that nothing unpinned is fetched; `compat` is a plain path, free at each start.
INSTALL := VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/uv pip install --quiet --no-deps
INSTALL_PROJECT := $(INSTALL) --no-build-isolation -C editable_mode=compat --editable .

$(VENV)/unit: $(VENV)/uv requirements-unit.txt pyproject.toml
	@echo "Installing what checks and tests need, less torch (0.9 GB)…"
	@$(INSTALL) --require-hashes -r requirements-unit.txt
	@$(INSTALL_PROJECT)
	@touch $@

$(VENV)/run: $(VENV)/uv requirements.txt pyproject.toml
	@echo "Installing what the archive runs on (about 5 GB the first time)…"
	@$(INSTALL) --require-hashes -r requirements.txt
	@$(INSTALL_PROJECT)
	@touch $@

$(VENV)/dev: $(VENV)/uv requirements-dev.txt pyproject.toml
	@echo "Installing what the archive and its tests run on (about 5 GB the first time)…"
	@$(INSTALL) --require-hashes -r requirements-dev.txt
	@$(INSTALL_PROJECT)
	@touch $@ $(VENV)/run $(VENV)/unit

# What the page at / is drawn with. Without a network all else works, and the next call tries again.
$(VENV)/page: $(VENV)/run standalone/kafka/kafka-jars.lock
	@$(BIN)/python -m standalone.lit_html && touch $@ || true

install: $(VENV)/run $(VENV)/page  ## Install into .venv; the command is .venv/bin/photo-archive

demo: $(VENV)/run $(VENV)/page  ## Run the whole archive here: PHOTOS=dir, ONCE=1, MODEL=demo
	@exec $(BIN)/photo-archive demo $${PHOTOS:+--photos "$$PHOTOS"} $${MODEL:+--model "$$MODEL"} \
		$(if $(filter-out 0,$(ONCE)),--once)

up: $(VENV)/run $(VENV)/page  ## Start the embedded servers and all roles, and stay
	@exec $(BIN)/photo-archive up

page: $(VENV)/run  ## Fetch lit-html again, which the page is drawn with
	@$(BIN)/python -m standalone.lit_html && touch $(VENV)/page

test: $(VENV)/dev  ## Checks and the whole suite, on a real broker and database
	@$(MAKE) --no-print-directory $(VENV)/page check
	@$(BIN)/pytest -m "not slow" --numprocesses $(WORKERS) --dist loadfile

test-unit: $(VENV)/unit  ## Unit tests only: installs no torch; half a minute
	@$(BIN)/pytest tests/unit --numprocesses $(WORKERS)

test-faults: $(VENV)/dev  ## The long fault tests
	@WRITE_GUARANTEES=1 $(BIN)/pytest tests/faults --timeout 3600

test-page: $(VENV)/dev  ## Every state of every screen of the page, in Chromium
	@$(BIN)/pytest tests/e2e/page --timeout 600

pictures: $(VENV)/dev  ## Take the README's pictures of the page anew
	@$(BIN)/python -m tests.e2e.page.pictures

check: $(VENV)/unit  ## ruff, mypy, import contracts
	@$(BIN)/ruff format --check --quiet $(SOURCES) || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/lint-imports --no-cache >.lint-imports.log 2>&1 || { cat .lint-imports.log; exit 1; }
	@$(BIN)/mypy $(SOURCES)

format: $(VENV)/unit  ## Format and sort imports
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --quiet --fix $(SOURCES)

docs: $(VENV)/unit  ## Bring generated tables and .env.example up to date
	@$(BIN)/python -m tests.documents

bench: $(VENV)/run  ## Benchmarks, quick
	@$(BIN)/python -m benchmarks.endtoend --quick

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --override overrides.txt
sbom: $(VENV)/dev  ## Write sbom.cdx.json: what the archive runs on, of the lock
	@$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application \
		--output-reproducible --of JSON -o sbom.cdx.json requirements.txt

lock: $(VENV)/uv  ## Pin the requirements anew
	@$(LOCK) requirements-dev.in -o requirements-dev.txt >/dev/null
	@$(LOCK) -c requirements-dev.txt requirements.in -o requirements.txt >/dev/null
	@$(LOCK) -c requirements-dev.txt requirements-unit.in -o requirements-unit.txt >/dev/null

compose-up:  ## Start with Docker
	docker compose up --build -d

compose-down:  ## Stop Docker's
	docker compose down

ci: test  ## What CI runs

clean:  ## Remove the environment and the standalone data (asks nothing)
	rm -rf $(VENV) var

.PHONY: help install demo up page test test-unit test-faults test-page pictures check format docs bench sbom lock compose-up compose-down ci clean
