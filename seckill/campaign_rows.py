"""Public rows of campaigns for lists: from what Valkey holds, or from the database where that cannot be read."""

import time
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from seckill import answers
from seckill.errors import Paused, SaleUnavailable
from seckill.models import Campaign, CampaignState
from seckill.services.reservations import campaign_memory, process_gate


def campaign_rows(campaigns: Sequence[Campaign], *, language: str) -> list[dict[str, Any]]:
    """Return one public row a campaign. Unknown numbers are never sold out: the campaign is shown as paused."""
    return [_row(campaign, language) for campaign in campaigns]


def _row(campaign: Campaign, language: str) -> dict[str, Any]:
    now_ms = process_gate().now_ms(time.monotonic())
    try:
        memory = campaign_memory(campaign_id=campaign.pk)
    except (Paused, SaleUnavailable):
        memory = None
    if memory is not None:
        return answers.campaign_row(memory, language=language, now_ms=now_ms)
    state = campaign.state(timezone.now())
    unknown = state in (CampaignState.LIVE, CampaignState.SCHEDULED)
    sale = campaign.sale
    return {
        "id": str(campaign.pk),
        "name": campaign.name_en if language.startswith("en") else campaign.name_zh,
        "product_id": str(sale.product_id),
        "state": str(CampaignState.PAUSED if unknown else state),
        "sold_out": False,
        "starts_at": answers.rfc3339(int(campaign.starts_at.timestamp() * 1000)),
        "ends_at": answers.rfc3339(int(campaign.ends_at.timestamp() * 1000)),
        "price": str(sale.price),
        "currency": sale.currency,
        "limit_per_user": sale.limit_per_user,
        "server_time": answers.rfc3339(now_ms),
    }
