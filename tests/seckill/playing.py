"""The sale's server as its selectors show it to pages, played without a server; and how tests read a page."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from seckill import errors, selectors
from seckill.models import Campaign
from seckill.statuses import ReservationStatus

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass
class SaleServer:
    """What the sale's server would answer; `down` means that it does not."""

    left: int = 37
    phase: str = "open"
    down: bool = False
    mine: list[ReservationStatus] = field(default_factory=list)

    def campaign_live(self, *, campaign_id: int, now: datetime) -> selectors.LiveNumbers:
        as_of_ms = int(now.timestamp() * 1000)
        if self.down:
            return selectors.LiveNumbers(left=None, as_of_ms=as_of_ms, phase="paused")
        return selectors.LiveNumbers(left=self.left, as_of_ms=as_of_ms, phase=self.phase)

    def reservations_of_user(self, *, user_id: int, limit: int = 100) -> list[ReservationStatus]:
        self._answer()
        return self.mine

    def reservation_status(self, *, reservation_id: str, user_id: int) -> ReservationStatus:
        self._answer()
        for row in self.mine:
            if row.reservation_id == reservation_id:
                return row
        raise errors.ReservationNotFound

    def _answer(self) -> None:
        if self.down:
            raise errors.SaleUnavailable


def reservation_made(campaign: Campaign, status: str, **facts: Any) -> ReservationStatus:
    values = {
        "reservation_id": f"{campaign.pk}-{LETTERS}",
        "campaign_id": campaign.pk,
        "status": status,
        "reason": "",
        "units": 1,
        "order_number": None,
        "pay_by": None,
        "poll_after_ms": 1000,
    }
    return ReservationStatus(**{**values, **facts})


def badges(html: str) -> list[str]:
    return re.findall(r'<span class="badge badge-\w+">([^<]+)</span>', html)


def key_in(html: str) -> str:
    found = re.search(r'name="key" value="([^"]+)"', html)
    assert found
    return found[1]
