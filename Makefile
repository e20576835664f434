# Every target sets up .venv first, and again whenever pyproject.toml or constraints.txt change.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ENGINE := .venv/.engine
ARGS ?=

.PHONY: train test bench bench-data bench-gpu lint docs
.DEFAULT_GOAL := train

train: $(READY) $(ENGINE)  ## train a small Twins-SVT on the embedded digits; ARGS="--epochs 5" adds flags
	$(BIN)/twins train $(ARGS)

test: $(READY) $(ENGINE)  ## the fast suite: no GPU, no network; ARGS="--cov=twins" counts the lines that it runs
	@# worksteal: neighbours run in one process, so that the fixtures of a module are made once
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal $(ARGS)

bench: $(READY) $(ENGINE)  ## speed and memory beside other backends, written to benchmarks/; without ARGS the whole set, 20 to 40 minutes
	@$(BIN)/python -c 'import onnx, onnxscript, onnxruntime, openvino, nncf' 2> /dev/null || \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/twins bench $(or $(ARGS),--full)

bench-data: $(READY)  ## speed of reading JPEG files, beside the original's way, written to benchmarks/; a few minutes of one core
	@$(BIN)/python -c 'import simplejpeg, skimage' 2> /dev/null || \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/twins bench --loading $(ARGS)

bench-gpu: $(READY)  ## speed and memory on a GPU, beside timm and compilers; MODEL=twins_svt_base for another network; some 8 minutes a call
	$(BIN)/twins bench --device cuda --models $(or $(MODEL),twins_svt_small) $(ARGS)

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)  ## the documentation as a site, into site/; ARGS=serve shows it while you write
	@# The variable silences what Material prints at every build: sixteen lines about its own future.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(or $(ARGS),build --strict --quiet)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; name one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@# Byte code now, in case writing it is switched off: importing PyTorch without it takes long every time. What does
	@# not compile are files for other Pythons.
	@$(BIN)/python -m compileall -q -j 0 .venv/lib > .venv/compile.log || true
	@touch $@ $(ENGINE)

# pip has built the engine already; this is for those who change it.
$(ENGINE): setup.py $(wildcard src/twins/native/engine/*) | $(READY)
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@
