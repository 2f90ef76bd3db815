"""What has happened to an order, as the shopper reads it."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from orders.models import Order, OrderStatus, Payment, PaymentStatus, RefundStatus

_ENDED = {
    OrderStatus.CANCELLED: lambda: _("You cancelled the order."),
    OrderStatus.EXPIRED: lambda: _("The pay-by time passed without a payment."),
    OrderStatus.READMITTING: lambda: _("The pay-by time passed without a payment."),
    OrderStatus.REFUSED: lambda: _("The order could not be made."),
    OrderStatus.REFUNDING: lambda: _("The order was ended and its payment goes back."),
    OrderStatus.REFUNDED: lambda: _("The order was ended and its payment went back."),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the timeline."""

    at: datetime
    text: str


def timeline(order: Order) -> list[Event]:
    """Return what has happened, oldest first. Payments and refunds are read as prefetched."""
    events = [Event(order.created_at, _("Order placed."))]
    for payment in order.payments.all():
        events += _payment_events(payment)
    if order.paid_at is not None:
        events.append(Event(order.paid_at, _("Order paid.")))
    if order.ended_at is not None and (words := _ENDED.get(OrderStatus(order.status))):
        events.append(Event(order.ended_at, words()))
    return sorted(events, key=lambda event: event.at)


def _payment_events(payment: Payment) -> list[Event]:
    events = [Event(payment.created_at, _("Payment started."))]
    if payment.settled_at is not None:
        succeeded = payment.status == PaymentStatus.SUCCEEDED
        text = _("The provider confirmed the payment.") if succeeded else _("The payment was declined.")
        events.append(Event(payment.settled_at, text))
    refund = getattr(payment, "refund", None)
    if refund is not None:
        events.append(Event(refund.created_at, _("The refund was ordered.")))
        if refund.status == RefundStatus.SUCCEEDED:
            events.append(Event(refund.settled_at, _("The provider confirmed the refund.")))
    return events
