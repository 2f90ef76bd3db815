"""Writes to the catalogue: stock moves only here, each time with its ledger row."""

from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from shop.catalog.errors import InsufficientStock, ProductNotFound, StockChangeInvalid, StockMoved
from shop.catalog.models import Product, StockEntry, StockReason

# Far above any real warehouse, and two of them still fit the 32-bit column.
STOCK_MAX_UNITS = 1_000_000_000


def stock_change(
    *,
    product_id: int,
    delta: int,
    reason: str,
    actor: AbstractBaseUser | None = None,
    note: str = "",
    reference: str = "",
    now: datetime,
    expected_stock: int | None = None,
) -> StockEntry:
    """Change a product's stock by `delta` units and write the ledger row, both or neither.

    expected_stock: what the caller saw, in units; None changes whatever is there. now: aware. The product's row
    stays locked until the surrounding transaction ends.
    :raises StockChangeInvalid: delta is 0 or beyond STOCK_MAX_UNITS, or the reason is unknown
    :raises ProductNotFound: there is no such product
    :raises StockMoved: the stock is not `expected_stock`
    :raises InsufficientStock: the stock would fall below 0
    """
    _check_change(delta, reason)
    with transaction.atomic():
        stock = _locked_stock(product_id)
        _check_stock(stock, delta, expected_stock)
        # The guard stands in the statement itself, so it holds on a database without row locks too.
        guarded = Product.objects.filter(pk=product_id, stock__gte=-delta)
        if not guarded.update(stock=F("stock") + delta):
            raise InsufficientStock(extra={"stock": stock, "delta": delta})
        return StockEntry.objects.create(
            product_id=product_id,
            delta=delta,
            reason=reason,
            note=note,
            reference=reference,
            stock_before=stock,
            stock_after=stock + delta,
            actor_id=None if actor is None else actor.pk,
            created_at=now,
        )


def _check_change(delta: int, reason: str) -> None:
    if delta == 0:
        raise StockChangeInvalid(_("A change of 0 units changes nothing."))
    if abs(delta) > STOCK_MAX_UNITS:
        raise StockChangeInvalid(_("That would be more stock than the shop can hold."))
    if reason not in StockReason.values:
        raise StockChangeInvalid(_("This reason is not known."), extra={"reason": reason})


def _check_stock(stock: int, delta: int, expected_stock: int | None) -> None:
    if expected_stock is not None and stock != expected_stock:
        raise StockMoved(extra={"expected": expected_stock, "stock": stock})
    if stock + delta > STOCK_MAX_UNITS:
        raise StockChangeInvalid(_("That would be more stock than the shop can hold."))


def _locked_stock(product_id: int) -> int:
    """Return the stock in units under the row's lock (SQLite: under the lock of the IMMEDIATE transaction)."""
    rows = Product.objects.select_for_update().filter(pk=product_id).order_by()
    stock = rows.values_list("stock", flat=True).first()
    if stock is None:
        raise ProductNotFound(extra={"product_id": str(product_id)})
    return stock
