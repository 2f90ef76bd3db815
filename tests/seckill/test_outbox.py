"""The outbox as a log with readers: nothing is skipped, and what is decided asks for nobody's attention."""

import time
from typing import Any

import pytest
import redis

from orders.events import BadEntry, Entry, Member, members_pack
from orders.models import DeadLetter
from seckill import keys, outbox
from seckill.outbox import GroupReader, StreamSource, entry_decode
from seckill.store import SaleStore
from tests.services.valkey import ValkeyServer

MEMBER = Member(b"r" * 16, 42, 2)
PACKED = members_pack([MEMBER])
CLAIM_MS = 80


@pytest.fixture
def store(valkey_server: ValkeyServer) -> SaleStore:
    valkey_server.clear()
    return SaleStore(valkey_server.url, verify=False)


def entry_add(store: SaleStore, **changes: object) -> str:
    """Append one entry as `reserve.lua` does; return its id."""
    fields = {"v": 1, "campaign": 7, "epoch": 3, "packed": PACKED} | changes
    return store.client.xadd(keys.outbox_key(), fields).decode()


def reader(store: SaleStore, name: str = "a", claim_after_ms: int = CLAIM_MS) -> GroupReader:
    return GroupReader(store, "orders", name=name, claim_after_ms=claim_after_ms)


def ids(raws: list[outbox.Raw]) -> list[str]:
    return [entry_id.decode() for entry_id, _ in raws]


def pending(store: SaleStore) -> list[tuple[str, str]]:
    """Return (entry, reader) of what was delivered and not acknowledged."""
    rows = store.client.xpending_range(keys.outbox_key(), "orders", "-", "+", 100)
    return [(row["message_id"].decode(), row["consumer"].decode()) for row in rows]


def read(reader: GroupReader) -> list[str]:
    return ids(reader.read(timeout_seconds=0.01))


# ---- one entry ----


def test_entry_decode_reads_what_the_script_writes() -> None:
    raw = (b"17-4", {b"v": b"1", b"campaign": b"7", b"epoch": b"3", b"packed": PACKED})
    assert entry_decode(raw) == Entry("17-4", 7, 3, (MEMBER,))


@pytest.mark.parametrize(
    "changes",
    [
        {b"campaign": None},
        {b"epoch": None},
        {b"packed": None},
        {b"campaign": b"seven"},
        {b"epoch": b""},
        {b"packed": b""},
        {b"packed": PACKED[:-1]},
        {b"packed": PACKED + b"x"},
    ],
)
def test_entry_decode_refuses_what_it_cannot_read(changes: dict[bytes, bytes | None]) -> None:
    fields = {b"v": b"1", b"campaign": b"7", b"epoch": b"3", b"packed": PACKED} | changes
    with pytest.raises(BadEntry, match="17-4"):
        entry_decode((b"17-4", {name: value for name, value in fields.items() if value is not None}))


def test_page_older_than_takes_the_oldest_before_the_moment(store: SaleStore) -> None:
    for ms in (1000, 2000, 3000):
        store.client.xadd(keys.outbox_key(), {"campaign": 7, "epoch": 1, "packed": PACKED}, id=f"{ms}-1")

    def page(**words: Any) -> list[str]:
        return ids(outbox.page_older_than(store, **words))

    assert page(until_ms=2000, count=9) == ["1000-1", "2000-1"]
    assert page(until_ms=9999, count=1) == ["1000-1"]
    assert page(until_ms=9999, count=9, start="(1000-1") == ["2000-1", "3000-1"]
    assert page(until_ms=999, count=9) == []


def test_page_has_shrunk_when_one_of_its_entries_has_left(store: SaleStore) -> None:
    written = [entry_add(store) for _ in range(4)]
    page = outbox.page_older_than(store, until_ms=10**15, count=3)
    assert outbox.page_has_shrunk(store, page) is False
    store.client.xdel(keys.outbox_key(), written[3])
    assert outbox.page_has_shrunk(store, page) is False
    store.client.xdel(keys.outbox_key(), written[1])
    assert outbox.page_has_shrunk(store, page) is True


def test_entry_drop_takes_out_that_entry_alone(store: SaleStore) -> None:
    first, second = entry_add(store), entry_add(store)
    outbox.entry_drop(store, Entry(first, 7, 3, (MEMBER,)))
    assert ids(store.client.xrange(keys.outbox_key())) == [second]


# ---- the group's reader ----


def test_group_begins_at_zero_so_nothing_before_it_is_lost(store: SaleStore) -> None:
    written = [entry_add(store) for _ in range(3)]
    assert read(reader(store)) == written


def test_group_is_made_before_the_first_entry_too(store: SaleStore) -> None:
    assert read(reader(store)) == []
    written = entry_add(store)
    assert read(reader(store)) == [written]


def test_group_that_vanished_with_its_server_begins_at_zero_again(store: SaleStore) -> None:
    first = reader(store)
    entry_add(store)
    first.ack(read(first))
    store.client.flushall()
    written = entry_add(store)
    assert read(first) == [written]


def test_reader_leaves_other_errors_to_its_caller(store: SaleStore) -> None:
    store.client.set(keys.outbox_key(), "not a stream")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        read(reader(store))


