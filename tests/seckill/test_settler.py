"""The settler: decides what nobody decides, repeats what Valkey missed, and no duty holds up another."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.utils import timezone

from orders.events import Outcome, reservation_id_text
from orders.models import Order, OrderStatus, Sale
from orders.services.endings import order_cancel, orders_expire
from orders.services.payments import payment_start
from seckill import keys, settler
from seckill.models import CampaignOperation
from seckill.services import outcomes as outcomes_module
from seckill.services.campaigns import campaign_pause
from seckill.settler import BacklogWatch, Settler, entries_settle
from tests.orders.rows import callback
from tests.seckill.live_sale import LiveSale, commits_seen, nobody_listens
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> Iterator[LiveSale]:
    with commits_seen():
        yield LiveSale(valkey_server, allotment=10, limit=4)


def age(sale: LiveSale, seconds: float) -> None:
    """Rewrite the outbox as if its entries had been admitted so long ago."""
    entries = sale.client.xrange(keys.outbox_key())
    sale.client.delete(keys.outbox_key())
    for entry_id, fields in entries:
        ms, sequence = entry_id.decode().split("-")
        sale.client.xadd(keys.outbox_key(), fields, id=f"{int(ms) - int(seconds * 1000)}-{sequence}")


def order_of(reservation_id: str) -> Order:
    return Order.objects.get(reservation_id=reservation_id)


# ---- what nobody decides ----


def test_settler_decides_overdue_entries_without_any_consumer(sale: LiveSale, settings: Any) -> None:
    settings.SALE_SETTLE_AFTER_SECONDS = 10
    overdue = [sale.admit(user) for user in sale.users]
    age(sale, 10.5)
    waiting = sale.admit(sale.users[0], 2)

    Settler().turn()

    assert [order_of(each).status for each in overdue] == [OrderStatus.PENDING] * 2
    assert not Order.objects.filter(reservation_id=waiting).exists()
    assert sale.valkey() == (6, 2, 2, 10)
    assert [len(entry.members) for entry in sale.entries()] == [1]


def test_settler_leaves_what_is_not_overdue_to_the_consumer(sale: LiveSale, settings: Any) -> None:
    settings.SALE_SETTLE_AFTER_SECONDS = 10
    sale.admit(sale.users[0])
    age(sale, 5)
    Settler().turn()
    assert Order.objects.count() == 0
    assert len(sale.entries()) == 1


def test_settler_takes_a_few_entries_a_turn(sale: LiveSale, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settler, "ENTRIES_AT_ONCE", 2)
    for _ in range(3):
        sale.admit(sale.users[0])
    counts = [entries_settle(store=sale.store, now=sale.now, after_seconds=-1) for _ in range(3)]
    assert counts == [2, 1, 0]


def test_settler_is_not_blinded_by_entries_that_cannot_leave(
    sale: LiveSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries of a campaign whose keys are gone stay; those behind them are decided all the same."""
    monkeypatch.setattr(settler, "ENTRIES_AT_ONCE", 2)
    for number in range(5):
        fields = {"v": 1, "campaign": 999, "epoch": 1, "packed": bytes([number]) * 16 + b"\0" * 7 + b"\1\0\1"}
        sale.client.xadd(keys.outbox_key(), fields)
    reservation_id = sale.admit(sale.users[0])
    age(sale, 11)
    each = Settler()
    for _ in range(4):
        each.turn()
    assert order_of(reservation_id).status == OrderStatus.PENDING


def test_settler_drops_entries_of_an_older_epoch_once_they_have_rows(sale: LiveSale) -> None:
    reservation_id = sale.admit(sale.users[0])
    Sale.objects.filter(pk=sale.pk).update(epoch=2)
    sale.tamper(epoch=2)

    assert entries_settle(store=sale.store, now=sale.now, after_seconds=-1) == 1

    order = order_of(reservation_id)
    assert (order.status, order.reason) == (OrderStatus.REFUSED, "our_fault")
    assert sale.entries() == []
    assert sale.database() == (0, 0, 0)


def test_settler_keeps_entries_of_a_campaign_whose_hash_is_gone(sale: LiveSale) -> None:
    sale.admit(sale.users[0])
    sale.client.delete(keys.campaign_key(sale.pk))
    Sale.objects.filter(pk=sale.pk).update(epoch=2)
    entries_settle(store=sale.store, now=sale.now, after_seconds=-1)
    assert len(sale.entries()) == 1


# ---- a backlog that somebody works off ----


def test_backlog_moves_while_its_lag_changes() -> None:
    lags = iter([0, 50, 50, 50, 40, 40, 40, 0])
    watch = BacklogWatch(lambda: next(lags))
    seen = [(now, watch.is_moving(now)) for now in (0.0, 1.0, 5.0, 10.9, 11.0, 20.9, 21.0, 22.0)]
    assert seen == [
        (0.0, False),
        (1.0, True),
        (5.0, True),
        (10.9, True),
        (11.0, True),
        (20.9, True),
        (21.0, False),  # stuck for ten seconds
        (22.0, False),
    ]


