# Every target does its own set-up; it is quick when nothing changed. Needs Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install sweep report test test-full lint browser prometheus clean
export HF_HUB_OFFLINE ?= 1

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,dev]'
	touch $@

sweep: $(STAMP)
	$(BIN)/python -m study.sweep $(ARGS)

report: $(STAMP)
	$(BIN)/python -m study.report study_dir=studies/digits $(ARGS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not full" --numprocesses=2 --dist=worksteal --durations=15 $(ARGS)

# Needs a Chromium and a Prometheus; installs Debian's where there is none.
test-full: $(STAMP) browser prometheus
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m full --numprocesses=2 --dist=loadfile --durations=40 $(ARGS)

browser:
	command -v chromium >/dev/null || { apt-get update --quiet --quiet && apt-get install --yes --quiet --quiet chromium >/dev/null; }

# The program alone: recommended packages would start servers.
prometheus:
	command -v prometheus >/dev/null || { apt-get update --quiet --quiet && apt-get install --yes --quiet --quiet --no-install-recommends prometheus >/dev/null; }

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache
