"""How an order ends, once: every ending is one compare-and-set on its status.

Locks are taken orders → products → sales, each kind by ascending key.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import F, Q

from orders.errors import OrderNotFound, OrderNotPending
from orders.models import LostReason, Order, OrderStatus, Sale, SalePhase
from orders.selectors import outcome_of
from orders.services.transactions import Again, retry_transaction
from orders.signals import outcomes_due
from shop.catalog.models import StockReason
from shop.catalog.services import stock_change

logger = logging.getLogger(__name__)

EXPIRE_CHUNK = (
    100  # orders a transaction: the hot sale row stays locked for milliseconds, not for the whole sweep
)


def order_cancel(*, number: str, user_id: int, now: datetime) -> Order:
    """Cancel the user's unpaid order and give its units back.

    :raises OrderNotFound: it does not exist or is somebody else's
    :raises OrderNotPending: it is paid, expired or has ended otherwise
    """

    def work() -> Order:
        order = Order.objects.filter(number=number, user_id=user_id).only("id").first()
        if order is None:
            raise OrderNotFound
        ended = orders_end(
            [order.pk],
            source=OrderStatus.PENDING,
            target=OrderStatus.CANCELLED,
            reason=LostReason.CANCELLED,
            now=now,
        )
        if not ended:
            order.refresh_from_db(fields=["status"])
            raise OrderNotPending(extra={"status": order.status})
        return ended[0]

    return retry_transaction(work)


def orders_expire(*, now: datetime, limit: int = 500) -> int:
    """End pending orders whose pay-by time has passed, at most `limit`, and return how many ended.

    A row that the database refuses to end is logged and skipped, so that it does not hold up the others.
    """
    overdue = Order.objects.filter(status=OrderStatus.PENDING, expires_at__lte=now)
    ids = list(overdue.order_by("expires_at", "id").values_list("id", flat=True)[:limit])
    count = 0
    for start in range(0, len(ids), EXPIRE_CHUNK):
        chunk = ids[start : start + EXPIRE_CHUNK]
        try:
            count += _expire(chunk, now)
        except DatabaseError:
            logger.exception("%d orders did not expire together; trying each alone", len(chunk))
            count += sum(_expire_alone(pk, now) for pk in chunk)
    return count


def _expire(ids: Sequence[int], now: datetime) -> int:
    def work() -> int:
        ended = orders_end(
            ids,
            source=OrderStatus.PENDING,
            target=OrderStatus.EXPIRED,
            reason=LostReason.PAYMENT_EXPIRED,
            now=now,
            expires_at__lte=now,
        )
        return len(ended)

    return retry_transaction(work)


def _expire_alone(pk: int, now: datetime) -> int:
    try:
        return _expire([pk], now)
    except DatabaseError:
        logger.exception("order %d does not expire", pk)
        return 0


def orders_end(
    ids: Iterable[int],
    *,
    source: OrderStatus,
    target: OrderStatus,
    reason: LostReason,
    now: datetime,
    **conditions: Any,
) -> list[Order]:
    """Move those orders that are still `source` to `target` and give their units back; return exactly those.

    To be called in a transaction. `source` must be a status that holds units, `target` one that does not.
    """
    moved = [pk for pk in sorted(ids) if _compare_and_set(pk, source, target, reason, now, conditions)]
    orders = list(Order.objects.filter(pk__in=moved).order_by("pk"))
    _units_give_back(orders, now)
    outcomes_announce(orders)
    return orders


def _compare_and_set(
    pk: int,
    source: OrderStatus,
    target: OrderStatus,
    reason: LostReason,
    now: datetime,
    conditions: dict[str, Any],
) -> bool:
    """Decide between pay, cancel and expiry: whoever changes the row first has won."""
    row = Order.objects.filter(pk=pk, status=source, **conditions)
    # Only what came from a sale has a record there that must follow.
    return bool(
        row.update(
            status=target,
            reason=reason,
            ended_at=now,
            move=F("move") + 1,
            return_due=Q(reservation_id__isnull=False),
        )
    )


def _units_give_back(orders: Sequence[Order], now: datetime) -> None:
    """Take the orders' units off their sales; what no sale can use any more goes to ordinary stock."""
    sale_ids = {order.sale_id for order in orders if order.sale_id is not None}
    # Phase never leaves "closed"; that it has not become "closed" meanwhile is checked by the guarded update.
    closed = set(Sale.objects.filter(pk__in=sale_ids, phase=SalePhase.CLOSED).values_list("pk", flat=True))
    for product_id, order, units in _stock_returns(orders, closed):
        stock_change(
            product_id=product_id,
            delta=units,
            reason=StockReason.CAMPAIGN if order.sale_id is not None else StockReason.RETURN,
            reference=order.number,
            now=now,
        )
    units_of: dict[int, int] = defaultdict(int)
    for order in orders:
        if order.sale_id is not None:
            units_of[order.sale_id] += order.units
    for sale_id, units in sorted(units_of.items()):
        _sale_give_back(sale_id, units, closed=sale_id in closed)


def _stock_returns(orders: Sequence[Order], closed: set[int]) -> list[tuple[int, Order, int]]:
    """Return (product, order, units) for what goes to ordinary stock, in the order in which products are locked."""
    returns = []
    to_stock = [order.pk for order in orders if order.sale_id is None or order.sale_id in closed]
    for order in Order.objects.filter(pk__in=to_stock).prefetch_related("lines"):
        returns += [(line.product_id, order, line.quantity) for line in order.lines.all()]
    return sorted(returns, key=lambda row: (row[0], row[1].pk))


def _sale_give_back(sale_id: int, units: int, *, closed: bool) -> None:
    """Lower the sale's `sold`, under the phase for which the stock was already changed.

    :raises Again: the sale was closed meanwhile, so the units belong to ordinary stock
    """
    sale = Sale.objects.filter(pk=sale_id)
    if closed:
        sale.filter(phase=SalePhase.CLOSED).update(
            sold=F("sold") - units, handed_back=F("handed_back") + units
        )
    elif not sale.exclude(phase=SalePhase.CLOSED).update(sold=F("sold") - units):
        raise Again


def outcomes_announce(orders: Iterable[Order]) -> None:
    """Tell, after the commit, whoever holds the reservations' records; a failure there is repeated by the settler."""
    outcomes = [outcome_of(order) for order in orders if order.reservation_id is not None]
    if outcomes:
        transaction.on_commit(partial(outcomes_due.send_robust, sender=Order, outcomes=outcomes))
