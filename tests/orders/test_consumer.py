"""The consumer thread: whole entries, in order, done only after the commit; trouble means delivery again."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import OperationalError, connection

from orders import consumer as consumer_module
from orders.consumer import Consumer, batches
from orders.events import Entry, Member
from orders.models import Order, OrderStatus
from orders.tasks import place_orders
from seckill.outbox import StreamSource
from tests.seckill.live_sale import LiveSale
from tests.services.processes import wait_until
from tests.services.valkey import ValkeyServer


def entry(number: int, members: int = 1) -> Entry:
    return Entry(f"{number}-0", 7, 1, tuple(Member(bytes([number]) * 16, user, 1) for user in range(members)))


@dataclass
class ListSource:
    """A source in memory that keeps to the protocol: what was polled comes again until it is done."""

    entries: list[Entry]
    name: str = "list"
    happened: list[Any] = field(default_factory=list)
    at: int = 0
    broken: list[str] = field(default_factory=list)
    on_empty: Callable[[], None] = lambda: None

    def poll(self, *, timeout_seconds: float) -> list[Entry]:
        found = self.entries[self.at :]
        self.at = len(self.entries)
        if not found:
            self.on_empty()
        return found

    def done(self, entries: Sequence[Entry]) -> None:
        self._tell("done", [e.entry_id for e in entries])
        self.entries = self.entries[len(entries) :]
        self.at -= len(entries)

    def retry(self) -> None:
        self._tell("retry")
        self.at = 0

    def lag(self) -> int:
        return len(self.entries) - self.at

    def close(self) -> None:
        self.happened.append("close")

    def _tell(self, act: str, *facts: Any) -> None:
        self.happened.append((act, *facts) if facts else act)
        if act in self.broken:
            self.broken.remove(act)
            raise ConnectionError(act)


def run(source: ListSource, place: Callable[..., Any], **options: Any) -> Consumer:
    """Run a consumer in this thread until the source has nothing left."""
    consumer = Consumer(source, place, **options)
    source.on_empty = consumer.terminate
    consumer.run()
    return consumer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "RETRY_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(consumer_module, "close_old_connections", lambda: None)  # no database in most tests


# ---- batches ----


@pytest.mark.parametrize(
    ("sizes", "most", "expected"),
    [
        ([], 10, []),
        ([3, 3, 3], 10, [[3, 3, 3]]),
        ([5, 5, 1], 10, [[5, 5], [1]]),
        ([6, 5, 5, 6], 10, [[6], [5, 5], [6]]),
        ([12], 10, [[12]]),
        ([1, 12, 1], 10, [[1], [12], [1]]),
        ([128] * 8, 1000, [[128] * 7, [128]]),
    ],
)
def test_batches_are_whole_entries_in_order(sizes: list[int], most: int, expected: list[list[int]]) -> None:
    entries = [entry(number, size) for number, size in enumerate(sizes)]
    made = list(batches(entries, most))
    assert [[len(e.members) for e in batch] for batch in made] == expected
    assert [e for batch in made for e in batch] == entries


# ---- the thread ----


def test_consumer_places_batches_and_is_done_with_all_after_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "__defaults__", (2,))
    source = ListSource([entry(n) for n in range(5)])

    def place(*, entries: Sequence[Entry], source: str) -> None:
        listed.happened.append((source, [e.entry_id for e in entries]))

    listed = source
    consumer = run(source, place)
    assert source.happened == [
        ("list", ["0-0", "1-0"]),
        ("list", ["2-0", "3-0"]),
        ("list", ["4-0"]),
        ("done", ["0-0", "1-0", "2-0", "3-0", "4-0"]),
        "close",
    ]
    assert consumer.decided_entries == 5


def test_consumer_delivers_again_after_a_database_error(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ListSource([entry(1), entry(2)])
    answers = iter([OperationalError("gone"), OperationalError("gone"), None, None])
    waits: list[float] = []

    def place(*, entries: Sequence[Entry], source: str) -> None:
        if error := next(answers):
            raise error

    consumer = Consumer(source, place)
    monkeypatch.setattr(consumer._stop_asked, "wait", lambda seconds: waits.append(round(seconds, 4)))
    source.on_empty = consumer.terminate
    consumer.run()

    assert source.happened == ["retry", "retry", ("done", ["1-0", "2-0"]), "close"]
    assert waits == [0.001, 0.002]
    assert consumer.decided_entries == 2


def test_consumer_backs_off_up_to_a_longest_wait_and_starts_anew_after_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_module, "RETRY_LONGEST_SECONDS", 0.003)
    source = ListSource([entry(1)])
    waits: list[float] = []
    failures = iter([True] * 4 + [False, True, False])

    def place(*, entries: Sequence[Entry], source: str) -> None:
        if next(failures):
            raise OperationalError("gone")

    consumer = Consumer(source, place)
    monkeypatch.setattr(consumer._stop_asked, "wait", lambda seconds: waits.append(round(seconds, 4)))

    def once_more() -> None:
        source.entries, source.on_empty = [entry(2)], consumer.terminate

    source.on_empty = once_more
    consumer.run()
    assert waits == [0.001, 0.002, 0.003, 0.003, 0.001]


@pytest.mark.parametrize("act", ["done", "retry"])
def test_consumer_survives_a_source_that_fails(act: str) -> None:
    """`done` lost after the commit: the entries come again, which the judge takes for repeated."""
    source = ListSource([entry(1)], broken=[act])
    placed: list[str] = []
    answers = iter([OperationalError("gone") if act == "retry" else None, None, None])

    def place(*, entries: Sequence[Entry], source: str) -> None:
        if error := next(answers):
            raise error
        placed.extend(e.entry_id for e in entries)

    consumer = Consumer(source, place)
    source.on_empty = lambda: source.retry() if source.entries else consumer.terminate()
    consumer.run()
    assert placed == (["1-0", "1-0"] if act == "done" else ["1-0"])
    assert source.entries == []
    assert source.happened[-1] == "close"


def test_consumer_that_dies_takes_its_worker_down() -> None:
    source = ListSource([entry(1)])
    deaths: list[str] = []

    def place(*, entries: Sequence[Entry], source: str) -> None:
        raise SystemExit("torn out")

    with pytest.raises(SystemExit):
        run(source, place, on_death=lambda: deaths.append("worker"))
    assert deaths == ["worker"]
    assert source.happened == ["close"]


def test_consumer_that_dies_asks_its_own_process_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))

    def place(*, entries: Sequence[Entry], source: str) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        run(ListSource([entry(1)]), place)
    assert killed == [(os.getpid(), signal.SIGTERM)]


def test_consumer_ends_after_the_batch_in_hand() -> None:
    source = ListSource([entry(1)])
    placing, go_on = threading.Event(), threading.Event()

    def place(*, entries: Sequence[Entry], source: str) -> None:
        placing.set()
        assert go_on.wait(5)

    consumer = Consumer(source, place, on_death=lambda: None)
    consumer.start()
    assert placing.wait(5)
    consumer.terminate()
    go_on.set()
    consumer.join(5)
    assert not consumer.is_alive()
    assert source.happened == [("done", ["1-0"]), "close"]


# ---- with the real source and the real judge ----


class WatchedSource(StreamSource):
    """Notes, at each `done`, what the database shows to others."""

    seen: list[tuple[bool, list[str]]]

    def done(self, entries: Sequence[Entry]) -> None:
        rows = list(Order.objects.order_by("id").values_list("reservation_id", flat=True))
        self.seen.append((connection.in_atomic_block, rows))
        super().done(entries)


@pytest.mark.django_db(transaction=True)
def test_consumer_is_done_after_the_commit(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale = LiveSale(valkey_server, users=2)
    reservations = [sale.admit(user) for user in sale.users]
    source = WatchedSource(sale.store, name="test")
    source.seen = []
    failures = iter([True, False])

    def place(**words: Any) -> None:
        if next(failures):
            raise OperationalError("gone")
        place_orders(**words)

    consumer = Consumer(source, place, on_death=lambda: None)
    consumer.start()
    wait_until(lambda: consumer.decided_entries == 2, deadline_seconds=10, what="two entries decided")
    consumer.terminate()
    consumer.join(5)

    assert source.seen == [(False, reservations)]
    assert [order.status for order in Order.objects.all()] == [OrderStatus.PENDING] * 2
    assert sale.entries() == []
    assert sale.valkey() == (8, 0, 2, 10)
