"""Closing a campaign while units are in flight: none is handed back that an order may still take."""

from collections.abc import Iterator

import pytest
from django.dispatch import Signal

from orders import signals
from orders.models import Order, OrderStatus, Sale, SalePhase
from orders.services.endings import order_cancel, orders_expire
from orders.services.late_payments import return_settle
from seckill.models import CampaignOperation
from seckill.services import campaigns
from seckill.services.campaigns import campaign_close, operation_apply
from seckill.services.outcomes import outcomes_apply
from seckill.store import sale_store
from tests.concurrency.sales import OpenSale, together
from tests.orders.rows import AFTER, callback, payment_make
from tests.seckill.mutants import function_change
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 6


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> OpenSale:
    return OpenSale(valkey_server, allotment=6, users=4)


@pytest.fixture
def silent() -> Iterator[list[Signal]]:
    """Let nobody hear what orders say, as when the sale's server cannot be reached at that moment."""
    quiet = [signals.entries_decided, signals.outcomes_due, signals.judge_disagreed]
    with pytest.MonkeyPatch.context() as patch:
        for signal in quiet:
            patch.setattr(signal, "receivers", [])
        yield quiet


def settle(sale: OpenSale) -> bool:
    """Take the close as far as it goes now; return whether it is done."""
    operation = CampaignOperation.objects.filter(campaign_id=sale.pk).order_by("-number").first()
    assert operation is not None
    return operation_apply(operation=operation, store=sale_store(), now=sale.now)


def phase(sale: OpenSale) -> str:
    return Sale.objects.get(pk=sale.pk).phase


def close_with_units_in_flight(sale: OpenSale) -> None:
    """Reserve, close, settle the close, and only then let the judge see the reservation."""
    sale.reserve((sale.users[0].pk, b"a" * 16, 2))
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
def test_close_that_does_not_wait_loses_a_reservation(sale: OpenSale, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin hands back all six units; the judge can only refuse what was answered 202."""
    monkeypatch.setattr(campaigns, "campaign_is_drained", lambda **_: True)

    close_with_units_in_flight(sale)

    assert (Order.objects.get().status, Order.objects.get().reason) == (OrderStatus.REFUSED, "ended")
    assert sale.database() == (0, 0, 6)


def close_against_the_judge(sale: OpenSale) -> None:
    """Place two entries while two settlers close the campaign."""
    for at, user in enumerate(sale.users[:2]):
        sale.reserve((user.pk, bytes([at]) * 16, 2))
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


@pytest.mark.twin
def test_close_without_the_phase_check_hands_back_twice(sale: OpenSale, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin trusts what it read before the lock; two settlers hand the same units back."""
    function_change(
        monkeypatch,
        campaigns,
        "_hand_back",
        ("if locked.phase == SalePhase.CLOSED:", "if False:"),
        ("locked.allotment - locked.sold - locked.handed_back", "locked.allotment - locked.sold"),
    )
    campaign_close(campaign_id=sale.pk, now=sale.now)
    closing = Sale.objects.get(pk=sale.pk)
    closing.phase = SalePhase.CLOSING

    with pytest.raises(Exception, match="(?i)constraint|never_oversold"):
        campaigns._hand_back(closing, sale.now)


def test_ending_against_close_gives_each_unit_back_once(valkey_server: ValkeyServer) -> None:
    for _ in range(ROUNDS):
        sale = OpenSale(valkey_server, allotment=6, users=2)
        for at, user in enumerate(sale.users):
            sale.reserve((user.pk, bytes([at]) * 16, 2))
        sale.place(*sale.entries())
        order, kept = Order.objects.order_by("pk")

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
    """Return an order whose late payment is accepted by Valkey and not yet noted in the database."""
    sale.reserve((sale.users[0].pk, b"a" * 16, 2))
    decided = sale.place(*sale.entries())
    campaigns_store = sale_store()
    from seckill.services.outcomes import decided_apply

    decided_apply(decided=decided, store=campaigns_store)
    order = Order.objects.get()
    payment = payment_make(order)
    orders_expire(now=max(AFTER, order.expires_at))
    return order, payment  # type: ignore[return-value]
