"""Money that goes back: recorded with the decision, sent through the provider until it says yes."""

from datetime import datetime
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from orders.errors import OrderNotFound, OrderNotRefundable
from orders.models import LostReason, Order, OrderStatus, Payment, PaymentStatus, Refund, RefundStatus
from orders.payments.provider import provider_get
from orders.services.endings import orders_end
from orders.services.transactions import retry_transaction

if TYPE_CHECKING:
    from shop.accounts.models import User


def order_refund(*, number: str, actor: "User", now: datetime) -> Order:
    """Take back a paid order: its units return to the sale, its money to the shopper.

    The order is "refunding" until the provider has confirmed the refund.
    :raises OrderNotFound: there is no such order
    :raises OrderNotRefundable: it is not paid
    """
    note = _("Refunded by %(name)s") % {"name": actor.get_username()}

    def work() -> Order:
        order = Order.objects.filter(number=number).only("id").first()
        if order is None:
            raise OrderNotFound
        ended = orders_end(
            [order.pk],
            source=OrderStatus.PAID,
            target=OrderStatus.REFUNDING,
            reason=LostReason.CANCELLED,
            now=now,
        )
        if not ended:
            order.refresh_from_db(fields=["status"])
            raise OrderNotRefundable(extra={"status": order.status})
        refunds_create(ended[0], note=note, now=now)
        ended[0].refresh_from_db(fields=["status"])
        return ended[0]

    return retry_transaction(work)


def refunds_create(order: Order, *, note: str, now: datetime) -> None:
    """Record that every payment of the order which succeeded goes back, each once. To be called in a transaction."""
    for payment in order.payments.filter(status=PaymentStatus.SUCCEEDED, refund__isnull=True):
        refund_create(payment, note=note, now=now)
    _refunding_finish(order.pk)


def refund_create(payment: Payment, *, note: str, now: datetime) -> None:
    """Record that one payment goes back; a payment of nothing has nothing to send."""
    if payment.amount > 0:
        Refund.objects.create(payment=payment, amount=payment.amount, note=note[:200], created_at=now)


def refund_send(*, refund_id: int, now: datetime) -> Refund:
    """Ask the provider to send one refund and record its yes. Repeating it is safe: the provider knows the key.

    :raises ProviderUnavailable: the provider did not say yes; the refund stays due
    """
    refund = Refund.objects.select_related("payment").get(pk=refund_id)
    if refund.status == RefundStatus.SUCCEEDED:
        return refund
    payment = refund.payment
    # Outside any transaction: a slow provider must not hold rows.
    provider_get(payment.provider).refund(
        reference=payment.reference,
        amount=refund.amount,
        currency=payment.currency,
        key=f"refund-{refund.pk}",
    )

    def work() -> None:
        due = Refund.objects.filter(pk=refund_id, status=RefundStatus.DUE)
        if due.update(status=RefundStatus.SUCCEEDED, settled_at=now):
            _refunding_finish(payment.order_id)

    retry_transaction(work)
    refund.refresh_from_db()
    return refund


def _refunding_finish(order_id: int) -> None:
    """Call the order refunded as soon as none of its refunds is due."""
    if not Refund.objects.filter(payment__order_id=order_id, status=RefundStatus.DUE).exists():
        Order.objects.filter(pk=order_id, status=OrderStatus.REFUNDING).update(status=OrderStatus.REFUNDED)
