"""Stock changes and the ledger behind them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from shop.accounts.models import User
from shop.catalog.errors import InsufficientStock, ProductNotFound, StockChangeInvalid, StockMoved
from shop.catalog.models import Category, Product, StockEntry
from shop.catalog.services import STOCK_MAX_UNITS, stock_change

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 18, 12, 0, tzinfo=UTC)


@pytest.fixture
def product():
    category = Category.objects.add_root({"name_zh": "杯壶", "name_en": "Drinkware", "slug": "drinkware"})
    product = Product.objects.create(
        name_zh="保温杯", name_en="Bottle", slug="bottle-a", category=category, price=Decimal("129.00")
    )
    stock_change(product_id=product.pk, delta=44, reason="received", now=NOW)
    return product


def change(product, delta, **more):
    values: dict[str, Any] = {"reason": "count", "now": NOW} | more
    return stock_change(product_id=product.pk, delta=delta, **values)


def assert_unchanged(product):
    product.refresh_from_db()
    assert product.stock == 44
    assert StockEntry.objects.count() == 1


@pytest.mark.parametrize(("delta", "after"), [(-3, 41), (6, 50), (-44, 0)])
def test_stock_change_moves_stock_and_writes_the_ledger_row(product, delta, after):
    actor = User.objects.create_user("stock", "stock@example.com")

    entry = change(
        product, delta, reason="damaged", actor=actor, note="wet", reference="D-7", expected_stock=44
    )

    product.refresh_from_db()
    assert product.stock == after
    stored = StockEntry.objects.get(pk=entry.pk)
    assert (stored.product_id, stored.delta, stored.stock_before, stored.stock_after) == (
        product.pk,
        delta,
        44,
        after,
    )
    assert (stored.reason, stored.note, stored.reference, stored.actor) == ("damaged", "wet", "D-7", actor)


def test_stock_change_refuses_to_fall_below_zero(product):
    with pytest.raises(InsufficientStock) as caught:
        change(product, -45)

    assert (caught.value.status, caught.value.code) == (409, "catalog.insufficient_stock")
    assert caught.value.extra == {"stock": 44, "delta": -45}
    assert_unchanged(product)


def test_stock_change_refuses_when_stock_moved(product):
    with pytest.raises(StockMoved) as caught:
        change(product, -1, expected_stock=40)

    assert (caught.value.status, caught.value.code) == (409, "catalog.stock_moved")
    assert caught.value.extra == {"expected": 40, "stock": 44}
    assert_unchanged(product)


@pytest.mark.parametrize(
    ("delta", "reason"),
    [
        (0, "count"),
        (STOCK_MAX_UNITS, "count"),
        (STOCK_MAX_UNITS + 1, "count"),
        (-STOCK_MAX_UNITS - 1, "count"),
        (1, "whim"),
    ],
)
def test_stock_change_refuses_what_makes_no_sense(product, delta, reason):
    with pytest.raises(StockChangeInvalid) as caught:
        change(product, delta, reason=reason)

    assert (caught.value.status, caught.value.code) == (422, "catalog.stock_change_invalid")
    assert_unchanged(product)


def test_stock_change_of_an_unknown_product_is_not_found(product):
    with pytest.raises(ProductNotFound) as caught:
        stock_change(product_id=product.pk + 1, delta=1, reason="count", now=NOW)

    assert caught.value.status == 404
    assert_unchanged(product)


def test_stock_change_is_undone_with_its_surrounding_transaction(product):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        change(product, -4)
        raise ZeroDivisionError

    assert_unchanged(product)


def test_stock_without_its_ledger_row_is_not_kept(product):
    with pytest.raises(IntegrityError), transaction.atomic():
        change(product, -4, actor=User(pk=987654))
        # SQLite looks at foreign keys when the transaction ends; inside a test that never comes.
        from django.db import connection

        connection.check_constraints()

    assert_unchanged(product)


def test_ledger_rows_cannot_be_changed_or_deleted(product):
    entry = StockEntry.objects.get()
    entry.note = "forged"

    with pytest.raises(TypeError, match="immutable"):
        entry.save()
    with pytest.raises(TypeError, match="immutable"):
        entry.delete()

    assert StockEntry.objects.get().note == ""


@pytest.mark.parametrize(("delta", "before", "after"), [(0, 5, 5), (3, 5, 9)])
def test_ledger_rows_that_do_not_add_up_are_refused_by_the_database(product, delta, before, after):
    with pytest.raises(IntegrityError), transaction.atomic():
        StockEntry.objects.create(
            product=product, delta=delta, reason="count", stock_before=before, stock_after=after
        )

    assert StockEntry.objects.count() == 1


def test_stock_below_zero_is_refused_by_the_database(product):
    with pytest.raises(IntegrityError), transaction.atomic():
        Product.objects.filter(pk=product.pk).update(stock=-1)

    assert_unchanged(product)
