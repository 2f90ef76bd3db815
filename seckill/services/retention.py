"""What of a campaign may leave Valkey after its end: the user records, never the hash."""

import logging
from datetime import datetime, timedelta

from seckill import keys
from seckill.models import CampaignOperation, OperationKind
from seckill.store import sale_store

logger = logging.getLogger("seckill.retention")

RECORDS_KEPT = timedelta(hours=24)  # after close; then the database answers


def records_purge(*, now: datetime) -> int:
    """Remove the user records of campaigns closed long enough ago and return of how many.

    The campaign's hash stays, so that closed is never taken for missing. Repeating it removes nothing more.
    :raises redis.RedisError: Valkey did not answer
    """
    closed = CampaignOperation.objects.filter(kind=OperationKind.CLOSE, done_at__lte=now - RECORDS_KEPT)
    names = [keys.users_key(campaign_id) for campaign_id in closed.values_list("campaign_id", flat=True)]
    removed = int(sale_store().client.unlink(*names)) if names else 0
    if removed:
        logger.info("user records of %d closed campaigns removed", removed)
    return removed
