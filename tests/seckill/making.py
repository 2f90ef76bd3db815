"""Rows that tests of the flash sale's pages and admin start from."""

import secrets
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from orders.models import Sale
from seckill.models import Campaign
from shop.catalog.models import Category, Product


def product_made(*, slug: str = "kettle", stock: int = 100, price: str = "1599.00") -> Product:
    """Return a new product with its category."""
    category = Category.objects.filter(slug="things").first() or Category.objects.add_root(
        create_kwargs={"slug": "things", "name_zh": "东西", "name_en": "Things"}
    )
    return Product.objects.create(
        slug=slug, name_zh="水壶", name_en="Kettle", category=category, price=Decimal(price), stock=stock
    )


def campaign_made(
    *,
    starts_in: timedelta = timedelta(minutes=-5),
    lasts: timedelta = timedelta(hours=1),
    published: bool = True,
    now: datetime | None = None,
    limit_per_user: int = 2,
    allotment: int = 50,
    **facts: Any,
) -> Campaign:
    """Return a new campaign whose window starts `starts_in` from now; live unless told otherwise."""
    now = now or timezone.now()
    product = facts.pop("product", None) or product_made()
    sale = Sale.objects.create(
        product=product, price=Decimal("1299.00"), limit_per_user=limit_per_user, allotment=allotment
    )
    return Campaign.objects.create(
        sale=sale,
        salt=secrets.token_bytes(16),
        name_zh="水壶秒杀",
        name_en="Kettle sale",
        starts_at=now + starts_in,
        ends_at=now + starts_in + lasts,
        published_at=now - timedelta(days=1) if published else None,
        **facts,
    )
