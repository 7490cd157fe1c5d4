# The commands of this repository. `make help` lists them.
#
# Everything is set up by the targets themselves: .venv holds the Python
# side; the test bed installs the host packages that it needs. The kernel work
# (md, nvme, nvmet) happens inside a QEMU guest, never here.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
JOBS ?= $(shell nproc)
# Guests at once; unset: as many as the bed thinks this machine can emulate.
BED_JOBS ?=
AT_ONCE := $(if $(BED_JOBS),--jobs $(BED_JOBS))
STAMP := $(VENV)/.up-to-date

# pbr takes the version from git, and the documentation what it is a version
# of. Root may have to be told that a tree which belongs to somebody else is
# this one; where there is no git at all (a tarball), any version will do.
ifeq ($(shell git rev-parse --quiet --verify HEAD 2>/dev/null),)
export GIT_CONFIG_COUNT := 1
export GIT_CONFIG_KEY_0 := safe.directory
export GIT_CONFIG_VALUE_0 := $(CURDIR)
export PBR_VERSION ?= 0.0.1
endif

CHECKED := os_brick_healer os_brick bed bench tools examples
SOURCES = $(wildcard $(CHECKED)) setup.py
# Modules that are in no package of ours.
LOOSE := os_brick/initiator/connectors/nvmeof_agent.py tools/check_wheel.py

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) \
	    | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 14

# -- set-up -------------------------------------------------------------------

$(STAMP): requirements.txt test-requirements.txt doc/requirements.txt \
    pyproject.toml setup.cfg setup.py tools/venv.sh
	tools/venv.sh $(VENV)
	touch $@

.PHONY: venv
venv: $(STAMP) ## the virtual environment (.venv) that all targets use

.PHONY: bed
bed: $(STAMP) ## host packages and the guest image of the test bed
	$(PY) -m bed build

# -- for people ---------------------------------------------------------------

.PHONY: demo
demo: $(STAMP) ## break a leg of a live volume in a guest and watch it heal
	$(PY) -m bed demo

.PHONY: test
test: lint mypy contracts unit sim cover-pure wheel docs bed ## the gate: ends with the core scenarios
	$(PY) -m bed run --core $(AT_ONCE)

.PHONY: test-all
test-all: lint mypy contracts unit sim cover-pure wheel docs bed ## every scenario on the bed
	$(PY) -m bed run --all $(if $(GO_ON),--go-on) $(AT_ONCE)

.PHONY: bench
bench: bed ## every figure, with its peer; leaves build/bench.json
	mkdir -p build
	$(PY) -m bench
	$(PY) -m bed bench

# -- the parts of the gate ------------------------------------------------------

.PHONY: lint
lint: $(STAMP) ## ruff, and flake8 with OpenStack's hacking rules
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/flake8 $(SOURCES)

.PHONY: mypy
mypy: $(STAMP) ## strict types
	$(BIN)/mypy -p os_brick_healer -p bed -p bench
	$(BIN)/mypy $(LOOSE)

.PHONY: contracts
contracts: $(STAMP) ## who may import whom (import-linter)
	$(BIN)/lint-imports

.PHONY: unit
unit: $(STAMP) ## unit, property and simulation tests (TESTS=regex selects)
	$(BIN)/stestr run --concurrency $(JOBS) $(TESTS)

.PHONY: sim
sim: $(STAMP) ## the simulator: fixed seeds, and the bugs that it must catch
	PYTHONHASHSEED=0 $(PY) -W ignore -m os_brick_healer.tests.simulation \
	    --jobs $(JOBS) sim

.PHONY: soak
soak: $(STAMP) ## the simulator with fresh seeds (SECONDS=how long)
	PYTHONHASHSEED=0 $(PY) -W ignore -m os_brick_healer.tests.simulation \
	    --jobs $(JOBS) soak --seconds $(or $(SECONDS),60)

.PHONY: fuzz
fuzz: $(STAMP) ## hostile input, guided by coverage (SECONDS= each, TARGET=)
	$(PY) -c 'import atheris' 2>/dev/null || $(PY) -m pip install --quiet \
	    --disable-pip-version-check --editable '.[fuzz]'
	$(PY) -W ignore -m os_brick_healer.tests.fuzz \
	    --seconds $(or $(SECONDS),60) $(addprefix --target ,$(TARGET))

.PHONY: cover
cover: $(STAMP) ## unit tests with branch coverage; report in cover/
	$(BIN)/coverage erase
	PYTHON="$(BIN)/coverage run --parallel-mode" \
	    $(BIN)/stestr run --concurrency $(JOBS) $(TESTS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage html -q -d cover
	$(BIN)/coverage report

# A few examples of each property: what is reached only by many is not
# reached by a test that means it.
.PHONY: cover-pure
cover-pure: export HYPOTHESIS_PROFILE := quick
cover-pure: export COVERAGE_FILE := $(CURDIR)/.coverage.pure
cover-pure: $(STAMP) ## every line and branch of the pure rooms has its test
	rooms=$$($(PY) -W ignore -m os_brick_healer.tests.pure rooms); \
	$(BIN)/coverage run --branch -m unittest --quiet \
	    $$($(PY) -W ignore -m os_brick_healer.tests.pure tests); \
	$(BIN)/coverage report --include="$$rooms" --show-missing \
	    --fail-under=100

.PHONY: mutation
mutation: $(STAMP) ## do the tests of the pure rooms notice a change (ROOMS=)
	$(PY) -c 'import cosmic_ray' 2>/dev/null || $(PY) -m pip install \
	    --quiet --disable-pip-version-check --editable '.[mutation]'
	$(PY) -W ignore -m os_brick_healer.tests.mutation $(ROOMS)

.PHONY: wheel
wheel: $(STAMP) ## build the wheel; check what it would put beside os-brick
	rm -rf build/wheel build/lib build/bdist.*
	$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps \
	    --wheel-dir build/wheel .
	$(PY) tools/check_wheel.py build/wheel/*.whl

.PHONY: docs
docs: $(STAMP) ## documentation and release notes; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q -b html \
	    -d doc/build/doctrees doc/source doc/build/html
	$(BIN)/sphinx-build -W --keep-going -q -b html \
	    -d releasenotes/build/doctrees releasenotes/source \
	    releasenotes/build/html

.PHONY: genconfig
genconfig: $(STAMP) ## the sample configuration file
	$(BIN)/oslo-config-generator \
	    --config-file etc/oslo-config-generator/os-brick-healer.conf

.PHONY: clean
clean: ## remove what the other targets made, the guest image excepted
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .stestr \
	    .hypothesis .coverage .coverage.* cover build/wheel \
	    build/lib build/bdist.* doc/build releasenotes/build ./*.egg-info
