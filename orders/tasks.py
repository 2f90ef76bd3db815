"""Celery tasks of orders. `orders.place_orders` is called in place by the consumer thread, never through a broker."""

from collections.abc import Sequence
from typing import Any

from celery import shared_task
from django.utils import timezone

from orders.events import Decided, Entry
from orders.services.place import entries_place


@shared_task(name="orders.place_orders")
def place_orders(*, entries: Sequence[Entry], source: str, **_newer: Any) -> list[Decided]:
    """Decide whole entries in one transaction; safe to repeat."""
    return entries_place(entries=entries, source=source, now=timezone.now())
