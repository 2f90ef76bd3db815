"""Campaigns from draft to closed. Units leave ordinary stock at publication and the rest returns at close."""

import json
import logging
import secrets
from datetime import datetime
from decimal import Decimal
from typing import Any

import redis
from django.conf import settings
from django.db import transaction
from django.db.models import F, Max
from django.utils.translation import gettext_lazy as _

from orders.models import OrderStatus, Sale, SalePhase
from orders.services.transactions import retry_transaction
from seckill import scripts
from seckill.errors import (
    CampaignNotDraft,
    CampaignNotFound,
    InvalidValues,
    OperationNotAllowed,
    OperationPending,
    SaleUnavailable,
)
from seckill.models import Campaign, CampaignOperation, OperationKind
from seckill.scripts import SwitchCode
from seckill.selectors import campaign_is_drained
from seckill.services.reconciliation import server_id, server_verify
from seckill.store import NotVerified, SaleStore, sale_store, unverified_store
from shop.catalog.models import Product, StockReason
from shop.catalog.services import stock_change

logger = logging.getLogger("seckill.campaigns")

HASH_VERSION = 1
_PHASE_OF = {OperationKind.PAUSE: "paused", OperationKind.RESUME: "open", OperationKind.CLOSE: "closing"}


def _validate(
    *, starts_at: datetime, ends_at: datetime, price: Decimal, limit_per_user: int, allotment: int
) -> None:
    fields: dict[str, list[Any]] = {}
    if ends_at <= starts_at:
        fields["ends_at"] = [_("The end must be after the start.")]
    if price < 0:
        fields["price"] = [_("The price cannot be negative.")]
    if not 1 <= limit_per_user <= scripts.RECORDS_MAX:
        fields["limit_per_user"] = [_("The limit must be between 1 and 20.")]
    if allotment < 1:
        fields["allotment"] = [_("A campaign needs at least one unit.")]
    if fields:
        raise InvalidValues(extra={"fields": fields})


def campaign_create(
    *,
    product_id: int,
    name_zh: str,
    name_en: str,
    starts_at: datetime,
    ends_at: datetime,
    price: Decimal,
    limit_per_user: int,
    allotment: int,
    pay_window_seconds: int | None = None,
) -> Campaign:
    """Create a draft; its units stay in ordinary stock until it is published.

    :raises InvalidValues: a value is out of range
    """
    _validate(
        starts_at=starts_at, ends_at=ends_at, price=price, limit_per_user=limit_per_user, allotment=allotment
    )
    with transaction.atomic():
        product = Product.objects.get(pk=product_id)
        sale = Sale.objects.create(
            product=product,
            price=price,
            currency=product.currency,
            limit_per_user=limit_per_user,
            allotment=allotment,
            pay_window_seconds=pay_window_seconds or settings.SALE_PAY_WINDOW_SECONDS,
        )
        return Campaign.objects.create(
            sale=sale,
            name_zh=name_zh,
            name_en=name_en,
            salt=secrets.token_bytes(16),
            starts_at=starts_at,
            ends_at=ends_at,
        )


def campaign_update(
    *,
    campaign_id: int,
    product_id: int,
    name_zh: str,
    name_en: str,
    starts_at: datetime,
    ends_at: datetime,
    price: Decimal,
    limit_per_user: int,
    allotment: int,
) -> Campaign:
    """Change a draft.

    :raises CampaignNotDraft: it is published
    :raises InvalidValues: a value is out of range
    """
    _validate(
        starts_at=starts_at, ends_at=ends_at, price=price, limit_per_user=limit_per_user, allotment=allotment
    )
    with transaction.atomic():
        changed = Campaign.objects.filter(pk=campaign_id, published_at=None).update(
            name_zh=name_zh, name_en=name_en, starts_at=starts_at, ends_at=ends_at
        )
        if not changed:
            raise CampaignNotDraft
        product = Product.objects.get(pk=product_id)
        Sale.objects.filter(pk=campaign_id).update(
            product=product,
            currency=product.currency,
            price=price,
            limit_per_user=limit_per_user,
            allotment=allotment,
        )
    return _campaign(campaign_id)


