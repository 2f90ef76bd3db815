"""Random schedules of one sale against the promise, and the same schedules with one guard off, which must break it.

SCHEDULES says how many are played, SCHEDULE_SEED from which seed on; a failure names its seed.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
from django.db import DatabaseError

from orders.models import Order, OrderStatus
from orders.services import endings, late_payments, payments, place
from orders.services.transactions import Again
from seckill import outbox
from seckill.services import campaigns
from tests.seckill.mutants import function_change, lua_change, sales_unconstrained
from tests.seckill.schedule_oracle import end_check, money_check, step_check
from tests.seckill.schedules import LossyStore, World, Wrong, world_made
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db(transaction=True)
STEPS = 60
FIRST_SEED = int(os.environ.get("SCHEDULE_SEED", "0"))
SCHEDULES = int(os.environ.get("SCHEDULES", "40"))  # 0.5 s each
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[ValkeyServer, LossyStore]]:
    """Yield a server of this module's own, since it is killed now and then, and the way to it."""
    with ValkeyServer() as server:
        store = LossyStore(server.url)
        yield server, store
        store.close()


def play(seed: int, stage: tuple[ValkeyServer, LossyStore], *, trusted: bool = True) -> World:
    """Play one schedule to its end, close the sale, and check everything on the way.

    :raises Wrong: the promise is broken; a note names seed and steps
    """
    with world_made(seed, *stage, trusted=trusted) as world:
        try:
            for _ in range(STEPS):
                world.step()
                step_check(world)
            if trusted:
                world.drain()
                end_check(world)
                world.close()
                world.drain()
                step_check(world)
                end_check(world)
                money_check(world)
        except Exception as error:
            error.add_note(f"SCHEDULE_SEED={seed} SCHEDULES=1 plays it again: {', '.join(world.log)}")
            raise
        return world


@pytest.mark.timeout(max(120, SCHEDULES * 4))
def test_schedules_keep_the_promise(stage) -> None:
    seen: Counter[str] = Counter()
    print(f"seeds {FIRST_SEED} to {FIRST_SEED + SCHEDULES - 1}")  # noqa: T201
    twins = [] if "SCHEDULE_SEED" in os.environ else [seed for seed, _ in MUTANTS.values()]
    for seed in dict.fromkeys([*range(FIRST_SEED, FIRST_SEED + SCHEDULES), *twins]):
        world = play(seed, stage)
        seen.update(Order.objects.filter(sale_id=world.campaign.pk).values_list("status", flat=True))
        seen["told"] += len(world.told)
        seen["paid late"] += len(world.paid_late)
        seen["restarts"] += world.log.count("restart")
    print(dict(seen))  # noqa: T201
    if SCHEDULES >= 40:  # schedules in which little happens prove little
        assert seen["told"] >= 3 * SCHEDULES
        for happened in (
            OrderStatus.PAID,
            OrderStatus.CANCELLED,
            OrderStatus.EXPIRED,
            "paid late",
            "restarts",
        ):
            assert seen[happened] > 0, happened


# ---- one guard off


def inserts_again(patch: Patch) -> None:
    function_change(patch, place, "entries_place", (" if case.reservation_id not in known", ""))
    function_change(
        patch,
        place,
        "_place_all",
        ("for case in cases])\n", "for case in cases], ignore_conflicts=True)\n"),
        ("if not connection.features.can_return_rows_from_bulk_insert:", "if True:"),
    )


def drops_entries_early(patch: Patch) -> None:
    genuine = World.hear_decided

    def hear(self: World, *, decided, **rest) -> None:
        genuine(self, decided=decided, **rest)
        for item in decided:
            outbox.entry_drop(self.store, item.entry)

    patch.setattr(World, "hear_decided", hear)


def lua_without(name: str, *parts: str) -> Callable[[Patch], None]:
    """Return what takes these parts out of a Lua file."""
    return lambda patch: lua_change(patch, name, *((part, "") for part in parts))


