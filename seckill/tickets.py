"""A browser's pass for the lane: bound to one user and one campaign, signed, short-lived."""

from dataclasses import dataclass

from django.core.signing import BadSignature, Signer

_SALT = "seckill.ticket"
VALID_SECONDS = 15 * 60
VALID_AFTER_START_SECONDS = 10 * 60


class TicketInvalid(Exception):
    """Not a ticket of this shop for this campaign."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Whose ticket it is and when it ends (epoch seconds)."""

    user_id: int
    campaign_id: int
    expires: int


def ticket_mint(*, user_id: int, campaign_id: int, starts: int, now: int) -> str:
    """Return a ticket valid until 10 minutes after the start or 15 minutes from now, whichever is later.

    starts, now: epoch seconds.
    """
    expires = max(starts + VALID_AFTER_START_SECONDS, now + VALID_SECONDS)
    return Signer(salt=_SALT).sign(f"{user_id}.{campaign_id}.{expires}")


def ticket_read(text: str, *, now: int) -> Ticket:
    """Return what a signed, unexpired ticket says.

    :raises TicketInvalid: for every other string
    """
    try:
        ticket = Ticket(*(int(part) for part in Signer(salt=_SALT).unsign(text).split(".")))
    except (BadSignature, TypeError, ValueError) as error:
        raise TicketInvalid from error
    if ticket.expires <= now:
        raise TicketInvalid
    return ticket
