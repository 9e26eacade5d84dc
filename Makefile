# Two commands: `make train` and `make test`. Both make the virtual environment first.
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= configs/shapes_small.yaml
ARGS ?=
JOBS ?= 2
REQUESTS ?= 10000
MOMENTS ?= 100
MINUTES ?= 30
RUN ?= runs/$(basename $(notdir $(CONFIG)))
BIN = $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help install train evaluate results test test-all test-faults test-server-faults serve-check wheel-check \
	lint audit bench bench-data bench-serve bench-peers bench-batch serve-demo demo docs gpu-check clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 14

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python {v[0]}.{v[1]} found; 3.11 to 3.13 is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "python3 has no venv: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/installed ## make the virtual environment

train: $(VENV)/installed ## train CONFIG, evaluate it on unseen classes, draw a picture
	$(BIN)/python -m sst_tf.train $(CONFIG) --run_dir $(RUN) --resume $(ARGS)

evaluate: $(VENV)/installed ## evaluate RUN again
	$(BIN)/python -m sst_tf.evaluate $(RUN) $(ARGS)

results: $(VENV)/installed ## tables 1 to 4 on real PASCAL-5i, hsnet's and PFENet's tests: resumes
	$(BIN)/python -m sst_tf.experiment table1 table2 table3 table4 hsnet pfenet --profile real \
		--jobs $(JOBS) --output docs/results --keep docs/results/runs $(ARGS)
	$(BIN)/python -m sst_tf.report --tables docs/results.md

bench-data: $(VENV)/installed ## ARGS=FOLDER: episodes a second against a bare loop and a PyTorch DataLoader
	$(BIN)/python -m pipelines.bench_reading $(ARGS)

test: $(VENV)/installed ## the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-all: $(VENV)/installed ## the tests, slow ones too
	$(BIN)/python -m pytest -m 'not gpu'

wheel-check: $(VENV)/installed ## build the wheel, install it elsewhere, train and predict by `sst`
	$(BIN)/python -m pytest -m 'not gpu' tests/test_wheel.py

lint: $(VENV)/installed ## style, which room may import which, types
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

audit: $(VENV)/installed ## known holes in the tested versions; asks PyPI
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

test-faults: $(VENV)/installed ## kill every command that writes at MOMENTS moments, and other faults; stops after MINUTES
	$(BIN)/python -m tests.faults.kills --moments $(MOMENTS) --minutes $(MINUTES) $(ARGS)

bench: $(VENV)/installed ## training steps against their FLOP floors, in one process
	$(BIN)/python -m sst_tf.bench

bench-serve: $(VENV)/installed ## served signatures against their FLOP floors, ONNX, XLA; latency under load
	$(BIN)/python -m export.bench $(ARGS)

bench-peers: $(VENV)/installed ## training, segment and reading against PyTorch, which it installs (5 GB)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers]'
	$(BIN)/python -m export.bench_peers --page docs/performance.md $(ARGS)

bench-batch: $(VENV)/installed ## sst batch on many photos, killed on the way, against one process
	$(BIN)/python -m sst_tf.bench_batch $(ARGS)

serve-check: $(VENV)/installed ## TensorFlow Serving's documented answers, of every server that is here
	SST_SERVERS=all $(BIN)/python -m pytest tests/export/standin/test_api.py

test-server-faults: $(VENV)/installed ## REQUESTS malformed requests, then MINUTES of them: memory's slope
	SST_REQUESTS=$(REQUESTS) SST_MINUTES=$(MINUTES) \
		$(BIN)/python -m pytest -m slow tests/export/standin/test_soak.py

serve-demo: $(VENV)/installed ## export RUN (trained if missing), serve it, send requests, draw
	@test -f $(RUN)/thresholds.json || $(BIN)/python -m sst_tf.train $(CONFIG) --run_dir $(RUN) --resume
	$(BIN)/python -m export.walkthrough --run_dir $(RUN) --output serve-demo $(ARGS)

demo: $(VENV)/installed ## a page in the browser, of PRESET or of RUN (trained if missing): mark a class, find it
	@test -n "$(PRESET)" -o -f $(RUN)/thresholds.json || \
		$(BIN)/python -m sst_tf.train $(CONFIG) --run_dir $(RUN) --resume
	$(BIN)/python -m export.web $(if $(PRESET),--preset $(PRESET),--run_dir $(RUN)) --output demo \
		--open $(ARGS)

docs: $(VENV)/installed ## the documentation site, in site/; a dead link or name ends it
	$(BIN)/python docs/configuration.py
	$(BIN)/zensical build --strict

gpu-check: $(VENV)/installed ## on a GPU (pip install -e '.[gpu]'): tests, and the serving table
	$(BIN)/python -c 'import sys, tensorflow as tf; sys.exit(not tf.config.list_physical_devices("GPU") and "no GPU is visible to TensorFlow")'
	NVIDIA_TF32_OVERRIDE=0 $(BIN)/python -m pytest -m gpu
	NVIDIA_TF32_OVERRIDE=0 $(BIN)/python -m export.bench $(ARGS)

clean: ## remove the virtual environment and caches; runs stay
	rm -rf $(VENV) cache build site *.egg-info .pytest_cache .ruff_cache .mypy_cache
