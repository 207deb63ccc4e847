.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export PYTHONDONTWRITEBYTECODE :=

help: ## Show the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## Start the whole mesh on this machine; Ctrl-C stops it
	@exec $(BIN)/shoal up

test: $(VENV)/.installed-dev ## Set up and run all tests but the faults
	$(BIN)/pytest

test-faults: $(VENV)/.installed-dev ## Kill, pause, starve and attack a real mesh; its report shows what others felt
	$(BIN)/pytest tests/faults

lint: $(VENV)/.installed-dev ## Formatting, lint, types, protos, stubs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/baseline.binpb
	$(BIN)/python protos/stubs.py --check

proto: $(VENV)/.installed-dev ## Generate the stubs in gen/ from protos/
	$(BIN)/python protos/stubs.py --write

bench: $(VENV)/.installed ## Measure start, memory, first delta and recovery of the default mesh
	$(BIN)/python -m load.footprint

bench-scaling: $(VENV)/.installed ## Measure how soon pools grow, shrink and lose a killed agent (two minutes)
	$(BIN)/python -m load.scaling

bench-limits: $(VENV)/.installed ## Measure the limiter: speed, exactness, an outage of Redis (six minutes)
	$(BIN)/python -m load.limits

bench-cache: $(VENV)/.installed ## Measure the cache: speed, hits through the mesh, memory, eviction (eight minutes)
	$(BIN)/python -m load.cache

load: $(VENV)/.installed-dev ## Load every scenario by ghz and wrk, one replica and three, in rounds (fourteen minutes)
	$(BIN)/python -m load.front_door

bench-replicas: $(VENV)/.installed-dev ## Show how throughput grows with 1, 2, 3, 5 and 8 agents
	$(BIN)/python -m load.replicas

bench-peers: $(VENV)/.installed-dev ## Measure LiteLLM, Portkey and others beside Shoal (twenty minutes; Go, Node.js and wrk)
	$(BIN)/python -m load.peers

bench-hops: $(VENV)/.installed-dev ## Measure where the time of one request goes, hop by hop
	$(BIN)/python -m load.hops

soak: $(VENV)/.installed-dev ## Half an hour of mixed load, cancels and restarts; memory and descriptors stay flat
	$(BIN)/python -m load.soak

lock: $(VENV)/.installed-dev ## Resolve the dependencies anew into the lock files
	$(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-annotate --upgrade --quiet -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-header --no-annotate -c requirements.lock --upgrade --quiet -o requirements-dev.lock

clean: ## Remove the virtual environment and all caches; data in .shoal stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The lock files are complete, so nothing is resolved (--no-deps) and every download is held to its hash.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Shoal needs Python 3.11 or newer; set PYTHON=... to one."; exit 1; }
	@test -x $(BIN)/python || { echo "Creating the virtual environment in $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing the locked dependencies (about 450 MB on disk, once) ..."
	$(PIP) install --no-deps --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing the locked development tools ..."
	$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

.PHONY: help run test test-faults lint proto bench bench-scaling bench-limits bench-cache load bench-replicas bench-peers bench-hops soak lock clean
