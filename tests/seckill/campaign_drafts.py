"""A draft to begin with, and what the tests of campaigns compare afterwards."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from seckill.models import Campaign
from seckill.services.campaigns import campaign_create
from seckill.services.reservations import process_gate, reservation_create
from seckill.store import unverified_store
from shop.catalog.models import Product, StockEntry
from tests.orders.rows import product_make, user_make


def values(product: Product, now: datetime, **changes: Any) -> dict[str, Any]:
    return {
        "product_id": product.pk,
        "name_zh": "水壶秒杀",
        "name_en": "Kettle sale",
        "starts_at": now - timedelta(minutes=1),
        "ends_at": now + timedelta(hours=1),
        "price": Decimal("9.90"),
        "limit_per_user": 2,
        "allotment": 30,
    } | changes


def draft(*, stock: int = 100, **changes: Any) -> Campaign:
    now = timezone.now()
    return campaign_create(**values(product_make(stock=stock), now, **changes))


def stock(campaign: Campaign) -> int:
    return Product.objects.get(pk=campaign.sale.product_id).stock


def ledger(campaign: Campaign) -> list[tuple[int, str, str, int]]:
    rows = StockEntry.objects.filter(product_id=campaign.sale.product_id).order_by("id")
    return list(rows.values_list("delta", "reason", "reference", "stock_after"))


def reserve(campaign_id: int, key: str = "k") -> str:
    user = user_make()
    process_gate.cache_clear()
    return reservation_create(campaign_id=campaign_id, user_id=user.pk, quantity=1, key=key).reservation_id


def keys_of(campaign: Campaign) -> list[bytes]:
    return unverified_store().client.keys(f"*{campaign.pk}")
