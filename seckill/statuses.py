"""What a shopper is told of a reservation, read from its record alone: no model, no query."""

from dataclasses import dataclass
from datetime import UTC, datetime

from orders.events import LOST_REASONS, order_number, reservation_id_text
from seckill.scripts import Record, RecordState

QUEUED, WON, LOST = "queued", "won", "lost"
POLL_QUEUED_MS, POLL_DECIDED_MS = 500, 5_000


@dataclass(frozen=True, slots=True)
class ReservationStatus:
    """What became of a reservation. reason is empty unless lost."""

    reservation_id: str
    campaign_id: int
    status: str
    reason: str
    units: int
    order_number: str | None
    pay_by: datetime | None
    poll_after_ms: int


def status_of_record(campaign_id: int, record: Record) -> ReservationStatus:
    """Return what a record says; while the keys live it alone is asked."""
    reservation_id = reservation_id_text(campaign_id, record.reservation)
    won = record.state == RecordState.CONFIRMED
    lost = record.state == RecordState.RELEASED
    return ReservationStatus(
        reservation_id=reservation_id,
        campaign_id=campaign_id,
        status=WON if won else LOST if lost else QUEUED,
        reason=LOST_REASONS.get(record.detail, "our_fault") if lost else "",
        units=record.units,
        order_number=order_number(reservation_id) if won else None,
        pay_by=datetime.fromtimestamp(record.detail, UTC) if won and record.detail else None,
        poll_after_ms=POLL_DECIDED_MS if won or lost else POLL_QUEUED_MS,
    )
