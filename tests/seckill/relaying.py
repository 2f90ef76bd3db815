"""A broker that is played, and entries to relay; for what a real broker cannot be made to do at a chosen moment."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orders.events import Entry, Member, members_pack, record_decode
from seckill import keys
from seckill.store import SaleStore

MEMBER = Member(b"r" * 16, 42, 2)


class NotAcknowledged(Exception):
    """The broker has not taken a record, or its answer got lost."""


class Died(BaseException):
    """The process ends here: nothing of it runs on."""


@dataclass
class PlayedBroker:
    """The producer's interface as the relay uses it; each broker is its own producer.

    before_ack: called with the number of the record, from 1, before it is acknowledged; may raise.
    """

    before_ack: Callable[[int], None] = lambda number: None
    records: list[bytes] = field(default_factory=list)
    closed: int = 0

    def send(self, topic: str, *, value: bytes) -> "_Future":
        self.records.append(value)
        return _Future(self, len(self.records))

    def flush(self, timeout: float) -> None:
        pass

    def close(self, timeout: float) -> None:
        self.closed += 1

    def entries(self) -> list[Entry]:
        return [record_decode(value) for value in self.records]


@dataclass
class _Future:
    broker: PlayedBroker
    number: int

    def get(self, timeout: float) -> Any:
        self.broker.before_ack(self.number)


def entry_add(store: SaleStore, *, user_id: int = 42) -> Entry:
    """Append one entry as `reserve.lua` does and return it."""
    member = Member(user_id.to_bytes(16, "big"), user_id, 2)
    fields = {"v": 1, "campaign": 7, "epoch": 3, "packed": members_pack([member])}
    return Entry(store.client.xadd(keys.outbox_key(), fields).decode(), 7, 3, (member,))


def pending_ids(store: SaleStore) -> list[str]:
    """Return the entries that were given to a relay and not acknowledged."""
    rows = store.client.xpending_range(keys.outbox_key(), "relay", "-", "+", 10_000)
    return [row["message_id"].decode() for row in rows]
