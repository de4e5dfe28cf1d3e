# make demo   install, run the whole job on the bundled model, open the explorer
# make test   install, run the tests
# make help   the rest
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
comma := ,
STAMP := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))
BROWSER_FLAG := $(if $(NO_BROWSER),--no-browser,)
PORT_FLAG := $(if $(PORT),--port $(PORT),)
FIRST_HALF := tests/core tests/precompute tests/assets tests/fuzz
DEMO_TOKENS := ␣come,␣together

.PHONY: help install demo job app test soak check audit bench clean

help:  ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## make the environment in .venv

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; give one with: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	touch $(STAMP)

job: $(STAMP)  ## run the job on the bundled model and text
	$(BIN)/python -m precompute --model assets/demo/model \
	  --corpus assets/demo/corpus/train.jsonl --test-corpus assets/demo/corpus/test.jsonl \
	  --preset demo --tokens '$(DEMO_TOKENS)'

demo: job  ## install, run the whole job on the bundled model, open the explorer
	$(BIN)/python -m explorer --store runs $(PORT_FLAG) $(BROWSER_FLAG)

app: $(STAMP)  ## open the explorer on the stores in runs/
	$(BIN)/python -m explorer --store runs $(PORT_FLAG) $(BROWSER_FLAG)

# Most tests use one core: the two halves go side by side, and the second's output follows the first's.
test: $(STAMP)  ## run the tests
	@log=$$(mktemp); status=0; \
	$(BIN)/python -m pytest tests $(addprefix --ignore ,$(FIRST_HALF)) >"$$log" 2>&1 & second=$$!; \
	$(BIN)/python -m pytest $(FIRST_HALF) || status=1; \
	wait $$second || status=1; \
	cat "$$log"; rm -f "$$log"; exit $$status

soak: $(STAMP)  ## the long tests whole: kills, memory, fuzz, load, big corpora (over an hour)
	SOAK=1 $(BIN)/python -m pytest -s --timeout 3600 tests/precompute/test_kills.py tests/precompute/test_big_corpora.py \
	  tests/precompute/test_verify_store.py tests/precompute/test_estimates_memory.py tests/fuzz tests/load

check: $(STAMP)  ## style, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

audit: $(STAMP)  ## known advisories of the installed packages (needs the network)
	test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && \
	  $(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit; }
	$(BIN)/python -m tests.audit $(VENV)/audit/bin/pip-audit \
	  "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

bench: $(STAMP)  ## measure speed as ratios to bare forward passes
	$(BIN)/python -m tests.benchmarks

clean:  ## remove the environment and caches; stores in runs/ stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
