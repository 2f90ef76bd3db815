"""Reads for pages, API and staff: campaigns, live numbers, what became of a reservation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import redis
from django.db.models import QuerySet

from orders.events import LOST_CODES, reservation_id_parse
from orders.models import Order, OrderStatus, SalePhase
from orders.selectors import outcome_of
from seckill import keys, outbox, scripts
from seckill.errors import CampaignNotFound, Paused, ReservationNotFound, SaleUnavailable
from seckill.models import Campaign
from seckill.scripts import Record, RecordState
from seckill.statuses import QUEUED, ReservationStatus, status_of_record
from seckill.store import NotVerified, SaleStore, sale_store

_ENDED_SHOWN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class LiveNumbers:
    """left: units, or None while they are not known (shown as paused, never as sold out)."""

    left: int | None
    as_of_ms: int
    phase: str


def campaigns_public(*, now: datetime) -> list[Campaign]:
    """Return published campaigns: live ones first, then upcoming, then ended ones of the last day."""
    shown = _published().filter(ends_at__gt=now - _ENDED_SHOWN)

    def order(campaign: Campaign) -> tuple[int, datetime]:
        rank = 2 if now >= campaign.ends_at else 0 if now >= campaign.starts_at else 1
        return rank, campaign.starts_at

    return sorted(shown, key=order)


def campaign_public(*, campaign_id: int) -> Campaign:
    """Return a published campaign.

    :raises CampaignNotFound: it does not exist, or is a draft
    """
    campaign = _published().filter(pk=campaign_id).first()
    if campaign is None:
        raise CampaignNotFound
    return campaign


def _published() -> QuerySet[Campaign]:
    return Campaign.objects.filter(published_at__isnull=False).select_related("sale", "sale__product")


def campaign_live(*, campaign_id: int, now: datetime) -> LiveNumbers:
    """Return units left with their age; unknown numbers are a paused sale."""
    return campaigns_live(campaign_ids=[campaign_id], now=now)[campaign_id]


def campaigns_live(*, campaign_ids: Sequence[int], now: datetime) -> dict[int, LiveNumbers]:
    """Return the live numbers of several campaigns, read in one round trip."""
    as_of_ms = int(now.timestamp() * 1000)
    commands = [("HMGET", keys.campaign_key(campaign_id), "left", "phase") for campaign_id in campaign_ids]
    try:
        answers = sale_store().commands(commands) if commands else []
    except redis.RedisError:
        answers = [None] * len(commands)
    return {
        campaign_id: _live(answer, as_of_ms)
        for campaign_id, answer in zip(campaign_ids, answers, strict=True)
    }


def _live(answer: object, as_of_ms: int) -> LiveNumbers:
    if not isinstance(answer, list) or None in answer:
        return LiveNumbers(None, as_of_ms, "paused")
    left, phase = answer
    return LiveNumbers(int(left), as_of_ms, phase.decode())


def status_of_order(order: Order) -> ReservationStatus:
    """Return what a row says, where the keys are gone."""
    outcome = outcome_of(order)
    campaign_id, raw = reservation_id_parse(outcome.reservation_id)
    won = outcome.won and order.status != OrderStatus.READMITTING
    state = RecordState.CONFIRMED if won else RecordState.RELEASED
    detail = outcome.detail if won == outcome.won else LOST_CODES["payment_expired"]
    return status_of_record(campaign_id, Record(raw, outcome.units, state, outcome.move, detail))


def reservation_status(*, reservation_id: str, user_id: int) -> ReservationStatus:
    """Return what became of the user's reservation.

    :raises ReservationNotFound: it does not exist or is somebody else's
    :raises Paused, SaleUnavailable: the record cannot be read, and no row exists yet
    """
    try:
        campaign_id, raw = reservation_id_parse(reservation_id)
    except ValueError as error:
        raise ReservationNotFound from error
    try:
        packed = sale_store().client.hget(keys.users_key(campaign_id), str(user_id))
    except NotVerified as error:
        raise Paused from error
    except redis.RedisError as error:
        raise SaleUnavailable from error
    if record := scripts.record_find(packed, raw):
        return status_of_record(campaign_id, record)
    order = Order.objects.filter(reservation_id=reservation_id, user_id=user_id).first()
    if order is not None:
        return status_of_order(order)
    if _keys_are_lost(campaign_id):
        raise Paused
    raise ReservationNotFound


def _keys_are_lost(campaign_id: int) -> bool:
    """Tell whether a campaign that should have keys has none: then no record proves nothing."""
    expected = _published().exclude(sale__phase=SalePhase.CLOSED).filter(pk=campaign_id).exists()
    try:
        return expected and not sale_store().client.exists(keys.campaign_key(campaign_id))
    except redis.RedisError as error:
        raise SaleUnavailable from error


def reservations_of_user(*, user_id: int, limit: int = 100) -> list[ReservationStatus]:
    """Return the user's reservations: those without a row yet, then those with one, newest first.

    :raises SaleUnavailable: open reservations cannot be read
    """
    orders = Order.objects.filter(user_id=user_id, reservation_id__isnull=False).order_by("-id")[:limit]
    rows = {order.reservation_id: status_of_order(order) for order in orders}
    open_ones = list(_open_records(user_id))
    told = {status.reservation_id: status for status in open_ones}
    undecided = [status for status in open_ones if status.reservation_id not in rows]
    return [*undecided, *(told.get(reservation_id or "", status) for reservation_id, status in rows.items())][
        :limit
    ]


def reservations_open(*, user_id: int) -> list[ReservationStatus]:
    """Return the user's reservations that are not decided yet, newest campaign first.

    :raises SaleUnavailable: they cannot be read
    """
    return [status for status in _open_records(user_id) if status.status == QUEUED]


def _open_records(user_id: int) -> Iterable[ReservationStatus]:
    campaigns = list(
        _published().exclude(sale__phase=SalePhase.CLOSED).order_by("-pk").values_list("pk", flat=True)
    )
    if not campaigns:
        return
    try:
        commands: list[tuple[Any, ...]] = [("HGET", keys.users_key(pk), user_id) for pk in campaigns]
        commands += [("EXISTS", keys.campaign_key(campaign_id)) for campaign_id in campaigns]
        answers = sale_store().commands(commands)
    except redis.RedisError as error:
        raise SaleUnavailable from error
    if 0 in answers[len(campaigns) :] or any(isinstance(answer, Exception) for answer in answers):
        raise SaleUnavailable  # keys are lost or damaged: an empty list would be a lie
    for campaign_id, packed in zip(campaigns, answers[: len(campaigns)], strict=True):
        for record in reversed(scripts.records_unpack(packed)):
            yield status_of_record(campaign_id, record)


def campaign_is_drained(*, campaign_id: int, store: SaleStore) -> bool:
    """Tell whether nothing that the campaign admitted is undecided: no unit reserved, no entry in the outbox."""
    reserved = store.client.hget(keys.campaign_key(campaign_id), "reserved")
    if reserved is None or int(reserved):
        return False
    start = "-"
    while page := store.client.xrange(keys.outbox_key(), min=start, count=1_000):
        if any(entry.sale_id == campaign_id for entry in outbox.entries_split(page)[0]):
            return False
        start = f"({page[-1][0].decode()}"
    return True
