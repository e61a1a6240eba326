# `make` alone lists what there is. Each target makes .venv first where that is needed.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# Settings of the caller's shell that would change what is installed or imported.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH
unexport PYTHONHOME
export TF_CPP_MIN_LOG_LEVEL ?= 2

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CHAPTERS := $(wildcard book/[0-9][0-9]-*.ipynb)
CHOSEN := $(if $(ONLY),$(wildcard book/$(ONLY)*.ipynb),$(CHAPTERS))
SEED ?= 1

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

.PHONY: book
book: $(READY) ## the book, in _build/html (ONLY=02: execute that chapter alone)
	@$(BIN)/python tools/make_book.py $(if $(ONLY),--only $(ONLY))

.PHONY: test
test: $(READY) ## unit tests, doctests, then every chapter (ONLY=02: that chapter alone)
	$(if $(CHOSEN),,$(error no chapter starts with $(ONLY)))
	$(if $(ONLY),,$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile)
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile --nbval-lax --nbval-current-env \
	    --nbval-cell-timeout=300 --nbval-sanitize-with=tests/sanitize.cfg \
	    $(CHOSEN)

.PHONY: pages
pages: book ## the built pages in a browser: nothing from elsewhere, no complaint
	RECSYS_EVO_PAGES=_build/html $(BIN)/python -m pytest -q tests/tools/test_pages.py

.PHONY: lab
lab: $(READY) ## JupyterLab, open at chapter 01
	$(BIN)/jupyter lab book/01-background.ipynb

.PHONY: claims
claims: $(READY) ## every chapter under another seed (SEED=7): no claim may be contradicted
	@$(BIN)/python tools/claims.py --seed $(SEED) $(if $(ONLY),--only $(ONLY))

.PHONY: result
result: $(READY) ## make a stored result again (NAME=x for book/results/x.py); resumes
	$(if $(NAME),,$(error say which: make result NAME=x for book/results/x.py))
	$(BIN)/python -m recsys_evo.claims book/results/$(NAME).py

.PHONY: bench
bench: $(VENV)/.bench ## every benchmark in turn
	@for script in benchmarks/bench_*.py; do \
	    echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

.PHONY: keep
keep: $(READY) ## execute the chapters and keep the outputs that are checked (ONLY=02)
	@$(BIN)/python tools/keep.py $(if $(ONLY),--only $(ONLY))

.PHONY: lint
lint: $(READY) ## style, stripped notebooks, and what conda users will install (network)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python tools/strip.py --check $(CHAPTERS)
	$(BIN)/python tools/conda_lines.py

.PHONY: format
format: $(READY) ## put code and notebooks into their agreed form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python tools/strip.py $(CHAPTERS)

.PHONY: lock
lock: ## renew requirements.lock and benchmarks/requirements.txt (needs uv)
	uv pip compile $(UVFLAGS) --upgrade requirements.in -o requirements.lock
	uv pip compile $(UVFLAGS) --upgrade -c requirements.lock benchmarks/requirements.in \
	    -o benchmarks/requirements.txt

UVFLAGS := --quiet --universal --fork-strategy fewest --python-version 3.11 \
    --generate-hashes --no-annotate --no-header

.PHONY: clean
clean: ## remove what was built, but not .venv
	rm -rf _build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find recsys_evo tests tools book -name __pycache__ -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml tools/install.sh
	@sh tools/install.sh
	@touch $@

$(VENV)/.bench: $(READY) benchmarks/requirements.txt
	$(BIN)/python -m pip install -qq --require-hashes -r benchmarks/requirements.txt
	@touch $@
