"""One load run: clients on kept-alive connections, requests taken from a schedule, answers recorded."""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.load.outcomes import RETRY_SECONDS, Recorder
from tests.load.schedule import arrivals, paced
from tests.load.wire import Connection, Messages, Request

TICK_SECONDS = 0.001
WATCH_SECONDS = 0.25
CONNECT_SECONDS = 5.0
DRAIN_SECONDS = 15.0
LATE_SECONDS = 0.005  # an arrival that waited longer than this for a free connection met an overload
clock = time.perf_counter


class TargetUnreachable(RuntimeError):
    """No connection to the shop could be made at the start."""


@dataclass(frozen=True)
class Plan:
    """How much to send and when. Rates are per second; `qps` 0: as fast as possible (closed loop only)."""

    url: str
    users: int
    requests: int
    qps: float
    seconds: float
    accounts: int
    open_loop: bool
    seed: int
    timeout_seconds: float
    give_up_seconds: float


@dataclass
class Timing:
    """When the run was, in seconds of `clock`, and what the driver itself spent."""

    started: float = 0.0
    last_answer: float = 0.0
    issued: int = 0
    driver_cpu_seconds: float = 0.0
    late_arrivals: int = 0
    given_up: int = 0
    reconnects: int = 0
    stopped_by: str = "requests"

    @property
    def seconds(self) -> float:
        """From the first sending to the last answer."""
        return max(self.last_answer - self.started, 1e-9)


