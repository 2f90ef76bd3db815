"""Connections to the sale's Valkey. Each is checked once, when it opens: does this server hold the whole truth?

`boot` in the shard's hash names the server (its `master_replid`, new after every restart and promotion) whose
state has been compared with the database. A connection to any other server does not open.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError
from redis.retry import Retry

from seckill import keys
from seckill.scripts import Call

SOCKET_TIMEOUT_SECONDS = 5.0


class NotVerified(redis.ConnectionError):
    """The server has restarted, or is another one, and has not been compared with the database yet."""


class NotSent(redis.ConnectionError):
    """No connection could be opened: the server has seen nothing of the call."""


def replid_of(info: bytes) -> str:
    """Return `master_replid` from the text of INFO replication."""
    for line in info.splitlines():
        if line.startswith(b"master_replid:"):
            return line.partition(b":")[2].decode()
    raise redis.ResponseError("INFO replication names no master_replid")


def boot_commands() -> list[tuple[Any, ...]]:
    """Return the commands whose answers `boot_compare` takes."""
    return [("INFO", "replication"), ("HGET", keys.shard_key(), "boot")]


def boot_compare(info: bytes, boot: bytes | None) -> None:
    """Compare the server that answers with the one that was compared with the database.

    :raises NotVerified: it is another one, or has restarted
    """
    if boot is None or boot.decode() != replid_of(info):
        raise NotVerified("the sale's server has not been compared with the database since it started")


def _verify(connection: Any) -> None:
    connection.on_connect()
    answers = []
    for command in boot_commands():
        connection.send_command(*command)
        answers.append(connection.read_response())
    boot_compare(*answers)


def acknowledged(answers: list[Any], replicas: int) -> list[Any]:
    """Return the answers without WAITAOF's, which must show this server's disk and enough replicas'."""
    *answers, wait = answers
    if isinstance(wait, ResponseError) or wait[0] < 1 or wait[1] < replicas:
        raise redis.TimeoutError("too few replicas have the batch on disk")
    return answers


def with_wait(commands: list[tuple[Any, ...]], replicas: int) -> list[tuple[Any, ...]]:
    """Return the commands followed by a wait for this server's disk and `replicas` others'."""
    wait_ms = int(SOCKET_TIMEOUT_SECONDS * 1000 / 2)
    return [*commands, ("WAITAOF", 1, replicas, wait_ms)]


def unknown_scripts(answers: list[Any]) -> list[int]:
    """Return the places of calls whose script the server does not know yet."""
    return [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]


class SaleStore:
    """Blocking access. Retries of the client library are off: a call that timed out may have run.

    :raises NotVerified: the server is not known to hold the truth
    :raises NotSent: nothing was sent
    :raises redis.ConnectionError, redis.TimeoutError: what was sent may or may not have run
    """

    def __init__(
        self, url: str, *, verify: bool = True, timeout_seconds: float = SOCKET_TIMEOUT_SECONDS
    ) -> None:
        self.pool = redis.ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=_verify if verify else None,
            max_connections=256,
        )
        # Any: redis-py's annotations speak of text and None, which a client that decodes nothing never returns.
        self.client: Any = redis.Redis(connection_pool=self.pool)

    def run(self, calls: Sequence[Call], *, replicas: int = 0) -> list[Any]:
        """Return each call's answer, or the ResponseError it got; all travel in one round trip."""
        answers = self.commands([call.by_digest() for call in calls], replicas=replicas)
        if missing := unknown_scripts(answers):
            again = self.commands([calls[i].by_text() for i in missing], replicas=replicas)
            for i, answer in zip(missing, again, strict=True):
                answers[i] = answer
        return answers

    def commands(self, commands: list[tuple[Any, ...]], *, replicas: int = 0) -> list[Any]:
        """Return each command's raw answer, or the ResponseError it got."""
        if replicas:
            return acknowledged(self.commands(with_wait(commands, replicas)), replicas)
        try:
            connection = self.pool.get_connection()
        except NotVerified:
            raise
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise NotSent(str(error)) from error
        try:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            return [self._read(connection) for _ in commands]
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self.pool.release(connection)

    @staticmethod
    def _read(connection: Any) -> Any:
        try:
            return connection.read_response()
        except ResponseError as error:
            return error

    def close(self) -> None:
        """Close every connection."""
        self.pool.disconnect()


@lru_cache(maxsize=4)
def _store(url: str, verify: bool) -> SaleStore:
    return SaleStore(url, verify=verify)


def sale_store() -> SaleStore:
    """Return this process's store of verified connections."""
    return _store(settings.REDIS_URL, True)


def unverified_store() -> SaleStore:
    """Return the store of the reconciler and of health checks, which must see a server before it is trusted."""
    return _store(settings.REDIS_URL, False)