def campaign_publish(*, campaign_id: int, actor: Any = None, now: datetime) -> Campaign:
    """Move the allotment out of ordinary stock and write the campaign's keys; it then opens by the clock alone.

    The keys are written closed to buyers, and opened by operation 1 after the commit: a fault between the two
    leaves a published campaign that is paused until the settler repeats the operation.
    :raises CampaignNotDraft: it was published before
    :raises shop.catalog.errors.InsufficientStock: the product has too few units
    :raises SaleUnavailable: Valkey did not take the keys; nothing changed
    """
    if _campaign(campaign_id).published_at is not None:
        raise CampaignNotDraft
    store = _verified_store(now)

    def work() -> CampaignOperation:
        if not Campaign.objects.filter(pk=campaign_id, published_at=None).update(published_at=now):
            raise CampaignNotDraft
        campaign = _campaign(campaign_id)
        stock_change(
            product_id=campaign.sale.product_id,
            delta=-campaign.sale.allotment,
            reason=StockReason.CAMPAIGN,
            reference=f"campaign {campaign_id}",
            actor=actor,
            now=now,
        )
        _warm_up(campaign, store)
        return CampaignOperation.objects.create(
            campaign=campaign,
            number=1,
            kind=OperationKind.RESUME,
            reason="published",
            actor=actor,
            created_at=now,
        )

    operation = retry_transaction(work)
    _apply_or_leave(operation, now=now)
    logger.info("campaign %s published", campaign_id)
    return _campaign(campaign_id)


def _warm_up(campaign: Campaign, store: SaleStore) -> None:
    """Write the hash of a campaign that was never opened.

    :raises SaleUnavailable: Valkey did not take it
    """
    sale = campaign.sale
    fields = {
        "v": HASH_VERSION,
        "epoch": sale.epoch,
        "phase": "paused",
        "starts_ms": int(campaign.starts_at.timestamp() * 1000),
        "ends_ms": int(campaign.ends_at.timestamp() * 1000),
        "limit": sale.limit_per_user,
        "salt": bytes(campaign.salt),
        "allotment": sale.allotment,
        "left": sale.allotment,
        **dict.fromkeys(("reserved", "confirmed", "admitted", "reopen_ms", "clock_ms", "op", "op_took"), 0),
        "card": json.dumps(card_of(campaign), ensure_ascii=False),
    }
    try:
        fields["born"] = server_id(store)
        answer = store.run([scripts.warm_up_call(campaign.pk, fields)])[0]
    except redis.RedisError as error:
        raise SaleUnavailable from error
    if answer != 1:
        logger.error("campaign %s has keys that were opened before: %r", campaign.pk, answer)
        raise SaleUnavailable


def card_of(campaign: Campaign) -> dict[str, Any]:
    """Return what the live numbers say of a campaign beside its counters; it travels in the campaign's hash."""
    return {
        "name_zh": campaign.name_zh,
        "name_en": campaign.name_en,
        "product_id": str(campaign.sale.product_id),
        "price": str(campaign.sale.price),
        "currency": campaign.sale.currency,
    }


def campaign_pause(*, campaign_id: int, reason: str, actor: Any = None, now: datetime) -> CampaignOperation:
    """Stop admission; what was admitted is still decided. Pausing twice is refused.

    :raises OperationNotAllowed: it is a draft, paused, closing or closed
    :raises OperationPending: an earlier operation is not finished
    """
    return _operate(campaign_id, OperationKind.PAUSE, reason=reason or "paused", actor=actor, now=now)


def campaign_resume(*, campaign_id: int, actor: Any = None, now: datetime) -> CampaignOperation:
    """Admit again.

    :raises OperationNotAllowed: it is not paused
    :raises OperationPending: an earlier operation is not finished
    """
    return _operate(campaign_id, OperationKind.RESUME, reason="", actor=actor, now=now)


def campaign_close(
    *, campaign_id: int, reason: str = "", actor: Any = None, now: datetime
) -> CampaignOperation:
    """Stop admission for good; the settler hands unsold units back once everything admitted is decided.

    :raises OperationNotAllowed: it is a draft, closing or closed
    :raises OperationPending: an earlier operation is not finished
    """
    return _operate(campaign_id, OperationKind.CLOSE, reason=reason, actor=actor, now=now)


