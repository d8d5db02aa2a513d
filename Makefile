# Everything a developer or a user types. Each target installs what it needs and is missing.
#
#   make demo          broker, cloud, two agents, questions, swaps, rollouts; Ctrl-C ends it
#                      (ONCE=1: ends by itself)
#   make test          the tests, slow ones left out
#   make test-slow     the slow ones
#   make check         lint and types
#   make format        format the code
#   make docs          regenerate the pages of docs/ that are made from code
#   make bench         how fast EdgeQA is here, beside others and beside the limit: a report
#   make soak          model swaps under load, and the memory after hundreds of them
#   make image-test    builds the images for arm64 without a registry and runs them (emulated)
#   make audit         known vulnerabilities of what constraints.txt pins
#   make lock          resolve constraints.txt anew
#
# pip's own settings apply. Where its index has CUDA builds of torch, name one with CPU builds in
# PIP_EXTRA_INDEX_URL to save some gigabytes; only `make test` and the model workshop need torch.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-slow check format docs bench soak image-test audit lock clean fleet dev \
  mosquitto postgresql prometheus chromium sandbox

demo: fleet mosquitto
	$(BIN)/edgeqa demo $(if $(ONCE),--once)

# A worker more than there are cores, as many tests wait for processes; the tests of a file share what
# they made, so they stay together, and the long ones come first (tests/conftest.py).
test: dev mosquitto postgresql prometheus chromium sandbox
	$(BIN)/pytest -m "not slow" --numprocesses $$(($$(nproc) + 1)) --dist loadfile \
	  --no-loadscope-reorder $(ARGS)

test-slow: dev mosquitto postgresql prometheus chromium sandbox
	$(BIN)/pytest -m slow --timeout 3600 $(ARGS)

check: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: dev
	$(BIN)/python -m edgeqa.asyncapi > docs/asyncapi.yaml
	$(BIN)/python -m edgeqa.codes > docs/errors.md
	$(BIN)/python -m edgeqa_agent.settings_doc > docs/agent-settings.md
	$(BIN)/python -m edgeqa_cloud.settings_doc > docs/cloud-settings.md
	$(BIN)/python -m edgeqa_cloud.rollout.spec_doc > docs/rollout-spec.md
	$(BIN)/python -m edgeqa_cloud.api.openapi > docs/openapi.json

bench: dev mosquitto
	PYTHONPATH=benchmarks $(BIN)/python -m bench $(ARGS)

soak: dev mosquitto
	$(BIN)/python benchmarks/swaps.py $(ARGS)

# As root. ARGS="--full-size PACKAGE" measures that one's memory too (benchmarks/fullsize.py makes it).
IMAGE_WORK ?= build/image-test
image-test: dev mosquitto
	@for need in debootstrap buildah crun qemu-aarch64-static; do \
	  command -v $$need >/dev/null || missing=1; done; [ -z "$$missing" ] || \
	  { echo "installing what builds images"; $(SUDO) apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends \
	      debootstrap buildah crun qemu-user-static >/dev/null; }
	PYTHONPATH=docker $(BIN)/python -m image_test --work $(IMAGE_WORK) $(ARGS)

audit: $(BIN)/python
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/python docker/audit.py $(ARGS)

lock: dev
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --all-extras --no-emit-index-url \
	  --no-header --no-annotate --quiet --constraint .ci/pins.txt pyproject.toml \
	  --output-file constraints.txt

clean:
	rm -rf $(VENV) .venv-audit .mypy_cache .pytest_cache .ruff_cache .hypothesis bench-out

fleet: $(VENV)/.fleet
dev: $(VENV)/.dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "EdgeQA needs Python 3.11 or newer: apt-get install python3 python3-venv, or make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv >/dev/null; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip

$(VENV)/.fleet: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable '.[agent,cloud]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.fleet

mosquitto:
	@PATH="$$PATH:/usr/sbin"; for need in mosquitto mosquitto_rr openssl; do \
	  command -v $$need >/dev/null || missing=1; done; [ -z "$$missing" ] || \
	  { echo "installing mosquitto"; $(SUDO) apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq \
	      mosquitto mosquitto-clients openssl >/dev/null; }

# The tests run servers of their own, in folders and on ports of their own: the package's service is
# not started here (RUNLEVEL=1).
postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
	  { echo "installing postgresql"; $(SUDO) apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive $(SUDO) env RUNLEVEL=1 apt-get install -y -qq \
	      --no-install-recommends postgresql >/dev/null; }

prometheus:
	@command -v prometheus >/dev/null || \
	  { echo "installing prometheus"; $(SUDO) apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive $(SUDO) env RUNLEVEL=1 apt-get install -y -qq \
	      --no-install-recommends prometheus >/dev/null; }

# For the tests of the web page, which are driven by Playwright's Python package.
chromium:
	@command -v chromium >/dev/null || \
	  { echo "installing chromium"; $(SUDO) apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq \
	      --no-install-recommends chromium >/dev/null; }

# What the tests run containers' processes, systemd's units and the programs of docs/for-devices.md in.
sandbox:
	@for need in bwrap ip systemd-analyze sqlite3 unshare jq g++; do \
	  command -v $$need >/dev/null || missing=1; done; \
	for need in mosquitto.h cjson/cJSON.h; do \
	  [ -e /usr/include/$$need ] || missing=1; done; [ -z "$$missing" ] || \
	  { echo "installing what the tests run services in"; $(SUDO) apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive $(SUDO) env RUNLEVEL=1 apt-get install -y -qq \
	      --no-install-recommends bubblewrap iproute2 systemd sqlite3 util-linux python3-venv jq \
	      g++ libmosquitto-dev libcjson-dev >/dev/null; }
