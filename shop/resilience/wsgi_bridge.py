"""Serves a WSGI application from an ASGI server, beside other ASGI code in the same process.

Bodies are read on the loop before a thread is involved, so a slow upload holds no thread. Threads and queue are a
WorkerPool's: bounded, with a deadline for what waits. Why not a2wsgi: docs/adr/0004-wsgi-bridge.md.
"""

import asyncio
import contextvars
import functools
import html
import io
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import IO, Any, cast
from urllib.parse import unquote_to_bytes

from shop.resilience.errors import BadRequest, ShopError, error_body
from shop.resilience.worker_pool import WorkerPool
from shop.resilience.wsgi_exchange import Exchange, ResponseBroken

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Body = io.BytesIO | IO[bytes]

# A busy thread keeps the interpreter for this long while the event loop waits for it. At Python's default of 5 ms
# the loop beside two busy threads turns 110 times a second (p99 of its requests 93 ms), at this value 2,700 times
# (p99 4 ms). It is set only while a page is being made: alone, the loop is cheaper with Python's default.
SWITCH_INTERVAL_SECONDS = 0.0005
IDLE_SWITCH_INTERVAL_SECONDS = sys.getswitchinterval()

MAX_BODY_BYTES = 10 * 1024 * 1024  # the largest upload taken; Django bounds other bodies at 1 MiB
MEMORY_BODY_BYTES = 1024 * 1024  # more than this goes to a temporary file
BODY_SECONDS = 30.0  # a client that takes longer to send its body is turned away


class BodyTooLarge(ShopError):
    """The request's body is larger than the bridge takes."""

    status = 413
    code = "body_too_large"
    message = "The request body is too large."


class BodyBroken(BadRequest):
    """The body ended before it was complete, or its framing is wrong."""

    code = "malformed"
    message = "The request body is incomplete or broken."


class BodySlow(ShopError):
    """The body did not arrive in time."""

    status = 408
    code = "body_slow"
    message = "The request body took too long to arrive."


class ServerFault(ShopError):
    """The application raised before it began to answer."""

    status = 500


def plain_page(error: ShopError) -> str:
    """Return a small page for a refusal that no application code can render any more."""
    text = html.escape(str(error.message))
    return f'<!doctype html><meta charset="utf-8"><title>{error.status}</title><p>{text}</p>\n'


