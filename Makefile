# Everything a person or the CI runs. Each target sets up what it needs; when nothing has changed
# that takes about a second.
BIN := .venv/bin
ARGS ?=
ONLY ?=
WORKERS ?= $(shell scripts/test-workers)
PATHS := constellation_pipelines api assets resources migrations tests benchmarks

.DEFAULT_GOAL := help
.PHONY: help setup .venv demo test dev lint bench clients clean

help: ## Show the targets
	@grep -E '^[a-z.]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z.]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup .venv: ## Make the virtual environment and install what is missing
	@scripts/setup

demo: setup ## Start everything and run a model over real scenes (ARGS=--exit: end when done)
	@$(BIN)/python -m constellation_pipelines.cli demo $(ARGS)

test: setup ## Run the tests (ARGS= is handed to pytest; WORKERS=0: in one process)
	@scripts/setup-web --browser
	@scripts/clients --prepare
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

dev: setup ## Start everything in the foreground; Ctrl-C stops it
	@$(BIN)/python -m constellation_pipelines.cli up $(ARGS)

lint: setup ## Check style, types and the direction of imports
	@$(BIN)/ruff check $(PATHS)
	@$(BIN)/ruff format --check $(PATHS)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@if [ -d web/node_modules ]; then npm --prefix web run --silent check; fi

bench: setup ## Run the benchmarks (ONLY=name for one)
	@$(BIN)/python -m benchmarks $(ONLY)

clients: setup ## Generate Python and Go clients of the API into build/clients
	@scripts/clients

clean: ## Delete caches and what set-up made; .constellation and its data stay
	rm -rf .venv .venv-peers .venv-peers-api .venv-clients web/node_modules web/.next web/out web/.setup-stamp build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './web/*' -prune -exec rm -rf {} +
