"""The batcher: who shares a call, and that nobody is left without an answer."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop.resilience.batcher import Batcher, BatcherClosed, BatcherFull, CallBroken, Overdue


def far() -> float:
    """A deadline that no test reaches."""
    return time.monotonic() + 60


class HeldCalls:
    """A call that records its batches and answers, item times ten, when the test lets it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gates: list[asyncio.Event] = []

    async def __call__(self, items: list[int]) -> Sequence[int]:
        gate = asyncio.Event()
        self.batches.append(list(items))
        self.gates.append(gate)
        await gate.wait()
        return [item * 10 for item in items]


async def turns(count: int = 10) -> None:
    """Let the loop turn a few times."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_batcher_joins_what_arrives_while_calls_are_in_flight():
    async def scenario() -> None:
        calls = HeldCalls()
        batcher = Batcher(calls, batch_max=3, calls_in_flight=2)
        first = batcher.submit(1, far())
        await turns()
        second = batcher.submit(2, far())
        await turns()
        rest = [batcher.submit(item, far()) for item in range(3, 8)]
        await turns()
        assert calls.batches == [[1], [2]]
        assert (batcher.calls, batcher.waiting) == (2, 5)

        calls.gates[0].set()
        assert await first == 10
        await turns()
        assert calls.batches == [[1], [2], [3, 4, 5]]
        assert not second.done()

        calls.gates[1].set()
        assert await second == 20
        await turns()
        assert calls.batches == [[1], [2], [3, 4, 5], [6, 7]]
        calls.gates[2].set()
        calls.gates[3].set()
        assert await asyncio.gather(*rest) == [30, 40, 50, 60, 70]
        await turns()
        assert (batcher.calls, batcher.waiting) == (0, 0)

    asyncio.run(scenario())


def test_batcher_sends_what_one_turn_of_the_loop_brings_as_one_call():
    async def scenario() -> None:
        calls = HeldCalls()
        batcher = Batcher(calls, calls_in_flight=2)
        answers = [batcher.submit(item, far()) for item in range(5)]
        assert batcher.calls == 1  # and no second drain that would find nothing
        await turns()
        assert calls.batches == [[0, 1, 2, 3, 4]]
        calls.gates[0].set()
        assert await asyncio.gather(*answers) == [0, 10, 20, 30, 40]

    asyncio.run(scenario())


def test_batcher_splits_a_crowd_over_both_calls():
    async def scenario() -> None:
        calls = HeldCalls()
        batcher = Batcher(calls, batch_max=4, calls_in_flight=2)
        for item in range(10):
            batcher.submit(item, far())
        await turns()
        assert calls.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert batcher.waiting == 2
        calls.gates[1].set()
        await turns()
        assert calls.batches[2:] == [[8, 9]]
        calls.gates[0].set()
        calls.gates[2].set()
        await batcher.close()

    asyncio.run(scenario())


def test_batcher_starts_again_in_the_turn_in_which_the_last_call_ended():
    """An item that comes between a drain's end and its done-callback must not be forgotten."""

    async def scenario() -> None:
        async def echo(items: list[int]) -> list[int]:
            return items

        batcher = Batcher(echo, calls_in_flight=1)
        late: list[asyncio.Future[int]] = []
        first = batcher.submit(1, far())
        first.add_done_callback(lambda _future: late.append(batcher.submit(2, far())))
        await first
        await turns()
        assert await asyncio.wait_for(late[0], 1) == 2

    asyncio.run(scenario())


def test_batcher_refuses_at_once_when_full():
    async def scenario() -> None:
        calls = HeldCalls()
        batcher = Batcher(calls, calls_in_flight=1, waiting_max=2)
        answers = [batcher.submit(1, far())]
        await turns()
        answers += [batcher.submit(2, far()), batcher.submit(3, far())]
        with pytest.raises(BatcherFull) as refusal:
            batcher.submit(4, far())
        assert (refusal.value.status, refusal.value.code, refusal.value.retry_after_seconds) == (
            503,
            "busy",
            1,
        )
        calls.gates[0].set()
        await turns()
        calls.gates[1].set()
        assert await asyncio.gather(*answers) == [10, 20, 30]
        assert calls.batches == [[1], [2, 3]]

    asyncio.run(scenario())


def test_batcher_never_sends_overdue_or_cancelled_items():
    async def scenario() -> None:
        calls = HeldCalls()
        batcher = Batcher(calls, calls_in_flight=1, batch_max=2)
        first = batcher.submit(1, far())
        await turns()
        overdue = batcher.submit(2, time.monotonic())
        gone = batcher.submit(3, far())
        kept = [batcher.submit(4, far()), batcher.submit(5, far())]
        gone.cancel()
        calls.gates[0].set()
        await first
        await turns()
        assert calls.batches == [[1], [4, 5]]
        with pytest.raises(Overdue):
            await overdue
        calls.gates[1].set()
        assert await asyncio.gather(*kept) == [40, 50]

    asyncio.run(scenario())


class Odd(Exception):
    """A failure of the call."""


async def _raise(_items: list[int]) -> list[int]:
    raise Odd("lost")


