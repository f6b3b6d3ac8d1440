# cxr-worker: what a newcomer runs. Each target installs what it needs into .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DATA ?= demo-data
DEBIAN_PACKAGES := redis-server postgresql dcmtk dicom3tools orthanc orthanc-dicomweb odil libpixelmed-java \
	default-jre-headless systemd chromium
PROGRAMS := redis-server storescu dciodvfy dsrdump Orthanc odil java systemd-analyze chromium

# A release: DATA is a manifest, PICTURES what the gate must refuse, OUT the folder of the runs, TO the release.
OUT ?= runs/release
PICTURES ?= $(dir $(DATA))../gate
TO ?= $(OUT)/release
STUDIES ?=
RUN := $(OUT)/run
PARTS := $(RUN)/report/report.html $(OUT)/gate/gate.json $(OUT)/audit/audit.html
SHIP = $(BIN)/python -m model.ship --model "$(RUN)/model" --evaluation "$(RUN)/report/metrics.json" \
	--gate "$(OUT)/gate" --audit "$(OUT)/audit/audit.json" --design model/design.md --to "$(TO)"

.PHONY: help demo up test soak bench lint services install-demo install-dev
.PHONY: release-model release-evaluation release-data
.DEFAULT_GOAL := help

help:
	@echo 'make demo [DATA=DIR]  real films through everything, into a PACS, one table'
	@echo 'make up [DATA=DIR]    the same, and stays until Ctrl-C'
	@echo 'make test             lint, types, import rules and all tests'
	@echo 'make lint             the first three of them'
	@echo 'make bench            every program in benchmarks/, ratios against peers in the same run'
	@echo 'make soak             the tests that take minutes each, left out of make test'
	@echo 'make release-model DATA=MANIFEST [OUT=DIR] [TO=DIR]       train, evaluate, gate, audit, ship what is there'
	@echo 'make release-evaluation DATA=MANIFEST [OUT=DIR] [TO=DIR]  the other figures too; both go on where they were'

demo: install-demo
	$(BIN)/python -m worker.demo --data "$(DATA)"

up: install-demo
	$(BIN)/python -m worker.demo --data "$(DATA)" --stay

# One BLAS thread: OpenBLAS can spin for ever for a thread of its own after many forks, as tests make them.
test soak: export OPENBLAS_NUM_THREADS := 1
# Two files of tests at a time, in the order of the tree: the acceptance tests, which take longest, come first.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: install-dev services tests/node/node_modules lint
	$(BIN)/pytest -m 'not slow' $(SIDE_BY_SIDE)

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

# Each step is skipped where its last file exists and is newer than the step before.
release-model: $(PARTS)
	$(SHIP) --incomplete

# The studies are many runs; the command itself skips those that are done.
release-evaluation: $(PARTS)
	$(BIN)/python -m model.reproduce --data "$(DATA)" --exclude model/exclusions.csv --out "$(OUT)/studies" $(STUDIES)
	$(SHIP) --figures "$(OUT)/studies/figures.json"

release-data:
	@[ -f "$(DATA)" ] || { echo 'DATA=MANIFEST is needed, a manifest of films: see docs/data.md'; exit 2; }
	@[ -d "$(PICTURES)" ] || { echo 'PICTURES=DIR is needed, a folder per kind of picture to refuse'; exit 2; }

$(RUN)/model/split.csv.gz: | release-data install-dev
	$(BIN)/python -m model.train --preset two-heads --data "$(DATA)" --exclude model/exclusions.csv \
		--out "$(RUN)" $(if $(wildcard $(RUN)/state.pt),--resume)

$(RUN)/report/report.html: $(RUN)/model/split.csv.gz
	$(BIN)/python -m model.evaluate --model "$(RUN)/model" --data "$(DATA)" --out "$(RUN)/report"

$(OUT)/gate/gate.json: $(RUN)/model/split.csv.gz
	$(BIN)/python -m model.gate --model "$(RUN)/model" --data "$(DATA)" --gate "$(PICTURES)" \
		--cache "$(OUT)/gate.npz" --out "$(OUT)/gate"

$(OUT)/audit/audit.html: $(RUN)/model/split.csv.gz
	$(BIN)/python -m model.audit --model "$(RUN)/model" --data "$(DATA)" --out "$(OUT)/audit"

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
