"""The same entry at two consumers, and outcomes that come late, twice and in the wrong order.

Each race has a twin without its guard; the twin must go wrong, else the race proves nothing.
"""

import random
from collections.abc import Callable, Iterator

import pytest

from orders import signals
from orders.events import Decided, Outcome
from orders.models import Order, OrderLine
from orders.services import place
from orders.services.endings import order_cancel
from orders.services.transactions import Again
from seckill import keys, scripts
from seckill.scripts import MoveCode, RecordState
from seckill.services.outcomes import decided_apply
from seckill.store import sale_store
from tests.concurrency.sales import OpenSale, together
from tests.seckill.mutants import function_change, lua_change
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS, USERS = 5, 6


@pytest.fixture(autouse=True)
def nobody_listens() -> Iterator[None]:
    """Keep outcomes from travelling by themselves; these tests carry them."""
    with pytest.MonkeyPatch.context() as patch:
        for signal in (signals.entries_decided, signals.outcomes_due, signals.judge_disagreed):
            patch.setattr(signal, "receivers", [])
        yield


def reserved(server: ValkeyServer) -> OpenSale:
    """Return a sale in which six users have reserved one unit each, in three entries."""
    sale = OpenSale(server, allotment=20, users=USERS)
    asked = [(user.pk, sale.raw(at), 1) for at, user in enumerate(sale.users)]
    for start in range(0, USERS, 2):
        sale.reserve(*asked[start : start + 2])
    assert len(sale.entries()) == 3
    return sale


def delivered_twice(sale: OpenSale) -> list[object]:
    """Have two consumers place the same three entries at once, in opposite orders."""
    entries = sale.entries()
    return together(lambda: sale.place(*entries), lambda: sale.place(*reversed(entries)))


def test_double_delivery_makes_one_row_each_and_takes_units_once(valkey_server: ValkeyServer) -> None:
    for _ in range(ROUNDS):
        sale = reserved(valkey_server)

        first, second = delivered_twice(sale)

        assert isinstance(first, list)
        assert isinstance(second, list)
        assert first == second[::-1]
        assert Order.objects.filter(sale_id=sale.pk).count() == USERS
        assert OrderLine.objects.filter(order__sale_id=sale.pk).count() == USERS
        assert sale.database() == (USERS, USERS, 0)
        decided_apply(decided=[*first, *second], store=sale_store())
        assert sale.valkey() == (20 - USERS, 0, USERS, 20)
        assert sale.entries() == []


def test_overlapping_batches_of_two_consumers_take_units_once(valkey_server: ValkeyServer) -> None:
    for _ in range(ROUNDS):
        sale = reserved(valkey_server)
        one, two, three = sale.entries()

        results = together(
            lambda one=one, two=two, sale=sale: sale.place(two, one),
            lambda two=two, three=three, sale=sale: sale.place(three, two),
            lambda one=one, three=three, sale=sale: sale.place(one, three),
        )

        assert not [result for result in results if isinstance(result, Exception)]
        assert sale.database() == (USERS, USERS, 0)


@pytest.mark.twin
def test_double_delivery_without_the_look_up_only_meets_the_unique_key(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unique key still holds the rows to one, but the second consumer never gets on."""
    function_change(monkeypatch, place, "entries_place", (" if case.reservation_id not in known", ""))
    sale = reserved(valkey_server)

    results = delivered_twice(sale)

    assert sorted(type(result).__name__ for result in results) == ["Again", "list"]
    with pytest.raises(Again):
        sale.place(*sale.entries())


@pytest.mark.twin
def test_double_delivery_that_inserts_and_ignores_takes_units_twice(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin has no look-up and lets the database pass over rows that are there: the units go twice."""
    function_change(monkeypatch, place, "entries_place", (" if case.reservation_id not in known", ""))
    function_change(
        monkeypatch,
        place,
        "_place_all",
        ("for case in cases])\n", "for case in cases], ignore_conflicts=True)\n"),
        ("if not connection.features.can_return_rows_from_bulk_insert:", "if True:"),
    )
    sale = reserved(valkey_server)

    delivered_twice(sale)

    assert sale.database() == (2 * USERS, USERS, 0)


# ---- outcomes in every order


def moves_of_a_cancelled_order(sale: OpenSale) -> tuple[Decided, Outcome]:
    """Return the confirm that was due at first, and the release that followed it; Valkey has had neither."""
    decided = sale.place(*sale.entries()[:1])
    order = Order.objects.filter(sale_id=sale.pk).order_by("pk")[0]
    cancelled = order_cancel(number=order.number, user_id=order.user_id or 0, now=sale.now)
    return decided[0], place.outcome_of(cancelled)


def late(sale: OpenSale, decided: Decided, released: Outcome) -> list[Callable[[], object]]:
    """Return each call three times."""

    def release() -> list[MoveCode]:
        return scripts.move_reply(sale.store.run([scripts.release_call(sale.pk, [released], entry=None)])[0])

    return [lambda: decided_apply(decided=[decided], store=sale.store)] * 3 + [release] * 3


def record_state(sale: OpenSale, user_id: int) -> RecordState:
    (record,) = scripts.records_unpack(sale.store.client.hget(keys.users_key(sale.pk), str(user_id)))
    return record.state


def test_late_and_repeated_outcomes_end_with_the_newest_move(valkey_server: ValkeyServer) -> None:
    shuffle = random.Random(1).shuffle
    for _ in range(ROUNDS):
        sale = reserved(valkey_server)
        decided, released = moves_of_a_cancelled_order(sale)
        acts = late(sale, decided, released)
        shuffle(acts)

        results = together(*acts)

        assert not [result for result in results if isinstance(result, Exception)]
        assert sale.valkey() == (20 - USERS + 1, USERS - 2, 1, 20)
        assert record_state(sale, released.user_id) == RecordState.RELEASED
        assert len(sale.entries()) == 2


@pytest.mark.twin
def test_late_confirm_without_the_move_takes_the_units_again(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin's confirm knows no move: the one that came last wins, and a cancelled order holds a unit."""
    lua_change(
        monkeypatch,
        "confirm",
        ("  if move <= string.byte(packed, at + 19) then return OLD end\n", ""),
        ("    if move == 1 then return OLD end\n", ""),
    )
    sale = reserved(valkey_server)
    decided, released = moves_of_a_cancelled_order(sale)
    confirm, *_, release = late(sale, decided, released)

    release()
    confirm()

    assert record_state(sale, released.user_id) == RecordState.CONFIRMED
    assert sale.valkey() == (20 - USERS, USERS - 2, 2, 20)
    assert sale.database()[0] == 1


@pytest.mark.twin
def test_repeated_release_without_the_move_takes_a_paid_orders_unit(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin's release knows no move: one that comes again after a late payment gives the unit away."""
    lua_change(
        monkeypatch, "release", ("  if move <= string.byte(packed, at + 19) then return OLD end\n", "")
    )
    sale = reserved(valkey_server)
    decided, released = moves_of_a_cancelled_order(sale)
    confirm, *_, release = late(sale, decided, released)
    readmitted = Outcome(
        released.reservation_id, sale.pk, released.user_id, 1, won=True, move=3, detail=released.detail
    )

    confirm()
    release()
    sale.store.run([scripts.confirm_call(sale.pk, [readmitted], entry=None)])
    assert record_state(sale, released.user_id) == RecordState.CONFIRMED
    release()

    assert record_state(sale, released.user_id) == RecordState.RELEASED
