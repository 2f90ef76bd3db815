"""Real servers for every test, one of each kind a test process, and what the run's summary says beyond pytest's."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.services.availability import browser_missing, kafka_missing, mariadb_missing, require
from tests.services.browser import chromium_launched
from tests.services.kafka import KafkaBroker
from tests.services.mariadb import MariaDBServer
from tests.services.valkey import ValkeyServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NEEDS = {"mariadb": mariadb_missing, "kafka": kafka_missing, "browser": browser_missing}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that is marked with a service this machine has not; fail it where services are required."""
    for mark, missing in NEEDS.items():
        if item.get_closest_marker(mark) is not None:
            require(missing())


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """Yield the sale's Valkey, durable; REDIS_URL names it for this process and its children.

    It lives as long as the session. A test that needs an empty one calls its `clear()` first.
    """
    from django.conf import settings

    with ValkeyServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", server.url)
        if os.environ.get("DJANGO_SETTINGS_MODULE"):
            patch.setattr(settings, "REDIS_URL", server.url, raising=False)
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    """Yield a MariaDB of its own, apart from the one that DATABASE_URL may name."""
    require(mariadb_missing())
    with MariaDBServer() as server:
        yield server


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """Yield a Kafka broker without topics; a test makes topics of its own names."""
    require(kafka_missing())
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """Yield a headless browser for the tests of one module; see chromium_launched for why not for the session."""
    require(browser_missing())
    with chromium_launched() as browser:
        yield browser


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many races were shown to fail without their lock; pytest's own options print skips and the slowest."""
    ended = {
        outcome: sum(_is_twin(report) for report in terminalreporter.stats.get(outcome, ()))
        for outcome in ("passed", "failed", "error", "skipped")
    }
    if sum(ended.values()):
        terminalreporter.write_line(
            f"races that fail without their lock: {ended['passed']}/{sum(ended.values())}"
        )


def _is_twin(report: object) -> bool:
    """Tell whether this is the report on a test marked as the unguarded twin of a race test."""
    return isinstance(report, pytest.TestReport) and "twin" in report.keywords
