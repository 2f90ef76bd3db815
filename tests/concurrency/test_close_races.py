"""Closing a campaign while units are in flight: none is handed back that an order may still take."""

import pytest
from django.db import DatabaseError

from orders import signals
from orders.models import Order, OrderStatus, Sale, SalePhase
from orders.selectors import readmissions_due
from orders.services.endings import order_cancel, orders_expire
from orders.services.transactions import retry_transaction
from seckill.models import CampaignOperation
from seckill.services import campaigns
from seckill.services.campaigns import campaign_close, operation_apply
from seckill.services.outcomes import outcomes_apply
from seckill.store import sale_store
from tests.concurrency.sales import OpenSale, together
from tests.orders.rows import callback, payment_make
from tests.seckill.mutants import function_change
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 6


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> OpenSale:
    return OpenSale(valkey_server, allotment=6, users=4)


def settle(sale: OpenSale) -> bool:
    """Take the close as far as it goes now; return whether it is done."""
    operation = CampaignOperation.objects.filter(campaign_id=sale.pk).order_by("-number").first()
    assert operation is not None
    return operation_apply(operation=operation, store=sale_store(), now=sale.now)


def phase(sale: OpenSale) -> str:
    return Sale.objects.get(pk=sale.pk).phase


def close_with_units_in_flight(sale: OpenSale) -> None:
    """Reserve, close, settle the close, and only then let the judge see the reservation."""
    sale.reserve((sale.users[0].pk, sale.raw(0), 2))
    campaign_close(campaign_id=sale.pk, now=sale.now)
    settle(sale)
    sale.place(*sale.entries())
    settle(sale)


def test_close_waits_for_units_in_flight(sale: OpenSale) -> None:
    close_with_units_in_flight(sale)

    assert phase(sale) == SalePhase.CLOSED
    assert Order.objects.get().status == OrderStatus.PENDING
    assert sale.valkey() == (0, 0, 2, 2)
    assert sale.database() == (2, 2, 4)
    assert sale.stock() == 4


