"""What an orders worker runs, in one process: a reservation becomes an order with nobody's help."""

import threading
import time
from typing import Any

import pytest

from orders.consumer import KafkaSource
from orders.models import Order, OrderStatus
from seckill.outbox import StreamSource
from seckill.selectors import reservation_status
from seckill.services.reconciliation import server_is_verified
from seckill.services.reservations import reservation_create
from seckill.store import unverified_store
from shop.site import order_worker as order_worker_module
from shop.site.order_worker import OrderWorker, order_source
from tests.seckill.live_sale import LiveSale, server_crash
from tests.services.processes import wait_until
from tests.services.valkey import ValkeyServer

WITHIN_SECONDS = 2.0


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> LiveSale:
    return LiveSale(valkey_server, allotment=10, limit=4)


@pytest.fixture
def worker(sale: LiveSale) -> Any:
    made = OrderWorker()
    made.start()
    yield made
    made.stop()


def worker_threads() -> list[str]:
    return sorted(t.name for t in threading.enumerate() if t.name in ("consumer-outbox", "settler"))


def buy(sale: LiveSale, key: str) -> str:
    return reservation_create(
        campaign_id=sale.pk, user_id=sale.users[0].pk, quantity=1, key=key
    ).reservation_id


def status_becomes(sale: LiveSale, reservation_id: str, status: str) -> float:
    """Wait for the status and return how long that took."""
    began = time.monotonic()
    wait_until(
        lambda: reservation_status(reservation_id=reservation_id, user_id=sale.users[0].pk).status == status,
        deadline_seconds=10,
        what=status,
    )
    return time.monotonic() - began


@pytest.mark.django_db(transaction=True)
def test_worker_turns_a_reservation_into_an_order(sale: LiveSale, worker: OrderWorker) -> None:
    reservation_id = buy(sale, "first")
    assert status_becomes(sale, reservation_id, "won") < WITHIN_SECONDS
    order = Order.objects.get()
    assert (order.reservation_id, order.status, order.units) == (reservation_id, OrderStatus.PENDING, 1)
    assert sale.valkey() == (9, 0, 1, 10)
    assert sale.entries() == []


@pytest.mark.django_db(transaction=True)
def test_worker_goes_on_after_the_sales_server_was_killed(
    sale: LiveSale, worker: OrderWorker, valkey_server: ValkeyServer
) -> None:
    status_becomes(sale, buy(sale, "first"), "won")
    server_crash(valkey_server)
    wait_until(
        lambda: server_is_verified(unverified_store()),
        deadline_seconds=10,
        what="trust in the restarted server",
    )
    status_becomes(sale, buy(sale, "second"), "won")
    assert sale.valkey() == (8, 0, 2, 10)
    assert sale.database() == (2, 2, 0)


@pytest.mark.django_db(transaction=True)
def test_worker_stops_its_threads(sale: LiveSale) -> None:
    worker = OrderWorker()
    worker.start()
    assert worker_threads() == ["consumer-outbox", "settler"]
    worker.stop()
    assert worker_threads() == []
    reservation_id = buy(sale, "later")
    time.sleep(0.2)
    assert reservation_status(reservation_id=reservation_id, user_id=sale.users[0].pk).status == "queued"


def test_worker_that_never_started_stops() -> None:
    OrderWorker().stop()
    assert worker_threads() == []


def test_source_is_kafka_where_it_is_configured(settings: Any) -> None:
    assert isinstance(order_source(), StreamSource)
    settings.KAFKA_BOOTSTRAP_SERVERS = ["127.0.0.1:1"]
    assert isinstance(order_source(), KafkaSource)


class Beat:
    """Celery's embedded beat as the worker uses it."""

    happened: list[Any] = []

    def __init__(self, app: object, thread: bool) -> None:
        self.happened.append((app, thread))

    def start(self) -> None:
        self.happened.append("start")

    def stop(self) -> None:
        self.happened.append("stop")


@pytest.mark.django_db(transaction=True)
def test_worker_keeps_the_schedule_and_ends_with_its_parent_where_asked(
    sale: LiveSale, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EXIT_WITH_PARENT = True
    parents: list[str] = []
    monkeypatch.setattr(order_worker_module, "exit_with_parent", lambda: parents.append("watched"))
    monkeypatch.setattr(Beat, "happened", [])
    monkeypatch.setattr("celery.beat.EmbeddedService", Beat)
    worker = OrderWorker()
    worker.start(beat_app="the app")
    worker.stop()
    assert Beat.happened == [("the app", True), "start", "stop"]
    assert parents == ["watched"]
    assert worker_threads() == []
