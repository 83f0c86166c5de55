# `make demo` and `make test` are the two commands of the README; both install what they need into .venv first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PLUGINS := $(wildcard plugins/*/pyproject.toml)
EDITABLE := -e '.[dev,eval,video]' $(foreach p,$(PLUGINS),-e $(dir $(p)))

.PHONY: demo test faults fuzz install lint format docs bench clean

demo: install
	$(BIN)/ganzoo run recipes/quickstart.yaml

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 8 --dist worksteal

# FAULT_TRIALS=20: how often kill -9 strikes at a random moment; FAULT_SECONDS=600: begin no trial after so many.
faults: install
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/fault_driver.py

install: $(VENV)/.installed

# torch first and pinned: a plain `torch` pulls gigabytes of CUDA libraries on some platforms.
$(VENV)/.installed: pyproject.toml constraints.txt $(PLUGINS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt $(EDITABLE)
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install
	$(BIN)/python -m ganzoo recipe docs > docs/recipes.md
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt 'mkdocs>=1.6'
	$(BIN)/mkdocs build --strict --site-dir build/site

bench: install
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/data.py

# Ten minutes; FUZZ_SECONDS=60 for another time, FUZZ_TARGETS=yaml,zips for some targets.
fuzz: install
	$(BIN)/python tests/fuzz

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +
