"""Joins requests that arrive while calls are in flight into the next call."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shop.resilience.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class BatcherFull(Unavailable):
    """As many items wait as may wait; this one was not taken and nothing was sent."""

    code = "busy"
    message = "Too many are asking at this moment. Try again shortly."


class BatcherClosed(Unavailable):
    """The process is stopping; the item was not sent."""

    code = "busy"
    message = "This server is restarting. Try again shortly."


class Overdue(Unavailable):
    """The deadline passed while it waited for its turn; it was never started."""

    code = "busy"
    message = "This took too long to be started. Try again shortly."


class CallBroken(Exception):
    """The call was made and gave no usable answers: what became of its items is unknown."""


class Batcher(Generic[Item, Answer]):
    """Group commit for one remote call: whoever comes while calls are in flight shares the next one.

    There is no timer. An idle batcher sends on the next turn of the loop, a busy one fills its next call with all
    that has come meanwhile, so batches grow with the load and a lone item waits for nobody.
    Belongs to one event loop. Source: group commit, DeWitt et al., "Implementation techniques for main memory
    database systems", SIGMOD 1984, section 5.2.
    """

    __slots__ = (
        "_batch_max",
        "_call",
        "_calls",
        "_calls_max",
        "_closed",
        "_drains",
        "_starting",
        "_waiting",
        "_waiting_max",
    )

    def __init__(
        self,
        call: Callable[[list[Item]], Awaitable[Sequence[Answer]]],
        *,
        batch_max: int = 128,
        calls_in_flight: int = 2,
        waiting_max: int = 20_000,
    ) -> None:
        """Take the call, which gets 1 to batch_max items and must end by a time-out of its own."""
        if min(batch_max, calls_in_flight, waiting_max) < 1:
            raise ValueError("batch_max, calls_in_flight and waiting_max must be at least 1")
        self._call = call
        self._batch_max = batch_max
        self._calls_max = calls_in_flight
        self._waiting_max = waiting_max
        self._waiting: deque[tuple[Item, float, asyncio.Future[Answer]]] = deque()
        self._drains: set[asyncio.Task[None]] = set()
        self._calls = 0  # not len(_drains): a task that has ended leaves the set a turn of the loop later
        self._starting = False  # a drain is scheduled and has not taken its items yet
        self._closed = False

    @property
    def waiting(self) -> int:
        """Items not sent yet, those included whose waiter has gone."""
        return len(self._waiting)

    @property
    def calls(self) -> int:
        """Calls in flight or about to be made."""
        return self._calls

    def submit(self, item: Item, deadline: float) -> asyncio.Future[Answer]:
        """Queue the item for the next call and return the future of its answer.

        deadline: `time.monotonic()` seconds; an item not sent by then gets Overdue and is never sent.
        The future raises Overdue, BatcherClosed (both: not sent) or what the call raised (unknown).

        :raises BatcherFull: waiting_max items wait already
        :raises BatcherClosed: close() was called
        """
        waiting = self._waiting
        if len(waiting) >= self._waiting_max:
            raise BatcherFull
        if self._closed:
            raise BatcherClosed
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting.append((item, deadline, future))
        if not self._starting and self._calls < self._calls_max:
            self._start()
        return future

    async def close(self) -> None:
        """Reject what waits with BatcherClosed and return when the calls in flight have ended."""
        self._reject_waiting()
        if self._drains:
            await asyncio.wait(set(self._drains))

    def _start(self) -> None:
        self._starting = True
        self._calls += 1
        drain = asyncio.get_running_loop().create_task(self._drain())
        self._drains.add(drain)  # the loop itself keeps only a weak reference
        drain.add_done_callback(self._ended)

    def _ended(self, drain: asyncio.Task[None]) -> None:
        self._drains.discard(drain)
        if drain.cancelled():
            # Nothing cancels a drain but the end of its loop; it may even come before the drain's first line.
            self._starting = False
            self._reject_waiting()

    def _reject_waiting(self) -> None:
        self._closed = True
        while self._waiting:
            _item, _deadline, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(BatcherClosed())

    async def _drain(self) -> None:
        try:
            while True:
                items, futures = self._take()
                self._starting = False
                if not items:
                    return
                if self._waiting and self._calls < self._calls_max:
                    self._start()
                await self._send(items, futures)
                if not self._waiting or self._starting:
                    return
        finally:
            self._calls -= 1

    def _take(self) -> tuple[list[Item], list[asyncio.Future[Answer]]]:
        now = time.monotonic()
        popleft, batch_max = self._waiting.popleft, self._batch_max
        items: list[Item] = []
        futures: list[asyncio.Future[Answer]] = []
        while self._waiting and len(items) < batch_max:
            item, deadline, future = popleft()
            if future.done():  # its client has gone
                continue
            if deadline <= now:
                future.set_exception(Overdue())
                continue
            items.append(item)
            futures.append(future)
        return items, futures

    async def _send(self, items: list[Item], futures: list[asyncio.Future[Answer]]) -> None:
        try:
            answers = await self._call(items)
            if len(answers) != len(futures):
                raise CallBroken(f"{len(answers)} answers to {len(futures)} items")
        except BaseException as error:
            _fail(futures, error)
            task = asyncio.current_task()
            own_end = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()
            if own_end or isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return
        for future, answer in zip(futures, answers, strict=True):
            if not future.done():
                future.set_result(answer)


def _fail(futures: list[asyncio.Future[Answer]], error: BaseException) -> None:
    """Resolve every waiter with the error; what a future refuses or a waiter would mistake is wrapped."""
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        broken = CallBroken(f"the call ended with {type(error).__name__}")
        broken.__cause__ = error
        error = broken
    for future in futures:
        if not future.done():
            future.set_exception(error)
