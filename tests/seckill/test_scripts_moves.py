"""Every row of the state table for confirm.lua and release.lua, on a real server.

Units come from the record, an older move changes nothing, an entry goes only at the campaign's own epoch.
"""

import dataclasses
from collections.abc import Iterator

import pytest
import redis

from orders.events import Entry
from seckill import keys
from seckill.scripts import MoveCode as Code
from seckill.scripts import Record, RecordState
from tests.seckill.script_rig import (
    CAMPAIGN,
    CONFIRMED,
    FAR_MS,
    RELEASED,
    RESERVED,
    Rig,
    outcome,
    record,
    rid,
)
from tests.services.valkey import ValkeyServer

PHASES = ["open", "paused", "closing", "closed"]


@pytest.fixture
def rig(valkey_server: ValkeyServer) -> Iterator[Rig]:
    rig = Rig(valkey_server)
    yield rig
    rig.close()


def held(rig: Rig, state: RecordState, *, units: int = 2, move: int = 0, phase: str = "open") -> Record:
    """Give user 1 one record in this state; another user's confirmed unit stands beside it."""
    rig.records_set(9, record("z", CONFIRMED, move=1))
    made = record("a", state, units=units, move=move, detail=move)
    rig.records_set(1, made)
    rig.fields_set(phase=phase)
    return made


def entry_made(rig: Rig, *members: tuple[int, str, int]) -> Entry:
    """Reserve in one batch and return its entry."""
    rig.reserve(*members)
    return rig.entries()[-1]


# ---- confirm


@pytest.mark.parametrize("phase", PHASES)
def test_confirm_of_reserved_moves_its_units(rig: Rig, phase: str) -> None:
    held(rig, RESERVED, phase=phase)

    assert rig.confirm(outcome("a", 1, move=1, units=2, detail=1_900_000_000)) == [Code.OK]

    assert rig.records(1) == [record("a", CONFIRMED, units=2, move=1, detail=1_900_000_000)]
    assert rig.counters() == (7, 0, 3, 10)
    assert rig.open_units() == 0


@pytest.mark.parametrize("phase", PHASES)
def test_confirm_of_confirmed_with_newer_move_keeps_the_units(rig: Rig, phase: str) -> None:
    held(rig, CONFIRMED, move=1, phase=phase)

    assert rig.confirm(outcome("a", 1, move=3, detail=77)) == [Code.OK]

    assert rig.records(1) == [record("a", CONFIRMED, units=2, move=3, detail=77)]
    assert rig.counters() == (7, 0, 3, 10)


def test_confirm_of_released_is_a_late_payment(rig: Rig) -> None:
    held(rig, RELEASED, move=2)

    assert rig.confirm(outcome("a", 1, move=3, detail=77)) == [Code.OK]

    assert rig.records(1) == [record("a", CONFIRMED, units=2, move=3, detail=77)]
    assert rig.counters() == (7, 0, 3, 10)
    assert rig.open_units() == 0


@pytest.mark.parametrize("phase", ["paused", "closing", "closed"])
def test_late_payment_needs_an_open_campaign(rig: Rig, phase: str) -> None:
    held(rig, RELEASED, move=2, phase=phase)

    with rig.unchanged():
        assert rig.confirm(outcome("a", 1, move=3)) == [Code.SOLD_OUT]


@pytest.mark.parametrize(("left", "code"), [(1, Code.SOLD_OUT), (2, Code.OK)])
def test_late_payment_needs_free_units(rig: Rig, left: int, code: Code) -> None:
    held(rig, RELEASED, move=2)
    rig.fields_set(allotment=left + 1, left=left)
    before = rig.picture()

    assert rig.confirm(outcome("a", 1, move=3)) == [code]

    assert rig.counters() == ((0, 0, 3, 3) if code == Code.OK else (1, 0, 1, 2))
    assert (rig.picture() == before) == (code == Code.SOLD_OUT)


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (record("b", RESERVED, units=1), Code.SOLD_OUT),
        (record("b", CONFIRMED, units=1, move=1), Code.SOLD_OUT),
        (record("b", RELEASED, units=2, move=1), Code.OK),
    ],
)
def test_late_payment_needs_quota(rig: Rig, other: Record, code: Code) -> None:
    mine = record("a", RELEASED, units=2, move=2)
    rig.records_set(1, mine, other)

    assert rig.confirm(outcome("a", 1, move=3, detail=5)) == [code]

    won = dataclasses.replace(mine, state=CONFIRMED, move=3, detail=5)
    assert rig.records(1) == [won if code == Code.OK else mine, other]


def test_first_move_never_revives_a_released_record(rig: Rig) -> None:
    held(rig, RELEASED, move=0)

    with rig.unchanged():
        assert rig.confirm(outcome("a", 1, move=1)) == [Code.OLD]


