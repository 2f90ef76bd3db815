"""The start-up check: a server that restarted is trusted only when everything it says agrees with the database."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import redis

from orders.models import Order, OrderStatus, Sale, SalePhase
from orders.services.endings import order_cancel, orders_expire
from seckill import keys
from seckill.errors import Paused
from seckill.health import sale_health
from seckill.models import CampaignOperation
from seckill.selectors import reservation_status
from seckill.services.campaigns import campaign_close
from seckill.services.reconciliation import (
    Finding,
    server_compare,
    server_id,
    server_is_verified,
    server_verify,
)
from seckill.services.reservations import process_gate, reservation_create
from seckill.settler import Settler
from seckill.store import NotVerified, sale_store, unverified_store
from tests.seckill.live_sale import LiveSale, commits_seen, nobody_listens, server_crash
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> Iterator[LiveSale]:
    """A campaign with two units won, one reserved and seven left."""
    with commits_seen():
        sale = LiveSale(valkey_server, allotment=10, limit=4)
        sale.won(sale.users[0], 2)
        sale.admit(sale.users[1], 1)
        yield sale


def distrust(sale: LiveSale) -> None:
    """Forget that the server was compared, as after a restart."""
    sale.client.hset(keys.shard_key(), "boot", "another")
    sale_store().close()


def verify(sale: LiveSale) -> list[Finding]:
    return server_verify(store=unverified_store(), now=sale.now)


def buy(sale: LiveSale, key: str = "k") -> str:
    return reservation_create(
        campaign_id=sale.pk, user_id=sale.users[1].pk, quantity=1, key=key
    ).reservation_id


# ---- trust ----


def test_fresh_server_without_campaigns_is_trusted(valkey_server: ValkeyServer, settings: object) -> None:
    valkey_server.clear()
    store = unverified_store()
    assert not server_is_verified(store)
    assert server_verify(store=store, now=None) == []  # type: ignore[arg-type]
    assert server_is_verified(store)
    shard = store.client.hgetall(keys.shard_key())
    assert shard == {b"boot": server_id(store).encode(), b"open_max": b"100000", b"open": b"0"}


def test_server_restarted_on_its_own_data_is_trusted_after_the_check(
    sale: LiveSale, valkey_server: ValkeyServer
) -> None:
    first = buy(sale, "before")
    counters = sale.valkey()
    server_crash(valkey_server)

    assert sale.valkey() == counters
    assert not server_is_verified(unverified_store())
    with pytest.raises(NotVerified):
        sale_store().client.ping()
    with pytest.raises(Paused):
        buy(sale)
    with pytest.raises(Paused):
        reservation_status(reservation_id=first, user_id=sale.users[1].pk)
    health = sale_health()
    assert (health.verified, health.problem) == (
        False,
        "the server has restarted and is about to be compared with the database",
    )

    assert verify(sale) == []

    assert server_is_verified(unverified_store())
    assert sale_health().problem == ""
    assert reservation_status(reservation_id=first, user_id=sale.users[1].pk).status == "queued"
    assert buy(sale, "before") == first
    buy(sale, "after")
    assert sale.valkey() == (5, 3, 2, 10)
    sale.place(*sale.entries())
    assert sale.valkey() == (5, 0, 5, 10)
    assert sale.database() == (5, 5, 0)


def test_settler_lets_a_restarted_server_be_trusted(sale: LiveSale, valkey_server: ValkeyServer) -> None:
    server_crash(valkey_server)
    Settler().turn()
    buy(sale)
    assert sale.valkey() == (6, 2, 2, 10)


def test_check_of_a_trusted_server_changes_nothing(sale: LiveSale) -> None:
    before = sale.picture()
    assert verify(sale) == []
    assert sale.picture() == before


def test_check_without_a_server_raises(sale: LiveSale, settings: object) -> None:
    settings.REDIS_URL = "unix:///nowhere/valkey.sock?db=0"  # type: ignore[attr-defined]
    with pytest.raises(redis.ConnectionError):
        verify(sale)
    assert sale_health().problem.startswith("Valkey does not answer")


def test_check_keeps_the_count_of_undecided_units(sale: LiveSale) -> None:
    distrust(sale)
    assert verify(sale) == []
    assert sale.open_units() == 1


# ---- what is settled by it ----


def test_outcomes_that_have_rows_are_settled_by_the_check(
    sale: LiveSale, valkey_server: ValkeyServer
) -> None:
    """Decided in the database, unknown to Valkey: a win, a cancel, and an entry nobody has decided."""
    cancelled = Order.objects.get()
    with nobody_listens():
        sale.place(*sale.entries())
        order_cancel(number=cancelled.number, user_id=sale.users[0].pk, now=sale.now)
    sale.admit(sale.users[1], 1)
    server_crash(valkey_server)
    assert sale.valkey() == (6, 2, 2, 10)

    assert verify(sale) == []

    assert sale.valkey() == (8, 1, 1, 10)
    assert sale.database() == (1, 1, 0)
    assert len(sale.entries()) == 1
    cancelled.refresh_from_db()
    assert cancelled.return_due is False


def test_refused_rows_are_settled_by_the_check(sale: LiveSale, valkey_server: ValkeyServer) -> None:
    sale.users[1].delete()
    with nobody_listens():
        sale.place(*sale.entries())
    assert Order.objects.filter(status=OrderStatus.REFUSED).count() == 1
    server_crash(valkey_server)
    assert verify(sale) == []
    assert sale.valkey() == (8, 0, 2, 10)
    assert sale.entries() == []
    assert sale.open_units() == 0


# ---- each finding ----


def hash_missing(sale: LiveSale) -> str:
    sale.client.delete(keys.campaign_key(sale.pk))
    return "its hash is missing"


def epoch_differs(sale: LiveSale) -> str:
    sale.tamper(epoch=7)
    return "epoch 7 in Valkey, 1 in the database"


def operation_behind(sale: LiveSale) -> str:
    sale.tamper(op=0)
    return "operation 1 is done, Valkey has seen only 0"


def allotment_differs(sale: LiveSale) -> str:
    sale.tamper(allotment=11, left=8)
    return "allotment 11 in Valkey, 10 in the database"


def counters_do_not_add_up(sale: LiveSale) -> str:
    sale.tamper(left=6)
    return "left 6 + reserved 1 + confirmed 2 is not 10"


def left_negative(sale: LiveSale) -> str:
    sale.tamper(left=-1, reserved=9)
    return "left -1 + reserved 9 + confirmed 2 is not 10"


def records_do_not_add_up(sale: LiveSale) -> str:
    sale.tamper(left=6, reserved=2)
    return "the records hold 1 reserved and 2 confirmed, the counters say 2 and 2"


def reserved_without_entry(sale: LiveSale) -> str:
    sale.client.xdel(keys.outbox_key(), sale.entries()[0].entry_id)
    return "1 units are reserved, the outbox holds 0"


def sold_differs(sale: LiveSale) -> str:
    Sale.objects.filter(pk=sale.pk).update(sold=3)
    return "2 units are confirmed in Valkey, 3 are sold in the database"


def row_without_record(sale: LiveSale) -> str:
    sale.client.hdel(keys.users_key(sale.pk), str(sale.users[0].pk))
    return f"{Order.objects.get().reservation_id} is pending in the database and not confirmed in Valkey"


def record_without_row(sale: LiveSale) -> str:
    order = Order.objects.get()
    order.delete()
    return f"{order.reservation_id} is confirmed in Valkey and has no row"


def ended_but_confirmed(sale: LiveSale) -> str:
    order = Order.objects.get()
    Order.objects.update(status=OrderStatus.CANCELLED)
    return f"{order.reservation_id} is cancelled in the database and confirmed in Valkey"


def outbox_behind(sale: LiveSale) -> str:
    Sale.objects.filter(pk=sale.pk).update(last_entry="9999999999999-0")
    return "the outbox ends before entry 9999999999999-0, which the database has decided"


def outbox_gone(sale: LiveSale) -> str:
    last = Sale.objects.get(pk=sale.pk).last_entry
    sale.client.delete(keys.outbox_key())
    return f"the outbox ends before entry {last}, which the database has decided"


def undecided_differ(sale: LiveSale) -> str:
    sale.client.hset(keys.shard_key(), "open", 4)
    return "4 undecided units are counted, the outbox holds 1"


def entry_unreadable(sale: LiveSale) -> str:
    name = sale.client.xadd(keys.outbox_key(), {"campaign": "?"}).decode()
    return f"outbox entry {name} cannot be read"


BREAKS = [
    hash_missing,
    epoch_differs,
    operation_behind,
    allotment_differs,
    counters_do_not_add_up,
    left_negative,
    records_do_not_add_up,
    reserved_without_entry,
    sold_differs,
    row_without_record,
    record_without_row,
    ended_but_confirmed,
    outbox_behind,
    outbox_gone,
    undecided_differ,
    entry_unreadable,
]
OF_THE_SERVER = (undecided_differ, entry_unreadable)


@pytest.mark.parametrize("broken", BREAKS, ids=lambda act: act.__name__)
def test_server_that_differs_stays_paused_and_says_why(
    sale: LiveSale, broken: Callable[[LiveSale], str]
) -> None:
    text = broken(sale)
    distrust(sale)

    findings = verify(sale)

    found = [f for f in findings if f.text.startswith(text)]
    assert [f.campaign_id for f in found] == [None if broken in OF_THE_SERVER else sale.pk], findings
    assert not server_is_verified(unverified_store())
    with pytest.raises(Paused):
        buy(sale)
    health = sale_health()
    assert not health.verified
    expected = text if broken in OF_THE_SERVER else f"campaign {sale.pk}: {text}"
    assert expected in health.problem
    assert [f.text for f in server_compare(unverified_store())] == [f.text for f in findings]


def test_server_that_agrees_has_no_findings(sale: LiveSale) -> None:
    """The twin of the cases above: nothing broken, nothing found."""
    distrust(sale)
    assert server_compare(unverified_store()) == []
    assert verify(sale) == []


def test_wiped_server_stays_paused_and_never_says_sold_out(sale: LiveSale) -> None:
    sale.client.flushall()
    sale_store().close()
    process_gate.cache_clear()
    for _ in range(3):
        Settler().turn()
        with pytest.raises(Paused) as caught:  # any other answer, "sold out" above all, would be a lie
            buy(sale)
        assert (caught.value.code, caught.value.retry_after_seconds) == ("seckill.paused", 5)
    assert sale_health().problem == f"campaign {sale.pk}: its hash is missing"
    assert sale.client.keys() == []


def test_row_of_a_reservation_whose_record_is_gone_is_found_while_settling(sale: LiveSale) -> None:
    with nobody_listens():
        sale.place(*sale.entries())
    sale.client.delete(keys.users_key(sale.pk))
    distrust(sale)
    findings = verify(sale)
    assert Finding(sale.pk, "a won order has no record in Valkey") in findings
    assert not server_is_verified(unverified_store())


def test_closed_campaigns_are_not_compared(sale: LiveSale) -> None:
    sale.place(*sale.entries())
    campaign_close(campaign_id=sale.pk, now=sale.now)
    assert Sale.objects.get().phase == SalePhase.CLOSED
    sale.client.delete(keys.campaign_key(sale.pk), keys.users_key(sale.pk))
    distrust(sale)
    assert verify(sale) == []


def test_operation_that_valkey_has_and_the_database_has_not_noted_is_no_difference(sale: LiveSale) -> None:
    CampaignOperation.objects.create(campaign_id=sale.pk, number=2, kind="pause", created_at=sale.now)
    sale.tamper(op=2, phase="paused")
    distrust(sale)
    assert verify(sale) == []


def test_health_names_five_findings_at_most(sale: LiveSale) -> None:
    for number in range(7):
        sale.client.xadd(keys.outbox_key(), {"campaign": "?", "n": number})
    distrust(sale)
    assert sale_health().problem.count("cannot be read") == 5


def test_expired_order_whose_return_valkey_missed_is_settled(
    sale: LiveSale, valkey_server: ValkeyServer
) -> None:
    with nobody_listens():
        orders_expire(now=sale.now + timedelta(hours=1))
    server_crash(valkey_server)
    assert verify(sale) == []
    assert sale.valkey() == (9, 1, 0, 10)
