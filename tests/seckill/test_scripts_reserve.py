"""Every answer of reserve.lua, on a real server; a refusal writes nothing."""

import time
from collections.abc import Iterator

import pytest
import redis

from orders.events import Member
from seckill import keys
from seckill.scripts import ReserveCode as Code
from tests.seckill.script_rig import CAMPAIGN, CONFIRMED, FAR_MS, RELEASED, RESERVED, Rig, record, rid
from tests.services.valkey import ValkeyServer

WINDOW_MS = 400


@pytest.fixture
def rig(valkey_server: ValkeyServer) -> Iterator[Rig]:
    rig = Rig(valkey_server)
    yield rig
    rig.close()


def test_accepted_takes_units_and_writes_record_and_entry(rig: Rig) -> None:
    before_ms = rig.now_ms()

    reply = rig.reserve((1, "a", 2))

    assert reply.codes == [Code.ACCEPTED]
    assert before_ms <= reply.now_ms <= rig.now_ms()
    assert (reply.left, reply.admitted) == (8, 1)
    assert rig.counters() == (8, 2, 0, 10)
    assert (rig.number("admitted"), rig.number("clock_ms")) == (1, reply.now_ms)
    assert rig.open_units() == 2
    assert rig.records(1) == [record("a", RESERVED, units=2)]
    (entry,) = rig.entries()
    assert (entry.sale_id, entry.epoch) == (CAMPAIGN, 1)
    assert entry.members == (Member(rid("a"), 1, 2),)
    assert rig.client.xrange(keys.outbox_key())[0][1].keys() == {b"v", b"campaign", b"epoch", b"packed"}


def test_entry_carries_the_campaigns_epoch_and_whole_user_ids(rig: Rig) -> None:
    rig.fields_set(epoch=4)
    user_id = 2**62 + 12_345

    assert rig.reserve((user_id, "a", 1)).codes == [Code.ACCEPTED]

    (entry,) = rig.entries()
    assert (entry.epoch, entry.members) == (4, (Member(rid("a"), user_id, 1),))
    assert rig.records(user_id) == [record("a", RESERVED)]


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        (Code.PAUSED, {"phase": "paused"}),
        (Code.PAUSED, {"phase": "paused", "ends_ms": 1, "clock_ms": 2}),
        (Code.ENDED, {"phase": "closing"}),
        (Code.ENDED, {"phase": "closed"}),
        (Code.ENDED, {"ends_ms": 1, "clock_ms": 2}),
        (Code.NOT_STARTED, {"starts_ms": FAR_MS - 1}),
        (Code.SOLD_OUT, {"left": 1, "confirmed": 9}),
        (Code.SOLD_OUT, {"reopen_ms": FAR_MS}),
    ],
)
def test_refusal_writes_nothing(rig: Rig, code: Code, fields: dict[str, int]) -> None:
    rig.fields_set(**fields)
    left = rig.number("left")

    with rig.unchanged():
        reply = rig.reserve((1, "a", 2))

    assert (reply.codes, reply.left, reply.admitted) == ([code], left, 0)


@pytest.mark.parametrize(("open_units", "code"), [(99, Code.ACCEPTED), (100, Code.BUSY), (101, Code.BUSY)])
def test_busy_from_open_max_on(rig: Rig, open_units: int, code: Code) -> None:
    rig.client.hset(keys.shard_key(), "open", open_units)

    assert rig.reserve((1, "a", 1)).codes == [code]

    assert rig.open_units() == open_units + (code == Code.ACCEPTED)
    assert len(rig.entries()) == (code == Code.ACCEPTED)


def test_busy_stops_within_one_batch(rig: Rig) -> None:
    rig.client.hset(keys.shard_key(), "open", 98)

    assert rig.reserve((1, "a", 2), (2, "b", 1)).codes == [Code.ACCEPTED, Code.BUSY]

    assert rig.open_units() == 100


def test_busy_where_the_shard_was_never_compared(rig: Rig) -> None:
    rig.client.delete(keys.shard_key())

    with rig.unchanged():
        assert rig.reserve((1, "a", 1)).codes == [Code.BUSY]


@pytest.mark.parametrize(
    ("units", "state", "code"),
    [
        (1, RESERVED, Code.ACCEPTED),
        (1, CONFIRMED, Code.ACCEPTED),
        (2, RESERVED, Code.LIMIT_REACHED),
        (2, CONFIRMED, Code.LIMIT_REACHED),
        (2, RELEASED, Code.ACCEPTED),
    ],
)
def test_limit_counts_reserved_and_confirmed_records(rig: Rig, units: int, state, code: Code) -> None:
    rig.records_set(1, record("a", state, units=units, move=state - 1))
    before = rig.picture()

    assert rig.reserve((1, "b", 1)).codes == [code]

    assert (rig.picture() == before) == (code == Code.LIMIT_REACHED)
    assert len(rig.records(1)) == (2 if code == Code.ACCEPTED else 1)


