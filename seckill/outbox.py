"""The outbox stream: entries stay in it until every reservation in them has an outcome.

Without Kafka it is the order log itself, read by the group `orders`; with Kafka the group `relay` reads it.
"""

import os
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import redis

from orders.events import BadEntry, Entry, members_unpack
from orders.services.dead_letters import dead_letter_write
from seckill import keys
from seckill.store import SaleStore

CLAIM_AFTER_MS = 10_000  # an entry whose reader has been silent for so long is given to another
READ_COUNT = 64  # entries a read; at most 128 reservations each
Raw = tuple[bytes, dict[bytes, bytes]]


def entry_decode(raw: Raw) -> Entry:
    """Return the entry of one stream message.

    :raises BadEntry: a field is missing or has another form
    """
    entry_id, fields = raw
    try:
        members = members_unpack(fields[b"packed"])
        return Entry(entry_id.decode(), int(fields[b"campaign"]), int(fields[b"epoch"]), members)
    except (KeyError, ValueError) as error:
        raise BadEntry(f"outbox entry {entry_id!r}: {error!r}") from error


def entries_split(raws: Iterable[Raw]) -> tuple[list[Entry], list[tuple[Raw, BadEntry]]]:
    """Return the entries that can be read, and the messages that cannot with the reason."""
    entries, unreadable = [], []
    for raw in raws:
        try:
            entries.append(entry_decode(raw))
        except BadEntry as error:
            unreadable.append((raw, error))
    return entries, unreadable


def entries_decode(raws: Iterable[Raw]) -> list[Entry]:
    """Return the entries that can be read; each of the others becomes a dead letter and stays in the stream.

    So one broken entry holds up nobody else's, and its units stay counted as reserved until somebody looks.
    """
    entries, unreadable = entries_split(raws)
    for (entry_id, fields), error in unreadable:
        payload = b" ".join(b"%s=%s" % item for item in fields.items())
        dead_letter_write(source="outbox", entry=entry_id.decode(), payload=payload, error=str(error))
    return entries


def page_older_than(store: SaleStore, *, start: str = "-", until_ms: int, count: int) -> list[Raw]:
    """Return the oldest messages from `start` on that were written before `until_ms` (Valkey's clock)."""
    page: list[Raw] = store.client.xrange(keys.outbox_key(), min=start, max=str(until_ms), count=count)
    return page


def page_has_shrunk(store: SaleStore, page: Sequence[Raw]) -> bool:
    """Tell whether any message of a page has left the outbox since."""
    there = store.client.xrange(keys.outbox_key(), min=page[0][0], max=page[-1][0], count=len(page))
    return len(there) < len(page)


def entry_drop(store: SaleStore, entry: Entry) -> None:
    """Take an entry of an older epoch out, once every member has a row."""
    store.client.xdel(keys.outbox_key(), entry.entry_id)


def consumer_name() -> str:
    """Return a name that another process cannot have at the same time."""
    return f"{socket.gethostname()}-{os.getpid()}"


class GroupReader:
    """Reads the outbox as one member of a group: own pending entries first, then abandoned ones, then new ones."""

    def __init__(
        self, store: SaleStore, group: str, *, name: str | None = None, claim_after_ms: int = CLAIM_AFTER_MS
    ) -> None:
        self._store = store
        self.group = group
        self.name = name or consumer_name()
        self._claim_after_ms = claim_after_ms
        self._pending_from: str | None = "0"

    def retry(self) -> None:
        """Read own pending entries from their beginning again."""
        self._pending_from = "0"

    def read(self, *, timeout_seconds: float) -> list[Raw]:
        """Return the next messages; empty after the time-out."""
        try:
            return self._read(timeout_seconds)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._group_create()
            return self._read(timeout_seconds)

    def ack(self, entry_ids: Sequence[str]) -> None:
        """Note that these entries need not be delivered to this group again."""
        if entry_ids:
            self._store.client.xack(keys.outbox_key(), self.group, *entry_ids)

    def lag(self) -> int:
        """Return how many entries the group has not been given yet: all of them before its first read."""
        try:
            groups = self._store.client.xinfo_groups(keys.outbox_key())
        except redis.ResponseError:  # there is no stream yet
            return 0
        for group in groups:
            name = group.get("name", group.get(b"name"))
            if name in (self.group, self.group.encode()):
                return int(group.get("lag") or group.get(b"lag") or 0)
        return int(self._store.client.xlen(keys.outbox_key()))

    def _read(self, timeout_seconds: float) -> list[Raw]:
        if self._pending_from is not None:
            if own := self._read_own_pending(self._pending_from):
                return own
            self._pending_from = None
        if abandoned := self._claim():
            return abandoned
        block_ms = max(1, int(timeout_seconds * 1000))
        return self._messages(">", block_ms)

    def _read_own_pending(self, start: str) -> list[Raw]:
        messages = self._messages(start, None)
        if not messages:
            return []
        self._pending_from = messages[-1][0].decode()
        return self._alive(messages) or self._read_own_pending(self._pending_from)

    def _messages(self, start: str, block_ms: int | None) -> list[Raw]:
        reply: Any = self._store.client.xreadgroup(
            self.group, self.name, {keys.outbox_key(): start}, count=READ_COUNT, block=block_ms
        )
        return reply[0][1] if reply else []

    def _claim(self) -> list[Raw]:
        reply: Any = self._store.client.xautoclaim(
            keys.outbox_key(), self.group, self.name, min_idle_time=self._claim_after_ms, count=READ_COUNT
        )
        return self._alive(reply[1])

    def _alive(self, messages: list[Raw]) -> list[Raw]:
        """Return the messages that are still in the stream; the others are decided and leave the pending list."""
        self.ack([entry_id.decode() for entry_id, fields in messages if not fields])
        return [message for message in messages if message[1]]

    def _group_create(self) -> None:
        try:
            self._store.client.xgroup_create(keys.outbox_key(), self.group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


class StreamSource:
    """The stream as the consumer's source, where there is no Kafka."""

    name = "outbox"

    def __init__(
        self, store: SaleStore, *, name: str | None = None, claim_after_ms: int = CLAIM_AFTER_MS
    ) -> None:
        self._reader = GroupReader(store, "orders", name=name, claim_after_ms=claim_after_ms)

    def poll(self, *, timeout_seconds: float) -> list[Entry]:
        """Return the next entries; what cannot be read becomes a dead letter and is not delivered again."""
        raws = self._reader.read(timeout_seconds=timeout_seconds)
        entries = entries_decode(raws)
        readable = {entry.entry_id for entry in entries}
        self._reader.ack([name for name in (raw[0].decode() for raw in raws) if name not in readable])
        return entries

    def done(self, entries: Sequence[Entry]) -> None:
        """Acknowledge entries that are decided; the outcome scripts delete them."""
        self._reader.ack([entry.entry_id for entry in entries])

    def retry(self) -> None:
        """Deliver again what was polled and is not done."""
        self._reader.retry()

    def lag(self) -> int:
        """Return how many entries the group has not been given yet."""
        return self._reader.lag()

    def close(self) -> None:
        """Leave: what is pending is claimed by another after a while."""
