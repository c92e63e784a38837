# Every path here is relative and quoted where it must be: the clone may lie anywhere, with blanks in its name too.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
UV ?= uv
ARGS ?=
PY := .venv/bin/python

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Words in ARGS are passed on: make demo ARGS='--speed 4', make test ARGS='-k kafka'."

.PHONY: setup
setup: ## Create .venv from the lock, with qa-service in it (instant when nothing changed)
	@$(PYTHON) tools/setup.py

.PHONY: demo
demo: setup ## Run the whole service on embedded parts and play sample calls through it
	@.venv/bin/qa-service demo $(ARGS)

.PHONY: test
test: setup ## Run the test suite against real Kafka, PostgreSQL and models
	@.venv/bin/qa-service model fetch
	@$(PY) -m pytest $(ARGS)

.PHONY: lint
lint: setup ## Check style: ruff's rules and formatting, YAML
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m yamllint --strict .

.PHONY: types
types: setup ## Check types with mypy and pyright
	@$(PY) -m mypy
	@$(PY) -m pyright

.PHONY: contracts
contracts: setup ## Check which package may import which
	@$(PY) -c 'from importlinter.cli import lint_imports_command as main; main()'

.PHONY: lock
lock: ## Pin the dependencies anew (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock: uv is needed: pip install uv, or make lock UV=/path/to/uv" >&2; exit 1; }
	@$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header pyproject.toml -o requirements/runtime.txt
	@$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header pyproject.toml --group dev -o requirements/dev.txt
	@echo hatchling | $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --constraint requirements/dev.txt - -o requirements/build.txt
	@for listed in tools/verify/requirements.in tools/clients/requirements-*.in; do \
		$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header "$$listed" -o "$${listed%.in}.txt" || exit 1; \
	done
	@$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header tools/compare/requirements-whisper-live.in --override tools/compare/overrides-whisper-live.txt -o tools/compare/requirements-whisper-live.txt

.PHONY: verify
verify: setup ## All that takes long: clean-room setups, other Pythons, Java clients x 20, 20,000 dialogues, chaos, the container image
	@tools/verify/setups.sh
	@tools/verify/pythons.sh
	@QA_RULES_DIALOGUES=20000 $(PY) -m pytest -q tests/rules/test_properties.py
	@QA_TEST_CLIENT_REPEATS=20 $(PY) -m pytest -q tests/clients -k "java and vad"
	@QA_TEST_CHAOS=full $(PY) -m pytest -q tests/chaos
	@tools/verify/image.sh

.PHONY: soak
soak: setup ## An hour of calls with a fault a minute (ARGS='--minutes 10' for less)
	@$(PY) -m tests.chaos.soak $(ARGS)

.PHONY: clean
clean: ## Remove .venv and what tools left behind (the cache of models and servers stays)
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
