"""What a page says about a campaign or a reservation: one wording, chosen from true numbers only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

import redis
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from orders.models import LostReason
from seckill import errors, selectors
from seckill.models import Campaign, CampaignState
from seckill.statuses import LOST, QUEUED, WON, ReservationStatus
from shop.resilience.errors import ShopError, Unavailable

STOCK_EXACT_UP_TO = 10  # units; above, rounded down to tens, so that nobody counts the others' purchases

T = TypeVar("T")


class Headline(StrEnum):
    """The one wording for a campaign's button and headline; its value names it in templates."""

    STARTS_SOON = "starts_soon"
    BUY_NOW = "buy_now"
    IN_QUEUE = "in_queue"
    YOURS = "yours"
    NOT_THIS_TIME = "not_this_time"
    LIMIT_REACHED = "limit_reached"
    SOLD_OUT = "sold_out"
    PAUSED = "paused"
    ENDED = "ended"

    @property
    def label(self) -> Any:
        """The words, lazily translated."""
        return _LABELS[self][0]

    @property
    def tone(self) -> str:
        """The badge's colour role; the words stand beside it always."""
        return _LABELS[self][1]


_LABELS: dict[Headline, tuple[Any, str]] = {
    Headline.STARTS_SOON: (_("Starts soon"), "wait"),
    Headline.BUY_NOW: (_("Buy now"), "live"),
    Headline.IN_QUEUE: (_("In the queue"), "wait"),
    Headline.YOURS: (_("It's yours"), "good"),
    Headline.NOT_THIS_TIME: (_("Not this time"), "bad"),
    Headline.LIMIT_REACHED: (_("Limit reached"), "warn"),
    Headline.SOLD_OUT: (_("Sold out"), "bad"),
    Headline.PAUSED: (_("Paused"), "warn"),
    Headline.ENDED: (_("Ended"), "plain"),
}

_STATUS_HEADLINES = {
    QUEUED: Headline.IN_QUEUE,
    WON: Headline.YOURS,
    LOST: Headline.NOT_THIS_TIME,
}


@dataclass(frozen=True)
class Stock:
    """Units left as they are shown: `left_shown` is exact unless `rounded`; true at `as_of`."""

    left_shown: int
    rounded: bool
    gone_percent: int
    as_of: datetime


@dataclass(frozen=True)
class CampaignPanel:
    """Everything that the campaign's page and card show, at `now`."""

    campaign: Campaign
    headline: Headline
    stock: Stock | None
    stock_expected: bool
    mine: Sequence[ReservationStatus]
    may_take: int
    may_reserve: bool
    now: datetime

    @property
    def pay_window_minutes(self) -> int:
        """The time to pay, in whole minutes."""
        return self.campaign.sale.pay_window_seconds // 60


@dataclass(frozen=True)
class Lost:
    """Why a reservation was lost, and the one next step."""

    words: Any
    next_label: Any
    next_url: str


@dataclass(frozen=True)
class Refusal:
    """A refusal in a shopper's words, with the facts that the page needs."""

    message: Any
    status: int
    retry_after_seconds: int | None
    key_is_spent: bool


# The errors' own messages speak to programs here.
_REFUSAL_WORDS: dict[str, Any] = {
    errors.KeyMissing.code: _("This page was not complete. Press again."),
    errors.KeyReused.code: _(
        "You have already reserved another quantity from this page; see below. Press again to reserve more."
    ),
    errors.Unknown.code: _("The answer got lost. Press again to learn what happened."),
}


def refusal_of(error: ShopError) -> Refusal:
    """Return what the campaign's page says about a refused reservation."""
    return Refusal(
        message=_REFUSAL_WORDS.get(error.code, error.message),
        status=error.status,
        retry_after_seconds=error.retry_after_seconds,
        key_is_spent=isinstance(error, errors.KeyReused | errors.KeyMissing),
    )


def known_or_none(read: Callable[[], T]) -> T | None:
    """Return what `read` answers, or None while the sale's server cannot: pages then say "not known"."""
    try:
        return read()
    except (Unavailable, redis.RedisError):
        return None


def stock_shown(*, left: int, allotment: int, as_of_ms: int) -> Stock:
    """Return the units left, exact up to ten."""
    rounded = left > STOCK_EXACT_UP_TO
    gone = 0 if allotment <= 0 else 100 * (allotment - left) // allotment
    return Stock(
        left_shown=left // 10 * 10 if rounded else left,
        rounded=rounded,
        gone_percent=min(100, max(0, gone)),
        as_of=datetime.fromtimestamp(as_of_ms / 1000, UTC),
    )


