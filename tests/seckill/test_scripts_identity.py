"""Whatever is called in whatever order: left + reserved + confirmed = allotment, and the records are the counters."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from seckill import scripts
from tests.seckill.script_rig import CAMPAIGN, CONFIRMED, RELEASED, RESERVED, Rig, outcome
from tests.services.valkey import ValkeyServer

CALLS, LETTERS, USERS = 150, "abcdef", (1, 2, 3)


@pytest.fixture
def rig(valkey_server: ValkeyServer) -> Iterator[Rig]:
    rig = Rig(valkey_server)
    yield rig
    rig.close()


def some_call(rig: Rig, chance: random.Random, number: int) -> Callable[[], Any]:
    """Return any call a process might make, sensible or not; `number` is newer than every operation before."""
    entries = rig.entries()
    entry = chance.choice([*entries, None]) if entries else None

    def outcomes(*, won: bool) -> list[Any]:
        return [
            outcome(
                chance.choice(LETTERS),
                chance.choice(USERS),
                move=chance.randint(1, 6),
                units=chance.randint(1, 3),
                won=won,
            )
            for _ in range(chance.randint(1, 3))
        ]

    def reserve() -> None:
        asks = [(chance.choice(USERS), chance.choice(LETTERS), chance.randint(1, 2)) for _ in range(3)]
        rig.reserve(*asks[: chance.randint(1, 3)])

    def switch() -> None:
        phase = chance.choice(("open", "open", "paused", "closing"))
        rig.run(scripts.switch_call(CAMPAIGN, number=number - chance.randint(0, 3), phase=phase))

    acts: list[Callable[[], Any]] = [
        reserve,
        reserve,
        lambda: rig.confirm(*outcomes(won=True), entry=entry),
        lambda: rig.release(*outcomes(won=False), entry=entry),
        lambda: rig.fields_set(reopen_ms=0),  # two seconds pass
        switch,
    ]
    if number > CALLS - 20:
        acts.append(lambda: rig.run(scripts.close_call(CAMPAIGN)))
    return chance.choice(acts)


@pytest.mark.parametrize("seed", range(8))
def test_counters_and_records_agree_after_every_script(rig: Rig, seed: int) -> None:
    chance = random.Random(seed)
    rig.campaign_set(allotment=4, left=4)
    was_held = set()
    for number in range(2, CALLS + 2):
        some_call(rig, chance, number)()

        left, reserved, confirmed, _ = rig.counters()  # which checks their sum
        held = dict.fromkeys((RESERVED, CONFIRMED, RELEASED), 0)
        for record in rig.records_all():
            held[record.state] += record.units
        assert left >= 0
        assert (reserved, confirmed) == (held[RESERVED], held[CONFIRMED])
        assert rig.open_units() == held[RESERVED]
        was_held |= {state for state, units in held.items() if units}
    assert was_held == {RESERVED, CONFIRMED, RELEASED}