class WSGIBridge:
    """An ASGI application that runs a WSGI application in the threads of a pool.

    It answers for itself: 503 with Retry-After when the pool is full or the request waited too long there, 413,
    400, 408 for bad bodies, 500 when the application raises. Under /api/ that is `{"code", "message", "extra"}`,
    elsewhere a page. When the client goes away the work is finished and its answer dropped: a thread never waits
    for a client, except while it streams, and then at most `wsgi_exchange.STALL_SECONDS`.
    """

    def __init__(
        self,
        app: WSGIApp,
        *,
        pool: WorkerPool | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        body_seconds: float = BODY_SECONDS,
        page: Callable[[ShopError], str] = plain_page,
    ) -> None:
        """Take the application; by default a pool of 2 threads, 64 waiting requests, 5 s of waiting at most."""
        self.pool = pool or WorkerPool(threads=2, queue_max=64, max_wait_seconds=5.0, name="wsgi")
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds
        self._page = page
        self._in_threads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def close(self, *, timeout_seconds: float = 10.0) -> bool:
        """Take no more requests, finish those taken and return whether all threads ended in time."""
        self.pool.close()
        return await asyncio.to_thread(self.pool.join, timeout_seconds)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        environ = environ_build(scope)
        try:
            environ["wsgi.input"] = body = await self._body(environ, receive)
        except ShopError as error:
            await self._answer(scope, send, error)
            return
        exchange = Exchange(self._app, environ, asyncio.get_running_loop(), contextvars.copy_context())
        try:
            self.pool.enqueue(exchange)
        except ShopError as error:  # PoolFull, PoolClosed
            body.close()
            await self._answer(scope, send, error)
            return
        self._count(1)
        # Threads that hang must not hold up the refusal of what waits behind them.
        overdue = asyncio.get_running_loop().call_later(
            self.pool.max_wait_seconds + 0.01, lambda: self.pool.poll(time.monotonic())
        )
        try:
            await exchange.relay(receive, send)
        except ResponseBroken as broken:
            if broken.begun:
                raise  # only the server can still cut the connection, which tells the client
            cause = broken.__cause__
            await self._answer(scope, send, cause if isinstance(cause, ShopError) else ServerFault())
        finally:
            overdue.cancel()
            self._count(-1)

    def _count(self, change: int) -> None:
        """Note that a request has gone to the threads or come back, and set the interpreter's switch interval."""
        self._in_threads += change
        if self._in_threads == max(change, 0):
            busy = self._in_threads > 0
            sys.setswitchinterval(SWITCH_INTERVAL_SECONDS if busy else IDLE_SWITCH_INTERVAL_SECONDS)

    async def _body(self, environ: dict[str, Any], receive: Receive) -> Body:
        length = environ.get("CONTENT_LENGTH")
        if length is None:
            # Skipping the call saves a turn of the loop for most requests; in HTTP/2 a body may lack both headers.
            if "HTTP_TRANSFER_ENCODING" not in environ and environ["SERVER_PROTOCOL"].startswith("HTTP/1"):
                return io.BytesIO()
        elif not length.isdecimal():
            raise BodyBroken
        elif int(length) > self._max_body_bytes:
            raise BodyTooLarge
        try:
            async with asyncio.timeout(self._body_seconds):
                body, size = await self._read(receive)
        except TimeoutError as error:
            raise BodySlow from error
        environ["CONTENT_LENGTH"] = str(size)  # chunked bodies come without, and Django would read nothing
        return body

    async def _read(self, receive: Receive) -> tuple[Body, int]:
        """Return the body and its length; one that comes in a single message needs no file."""
        message = await self._body_message(receive)
        first = message.get("body", b"")
        if len(first) > self._max_body_bytes:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return io.BytesIO(first), len(first)
        body = cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=MEMORY_BODY_BYTES))  # noqa: SIM115
        size = body.write(first)
        try:
            while message.get("more_body", False):
                message = await self._body_message(receive)
                size += body.write(message.get("body", b""))
                if size > self._max_body_bytes:
                    raise BodyTooLarge
            body.seek(0)
        except BaseException:
            body.close()
            raise
        return body, size

    @staticmethod
    async def _body_message(receive: Receive) -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyBroken  # the client left, or sent a broken chunk and waits for an answer
        return message

    async def _answer(self, scope: Scope, send: Send, error: ShopError) -> None:
        request_id = uuid.uuid4().hex
        if scope["path"].startswith("/api/"):
            shape = error_body(error, request_id=request_id)
            body, kind = json.dumps(shape, ensure_ascii=False).encode(), b"application/json"
        else:
            body, kind = self._page(error).encode(), b"text/html; charset=utf-8"
        headers = [
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request_id.encode()),
        ]
        if error.retry_after_seconds is not None:
            headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
        if error.status in (400, 408, 413) and scope["http_version"].startswith("1"):
            headers.append((b"connection", b"close"))  # the rest of the body may still be on its way
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


@functools.lru_cache(maxsize=256)  # bounded: clients choose the names
def _environ_name(header: bytes) -> str | None:
    """Return the header's key in a WSGI environ; None if it has an underscore, which would pass for a hyphen."""
    if b"_" in header:
        return None
    name = header.decode("latin-1").upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"


def environ_build(scope: Scope) -> dict[str, Any]:
    """Return the WSGI environ of an ASGI HTTP scope, without wsgi.input (PEP 3333)."""
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    path = (unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path).decode("latin-1")
    root: str = scope.get("root_path", "")
    server = scope.get("server") or ("localhost", "80")
    client = scope.get("client") or ("", "0")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root,
        "PATH_INFO": path[len(root) :] or "/" if root and path.startswith(root) else path,
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    for header, value in scope["headers"]:
        name = _environ_name(header)
        if name is None:
            continue
        text = value.decode("latin-1")
        if name in environ:
            text = f"{environ[name]}{'; ' if name == 'HTTP_COOKIE' else ','}{text}"
        environ[name] = text
    return environ