@pytest.mark.twin
def test_close_that_does_not_wait_loses_a_reservation(
    sale: OpenSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin hands back all six units; the judge can only refuse what was answered 202."""
    monkeypatch.setattr(campaigns, "campaign_is_drained", lambda **_: True)

    close_with_units_in_flight(sale)

    assert (Order.objects.get().status, Order.objects.get().reason) == (OrderStatus.REFUSED, "ended")
    assert sale.database() == (0, 0, 6)


def close_against_the_judge(sale: OpenSale) -> None:
    """Place two entries while two settlers close the campaign."""
    for at, user in enumerate(sale.users[:2]):
        sale.reserve((user.pk, sale.raw(at), 2))
    first, second = sale.entries()
    campaign_close(campaign_id=sale.pk, now=sale.now)
    together(
        lambda: sale.place(first), lambda: sale.place(second), lambda: settle(sale), lambda: settle(sale)
    )
    sale.place(first, second)
    assert settle(sale)


def test_close_against_judge_and_second_settler(valkey_server: ValkeyServer) -> None:
    for _ in range(ROUNDS):
        sale = OpenSale(valkey_server, allotment=6, users=2)

        close_against_the_judge(sale)

        assert sale.valkey() == (0, 0, 4, 4)
        assert sale.database() == (4, 4, 2)
        assert sale.stock() == 2


def hand_back_twice_at_once(sale: OpenSale) -> list[object]:
    """Let two settlers who have both read "closing" hand the units back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(campaigns, "_close_finish", lambda *_, **__: False)
        campaign_close(campaign_id=sale.pk, now=sale.now)
    seen = [Sale.objects.get(pk=sale.pk) for _ in range(2)]
    hand_back = [
        lambda row=row: retry_transaction(lambda: campaigns._hand_back(row, sale.now)) for row in seen
    ]
    return together(*hand_back)


def test_two_settlers_hand_back_once(valkey_server: ValkeyServer) -> None:
    for _ in range(ROUNDS):
        sale = OpenSale(valkey_server, allotment=6)

        assert hand_back_twice_at_once(sale) == [True, True]

        assert sale.database() == (0, 0, 6)
        assert sale.stock() == 6


@pytest.mark.twin
def test_two_settlers_without_a_look_under_the_lock_hand_back_twice(
    sale: OpenSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin trusts what it read before the lock; only the table's own constraint stops the second."""
    function_change(
        monkeypatch,
        campaigns,
        "_hand_back",
        ("if locked.phase != SalePhase.CLOSING:", "if False:"),
        (
            "locked.allotment - locked.sold - locked.handed_back",
            "sale.allotment - sale.sold - sale.handed_back",
        ),
    )

    kinds = {type(result) for result in hand_back_twice_at_once(sale)}

    assert len(kinds) == 2
    assert any(issubclass(kind, DatabaseError) for kind in kinds)


def test_ending_against_close_gives_each_unit_back_once(valkey_server: ValkeyServer) -> None:
    for _ in range(ROUNDS):
        sale = OpenSale(valkey_server, allotment=6, users=2)
        for at, user in enumerate(sale.users):
            sale.reserve((user.pk, sale.raw(at), 2))
        sale.place(*sale.entries())
        order, kept = Order.objects.filter(sale_id=sale.pk).order_by("pk")

        results = together(
            lambda sale=sale: campaign_close(campaign_id=sale.pk, now=sale.now),
            lambda sale=sale, order=order: order_cancel(
                number=order.number, user_id=order.user_id, now=sale.now
            ),
        )

        assert [type(result) for result in results] == [CampaignOperation, Order]
        assert settle(sale)
        assert sale.database() == (2, 2, 4)
        assert sale.stock() == 4
        assert sale.valkey() == (0, 0, 2, 2)
        kept.refresh_from_db()
        assert kept.status == OrderStatus.PENDING


def late_payment_being_decided(sale: OpenSale) -> Order:
    """Return an order that is readmitted for a late payment, before the sale's server was asked."""
    sale.reserve((sale.users[0].pk, sale.raw(0), 2))
    sale.place(*sale.entries())
    order = Order.objects.get()
    payment = payment_make(order)
    orders_expire(now=order.expires_at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals.outcomes_due, "receivers", [])
        callback(payment, now=order.expires_at)
    order.refresh_from_db()
    assert (order.status, sale.valkey()) == (OrderStatus.READMITTING, (6, 0, 0, 6))
    return order


def test_close_waits_for_a_late_payment_that_is_being_decided(sale: OpenSale) -> None:
    order = late_payment_being_decided(sale)

    operation = campaign_close(campaign_id=sale.pk, now=sale.now)

    assert (phase(sale), operation.done_at) == (SalePhase.CLOSING, None)
    assert (sale.stock(), sale.valkey()) == (0, (6, 0, 0, 6))
    outcomes_apply(outcomes=readmissions_due(10), store=sale_store(), now=sale.now)
    assert settle(sale)
    order.refresh_from_db()
    assert order.status == OrderStatus.REFUNDING
    assert (phase(sale), sale.database(), sale.stock()) == (SalePhase.CLOSED, (0, 0, 6), 6)
    assert sale.valkey() == (0, 0, 0, 0)


@pytest.mark.twin
def test_close_that_does_not_wait_for_a_late_payment_never_hands_back(
    sale: OpenSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin calls the operation done although the transaction handed nothing back."""
    function_change(
        monkeypatch,
        campaigns,
        "_close_finish",
        (
            "if not retry_transaction(lambda: _hand_back(sale, now)):\n            return False",
            "retry_transaction(lambda: _hand_back(sale, now))",
        ),
    )
    late_payment_being_decided(sale)

    operation = campaign_close(campaign_id=sale.pk, now=sale.now)

    assert operation.done_at is not None
    assert (phase(sale), sale.stock()) == (SalePhase.CLOSING, 0)
    assert sale.valkey() == (0, 0, 0, 0)