def _operate(
    campaign_id: int, kind: OperationKind, *, reason: str, actor: Any, now: datetime
) -> CampaignOperation:
    """Write the numbered row, then have Valkey apply it; what fails there the settler repeats."""

    def work() -> CampaignOperation:
        sale = Sale.objects.select_for_update().get(pk=campaign_id)
        campaign = Campaign.objects.get(pk=campaign_id)
        _allow(campaign, sale, kind, now)
        last = CampaignOperation.objects.filter(campaign=campaign).aggregate(last=Max("number"))["last"] or 0
        if kind == OperationKind.CLOSE:
            Sale.objects.filter(pk=campaign_id).update(phase=SalePhase.CLOSING)
        Campaign.objects.filter(pk=campaign_id).update(
            paused_reason=reason if kind == OperationKind.PAUSE else ""
        )
        return CampaignOperation.objects.create(
            campaign=campaign, number=last + 1, kind=kind, reason=reason, actor=actor, created_at=now
        )

    operation = retry_transaction(work)
    _apply_or_leave(operation, now=now)
    return operation


def _apply_or_leave(operation: CampaignOperation, *, now: datetime) -> None:
    """Take the operation as far as it goes now; the settler does the rest."""
    try:
        operation_apply(operation=operation, store=sale_store(), now=now)
    except redis.RedisError:
        logger.exception("operation %s waits for the sale's server", operation)
    operation.refresh_from_db()


def _allow(campaign: Campaign, sale: Sale, kind: OperationKind, now: datetime) -> None:
    if campaign.operations.filter(done_at=None).exists():
        raise OperationPending
    is_paused = bool(campaign.paused_reason)
    allowed = {
        OperationKind.PAUSE: not is_paused,
        OperationKind.RESUME: is_paused,
        OperationKind.CLOSE: True,
    }[kind]
    if campaign.published_at is None or sale.phase != SalePhase.OPEN or not allowed:
        raise OperationNotAllowed(extra={"state": str(campaign.state(now))})


def operation_apply(*, operation: CampaignOperation, store: SaleStore, now: datetime) -> bool:
    """Take one operation as far as it goes now; return whether it is done. Safe to repeat.

    :raises redis.RedisError: Valkey did not answer
    """
    kind = OperationKind(operation.kind)
    answer = store.run(
        [scripts.switch_call(operation.campaign_id, number=operation.number, phase=_PHASE_OF[kind])]
    )[0]
    if isinstance(answer, Exception):
        raise answer
    if answer == SwitchCode.PAUSED:
        return False
    if kind == OperationKind.CLOSE and not _close_finish(operation.campaign_id, store=store, now=now):
        return False
    CampaignOperation.objects.filter(pk=operation.pk, done_at=None).update(done_at=now)
    return True


def _close_finish(campaign_id: int, *, store: SaleStore, now: datetime) -> bool:
    """Hand unsold units to ordinary stock once nothing admitted is undecided; return whether it is done."""
    sale = Sale.objects.get(pk=campaign_id)
    if sale.phase == SalePhase.CLOSING:
        if not campaign_is_drained(campaign_id=campaign_id, store=store):
            return False
        if not retry_transaction(lambda: _hand_back(sale, now)):
            return False
    answer = store.run([scripts.close_call(campaign_id)])[0]
    return answer in (SwitchCode.OK, SwitchCode.OLD)


def _hand_back(sale: Sale, now: datetime) -> bool:
    """Give allotment − sold to the product in one transaction; return whether the sale is closed now.

    A late payment that is being decided may still take units: it is waited for. Locks go products → sales.
    """
    Product.objects.select_for_update().get(pk=sale.product_id)
    locked = Sale.objects.select_for_update().get(pk=sale.pk)
    if locked.phase != SalePhase.CLOSING:
        return locked.phase == SalePhase.CLOSED
    if locked.orders.filter(status=OrderStatus.READMITTING).exists():
        return False
    units = locked.allotment - locked.sold - locked.handed_back
    Sale.objects.filter(pk=sale.pk).update(phase=SalePhase.CLOSED, handed_back=F("handed_back") + units)
    if units:
        stock_change(
            product_id=sale.product_id,
            delta=units,
            reason=StockReason.CAMPAIGN,
            reference=f"campaign {sale.pk}",
            now=now,
        )
    return True


def _campaign(campaign_id: int) -> Campaign:
    campaign = Campaign.objects.select_related("sale", "sale__product").filter(pk=campaign_id).first()
    if campaign is None:
        raise CampaignNotFound
    return campaign


def _verified_store(now: datetime) -> SaleStore:
    """Return the store; a server that nobody has compared yet is compared first.

    :raises SaleUnavailable: it cannot be reached, or differs from the database
    """
    store = sale_store()
    try:
        try:
            store.commands([("PING",)])
        except NotVerified:
            if server_verify(store=unverified_store(), now=now):
                raise
            store.commands([("PING",)])
    except redis.RedisError as error:
        raise SaleUnavailable from error
    return store
