"""The sale's health as operators see it; why a server is not trusted is tested with the start-up check."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from orders.models import DeadLetter
from orders.services.dead_letters import dead_letter_understand, dead_letter_write
from seckill import health, keys
from seckill.health import SaleHealth, sale_health
from seckill.outbox import GroupReader
from seckill.services.campaigns import campaign_pause
from tests.orders.rows import user_make
from tests.seckill.live_sale import LiveSale, commits_seen, server_crash
from tests.seckill.making import campaign_made
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> Iterator[LiveSale]:
    with commits_seen():
        yield LiveSale(valkey_server)


def test_health_of_a_quiet_sale(sale: LiveSale) -> None:
    assert sale_health() == SaleHealth(
        verified=True,
        problem="",
        outbox_entries=0,
        undecided_units=0,
        dead_letters=0,
        oldest_entry_age_seconds=0.0,
        relay_lag=None,
        consumer_lag=0,
        paused_campaigns=[],
    )


def test_health_counts_what_waits(sale: LiveSale) -> None:
    sale.admit(sale.users[0], 2)
    sale.admit(sale.users[1], 1)
    told = sale_health()
    assert (told.outbox_entries, told.undecided_units, told.consumer_lag) == (2, 3, 2)
    GroupReader(sale.store, "orders").read(timeout_seconds=0.01)
    assert sale_health().consumer_lag == 0


def test_health_tells_how_long_the_oldest_entry_has_waited(sale: LiveSale) -> None:
    ms = int((timezone.now() - timedelta(seconds=30)).timestamp() * 1000)
    sale.client.xadd(keys.outbox_key(), {"campaign": sale.pk}, id=f"{ms}-0")
    assert sale_health().oldest_entry_age_seconds == pytest.approx(30, abs=2)


def test_health_with_kafka_has_the_relays_lag_instead(sale: LiveSale, settings: Any) -> None:
    settings.KAFKA_BOOTSTRAP_SERVERS = ["127.0.0.1:1"]
    sale.admit(sale.users[0])
    told = sale_health()
    assert (told.relay_lag, told.consumer_lag) == (1, None)  # of a relay that never ran


def test_health_names_paused_campaigns_with_their_reason(sale: LiveSale) -> None:
    campaign_made(published=False, paused_reason="a draft", product=sale.product)
    campaign_pause(campaign_id=sale.pk, reason="a wrong price", now=sale.now)
    assert sale_health().paused_campaigns == [(sale.pk, "a wrong price")]


def test_health_counts_dead_letters_until_somebody_understands_them(sale: LiveSale) -> None:
    for entry in ("0:1", "0:2"):
        dead_letter_write(source="kafka", entry=entry, payload=b"", error="cut")
    assert sale_health().dead_letters == 2
    letter = DeadLetter.objects.first()
    assert letter is not None
    dead_letter_understand(letter_id=letter.pk, actor_id=user_make().pk, now=sale.now)
    assert sale_health().dead_letters == 1


def test_health_without_a_server_still_tells_what_the_database_knows(sale: LiveSale, settings: Any) -> None:
    dead_letter_write(source="kafka", entry="0:1", payload=b"", error="cut")
    campaign_pause(campaign_id=sale.pk, reason="a wrong price", now=sale.now)
    settings.REDIS_URL = "unix:///nowhere/valkey.sock?db=0"
    told = sale_health()
    assert not told.verified
    assert told.problem.startswith("Valkey does not answer: ")
    assert (told.dead_letters, told.paused_campaigns) == (1, [(sale.pk, "a wrong price")])


def test_health_says_when_the_database_cannot_be_compared(
    sale: LiveSale, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_crash(valkey_server)

    def fails(store: object) -> None:
        raise DatabaseError("gone away")

    monkeypatch.setattr(health, "server_compare", fails)
    assert sale_health().problem == "the database cannot be compared: gone away"
