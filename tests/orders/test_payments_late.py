"""A payment after the pay window: readmitted where the units are still free, else sent back."""

import pytest

from orders.models import OrderStatus, PaymentStatus, Refund, SalePhase
from orders.selectors import readmissions_due, returns_due
from orders.services.endings import orders_expire
from orders.services.late_payments import readmission_finish
from tests.orders.rows import (
    AFTER,
    NOW,
    PAY_BY,
    PRICE,
    callback,
    cancel,
    counters,
    order_make,
    outcomes_heard,
    payment_make,
    returned,
    sale_make,
    state,
)

pytestmark = pytest.mark.django_db


def expired_order(sale, *, settled=True, **fields):
    order = order_make(sale, **fields)
    orders_expire(now=AFTER)
    if settled:
        returned(order, move=2, now=AFTER)
    order.refresh_from_db()
    return order


def finish(order, *, admitted, move=3):
    readmission_finish(reservation_id=order.reservation_id, move=move, admitted=admitted, now=AFTER)


def refunds():
    return [(refund.payment_id, refund.amount, refund.status) for refund in Refund.objects.order_by("id")]


def test_late_payment_asks_for_the_units_once_more(django_capture_on_commit_callbacks):
    sale = sale_make(sold=1)
    order = expired_order(sale)
    payment = payment_make(order)

    with outcomes_heard() as heard, django_capture_on_commit_callbacks(execute=True):
        assert callback(payment, now=AFTER).status == "succeeded"
        callback(payment, now=AFTER)

    assert state(order) == ("readmitting", "payment_expired", 3, False)
    assert counters(sale) == (0, 0, 0)
    assert [(o.reservation_id, o.units, o.won, o.move, o.detail) for o in heard] == [
        (order.reservation_id, 1, True, 3, int(PAY_BY.timestamp()))
    ]
    assert readmissions_due(10) == heard
    assert refunds() == []


def test_late_payment_admitted_is_a_paid_order():
    sale = sale_make(sold=2)
    order = expired_order(sale, units=1)
    callback(payment_make(order), now=AFTER)

    finish(order, admitted=True)
    finish(order, admitted=True)
    finish(order, admitted=False)

    assert state(order) == ("paid", "", 3, False)
    assert (order.paid_at, order.ended_at) == (AFTER, None)
    assert counters(sale) == (2, 0, 0)
    assert refunds() == []
    assert readmissions_due(10) == []


def test_late_payment_refused_goes_back(django_capture_on_commit_callbacks):
    sale = sale_make(sold=1)
    order = expired_order(sale)
    payment = payment_make(order)
    callback(payment, now=AFTER)

    with outcomes_heard() as heard, django_capture_on_commit_callbacks(execute=True):
        finish(order, admitted=False)
        finish(order, admitted=True)

    assert state(order) == ("refunding", "payment_expired", 4, True)
    assert counters(sale) == (0, 0, 0)
    assert refunds() == [(payment.pk, PRICE, "due")]
    assert [(o.won, o.move, o.detail) for o in heard] == [(False, 4, 4)]
    assert returns_due(10) == heard


def test_an_answer_to_an_older_move_changes_nothing():
    order = expired_order(sale_make(sold=1))
    callback(payment_make(order), now=AFTER)

    finish(order, admitted=True, move=2)

    assert state(order) == ("readmitting", "payment_expired", 3, False)


@pytest.mark.parametrize(
    ("sale_fields", "why"),
    [
        ({"allotment": 3, "sold": 3}, "sold to others meanwhile"),
        ({"allotment": 4, "sold": 2, "handed_back": 2}, "handed back"),
        ({"phase": SalePhase.CLOSED}, "closed"),
    ],
)
def test_readmission_that_the_database_refuses_goes_back(sale_fields, why):
    sale = sale_make(sold=1)
    order = expired_order(sale)
    payment = payment_make(order)
    callback(payment, now=AFTER)
    for name, value in sale_fields.items():
        setattr(sale, name, value)
    sale.save()
    before = counters(sale)

    finish(order, admitted=True)

    assert state(order) == ("refunding", "payment_expired", 4, True), why
    assert counters(sale) == before
    assert refunds() == [(payment.pk, PRICE, "due")]


