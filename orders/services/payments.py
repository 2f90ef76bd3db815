"""Payments: started by the shopper, moved on by the provider's signed callback alone."""

import secrets
from collections.abc import Mapping
from datetime import datetime

from django.conf import settings

from orders.errors import AmountMismatch, OrderNotFound, OrderNotPending, PaymentNotFound, PayWindowOver
from orders.models import Order, OrderStatus, Payment, PaymentStatus
from orders.payments.provider import Notice, provider_get
from orders.services.late_payments import late_payment_decide
from orders.services.transactions import retry_transaction


def payment_start(*, number: str, user_id: int, now: datetime) -> Payment:
    """Start a payment of the user's order, or return the one that is already under way.

    So pressing Pay twice pays once.
    :raises OrderNotFound: the order does not exist or is somebody else's
    :raises OrderNotPending: it is paid, or has ended
    :raises PayWindowOver: its pay-by time has passed
    """
    provider = provider_get(settings.PAYMENT_PROVIDER)

    def work() -> Payment:
        order = Order.objects.select_for_update().filter(number=number, user_id=user_id).first()
        if order is None:
            raise OrderNotFound
        if order.status != OrderStatus.PENDING:
            raise OrderNotPending(extra={"status": order.status})
        if order.expires_at is not None and order.expires_at <= now:
            raise PayWindowOver
        under_way = order.payments.filter(provider=provider.name, status=PaymentStatus.CREATED).first()
        return under_way or Payment.objects.create(
            order=order,
            provider=provider.name,
            reference=secrets.token_hex(16),
            amount=order.total,
            currency=order.currency,
            created_at=now,
        )

    return retry_transaction(work)


def payment_callback(*, provider: str, body: bytes, headers: Mapping[str, str], now: datetime) -> Payment:
    """Apply a provider's message about one payment, once however often it arrives, and return the payment.

    Age is no reason to refuse: money that has moved is recorded, then kept or sent back.
    :raises ProviderUnknown: no such provider
    :raises BadSignature: it is not signed with the provider's key
    :raises CallbackMalformed: it is signed, but not understood
    :raises PaymentNotFound: no such payment was started
    :raises AmountMismatch: amount or currency are not the order's; nothing changes
    """
    notice = provider_get(provider).callback_read(body=body, headers=headers)
    return retry_transaction(lambda: _notice_apply(provider, notice, now))


def _notice_apply(provider: str, notice: Notice, now: datetime) -> Payment:
    payment = Payment.objects.filter(provider=provider, reference=notice.reference).first()
    if payment is None:
        raise PaymentNotFound
    if (notice.amount, notice.currency) != (payment.amount, payment.currency):
        raise AmountMismatch
    attempt = Payment.objects.filter(pk=payment.pk)
    if not notice.succeeded:
        attempt.filter(status=PaymentStatus.CREATED).update(status=PaymentStatus.DECLINED, settled_at=now)
    # A provider may decline first and succeed later; never the other way round.
    elif attempt.exclude(status=PaymentStatus.SUCCEEDED).update(
        status=PaymentStatus.SUCCEEDED, settled_at=now
    ):
        _order_pay(payment, now)
    payment.refresh_from_db()
    return payment


def _order_pay(payment: Payment, now: datetime) -> None:
    """Mark the order paid if it is still pending; else decide what becomes of the money."""
    pending = Order.objects.filter(pk=payment.order_id, status=OrderStatus.PENDING)
    if pending.update(status=OrderStatus.PAID, paid_at=now):
        return
    # Under the row's lock, so that `return_settle` either sees this payment or has already run.
    order = Order.objects.select_for_update().get(pk=payment.order_id)
    late_payment_decide(order, payment, now=now)