async def _too_few(items: list[int]) -> list[int]:
    return items[1:]


async def _none(_items: list[int]) -> list[int]:
    return None  # type: ignore[return-value]


async def _cancelled(_items: list[int]) -> list[int]:
    raise asyncio.CancelledError


def _stop(_items: list[int]):
    raise StopIteration


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (_raise, Odd),
        (_too_few, CallBroken),
        (_none, TypeError),
        (_cancelled, CallBroken),
        (_stop, CallBroken),
    ],
)
def test_batcher_gives_every_waiter_the_failure_and_goes_on(call, expected):
    async def scenario() -> None:
        broken = True

        async def sometimes(items: list[int]) -> list[int]:
            return await call(items) if broken else items

        batcher = Batcher(sometimes if call is not _stop else call, batch_max=2)
        answers = [batcher.submit(item, far()) for item in range(5)]
        outcomes = await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), 2)
        assert [type(outcome) for outcome in outcomes] == [expected] * 5
        await turns()
        assert (batcher.calls, batcher.waiting) == (0, 0)
        broken = False
        if call is not _stop:
            assert await batcher.submit(7, far()) == 7

    asyncio.run(scenario())


def test_batcher_close_rejects_the_waiting_and_waits_for_the_sent():
    async def scenario() -> None:
        calls = HeldCalls()
        batcher = Batcher(calls, calls_in_flight=1)
        sent = batcher.submit(1, far())
        await turns()
        waiting = batcher.submit(2, far())
        closing = asyncio.create_task(batcher.close())
        await turns()
        with pytest.raises(BatcherClosed):
            await waiting
        assert not closing.done()
        calls.gates[0].set()
        await closing
        assert await sent == 10
        assert calls.batches == [[1]]
        with pytest.raises(BatcherClosed):
            batcher.submit(3, far())

    asyncio.run(scenario())


@pytest.mark.parametrize("turns_before", [0, 3])
def test_batcher_leaves_nobody_waiting_when_its_tasks_are_cancelled(turns_before):
    """As at the end of a loop; with no turn before it, the drain has not begun its first line."""

    async def scenario() -> None:
        batcher = Batcher(HeldCalls(), calls_in_flight=1, batch_max=1)
        answers = [batcher.submit(1, far()), batcher.submit(2, far())]
        await turns(turns_before)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        outcomes = await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), 2)
        assert [type(outcome) for outcome in outcomes] == [
            CallBroken if turns_before else BatcherClosed,
            BatcherClosed,
        ]

    asyncio.run(scenario())


STEPS = st.lists(
    st.sampled_from(
        ["submit", "submit", "submit", "overdue", "cancel", "turn", "ok", "raise", "short", "cancel_call"]
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, batch_max=st.integers(1, 4), calls_in_flight=st.integers(1, 3), close=st.booleans())
def test_batcher_resolves_every_waiter_whatever_happens(steps, batch_max, calls_in_flight, close):
    async def scenario() -> None:
        sent: list[int] = []
        pending: list[asyncio.Future[str]] = []
        flying = 0

        async def call(items: list[int]) -> list[int]:
            nonlocal flying
            flying += 1
            assert flying <= calls_in_flight
            assert 1 <= len(items) <= batch_max
            sent.extend(items)
            gate = asyncio.get_running_loop().create_future()
            pending.append(gate)
            try:
                ending = await gate
            finally:
                flying -= 1
            if ending == "raise":
                raise Odd
            if ending == "cancel_call":
                raise asyncio.CancelledError
            return items[1:] if ending == "short" else items

        batcher = Batcher(call, batch_max=batch_max, calls_in_flight=calls_in_flight)
        futures: list[asyncio.Future[int]] = []
        for step in steps:
            if step in ("submit", "overdue"):
                futures.append(batcher.submit(len(futures), far() if step == "submit" else time.monotonic()))
            elif step == "cancel" and futures:
                futures[len(futures) // 2].cancel()
            elif step == "turn":
                await turns(2)
            elif step not in ("cancel", "turn") and pending:
                pending.pop(0).set_result(step)
        closing = asyncio.create_task(batcher.close()) if close else None
        for _ in range(len(futures) + 2):
            await turns(3)
            while pending:
                pending.pop().set_result("ok")
        if futures:
            await asyncio.wait(futures, timeout=2)
        assert all(future.done() for future in futures)
        assert len(sent) == len(set(sent)), "an item was sent twice"
        for item, future in enumerate(futures):
            if not future.cancelled() and future.exception() is None:
                assert future.result() == item
            elif not future.cancelled() and isinstance(future.exception(), Overdue | BatcherClosed):
                assert item not in sent
        if closing is not None:
            await asyncio.wait_for(closing, 2)
        await turns()
        assert (batcher.calls, batcher.waiting) == (0, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize("option", ["batch_max", "calls_in_flight", "waiting_max"])
def test_batcher_refuses_bounds_that_admit_nothing(option):
    with pytest.raises(ValueError, match="at least 1"):
        Batcher(HeldCalls(), **{option: 0})
