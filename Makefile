# Few verbs. Each makes or mends the environment in .venv first; see `make help`.
# Needs make, a POSIX shell and Python 3.11 or newer (PYTHON=/path/to/python chooses one).

SHELL = /bin/sh
IN_ENVIRONMENT = .venv/bin/python
ARGS =

.DEFAULT_GOAL := help
.PHONY: help run stop test lint bench notebooks clean environment environment-dev

help:
	@echo "make run          the service on a simulated marketplace, with a few claims decided (Ctrl-C stops it)"
	@echo "make stop         stop what an earlier 'make run' left running"
	@echo "make test         lint, then all tests"
	@echo "make lint         ruff and mypy"
	@echo "make bench        the benchmarks of docs/benchmarks.md"
	@echo "make notebooks    run every notebook from start to end"
	@echo "make environment  make or renew the environment in .venv (run, test and others do it first)"
	@echo "make clean        remove the environment and all caches (your data in var/ and bundles/ stays)"
	@echo
	@echo "ARGS=... is handed to the command: make run ARGS='--lang zh', make test ARGS='-k parity'"
	@echo "PYTHON=... chooses the Python; HOST, PORT, DATABASE_URL and others: docs/operations.md"

run: environment
	@$(IN_ENVIRONMENT) -m serving demo $(ARGS)

stop:
	@if [ -x $(IN_ENVIRONMENT) ]; then $(IN_ENVIRONMENT) -m serving demo --stop; else echo "nothing is installed here, so nothing runs"; fi

test: lint
	@$(IN_ENVIRONMENT) $(if $(ARGS),-m pytest $(ARGS),.ci/tests)

lint: environment-dev
	@$(IN_ENVIRONMENT) -m ruff check .
	@$(IN_ENVIRONMENT) -m mypy

bench: environment-dev
	@$(IN_ENVIRONMENT) -m tests.benchmarks $(ARGS)

notebooks: environment-dev
	@$(IN_ENVIRONMENT) -m pytest tests/e2e/test_notebooks.py $(ARGS)

clean:
	rm -rf .venv .venv.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis .schemathesis
	find risk training serving tests -name __pycache__ -type d -prune -exec rm -rf {} +

environment:
	@PYTHON='$(PYTHON)' .ci/environment requirements.txt

environment-dev:
	@PYTHON='$(PYTHON)' .ci/environment requirements-dev.txt
