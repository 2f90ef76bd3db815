"""Reads of orders, payments and what is still on its way back to the sale's server."""

from django.db.models import Prefetch, QuerySet

from orders.errors import OrderNotFound
from orders.events import LOST_CODES, Outcome
from orders.models import HOLDING, Order, OrderStatus, Payment, Refund, RefundStatus

# Statuses under which the sale's record must say that the units are held.
_WON = frozenset({*HOLDING, OrderStatus.READMITTING})


def outcome_of(order: Order) -> Outcome:
    """Return what the order's row says about its reservation."""
    assert order.reservation_id is not None
    assert order.sale_id is not None
    assert order.user_id is not None
    won = order.status in _WON
    if won:
        detail = int(order.expires_at.timestamp()) if order.expires_at else 0
    else:
        detail = LOST_CODES[order.reason]
    return Outcome(
        reservation_id=order.reservation_id,
        sale_id=order.sale_id,
        user_id=order.user_id,
        units=order.units,
        won=won,
        move=order.move,
        detail=detail,
    )


def returns_due(limit: int) -> list[Outcome]:
    """Return the oldest ended orders whose units the sale's server has not taken back yet.

    A row without its user cannot name the record; it stays due, where the conservation check shows it.
    """
    orders = Order.objects.filter(return_due=True, reservation_id__isnull=False, user__isnull=False)
    return [outcome_of(order) for order in orders.order_by("id")[:limit]]


def readmissions_due(limit: int) -> list[Outcome]:
    """Return the late-paid orders for which the sale's server has not answered yet."""
    orders = Order.objects.filter(status=OrderStatus.READMITTING).order_by("id")
    return [outcome_of(order) for order in orders[:limit]]


def _with_parts(orders: QuerySet[Order]) -> QuerySet[Order]:
    """Return `orders` with lines and payments in two more queries, however many there are."""
    payments = Payment.objects.select_related("refund").order_by("id")
    return orders.prefetch_related("lines", Prefetch("payments", queryset=payments))


def orders_of_user(user_id: int) -> QuerySet[Order]:
    """Return the user's orders, newest first.

    Refused rows are left out: they are reservations that were lost, and are listed as such.
    """
    mine = Order.objects.filter(user_id=user_id).exclude(status=OrderStatus.REFUSED)
    return _with_parts(mine).order_by("-id")


def order_get(number: str, user_id: int) -> Order:
    """Return the user's order with this number.

    :raises OrderNotFound: it does not exist or is somebody else's
    """
    order = _with_parts(Order.objects.filter(number=number, user_id=user_id)).first()
    if order is None:
        raise OrderNotFound
    return order


def refunds_due(limit: int) -> list[int]:
    """Return ids of refunds that the provider has not confirmed yet.

    In random order, so that refunds which keep failing cannot hold up the others.
    """
    due = Refund.objects.filter(status=RefundStatus.DUE).order_by("?")
    return list(due.values_list("id", flat=True)[:limit])
