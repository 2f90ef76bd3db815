"""Celery tasks of payments: refunds on their way to the provider, and the sandbox's later callbacks."""

import logging
from datetime import datetime
from typing import Any

from celery import shared_task
from django.db import OperationalError
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from orders.errors import ProviderUnavailable
from orders.models import Payment
from orders.payments.sandbox import SandboxOutcome, sandbox_from_settings
from orders.selectors import refunds_due
from orders.services import refunds
from orders.services.payments import payment_callback

logger = logging.getLogger(__name__)

REFUNDS_A_SWEEP = 200
# A queued refund that was not taken up by then is queued again by a later sweep.
REFUND_MESSAGE_SECONDS = 60
DELIVERY_RETRIES = 10


@shared_task(name="orders.refund_send", acks_late=True, reject_on_worker_lost=True)
def refund_send(*, refund_id: int, **_later: Any) -> bool:
    """Send one refund through its provider; without its yes the refund stays due for the next sweep."""
    try:
        refunds.refund_send(refund_id=refund_id, now=timezone.now())
    except ProviderUnavailable:
        logger.warning("refund %d is not confirmed by the provider yet", refund_id, exc_info=True)
        return False
    return True


@shared_task(name="orders.refunds_sweep", acks_late=True, reject_on_worker_lost=True)
def refunds_sweep(**_later: Any) -> int:
    """Queue the refunds that are due, each as a task of its own, so that a slow one holds up no other."""
    due = refunds_due(REFUNDS_A_SWEEP)
    for refund_id in due:
        refund_send.apply_async(kwargs={"refund_id": refund_id}, expires=REFUND_MESSAGE_SECONDS)
    return len(due)


@shared_task(
    name="orders.sandbox_deliver",
    acks_late=True,
    reject_on_worker_lost=True,
    autoretry_for=(OperationalError,),
    retry_backoff=True,
    max_retries=DELIVERY_RETRIES,
)
def sandbox_deliver(*, body: str, headers: dict[str, str], **_later: Any) -> str:
    """Deliver one of the sandbox's callbacks, as if it had come over the network."""
    payment = payment_callback(provider="sandbox", body=body.encode(), headers=headers, now=timezone.now())
    return payment.status


def sandbox_play(payment: Payment, outcome: SandboxOutcome, *, now: datetime) -> None:
    """Let the sandbox play one outcome of a payment: callbacks of now are delivered, later ones queued.

    :raises ProviderUnavailable: the later ones cannot be queued
    """
    sandbox = sandbox_from_settings()
    if sandbox is None:
        raise ProviderUnavailable
    deliveries = sandbox.play(
        outcome,
        reference=payment.reference,
        amount=payment.amount,
        currency=payment.currency,
        pay_by=payment.order.expires_at,
        now=now,
    )
    for delivery in deliveries:
        if delivery.after_seconds == 0:
            payment_callback(provider=sandbox.name, body=delivery.body, headers=delivery.headers, now=now)
            continue
        kwargs = {"body": delivery.body.decode(), "headers": delivery.headers}
        try:
            sandbox_deliver.apply_async(kwargs=kwargs, countdown=delivery.after_seconds)
        except BrokerError as error:
            raise ProviderUnavailable from error
