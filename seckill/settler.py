"""The settler: decides what has waited too long, and repeats every outcome, return and operation until it is done.

It runs as a thread of the orders worker. Everything it does is idempotent, so two of them only waste work.
"""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import redis
from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from orders.events import Entry
from orders.selectors import readmissions_due, returns_due
from orders.services.endings import orders_expire
from orders.services.place import entries_place
from seckill import keys, outbox
from seckill.models import CampaignOperation
from seckill.services.campaigns import operation_apply
from seckill.services.outcomes import outcomes_apply
from seckill.services.reconciliation import Finding, server_verify
from seckill.store import SaleStore, sale_store, unverified_store

logger = logging.getLogger("seckill.settler")

ENTRIES_AT_ONCE = 8  # of at most 128 reservations each: one transaction of the judge
OUTCOMES_AT_ONCE = 500
LAG_STUCK_SECONDS = 10.0


class BacklogWatch:
    """Tells whether a backlog is being worked off, so that it is not decided a second time from the stream."""

    def __init__(self, lag: Callable[[], int]) -> None:
        self._lag = lag
        self._seen = -1
        self._since = 0.0

    def is_moving(self, now_seconds: float) -> bool:
        """Return True while the lag is above 0 and has changed within the last 10 s."""
        lag = self._lag()
        if lag != self._seen:
            self._seen, self._since = lag, now_seconds
        return lag > 0 and now_seconds - self._since < LAG_STUCK_SECONDS


class Settler:
    """Each turn does every duty, each on its own, so that one that fails does not hold up the others."""

    def __init__(self, *, lag: Callable[[], int] = lambda: 0) -> None:
        self._watch = BacklogWatch(lag)
        self._findings: list[Finding] = []  # told once, not at every turn

    def turn(self) -> None:
        """Do every duty once."""
        close_old_connections()
        now = timezone.now()
        for duty in (self._verify, self._expire, self._settle, self._returns, self._operations):
            try:
                duty(now)
            except redis.RedisError as error:
                logger.warning("%s waits for the sale's server: %s", duty.__name__, error)
            except Exception:
                logger.exception("%s failed and is tried again", duty.__name__)

    def _verify(self, now: datetime) -> None:
        findings = server_verify(store=unverified_store(), now=now)
        if findings != self._findings:
            for finding in findings:
                logger.error("the sale stays paused: campaign %s: %s", finding.campaign_id, finding.text)
            self._findings = findings

    def _expire(self, now: datetime) -> None:
        if expired := orders_expire(now=now):
            logger.info("%d orders expired", expired)

    def _settle(self, now: datetime) -> None:
        if not self._watch.is_moving(time.monotonic()):
            entries_settle(store=sale_store(), now=now)

    def _returns(self, now: datetime) -> None:
        outcomes = [*returns_due(OUTCOMES_AT_ONCE), *readmissions_due(OUTCOMES_AT_ONCE)]
        if outcomes:
            outcomes_apply(outcomes=outcomes, store=sale_store(), now=now)

    def _operations(self, now: datetime) -> None:
        for operation in CampaignOperation.objects.filter(done_at=None).order_by("campaign_id", "number"):
            try:
                operation_apply(operation=operation, store=sale_store(), now=now)
            except redis.RedisError:
                raise  # the others would wait for the same server
            except Exception:
                logger.exception("operation %s failed and is tried again", operation)


def entries_settle(*, store: SaleStore, now: datetime, after_seconds: float | None = None) -> int:
    """Decide entries that have waited `after_seconds` (Valkey's clock) in the outbox; return how many.

    Entries of an older epoch leave the outbox here, once every member has a row.
    """
    wait_ms = int(1000 * (settings.SALE_SETTLE_AFTER_SECONDS if after_seconds is None else after_seconds))
    seconds, micros = store.commands([("TIME",)])[0]
    until_ms = int(seconds) * 1000 + int(micros) // 1000 - wait_ms
    settled, start = 0, "-"
    while page := outbox.page_older_than(store, start=start, until_ms=until_ms, count=ENTRIES_AT_ONCE):
        if entries := outbox.entries_decode(page):
            entries_place(entries=entries, source="settler", now=now)
            _drop_old_epochs(store, entries)
            settled += len(entries)
        if outbox.page_has_shrunk(store, page):
            break
        start = f"({page[-1][0].decode()}"  # none of these can leave yet, so look behind them
    if settled:
        logger.info("%d overdue entries settled", settled)
    return settled


def _drop_old_epochs(store: SaleStore, entries: Sequence[Entry]) -> None:
    for entry in entries:
        epoch = store.client.hget(keys.campaign_key(entry.sale_id), "epoch")
        if epoch is not None and entry.epoch < int(epoch):
            outbox.entry_drop(store, entry)
