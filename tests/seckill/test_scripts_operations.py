"""Every answer of warm_up.lua, switch.lua and close.lua, on a real server."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from seckill import keys, scripts
from seckill.scripts import ReserveCode
from seckill.scripts import SwitchCode as Code
from tests.seckill.script_rig import CAMPAIGN, CONFIRMED, RESERVED, Rig, outcome, record
from tests.services.valkey import ValkeyServer


@pytest.fixture
def rig(valkey_server: ValkeyServer) -> Iterator[Rig]:
    rig = Rig(valkey_server)
    yield rig
    rig.close()


def switch(rig: Rig, number: int, phase: str) -> int:
    answer: int = rig.run(scripts.switch_call(CAMPAIGN, number=number, phase=phase))
    return answer


def warm_up(rig: Rig, **fields: Any) -> int:
    answer: int = rig.run(
        scripts.warm_up_call(CAMPAIGN, {"op": 0, "admitted": 0, "phase": "paused", **fields})
    )
    return answer


def fields_of(rig: Rig) -> dict[bytes, bytes]:
    return rig.client.hgetall(keys.campaign_key(CAMPAIGN))


@pytest.mark.parametrize("phase", ["open", "paused", "closing"])
def test_switch_applies_a_newer_number(rig: Rig, phase: str) -> None:
    before = fields_of(rig)

    assert switch(rig, 2, phase) == Code.OK

    assert fields_of(rig) == {**before, b"op": b"2", b"phase": phase.encode()}


@pytest.mark.parametrize("number", [0, 1])
def test_switch_applies_a_number_once(rig: Rig, number: int) -> None:
    with rig.unchanged():
        assert switch(rig, number, "paused") == Code.OLD


def test_switch_of_a_late_number_does_not_undo_a_later_one(rig: Rig) -> None:
    assert [switch(rig, 3, "closing"), switch(rig, 2, "open"), switch(rig, 3, "open")] == [
        Code.OK,
        Code.OLD,
        Code.OLD,
    ]

    assert fields_of(rig)[b"phase"] == b"closing"
    assert rig.reserve((1, "a", 1)).codes == [ReserveCode.ENDED]


def test_close_leaves_nothing_to_reserve(rig: Rig) -> None:
    rig.records_set(1, record("a", CONFIRMED, units=2, move=1))
    rig.records_set(2, record("b", RESERVED))
    switch(rig, 2, "closing")

    assert rig.run(scripts.close_call(CAMPAIGN)) == Code.OK

    assert rig.counters() == (0, 1, 2, 3)
    assert fields_of(rig)[b"phase"] == b"closed"
    assert rig.reserve((3, "c", 1)).codes == [ReserveCode.ENDED]


def test_close_twice_changes_nothing(rig: Rig) -> None:
    rig.records_set(1, record("a", CONFIRMED, move=1))
    rig.run(scripts.close_call(CAMPAIGN))
    rig.release(outcome("a", 1, move=2, won=False))

    with rig.unchanged():
        assert rig.run(scripts.close_call(CAMPAIGN)) == Code.OLD

    assert rig.counters() == (0, 0, 0, 0)


def test_operations_on_a_missing_hash_are_paused(rig: Rig) -> None:
    rig.client.delete(keys.campaign_key(CAMPAIGN))

    with rig.unchanged():
        assert switch(rig, 9, "open") == Code.PAUSED
        assert rig.run(scripts.close_call(CAMPAIGN)) == Code.PAUSED


def test_warm_up_writes_the_whole_hash_and_nothing_else(rig: Rig) -> None:
    rig.client.delete(keys.campaign_key(CAMPAIGN))

    assert warm_up(rig, left=5, salt=b"\x00\xff") == 1

    assert fields_of(rig) == {
        b"op": b"0",
        b"admitted": b"0",
        b"phase": b"paused",
        b"left": b"5",
        b"salt": b"\x00\xff",
    }


def test_warm_up_again_replaces_a_hash_that_was_never_opened(rig: Rig) -> None:
    rig.campaign_set(op=0)

    assert warm_up(rig, left=5) == 1

    assert fields_of(rig) == {b"op": b"0", b"admitted": b"0", b"phase": b"paused", b"left": b"5"}


@pytest.mark.parametrize("opened", [{"op": 1}, {"op": 0, "admitted": 1}])
def test_warm_up_happens_once_in_a_campaigns_life(rig: Rig, opened: dict[str, int]) -> None:
    rig.campaign_set(**opened)

    with rig.unchanged():
        assert warm_up(rig, left=5) == 0


@pytest.mark.parametrize(
    "call",
    [
        scripts.switch_call(CAMPAIGN, number=2, phase="open"),
        scripts.close_call(CAMPAIGN),
        scripts.warm_up_call(CAMPAIGN, {"op": 0}),
    ],
    ids=["switch", "close", "warm_up"],
)
def test_wrong_type_fails_before_the_first_write(rig: Rig, call: scripts.Call) -> None:
    rig.client.delete(keys.campaign_key(CAMPAIGN))
    rig.client.set(keys.campaign_key(CAMPAIGN), "not a hash")

    with rig.unchanged(), pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        rig.run(call)


def test_full_server_pauses_and_closes_but_opens_no_new_campaign(rig: Rig) -> None:
    with rig.full():
        assert switch(rig, 2, "paused") == Code.OK
        assert switch(rig, 3, "closing") == Code.OK
        assert rig.run(scripts.close_call(CAMPAIGN)) == Code.OK

    rig.client.delete(keys.campaign_key(CAMPAIGN))
    with rig.unchanged(), rig.full(), pytest.raises(redis.exceptions.OutOfMemoryError):
        warm_up(rig)
