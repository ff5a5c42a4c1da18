# The front door: `make run` to see it work, `make test` to test it. Both do all set-up.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests wait for processes to start and disks to sync: one more at a time than there are cores.
WORKERS := $(shell n=$$(nproc); if [ $$n -lt 4 ]; then echo $$((n + 1)); else echo 4; fi)

.DEFAULT_GOAL := help

# An environment that was copied or moved with its folder points to the old place: make it again.
# The same when an interpreter is named: the set-up knows whether it is the one in use.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif
ifneq ($(PYTHON),)
.PHONY: $(READY)
endif

$(READY): pyproject.toml constraints.txt .ci/setup
	@PYTHON="$(PYTHON)" sh .ci/setup

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile
	@echo "  Set-up is part of every target; PYTHON=/path/to/python picks the interpreter."

.PHONY: setup
setup: $(READY) ## Build .venv, if it is missing or out of date

.PHONY: run
run: $(READY) ## Start three nodes and a worker and run a demo, until Ctrl-C (ONCE=1: end after the totals)
	@$(BIN)/taskq demo $(if $(ONCE),--once)

.PHONY: test
test: $(READY) ## Run every test that needs neither root nor Docker nor minutes (at most 6 minutes on 2 cores)
	@$(BIN)/python -m pytest tests -q -n $(WORKERS) --dist worksteal \
		-m "not root and not docker and not slow" $(ARGS)

# With what needs root: hosts of our own, links, clocks, mounts. ROOT= leaves that out.
ROOT := or root
.PHONY: test-long
test-long: $(READY) ## Run the tests that take minutes, and those that need root (ROOT= without; 3 minutes)
	@$(BIN)/python -m pytest tests -q -n $(WORKERS) --dist worksteal \
		-m "(slow $(ROOT)) and not docker $(if $(ROOT),,and not root)" $(ARGS)

.PHONY: lint
lint: $(READY) ## Format, lint and types
	@$(BIN)/ruff format --check --quiet . || \
		{ echo "Not formatted. To fix: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

.PHONY: check
check: lint ## Lint and unit tests: what must be green before a commit
	@$(BIN)/python -m pytest tests/unit -q -m "not slow"

.PHONY: format
format: $(READY) ## Format the sources and fix what the linter can fix
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

.PHONY: bench
bench: $(READY) ## Measure life cycles per second and latency (table; JSON in the last line)
	@$(BIN)/python -m bench $(ARGS)

.PHONY: sim
sim: $(READY) ## Simulate whole clusters (SEEDS=1000 or FIRST:END; ARGS="--secs 240" ends sooner)
	@$(BIN)/python -m chaos.sim --seeds $(or $(SEEDS),100) $(ARGS)

.PHONY: image
image: ## Build the container image taskq (docs/containers.md)
	@sh .ci/image

.PHONY: test-containers
test-containers: $(READY) ## Build the image and run the tests that need Docker (3 minutes; ARGS="-m docker": the long ones, too)
	@$(BIN)/python -m pytest tests -q -m "docker and not slow" $(ARGS)

.PHONY: pods
pods: $(READY) ## Exercise the Kubernetes manifests as containers of the image taskq (ARGS="--list"; 2 minutes each)
	@$(BIN)/python -m deploy.harness $(ARGS)

.PHONY: chaos
chaos: $(READY) ## Strike clusters under load (MINUTES=3, FORM=processes, namespaces or containers, ARGS="--list")
	@$(BIN)/python -m chaos.live $(if $(MINUTES),--minutes $(MINUTES)) $(if $(FORM),--form $(FORM)) $(ARGS)

.PHONY: soak
soak: $(READY) ## Load a cluster for long at half of its peak and strike it all the time (MINUTES=30)
	@$(BIN)/python -m chaos.live.soak --minutes $(or $(MINUTES),30) $(ARGS)

.PHONY: attack
attack: $(READY) ## Try to get into clusters on every port; the table in SECURITY.md (MINUTES=2, ARGS="--short")
	@$(BIN)/python -m chaos.attack $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

.PHONY: docs
docs: $(READY) ## Regenerate the generated pages in docs/ and of the models
	@$(BIN)/python -m taskq.protocol.page > docs/.page && mv docs/.page docs/protocol.md || \
		{ rm -f docs/.page; exit 1; }
	@$(BIN)/python -m cluster.config.page > docs/.page && mv docs/.page docs/taskq.example.yaml || \
		{ rm -f docs/.page; exit 1; }
	@$(BIN)/python -m cluster.config.reference > docs/.page && mv docs/.page docs/configuration.md || \
		{ rm -f docs/.page; exit 1; }
	@$(BIN)/python -m taskq.app.reference > docs/.page && mv docs/.page docs/reference.md || \
		{ rm -f docs/.page; exit 1; }
	@$(BIN)/python -m chaos.models.page > docs/.page && mv docs/.page chaos/models/README.md || \
		{ rm -f docs/.page; exit 1; }
	@$(BIN)/python -m deploy.harness --page

.PHONY: clean
clean: ## Remove what was built: .venv, caches, packages (never data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
