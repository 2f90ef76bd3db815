"""One request of the WSGI bridge: the thread that answers it and the loop that passes the answer on."""

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from shop.resilience.errors import Unavailable

Headers = list[tuple[str, str]]
Message = MutableMapping[str, Any]
CHUNKS_MAX = 8  # chunks of a streamed response that may wait for the loop
STALL_SECONDS = 10.0  # how long a thread that streams waits for the client to take a chunk

logger = logging.getLogger(__name__)


class ResponseBroken(Exception):
    """The application raised (the cause); `begun` tells whether part of its answer has been sent."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__("the application raised")
        self.begun = begun


class ClientGone(Exception):
    """Nobody takes the rest of a streamed response; raised in the thread, so that it stops making it."""


class Exchange:
    """A job of the pool that calls the WSGI application and hands what it yields to the event loop.

    Most responses come in one piece with a Content-Length: they cost one wake-up of the loop. Others are passed on
    chunk by chunk as PEP 3333 demands, and the thread waits when the loop is CHUNKS_MAX chunks behind.
    """

    __slots__ = (
        "_app",
        "_bytes_left",
        "_chunks",
        "_context",
        "_environ",
        "_error",
        "_finished",
        "_gone",
        "_headers",
        "_loop",
        "_posted",
        "_room",
        "_signalled",
        "_status",
        "_turn",
    )

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        environ: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
    ) -> None:
        self._app, self._environ, self._loop, self._context = app, environ, loop, context
        self._status = 0
        self._headers: Headers = []
        self._bytes_left: int | None = None  # of the Content-Length; None: unknown
        self._chunks: deque[tuple[bytes, bool]] = deque()  # body, whether it is the last
        self._posted = False  # the first chunk, and with it status and headers, are the loop's
        self._finished = False  # the last chunk or the error is the loop's
        self._error: BaseException | None = None
        self._signalled = False
        self._turn: asyncio.Future[None] = loop.create_future()
        self._room: threading.Semaphore | None = None
        self._gone = False

    # ---- in a thread of the pool

    def run(self) -> None:
        """Answer the request."""
        try:
            self._context.run(self._call)
        except BaseException as error:  # noqa: BLE001  the loop decides what the client is told
            self._fail(error)
        finally:
            self._environ["wsgi.input"].close()  # a large body lies in a temporary file

    def refuse(self, error: Unavailable) -> None:
        """Have the loop answer that the request was never started."""
        self._environ["wsgi.input"].close()
        self._fail(error)

    def _call(self) -> None:
        result = self._app(self._environ, self._start_response)
        try:
            for chunk in result:
                if chunk:
                    self._write(chunk)
            if not self._finished:
                self._post(b"", last=True)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info is not None and self._posted:
            raise exc_info[1].with_traceback(exc_info[2])
        self._status, self._headers, self._bytes_left = int(status[:3]), headers, None
        for name, value in headers:
            if len(name) == 14 and name.lower() == "content-length":
                self._bytes_left = int(value)
        return self._write

    def _write(self, chunk: bytes) -> None:
        if self._finished:
            return  # more than the Content-Length promised
        if self._bytes_left is not None:
            chunk = chunk[: self._bytes_left] if len(chunk) > self._bytes_left else chunk
            self._bytes_left -= len(chunk)
        self._post(chunk, last=self._bytes_left == 0)

    def _post(self, chunk: bytes, *, last: bool) -> None:
        if not self._status:
            raise RuntimeError("the application yielded before it called start_response")
        if not last:
            if self._room is None:
                self._room = threading.Semaphore(CHUNKS_MAX)
            if self._gone or not self._room.acquire(timeout=STALL_SECONDS) or self._gone:
                raise ClientGone
        self._posted, self._finished = True, last
        self._chunks.append((chunk, last))
        self._signal()

    def _fail(self, error: BaseException) -> None:
        if self._finished:  # the answer is out: what close() raises concerns only the log
            logger.error("The WSGI application raised after its response.", exc_info=error)
            return
        self._error, self._finished = error, True
        self._signal()

    def _signal(self) -> None:
        if not self._signalled:
            self._signalled = True
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop has ended, and with it everybody who could be answered
                self._gone = True

    # ---- in the event loop

    def _wake(self) -> None:
        self._signalled = False
        if not self._turn.done():
            self._turn.set_result(None)

    async def relay(
        self, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Pass the response on.

        :raises ResponseBroken: the application raised, or the pool refused the request (the cause)
        """
        watcher: asyncio.Task[None] | None = None
        begun = False
        try:
            while True:
                await self._turn
                self._turn = self._loop.create_future()
                while self._chunks:
                    chunk, last = self._chunks.popleft()
                    if not begun:
                        begun = True
                        await send(self._start_message())
                    await send({"type": "http.response.body", "body": chunk, "more_body": not last})
                    if last:
                        return
                    if self._room is not None:
                        self._room.release()
                    watcher = watcher or self._loop.create_task(self._watch(receive))
                if self._gone:
                    return
                if self._error is not None:
                    self._log(self._error)
                    raise ResponseBroken(begun=begun) from self._error
        finally:
            self._leave()
            if watcher is not None:
                watcher.cancel()

    def _start_message(self) -> Message:
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self._headers]
        return {"type": "http.response.start", "status": self._status, "headers": headers}

    async def _watch(self, receive: Callable[[], Awaitable[Message]]) -> None:
        """Notice that the client of a streamed response has gone: some servers let `send` succeed all the same."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._leave()
        self._wake()

    def _leave(self) -> None:
        """Tell the thread that nobody takes more chunks."""
        self._gone = True
        if self._room is not None:
            self._room.release(CHUNKS_MAX)

    def _log(self, error: BaseException) -> None:
        if not isinstance(error, Unavailable | ClientGone):
            logger.error("The WSGI application raised.", exc_info=error)
