"""Events that could not be read, kept for diagnosis."""

import logging
from datetime import datetime

from orders.models import DeadLetter

logger = logging.getLogger("orders.dead_letters")


def dead_letter_write(*, source: str, entry: str, payload: bytes, error: str) -> DeadLetter:
    """Keep an event that could not be read; a repeated one raises its attempts."""
    letter, created = DeadLetter.objects.get_or_create(
        source=source,
        entry=entry,
        reservation_id="",
        defaults={"payload": payload.hex(), "error": error},
    )
    if not created:
        letter.attempts += 1
        letter.save(update_fields=["attempts"])
    logger.error("dead letter %s %s: %s", source, entry, error)
    return letter


def dead_letter_understand(*, letter_id: int, actor_id: int, now: datetime) -> None:
    """Mark a dead letter as understood by `actor_id`; a second mark changes nothing."""
    DeadLetter.objects.filter(pk=letter_id, understood_at=None).update(
        understood_at=now, understood_by_id=actor_id
    )
