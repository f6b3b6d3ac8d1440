# cxr-worker: what a newcomer runs. Each target installs what it needs into .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DATA ?= demo-data
DEBIAN_PACKAGES := redis-server postgresql dcmtk dicom3tools orthanc orthanc-dicomweb odil libpixelmed-java \
	default-jre-headless systemd chromium
PROGRAMS := redis-server storescu dciodvfy dsrdump Orthanc odil java systemd-analyze chromium

.PHONY: help demo up test soak bench lint services install-demo install-dev
.DEFAULT_GOAL := help

help:
	@echo 'make demo [DATA=DIR]  real films through everything, into a PACS, one table'
	@echo 'make up [DATA=DIR]    the same, and stays until Ctrl-C'
	@echo 'make test             lint, types, import rules and all tests'
	@echo 'make lint             the first three of them'
	@echo 'make bench            every program in benchmarks/, ratios against peers in the same run'
	@echo 'make soak             the tests that take minutes each, left out of make test'

demo: install-demo
	$(BIN)/python -m worker.demo --data "$(DATA)"

up: install-demo
	$(BIN)/python -m worker.demo --data "$(DATA)" --stay

test: install-dev services tests/node/node_modules lint
	$(BIN)/pytest -m 'not slow'

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: install-dev services
	$(BIN)/pytest -m slow

bench: install-dev
	@set -e; for file in benchmarks/*.py; do \
		name=$$(basename $$file .py); echo "== $$name"; $(BIN)/python -m benchmarks.$$name; \
	done

install-demo: .venv/.installed-demo
install-dev: .venv/.installed-dev

.venv/.installed-%: pyproject.toml deploy/constraints.txt deploy/install.sh
	PYTHON="$(PYTHON)" bash deploy/install.sh $*
	@touch $@

# Two DICOM peers written in JavaScript; without npm the tests that need them are skipped by name.
tests/node/node_modules: tests/node/package-lock.json
	@if command -v npm >/dev/null; then \
		npm ci --prefix tests/node --ignore-scripts --no-audit --no-fund && touch $@; \
	else \
		echo 'missing for some tests: npm (Node.js); on Debian: apt-get install --no-install-recommends npm'; \
	fi

# As root on Debian they are installed; elsewhere their absence is said, and the tests that need them are skipped by name.
services:
	@missing=; for p in $(PROGRAMS); do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	[ -e /usr/share/java/pixelmed.jar ] || missing="$$missing pixelmed"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then \
		echo "installing for the tests: $(DEBIAN_PACKAGES)"; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(DEBIAN_PACKAGES); \
	else \
		echo "missing for some tests:$$missing; on Debian: apt-get install --no-install-recommends $(DEBIAN_PACKAGES)"; \
	fi
