# Each makes .venv if it is missing, installs what is needed, and does its job.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test docs
run: .venv/installed
	$(BIN)/python run.py

test: .venv/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest

docs: .venv/installed
	$(BIN)/mkdocs build --strict

.venv/installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e '.[dev,docs]'
	touch $@