REPLAY = (
    "    if string.sub(packed, at, at + 15) == id then\n"
    "      return had == units and REPLAYED or KEY_REUSED\n"
    "    end\n"
)
MOVE = "  if move <= string.byte(packed, at + 19) then return OLD end\n"
MUTANTS: dict[str, tuple[int, Callable[[Patch], None]]] = {
    "reserve without replay": (1, lua_without("reserve", REPLAY)),
    "reserve without stock": (0, lua_without("reserve", "left < units or ")),
    "reserve without limit": (0, lua_without("reserve", "sum + units > limit or ")),
    "confirm without move": (33, lua_without("confirm", MOVE)),
    "release without move": (33, lua_without("release", MOVE)),
    "late payment without stock": (133, lua_without("confirm", "left < units or ")),
    "late payment without quota": (57, lua_without("confirm", "quota + units > limit or ")),
    "judge without dedupe": (0, inserts_again),
    "entry deleted before its outcomes": (0, drops_entries_early),
    "close without drain": (
        28,
        lambda patch: patch.setattr(campaigns, "campaign_is_drained", lambda **_: True),
    ),
    "ending without compare-and-set": (
        0,
        lambda patch: function_change(
            patch, endings, "_compare_and_set", ("pk=pk, status=source, **conditions", "pk=pk")
        ),
    ),
    "late payment before the return": (
        0,
        lambda patch: function_change(
            patch,
            late_payments,
            "late_payment_decide",
            ("    if order.reservation_id is not None and order.return_due:\n        return\n", ""),
            ("status=OrderStatus.EXPIRED, return_due=False", "status=OrderStatus.EXPIRED"),
            importers=(payments,),
        ),
    ),
}


@pytest.mark.twin
@pytest.mark.parametrize("name", MUTANTS)
def test_schedule_without_one_guard_breaks_the_promise(stage, name: str, monkeypatch: Patch) -> None:
    """Each seed is the first that catches its mutant; the same seed is fine with the guard on."""
    seed, guard_off = MUTANTS[name]
    guard_off(monkeypatch)

    with pytest.raises((Wrong, Again, DatabaseError)):
        play(seed, stage)


# ---- the judge alone, where what stands before it is broken


@dataclass(frozen=True)
class Broken:
    """Something before the judge that admits too much, and the judge's guard against it."""

    premise: Callable[[Patch], None]
    guard_off: Callable[[Patch], None]
    seed: int  # the first that oversells without the guard
    unconstrained: bool


def no_guarded_update(patch: Patch) -> None:
    line = '        allotment__gte=F("sold") + F("handed_back") + units,\n'
    function_change(patch, place, "_take_units", (line, ""))


def no_closed_guard(patch: Patch) -> None:
    phase = "        phase__in=(SalePhase.OPEN, SalePhase.CLOSING),\n"
    units = ('F("sold") + F("handed_back") + units', 'F("sold") + units')
    closed = "    if sale.phase == SalePhase.CLOSED:\n        raise _Refusal(LostReason.ENDED)\n"
    function_change(patch, place, "_take_units", (phase, ""), units)
    function_change(patch, place, "_validate", (closed, ""))


JUDGE = {
    "stock": Broken(MUTANTS["reserve without stock"][1], no_guarded_update, 4, unconstrained=True),
    "limit": Broken(
        MUTANTS["reserve without limit"][1],
        lambda patch: patch.setattr(place, "_users_over_limit", lambda *_: []),
        0,
        unconstrained=False,
    ),
    "close": Broken(MUTANTS["close without drain"][1], no_closed_guard, 50, unconstrained=True),
}


@pytest.mark.parametrize("name", JUDGE)
def test_judge_keeps_the_promise_whatever_is_admitted(stage, name: str, monkeypatch: Patch) -> None:
    JUDGE[name].premise(monkeypatch)

    for seed in {JUDGE[name].seed, *range(4)}:
        play(seed, stage, trusted=False)


@pytest.mark.twin
@pytest.mark.parametrize("name", JUDGE)
def test_judge_without_its_guard_breaks_the_promise(stage, name: str, monkeypatch: Patch) -> None:
    broken = JUDGE[name]
    broken.premise(monkeypatch)
    broken.guard_off(monkeypatch)

    with sales_unconstrained() if broken.unconstrained else nullcontext(), pytest.raises(Wrong):
        play(broken.seed, stage, trusted=False)
