"""Many threads on one product's stock, with the guard and, in the twin, without it."""

import threading
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from shop.catalog.errors import InsufficientStock
from shop.catalog.models import Category, Product, StockEntry
from shop.catalog.services import stock_change

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 6
TAKES_EACH = 5
STOCK = 20


@pytest.fixture
def product():
    category = Category.objects.add_root({"name_zh": "杯壶", "name_en": "Drinkware", "slug": "drinkware"})
    product = Product.objects.create(
        name_zh="保温杯", name_en="Bottle", slug="bottle-a", category=category, price=Decimal("129.00")
    )
    stock_change(product_id=product.pk, delta=STOCK, reason="received", now=timezone.now())
    return product


def together(act: Callable[[threading.Barrier], None]) -> None:
    """Run `act` in THREADS threads at once; a failure in any of them fails the test."""
    barrier = threading.Barrier(THREADS, timeout=30)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            act(barrier)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            barrier.abort()
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_stock_change_under_a_race_never_oversells_or_loses_an_update(product):
    refused = []

    def act(barrier: threading.Barrier) -> None:
        barrier.wait()
        for _take in range(TAKES_EACH):
            try:
                stock_change(product_id=product.pk, delta=-1, reason="campaign", now=timezone.now())
            except InsufficientStock:
                refused.append(1)

    together(act)

    product.refresh_from_db()
    entries = list(StockEntry.objects.filter(product=product).order_by("id"))
    assert product.stock == 0
    assert len(refused) == THREADS * TAKES_EACH - STOCK
    assert len(entries) == STOCK + 1
    # Every row starts where the one before it ended: no two changes saw the same stock.
    assert [entry.stock_after for entry in entries] == [STOCK, *range(STOCK - 1, -1, -1)]
    assert StockEntry.objects.aggregate(total=Sum("delta"))["total"] == 0


@pytest.mark.twin
def test_stock_written_back_after_reading_loses_updates(product):
    def act(barrier: threading.Barrier) -> None:
        for _take in range(3):
            stock = Product.objects.values_list("stock", flat=True).get(pk=product.pk)
            barrier.wait()
            Product.objects.filter(pk=product.pk).update(stock=stock - 1)
            barrier.wait()

    together(act)

    product.refresh_from_db()
    taken = THREADS * 3
    assert product.stock == STOCK - 3
    assert product.stock > STOCK - taken
