"""What the sale does when orders say that something was decided or has ended, and when Valkey is not there."""

from typing import Any

import pytest
import redis

from orders import signals
from orders.models import Order, OrderStatus, Sale
from orders.services.endings import order_cancel
from seckill import keys, receivers
from seckill.models import Campaign, CampaignOperation
from seckill.services.campaigns import campaign_close
from tests.seckill.live_sale import LiveSale, commits_seen, nobody_listens
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> Any:
    with commits_seen():
        yield LiveSale(valkey_server, allotment=10, limit=4)


def away(**_: object) -> None:
    raise redis.ConnectionError("away")


def paused_reason(sale: LiveSale) -> str:
    return Campaign.objects.get(pk=sale.pk).paused_reason


def test_decided_entries_are_confirmed_and_leave_the_outbox(sale: LiveSale) -> None:
    reservation_id = sale.admit(sale.users[0], 2)
    sale.place(*sale.entries())
    order = Order.objects.get()
    record = sale.record(sale.users[0], reservation_id)
    assert record is not None
    assert (record.state.name, record.move) == ("CONFIRMED", 1)
    assert record.detail == int(order.expires_at.timestamp())  # type: ignore[union-attr]
    assert (sale.valkey(), sale.entries(), sale.open_units()) == ((8, 0, 2, 10), [], 0)


def test_refused_entries_are_released_with_their_reason(sale: LiveSale) -> None:
    reservation_id = sale.admit(sale.users[0], 2)
    user = sale.users[0]
    kept = user.pk
    user.delete()
    user.pk = kept
    sale.place(*sale.entries())
    record = sale.record(user, reservation_id)
    assert record is not None
    assert (record.state.name, record.move, record.detail) == ("RELEASED", 1, 6)
    assert (sale.valkey(), sale.entries(), sale.open_units()) == ((10, 0, 0, 10), [], 0)
    assert paused_reason(sale) == ""  # bad data is nobody's disagreement


def test_entry_with_winners_and_losers_leaves_with_its_last_call(sale: LiveSale) -> None:
    gone = sale.users[1].pk
    sale.reserve((sale.users[0].pk, b"a" * 16, 1), (gone, b"b" * 16, 2))
    sale.users[1].delete()
    sale.place(*sale.entries())
    assert (sale.valkey(), sale.entries(), sale.open_units()) == ((9, 0, 1, 10), [], 0)
    assert sorted(Order.objects.values_list("status", flat=True)) == ["pending", "refused"]


def test_decision_stands_when_valkey_cannot_be_told(sale: LiveSale, monkeypatch: pytest.MonkeyPatch) -> None:
    sale.admit(sale.users[0], 2)
    with monkeypatch.context() as patch:
        patch.setattr(receivers, "decided_apply", away)
        sale.place(*sale.entries())
    assert Order.objects.get().status == OrderStatus.PENDING
    assert (sale.valkey(), len(sale.entries())) == ((8, 2, 0, 10), 1)
    assert paused_reason(sale) == ""
    sale.place(*sale.entries())  # the settler's repetition
    assert (sale.valkey(), sale.entries()) == ((8, 0, 2, 10), [])


def test_cancel_stands_when_valkey_cannot_be_told(sale: LiveSale, monkeypatch: pytest.MonkeyPatch) -> None:
    sale.won(sale.users[0], 2)
    monkeypatch.setattr(receivers, "outcomes_apply", away)
    order = Order.objects.get()
    order_cancel(number=order.number, user_id=sale.users[0].pk, now=sale.now)
    order.refresh_from_db()
    assert (order.status, order.return_due) == (OrderStatus.CANCELLED, True)
    assert sale.valkey() == (8, 0, 2, 10)


def test_cancel_gives_units_back_and_is_noted(sale: LiveSale) -> None:
    reservation_id = sale.won(sale.users[0], 2)
    order = Order.objects.get()
    order_cancel(number=order.number, user_id=sale.users[0].pk, now=sale.now)
    order.refresh_from_db()
    record = sale.record(sale.users[0], reservation_id)
    assert record is not None
    assert (order.return_due, record.state.name, record.move, record.detail) == (False, "RELEASED", 2, 5)
    assert sale.valkey() == (10, 0, 0, 10)


def test_winner_without_a_record_pauses_the_campaign(sale: LiveSale) -> None:
    sale.admit(sale.users[0], 2)
    sale.client.delete(keys.users_key(sale.pk))
    sale.place(*sale.entries())
    assert paused_reason(sale) == f"campaigns [{sale.pk}]: a won reservation has no record"
    assert sale.field("phase") == "paused"
    assert len(sale.entries()) == 1
    assert CampaignOperation.objects.filter(kind="pause", done_at__isnull=False).count() == 1
    sale.place(*sale.entries())  # it is paused already, and stays so
    assert CampaignOperation.objects.filter(kind="pause").count() == 1


@pytest.mark.parametrize("changes", [{"allotment": 1}, {"limit_per_user": 1}])
def test_refusal_for_stock_or_limit_pauses_the_campaign(sale: LiveSale, changes: dict[str, int]) -> None:
    """Valkey admitted what the database may not sell: the two disagree."""
    sale.admit(sale.users[0], 2)
    Sale.objects.filter(pk=sale.pk).update(**changes)
    sale.place(*sale.entries())
    assert Order.objects.get().status == OrderStatus.REFUSED
    assert paused_reason(sale) == "the judge refused what Valkey had admitted"
    assert sale.field("phase") == "paused"
    assert sale.valkey() == (10, 0, 0, 10)


def test_pausing_a_closing_campaign_is_no_error(sale: LiveSale) -> None:
    sale.admit(sale.users[0], 2)
    campaign_close(campaign_id=sale.pk, now=sale.now)
    Sale.objects.filter(pk=sale.pk).update(limit_per_user=1)
    sale.place(*sale.entries())
    assert Order.objects.get().reason == "limit_reached"
    assert paused_reason(sale) == ""


def test_signals_of_nothing_do_nothing(sale: LiveSale) -> None:
    before = sale.picture()
    signals.entries_decided.send(sender=Order, decided=[])
    signals.outcomes_due.send(sender=Order, outcomes=[])
    signals.judge_disagreed.send(sender=Order, sale_ids=[])
    assert sale.picture() == before
    with nobody_listens():
        assert signals.judge_disagreed.send(sender=Order, sale_ids=[sale.pk]) == []
    assert paused_reason(sale) == ""
