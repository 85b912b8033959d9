# Every target makes its own environment: .venv is built once (pip, pinned by constraints.txt)
# and rebuilt only when the requirements change, so later runs need no network.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
# Two processes: one begins with all tests that need Ray, the other takes file after file.
PYTEST := $(PY) -m pytest -rs -n 2 --dist loadfile --no-loadscope-reorder
# Compiled files are kept: each of hundreds of short processes would compile the sources again.
unexport PYTHONDONTWRITEBYTECODE
RGW    := $(or $(SIMGAN_RGW),$(HOME)/.cache/simgan-factory/rgw)

.PHONY: help setup lock demo pictures docs test test-fast test-rest test-all rgw prometheus chaos check format schemas bench clean
.DEFAULT_GOAL := help

help:            ## what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

setup: $(READY)  ## build the virtual environment in .venv

$(READY): pyproject.toml constraints.txt setup.py factory/images/crop.c
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@$(PY) -m pytest --collect-only --quiet >/dev/null  # compiles what every run would compile
	@touch $@

TORCH_WHEELS ?= https://download.pytorch.org/whl/cpu/torch/
lock: $(READY)   ## write requirements.lock anew, after pyproject.toml or constraints.txt changed
	$(PY) cluster/deploy/lock.py --torch-wheels "$(TORCH_WHEELS)"

DOMAIN ?= eye
demo: $(READY)   ## the whole chain on built-in renders: out/demo/report.html; DOMAIN=hand for hands
	$(PY) -m jobs.demo --domain $(DOMAIN)

pictures: $(READY)  ## draw docs/pictures/ anew: runs demos that have no output, and follows the tutorial
	PYTHONPATH=. $(PY) benchmarks/demo_pictures.py
	PYTHONPATH=. $(PY) benchmarks/tutorial_pictures.py

DOCS := $(VENV)/.docs
$(DOCS): $(READY)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
	@touch $@

docs: $(DOCS)    ## the pages and the API reference as a site in out/site, with its links checked
	$(VENV)/bin/zensical build --clean --strict
	$(PY) tests/support/built_site.py out/site

test: $(READY)   ## every property, without the longer trials; says at its end what it skipped
	$(PYTEST) -m "not gpu and not long"

test-fast: $(READY)  ## those of them that need no Ray, no S3 and no training: a minute
	$(PYTEST) --dist load -m "not gpu and not long and not ray and not s3 and not slow"

test-rest: $(READY)  ## the longer trials that `make test` leaves out: kills at random, lost nodes
	$(PYTEST) -m "long and not gpu"

test-all: $(READY)  ## every test that needs no GPU: `make test` and `make test-rest`
	$(PYTEST) -m "not gpu"

rgw:             ## unpack Ceph's S3 server, which the tests use (Debian 12, no root, once)
	tests/support/rgw.sh get "$(RGW)"

PROMETHEUS := $(or $(SIMGAN_PROMETHEUS),$(HOME)/.cache/simgan-factory/prometheus)
prometheus:      ## unpack Prometheus and promtool, which the tests use (Debian, no root, once)
	tests/support/prometheus.sh "$(PROMETHEUS)"

TRIALS ?= 50
chaos: $(READY)  ## ingest and refine while things are killed at random: TRIALS=50 (an hour)
	PYTHONPATH=.:tests $(PY) tests/all/chaos.py --trials $(TRIALS) $(if $(MINUTES),--minutes $(MINUTES))

check: $(READY)  ## style, types, and what may import what
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(READY) ## rewrite the code in the house format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

schemas: $(READY) ## regenerate schemas/json/ from the models
	$(PY) -m schemas.generate

bench: $(READY)  ## run every benchmark (minutes)
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(PY) $$script || exit 1; done

clean:           ## remove the demo's output, the site and caches, keep .venv
	rm -rf out .cache .pytest_cache .mypy_cache .ruff_cache
