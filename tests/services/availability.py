"""Which real services this machine has, and what a test does without one."""

import importlib.util
import os

import pytest

from tests.services.browser import chromium_program
from tests.services.kafka import OLDEST_JAVA, java_version, kafka_jars
from tests.services.mariadb import mariadb_programs
from tests.services.toxiproxy import toxiproxy_program

INSTALL = "; .ci/install-services installs it"


def services_required() -> bool:
    """Tell whether a missing service is a failure: REQUIRE_SERVICES=1, as in CI."""
    return os.environ.get("REQUIRE_SERVICES") == "1"


def mariadb_missing() -> str | None:
    """Return why tests cannot use MariaDB, None when they can."""
    absent = sorted(name for name, path in mariadb_programs().items() if path is None)
    if absent:
        return f"no MariaDB server: {', '.join(absent)} not found{INSTALL}"
    if importlib.util.find_spec("MySQLdb") is None:
        return "no mysqlclient: it needs a C compiler and libmariadb-dev, then `make install-test`"
    return None


def kafka_missing() -> str | None:
    """Return why tests cannot use Kafka, None when they can."""
    if java_version() < OLDEST_JAVA:
        return f"no Java {OLDEST_JAVA} or later for Kafka{INSTALL}"
    if not any(kafka_jars().glob("kafka_2.13-*.jar")):
        return f"no Kafka jars in KAFKA_JARS or .cache/kafka/libs{INSTALL}"
    return None


def browser_missing() -> str | None:
    """Return why tests cannot use a browser, None when they can."""
    if chromium_program() is None:
        return f"no Chromium on PATH or in CHROMIUM{INSTALL}"
    if importlib.util.find_spec("playwright") is None:
        return "no Playwright; `make install-test` installs it"
    return None


def toxiproxy_missing() -> str | None:
    """Return why tests cannot use toxiproxy, None when they can."""
    return None if toxiproxy_program() else f"no toxiproxy-server{INSTALL} where Go is recent enough"


def require(reason: str | None, *, always_in_ci: bool = True) -> None:
    """Skip the test with the reason, or fail it where services are required; go on when there is no reason.

    always_in_ci: False for the few services that CI need not have either (those which need a recent Go).
    """
    if reason is None:
        return
    if always_in_ci and services_required():
        pytest.fail(f"REQUIRE_SERVICES=1, but {reason}", pytrace=False)
    pytest.skip(reason)
