"""An HTTP/1.1 client for one kind of request, with as little work as possible between two answers.

One `Connection` carries one request at a time. Requests are bytes that were built before the run; of an answer
only the status, the length and the body are looked at.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol, cast
from urllib.parse import urlsplit

HEAD_END = b"\r\n\r\n"


class BadAnswer(ValueError):
    """The server's bytes are not an HTTP/1.1 answer that this client can read."""


class Request:
    """One reservation that a client wants; its number is part of its key, so repeats carry the same one."""

    __slots__ = ("account", "attempts", "clock_from", "number", "unsure")

    def __init__(self, number: int, account: int, clock_from: float) -> None:
        self.number = number
        self.account = account
        self.clock_from = clock_from  # latency counts from here: the sending, or the due time in an open loop
        self.attempts = 0  # repeats so far
        self.unsure = False  # an attempt may have been accepted without our seeing it


class Owner(Protocol):
    """Whoever uses the connections."""

    def connected(self, connection: "Connection") -> None:
        """Learn that the connection can carry a request."""

    def answered(self, connection: "Connection", status: int, head: bytes, body: bytes) -> None:
        """Receive the whole answer to `connection.request`; `head` is in lower case."""

    def lost(self, connection: "Connection", why: str) -> None:
        """Learn that the connection is gone; a request may still be on it."""


class Messages:
    """Ready-made request bytes, one prefix an account: POST with a JSON body and an Idempotency-Key."""

    def __init__(self, *, url: str, path: str, tokens: Sequence[str], quantity: int, run_id: str) -> None:
        host = urlsplit(url).netloc.encode()
        body = b'{"quantity":%d}' % quantity
        common = (
            b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept-Language: en\r\n"
            b"Content-Length: %d\r\nAuthorization: Bearer " % (path.encode(), host, len(body))
        )
        key = b"\r\nIdempotency-Key: load-%s-" % run_id.encode()
        self._prefixes = [common + token.encode() + key for token in tokens]
        self._end = HEAD_END + body

    def build(self, request: Request) -> bytes:
        """Return the bytes of a request; the same bytes for every repeat."""
        return b"%s%d%s" % (self._prefixes[request.account], request.number, self._end)


class Connection(asyncio.Protocol):
    """One kept-alive connection of one client. The same object serves again after a reconnect."""

    __slots__ = ("_buffer", "closing_reason", "held", "owner", "request", "sent_at", "transport")

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.transport: asyncio.Transport | None = None
        self.request: Request | None = None
        self.sent_at = 0.0
        self.held = False  # its client waits before a repeat and takes nothing else meanwhile
        self.closing_reason = ""
        self._buffer = b""

    def send(self, request: Request, message: bytes, now: float) -> None:
        """Put one request on the wire."""
        assert self.transport is not None
        self.request, self.sent_at = request, now
        self.transport.write(message)

    def abort(self, reason: str) -> None:
        """Give the connection up; the owner is told `reason` in `lost`."""
        self.closing_reason = reason
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the new transport (asyncio calls this)."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, not the base class
        self._buffer, self.closing_reason = b"", ""
        self.owner.connected(self)

    def data_received(self, data: bytes) -> None:
        """Hand a complete answer over; keep a part of one for later (asyncio calls this)."""
        if self._buffer:
            data = self._buffer + data
        try:
            answer = parse_answer(data)
        except BadAnswer:
            self.abort("bad_answer")
            return
        if answer is None:
            self._buffer = data
            return
        self._buffer = b""
        status, head, body = answer
        if self.request is None:
            self.abort("unasked_answer")
            return
        if b"connection: close" in head and self.transport is not None:
            self.closing_reason = "closed_by_server"
            self.transport.close()
        self.owner.answered(self, status, head, body)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the owner why (asyncio calls this)."""
        self.transport = None
        why = self.closing_reason or ("reset" if error else "closed_by_server")
        self.owner.lost(self, why)


def parse_answer(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return (status, head in lower case, body) of one whole answer, None while a part is missing.

    :raises BadAnswer: it is no HTTP/1.1 answer, has no length, or more follows than was asked for
    """
    end = data.find(HEAD_END)
    if end < 0:
        if data[:7] != b"HTTP/1."[: len(data)]:
            raise BadAnswer
        return None
    head = data[:end].lower()
    try:
        status = int(data[9:12])
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            return _chunked(status, head, data[end + 4 :])
        line_end = head.find(b"\r", at + 17)
        length = int(head[at + 17 : line_end if line_end > 0 else len(head)])
    except ValueError as error:
        raise BadAnswer from error
    missing = end + 4 + length - len(data)
    if missing > 0:
        return None
    if missing < 0:
        raise BadAnswer
    return status, head, data[end + 4 :]


def _chunked(status: int, head: bytes, data: bytes) -> tuple[int, bytes, bytes] | None:
    if status in (204, 304):
        return status, head, b""
    if b"transfer-encoding: chunked" not in head:
        raise BadAnswer
    body: list[bytes] = []
    at = 0
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        size = int(data[at:line_end].split(b";")[0], 16)
        start = line_end + 2
        if len(data) < start + size + 2:
            return None
        if size == 0:
            return status, head, b"".join(body)
        body.append(data[start : start + size])
        at = start + size + 2


def json_text(body: bytes, name: bytes) -> bytes:
    """Return the text value of the first field `name` in a JSON body without decoding it all, b"" without one."""
    at = body.find(b'"%s"' % name)
    if at < 0:
        return b""
    colon = body.find(b":", at + len(name) + 2)
    start = body.find(b'"', colon) + 1
    if colon < 0 or start == 0 or body[colon + 1 : start - 1].strip():
        return b""
    return body[start : body.find(b'"', start)]
