# Khala's tasks. `make demo` and `make test` work on a machine with nothing but Python 3.11, make and
# (for the tests) apt-get: the first use makes .venv and installs what is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
SEEDS ?= 2000
JOBS ?= 5
FIRST ?= 0

# What is used beyond Python, as program or library=Debian package: to build vfork.c (Khala works without
# it), by a cluster and its demo, by the tests.
BUILD_NEEDS := cc=g++
DEMO_NEEDS := g++=g++ libcurl.so.4=libcurl4
TEST_NEEDS := $(DEMO_NEEDS) thrift=thrift-compiler bwrap=bubblewrap etcd=etcd-server ps=procps ip=iproute2 curl=curl chromium=chromium
BENCH_NEEDS := $(DEMO_NEEDS) wrk=wrk parallel=parallel redis-server=redis-server
DOCKER_NEEDS := dockerd=docker.io docker-compose=docker-compose debootstrap=debootstrap iptables=iptables

# A cluster is many processes: each would compile all of Khala at its start.
unexport PYTHONDONTWRITEBYTECODE

SEED ?= $(shell shuf -i 0-999999 -n 1)
MINUTES ?= 20

.PHONY: help setup system demo image test test-docker check format lint types imports gen drift simulate faults
.PHONY: bench bench-needs profile
.PHONY: screenshots lighthouse vendor clean

help:
	@echo "make demo       a cluster on this machine, one task, everything gone again"
	@echo "make image      the Docker image khala"
	@echo "make test       all tests but those with a Docker engine, JOBS=5 files at a time"
	@echo "make test-docker   those, with an engine of their own (root; about seven minutes)"
	@echo "make check      format, lint, types, import rules, drift of generated code, tests"
	@echo "make lint|types|imports|drift   one of them"
	@echo "make format     rewrite the code in the common format"
	@echo "make gen        generate khala/bus/gen from thrift/khala.thrift"
	@echo "make simulate SEEDS=N [FIRST=K]   N seeded histories of a whole cluster, from seed K"
	@echo "make faults SEED=N MINUTES=M   every fault test, then a cluster under seeded faults"
	@echo "make bench      figures of everything, peers included, in build/bench (half an hour, a quiet machine)"
	@echo "make profile    where a judicator's time goes, in build/bench/profile.svg (WHO=executor-1 for another)"
	@echo "make screenshots   the site's pictures in docs/img"
	@echo "make lighthouse Lighthouse's marks of the site (npm; ARGS=mobile for a slow phone)"
	@echo "make vendor     fetch the libraries that the site brings with it anew (npm)"
	@echo "make clean      remove what was built"

setup: $(STAMP)

$(STAMP): setup.py $(wildcard khala/execution/launching/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Khala needs Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/pip || { $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 && test -x $(BIN)/pip; } || \
	    { rm -rf $(VENV); $(MAKE) --no-print-directory install-venv && $(PYTHON) -m venv $(VENV); }
	@$(call install_missing,$(BUILD_NEEDS))
	@echo "installing Khala and what it needs into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[local,dev]'
	@touch $(STAMP)

.PHONY: install-venv
install-venv:
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null || \
	    { echo "Python's venv module is missing: apt-get install python3-venv (as root), then try again"; exit 1; }
	@echo "installing python3-venv"
	@apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null

# Installs the Debian packages of what is missing as root, names them otherwise. $(1): name=package…
define install_missing
	missing=""; \
	for pair in $(1); do \
	    name="$${pair%%=*}"; \
	    command -v "$$name" >/dev/null 2>&1 || /sbin/ldconfig -p 2>/dev/null | grep -q "$$name " || \
	        missing="$$missing $${pair#*=}"; \
	done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo "installing$$missing"; \
	    apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null || exit 1; \
	elif [ -n "$$missing" ]; then \
	    echo "not installed:$$missing; what needs them does not work (as root: apt-get install$$missing)"; \
	fi
endef

system:
	@$(call install_missing,$(TEST_NEEDS))

demo: setup
	@$(call install_missing,$(DEMO_NEEDS))
	@$(BIN)/khala demo

image:
	@docker/build

test: setup system
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-docker: setup system
	@$(call install_missing,$(DOCKER_NEEDS))
	@KHALA_DOCKER=all $(BIN)/python -m pytest -q tests/docker $(ARGS)

check: lint types imports drift test

format: setup
	@$(BIN)/ruff format khala tests tools bench setup.py
	@$(BIN)/ruff check --fix khala tests tools bench setup.py

lint: setup
	@$(BIN)/ruff format --check khala tests tools bench setup.py
	@$(BIN)/ruff check khala tests tools bench setup.py

types: setup
	@$(BIN)/mypy

imports: setup
	@$(BIN)/python -m pytest -q tests/architecture/test_imports.py tests/architecture/test_form.py

drift: setup system
	@$(BIN)/python -m pytest -q tests/architecture/test_drift.py

gen:
	@command -v thrift >/dev/null || \
	    { echo "the Thrift compiler is missing: apt-get install thrift-compiler, then make gen"; exit 1; }
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	    thrift -r --gen py:slots -out "$$scratch" thrift/khala.thrift && \
	    rm -f khala/bus/gen/*.py && cp "$$scratch"/khala/bus/gen/*.py khala/bus/gen/
	@echo "khala/bus/gen is generated from thrift/khala.thrift"

simulate: setup
	@PYTHONPATH=.:tests $(BIN)/python -m simulation.run --seeds $(SEEDS) --first $(FIRST) $(ARGS)

faults: setup system
	@KHALA_FAULTS=all $(BIN)/python -m pytest -q tests/faults
	@PYTHONPATH=.:tests $(BIN)/python -m faults.run --seed $(SEED) --minutes $(MINUTES) $(ARGS)

bench-needs: setup
	@$(call install_missing,$(BENCH_NEEDS))
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'matplotlib>=3.8,<4' 'py-spy>=0.3,<1'

bench: bench-needs
	@$(BIN)/python -m bench.run $(ARGS)

profile: bench-needs
	@$(BIN)/python -m bench.profile $(or $(WHO),judicator-1) $(ARGS)

screenshots: setup system
	@PYTHONPATH=.:tests $(BIN)/python -m web.screenshots

lighthouse: setup system
	@command -v npx >/dev/null || { echo "npm is missing: apt-get install npm, then make lighthouse"; exit 1; }
	@PYTHONPATH=.:tests $(BIN)/python -m web.lighthouse $(ARGS)

vendor: setup
	@$(BIN)/python tools/vendor.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find khala tests -name __pycache__ -type d -prune -exec rm -rf {} +
