# make demo: train a federated model on this machine. make test: everything checked, on real servers, in a process more than there
#   are cores, each with servers of its own (ARGS="-n 0": one test after another).
# make bench: what a round costs, beside its floor, in short (docs/performance.md). make bench-compare: what of it moved since the
#   committed results (ARGS=--strict). make bench-ci: both, in three minutes. make bench-full: all of them, part by part, for
#   the page (ARGS="--minutes 25"). make peers: other frameworks to measure beside, each in an environment of its own.
# make fidelity: experiments of the literature beside their figures (docs/fidelity.md); ARGS=--smoke, --full.
# make fuzz: 100,000 cases of what a peer or a file may say.
# make simulate: 10,000 seeds of crashes and lost messages (SEEDS=...), and as many of asynchronous jobs. make mutants: what that must catch.
# make datasets: the real MNIST, Fashion-MNIST and CIFAR-10 that tests read (181 MB, once, into .cache).
# make test-compose: docker-compose.yml under a real engine, with pictures of MinIO's console; ARGS='-m "containers and not drill"':
#   without disks that fill, restores and restarts. make compose-images: what that needs, ahead of it.
#
# PYTHON       the interpreter to make .venv with (default: the first of 3.11 or newer found)
# PIP_ARGS     more arguments for pip install
# TORCH_INDEX  where to take torch from first, such as PyTorch's index of CPU builds: without a GPU it saves 5 GB
# ARGS         more arguments for pytest or `warren run digits`

VENV := .venv
BIN := $(VENV)/bin
ROOMS := links broker storage trainer aggregator cli
BENCHMARKS := benchmarks benchmarks/fidelity benchmarks/runners benchmarks/runners/flower_app
space := $(subst ,, )
QUIET := $(shell test -t 2 || echo -q)
INSTALL = $(BIN)/python -m pip install $(QUIET) --disable-pip-version-check $(PIP_ARGS)

.PHONY: demo test test-compose compose-images lint servers datasets bench bench-compare bench-ci bench-full peers fidelity fuzz simulate mutants chaos help clean

help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile
	@echo 'Targets: demo test test-compose compose-images lint servers datasets bench bench-compare bench-ci bench-full peers fidelity fuzz simulate mutants chaos clean'

demo: $(VENV)/.tasks-installed
	$(BIN)/warren run digits $(ARGS)

test: lint servers datasets
	$(BIN)/python -m pytest --ignore tests/compose -m "not containers" -n auto --dist loadfile --no-loadscope-reorder --durations 15 $(ARGS)

# WARREN_TEST_IMAGES names a program that starts an engine (`PROGRAM --engine`), and makes look-alikes of images where none can be
# pulled (`PROGRAM NAME...`); those are named in the output.
test-compose: compose-images
	$(BIN)/python -m pytest -s -m containers tests/compose --durations=12 $(ARGS)

compose-images: $(VENV)/.compose-installed
	PYTHONPATH=tests $(BIN)/python -m compose.get

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# The root of the repository is the package, so mypy finds it through a link of that name.
	@mkdir -p .cache/typing && ln -sfn ../.. .cache/typing/warren
	MYPYPATH=.cache/typing $(BIN)/mypy $(ROOMS:%=-p warren.%)
	MYPYPATH=tests:.cache/typing $(BIN)/mypy --explicit-package-bases tests/servers tests/conftest.py tests/simulation tests/embedded tests/datasets
	MYPYPATH=tests:$(subst $(space),:,$(BENCHMARKS)):.cache/typing $(BIN)/mypy --explicit-package-bases $(BENCHMARKS:%=%/*.py)

fuzz: $(VENV)/.dev-installed
	$(BIN)/python -m pytest tests/property --hypothesis-profile fuzz --hypothesis-show-statistics --timeout 0 -q $(ARGS)

simulate: $(VENV)/.dev-installed
	$(BIN)/python -m pytest tests/simulation --seeds $(or $(SEEDS),10000) --timeout 0 -s -q $(ARGS)
	$(BIN)/python -m pytest tests/simulation --seeds $(or $(SEEDS),10000) --flows --timeout 0 -s -q $(ARGS)

mutants: $(VENV)/.dev-installed
	PYTHONPATH=tests $(BIN)/python -m simulation.mutants

chaos: servers
	PYTHONPATH=tests $(BIN)/python benchmarks/chaos.py $(ARGS)

servers: $(VENV)/.dev-installed
	PYTHONPATH=tests $(BIN)/python -m servers.get

datasets: $(VENV)/.dev-installed
	PYTHONPATH=tests $(BIN)/python -m datasets.get

bench: servers
	@rm -rf .cache/bench
	$(BIN)/python benchmarks/round_overhead.py --short
	$(BIN)/python benchmarks/control_path.py --short
	$(BIN)/python benchmarks/virtual_clients.py --short
	$(BIN)/python benchmarks/gradient_step.py --short
	$(BIN)/python benchmarks/fold.py --short

bench-ci: servers
	@rm -rf .cache/bench
	$(BIN)/python benchmarks/fold.py --ci
	$(BIN)/python benchmarks/round_overhead.py --ci
	$(BIN)/python benchmarks/gradient_step.py --short
	$(BIN)/python benchmarks/compare.py

bench-full: servers
	$(BIN)/python benchmarks/full.py $(ARGS)

bench-compare: $(VENV)/.dev-installed
	$(BIN)/python benchmarks/compare.py $(ARGS)

peers: $(VENV)/.dev-installed
	$(BIN)/python benchmarks/environments.py

fidelity: $(VENV)/.dev-installed
	$(BIN)/python benchmarks/fidelity/run.py $(ARGS)

clean:
	rm -rf $(VENV) .cache build *.egg-info

$(BIN)/python:
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then for name in python3 python3.13 python3.12 python3.11; do \
	  if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; fi; \
	if ! $${python:-python3} -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  echo "warren: needs Python 3.11 or newer, found $$($${python:-python3} --version 2>&1). Name one: make PYTHON=python3.12" >&2; exit 1; fi; \
	if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "warren: $$python lacks venv. On Debian: apt-get install python3-venv" >&2; exit 1; fi; \
	echo "making $(VENV) with $$($$python --version)"; $$python -m venv $(VENV)

# The stamps make a second run quick; a change of the dependencies makes the environment again.
$(VENV)/.tasks-installed: pyproject.toml | $(BIN)/python
	@echo 'installing Warren into $(VENV) (torch is large: this can take minutes)'
	$(if $(TORCH_INDEX),$(INSTALL) torch torchvision --index-url $(TORCH_INDEX))
	$(INSTALL) -e '.[tasks]'
	@touch $@

$(VENV)/.compose-installed: pyproject.toml $(VENV)/.dev-installed
	$(INSTALL) -e '.[compose]'
	@touch $@

$(VENV)/.dev-installed: pyproject.toml | $(BIN)/python
	@echo 'installing Warren and its tests into $(VENV) (torch is large: this can take minutes)'
	$(if $(TORCH_INDEX),$(INSTALL) torch torchvision --index-url $(TORCH_INDEX))
	$(INSTALL) -e '.[dev,tasks,track]'
	@touch $@