def campaign_panels(*, campaigns: Sequence[Campaign], now: datetime) -> list[CampaignPanel]:
    """Return the panels of several campaigns for anybody; their numbers are read in one round trip."""
    live = selectors.campaigns_live(campaign_ids=[campaign.pk for campaign in campaigns], now=now)
    return [_panel(campaign, live[campaign.pk], user_id=None, now=now) for campaign in campaigns]


def campaign_panel(*, campaign: Campaign, user_id: int | None, now: datetime) -> CampaignPanel:
    """Return the panel of one campaign for one shopper, with numbers read now."""
    return _panel(
        campaign, selectors.campaign_live(campaign_id=campaign.pk, now=now), user_id=user_id, now=now
    )


def _panel(
    campaign: Campaign, live: selectors.LiveNumbers, *, user_id: int | None, now: datetime
) -> CampaignPanel:
    mine: list[ReservationStatus] = []
    if user_id is not None:
        held = known_or_none(lambda: selectors.reservations_of_user(user_id=user_id))
        mine = [reservation for reservation in held or [] if reservation.campaign_id == campaign.pk]
    state = _state_for_shoppers(campaign, live, now)
    may_take = campaign.sale.limit_per_user - sum(row.units for row in mine if row.status != LOST)
    stock = None
    if live.left is not None and state is not CampaignState.ENDED:
        stock = stock_shown(left=live.left, allotment=campaign.sale.allotment, as_of_ms=live.as_of_ms)
    return CampaignPanel(
        campaign=campaign,
        headline=_headline(state=state, sold_out=live.left == 0, mine=mine, may_take=may_take, now=now),
        stock=stock,
        stock_expected=state in (CampaignState.LIVE, CampaignState.PAUSED),
        mine=mine,
        may_take=max(0, may_take),
        may_reserve=state is CampaignState.LIVE and live.left != 0 and may_take > 0,
        now=now,
    )


def _state_for_shoppers(campaign: Campaign, live: selectors.LiveNumbers, now: datetime) -> CampaignState:
    """Return the campaign's state, where the sale's server has the last word on one that should be live."""
    state = campaign.state(now)
    if state is CampaignState.CLOSED or live.phase in ("closing", "closed"):
        return CampaignState.ENDED
    if state is CampaignState.LIVE and (live.left is None or live.phase != "open"):
        return CampaignState.PAUSED  # unknown stock is never "sold out"
    return state


def _headline(
    *,
    state: CampaignState,
    sold_out: bool,
    mine: Sequence[ReservationStatus],
    may_take: int,
    now: datetime,
) -> Headline:
    """Return the wording: what became of the shopper's own reservations first, then the campaign's state."""
    statuses = {reservation.status for reservation in mine}
    if QUEUED in statuses:
        return Headline.IN_QUEUE
    if any(row.status == WON and row.pay_by is not None and row.pay_by > now for row in mine):
        return Headline.YOURS
    if state is CampaignState.ENDED:
        return Headline.ENDED
    if state is CampaignState.PAUSED:
        return Headline.PAUSED
    if state is not CampaignState.LIVE:
        return Headline.STARTS_SOON
    if may_take <= 0:
        return Headline.LIMIT_REACHED
    if sold_out:
        return Headline.NOT_THIS_TIME if LOST in statuses else Headline.SOLD_OUT
    return Headline.BUY_NOW


def reservation_headline(status: str) -> Headline:
    """Return the wording of a reservation's status."""
    return _STATUS_HEADLINES[status]


def lost_explained(reservation: ReservationStatus) -> Lost:
    """Return the reason in words and the one next step of a lost reservation."""
    campaign_url = reverse("seckill:campaign", args=[reservation.campaign_id])
    home = (_("See what is on now"), reverse("site:home"))
    again = (_("Back to the sale"), campaign_url)
    words, (label, url) = {
        LostReason.SOLD_OUT: (_("Others were faster: every unit was taken before your turn."), again),
        LostReason.LIMIT_REACHED: (
            _("You already hold as many units as one person may have."),
            (_("My orders"), reverse("orders:list")),
        ),
        LostReason.ENDED: (_("The sale ended before your turn came."), home),
        LostReason.PAYMENT_EXPIRED: (_("It was not paid in time, so the units went back on sale."), again),
        LostReason.CANCELLED: (_("The order was cancelled, so the units went back on sale."), again),
        LostReason.OUR_FAULT: (_("A fault on our side lost your place. The unit is back on sale."), again),
    }[LostReason(reservation.reason)]
    return Lost(words=words, next_label=label, next_url=url)
