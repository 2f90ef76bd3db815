"""Refunds: recorded with the decision, sent until the provider says yes, each once."""

import pytest

from orders.errors import OrderNotFound, OrderNotRefundable, ProviderUnavailable
from orders.models import OrderStatus, PaymentStatus, Refund, SalePhase
from orders.payment_tasks import refund_send as refund_send_task
from orders.payment_tasks import refunds_sweep
from orders.payments import provider as providers
from orders.services.refunds import order_refund, refund_send
from shop.catalog.models import StockEntry
from tests.orders.rows import (
    AFTER,
    NOW,
    PRICE,
    StubbornProvider,
    callback,
    cancel,
    counters,
    order_make,
    outcomes_heard,
    payment_make,
    product_make,
    sale_make,
    state,
    user_make,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def stubborn(monkeypatch):
    provider = StubbornProvider(refusals=2, error=ProviderUnavailable)
    monkeypatch.setitem(providers._factories, "stubborn", lambda: provider)
    return provider


def paid_order(sale, **fields):
    order = order_make(sale, **fields)
    callback(payment_make(order))
    order.refresh_from_db()
    return order


def test_order_refund_gives_units_back_and_orders_the_refund(django_capture_on_commit_callbacks):
    sale = sale_make(sold=3)
    order = paid_order(sale, units=2)

    with outcomes_heard() as heard, django_capture_on_commit_callbacks(execute=True):
        order_refund(number=order.number, actor=user_make("support"), now=AFTER)

    assert state(order) == ("refunding", "cancelled", 2, True)
    assert (order.ended_at, order.paid_at) == (AFTER, NOW)
    assert counters(sale) == (1, 0, 0)
    refund = Refund.objects.get()
    assert (refund.amount, refund.status, refund.created_at) == (PRICE * 2, "due", AFTER)
    assert "support" in refund.note
    assert [(o.won, o.move, o.units, o.detail) for o in heard] == [(False, 2, 2, 5)]


def test_order_refund_twice_is_refused_and_changes_nothing():
    sale = sale_make(sold=1)
    order = paid_order(sale)
    order_refund(number=order.number, actor=user_make(), now=NOW)

    with pytest.raises(OrderNotRefundable) as caught:
        order_refund(number=order.number, actor=user_make(), now=AFTER)

    assert caught.value.extra == {"status": "refunding"}
    assert state(order) == ("refunding", "cancelled", 2, True)
    assert counters(sale) == (0, 0, 0)
    assert Refund.objects.count() == 1


@pytest.mark.parametrize("status", [s for s in OrderStatus if s != OrderStatus.PAID])
def test_order_refund_is_refused_unless_paid(status):
    sale = sale_make(sold=1)
    order = order_make(sale, status=status)
    payment_make(order, status=PaymentStatus.SUCCEEDED)

    with pytest.raises(OrderNotRefundable):
        order_refund(number=order.number, actor=user_make(), now=NOW)

    assert state(order) == (status.value, "", 1, False)
    assert counters(sale) == (1, 0, 0)
    assert not Refund.objects.exists()


def test_order_refund_of_an_unknown_number_finds_nothing():
    with pytest.raises(OrderNotFound):
        order_refund(number="A" * 16, actor=user_make(), now=NOW)


def test_order_refund_after_close_gives_the_units_to_ordinary_stock():
    sale = sale_make(product=product_make(stock=0), allotment=1, sold=1, phase=SalePhase.CLOSED)
    order = paid_order(sale)

    order_refund(number=order.number, actor=user_make(), now=NOW)

    assert counters(sale) == (0, 1, 1)
    assert [(entry.delta, entry.reference) for entry in StockEntry.objects.all()] == [(1, order.number)]


def test_a_free_order_has_nothing_to_send_back():
    order = order_make(sale_make(sold=1))
    order.total = 0
    order.save()
    callback(payment_make(order))

    order_refund(number=order.number, actor=user_make(), now=NOW)

    assert state(order) == ("refunded", "cancelled", 2, True)
    assert not Refund.objects.exists()


def test_refund_is_retried_until_the_provider_says_yes(stubborn):
    order = paid_order(sale_make(sold=1))
    payment = order.payments.get()
    payment.provider = "stubborn"
    payment.save()
    order_refund(number=order.number, actor=user_make(), now=NOW)
    refund = Refund.objects.get()

    answers = [refund_send_task(refund_id=refund.pk) for _ in range(2)]

    refund.refresh_from_db()
    assert answers == [False, False]
    assert (refund.status, refund.settled_at) == ("due", None)
    assert state(order)[0] == "refunding"

    assert refund_send(refund_id=refund.pk, now=AFTER).status == "succeeded"
    assert refund_send_task(refund_id=refund.pk) is True

    refund.refresh_from_db()
    assert refund.settled_at == AFTER
    assert state(order) == ("refunded", "cancelled", 2, True)
    assert stubborn.asked == [(payment.reference, PRICE, "CNY", f"refund-{refund.pk}")] * 3


def test_refund_of_a_payment_that_an_ended_order_could_not_use_leaves_its_status():
    order = order_make(sale_make(sold=1))
    payment = payment_make(order)
    cancel(order, now=NOW)
    callback(payment)

    assert refund_send(refund_id=payment.refund.pk, now=AFTER).status == "succeeded"

    assert state(order) == ("cancelled", "cancelled", 2, True)


def test_refunds_sweep_queues_exactly_the_due_ones(monkeypatch):
    due = []
    for _ in range(2):
        order = paid_order(sale_make(sold=1))
        order_refund(number=order.number, actor=user_make(), now=NOW)
        due.append(Refund.objects.get(payment__order=order).pk)
    sent = paid_order(sale_make(sold=1))
    order_refund(number=sent.number, actor=user_make(), now=NOW)
    refund_send(refund_id=Refund.objects.get(payment__order=sent).pk, now=NOW)
    queued = []
    monkeypatch.setattr(refund_send_task, "apply_async", lambda **words: queued.append(words))

    assert refunds_sweep(added_by_a_later_version=True) == 2

    assert sorted(words["kwargs"]["refund_id"] for words in queued) == due
    assert {words["expires"] for words in queued} == {60}
