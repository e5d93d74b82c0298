# Everything runs in .venv, which is made on first use; nothing else is needed than
# python3 (3.11 or newer, with venv) and make.
PYTHON ?= python3
BIN := .venv/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2
# Installed without bytecode, see below: the first process that imports a module writes
# it, and dozens of others need not compile TensorFlow again. Containers may forbid it.
export PYTHONDONTWRITEBYTECODE :=

# The release that the tests are known to pass with.
TORCH ?= torch==2.13.0

# Two goals at once would install into the same .venv.
.NOTPARALLEL:
.PHONY: demo test quick all test-tensorflow test-jax test-torch test-examples wheel-test \
	lint types docs notebooks fuzz faults clean

demo: .venv/demo.stamp
	$(BIN)/python examples/quickstart.py --quick

# A file of tests stays in one process, whose networks it shares; the longest first.
# Pools of threads of two processes on two cores would wait for each other, spinning.
PYTEST := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# What a user runs: examples, pages, notebooks, the site, the wheel, benchmarks.
PROGRAMS := tests/examples tests/benchmarks
# JAX without Keras; these too compile quickly, see below.
JAX_TESTS := tests/jax_engine
# What touches no backend, and doctests, run once, with TensorFlow.
KERAS_TESTS := -m "not once" -p no:cacheprovider tests/keras_spectral_tl

# The tests compile hundreds of programs for arrays of a few points, and most of their
# time on JAX was that: so without optimizations, with the generator of code that is
# quick to compile, in one piece. Operations and precision are the same, and
# test_backends_agree.py compares JAX as users run it with the other backends. XLA ends
# a process at a flag that its release does not know: then the tests take longer.
XLA_FLAGS_OF_TESTS := --xla_cpu_use_fusion_emitters=false \
	--xla_cpu_parallel_codegen_split_count=1

test: .venv/dev.stamp lint types
	$(MAKE) test-tensorflow test-jax

# `make test`, and what takes longer: torch, and all that a user runs.
all: .venv/torch.stamp lint types
	$(MAKE) test-tensorflow test-jax test-torch test-examples

test-tensorflow: .venv/dev.stamp
	KERAS_BACKEND=tensorflow $(PYTEST) $(addprefix --ignore=,$(PROGRAMS) $(JAX_TESTS))

test-jax: .venv/dev.stamp
	flags="$(XLA_FLAGS_OF_TESTS)"; \
	XLA_FLAGS="$$flags" $(BIN)/python -c "import jax; jax.devices()" || flags=; \
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 XLA_FLAGS="$$flags" \
		$(PYTEST) $(KERAS_TESTS) $(JAX_TESTS)

test-torch: .venv/torch.stamp
	KERAS_BACKEND=torch $(PYTEST) $(KERAS_TESTS)

test-examples: .venv/dev.stamp
	KERAS_BACKEND=tensorflow $(PYTEST) $(PROGRAMS)

# The inner loop, without installing: what takes less than two seconds a test.
quick:
	$(PYTEST) -x -m "not slow" tests/test_architecture.py tests/solver \
		tests/turbulence_data

# Minutes, most of them installing: the wheel in an environment of its own, first
# without any extra, then with what the examples import.
WHEEL := build/wheel-test
wheel-test:
	rm -rf $(WHEEL) && $(PYTHON) -m venv $(WHEEL)/env
	$(WHEEL)/env/bin/python -m pip install --quiet build
	$(WHEEL)/env/bin/python -m build --outdir $(WHEEL)/dist
	$(WHEEL)/env/bin/python -m pip install --quiet --no-compile $(WHEEL)/dist/*.whl
	cd $(WHEEL) && env -u PYTHONPATH env/bin/python ../../tests/examples/plain_install.py
	$(WHEEL)/env/bin/python -m pip install --quiet --no-compile \
		"$$(ls $(WHEEL)/dist/*.whl)[plot,report,dask,interchange]"
	cd $(WHEEL) && env -u PYTHONPATH env/bin/python ../../tests/examples/plain_install.py \
		--examples ../../examples

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

# The site, in site/; `make all` builds it too, as one of the tests.
docs: .venv/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Executes the examples in cells; some minutes.
notebooks: .venv/dev.stamp
	$(BIN)/python examples/execute_notebooks.py

# 2,000 cases of each function, where `make test` has 25; some minutes.
fuzz: .venv/dev.stamp
	$(BIN)/python -m pytest tests/fuzz --hypothesis-profile=heavy

# The trials of docs/faults.md; parts of them need root.
faults: .venv/dev.stamp
	$(BIN)/python benchmarks/bench_faults.py

# --no-compile: most modules of TensorFlow are never imported, so compiling them all
# costs more time than it saves.
INSTALL = (test -x $(BIN)/python || $(PYTHON) -m venv .venv) && \
	$(BIN)/python -m pip install --quiet --no-compile --editable
.venv/demo.stamp .venv/dev.stamp .venv/torch.stamp: setup.cfg pyproject.toml

.venv/demo.stamp:
	$(INSTALL) ".[fast,plot,report]"
	touch $@

# What comes first installs all it needs at once, with what those above would install.
.venv/dev.stamp:
	$(INSTALL) ".[dev]"
	touch .venv/demo.stamp $@

.venv/torch.stamp:
	$(INSTALL) ".[dev]" "$(TORCH)"
	touch .venv/demo.stamp .venv/dev.stamp $@

clean:
	rm -rf .venv build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
