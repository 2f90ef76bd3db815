"""Campaigns from draft to published: what each service moves, exactly, and what a refusal leaves as it was."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import DatabaseError
from django.utils import timezone

from orders.models import Sale, SalePhase
from seckill import keys
from seckill.errors import (
    CampaignNotDraft,
    CampaignNotFound,
    Ended,
    InvalidValues,
    NotStarted,
    OperationPending,
    Paused,
    SaleUnavailable,
)
from seckill.models import Campaign, CampaignOperation, CampaignState
from seckill.services import campaigns
from seckill.services.campaigns import (
    campaign_create,
    campaign_pause,
    campaign_publish,
    campaign_update,
)
from seckill.settler import Settler
from seckill.store import unverified_store
from shop.catalog.errors import InsufficientStock
from shop.catalog.models import Product, StockEntry
from tests.orders.rows import product_make, user_make
from tests.seckill.campaign_drafts import draft, keys_of, ledger, reserve, stock, values
from tests.seckill.live_sale import LiveSale, server_emptied
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def server(valkey_server: ValkeyServer) -> Iterator[ValkeyServer]:
    with server_emptied(valkey_server) as emptied:
        yield emptied


@pytest.fixture
def sale(server: ValkeyServer) -> LiveSale:
    return LiveSale(server, allotment=10, limit=4)


# ---- drafts ----


def test_create_makes_a_draft_and_moves_nothing() -> None:
    campaign = draft()
    assert campaign.state(timezone.now()) == CampaignState.DRAFT
    assert len(campaign.salt) == 16
    sale = Sale.objects.get(pk=campaign.pk)
    assert (sale.price, sale.currency, sale.limit_per_user, sale.allotment) == (
        Decimal("9.90"), "CNY", 2, 30,
    )  # fmt: skip
    assert (sale.sold, sale.handed_back, sale.epoch, sale.phase) == (0, 0, 1, SalePhase.OPEN)
    assert sale.pay_window_seconds == 900
    assert (stock(campaign), ledger(campaign), keys_of(campaign)) == (100, [], [])


def test_create_gives_every_campaign_a_salt_of_its_own() -> None:
    assert bytes(draft().salt) != bytes(draft().salt)


BAD_VALUES = [
    ({"ends_at": timezone.now() - timedelta(minutes=1)}, ["ends_at"]),
    ({"price": Decimal("-0.01")}, ["price"]),
    ({"limit_per_user": 0}, ["limit_per_user"]),
    ({"limit_per_user": 21}, ["limit_per_user"]),
    ({"allotment": 0}, ["allotment"]),
    ({"allotment": 0, "price": Decimal(-1)}, ["allotment", "price"]),
]


@pytest.mark.parametrize(("changes", "fields"), BAD_VALUES, ids=range(len(BAD_VALUES)))
def test_create_and_update_refuse_values_out_of_range(changes: dict[str, Any], fields: list[str]) -> None:
    now = timezone.now()
    campaign = draft()
    product = Product.objects.get(pk=campaign.sale.product_id)
    if "ends_at" in changes:
        changes = {"ends_at": now - timedelta(minutes=1)}  # equal to the start is too early, too
    for act in (campaign_create, lambda **words: campaign_update(campaign_id=campaign.pk, **words)):
        with pytest.raises(InvalidValues) as caught:
            act(**values(product, now, **changes))
        assert (caught.value.status, caught.value.code) == (422, "invalid")
        assert sorted(caught.value.extra["fields"]) == fields
    assert Campaign.objects.count() == Sale.objects.count() == 1
    assert Sale.objects.get().allotment == 30


def test_update_changes_a_draft() -> None:
    campaign = draft()
    other = product_make(stock=7)
    other.currency = "EUR"
    other.save()
    now = timezone.now()
    changed = campaign_update(
        campaign_id=campaign.pk,
        **values(other, now, name_en="Tea", price=Decimal("5.00"), limit_per_user=20, allotment=7),
    )
    sale = changed.sale
    assert (changed.name_en, sale.product_id, sale.currency) == ("Tea", other.pk, "EUR")
    assert (sale.price, sale.limit_per_user, sale.allotment) == (Decimal("5.00"), 20, 7)
    assert bytes(changed.salt) == bytes(campaign.salt)


def test_update_of_a_published_campaign_is_refused(sale: LiveSale) -> None:
    before = sale.picture()
    with pytest.raises(CampaignNotDraft) as caught:
        campaign_update(campaign_id=sale.pk, **values(sale.product, sale.now, allotment=1))
    assert (caught.value.status, caught.value.code) == (409, "seckill.not_draft")
    assert Sale.objects.get().allotment == 10
    assert sale.picture() == before


# ---- publication ----


def test_publish_moves_the_allotment_and_opens_the_campaign() -> None:
    campaign = draft()
    actor, now = user_make(), timezone.now()

    published = campaign_publish(campaign_id=campaign.pk, actor=actor, now=now)

    assert published.published_at == now
    assert stock(campaign) == 70
    assert ledger(campaign) == [(-30, "campaign", f"campaign {campaign.pk}", 70)]
    assert StockEntry.objects.get().actor == actor
    operation = CampaignOperation.objects.get()
    assert (operation.number, operation.kind, operation.reason, operation.actor, operation.done_at) == (
        1, "resume", "published", actor, now,
    )  # fmt: skip
    raw = unverified_store().client.hgetall(keys.campaign_key(campaign.pk))
    told = {name.decode(): value for name, value in raw.items() if name not in (b"born", b"card")}
    assert told == {
        "v": b"1", "epoch": b"1", "phase": b"open", "limit": b"2", "salt": bytes(campaign.salt),
        "starts_ms": b"%d" % int(campaign.starts_at.timestamp() * 1000),
        "ends_ms": b"%d" % int(campaign.ends_at.timestamp() * 1000),
        "allotment": b"30", "left": b"30", "reserved": b"0", "confirmed": b"0", "admitted": b"0",
        "reopen_ms": b"0", "clock_ms": b"0", "op": b"1", "op_took": b"0",
    }  # fmt: skip
    assert reserve(campaign.pk).startswith(f"{campaign.pk}-")


def test_publish_twice_is_refused(sale: LiveSale) -> None:
    before, rows = sale.picture(), ledger(sale.campaign)
    with pytest.raises(CampaignNotDraft):
        campaign_publish(campaign_id=sale.pk, now=sale.now)
    assert (sale.picture(), ledger(sale.campaign)) == (before, rows)


def test_publish_of_nothing_is_not_found() -> None:
    with pytest.raises(CampaignNotFound):
        campaign_publish(campaign_id=999, now=timezone.now())


def unpublished(campaign: Campaign, units: int) -> None:
    """Assert that nothing has happened to the draft."""
    campaign.refresh_from_db()
    assert campaign.published_at is None
    assert (stock(campaign), ledger(campaign)) == (units, [])
    assert not CampaignOperation.objects.exists()


def test_publish_without_enough_stock_changes_nothing() -> None:
    campaign = draft(stock=29)
    with pytest.raises(InsufficientStock) as caught:
        campaign_publish(campaign_id=campaign.pk, now=timezone.now())
    assert caught.value.code == "catalog.insufficient_stock"
    unpublished(campaign, 29)
    assert keys_of(campaign) == []


def test_publish_without_valkey_changes_nothing_and_can_be_repeated(server: ValkeyServer) -> None:
    campaign = draft()
    server.kill()
    try:
        with pytest.raises(SaleUnavailable) as caught:
            campaign_publish(campaign_id=campaign.pk, now=timezone.now())
    finally:
        server.start()
    assert (caught.value.status, caught.value.code) == (503, "seckill.unavailable")
    unpublished(campaign, 100)

    campaign_publish(campaign_id=campaign.pk, now=timezone.now())
    assert stock(campaign) == 70
    reserve(campaign.pk)


def test_publish_when_valkey_dies_at_the_warm_up_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = draft()

    def dies(*_: object) -> None:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(campaigns, "server_id", dies)
        with pytest.raises(SaleUnavailable):
            campaign_publish(campaign_id=campaign.pk, now=timezone.now())
    unpublished(campaign, 100)
    assert keys_of(campaign) == []


def test_publish_whose_transaction_fails_leaves_nothing_open_and_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign = draft()

    def fails(**_: object) -> None:
        raise DatabaseError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(CampaignOperation.objects, "create", fails)
        with pytest.raises(DatabaseError):
            campaign_publish(campaign_id=campaign.pk, now=timezone.now())

    unpublished(campaign, 100)
    assert keys_of(campaign) == [keys.campaign_key(campaign.pk).encode()]  # written before the failure
    with pytest.raises(Paused):
        reserve(campaign.pk)

    product = Product.objects.get(pk=campaign.sale.product_id)
    campaign_update(campaign_id=campaign.pk, **values(product, timezone.now(), allotment=5, limit_per_user=1))
    campaign_publish(campaign_id=campaign.pk, now=timezone.now())
    raw = unverified_store().client.hmget(
        keys.campaign_key(campaign.pk), "allotment", "left", "limit", "phase"
    )
    assert raw == [b"5", b"5", b"1", b"open"]
    assert stock(campaign) == 95
    reserve(campaign.pk)


def test_publish_whose_opening_valkey_missed_is_opened_by_the_settler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign = draft()

    def away(**_: object) -> None:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(campaigns, "operation_apply", away)
        campaign_publish(campaign_id=campaign.pk, now=timezone.now())
    with pytest.raises(Paused):
        reserve(campaign.pk)
    with pytest.raises(OperationPending) as caught:
        campaign_pause(campaign_id=campaign.pk, reason="", now=timezone.now())
    assert (caught.value.status, caught.value.code) == (409, "seckill.operation_pending")

    Settler().turn()
    reserve(campaign.pk)


def test_publish_refuses_keys_that_were_open_before() -> None:
    campaign = draft()
    unverified_store().client.hset(keys.campaign_key(campaign.pk), mapping={"op": 3, "admitted": 1})
    with pytest.raises(SaleUnavailable):
        campaign_publish(campaign_id=campaign.pk, now=timezone.now())
    unpublished(campaign, 100)
    assert unverified_store().client.hget(keys.campaign_key(campaign.pk), "op") == b"3"


def test_scheduled_campaign_opens_and_ends_by_the_clock_alone() -> None:
    """No worker, no settler and no beat run here."""
    now = timezone.now()
    campaign = draft(starts_at=now + timedelta(seconds=1.2), ends_at=now + timedelta(seconds=2.4))
    campaign_publish(campaign_id=campaign.pk, now=now)
    with pytest.raises(NotStarted):
        reserve(campaign.pk)
    _sleep_until(campaign.starts_at)
    reserve(campaign.pk)
    _sleep_until(campaign.ends_at)
    with pytest.raises(Ended):
        reserve(campaign.pk)


def _sleep_until(moment: datetime) -> None:
    time.sleep(max(0.0, (moment - timezone.now()).total_seconds()) + 0.01)