def test_at_most_twenty_records_a_user(rig: Rig) -> None:
    rig.fields_set(limit=1_000)
    rig.records_set(1, *(record(chr(97 + i), RELEASED, move=1) for i in range(19)))

    assert rig.reserve((1, "y", 1), (1, "z", 1)).codes == [Code.ACCEPTED, Code.LIMIT_REACHED]
    with rig.unchanged():
        assert rig.reserve((1, "z", 1)).codes == [Code.LIMIT_REACHED]

    assert len(rig.records(1)) == 20
    assert rig.counters() == (9, 1, 0, 10)


@pytest.mark.parametrize("state", [RESERVED, CONFIRMED, RELEASED])
@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 2},
        {"phase": "paused"},
        {"phase": "closing"},
        {"phase": "closed"},
        {"starts_ms": FAR_MS - 1},
        {"ends_ms": 1, "clock_ms": 2},
        {"reopen_ms": FAR_MS},
        {"limit": 1},
        {"left": 0, "allotment": 2, "confirmed": 2},
    ],
)
def test_replay_comes_before_every_refusal(rig: Rig, state, fields: dict[str, int]) -> None:
    rig.records_set(1, record("a", state, units=2, move=state - 1))
    rig.fields_set(**fields)
    rig.client.hset(keys.shard_key(), "open", 100)

    with rig.unchanged():
        assert rig.reserve((1, "a", 2)).codes == [Code.REPLAYED]
        assert rig.reserve((1, "a", 1)).codes == [Code.KEY_REUSED]


def test_another_users_record_is_no_replay(rig: Rig) -> None:
    rig.records_set(1, record("a", RESERVED, units=2))

    assert rig.reserve((2, "b", 2)).codes == [Code.ACCEPTED]

    assert rig.records(1) == [record("a", RESERVED, units=2)]
    assert rig.records(2) == [record("b", RESERVED, units=2)]


def test_same_id_twice_in_one_batch_is_a_replay(rig: Rig) -> None:
    reply = rig.reserve((1, "a", 1), (1, "a", 1), (1, "a", 2))

    assert reply.codes == [Code.ACCEPTED, Code.REPLAYED, Code.KEY_REUSED]
    assert (reply.left, reply.admitted) == (9, 1)
    assert rig.counters() == (9, 1, 0, 10)
    assert [entry.members for entry in rig.entries()] == [(Member(rid("a"), 1, 1),)]


def test_same_user_twice_in_one_batch_meets_the_limit(rig: Rig) -> None:
    reply = rig.reserve((1, "a", 1), (1, "b", 2), (1, "c", 1), (1, "d", 1))

    assert reply.codes == [Code.ACCEPTED, Code.LIMIT_REACHED, Code.ACCEPTED, Code.LIMIT_REACHED]
    assert rig.records(1) == [record("a", RESERVED), record("c", RESERVED)]
    assert rig.counters() == (8, 2, 0, 10)


def test_last_units_in_one_batch_go_to_who_comes_first(rig: Rig) -> None:
    rig.campaign_set(allotment=3, left=3)

    reply = rig.reserve((1, "a", 2), (2, "b", 2), (3, "c", 1), (4, "d", 1))

    assert reply.codes == [Code.ACCEPTED, Code.SOLD_OUT, Code.ACCEPTED, Code.SOLD_OUT]
    assert (reply.left, reply.admitted, rig.open_units()) == (0, 2, 3)
    (entry,) = rig.entries()
    assert entry.members == (Member(rid("a"), 1, 2), Member(rid("c"), 3, 1))


def test_batch_of_128_is_one_entry(rig: Rig) -> None:
    rig.campaign_set(allotment=100, left=100)
    rig.client.hset(keys.shard_key(), "open_max", 1_000)

    reply = rig.reserve(*((user, "a", 1) for user in range(1, 129)))

    assert reply.codes == [Code.ACCEPTED] * 100 + [Code.SOLD_OUT] * 28
    assert rig.counters() == (0, 100, 0, 100)
    assert [len(entry.members) for entry in rig.entries()] == [100]


