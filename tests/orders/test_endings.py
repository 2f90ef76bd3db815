"""How orders end: cancel, expiry, and where their units go."""

from datetime import timedelta

import pytest
from django.db import DatabaseError

from orders.errors import OrderNotFound, OrderNotPending
from orders.models import Order, OrderStatus, SalePhase
from orders.selectors import returns_due
from orders.services import endings
from orders.services.endings import order_cancel, orders_expire
from orders.signals import outcomes_due
from shop.catalog.models import StockEntry
from tests.orders.rows import (
    AFTER,
    NOW,
    PAY_BY,
    cancel,
    counters,
    order_make,
    ordinary_order_make,
    outcomes_heard,
    product_make,
    returned,
    sale_make,
    state,
    user_make,
)

pytestmark = pytest.mark.django_db


def test_order_cancel_gives_the_units_back_once(django_capture_on_commit_callbacks):
    sale = sale_make(sold=3)
    order = order_make(sale, units=2)

    with outcomes_heard() as heard, django_capture_on_commit_callbacks(execute=True):
        cancel(order, now=NOW)

    assert state(order) == ("cancelled", "cancelled", 2, True)
    assert order.ended_at == NOW
    assert counters(sale) == (1, 0, 0)
    assert [(o.reservation_id, o.sale_id, o.user_id, o.units, o.won, o.move, o.detail) for o in heard] == [
        (order.reservation_id, sale.pk, order.user_id, 2, False, 2, 5)
    ]
    assert returns_due(10) == heard


def test_order_cancel_twice_is_refused_and_changes_nothing():
    sale = sale_make(sold=1)
    order = order_make(sale)
    cancel(order, now=NOW)

    with pytest.raises(OrderNotPending) as caught:
        cancel(order, now=AFTER)

    assert caught.value.extra == {"status": "cancelled"}
    assert state(order) == ("cancelled", "cancelled", 2, True)
    assert order.ended_at == NOW
    assert counters(sale) == (0, 0, 0)


@pytest.mark.parametrize("status", [s for s in OrderStatus if s != OrderStatus.PENDING])
def test_order_cancel_is_refused_in_every_other_status(status):
    sale = sale_make(sold=1)
    order = order_make(sale, status=status)

    with pytest.raises(OrderNotPending) as caught:
        cancel(order, now=NOW)

    assert caught.value.extra == {"status": status.value}
    assert state(order) == (status.value, "", 1, False)
    assert counters(sale) == (1, 0, 0)


def test_order_cancel_by_somebody_else_finds_nothing():
    sale = sale_make(sold=1)
    order = order_make(sale)

    with pytest.raises(OrderNotFound):
        order_cancel(number=order.number, user_id=user_make().pk, now=NOW)

    assert state(order) == ("pending", "", 1, False)
    assert counters(sale) == (1, 0, 0)


def test_order_cancel_after_close_gives_the_units_to_ordinary_stock(django_capture_on_commit_callbacks):
    sale = sale_make(
        product=product_make(stock=5), allotment=4, sold=3, handed_back=1, phase=SalePhase.CLOSED
    )
    order = order_make(sale, units=2)

    with outcomes_heard() as heard, django_capture_on_commit_callbacks(execute=True):
        cancel(order, now=NOW)

    assert state(order) == ("cancelled", "cancelled", 2, True)
    assert counters(sale) == (1, 3, 7)
    entry = StockEntry.objects.get(product_id=sale.product_id)
    assert (entry.delta, entry.stock_before, entry.stock_after) == (2, 5, 7)
    assert (entry.reason, entry.reference) == ("campaign", order.number)
    assert [(o.won, o.move) for o in heard] == [(False, 2)]


def test_order_cancel_while_closing_leaves_the_units_to_the_close():
    sale = sale_make(sold=1, phase=SalePhase.CLOSING)
    order = order_make(sale)

    cancel(order, now=NOW)

    assert counters(sale) == (0, 0, 0)
    assert not StockEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_order_cancel_runs_again_when_the_sale_was_closed_under_it(monkeypatch):
    """The first attempt read the phase too early; its guarded update finds out, and nothing of it is kept."""
    sale = sale_make(product=product_make(stock=5), allotment=1, sold=1, phase=SalePhase.CLOSED)
    order = order_make(sale)
    stock_returns, attempts = endings._stock_returns, []

    def read_too_early(orders, closed):
        attempts.append(set(closed))
        if len(attempts) == 1:
            closed.clear()
        return stock_returns(orders, closed)

    monkeypatch.setattr(endings, "_stock_returns", read_too_early)

    with outcomes_heard() as heard:
        cancel(order, now=NOW)

    assert attempts == [{sale.pk}, {sale.pk}]
    assert state(order) == ("cancelled", "cancelled", 2, True)
    assert counters(sale) == (0, 1, 6)
    assert StockEntry.objects.count() == 1
    assert len(heard) == 1


