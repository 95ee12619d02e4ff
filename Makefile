# Every verb sets up what it needs by itself: with uv where it is, with venv and pip where it is not.
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= configs/concentration.toml
WORKERS ?= 2
OUT ?= out/$(basename $(notdir $(CONFIG)))

BIN := $(VENV)/bin
RUN := $(VENV)/.run
TEST := $(VENV)/.test
DOCS := $(VENV)/.docs
comma := ,
UV := $(shell command -v uv 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help install run study paper all-figures test test-all lint smoke figures refresh docs bench

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(BIN)/python:
	$(if $(UV),uv venv -q --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))

define install_extras
	$(if $(UV),uv pip install -q --python $(BIN)/python,$(BIN)/python -m pip install -q --disable-pip-version-check) \
	  -c constraints.txt -e '.[$(1)]'
	@touch $@
endef

$(RUN): pyproject.toml constraints.txt | $(BIN)/python
	$(call install_extras,data)

$(DOCS): pyproject.toml constraints.txt | $(BIN)/python
	$(call install_extras,data$(comma)docs)
	@touch $(RUN)

$(TEST): pyproject.toml constraints.txt | $(BIN)/python
	$(call install_extras,test)
	@touch $(RUN)

install: $(RUN)  ## Make .venv with the package and its data sets

run: $(RUN)  ## Run CONFIG (the concentration sweep) and draw its figure; again to resume
	$(BIN)/ntk-eoc run $(CONFIG) --out $(OUT) --workers $(WORKERS)
	$(BIN)/ntk-eoc figures $(OUT)

STUDY := concentration_wide concentration_figure tail constants data_and_depth schedules \
  gradient_independence theorem_events bias overparameterisation smallest_eigenvalue

study: $(RUN)  ## Run the study behind docs/concentration.md; again to resume
	for name in $(STUDY); do \
	  $(BIN)/ntk-eoc run configs/$$name.toml --out out/$$name --workers $(WORKERS) && \
	  $(BIN)/ntk-eoc figures out/$$name || exit 1; done

# Figure 1 of [C], Figure 1 of [S], the panels of [Q]. NAME1.csv in the folder PUBLISHED holds the
# points published for NAME; without it a figure has those that its experiment quotes.
PAPER := $(notdir $(basename $(wildcard \
  $(addprefix configs/,concentration_figure.toml spectrum_figure.toml quadratic_panels.toml))))
PUBLISHED ?= published
points = $(if $(wildcard $(PUBLISHED)/$(1)1.csv),--set fixed.published=$(abspath $(PUBLISHED)/$(1)1.csv))

define run_of_paper
	$(BIN)/ntk-eoc run configs/$(1).toml --out out/paper/$(1) --workers $(WORKERS) --figures \
	  $(call points,$(1))

endef

paper: $(RUN)  ## Draw the three papers' figures with PUBLISHED points: out/paper.html; again to resume
	$(foreach name,$(PAPER),$(call run_of_paper,$(name)))
	$(BIN)/ntk-eoc page $(PAPER:%=out/paper/%) --to out/paper.html

ALL := $(filter-out %_small,$(basename $(notdir $(wildcard configs/*.toml))))

all-figures: $(RUN)  ## Run every full config (hours) and write one page of all: out/report.html
	for name in $(ALL); do \
	  $(BIN)/ntk-eoc run configs/$$name.toml --out out/$$name --workers $(WORKERS) --figures || \
	  echo "$$name: the page says what failed"; done
	$(BIN)/ntk-eoc page $(ALL:%=out/%) --to out/report.html

docs: $(DOCS)  ## Run the tutorials and build the documentation: out/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# The quick tests compile much and run little: a compiler that optimises less takes a third of the
# time. The second flag is one of the backend's own, which versions of XLA without it pass over.
QUICK := --xla_backend_optimization_level=0 \
  --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters

# Either worker has its half of the files, so that few are compiled by both.
test: $(TEST)  ## Run the tests that take seconds each
	XLA_FLAGS="$(QUICK) $(XLA_FLAGS)" \
	  $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

# Random activations are compiled more than they are run, too.
RANDOM := tests/test_random_activations.py
test-all: test  ## Run all tests, the slow statistical ones too
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m slow --ignore $(RANDOM)
	XLA_FLAGS="$(QUICK) $(XLA_FLAGS)" \
	  $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m slow $(RANDOM)

lint: $(TEST)  ## Check style, format and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

smoke: $(RUN)  ## Run every small config, a few seconds each
	for c in configs/*_small.toml; do \
	  $(BIN)/ntk-eoc run $$c --out out/$$(basename $$c .toml) && \
	  $(BIN)/ntk-eoc figures out/$$(basename $$c .toml) || exit 1; done

figures: $(RUN)  ## Draw the figures of every finished run under out/ again
	for d in out/*/; do if [ -f $$d/run.json ]; then $(BIN)/ntk-eoc figures $$d || exit 1; fi; done

refresh: figures  ## Bring the figures and tables of the runs under out/ into docs/
	$(BIN)/python docs/refresh.py out

bench: $(TEST)  ## Print the tables of benchmarks/
	for b in benchmarks/*.py; do PYTHONPATH=. $(BIN)/python $$b || exit 1; done