def test_readmission_over_the_users_limit_goes_back():
    sale = sale_make(sold=1, limit_per_user=2)
    order = expired_order(sale, units=1)
    callback(payment_make(order), now=AFTER)
    order_make(sale, order.user, units=2)
    sale.sold = 2
    sale.save()

    finish(order, admitted=True)

    assert state(order) == ("refunding", "payment_expired", 4, True)
    assert counters(sale) == (2, 0, 0)


def test_readmission_up_to_the_users_limit_is_admitted():
    sale = sale_make(sold=1, limit_per_user=2)
    order = expired_order(sale, units=1)
    callback(payment_make(order), now=AFTER)
    order_make(sale, order.user, units=1)
    order_make(sale, order.user, units=2, status=OrderStatus.REFUNDED)
    sale.sold = 1
    sale.save()

    finish(order, admitted=True)

    assert state(order) == ("paid", "", 3, False)
    assert counters(sale) == (2, 0, 0)


def test_late_payment_waits_until_the_units_are_back():
    """Between expiry and return the sale's server still counts the units as held: nothing can be decided yet."""
    sale = sale_make(sold=1)
    order = expired_order(sale, settled=False)
    payment = payment_make(order)

    assert callback(payment, now=AFTER).status == "succeeded"
    assert state(order) == ("expired", "payment_expired", 2, True)
    assert refunds() == []

    returned(order, move=2, now=AFTER)
    assert state(order) == ("readmitting", "payment_expired", 3, False)
    assert refunds() == []


def test_late_payment_that_waited_goes_back_if_the_sale_closed_meanwhile():
    sale = sale_make(sold=1)
    order = expired_order(sale, settled=False)
    payment = payment_make(order)
    callback(payment, now=AFTER)
    sale.refresh_from_db()
    sale.phase = SalePhase.CLOSED
    sale.save()

    returned(order, move=2, now=AFTER)

    assert state(order) == ("expired", "payment_expired", 2, False)
    assert refunds() == [(payment.pk, PRICE, "due")]


def test_two_late_payments_keep_one_and_send_one_back():
    order = expired_order(sale_make(sold=1), settled=False)
    first = payment_make(order, status=PaymentStatus.DECLINED)
    second = payment_make(order)
    callback(second, now=AFTER)
    callback(first, now=AFTER)
    assert refunds() == [(first.pk, PRICE, "due")]

    returned(order, move=2, now=AFTER)

    assert state(order)[0] == "readmitting"
    assert refunds() == [(first.pk, PRICE, "due")]


def test_a_payment_while_readmitting_goes_back_alone():
    order = expired_order(sale_make(sold=1))
    first = payment_make(order, status=PaymentStatus.DECLINED)
    callback(payment_make(order), now=AFTER)

    callback(first, now=AFTER)
    finish(order, admitted=True)

    assert state(order)[0] == "paid"
    assert refunds() == [(first.pk, PRICE, "due")]


@pytest.mark.parametrize("phase", [SalePhase.CLOSING, SalePhase.CLOSED])
def test_late_payment_of_a_sale_that_is_over_goes_back_at_once(phase):
    sale = sale_make(sold=1)
    order = expired_order(sale)
    sale.refresh_from_db()
    sale.phase = phase
    sale.save()
    payment = payment_make(order)

    callback(payment, now=AFTER)

    assert state(order) == ("expired", "payment_expired", 2, False)
    assert refunds() == [(payment.pk, PRICE, "due")]


def test_a_readmitted_order_is_no_longer_pending_for_cancel_or_expiry():
    sale = sale_make(sold=1)
    order = expired_order(sale)
    callback(payment_make(order), now=AFTER)
    finish(order, admitted=True)

    assert orders_expire(now=AFTER) == 0
    with pytest.raises(Exception, match=r"orders\.not_pending"):
        cancel(order, now=NOW)
    assert counters(sale) == (1, 0, 0)