def test_ordinary_order_cancel_returns_each_line_to_stock(django_capture_on_commit_callbacks):
    product = product_make(stock=1)
    order = ordinary_order_make(product, units=3)

    with outcomes_heard() as heard, django_capture_on_commit_callbacks(execute=True):
        cancel(order, now=NOW)

    assert state(order) == ("cancelled", "cancelled", 2, False)
    product.refresh_from_db()
    assert product.stock == 4
    entry = StockEntry.objects.get()
    assert (entry.delta, entry.reason, entry.reference) == (3, "return", order.number)
    assert heard == []


def test_orders_expire_ends_exactly_the_overdue_pending_ones(django_capture_on_commit_callbacks):
    first, second = sale_make(sold=3), sale_make(sold=2)
    overdue = [order_make(first), order_make(first, expires_at=NOW), order_make(second, units=2)]
    in_time = order_make(first, expires_at=AFTER + timedelta(seconds=1))
    paid = order_make(first, status=OrderStatus.PAID)

    with outcomes_heard() as heard, django_capture_on_commit_callbacks(execute=True):
        assert orders_expire(now=AFTER) == 3

    assert [state(order) for order in overdue] == [("expired", "payment_expired", 2, True)] * 3
    assert state(in_time) == ("pending", "", 1, False)
    assert state(paid) == ("paid", "", 1, False)
    assert (counters(first), counters(second)) == ((1, 0, 0), (0, 0, 0))
    assert {(o.reservation_id, o.units, o.won, o.move, o.detail) for o in heard} == {
        (order.reservation_id, order.units, False, 2, 4) for order in overdue
    }
    assert orders_expire(now=AFTER) == 0


def test_orders_expire_counts_the_pay_by_moment_as_over():
    order = order_make(sale_make(sold=1))

    assert orders_expire(now=PAY_BY - timedelta(microseconds=1)) == 0
    assert orders_expire(now=PAY_BY) == 1
    assert state(order)[0] == "expired"


def test_orders_expire_takes_the_longest_overdue_first_up_to_the_limit():
    sale = sale_make(sold=3)
    later, sooner, latest = (
        order_make(sale, expires_at=NOW + timedelta(seconds=seconds)) for seconds in (2, 1, 3)
    )

    assert orders_expire(now=AFTER, limit=2) == 2

    assert [state(order)[0] for order in (later, sooner, latest)] == ["expired", "expired", "pending"]
    assert counters(sale) == (1, 0, 0)


def test_orders_expire_in_chunks_ends_every_order(monkeypatch):
    monkeypatch.setattr(endings, "EXPIRE_CHUNK", 2)
    sale = sale_make(sold=5)
    user = user_make()
    for _ in range(5):
        order_make(sale, user)

    assert orders_expire(now=AFTER) == 5

    assert counters(sale) == (0, 0, 0)
    assert Order.objects.filter(status=OrderStatus.EXPIRED).count() == 5


@pytest.mark.django_db(transaction=True)
def test_orders_expire_is_not_held_up_by_a_row_that_cannot_end(caplog):
    """A sale whose counter is wrong refuses its own order; the others still end."""
    healthy, broken = sale_make(sold=1), sale_make(sold=0)
    stuck = order_make(broken, expires_at=NOW)
    good = order_make(healthy)

    with outcomes_heard() as heard:
        assert orders_expire(now=AFTER) == 1

    assert [outcome.reservation_id for outcome in heard] == [good.reservation_id]
    assert state(good) == ("expired", "payment_expired", 2, True)
    assert state(stuck) == ("pending", "", 1, False)
    assert (counters(healthy), counters(broken)) == ((0, 0, 0), (0, 0, 0))
    assert [record.getMessage() for record in caplog.records if record.name == "orders.services.endings"] == [
        "2 orders did not expire together; trying each alone",
        f"order {stuck.pk} does not expire",
    ]
    assert issubclass(caplog.records[-1].exc_info[0], DatabaseError)


def test_return_settle_clears_only_the_move_that_was_returned():
    order = order_make(sale_make(sold=1))
    cancel(order, now=NOW)

    returned(order, move=1, now=NOW)
    assert state(order) == ("cancelled", "cancelled", 2, True)

    returned(order, move=2, now=NOW)
    returned(order, move=2, now=NOW)
    assert state(order) == ("cancelled", "cancelled", 2, False)
    assert returns_due(10) == []


def test_a_failing_receiver_does_not_undo_the_ending(django_capture_on_commit_callbacks):
    sale = sale_make(sold=1)
    order = order_make(sale)

    def receiver(**_kwargs):
        raise ConnectionError("the sale's server is away")

    with outcomes_heard(), django_capture_on_commit_callbacks(execute=True):
        outcomes_due.connect(receiver)
        cancel(order, now=NOW)

    assert state(order) == ("cancelled", "cancelled", 2, True)
    assert counters(sale) == (0, 0, 0)
    assert [outcome.reservation_id for outcome in returns_due(10)] == [order.reservation_id]
