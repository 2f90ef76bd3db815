"""The lane's connection to Valkey: RESP over an asyncio protocol, packed and parsed by hiredis.

One connection carries many calls at a time, answered in the order in which they were sent. It never sends anything
twice: when it breaks, every call on it ends with the error and its caller decides.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import hiredis
import redis
from hiredis import pack_command

from seckill.store import NotSent, boot_commands, boot_compare

Commands = Sequence[tuple[Any, ...]]


class Wire(asyncio.Protocol):
    """One open connection. Answers are lists, a command's error reply standing as a `redis.ResponseError`."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(replyError=_reply_error, protocolError=redis.ConnectionError)
        self._calls: deque[tuple[asyncio.Future[list[Any]], int]] = deque()
        self._answers: list[Any] = []
        self._transport: asyncio.WriteTransport | None = None
        self._loop = asyncio.get_running_loop()
        self.is_open = False

    def call(self, commands: Commands, timeout_seconds: float) -> asyncio.Future[list[Any]]:
        """Send the commands in one write and return the future of their answers.

        The future raises redis.ConnectionError or redis.TimeoutError: what was sent may or may not have run.
        :raises NotSent: the connection is closed
        """
        if self._transport is None or not self.is_open:
            raise NotSent("the connection is closed")
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._calls.append((future, len(commands)))
        self._transport.write(b"".join([pack_command(command) for command in commands]))
        timer = self._loop.call_later(timeout_seconds, self._overdue, future)
        future.add_done_callback(lambda _: timer.cancel())
        return future

    def close(self) -> None:
        """Close the connection; calls in flight end with an error."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports do not derive from asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                self._take(answer)
        except redis.ConnectionError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._fail(redis.ConnectionError(f"the connection was lost: {exc}"))

    def _take(self, answer: Any) -> None:
        future, count = self._calls[0]
        self._answers.append(answer)
        if len(self._answers) < count:
            return
        self._calls.popleft()
        answers, self._answers = self._answers, []
        if not future.done():
            future.set_result(answers)

    def _overdue(self, future: asyncio.Future[list[Any]]) -> None:
        """End the connection: an answer that came later would be taken for the next call's."""
        if not future.done():
            self.is_open = False
            self._fail(redis.TimeoutError("Valkey did not answer in time"))
            self.close()

    def _fail(self, error: Exception) -> None:
        while self._calls:
            future, _ = self._calls.popleft()
            if not future.done():
                future.set_exception(error)


def _reply_error(text: str) -> redis.ResponseError:
    if text.startswith("NOSCRIPT"):
        return redis.exceptions.NoScriptError(text)
    return redis.ResponseError(text)


async def wire_open(url: str, *, timeout_seconds: float) -> Wire:
    """Open a connection, log in, and compare the server with the one that the database was compared with.

    url: unix:///path?db=0 or redis[s]://[user:password@]host:port[/db].
    :raises NotSent: it cannot be reached
    :raises seckill.store.NotVerified: it has not been compared since it started
    """
    options = redis.connection.parse_url(url)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_seconds):
            if "path" in options:
                _, wire = await loop.create_unix_connection(Wire, options["path"])
            else:
                secure = urlsplit(url).scheme == "rediss"
                _, wire = await loop.create_connection(
                    Wire, options.get("host", "localhost"), options.get("port", 6379), ssl=secure or None
                )
    except (OSError, TimeoutError) as error:
        raise NotSent(str(error)) from error
    try:
        await _greet(wire, options, timeout_seconds)
    except BaseException:
        wire.close()
        raise
    return wire


async def _greet(wire: Wire, options: dict[str, Any], timeout_seconds: float) -> None:
    commands: list[tuple[Any, ...]] = []
    if options.get("password"):
        user = unquote(options.get("username") or "default")
        commands.append(("AUTH", user, unquote(options["password"])))
    if options.get("db"):
        commands.append(("SELECT", str(options["db"])))
    answers = await wire.call([*commands, *boot_commands()], timeout_seconds)
    for answer in answers:
        if isinstance(answer, redis.ResponseError):
            raise NotSent(str(answer))
    boot_compare(*answers[-2:])
