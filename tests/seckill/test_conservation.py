"""The conservation equation: it holds at every stage of a unit's way, and names what breaks it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import translation

from orders.models import Order, OrderStatus, Sale
from orders.services.endings import order_cancel, orders_expire
from orders.services.late_payments import readmission_finish, return_settle
from orders.services.payments import payment_start
from seckill import keys, scripts
from seckill.conservation import Equation, conservation, conservation_all
from seckill.selectors import outcome_of
from seckill.services.campaigns import campaign_close
from seckill.services.outcomes import decided_apply
from tests.orders.rows import callback, payment_make, sale_make
from tests.seckill.live_sale import LiveSale, commits_seen, nobody_listens
from tests.seckill.making import campaign_made
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db
PARTS = ("left", "reserved", "unpaid", "paid", "returning", "handed_back")


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> Iterator[LiveSale]:
    with commits_seen():
        yield LiveSale(valkey_server, allotment=10, limit=4)


def parts(sale: LiveSale) -> dict[str, int]:
    """Return the parts that are not 0, having checked that the equation holds."""
    equation = conservation(campaign_id=sale.pk)
    assert equation.holds, equation
    assert sum(getattr(equation, part) for part in PARTS) == equation.allotment == 10
    return {part: value for part in (*PARTS, "in_motion") if (value := getattr(equation, part))}


def order_of(reservation_id: str) -> Order:
    return Order.objects.get(reservation_id=reservation_id)


def test_equation_holds_at_every_stage(sale: LiveSale) -> None:
    user = sale.users[0]
    assert parts(sale) == {"left": 10}
    first = sale.admit(user, 2)
    assert parts(sale) == {"left": 8, "reserved": 2}
    sale.place(*sale.entries())
    assert parts(sale) == {"left": 8, "unpaid": 2}
    callback(payment_make(order_of(first)), now=sale.now)
    assert parts(sale) == {"left": 8, "paid": 2}
    second = sale.won(sale.users[1], 3)
    assert parts(sale) == {"left": 5, "unpaid": 3, "paid": 2}
    order_cancel(number=order_of(second).number, user_id=sale.users[1].pk, now=sale.now)
    assert parts(sale) == {"left": 8, "paid": 2}
    campaign_close(campaign_id=sale.pk, now=sale.now)
    assert parts(sale) == {"paid": 2, "handed_back": 8}


def test_equation_counts_as_in_motion_what_valkey_was_not_told(sale: LiveSale) -> None:
    sale.admit(sale.users[0], 2)
    waiting = sale.admit(sale.users[1], 1)
    with nobody_listens():
        decided = sale.place(sale.entries()[0])
    assert parts(sale) == {"left": 7, "reserved": 1, "unpaid": 2, "in_motion": 2}
    decided_apply(decided=decided, store=sale.store)
    assert parts(sale) == {"left": 7, "reserved": 1, "unpaid": 2}
    assert sale.record(sale.users[1], waiting) is not None


def test_equation_counts_what_is_on_its_way_back(sale: LiveSale) -> None:
    reservation_id = sale.won(sale.users[0], 2)
    with nobody_listens():
        order_cancel(number=order_of(reservation_id).number, user_id=sale.users[0].pk, now=sale.now)
    assert parts(sale) == {"left": 8, "returning": 2}


def test_equation_holds_between_valkeys_return_and_the_note_of_it(sale: LiveSale) -> None:
    reservation_id = sale.won(sale.users[0], 2)
    with nobody_listens():
        order_cancel(number=order_of(reservation_id).number, user_id=sale.users[0].pk, now=sale.now)
    order = order_of(reservation_id)
    sale.store.run([scripts.release_call(sale.pk, [outcome_of(order)], entry=None)])
    assert order.return_due
    assert parts(sale) == {"left": 10}
    return_settle(reservation_id=reservation_id, move=order.move, now=sale.now)
    assert parts(sale) == {"left": 10}


def test_equation_holds_when_an_order_ends_before_valkey_heard_that_it_was_won(sale: LiveSale) -> None:
    reservation_id = sale.admit(sale.users[0], 2)
    with nobody_listens():
        sale.place(*sale.entries())
        order_cancel(number=order_of(reservation_id).number, user_id=sale.users[0].pk, now=sale.now)
    assert parts(sale) == {"left": 8, "reserved": 2}
    sale.store.run([scripts.release_call(sale.pk, [outcome_of(order_of(reservation_id))], entry=None)])
    assert len(sale.entries()) == 1  # its entry still waits
    assert parts(sale) == {"left": 10}


def test_equation_holds_while_a_late_payment_is_decided(sale: LiveSale) -> None:
    reservation_id = sale.won(sale.users[0], 2)
    order = order_of(reservation_id)
    payment = payment_start(number=order.number, user_id=sale.users[0].pk, now=sale.now)
    late = order.expires_at + timedelta(seconds=1)  # type: ignore[operator]
    orders_expire(now=late)
    with nobody_listens():
        callback(payment, now=late)
    order = order_of(reservation_id)
    assert order.status == OrderStatus.READMITTING
    assert parts(sale) == {"left": 10}
    sale.store.run([scripts.confirm_call(sale.pk, [outcome_of(order)], entry=None)])
    assert parts(sale) == {"left": 8, "returning": 2}
    readmission_finish(reservation_id=reservation_id, move=order.move, admitted=True, now=late)
    assert parts(sale) == {"left": 8, "paid": 2}


def test_equation_holds_after_a_cancel_of_a_closed_campaign(sale: LiveSale) -> None:
    reservation_id = sale.won(sale.users[0], 2)
    sale.won(sale.users[1], 1)
    campaign_close(campaign_id=sale.pk, now=sale.now)
    assert parts(sale) == {"unpaid": 3, "handed_back": 7}
    with nobody_listens():
        order_cancel(number=order_of(reservation_id).number, user_id=sale.users[0].pk, now=sale.now)
    assert parts(sale) == {"unpaid": 1, "handed_back": 9}


@pytest.mark.parametrize(
    ("fields", "residue", "problem"),
    [
        ({"left": 7}, 1, "Valkey: left 7 + reserved 0 + confirmed 2 ≠ 10"),
        ({"left": 9}, -1, "Valkey: left 9 + reserved 0 + confirmed 2 ≠ 10"),
        ({"reserved": 1}, -1, "Valkey: left 8 + reserved 1 + confirmed 2 ≠ 10"),
        ({"confirmed": 1}, 0, "Valkey: left 8 + reserved 0 + confirmed 1 ≠ 10"),
        ({"left": 7, "confirmed": 3}, 1, None),
        ({"left": 9, "allotment": 11}, -1, None),
    ],
)
def test_equation_breaks_when_valkeys_counters_are_wrong(
    sale: LiveSale, fields: dict[str, int], residue: int, problem: str | None
) -> None:
    sale.won(sale.users[0], 2)
    sale.tamper(**fields)
    equation = conservation(campaign_id=sale.pk)
    assert not equation.holds
    assert (equation.residue, equation.problems) == (residue, [problem] if problem else [])


def test_equation_breaks_when_the_databases_counter_is_wrong(sale: LiveSale) -> None:
    sale.won(sale.users[0], 2)
    Sale.objects.filter(pk=sale.pk).update(sold=3)
    equation = conservation(campaign_id=sale.pk)
    assert equation.problems == ["database: 3 units are counted as sold, the orders hold 2"]
    assert not equation.holds


def test_equation_breaks_when_an_order_vanishes(sale: LiveSale) -> None:
    reservation_id = sale.won(sale.users[0], 2)
    order_of(reservation_id).delete()
    equation = conservation(campaign_id=sale.pk)
    assert (equation.residue, equation.problems) == (
        2,
        ["database: 2 units are counted as sold, the orders hold 0"],
    )


def test_equation_of_a_wiped_server_says_what_is_missing(sale: LiveSale) -> None:
    sale.won(sale.users[0], 2)
    sale.client.flushall()
    equation = conservation(campaign_id=sale.pk)
    assert (equation.left, equation.unpaid, equation.residue) == (0, 2, 8)
    assert equation.problems == ["the campaign's hash is missing in Valkey"]


def test_equation_is_sampled_again_while_life_goes_on(
    sale: LiveSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision that falls between the two reads of a sample is no residue."""
    sale.admit(sale.users[0], 2)
    client, genuine = sale.client, type(sale.client).hmget
    decisions = iter([True])

    def read_then_decide(self: Any, name: str, *fields: Any) -> Any:
        answer = genuine(self, name, *fields)
        if self is client and name == keys.campaign_key(sale.pk) and next(decisions, False):
            sale.place(*sale.entries())
        return answer

    monkeypatch.setattr(type(sale.client), "hmget", read_then_decide)
    assert parts(sale) == {"left": 8, "unpaid": 2}


def test_equations_of_all_published_campaigns_newest_first(sale: LiveSale) -> None:
    campaign_made(published=False, product=sale.product)
    missing = campaign_made(product=sale.product, allotment=5)
    sale_make()  # a sale without a campaign

    with translation.override("en"):
        equations = conservation_all()

    assert [(e.campaign_id, e.holds) for e in equations] == [(missing.pk, False), (sale.pk, True)]
    assert isinstance(equations[0], Equation)
    assert equations[1].name == "Race"