def test_missing_hash_is_paused_and_never_sold_out(rig: Rig) -> None:
    rig.client.delete(keys.campaign_key(CAMPAIGN))

    with rig.unchanged():
        reply = rig.reserve((1, "a", 1), (2, "b", 1))

    assert (reply.left, reply.admitted, reply.codes) == (-1, -1, [Code.PAUSED, Code.PAUSED])


def test_window_opens_and_shuts_by_the_servers_clock(rig: Rig) -> None:
    start_ms = rig.now_ms() + 150
    rig.fields_set(starts_ms=start_ms, ends_ms=start_ms + WINDOW_MS)

    assert rig.reserve((1, "a", 1)).codes == [Code.NOT_STARTED]
    time.sleep((start_ms - rig.now_ms()) / 1000 + 0.002)
    inside = rig.reserve((1, "b", 1))
    time.sleep((start_ms + WINDOW_MS - rig.now_ms()) / 1000 + 0.002)
    after = rig.reserve((1, "c", 1))

    assert (inside.codes, after.codes) == ([Code.ACCEPTED], [Code.ENDED])
    assert start_ms <= inside.now_ms < start_ms + WINDOW_MS <= after.now_ms
    assert rig.counters() == (9, 1, 0, 10)


@pytest.mark.parametrize(("offset_ms", "code"), [(-1, Code.NOT_STARTED), (0, Code.ACCEPTED)])
def test_window_begins_at_its_first_millisecond(rig: Rig, offset_ms: int, code: Code) -> None:
    rig.fields_set(starts_ms=FAR_MS - 100, clock_ms=FAR_MS - 100 + offset_ms)

    assert rig.reserve((1, "a", 1)).codes == [code]


@pytest.mark.parametrize(("offset_ms", "code"), [(-1, Code.ACCEPTED), (0, Code.ENDED)])
def test_window_ends_before_its_last_millisecond(rig: Rig, offset_ms: int, code: Code) -> None:
    rig.fields_set(ends_ms=FAR_MS, clock_ms=FAR_MS + offset_ms)

    assert rig.reserve((1, "a", 1)).codes == [code]


@pytest.mark.parametrize(("offset_ms", "code"), [(-1, Code.SOLD_OUT), (0, Code.ACCEPTED)])
def test_returned_units_count_from_reopen_on(rig: Rig, offset_ms: int, code: Code) -> None:
    rig.fields_set(reopen_ms=FAR_MS - 5, clock_ms=FAR_MS - 5 + offset_ms)

    assert rig.reserve((1, "a", 1)).codes == [code]


def test_clock_in_the_future_never_runs_back(rig: Rig) -> None:
    ahead_ms = rig.now_ms() + 3_600_000
    rig.fields_set(clock_ms=ahead_ms, starts_ms=ahead_ms - 1)

    reply = rig.reserve((1, "a", 1))

    assert (reply.codes, reply.now_ms, rig.number("clock_ms")) == ([Code.ACCEPTED], ahead_ms, ahead_ms)


def test_once_ended_stays_ended_when_the_server_clock_runs_back(rig: Rig) -> None:
    rig.fields_set(ends_ms=rig.now_ms() - 1)

    reply = rig.reserve((1, "a", 1))

    assert reply.codes == [Code.ENDED]
    assert rig.number("clock_ms") == reply.now_ms  # written once
    assert (rig.counters(), rig.entries(), rig.records_all()) == ((10, 0, 0, 10), [], [])
    with rig.unchanged():
        assert rig.reserve((1, "a", 1)).codes == [Code.ENDED]


@pytest.mark.parametrize(
    "key", [keys.shard_key(), keys.campaign_key(CAMPAIGN), keys.users_key(CAMPAIGN), keys.outbox_key()]
)
def test_wrong_type_fails_before_the_first_write(rig: Rig, key: str) -> None:
    rig.client.set(key, "not what it should be")

    with rig.unchanged(), pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        rig.reserve((1, "a", 1))


def test_full_server_refuses_and_writes_nothing(rig: Rig) -> None:
    rig.reserve((1, "a", 1))

    with rig.unchanged(), rig.full(), pytest.raises(redis.exceptions.OutOfMemoryError):
        rig.reserve((2, "b", 1))

    assert rig.reserve((2, "b", 1)).codes == [Code.ACCEPTED]


def test_script_is_sent_whole_to_a_server_that_forgot_it(rig: Rig) -> None:
    rig.reserve((1, "a", 1))
    rig.client.script_flush()

    assert rig.reserve((1, "b", 1)).codes == [Code.ACCEPTED]

    assert rig.counters() == (8, 2, 0, 10)
