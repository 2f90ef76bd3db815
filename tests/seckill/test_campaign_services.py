"""Campaigns from draft to closed: what each service moves, exactly, and what a refusal leaves as it was."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import DatabaseError
from django.utils import timezone

from orders.models import Order, OrderStatus, Sale, SalePhase
from orders.services.endings import order_cancel
from seckill import keys
from seckill.errors import (
    CampaignNotDraft,
    CampaignNotFound,
    Ended,
    InvalidValues,
    NotStarted,
    OperationNotAllowed,
    OperationPending,
    Paused,
    SaleUnavailable,
)
from seckill.models import Campaign, CampaignOperation, CampaignState
from seckill.services import campaigns
from seckill.services.campaigns import (
    campaign_close,
    campaign_create,
    campaign_pause,
    campaign_publish,
    campaign_resume,
    campaign_update,
)
from seckill.services.reservations import process_gate, reservation_create
from seckill.settler import Settler
from seckill.store import sale_store, unverified_store
from shop.catalog.errors import InsufficientStock
from shop.catalog.models import Product, StockEntry
from tests.orders.rows import product_make, user_make
from tests.seckill.live_sale import LiveSale, commits_seen, nobody_listens
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def server(valkey_server: ValkeyServer) -> Iterator[ValkeyServer]:
    valkey_server.clear()
    sale_store().close()
    process_gate.cache_clear()
    with commits_seen():
        yield valkey_server


@pytest.fixture
def sale(server: ValkeyServer) -> LiveSale:
    return LiveSale(server, allotment=10, limit=4)


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
        "now": now,
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


# ---- pause, resume ----


def test_pause_and_resume_follow_each_other(sale: LiveSale) -> None:
    actor = user_make()
    pause = campaign_pause(campaign_id=sale.pk, reason="a wrong price", actor=actor, now=sale.now)
    assert (pause.number, pause.kind, pause.reason, pause.actor, pause.done_at) == (
        2, "pause", "a wrong price", actor, sale.now,
    )  # fmt: skip
    assert Campaign.objects.get().paused_reason == "a wrong price"
    assert (sale.field("phase"), sale.field("op")) == ("paused", "2")
    with pytest.raises(Paused):
        reserve(sale.pk)

    resume = campaign_resume(campaign_id=sale.pk, actor=actor, now=sale.now)
    assert (resume.number, resume.kind, resume.done_at) == (3, "resume", sale.now)
    assert Campaign.objects.get().paused_reason == ""
    assert (sale.field("phase"), sale.field("op")) == ("open", "3")
    reserve(sale.pk)


def test_pause_still_decides_what_was_admitted(sale: LiveSale) -> None:
    sale.admit(sale.users[0], 2)
    campaign_pause(campaign_id=sale.pk, reason="", now=sale.now)
    sale.place(*sale.entries())
    assert Order.objects.get().status == OrderStatus.PENDING
    assert sale.valkey() == (8, 0, 2, 10)


def pause(campaign_id: int, now: datetime) -> Any:
    return campaign_pause(campaign_id=campaign_id, reason="x", now=now)


def resume(campaign_id: int, now: datetime) -> Any:
    return campaign_resume(campaign_id=campaign_id, now=now)


def close(campaign_id: int, now: datetime) -> Any:
    return campaign_close(campaign_id=campaign_id, now=now)


@pytest.mark.parametrize(
    ("before", "act", "state"),
    [
        ([], resume, "live"),
        ([pause], pause, "paused"),
        ([close], pause, "closed"),
        ([close], resume, "closed"),
        ([close], close, "closed"),
        ([pause, close], resume, "closed"),
    ],
)
def test_operation_that_the_state_does_not_allow_changes_nothing(
    sale: LiveSale, before: list[Any], act: Any, state: str
) -> None:
    for step in before:
        step(sale.pk, sale.now)
    picture, count = sale.picture(), CampaignOperation.objects.count()
    reason = Campaign.objects.get().paused_reason
    with pytest.raises(OperationNotAllowed) as caught:
        act(sale.pk, sale.now)
    assert (caught.value.code, caught.value.extra) == ("seckill.operation_not_allowed", {"state": state})
    assert (sale.picture(), CampaignOperation.objects.count()) == (picture, count)
    assert Campaign.objects.get().paused_reason == reason


@pytest.mark.parametrize("act", [pause, resume, close])
def test_operation_on_a_draft_is_refused(act: Any) -> None:
    campaign = draft()
    with pytest.raises(OperationNotAllowed) as caught:
        act(campaign.pk, timezone.now())
    assert caught.value.extra == {"state": "draft"}
    assert not CampaignOperation.objects.exists()


@pytest.mark.parametrize("act", [pause, resume, close])
def test_operation_waits_for_the_one_before_it(sale: LiveSale, act: Any) -> None:
    sale.admit(sale.users[0])
    assert close(sale.pk, sale.now).done_at is None  # it waits for what was admitted
    with pytest.raises(OperationPending):
        act(sale.pk, sale.now)
    assert CampaignOperation.objects.count() == 2


# ---- close ----


def test_close_hands_back_what_was_not_sold_once(sale: LiveSale) -> None:
    sale.won(sale.users[0], 2)
    sale.won(sale.users[1], 1)

    operation = campaign_close(campaign_id=sale.pk, now=sale.now)

    assert operation.done_at == sale.now
    assert Sale.objects.get().phase == SalePhase.CLOSED
    assert sale.database() == (3, 3, 7)
    assert sale.stock() == 7
    assert ledger(sale.campaign)[1:] == [(7, "campaign", f"campaign {sale.pk}", 7)]
    assert sale.valkey() == (0, 0, 3, 3)
    assert sale.field("phase") == "closed"
    for _ in range(2):
        assert campaigns.operation_apply(operation=operation, store=sale.store, now=sale.now)
    assert (sale.stock(), sale.database(), len(ledger(sale.campaign))) == (7, (3, 3, 7), 2)


def test_close_of_a_sold_out_campaign_writes_no_ledger_row(sale: LiveSale) -> None:
    for user in sale.users:
        sale.won(user, 4)
    sale.won(user_make(), 2)
    campaign_close(campaign_id=sale.pk, now=sale.now)
    assert (sale.stock(), len(ledger(sale.campaign)), sale.database()) == (0, 1, (10, 10, 0))


def test_close_waits_for_what_was_admitted_and_the_settler_finishes_it(sale: LiveSale) -> None:
    sale.admit(sale.users[0], 2)
    operation = campaign_close(campaign_id=sale.pk, reason="the end", now=sale.now)
    assert operation.done_at is None
    assert Sale.objects.get().phase == SalePhase.CLOSING
    assert Campaign.objects.get().state(sale.now) == CampaignState.ENDED
    assert sale.stock() == 0
    with pytest.raises(Ended):
        reserve(sale.pk)
    Settler().turn()
    assert Sale.objects.get().phase == SalePhase.CLOSING

    sale.place(*sale.entries())
    Settler().turn()

    operation.refresh_from_db()
    assert operation.done_at is not None
    assert (sale.database(), sale.stock(), sale.valkey()) == ((2, 2, 8), 8, (0, 0, 2, 2))


def test_close_whose_last_step_valkey_missed_is_finished_without_handing_back_again(
    sale: LiveSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def away(campaign_id: int) -> None:
            raise redis.ConnectionError("away")

        patch.setattr(campaigns.scripts, "close_call", away)
        operation = campaign_close(campaign_id=sale.pk, now=sale.now)
    assert (operation.done_at, sale.field("phase"), sale.stock()) == (None, "closing", 10)
    Settler().turn()
    operation.refresh_from_db()
    assert operation.done_at is not None
    assert (sale.field("phase"), sale.stock(), sale.valkey()) == ("closed", 10, (0, 0, 0, 0))


@pytest.mark.parametrize("heard", [True, False])
def test_cancel_after_close_goes_to_the_products_stock(sale: LiveSale, heard: bool) -> None:
    sale.won(sale.users[0], 2)
    order = Order.objects.get()
    campaign_close(campaign_id=sale.pk, now=sale.now)
    if heard:
        order_cancel(number=order.number, user_id=sale.users[0].pk, now=sale.now)
    else:
        with nobody_listens():
            order_cancel(number=order.number, user_id=sale.users[0].pk, now=sale.now)
        Settler().turn()
    assert sale.database() == (0, 0, 10)
    assert sale.stock() == 10
    assert ledger(sale.campaign)[2:] == [(2, "campaign", order.number, 10)]
    assert sale.valkey() == (0, 0, 0, 0)


def test_close_of_a_paused_campaign_forgets_why_it_was_paused(sale: LiveSale) -> None:
    pause(sale.pk, sale.now)
    close(sale.pk, sale.now)
    assert Campaign.objects.get().paused_reason == ""
    assert (sale.field("phase"), sale.field("op"), sale.stock()) == ("closed", "3", 10)


def test_operation_on_a_campaign_whose_keys_are_gone_waits(sale: LiveSale) -> None:
    sale.client.delete(keys.campaign_key(sale.pk))
    operation = pause(sale.pk, sale.now)
    assert operation.done_at is None
    assert sale.client.exists(keys.campaign_key(sale.pk)) == 0