def test_confirm_without_record_is_unknown_and_keeps_the_entry(rig: Rig) -> None:
    entry = entry_made(rig, (1, "a", 1))

    with rig.unchanged():
        assert rig.confirm(outcome("b", 1, move=1), entry=entry) == [Code.UNKNOWN]
        assert rig.confirm(outcome("a", 2, move=1), entry=entry) == [Code.UNKNOWN]


def test_confirm_of_a_batch_applies_what_it_knows_and_keeps_the_entry(rig: Rig) -> None:
    entry = entry_made(rig, (1, "a", 1))

    assert rig.confirm(outcome("a", 1, move=1), outcome("b", 2, move=1), entry=entry) == [
        Code.OK,
        Code.UNKNOWN,
    ]

    assert rig.counters() == (9, 0, 1, 10)
    assert rig.entries() == [entry]
    assert rig.records(2) == []


@pytest.mark.parametrize("state", [RESERVED, CONFIRMED, RELEASED])
@pytest.mark.parametrize("move", [1, 2])
def test_confirm_with_an_old_move_changes_nothing(rig: Rig, state: RecordState, move: int) -> None:
    held(rig, state, move=2)

    with rig.unchanged():
        assert rig.confirm(outcome("a", 1, move=move)) == [Code.OLD]


# ---- release


@pytest.mark.parametrize("phase", ["open", "paused", "closing"])
@pytest.mark.parametrize("state", [RESERVED, CONFIRMED])
def test_release_gives_the_units_back(rig: Rig, state: RecordState, phase: str) -> None:
    held(rig, state, move=state - 1, phase=phase)

    assert rig.release(outcome("a", 1, move=2, units=2, won=False, detail=4)) == [Code.OK]

    assert rig.records(1) == [record("a", RELEASED, units=2, move=2, detail=4)]
    assert rig.counters() == (9, 0, 1, 10)
    assert rig.open_units() == 0
    assert rig.number("reopen_ms") == 0  # it was not empty


@pytest.mark.parametrize("state", [RESERVED, CONFIRMED])
def test_release_after_close_lowers_the_allotment(rig: Rig, state: RecordState) -> None:
    held(rig, state, move=state - 1)
    rig.fields_set(phase="closed", left=0, allotment=3)

    assert rig.release(outcome("a", 1, move=2, won=False)) == [Code.OK]

    assert rig.counters() == (0, 0, 1, 1)


@pytest.mark.parametrize("phase", PHASES)
def test_release_of_released_with_newer_move_credits_nothing(rig: Rig, phase: str) -> None:
    held(rig, RELEASED, move=2, phase=phase)

    assert rig.release(outcome("a", 1, move=4, won=False, detail=6)) == [Code.OK]

    assert rig.records(1) == [record("a", RELEASED, units=2, move=4, detail=6)]
    assert rig.counters() == (9, 0, 1, 10)


@pytest.mark.parametrize("phase", PHASES)
def test_release_without_record_leaves_a_tombstone_and_no_units(rig: Rig, phase: str) -> None:
    rig.fields_set(phase=phase)

    assert rig.release(outcome("a", 1, move=1, units=2, won=False, detail=6)) == [Code.OK]

    assert rig.records(1) == [record("a", RELEASED, units=2, move=1, detail=6)]
    assert rig.counters() == (10, 0, 0, 10)
    assert rig.confirm(outcome("a", 1, move=1)) == [Code.OLD]


@pytest.mark.parametrize("state", [RESERVED, CONFIRMED, RELEASED])
@pytest.mark.parametrize("move", [1, 2])
def test_release_with_an_old_move_changes_nothing(rig: Rig, state: RecordState, move: int) -> None:
    held(rig, state, move=2)

    with rig.unchanged():
        assert rig.release(outcome("a", 1, move=move, won=False)) == [Code.OLD]


def test_release_credits_the_records_units_and_never_the_callers(rig: Rig) -> None:
    held(rig, CONFIRMED, units=2, move=1)

    assert rig.release(outcome("a", 1, move=2, units=50, won=False)) == [Code.OK]

    assert rig.counters() == (9, 0, 1, 10)
    assert rig.records(1)[0].units == 2


def test_release_of_a_batch_moves_each_record_once(rig: Rig) -> None:
    entry_made(rig, (1, "a", 1), (1, "b", 1), (2, "c", 2))
    again = outcome("a", 1, move=2, won=False)

    assert rig.release(again, outcome("c", 2, move=2, won=False), again) == [Code.OK, Code.OK, Code.OLD]

    assert rig.counters() == (9, 1, 0, 10)
    assert [r.state for r in rig.records(1)] == [RELEASED, RESERVED]


# ---- units that come back to an empty campaign


@pytest.mark.parametrize("state", [RESERVED, CONFIRMED])
def test_return_to_an_empty_campaign_counts_two_seconds_later(rig: Rig, state: RecordState) -> None:
    held(rig, state, move=state - 1)
    rig.fields_set(left=0, allotment=3)
    before_ms = rig.now_ms()

    rig.release(outcome("a", 1, move=2, won=False))

    assert before_ms + 2_000 <= rig.number("reopen_ms") <= rig.now_ms() + 2_000
    assert rig.number("reopen_ms") == rig.number("clock_ms") + 2_000
    first = rig.number("reopen_ms")
    rig.release(outcome("z", 9, move=2, won=False))
    assert rig.number("reopen_ms") == first  # it was not empty any more


