# `make test` and `make demo` set everything up from a bare clone: a virtual environment in .venv with pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_OUT ?= demo_out
unexport PYTHONDONTWRITEBYTECODE  # some hundred processes that load seqsal would each compile it again
JOBS ?= 2

.PHONY: all demo test unit lint types quick bench docs dist device-check device-site clean

all: test demo

INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile
$(STAMP): pyproject.toml constraints.txt tests/zoo.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) --constraint constraints.txt setuptools wheel
	$(BIN)/python $(INSTALL) --constraint constraints.txt --no-build-isolation --editable '.[test]'
	$(MAKE) --jobs 2 zoo tomtom modisco
	touch $@

## pip leaves compiling to Python, which compiles what is imported; numba keeps its kernels for the first run.
.PHONY: zoo tomtom modisco
zoo:
	$(BIN)/python $(INSTALL) --no-deps --requirement tests/zoo.txt

tomtom:
	$(BIN)/python -c 'from seqsal.motifs.discover import compile_tomtom; compile_tomtom()'

modisco:
	$(BIN)/python -c 'from seqsal.motifs.discover import compile_modisco; compile_modisco()'

## Train on example_data/ and explain held-out sites; open demo_out/index.html.
demo: $(STAMP)
	$(BIN)/seqsal demo --out $(DEMO_OUT)

## Everything that CI checks: style, and types while the tests run.
test: lint
	$(MAKE) --jobs 2 types unit

# numpy's second thread would wait for the other worker's core: two thirds more processor time where products are large
unit: export OMP_NUM_THREADS := 1
unit: $(STAMP)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

## The tests that take seconds.
quick: $(STAMP)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal -m 'not slow and not yeast'

## The documentation as a site, build/site/index.html: warnings are errors, every link is looked up; made anew, since each page lists all.
docs: $(STAMP)
	$(BIN)/python -c 'import sphinx, myst_nb, furo, numpydoc, sphinx_copybutton' 2>/dev/null || $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[docs]'
	$(BIN)/python -m sphinx -E -a -W --keep-going --quiet -j auto docs build/site
	$(BIN)/python docs/generate.py check build/site

## sdist and wheel in dist/, checked, and installed with the newest dependencies into a fresh environment of each of PYTHONS.
PYTHONS ?= $(PYTHON)
dist:
	$(PYTHON) recipes/dist.py --pythons $(PYTHONS) $(if $(LIMIT),--constraint '$(LIMIT)')

bench: $(STAMP)
	cd benchmarks && ../$(BIN)/python attribution.py && ../$(BIN)/python loaders.py && ../$(BIN)/python peaks.py && ../$(BIN)/python logos.py

## Everything about CUDA, on a machine with a GPU, torch already installed and no network; at most 8 minutes.
device-check:
	cd benchmarks && PYTHONPATH="$(CURDIR):$(CURDIR)/device_site:$$PYTHONPATH" $(PYTHON) device_check.py --seconds 450 \
		--json "$(or $(OUT),$(CURDIR))/device.json"

## What device-check needs and that machine may lack, collected on one with a network: make device-site DEVICE_PYTHON=3.12
DEVICE_PYTHON ?= 3.12
device-site:
	$(PYTHON) -m pip install --quiet --upgrade --target device_site --python-version $(DEVICE_PYTHON) --only-binary=:all: \
		--no-deps --constraint constraints.txt bioframe pyfaidx pybigtools figwig pyBigWig importlib_metadata

clean:
	rm -rf $(VENV) $(DEMO_OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist docs/generated *.egg-info
