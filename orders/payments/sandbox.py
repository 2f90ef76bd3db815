"""The sandbox: a provider that moves no money and plays every outcome on demand, signed like a real one's."""

import hashlib
import hmac
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

from orders.errors import BadSignature, CallbackMalformed
from orders.payments.provider import Notice

logger = logging.getLogger(__name__)

NAME = "sandbox"
TIMESTAMP_HEADER = "X-Sandbox-Timestamp"
SIGNATURE_HEADER = "X-Sandbox-Signature"
SLOW_SECONDS = 20  # long enough to see the order wait
LATE_SECONDS = 30  # after the pay-by time: later than the sweep that expires orders
_AMOUNT = re.compile(r"[0-9]{1,10}\.[0-9]{2}")
_OUTCOMES = {"success": True, "decline": False}


class SandboxOutcome(TextChoices):
    """What the shopper lets the sandbox do."""

    SUCCESS = "success", _("Pay successfully")
    DECLINE = "decline", _("Be declined")
    TWICE = "twice", _("Pay, with the confirmation arriving twice")
    SLOW = "slow", _("Pay, with the confirmation after 20 seconds")
    LATE = "late", _("Pay, with the confirmation after the pay-by time")
    ABANDON = "abandon", _("Leave without paying")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One callback as it goes over the wire, and when."""

    after_seconds: int
    body: bytes
    headers: dict[str, str]


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the hexadecimal HMAC-SHA256 over `timestamp.body`."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class SandboxProvider:
    """The provider's two sides: it reads callbacks as the shop, and signs them as the sandbox."""

    secret: str
    name: str = NAME

    def callback_read(self, *, body: bytes, headers: Mapping[str, str]) -> Notice:
        """Check signature, then shape, of one callback; see PaymentProvider."""
        given = {name.lower(): value for name, value in headers.items()}
        timestamp = given.get(TIMESTAMP_HEADER.lower(), "")
        expected = signature(self.secret, timestamp, body)
        # Bytes: compare_digest refuses text that is not ASCII.
        if not hmac.compare_digest(expected.encode(), given.get(SIGNATURE_HEADER.lower(), "").encode()):
            raise BadSignature
        return _notice(body)

    def refund(self, *, reference: str, amount: Decimal, currency: str, key: str) -> None:
        """Say yes: no money moved, so none has to move back."""
        logger.info("sandbox refund %s of %s %s for %s", key, amount, currency, reference)

    def callback_make(
        self, *, reference: str, succeeded: bool, amount: Decimal, currency: str, now: datetime
    ) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of a signed callback."""
        outcome = "success" if succeeded else "decline"
        fields = {"reference": reference, "outcome": outcome, "amount": f"{amount:.2f}", "currency": currency}
        body = json.dumps(fields).encode()
        timestamp = str(int(now.timestamp()))
        return body, {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature(self.secret, timestamp, body)}

    def play(
        self,
        outcome: SandboxOutcome,
        *,
        reference: str,
        amount: Decimal,
        currency: str,
        pay_by: datetime | None,
        now: datetime,
    ) -> list[Delivery]:
        """Return the callbacks that this outcome causes."""
        if outcome == SandboxOutcome.ABANDON:
            return []
        body, headers = self.callback_make(
            reference=reference,
            succeeded=outcome != SandboxOutcome.DECLINE,
            amount=amount,
            currency=currency,
            now=now,
        )
        after_seconds = 0
        if outcome == SandboxOutcome.SLOW:
            after_seconds = SLOW_SECONDS
        elif outcome == SandboxOutcome.LATE:
            left_seconds = int((pay_by - now).total_seconds()) if pay_by is not None else 0
            after_seconds = max(0, left_seconds) + LATE_SECONDS
        times = 2 if outcome == SandboxOutcome.TWICE else 1
        return [Delivery(after_seconds, body, headers)] * times


_REFERENCE = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)


def _notice(body: bytes) -> Notice:
    """Return what the signed body says.

    :raises CallbackMalformed: it is not JSON of exactly these fields; an amount is text with two decimals
    """
    try:
        fields = json.loads(body)
        reference, outcome, amount, currency = (
            fields[name] for name in ("reference", "outcome", "amount", "currency")
        )
        succeeded = _OUTCOMES[outcome]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CallbackMalformed from error
    if not isinstance(reference, str) or not isinstance(currency, str) or not isinstance(amount, str):
        raise CallbackMalformed
    if not _AMOUNT.fullmatch(amount) or not _REFERENCE.fullmatch(reference):
        raise CallbackMalformed
    return Notice(reference, succeeded, Decimal(amount), currency)


def sandbox_from_settings() -> SandboxProvider | None:
    """Return the sandbox, or None without a secret: an empty key would let anyone sign."""
    return SandboxProvider(settings.PAYMENT_SANDBOX_SECRET) if settings.PAYMENT_SANDBOX_SECRET else None


def sandbox_in_use() -> bool:
    """Tell whether shoppers pay through the sandbox, so that they may choose its outcomes."""
    return bool(settings.PAYMENT_PROVIDER == NAME)
