# `make demo` and `make test` work on a fresh clone; the rest is for those who change the library.

PYTHON ?= python3
APP ?= starlette
MINUTES ?= 10
LEVEL ?= 2
SEED ?=
PARTS ?=
QUICK ?=
DOCS ?=
ALLOW_MISSING ?=

VENV := .venv
BIN := $(VENV)/bin
PROJECTS := pyproject.toml adapters/sqlalchemy/pyproject.toml
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --upgrade \
	--generate-hashes --no-emit-index-url --no-header --no-annotate
# The certificates that the system trusts are those that pip and apt go by; node has a list of its own besides.
NPM := NODE_USE_SYSTEM_CA=1 $(BIN)/npm --loglevel=error
NPM_PACKAGES := tests/js/node_modules/made.stamp

.PHONY: help demo test hunt soak bench profile lint format docs packages packages-bench requirements clean

help:
	@echo "make demo                run the Starlette example on 127.0.0.1 (APP=litestar for the other)"
	@echo "make test                everything that CI runs: linters, docs, tests on real servers, wheels"
	@echo "make bench               what everything costs, as ratios: PARTS=\"conditional commits\", QUICK=1, DOCS=1, ALLOW_MISSING=1"
	@echo "make profile             where a request's time goes, step by step"
	@echo "make hunt                hunt for stale reads for MINUTES=10; LEVEL=3 with triggers, SEED=7 the same choices again"
	@echo "make soak                soak push for MINUTES=10: clients come and go, and memory has to stay flat; SEED=7"
	@echo "make lint                ruff and mypy"
	@echo "make format              let ruff rewrite the code"
	@echo "make docs                build docs/_build/html, warnings are errors"
	@echo "make requirements        compile requirements/*.in and tests/js anew, to the newest versions"
	@echo "make clean               remove what the other targets made"

demo: $(VENV)/examples.stamp
	$(BIN)/python -m examples.$(APP)_app

# pytest comes last, so that its closing line and its exit code are those of the run.
test: | packages $(VENV)/dev.stamp $(NPM_PACKAGES)
	$(MAKE) --no-print-directory lint docs
	$(BIN)/python -m pytest --cov --cov-report=term

# Environments for the peers are made by the program itself, which goes on without those that it can't make.
bench: | packages-bench $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks $(PARTS) $(if $(QUICK),--quick) $(if $(DOCS),--docs) $(if $(ALLOW_MISSING),--allow-missing)

profile: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.steps

hunt: | packages $(VENV)/dev.stamp
	$(BIN)/python -m tests.hunt --minutes $(MINUTES) --level $(LEVEL) $(if $(SEED),--seed $(SEED))

soak: | packages $(VENV)/dev.stamp
	$(BIN)/python -m tests.push.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/dev.stamp
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs docs/_build/html

packages:
	scripts/install-debian-packages test

packages-bench:
	scripts/install-debian-packages bench

requirements: $(VENV)/dev.stamp
	cd requirements && ../$(COMPILE) examples.in --output-file examples.txt
	cd requirements && ../$(COMPILE) dev.in --output-file dev.txt
	cd requirements && ../$(COMPILE) bench.in --output-file bench.txt
	cd requirements && for each in bench-*.in; do ../$(COMPILE) $$each --output-file $${each%.in}.txt || exit 1; done
	$(NPM) update --prefix tests/js --package-lock-only

clean:
	rm -rf $(VENV) .venv-bench tests/js/node_modules build dist docs/_build .demo .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/made.stamp:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# The compiled files name every package there is to install, so nothing is left to resolve: pip (23.2, for one)
# would look for the newest release of a package that another asks for with an extra, and refuse it for want of a pin.
$(VENV)/%.stamp: requirements/%.txt $(PROJECTS) | $(VENV)/made.stamp
	$(INSTALL) --require-hashes --no-deps -r $<
	$(INSTALL) --no-deps --no-build-isolation -e . -e adapters/sqlalchemy
	@touch $@

# A lock file names each package with the hash of its content, and no address: the registry is the one that npm is set to.
%/node_modules/made.stamp: %/package.json %/package-lock.json | $(VENV)/dev.stamp
	$(NPM) ci --prefix $* >/dev/null
	@touch $@
