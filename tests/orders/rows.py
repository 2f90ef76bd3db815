"""Rows that the tests of orders begin with, and what they compare afterwards."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from orders.events import Outcome, order_number, reservation_id_text
from orders.models import Order, OrderLine, OrderStatus, Payment, PaymentStatus, Sale
from orders.payments.provider import Notice
from orders.payments.sandbox import SandboxProvider
from orders.services.endings import order_cancel
from orders.services.late_payments import return_settle
from orders.services.payments import payment_callback
from orders.signals import outcomes_due
from shop.accounts.models import User
from shop.catalog.models import Category, Product

NOW = datetime(2026, 6, 18, 12, 0, tzinfo=UTC)
PAY_BY = NOW + timedelta(minutes=15)
AFTER = PAY_BY + timedelta(seconds=1)
PRICE = Decimal("199.00")
SANDBOX = SandboxProvider("for-tests-only-payment")
_numbers = count(1)


def user_make(name: str = "", **fields: Any) -> User:
    name = name or f"shopper{next(_numbers)}"
    return User.objects.create_user(name, email=f"{name}@example.com", password="paper-lantern-42", **fields)


def product_make(*, stock: int = 0) -> Product:
    category = Category.objects.first() or Category.objects.add_root(
        {"name_zh": "灯", "name_en": "Lamps", "slug": "lamps"}
    )
    number = next(_numbers)
    return Product.objects.create(
        name_zh="纸灯笼",
        name_en="Paper lantern",
        slug=f"lantern-{number}",
        category=category,
        price=Decimal("299.00"),
        stock=stock,
    )


def sale_make(*, allotment: int = 10, sold: int = 0, **fields: Any) -> Sale:
    product = fields.pop("product", None) or product_make()
    return Sale.objects.create(product=product, price=PRICE, allotment=allotment, sold=sold, **fields)


def order_make(
    sale: Sale,
    user: User | None = None,
    *,
    status: OrderStatus = OrderStatus.PENDING,
    units: int = 1,
    **fields: Any,
) -> Order:
    """Return an order as the judge makes one; the caller keeps `Sale.sold` right."""
    reservation_id = reservation_id_text(sale.pk, hashlib.md5(str(next(_numbers)).encode()).digest())
    order = Order.objects.create(
        number=order_number(reservation_id),
        reservation_id=reservation_id,
        user=user or user_make(),
        sale=sale,
        status=status,
        units=units,
        total=PRICE * units,
        **{"created_at": NOW, "expires_at": PAY_BY, **fields},
    )
    _line_make(order, sale.product, units)
    return order


def ordinary_order_make(product: Product, *, units: int, user: User | None = None, **fields: Any) -> Order:
    """Return a pending order of the ordinary shop, without a sale."""
    number = base64.b32encode(hashlib.md5(str(next(_numbers)).encode()).digest()).decode()[:16]
    order = Order.objects.create(
        number=number,
        user=user or user_make(),
        units=units,
        total=PRICE * units,
        **{"created_at": NOW, "expires_at": PAY_BY, **fields},
    )
    _line_make(order, product, units)
    return order


def _line_make(order: Order, product: Product, units: int) -> None:
    OrderLine.objects.create(
        order=order,
        product=product,
        title_zh=product.name_zh,
        title_en=product.name_en,
        unit_price=PRICE,
        quantity=units,
    )


def payment_make(order: Order, *, status: PaymentStatus = PaymentStatus.CREATED) -> Payment:
    return Payment.objects.create(
        order=order,
        provider="sandbox",
        reference=f"reference-{next(_numbers)}",
        amount=order.total,
        currency=order.currency,
        status=status,
        created_at=NOW,
        settled_at=None if status == PaymentStatus.CREATED else NOW,
    )


def callback(payment: Payment, *, succeeded: bool = True, now: datetime = NOW) -> Payment:
    """Deliver the sandbox's callback about a payment."""
    body, headers = SANDBOX.callback_make(
        reference=payment.reference,
        succeeded=succeeded,
        amount=payment.amount,
        currency=payment.currency,
        now=now,
    )
    return payment_callback(provider="sandbox", body=body, headers=headers, now=now)


def counters(sale: Sale) -> tuple[int, int, int]:
    """Return (sold, handed back, ordinary stock), read afresh."""
    sale.refresh_from_db()
    return sale.sold, sale.handed_back, Product.objects.get(pk=sale.product_id).stock


def state(order: Order) -> tuple[str, str, int, bool]:
    """Return (status, reason, move, return due), read afresh."""
    order.refresh_from_db()
    return order.status, order.reason, order.move, order.return_due


@contextmanager
def outcomes_heard() -> Iterator[list[Outcome]]:
    """Yield a list that fills with the outcomes which are sent meanwhile; nobody else hears them."""
    heard: list[Outcome] = []
    others, outcomes_due.receivers = outcomes_due.receivers, []

    def receiver(*, outcomes: list[Outcome], **_kwargs: Any) -> None:
        heard.extend(outcomes)

    outcomes_due.connect(receiver)
    try:
        yield heard
    finally:
        outcomes_due.receivers = others


@dataclass
class StubbornProvider:
    """A provider that says no a number of times before its first yes, and keeps what it was asked."""

    refusals: int
    error: type[Exception]
    name: str = "stubborn"
    asked: list[tuple[str, Decimal, str, str]] = field(default_factory=list)

    def callback_read(self, *, body: bytes, headers: Any) -> Notice:
        raise AssertionError("this provider is only asked for refunds")

    def refund(self, *, reference: str, amount: Decimal, currency: str, key: str) -> None:
        self.asked.append((reference, amount, currency, key))
        if len(self.asked) <= self.refusals:
            raise self.error


def cancel(order: Order, *, now: datetime = NOW) -> Order:
    """Cancel the order as its owner."""
    assert order.user_id is not None
    return order_cancel(number=order.number, user_id=order.user_id, now=now)


def returned(order: Order, *, move: int, now: datetime = NOW) -> None:
    """Say that the sale's server has taken the units back."""
    assert order.reservation_id is not None
    return_settle(reservation_id=order.reservation_id, move=move, now=now)
