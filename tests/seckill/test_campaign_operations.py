"""Pause, resume and close: what each moves, exactly, and what a refusal leaves as it was."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import redis
from django.utils import timezone

from orders.models import Order, OrderStatus, Sale, SalePhase
from orders.services.endings import order_cancel
from seckill import keys
from seckill.errors import (
    Ended,
    OperationNotAllowed,
    OperationPending,
    Paused,
)
from seckill.models import Campaign, CampaignOperation, CampaignState
from seckill.services import campaigns
from seckill.services.campaigns import (
    campaign_close,
    campaign_pause,
    campaign_resume,
)
from seckill.settler import Settler
from tests.orders.rows import user_make
from tests.seckill.campaign_drafts import draft, ledger, reserve
from tests.seckill.live_sale import LiveSale, nobody_listens, server_emptied
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def server(valkey_server: ValkeyServer) -> Iterator[ValkeyServer]:
    with server_emptied(valkey_server) as emptied:
        yield emptied


@pytest.fixture
def sale(server: ValkeyServer) -> LiveSale:
    return LiveSale(server, allotment=10, limit=4)


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
