# Needs Python 3.11 or newer, make and a package index. Everything lives in .venv/ and .holdfast/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export HOLDFAST_PORT ?= 8000

.PHONY: up test check bench soak format clean

up: $(VENV)/.installed
	@exec $(BIN)/python manage.py up --demo

test: $(VENV)/.installed
	@$(BIN)/python -m tests.browser
	@$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	HOLDFAST_DEMO=1 $(BIN)/mypy .
	$(BIN)/python -W ignore manage.py makemigrations --check --dry-run

bench: $(VENV)/.installed
	@$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.installed
	@HOLDFAST_CRASH_TIMES=20 $(BIN)/python -m pytest tests/test_crash_matrix.py tests/test_life.py tests/test_parts_life.py
	@$(BIN)/python -m tests.fan_out_soak
	@$(BIN)/python -m tests.soak $(ARGS)

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Holdfast needs Python 3.11 or newer; set PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what requirements.lock names …"
	@$(BIN)/python -m pip install --quiet --requirement requirements.lock
	@touch $@
