"""A published campaign on real servers, and threads that start together, for the races of the sale."""

import hashlib
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.utils import timezone

from orders.events import Entry, member_pack
from orders.models import HOLDING, Order, Sale, SalePhase
from orders.services import place
from seckill import keys, outbox, scripts
from seckill.models import Campaign
from seckill.scripts import ReserveReply
from seckill.services.campaigns import campaign_create, campaign_publish
from seckill.store import SaleStore, sale_store, unverified_store
from shop.accounts.models import User
from shop.catalog.models import Product
from tests.orders.rows import product_make, user_make
from tests.services.valkey import ValkeyServer

WAIT_SECONDS = 30.0


def together(*acts: Callable[[], object]) -> list[object]:
    """Run the acts in threads from one barrier, each on its own connections; return results, or what was raised."""
    barrier = threading.Barrier(len(acts), timeout=WAIT_SECONDS)
    results: list[object] = [None] * len(acts)

    def run(at: int, act: Callable[[], object]) -> None:
        try:
            barrier.wait()
            results[at] = act()
        except Exception as error:  # noqa: BLE001 - told to the test, which compares it
            results[at] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(i, act)) for i, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
    return results


class OpenSale:
    """One campaign, published and live, with what the races do to it and count afterwards."""

    def __init__(self, server: ValkeyServer, *, allotment: int, limit: int = 2, users: int = 0) -> None:
        Sale.objects.update(
            phase=SalePhase.CLOSED
        )  # earlier rounds are over: their keys go with the next line
        server.clear()
        sale_store().close()
        self.now: datetime = timezone.now()
        self.allotment = allotment
        self.product = product_make(stock=allotment)
        self.users: list[User] = [user_make() for _ in range(users)]
        draft = campaign_create(
            product_id=self.product.pk,
            name_zh="竞争",
            name_en="Race",
            starts_at=self.now - timedelta(minutes=5),
            ends_at=self.now + timedelta(hours=1),
            price=Decimal("9.00"),
            limit_per_user=limit,
            allotment=allotment,
        )
        self.campaign: Campaign = campaign_publish(campaign_id=draft.pk, now=self.now)
        self.pk = self.campaign.pk
        self.store: SaleStore = sale_store()

    def reserve(self, *requests: tuple[int, bytes, int]) -> ReserveReply:
        """Send one batch of (user id, 16 bytes, units) through the real script."""
        pairs = [(user_id, member_pack(raw, user_id, units)) for user_id, raw, units in requests]
        answer = self.store.run([scripts.reserve_call(self.pk, pairs)])[0]
        assert not isinstance(answer, Exception), answer
        return scripts.reserve_reply(answer)

    def entries(self) -> list[Entry]:
        return [outbox.entry_decode(raw) for raw in unverified_store().client.xrange(keys.outbox_key())]

    def place(self, *entries: Entry) -> Any:
        return place.entries_place(entries=entries, source="race", now=self.now)

    def valkey(self) -> tuple[int, int, int, int]:
        """Return (left, reserved, confirmed, allotment)."""
        names = ("left", "reserved", "confirmed", "allotment")
        raw = unverified_store().client.hmget(keys.campaign_key(self.pk), names)
        left, reserved, confirmed, allotment = (int(value) for value in raw)
        return left, reserved, confirmed, allotment

    def database(self) -> tuple[int, int, int]:
        """Return (sold, units that the orders hold, units handed back)."""
        sale = Sale.objects.get(pk=self.pk)
        held = Order.objects.filter(sale_id=self.pk, status__in=HOLDING).values_list("units", flat=True)
        return sale.sold, sum(held), sale.handed_back

    def stock(self) -> int:
        """Return the product's ordinary stock."""
        return Product.objects.get(pk=self.product.pk).stock

    def raw(self, at: int) -> bytes:
        """Return the 16 bytes of this campaign's reservation number `at`."""
        return hashlib.md5(f"{self.pk}/{at}".encode()).digest()
