"""One transaction, tried again where the database says that trying again is right."""

from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, connection, transaction
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

T = TypeVar("T")

ATTEMPTS = 5
FIRST_WAIT_SECONDS = 0.02
LONGEST_WAIT_SECONDS = 0.5
# MariaDB: lock wait time-out, deadlock victim, record changed since it was read.
MARIADB_TRANSIENT = frozenset({1205, 1213, 1020})


class Again(Exception):
    """What the transaction was built on has moved; the whole of it must run again."""


def is_transient(error: BaseException) -> bool:
    """Tell whether the same transaction may succeed when it is simply run again."""
    if isinstance(error, Again):
        return True
    if not isinstance(error, OperationalError) or not error.args:
        return False
    # SQLite says "database is locked" and, between connections of one process, "database table is locked".
    return error.args[0] in MARIADB_TRANSIENT or "is locked" in str(error.args[0])


def retry_transaction(work: Callable[[], T]) -> T:
    """Run `work` in a transaction and return its result; at most 5 attempts on lock conflicts.

    Inside a transaction it runs once: a deadlock has rolled back the outer one, which only its owner can repeat.
    `work` must be free of effects outside the database; what follows a commit belongs in `transaction.on_commit`.
    """
    if connection.in_atomic_block:
        return _attempt(work)
    return _attempt_repeatedly(work)


def _attempt(work: Callable[[], T]) -> T:
    with transaction.atomic():
        return work()


_attempt_repeatedly = retry(
    retry=retry_if_exception(is_transient),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS),
    reraise=True,
)(_attempt)