def test_reader_takes_its_own_pending_then_abandoned_then_new(store: SaleStore) -> None:
    abandoned = entry_add(store)
    assert read(reader(store, "dead")) == [abandoned]
    own = entry_add(store)
    assert read(reader(store, "a", claim_after_ms=60_000)) == [own]
    time.sleep(CLAIM_MS / 1000 + 0.02)
    new = entry_add(store)

    restarted = reader(store, "a")
    order = []
    for _ in range(4):
        delivered = read(restarted)
        order.append(delivered)
        restarted.ack(delivered)

    assert order == [[own], [abandoned], [new], []]
    assert pending(store) == []


def test_reader_leaves_to_another_what_is_not_abandoned_yet(store: SaleStore) -> None:
    written = entry_add(store)
    read(reader(store, "busy"))
    assert read(reader(store, "a", claim_after_ms=60_000)) == []
    assert pending(store) == [(written, "busy")]


def test_claimed_entry_belongs_to_who_claimed_it(store: SaleStore) -> None:
    written = entry_add(store)
    read(reader(store, "dead"))
    time.sleep(CLAIM_MS / 1000 + 0.02)
    assert read(reader(store, "a")) == [written]
    assert pending(store) == [(written, "a")]


def test_own_deleted_entries_leave_the_pending_list(store: SaleStore) -> None:
    first, second = entry_add(store), entry_add(store)
    read(reader(store))
    store.client.xdel(keys.outbox_key(), first)

    assert read(reader(store)) == [second]
    assert pending(store) == [(second, "a")]


def test_reader_whose_pending_entries_are_all_deleted_goes_on_with_new_ones(
    store: SaleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "READ_COUNT", 2)  # so that there are several pages of them
    gone = [entry_add(store) for _ in range(5)]
    first = reader(store)
    while read(first):
        pass
    store.client.xdel(keys.outbox_key(), *gone)
    new = entry_add(store)

    assert read(reader(store)) == [new]
    assert pending(store) == [(new, "a")]


def test_abandoned_deleted_entries_leave_the_pending_list(store: SaleStore) -> None:
    gone = entry_add(store)
    read(reader(store, "dead"))
    store.client.xdel(keys.outbox_key(), gone)
    time.sleep(CLAIM_MS / 1000 + 0.02)

    assert read(reader(store, "a")) == []
    assert pending(store) == []


def test_retry_delivers_again_what_was_not_acknowledged(store: SaleStore) -> None:
    first, second = entry_add(store), entry_add(store)
    one = reader(store)
    assert read(one) == [first, second]
    one.ack([first])
    assert read(one) == []
    one.retry()
    assert read(one) == [second]


def test_two_readers_share_the_entries(store: SaleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "READ_COUNT", 2)
    written = [entry_add(store) for _ in range(4)]
    assert read(reader(store, "a")) == written[:2]
    assert read(reader(store, "b")) == written[2:]


def test_ack_of_nothing_asks_nothing(store: SaleStore) -> None:
    reader(store).ack([])
    assert store.client.exists(keys.outbox_key()) == 0


def test_lag_counts_what_was_not_delivered(store: SaleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "READ_COUNT", 2)
    one = reader(store)
    assert one.lag() == 0
    for _ in range(3):
        entry_add(store)
    assert one.lag() == 3  # a group that was never made has been given nothing
    read(one)
    assert one.lag() == 1
    one.ack(read(one))
    assert one.lag() == 0


# ---- as the consumer's source ----


def test_stream_source_delivers_until_done(store: SaleStore) -> None:
    written = entry_add(store)
    source = StreamSource(store, name="a")
    entries = source.poll(timeout_seconds=0.01)
    assert entries == [Entry(written, 7, 3, (MEMBER,))]
    source.retry()
    assert source.poll(timeout_seconds=0.01) == entries
    source.done(entries)
    source.retry()
    assert source.poll(timeout_seconds=0.01) == []
    assert source.lag() == 0
    assert ids(store.client.xrange(keys.outbox_key())) == [written]  # the outcome deletes it, not the reader


@pytest.mark.django_db
def test_stream_source_goes_on_behind_an_entry_that_cannot_be_read(store: SaleStore) -> None:
    bad, good = entry_add(store, packed=b"xyz"), entry_add(store)
    source = StreamSource(store, name="a")

    assert [entry.entry_id for entry in source.poll(timeout_seconds=0.01)] == [good]

    letter = DeadLetter.objects.get()
    assert (letter.source, letter.entry, letter.attempts) == ("outbox", bad, 1)
    assert "3 bytes" in letter.error
    assert b"xyz".hex() in letter.payload
    assert pending(store) == [(good, "a")]
    assert ids(store.client.xrange(keys.outbox_key())) == [bad, good]  # kept for diagnosis


@pytest.mark.django_db
def test_entries_decode_counts_how_often_it_met_what_it_cannot_read(store: SaleStore) -> None:
    bad, good = entry_add(store, campaign="?"), entry_add(store)
    for _ in range(2):
        found = outbox.entries_decode(store.client.xrange(keys.outbox_key()))
        assert [entry.entry_id for entry in found] == [good]
    letter = DeadLetter.objects.get()
    assert (letter.entry, letter.attempts) == (bad, 2)