@pytest.mark.parametrize(("elapsed", "decided"), [(9.0, 0), (10.0, 1)])
def test_settler_waits_for_a_moving_backlog_and_not_for_a_stuck_one(
    sale: LiveSale, settings: Any, monkeypatch: pytest.MonkeyPatch, elapsed: float, decided: int
) -> None:
    settings.SALE_SETTLE_AFTER_SECONDS = 0
    sale.admit(sale.users[0])
    age(sale, 1)
    clock = iter([100.0, 100.0 + elapsed])
    monkeypatch.setattr(settler, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    each = Settler(lag=lambda: 7)
    each._settle(sale.now)
    assert Order.objects.count() == 0
    each._settle(sale.now)
    assert Order.objects.count() == decided


# ---- what Valkey missed ----


def test_settler_repeats_a_return(sale: LiveSale) -> None:
    reservation_id = sale.won(sale.users[0], 2)
    with nobody_listens():
        order_cancel(number=order_of(reservation_id).number, user_id=sale.users[0].pk, now=sale.now)
    assert sale.valkey() == (8, 0, 2, 10)

    Settler().turn()

    assert sale.valkey() == (10, 0, 0, 10)
    assert order_of(reservation_id).return_due is False


def test_settler_expires_orders_and_gives_their_units_back(sale: LiveSale) -> None:
    reservation_id = sale.won(sale.users[0], 2)
    Order.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    Settler().turn()
    order = order_of(reservation_id)
    assert (order.status, order.return_due) == (OrderStatus.EXPIRED, False)
    assert sale.valkey() == (10, 0, 0, 10)


@pytest.mark.parametrize(
    ("left", "status", "counters"),
    [(10, OrderStatus.PAID, (8, 0, 2, 10)), (1, OrderStatus.REFUNDING, (1, 0, 0, 1))],
)
def test_settler_repeats_a_readmission(
    sale: LiveSale, left: int, status: OrderStatus, counters: tuple[int, ...]
) -> None:
    reservation_id = sale.won(sale.users[0], 2)
    order = order_of(reservation_id)
    payment = payment_start(number=order.number, user_id=sale.users[0].pk, now=sale.now)
    late = order.expires_at + timedelta(seconds=1)  # type: ignore[operator]
    orders_expire(now=late)
    with nobody_listens():
        callback(payment, now=late)
    assert order_of(reservation_id).status == OrderStatus.READMITTING
    sale.tamper(left=left, allotment=left)

    for _ in range(2):  # the second takes back what a refusal gives back
        Settler().turn()

    assert order_of(reservation_id).status == status
    assert sale.valkey() == counters
    assert order_of(reservation_id).return_due is False


def test_settler_finishes_an_operation_that_valkey_missed(
    sale: LiveSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: object) -> None:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr("seckill.services.campaigns.operation_apply", away)
        operation = campaign_pause(campaign_id=sale.pk, reason="price", now=sale.now)
    assert operation.done_at is None
    assert sale.field("phase") == "open"

    Settler().turn()

    operation.refresh_from_db()
    assert operation.done_at is not None
    assert (sale.field("phase"), sale.field("op")) == ("paused", "2")


def test_settler_tells_many_outcomes_of_one_sale_in_calls_that_lua_can_take(
    sale: LiveSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Outcome] = []
    monkeypatch.setattr(outcomes_module, "_note", lambda outcome, code, **_: told.append(outcome))
    due = [
        Outcome(reservation_id_text(sale.pk, n.to_bytes(16, "big")), sale.pk, n, 1, False, 2, 4)
        for n in range(1, 4502)
    ]
    outcomes_module.outcomes_apply(outcomes=due, store=sale.store, now=sale.now)
    assert told == due
    assert sale.client.hlen(keys.users_key(sale.pk)) == 4501
    assert sale.valkey() == (10, 0, 0, 10)


# ---- duties apart ----

DUTIES = ["server_verify", "orders_expire", "entries_settle", "outcomes_apply", "operation_apply"]


@pytest.mark.parametrize("failing", DUTIES)
@pytest.mark.parametrize("error", [redis.ConnectionError("away"), ValueError("a bug")], ids=["redis", "bug"])
def test_settler_does_its_other_duties_when_one_fails(
    sale: LiveSale, monkeypatch: pytest.MonkeyPatch, failing: str, error: Exception
) -> None:
    done: list[str] = []

    def duty(name: str) -> Any:
        def act(**_: object) -> None:
            done.append(name)
            if name == failing:
                raise error

        return act

    for name in DUTIES:
        monkeypatch.setattr(settler, name, duty(name))
    monkeypatch.setattr(settler, "returns_due", lambda limit: ["something"])
    CampaignOperation.objects.update(done_at=None)

    Settler().turn()

    assert done == DUTIES


def test_settler_takes_the_other_operations_when_one_fails(
    sale: LiveSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    CampaignOperation.objects.update(done_at=None)
    first = CampaignOperation.objects.get()
    CampaignOperation.objects.create(
        campaign_id=sale.pk, number=2, kind="pause", created_at=sale.now, reason="later"
    )
    tried: list[int] = []

    def apply(*, operation: CampaignOperation, store: object, now: datetime) -> None:
        tried.append(operation.number)
        if operation.pk == first.pk:
            raise ValueError("a bug")

    monkeypatch.setattr(settler, "operation_apply", apply)
    Settler().turn()
    assert tried == [1, 2]


def test_settler_raises_nothing_without_a_server(
    sale: LiveSale, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = "unix:///nowhere/valkey.sock?db=0"
    CampaignOperation.objects.update(done_at=None)
    caplog.clear()
    Settler().turn()
    waiting = [
        record.getMessage().split()[0] for record in caplog.records if record.name == "seckill.settler"
    ]
    assert waiting == ["_verify", "_settle", "_operations"]
