"""What Valkey and the database hold after a run; needs Django."""

import time

from orders.models import Order, Sale
from seckill.conservation import Equation, conservation
from tests.load.shop_api import ShopApi
from tests.load.verdict import Facts, OrderRow

POLL_SECONDS = 0.5
SAMPLE_COUNT = 50


def reservation_ids(campaign_id: int) -> frozenset[str]:
    """Return the ids of all reservations that have an order row."""
    rows = Order.objects.filter(sale_id=campaign_id, reservation_id__isnull=False)
    return frozenset(str(found) for found in rows.values_list("reservation_id", flat=True).iterator())


def settled(*, campaign_id: int, accepted: set[str], deadline_seconds: float) -> float:
    """Wait until every accepted reservation has its row and nothing is in motion; return the seconds it took.

    After the deadline it returns too: what is missing then is for the verdict.
    """
    started = time.monotonic()
    while True:
        seconds = time.monotonic() - started
        equation = conservation(campaign_id=campaign_id)
        quiet = equation.reserved == 0 and equation.in_motion == 0 and equation.returning == 0
        if quiet and accepted <= reservation_ids(campaign_id):
            return seconds
        if seconds > deadline_seconds:
            return seconds
        time.sleep(POLL_SECONDS)


def statuses_read(
    *, url: str, accepted: list[tuple[str, int]], tokens: list[str], deadline_seconds: float
) -> dict[str, str]:
    """Ask the API for the status of a sample of reservations until each is won or lost, or the time is over."""
    step = max(len(accepted) // SAMPLE_COUNT, 1)
    sample = accepted[::step][:SAMPLE_COUNT]
    api, found, deadline = ShopApi(url), dict.fromkeys((name for name, _ in sample), "none"), time.monotonic()
    deadline += deadline_seconds
    while True:
        for reservation_id, account in sample:
            if found[reservation_id] not in ("won", "lost"):
                answer = api.reservation(reservation_id, token=tokens[account])
                found[reservation_id] = str(answer.get("status", "none")) if answer else "none"
        if set(found.values()) <= {"won", "lost"} or time.monotonic() > deadline:
            api.close()
            return found
        time.sleep(POLL_SECONDS)


def facts_read(
    *, campaign_id: int, before: frozenset[str], statuses: dict[str, str], settle_seconds: float
) -> Facts:
    """Read sale row, equation and every order of the campaign."""
    equation: Equation = conservation(campaign_id=campaign_id)
    sale = Sale.objects.get(pk=campaign_id)
    rows = Order.objects.filter(sale_id=campaign_id, reservation_id__isnull=False).values_list(
        "reservation_id", "user_id", "units", "status", "reason"
    )
    return Facts(
        allotment=sale.allotment,
        limit=sale.limit_per_user,
        sold=sale.sold,
        handed_back=sale.handed_back,
        residue=equation.residue,
        in_motion=equation.in_motion,
        reserved=equation.reserved,
        problems=list(equation.problems),
        rows={str(row[0]): OrderRow(*row[1:]) for row in rows.iterator()},
        before=before,
        statuses=statuses,
        settle_seconds=settle_seconds,
    )
