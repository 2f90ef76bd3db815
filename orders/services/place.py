"""The judge: turns admitted reservations into rows, won or refused, whole entries in one transaction.

Source: the flow is docs/architecture.md, "Judge". Optimistic first: insert all, take the units of each sale with
one guarded UPDATE, look for users over the limit under that row's lock; on any refusal roll back and halve.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import F, QuerySet, Sum

from orders import signals
from orders.events import (
    LOST_CODES,
    Decided,
    Entry,
    Member,
    Outcome,
    entry_order,
    order_number,
    reservation_id_text,
)
from orders.models import (
    HOLDING,
    DeadLetter,
    LostReason,
    Order,
    OrderLine,
    OrderStatus,
    Sale,
    SalePhase,
)
from orders.selectors import outcome_of
from orders.services.transactions import Again, retry_transaction
from shop.accounts.models import Address

logger = logging.getLogger("orders.place")


@dataclass(frozen=True, slots=True)
class _Case:
    """One reservation before the judge."""

    reservation_id: str
    member: Member
    entry: Entry


@dataclass(slots=True)
class _Facts:
    """What a batch needs to know, read once."""

    sales: dict[int, Sale]
    users: set[int]
    addresses: dict[int, Address] = field(default_factory=dict)


class _Refusal(Exception):
    """At least one reservation of the batch cannot be had; carries why when the batch is a single one."""

    def __init__(self, reason: LostReason, error: str = "") -> None:
        self.reason = reason
        self.error = error
        super().__init__(reason)


def entries_place(*, entries: Sequence[Entry], source: str, now: datetime) -> list[Decided]:
    """Decide every reservation of `entries` and return their outcomes, in order.

    Repeating it is harmless: a reservation that has a row keeps it. After the commit `entries_decided` is sent;
    it is not sent for a transaction that rolled back.
    source: where the entries came from, for dead letters.
    :raises django.db.OperationalError: the database did not answer; nothing is decided
    """
    cases = [
        _Case(reservation_id_text(entry.sale_id, member.reservation), member, entry)
        for entry in entries
        for member in entry.members
    ]
    unique = list({case.reservation_id: case for case in cases}.values())
    refusals: list[_Case] = []

    def work() -> None:
        refusals.clear()
        known = set(_rows(unique).values_list("reservation_id", flat=True))
        fresh = [case for case in unique if case.reservation_id not in known]
        if fresh:
            _place(fresh, _facts(fresh), source=source, now=now, refusals=refusals)

    retry_transaction(work)
    rows = {order.reservation_id: order for order in _rows(unique)}
    decided = [
        Decided(
            entry,
            tuple(
                _outcome(rows[reservation_id_text(entry.sale_id, member.reservation)], member)
                for member in entry.members
            ),
        )
        for entry in entries
    ]
    signals.entries_decided.send(sender=Order, decided=decided)
    if refusals:
        signals.judge_disagreed.send(sender=Order, sale_ids=sorted({case.entry.sale_id for case in refusals}))
    return decided


def _rows(cases: Iterable[_Case]) -> QuerySet[Order]:
    return Order.objects.filter(reservation_id__in=[case.reservation_id for case in cases])


def _outcome(order: Order, member: Member) -> Outcome:
    """Return what the row says; a refused row without an account is told to whoever the entry names."""
    if order.user_id is not None:
        return outcome_of(order)
    return Outcome(
        reservation_id=order.reservation_id or "",
        sale_id=order.sale_id or 0,
        user_id=member.user_id,
        units=order.units,
        won=False,
        move=order.move,
        detail=LOST_CODES[order.reason],
    )


def _facts(cases: Sequence[_Case]) -> _Facts:
    """Read sales, users and default addresses of a batch."""
    user_ids = {case.member.user_id for case in cases}
    sales = Sale.objects.select_related("product").in_bulk({case.entry.sale_id for case in cases})
    users = set(get_user_model().objects.filter(pk__in=user_ids).values_list("pk", flat=True))
    addresses = {
        a.user_id: a for a in Address.objects.filter(user_id__in=users, is_default=True).order_by("-pk")
    }
    return _Facts(sales, users, addresses)


def _place(
    cases: Sequence[_Case], facts: _Facts, *, source: str, now: datetime, refusals: list[_Case]
) -> None:
    """Place the cases together if all can be had, else each half on its own, down to single ones."""
    try:
        with transaction.atomic():
            _place_all(cases, facts, now=now)
    except (_Refusal, IntegrityError, DataError) as error:
        if isinstance(error, IntegrityError) and _rows(cases).exists():
            raise Again from error  # another consumer has decided some of these meanwhile
        if len(cases) == 1:
            _refuse(cases[0], facts, error, source=source, now=now)
            # Stock and limit are Valkey's to keep: a refusal for them proves that the two disagree.
            if isinstance(error, _Refusal) and error.reason in (
                LostReason.SOLD_OUT,
                LostReason.LIMIT_REACHED,
            ):
                refusals.append(cases[0])
            return
        middle = len(cases) // 2
        for half in (cases[:middle], cases[middle:]):
            _place(half, facts, source=source, now=now, refusals=refusals)


def _place_all(cases: Sequence[_Case], facts: _Facts, *, now: datetime) -> None:
    """Insert the orders with their lines, then take the units of each sale in key order.

    :raises _Refusal: something in the batch cannot be had; the caller rolls back
    """
    for case in cases:
        _validate(case, facts)
    orders = Order.objects.bulk_create([_order(case, facts, now=now) for case in cases])
    if not connection.features.can_return_rows_from_bulk_insert:  # MySQL does not tell the new keys
        keys = dict(_rows(cases).values_list("reservation_id", "pk"))
        for order in orders:
            order.pk = keys[order.reservation_id]
    OrderLine.objects.bulk_create(
        [_line(order, facts.sales[case.entry.sale_id]) for order, case in zip(orders, cases, strict=True)]
    )
    by_sale: defaultdict[int, list[_Case]] = defaultdict(list)
    for case in cases:
        by_sale[case.entry.sale_id].append(case)
    for sale_id in sorted(by_sale):
        _take_units(facts.sales[sale_id], by_sale[sale_id])


def _validate(case: _Case, facts: _Facts) -> None:
    sale = facts.sales.get(case.entry.sale_id)
    if sale is None:
        raise _Refusal(LostReason.OUR_FAULT, "there is no such sale")
    if case.member.user_id not in facts.users:
        raise _Refusal(LostReason.OUR_FAULT, "there is no such user")
    if case.member.units < 1:
        raise _Refusal(LostReason.OUR_FAULT, "units must be at least 1")
    if case.entry.epoch != sale.epoch:
        raise _Refusal(LostReason.OUR_FAULT)
    if sale.phase == SalePhase.CLOSED:
        raise _Refusal(LostReason.ENDED)


def _take_units(sale: Sale, cases: Sequence[_Case]) -> None:
    """Take the units under the sale's row lock, then look for users over the limit.

    :raises _Refusal: epoch or phase moved on, too few units, or somebody is over the limit
    """
    units = sum(case.member.units for case in cases)
    last = max((sale.last_entry, *(case.entry.entry_id for case in cases)), key=entry_order)
    taken = Sale.objects.filter(
        pk=sale.pk,
        epoch=sale.epoch,
        phase__in=(SalePhase.OPEN, SalePhase.CLOSING),
        allotment__gte=F("sold") + F("handed_back") + units,
    ).update(sold=F("sold") + units, last_entry=last)
    if not taken:
        raise _Refusal(_refusal_reason(sale))
    if _users_over_limit(sale, {case.member.user_id for case in cases}):
        raise _Refusal(LostReason.LIMIT_REACHED)


def _users_over_limit(sale: Sale, user_ids: set[int]) -> list[int]:
    held = (
        Order.objects.filter(sale_id=sale.pk, user_id__in=user_ids, status__in=HOLDING)
        .values("user_id")
        .annotate(held=Sum("units"))
    )
    return [row["user_id"] for row in held if row["held"] > sale.limit_per_user]


def _refusal_reason(sale: Sale) -> LostReason:
    fresh = Sale.objects.filter(pk=sale.pk).values("epoch", "phase").first()
    if fresh is None or fresh["epoch"] != sale.epoch:
        return LostReason.OUR_FAULT
    return LostReason.ENDED if fresh["phase"] == SalePhase.CLOSED else LostReason.SOLD_OUT


def _order(case: _Case, facts: _Facts, *, now: datetime) -> Order:
    sale = facts.sales[case.entry.sale_id]
    address = facts.addresses.get(case.member.user_id)
    return Order(
        number=order_number(case.reservation_id),
        reservation_id=case.reservation_id,
        user_id=case.member.user_id,
        sale_id=sale.pk,
        status=OrderStatus.PENDING,
        units=case.member.units,
        total=sale.price * case.member.units,
        currency=sale.currency,
        recipient=address.recipient if address else "",
        phone=address.phone if address else "",
        address=f"{address.region} {address.street} {address.postal_code}".strip() if address else "",
        created_at=now,
        expires_at=now + timedelta(seconds=sale.pay_window_seconds or settings.SALE_PAY_WINDOW_SECONDS),
    )


def _line(order: Order, sale: Sale) -> OrderLine:
    product = sale.product
    return OrderLine(
        order_id=order.pk,
        product_id=product.pk,
        title_zh=product.name_zh,
        title_en=product.name_en,
        unit_price=sale.price,
        quantity=order.units,
    )


def _refuse(case: _Case, facts: _Facts, error: Exception, *, source: str, now: datetime) -> None:
    """Write the refused row; bad data leaves a dead letter too."""
    reason = error.reason if isinstance(error, _Refusal) else LostReason.OUR_FAULT
    Order.objects.create(
        number=order_number(case.reservation_id),
        reservation_id=case.reservation_id,
        user_id=case.member.user_id if case.member.user_id in facts.users else None,
        sale_id=case.entry.sale_id,
        status=OrderStatus.REFUSED,
        reason=reason,
        units=max(case.member.units, 1),
        total=Decimal(0),
        created_at=now,
        ended_at=now,
    )
    logger.warning("reservation %s refused: %s (%s)", case.reservation_id, reason, error)
    detail = error.error if isinstance(error, _Refusal) else repr(error)
    if detail:
        DeadLetter.objects.create(
            source=source,
            entry=case.entry.entry_id,
            reservation_id=case.reservation_id,
            payload=f"user {case.member.user_id}, units {case.member.units}, epoch {case.entry.epoch}",
            error=detail,
        )