def test_return_counts_by_the_sales_clock_which_never_runs_back(rig: Rig) -> None:
    held(rig, CONFIRMED, move=1)
    rig.fields_set(left=0, allotment=3, clock_ms=FAR_MS)

    rig.release(outcome("a", 1, move=2, won=False))

    assert (rig.number("clock_ms"), rig.number("reopen_ms")) == (FAR_MS, FAR_MS + 2_000)


def test_release_after_close_reopens_nothing(rig: Rig) -> None:
    held(rig, CONFIRMED, move=1)
    rig.fields_set(phase="closed", left=0, allotment=3)

    rig.release(outcome("a", 1, move=2, won=False))

    assert rig.number("reopen_ms") == 0


# ---- the entry


@pytest.mark.parametrize("act", ["confirm", "release"])
def test_entry_leaves_the_outbox_with_its_last_call(rig: Rig, act: str) -> None:
    entry, other = entry_made(rig, (1, "a", 1)), entry_made(rig, (2, "b", 1))

    assert getattr(rig, act)(outcome("a", 1, move=1, won=act == "confirm"), entry=entry) == [Code.OK]

    assert rig.entries() == [other]
    assert rig.open_units() == 1


@pytest.mark.parametrize("act", ["confirm", "release"])
def test_entry_leaves_the_outbox_when_all_is_old(rig: Rig, act: str) -> None:
    entry = entry_made(rig, (1, "a", 1))
    rig.release(outcome("a", 1, move=2, won=False))

    assert getattr(rig, act)(outcome("a", 1, move=1, won=act == "confirm"), entry=entry) == [Code.OLD]

    assert rig.entries() == []


@pytest.mark.parametrize("act", ["confirm", "release"])
@pytest.mark.parametrize("epoch", [1, 3])
def test_entry_of_another_epoch_stays(rig: Rig, act: str, epoch: int) -> None:
    entry = entry_made(rig, (1, "a", 1))
    rig.fields_set(epoch=2)
    foreign = dataclasses.replace(entry, epoch=epoch)

    assert getattr(rig, act)(outcome("a", 1, move=1, won=act == "confirm"), entry=foreign) == [Code.OK]

    assert rig.entries() == [entry]


@pytest.mark.parametrize("act", ["confirm", "release"])
def test_call_without_entry_keeps_the_entry(rig: Rig, act: str) -> None:
    entry = entry_made(rig, (1, "a", 1))

    assert getattr(rig, act)(outcome("a", 1, move=1, won=act == "confirm")) == [Code.OK]

    assert rig.entries() == [entry]


# ---- faults


@pytest.mark.parametrize("act", ["confirm", "release"])
def test_missing_hash_is_paused(rig: Rig, act: str) -> None:
    entry = entry_made(rig, (1, "a", 1), (2, "b", 1))
    rig.client.delete(keys.campaign_key(CAMPAIGN))
    won = act == "confirm"

    with rig.unchanged():
        codes = getattr(rig, act)(
            outcome("a", 1, move=1, won=won), outcome("b", 2, move=1, won=won), entry=entry
        )

    assert codes == [Code.PAUSED, Code.PAUSED]


@pytest.mark.parametrize("act", ["confirm", "release"])
@pytest.mark.parametrize(
    "key", [keys.shard_key(), keys.campaign_key(CAMPAIGN), keys.users_key(CAMPAIGN), keys.outbox_key()]
)
def test_wrong_type_fails_before_the_first_write(rig: Rig, act: str, key: str) -> None:
    entry = entry_made(rig, (1, "a", 1))
    rig.client.set(key, "not what it should be")

    with rig.unchanged(), pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        getattr(rig, act)(outcome("a", 1, move=1, won=act == "confirm"), entry=entry)


@pytest.mark.parametrize("act", ["confirm", "release"])
@pytest.mark.parametrize("is_known", [True, False])
def test_full_server_still_finishes_what_it_admitted(rig: Rig, act: str, is_known: bool) -> None:
    entry = entry_made(rig, (1, "a", 1))
    if is_known:
        rig.release(outcome("z", 9, move=1, won=False))
        rig.confirm(outcome("z", 9, move=1))

    with rig.full():
        assert getattr(rig, act)(outcome("a", 1, move=1, won=act == "confirm"), entry=entry) == [Code.OK]

    assert rig.counters() == ((9, 0, 1, 10) if act == "confirm" else (10, 0, 0, 10))
    assert (rig.entries(), rig.open_units()) == ([], 0)


def test_full_server_still_takes_a_tombstone(rig: Rig) -> None:
    with rig.full():
        assert rig.release(outcome("a", 1, move=1, won=False)) == [Code.OK]

    assert [r.reservation for r in rig.records(1)] == [rid("a")]
