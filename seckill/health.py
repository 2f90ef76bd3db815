"""How the sale is doing, for `manage.py status`, the readiness probe and staff."""

import logging
import time
from dataclasses import dataclass, field

import redis
from django.conf import settings
from django.db import DatabaseError

from orders.models import DeadLetter
from seckill import keys
from seckill.models import Campaign
from seckill.outbox import GroupReader
from seckill.services.reconciliation import server_compare, server_is_verified
from seckill.store import SaleStore, unverified_store

logger = logging.getLogger("seckill.health")

# The promise. Six times what the settler leaves an entry before it decides by itself: nobody is deciding.
UNDECIDED_TOO_LONG_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SaleHealth:
    """problem is empty when the sale's server is trusted. Lags are entries; None where there is no such reader."""

    verified: bool
    problem: str
    outbox_entries: int = 0
    undecided_units: int = 0
    dead_letters: int = 0
    oldest_entry_age_seconds: float = 0.0
    relay_lag: int | None = None
    consumer_lag: int | None = None
    paused_campaigns: list[tuple[int, str]] = field(default_factory=list)

    @property
    def undecided_too_long(self) -> bool:
        """Whether a reservation waits longer than the promise allows."""
        return self.oldest_entry_age_seconds > UNDECIDED_TOO_LONG_SECONDS


def sale_health(*, ask_kafka: bool = False) -> SaleHealth:
    """Return the state of the sale's server and of what waits behind it.

    ask_kafka: whether to read the consumer's lag there, which takes up to some seconds; not for probes.

    :raises DatabaseError: the database does not answer
    """
    dead_letters = DeadLetter.objects.filter(understood_at=None).count()
    paused = list(
        Campaign.objects.filter(published_at__isnull=False)
        .exclude(paused_reason="")
        .values_list("pk", "paused_reason")
    )
    store = unverified_store()
    try:
        return _server_health(store, dead_letters, paused, ask_kafka=ask_kafka)
    except redis.RedisError as error:
        return SaleHealth(
            False, f"Valkey does not answer: {error}", dead_letters=dead_letters, paused_campaigns=paused
        )


def _server_health(
    store: SaleStore, dead_letters: int, paused: list[tuple[int, str]], *, ask_kafka: bool
) -> SaleHealth:
    verified = server_is_verified(store)
    with_kafka = bool(settings.KAFKA_BOOTSTRAP_SERVERS)
    oldest = store.client.xrange(keys.outbox_key(), count=1)
    age = time.time() - int(oldest[0][0].split(b"-")[0]) / 1000 if oldest else 0.0
    return SaleHealth(
        verified=verified,
        problem="" if verified else _why_not(store),
        outbox_entries=store.client.xlen(keys.outbox_key()),
        undecided_units=int(store.client.hget(keys.shard_key(), "open") or 0),
        dead_letters=dead_letters,
        oldest_entry_age_seconds=max(age, 0.0),
        relay_lag=GroupReader(store, "relay").lag() if with_kafka else None,
        consumer_lag=_consumer_lag(store, ask_kafka=ask_kafka),
        paused_campaigns=paused,
    )


def _why_not(store: SaleStore) -> str:
    try:
        findings = server_compare(store)
    except DatabaseError as error:
        return f"the database cannot be compared: {error}"
    if not findings:
        return "the server has restarted and is about to be compared with the database"
    return "; ".join(f"campaign {f.campaign_id}: {f.text}" if f.campaign_id else f.text for f in findings[:5])


def _consumer_lag(store: SaleStore, *, ask_kafka: bool) -> int | None:
    """Return how much the consumer has before it; None where Kafka was not asked or does not answer."""
    if not settings.KAFKA_BOOTSTRAP_SERVERS:
        return GroupReader(store, "orders").lag()
    if not ask_kafka:
        return None
    from orders.consumer import topic_lag

    try:
        return topic_lag()
    except Exception:
        logger.exception("Kafka does not tell the consumer's lag")
        return None
