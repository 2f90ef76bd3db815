"""Money that came after the pay window: the units are taken once more if they are still free, else it goes back."""

import logging
from datetime import datetime

from django.db.models import F, Sum
from django.utils.translation import gettext_noop

from orders.models import HOLDING, LostReason, Order, OrderStatus, Payment, PaymentStatus, Sale, SalePhase
from orders.services.endings import outcomes_announce
from orders.services.refunds import refund_create, refunds_create
from orders.services.transactions import retry_transaction

logger = logging.getLogger(__name__)

TOO_LATE = gettext_noop("The payment came too late.")
NOT_PAYABLE = gettext_noop("The order was not waiting for this payment.")


def late_payment_decide(order: Order, payment: Payment, *, now: datetime) -> None:
    """Readmit the order, wait, or refund, for a payment that succeeded while the order was not pending.

    To be called in a transaction that holds the lock on the order's row. While the sale's server has not
    taken the units back yet nothing can be decided: `return_settle` asks again.
    """
    waiting = order.payments.filter(status=PaymentStatus.SUCCEEDED, refund__isnull=True).exclude(
        pk=payment.pk
    )
    if order.status != OrderStatus.EXPIRED or waiting.exists():
        refund_create(payment, note=NOT_PAYABLE, now=now)
        return
    if order.reservation_id is not None and order.return_due:
        return
    if order.sale is None or order.sale.phase != SalePhase.OPEN:
        refund_create(payment, note=TOO_LATE, now=now)
        return
    expired = Order.objects.filter(pk=order.pk, status=OrderStatus.EXPIRED, return_due=False)
    expired.update(status=OrderStatus.READMITTING, move=F("move") + 1)
    order.refresh_from_db()
    outcomes_announce([order])
    logger.info("order %s was paid late; its units are asked for again", order.number)


def return_settle(*, reservation_id: str, move: int, now: datetime) -> None:
    """Note that the sale's server has taken the units back, if the order has not changed sides since.

    A late payment that waited for this is decided now. Repeating it changes nothing.
    """

    def work() -> None:
        row = Order.objects.filter(reservation_id=reservation_id, move=move, return_due=True)
        if not row.update(return_due=False):
            return
        late = Payment.objects.select_related("order").filter(
            order__reservation_id=reservation_id,
            order__status=OrderStatus.EXPIRED,
            status=PaymentStatus.SUCCEEDED,
            refund__isnull=True,
        )
        for payment in late.order_by("id"):
            late_payment_decide(payment.order, payment, now=now)

    retry_transaction(work)


def readmission_finish(*, reservation_id: str, move: int, admitted: bool, now: datetime) -> None:
    """End the readmission of a late-paid order: paid if its units were free everywhere, else the money goes back.

    admitted: whether the sale's server took the units once more. An answer to an older `move` changes nothing.
    """

    def work() -> None:
        order = (
            Order.objects.select_for_update()
            .filter(reservation_id=reservation_id, move=move, status=OrderStatus.READMITTING)
            .first()
        )
        if order is None:
            return
        readmitting = Order.objects.filter(pk=order.pk, status=OrderStatus.READMITTING)
        if admitted and _units_take_again(order):
            readmitting.update(status=OrderStatus.PAID, reason="", paid_at=now, ended_at=None)
            return
        # The newer move takes the units back from the sale's server, if it had given them.
        readmitting.update(
            status=OrderStatus.REFUNDING,
            reason=LostReason.PAYMENT_EXPIRED,
            move=F("move") + 1,
            return_due=True,
        )
        order.refresh_from_db()
        refunds_create(order, note=TOO_LATE, now=now)
        outcomes_announce([order])

    retry_transaction(work)


def _units_take_again(order: Order) -> bool:
    """Count the units as sold once more, if the sale and the user's limit allow it, under the sale's row lock."""
    assert order.sale_id is not None
    assert order.user_id is not None
    sale = Sale.objects.select_for_update().get(pk=order.sale_id)
    holding = Order.objects.filter(sale_id=sale.pk, user_id=order.user_id, status__in=HOLDING)
    held_units = holding.aggregate(units=Sum("units"))["units"] or 0
    if held_units + order.units > sale.limit_per_user:
        return False
    free = Sale.objects.filter(pk=sale.pk, allotment__gte=F("sold") + F("handed_back") + order.units).exclude(
        phase=SalePhase.CLOSED
    )
    return bool(free.update(sold=F("sold") + order.units))
