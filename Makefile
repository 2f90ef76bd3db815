# make demo starts the shop; make test proves it. PYTHON=python3.12 chooses another interpreter.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
PYTEST_ARGS ?=
ARGS ?=

.PHONY: help install install-test install-check test chaos check bench demo messages clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo       build what it needs, then start the whole shop on this machine'
	@echo 'make test       the test suite, on SQLite and, where there is one, on a real MariaDB'
	@echo 'make chaos      kill every process under load, at named points; CHAOS_TRIALS=3 a point, CHAOS_SEED replays'
	@echo 'make check      style, types, import rules, migrations'
	@echo 'make bench      benchmarks, as ratios'
	@echo 'make messages   collect and compile translations (needs gettext)'
	@echo 'make install    only the virtual environment .venv, from wheels; install-test adds the tests'"' set"
	@echo 'make clean      remove all that these made, the demo'"'s data in var/ included"

# ---- the virtual environment: a stamp a step, renewed when its requirements change ---------------------------
$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { \
	    echo 'There is no $(PYTHON). Install Python 3.11 or later (Debian: apt install python3 python3-venv),'; \
	    echo 'or name one: make PYTHON=/path/to/python3.11 ...'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "This needs Python 3.11 or later, but $(PYTHON) is $$($(PYTHON) -V 2>&1)."; \
	    echo 'Name another: make PYTHON=python3.11 ...'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo '$(PYTHON) cannot make virtual environments: its venv or ensurepip module is missing.'; \
	    echo 'Debian and Ubuntu: apt install python3-venv'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.embedded: $(VENV)/.made requirements/embedded.txt requirements/constraints.txt
	$(PIP) --only-binary :all: -r requirements/embedded.txt
	@touch $@

$(VENV)/.test: $(VENV)/.embedded requirements/test.txt
	$(PIP) --only-binary :all: -r requirements/test.txt
	@touch $@

$(VENV)/.check: $(VENV)/.test requirements/check.txt
	$(PIP) --only-binary :all: -r requirements/check.txt
	@touch $@

# mysqlclient is compiled, so it comes only where that can work; until then each call looks again.
$(VENV)/.mysqlclient: $(VENV)/.embedded requirements/production.txt
	@if { command -v mariadb_config || command -v mysql_config; } >/dev/null && command -v pkg-config >/dev/null \
	    && command -v cc >/dev/null; then \
	    echo '$(PIP) -r requirements/production.txt'; \
	    $(PIP) -r requirements/production.txt && touch $@; \
	else \
	    echo 'No mysqlclient: it needs cc, pkg-config and mariadb_config (Debian: build-essential pkg-config'; \
	    echo 'libmariadb-dev python3-dev). Tests of MariaDB are skipped.'; \
	fi

install: $(VENV)/.embedded
install-test: $(VENV)/.test $(VENV)/.mysqlclient
install-check: $(VENV)/.check $(VENV)/.mysqlclient

# ---- what people run -------------------------------------------------------------------------------------
# One process: the races need both cores for themselves. PYTEST_ARGS="-n 2 --dist loadfile" works too, for haste.
# The MariaDB run goes last. It leaves the browser out, whose pages are the same on both databases, and the kill
# tests, whose stacks bring their own database.
test: install-test
	@$(PY) -m tests.services check
	$(PY) -m pytest $(PYTEST_ARGS)
	@$(PY) -m tests.services mariadb -- $(PY) -m pytest -m "not browser and not chaos" $(PYTEST_ARGS)

chaos: install-test
	$(PY) -m pytest tests/chaos $(PYTEST_ARGS)

check: install-check
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	DJANGO_SETTINGS_MODULE=shop.settings.test $(PY) manage.py check
	DJANGO_SETTINGS_MODULE=shop.settings.test $(PY) manage.py makemigrations --check --dry-run
	@$(MAKE) --no-print-directory check-deploy

# Production settings name servers that are not asked here; only the driver of the database must be importable.
check-deploy: install-check
	@if $(PY) -c 'import MySQLdb' 2>/dev/null; then \
	    echo 'manage.py check --deploy, with shop.settings.production'; \
	    env DJANGO_SETTINGS_MODULE=shop.settings.production ALLOWED_HOSTS=shop.example \
	    SECRET_KEY="$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))')" \
	    DATABASE_URL=mysql://shop@db.example/shop REDIS_URL=redis://sale.example/0 \
	    CACHE_URL=redis://cache.example/0 SESSION_REDIS_URL=redis://cache.example/1 \
	    CELERY_BROKER_URL=redis://cache.example/2 ALLOW_SANDBOX_PAYMENTS=true \
	    SHOP_VAR_DIR="$$(mktemp -d)" $(PY) manage.py check --deploy --fail-level WARNING; \
	elif [ "$$REQUIRE_SERVICES" = 1 ] || [ -n "$$CI" ]; then \
	    echo 'mysqlclient is missing, so production settings cannot be checked.'; exit 1; \
	else \
	    echo 'manage.py check --deploy is skipped: mysqlclient is not installed.'; \
	fi

bench: install-test
	$(PY) -m bench $(ARGS)

demo: install
	$(PY) manage.py demo $(ARGS)

messages: install
	$(PY) manage.py makemessages -l zh_Hans --add-location file --ignore .venv --ignore .cache --ignore node_modules
	$(PY) manage.py compilemessages -l zh_Hans --ignore .venv --ignore .cache --ignore node_modules

clean:
	rm -rf $(VENV) .cache var reports staticfiles node_modules .coverage
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
