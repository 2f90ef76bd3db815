"""Payment, cancel and expiry of one order at one moment: one wins, and the units go back at most once.

Each race has a twin without its guard; the twin must go wrong, else the race proves nothing.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from django.db import transaction
from django.db.models import F, Sum

from orders.errors import OrderNotPending
from orders.models import HOLDING, Order, OrderStatus, Payment, Refund, RefundStatus, Sale, SalePhase
from orders.services import endings, late_payments, payments
from orders.services.endings import orders_expire
from orders.services.late_payments import readmission_finish
from orders.services.refunds import order_refund
from tests.concurrency.sales import WAIT_SECONDS, together
from tests.orders.rows import (
    AFTER,
    callback,
    cancel,
    counters,
    order_make,
    outcomes_heard,
    payment_make,
    product_make,
    returned,
    sale_make,
    user_make,
)

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 12


def sold_as_counted(sale: Sale) -> int:
    """Return the units that the rows of the orders hold."""
    held = Order.objects.filter(sale=sale, status__in=HOLDING)
    return held.aggregate(units=Sum("units"))["units"] or 0


@pytest.mark.parametrize("phase", [SalePhase.OPEN, SalePhase.CLOSED])
def test_pay_cancel_and_expire_have_one_winner(phase):
    wins = dict.fromkeys(("paid", "cancelled", "expired"), 0)
    for _ in range(ROUNDS):
        sale = sale_make(product=product_make(stock=0), allotment=2, sold=2, phase=phase)
        order = order_make(sale, units=2)
        payment = payment_make(order)

        with outcomes_heard() as heard:
            paid, cancelled, expired = together(
                partial(callback, payment, now=AFTER),
                partial(cancel, order, now=AFTER),
                partial(orders_expire, now=AFTER),
            )

        order.refresh_from_db()
        wins[order.status] += 1
        assert isinstance(paid, Payment)
        assert paid.status == "succeeded"
        assert isinstance(cancelled, Order if order.status == "cancelled" else OrderNotPending)
        assert expired == (1 if order.status == "expired" else 0)
        kept = order.status == "paid"
        assert (order.move, order.return_due) == ((1, False) if kept else (2, True))
        assert [outcome.move for outcome in heard] == ([] if kept else [2])
        sold, handed_back, stock = counters(sale)
        assert sold == sold_as_counted(sale) == (2 if kept else 0)
        given = 2 if phase == SalePhase.CLOSED and not kept else 0
        assert (handed_back, stock) == (given, given)
        # An expired order's money waits for the return, a cancelled one's goes back at once; none is lost.
        assert Refund.objects.filter(payment=payment).count() == (1 if order.status == "cancelled" else 0)
    assert sum(wins.values()) == ROUNDS


@contextmanager
def read_then_save(monkeypatch: pytest.MonkeyPatch, parties: int) -> Iterator[None]:
    """Replace the compare-and-set by a read, a wait until every other one has read too, and a write."""
    barrier = threading.Barrier(parties, timeout=WAIT_SECONDS)
    read_status: dict[int, str] = {}

    def read(pk: int) -> None:
        read_status[threading.get_ident()] = Order.objects.get(pk=pk).status
        barrier.wait()

    def unguarded(pk, source, target, reason, now, conditions) -> bool:
        if read_status[threading.get_ident()] != source:
            return False
        Order.objects.filter(pk=pk).update(
            status=target, reason=reason, ended_at=now, move=F("move") + 1, return_due=True
        )
        return True

    def unguarded_pay(payment, now) -> None:
        if read_status[threading.get_ident()] == OrderStatus.PENDING:
            Order.objects.filter(pk=payment.order_id).update(status=OrderStatus.PAID, paid_at=now)

    with monkeypatch.context() as patch:
        patch.setattr(endings, "_compare_and_set", unguarded)
        patch.setattr(payments, "_order_pay", unguarded_pay)
        # The read stands before the transaction: SQLite's would let no second reader in.
        patch.setattr("tests.concurrency.test_pay_cancel_expire.before", read)
        yield


def before(pk: int) -> None:
    """Stand where the twin reads; with the guard on nothing is read ahead."""


def cancel_after_reading(order: Order) -> object:
    before(order.pk)
    return cancel(order, now=AFTER)


def expire_after_reading(order: Order) -> object:
    before(order.pk)
    return endings._expire([order.pk], AFTER)


def pay_after_reading(order: Order, payment: Payment) -> object:
    before(order.pk)
    return callback(payment, now=AFTER)


def race_cancel_and_expire() -> tuple[int, int]:
    """Race cancel against expiry; return (units sold, units that the rows hold)."""
    sale = sale_make(sold=4)
    order, other = order_make(sale, units=2), order_make(sale, units=2, status=OrderStatus.PAID)
    with outcomes_heard():
        together(lambda: cancel_after_reading(order), lambda: expire_after_reading(order))
    assert Order.objects.get(pk=other.pk).status == "paid"
    return counters(sale)[0], sold_as_counted(sale)


def race_pay_and_cancel() -> tuple[int, int]:
    """Race payment against cancel; return (units that left the sale, winners among the two)."""
    sale = sale_make(sold=2)
    order = order_make(sale, units=2)
    payment = payment_make(order)
    with outcomes_heard():
        together(lambda: pay_after_reading(order, payment), lambda: cancel_after_reading(order))
    order.refresh_from_db()
    won = int(order.paid_at is not None) + int(order.ended_at is not None)
    return 2 - counters(sale)[0], won


def test_cancel_and_expire_return_the_units_once():
    for _ in range(ROUNDS):
        assert race_cancel_and_expire() == (2, 2)


@pytest.mark.twin
def test_cancel_and_expire_without_compare_and_set_return_them_twice(monkeypatch):
    with read_then_save(monkeypatch, parties=2):
        assert race_cancel_and_expire() == (0, 2)


def test_pay_and_cancel_have_one_winner():
    for _ in range(ROUNDS):
        returned, won = race_pay_and_cancel()
        assert (returned, won) in {(0, 1), (2, 1)}


@pytest.mark.twin
def test_pay_and_cancel_without_compare_and_set_have_two_winners(monkeypatch):
    with read_then_save(monkeypatch, parties=2):
        assert race_pay_and_cancel() == (2, 2)


def test_the_same_callback_many_times_at_once_has_one_effect():
    for _ in range(ROUNDS // 2):
        sale = sale_make(sold=1)
        order = order_make(sale)
        payment = payment_make(order)

        results = together(*[partial(callback, payment, now=AFTER)] * 4)

        assert [getattr(result, "status", result) for result in results] == ["succeeded"] * 4
        order.refresh_from_db()
        assert (order.status, order.move) == ("paid", 1)
        assert counters(sale)[0] == 1
        assert not Refund.objects.filter(payment=payment).exists()


def test_two_refunds_at_once_return_units_and_money_once():
    actor = user_make()
    for _ in range(ROUNDS // 2):
        sale = sale_make(sold=1)
        order = order_make(sale)
        payment = payment_make(order)
        callback(payment)

        with outcomes_heard() as heard:
            results = together(*[partial(order_refund, number=order.number, actor=actor, now=AFTER)] * 3)

        assert sum(isinstance(result, Order) for result in results) == 1
        order.refresh_from_db()
        assert (order.status, order.move) == ("refunding", 2)
        assert counters(sale)[0] == 0
        assert len(heard) == 1
        assert [refund.status for refund in Refund.objects.filter(payment=payment)] == [RefundStatus.DUE]


def late_payment_against_return() -> str:
    """Race a late payment's callback against the return of the units; return the order's status."""
    order = order_make(sale_make(sold=1))
    payment = payment_make(order)
    with outcomes_heard():
        orders_expire(now=AFTER)
        together(
            lambda: callback(payment, now=AFTER),
            lambda: returned(order, move=2, now=AFTER),
        )
    order.refresh_from_db()
    return order.status


def test_late_payment_is_never_left_between_callback_and_return():
    """Whichever comes first, the money is decided about: the order is being readmitted, not just expired."""
    assert [late_payment_against_return() for _ in range(ROUNDS)] == ["readmitting"] * ROUNDS


@pytest.mark.twin
def test_late_payment_without_the_row_lock_is_left_lying(monkeypatch):
    """The twin reads the order before the return and commits after it: nobody decides any more."""
    read, is_back = threading.Event(), threading.Event()

    def unlocked_pay(payment, now) -> None:
        stale = next(stale_orders)
        late_payments.late_payment_decide(stale, payment, now=now)

    order = order_make(sale_make(sold=1))
    payment = payment_make(order)
    with outcomes_heard():
        orders_expire(now=AFTER)
    stale_orders = iter([Order.objects.get(pk=order.pk)])
    monkeypatch.setattr(payments, "_order_pay", unlocked_pay)

    def pay_late() -> None:
        read.set()
        assert is_back.wait(WAIT_SECONDS)
        callback(payment, now=AFTER)

    def settle() -> None:
        assert read.wait(WAIT_SECONDS)
        returned(order, move=2, now=AFTER)
        is_back.set()

    with outcomes_heard():
        assert together(pay_late, settle) == [None, None]

    order.refresh_from_db()
    assert (order.status, order.return_due) == ("expired", False)
    assert not Refund.objects.exists()


def two_readmissions(finish: Callable[..., object]) -> tuple[int, int]:
    """Readmit two late-paid orders of one user whose limit allows one; return (units sold, units held)."""
    user = user_make()
    sale = sale_make(sold=0, limit_per_user=1)
    orders = [order_make(sale, user, status=OrderStatus.READMITTING, move=3) for _ in range(2)]
    with outcomes_heard():
        results = together(*[partial(finish, order) for order in orders])
    assert results == [None, None]
    return counters(sale)[0], sold_as_counted(sale)


def finish_readmission(order: Order) -> None:
    assert order.reservation_id is not None
    readmission_finish(reservation_id=order.reservation_id, move=3, admitted=True, now=AFTER)


def test_two_readmissions_of_one_user_keep_to_the_limit():
    for _ in range(ROUNDS // 2):
        assert two_readmissions(finish_readmission) == (1, 1)


@pytest.mark.twin
def test_two_readmissions_without_the_sale_lock_break_the_limit():
    """The twin looks at the user's units before it holds the sale's row."""
    barrier = threading.Barrier(2, timeout=WAIT_SECONDS)

    def looks_first(order: Order) -> None:
        assert order.sale is not None
        held = sold_as_counted(order.sale)
        barrier.wait()
        assert held + order.units <= 1
        with transaction.atomic():
            Sale.objects.filter(pk=order.sale.pk).update(sold=F("sold") + order.units)
            Order.objects.filter(pk=order.pk).update(status=OrderStatus.PAID)

    assert two_readmissions(looks_first) == (2, 2)