class LoadRun:
    """Sends what the plan says and ends when every request is finished or the drain time is over.

    Closed loop: a client sends its next request when it has its answer and the pace allows. Open loop: requests
    are due by the clock; one that finds no free connection waits, and its wait counts as latency.
    """

    def __init__(self, *, plan: Plan, messages: Messages, recorder: Recorder) -> None:
        self.plan, self.messages, self.recorder = plan, messages, recorder
        self.timing = Timing()
        self._idle: deque[Connection] = deque()
        self._repeats: deque[Request] = deque()  # due again, waiting for a connection
        self._waiting: set[Request] = set()  # not yet due again
        self._connections = [Connection(self) for _ in range(plan.users)]
        self._connecting: set[asyncio.Task[None]] = set()
        self._running = self._stopping = self._ended = False
        self._due_times: Iterator[float] = iter(())
        self._next_due = 0.0

    async def run(self, *, started: Callable[[], None] = lambda: None) -> None:
        """Connect, send, wait for the answers. `started` is called when the first request is about to go.

        :raises TargetUnreachable: the shop does not accept connections
        """
        self._loop = asyncio.get_running_loop()
        self._done = self._loop.create_future()
        await self._connect_all()
        # Nothing here makes cycles: the collector would only add its pauses to the latencies.
        gc.collect()
        gc.freeze()
        gc.disable()
        cpu_before = time.process_time()
        try:
            started()
            self._start()
            await self._done
        finally:
            self._ended = True
            self.timing.driver_cpu_seconds = time.process_time() - cpu_before
            gc.enable()
            gc.unfreeze()
            self._close()

    def stop(self, reason: str = "interrupted") -> None:
        """Send no new requests; answers that are due are still waited for."""
        if self._stopping or self._ended:
            return
        self._stopping, self.timing.stopped_by = True, reason
        self._loop.call_later(DRAIN_SECONDS, self._end)
        self._end_if_finished()

    # ---- start and end

    async def _connect_all(self) -> None:
        results = await asyncio.gather(*map(self._open, self._connections), return_exceptions=True)
        failed = next((error for error in results if isinstance(error, BaseException)), None)
        if failed is not None:
            self._ended = True
            self._close()
            raise TargetUnreachable(f"{self.plan.url}: {failed}") from failed

    def _start(self) -> None:
        plan, now = self.plan, clock()
        self.timing.started = self.timing.last_answer = now
        if plan.open_loop:
            self._due_times = arrivals(start=now, qps=plan.qps, seed=plan.seed)
        else:
            self._due_times = paced(start=now, qps=plan.qps)
        self._next_due = next(self._due_times)
        self._running = True
        if plan.seconds:
            self._loop.call_later(plan.seconds, self.stop, "seconds")
        self._loop.call_later(WATCH_SECONDS, self._watch)
        self._tick()

    def _end_if_finished(self) -> None:
        exhausted = self._stopping or self.timing.issued >= self.plan.requests
        if exhausted and self.recorder.finished >= self.timing.issued - self.timing.given_up:
            self._end()

    def _end(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _close(self) -> None:
        for task in self._connecting:
            task.cancel()
        for connection in self._connections:
            if connection.request is not None:
                self.recorder.abandon(connection.request)
                connection.request = None
            connection.abort("run_ended")
        for request in (*self._repeats, *self._waiting):
            self.recorder.abandon(request)

    # ---- sending

    def _take(self, now: float) -> Request | None:
        """Return the next request that is due, None when there is none."""
        if self._repeats:
            return self._repeats.popleft()
        timing, plan = self.timing, self.plan
        while self._next_due <= now and not self._stopping and timing.issued < plan.requests:
            number, due = timing.issued, self._next_due
            timing.issued += 1
            self._next_due = next(self._due_times)
            if not plan.open_loop:
                return Request(number, number % plan.accounts, now)
            if now - due > LATE_SECONDS:
                timing.late_arrivals += 1
            if now - due <= plan.give_up_seconds:
                return Request(number, number % plan.accounts, due)
            timing.given_up += 1
        return None

    def _tick(self) -> None:
        if self._ended:
            return
        now = clock()
        while self._idle:
            request = self._take(now)
            if request is None:
                break
            self._send(self._idle.popleft(), request, now)
        self._end_if_finished()
        self._loop.call_later(max(TICK_SECONDS, min(self._next_due - now, 0.02)), self._tick)

    def _send(self, connection: Connection, request: Request, now: float) -> None:
        connection.send(request, self.messages.build(request), now)

    def _free(self, connection: Connection, now: float) -> None:
        """Give the connection what is due, or let it wait."""
        if not self._running or connection.held or connection.transport is None:
            return
        request = None if connection.transport.is_closing() else self._take(now)
        if request is not None:
            self._send(connection, request, now)
        elif not connection.transport.is_closing():
            self._idle.append(connection)

    # ---- what the connections tell

    def connected(self, connection: Connection) -> None:
        """Use a connection that is up (again)."""
        if self._running:
            self._free(connection, clock())
        else:
            self._idle.append(connection)

    def answered(self, connection: Connection, status: int, head: bytes, body: bytes) -> None:
        """Record an answer and let the client go on."""
        request = connection.request
        assert request is not None
        now = clock()
        connection.request = None
        self.timing.last_answer = now
        wait = self.recorder.answer(request, now - request.clock_from, status, head, body)
        if wait is not None:
            self._repeat_later(connection, request, wait)
        elif self._stopping or self.timing.issued >= self.plan.requests:
            self._end_if_finished()
        self._free(connection, now)

    def lost(self, connection: Connection, why: str) -> None:
        """Record a request that the lost connection carried, and connect again."""
        request, connection.request = connection.request, None
        if self._ended:
            return
        if request is not None:
            wait = self.recorder.error(request, why)
            if wait is not None:
                self._repeat_later(connection, request, wait)
            self._end_if_finished()
        elif connection in self._idle:
            self._idle.remove(connection)
        self.timing.reconnects += 1
        task = self._loop.create_task(self._reconnect(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _repeat_later(self, connection: Connection, request: Request, wait_seconds: float) -> None:
        """Have the same request sent again later; in a closed loop its client does nothing else meanwhile."""
        request.attempts += 1
        self._waiting.add(request)
        connection.held = not self.plan.open_loop
        self._loop.call_later(wait_seconds, self._repeat, connection, request)

    def _repeat(self, connection: Connection, request: Request) -> None:
        if self._ended:
            return
        self._waiting.discard(request)
        now = request.clock_from = clock()
        self._repeats.append(request)
        if connection.held:
            connection.held = False
            self._free(connection, now)

    # ---- connections

    async def _open(self, connection: Connection) -> None:
        target = urlsplit(self.plan.url)
        port = target.port or (443 if target.scheme == "https" else 80)
        secure = True if target.scheme == "https" else None
        async with asyncio.timeout(CONNECT_SECONDS):
            await self._loop.create_connection(
                lambda: connection, target.hostname or "127.0.0.1", port, ssl=secure
            )

    async def _reconnect(self, connection: Connection) -> None:
        pause = RETRY_SECONDS / 4
        while not self._ended:
            try:
                await self._open(connection)
            except (OSError, TimeoutError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
            else:
                return

    def _watch(self) -> None:
        """Give up connections whose answer is overdue."""
        if self._ended:
            return
        overdue = clock() - self.plan.timeout_seconds
        for connection in self._connections:
            if connection.request is not None and connection.sent_at < overdue:
                connection.abort("timeout")
        self._loop.call_later(WATCH_SECONDS, self._watch)
