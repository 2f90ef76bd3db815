"""What the sale does when orders say that something was decided or has ended."""

import logging
from collections.abc import Sequence
from typing import Any

import redis
from django.dispatch import receiver
from django.utils import timezone

from orders.events import Decided, Outcome
from orders.signals import entries_decided, judge_disagreed, outcomes_due
from seckill.errors import OperationNotAllowed, OperationPending
from seckill.services.campaigns import campaign_pause
from seckill.services.outcomes import RecordMissing, decided_apply, outcomes_apply
from seckill.store import sale_store

logger = logging.getLogger("seckill.receivers")


@receiver(entries_decided)
def apply_decided(sender: Any, decided: Sequence[Decided], **_: Any) -> None:
    """Confirm or release every reservation of decided entries; what fails the settler repeats."""
    try:
        decided_apply(decided=decided, store=sale_store())
    except RecordMissing as error:
        _pause(error.campaign_ids, str(error))
    except redis.RedisError as error:
        logger.warning("outcomes of %d entries wait for the settler: %s", len(decided), error)


@receiver(outcomes_due)
def apply_outcomes(sender: Any, outcomes: Sequence[Outcome], **_: Any) -> None:
    """Give units back, or take them for a late payment; what fails the settler repeats."""
    try:
        outcomes_apply(outcomes=outcomes, store=sale_store(), now=timezone.now())
    except RecordMissing as error:
        _pause(error.campaign_ids, str(error))
    except redis.RedisError as error:
        logger.warning("%d outcomes wait for the settler: %s", len(outcomes), error)


@receiver(judge_disagreed)
def pause_disagreeing(sender: Any, sale_ids: Sequence[int], **_: Any) -> None:
    """Pause campaigns whose admission the judge had to refuse: Valkey and database disagree."""
    _pause(sale_ids, "the judge refused what Valkey had admitted")


def _pause(campaign_ids: Sequence[int], reason: str) -> None:
    for campaign_id in campaign_ids:
        logger.error("campaign %s is paused: %s", campaign_id, reason)
        try:
            campaign_pause(campaign_id=campaign_id, reason=reason[:200], now=timezone.now())
        except (OperationNotAllowed, OperationPending):
            logger.info("campaign %s was paused or closing already", campaign_id)
