"""What a reservation request must look like; both doors read it with these functions and no others."""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import redis
from django.utils.translation import gettext_lazy as _

from orders.events import reservation_id_text
from seckill.errors import (
    Busy,
    Ended,
    InvalidValues,
    KeyMissing,
    KeyReused,
    LimitReached,
    Malformed,
    NotJson,
    NotStarted,
    Paused,
    SaleUnavailable,
    SoldOut,
    TooLarge,
    Unknown,
)
from seckill.scripts import ReserveCode
from seckill.store import NotSent, NotVerified
from shop.resilience.batcher import BatcherClosed, BatcherFull, Overdue
from shop.resilience.errors import ShopError

BODY_MAX_BYTES = 4_096
QUANTITY_MAX = 1_000  # far above any limit_per_user, below what a record holds
POLL_AFTER_MS = 500
_KEY = re.compile(r"[\x20-\x7e]{1,128}", re.ASCII)

# Codes of the script that are refusals.
REFUSALS: dict[int, type[ShopError]] = {
    ReserveCode.KEY_REUSED: KeyReused,
    ReserveCode.NOT_STARTED: NotStarted,
    ReserveCode.ENDED: Ended,
    ReserveCode.SOLD_OUT: SoldOut,
    ReserveCode.LIMIT_REACHED: LimitReached,
    ReserveCode.PAUSED: Paused,
    ReserveCode.BUSY: Busy,
}


class _Body(msgspec.Struct):
    quantity: Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)] = 1


_decode = msgspec.json.Decoder(_Body).decode


@dataclass(frozen=True, slots=True)
class Reservation:
    """An admitted reservation. replayed: the same key had been admitted before."""

    reservation_id: str
    replayed: bool
    server_time_ms: int
    poll_after_ms: int = POLL_AFTER_MS


def quantity_read(*, content_type: str, body: bytes) -> int:
    """Return the quantity of a request body, 1 when it names none.

    :raises TooLarge, NotJson, Malformed, InvalidValues: see the answers' table
    """
    if len(body) > BODY_MAX_BYTES:
        raise TooLarge
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise NotJson
    try:
        return _decode(body).quantity
    except msgspec.ValidationError as error:
        text = _("Give a whole number from 1 to 1000.")
        raise InvalidValues(extra={"fields": {"quantity": [text]}}) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed from error


def key_check(key: str | None) -> str:
    """Return the idempotency key.

    :raises KeyMissing: it is not 1 to 128 printable ASCII characters
    """
    if key is None or not _KEY.fullmatch(key):
        raise KeyMissing
    return key


def reservation_bytes(*, salt: bytes, user_id: int, key: str) -> bytes:
    """Return the 16 raw bytes of a reservation's id: an HMAC, so a replay computes the same and nobody guesses it."""
    inner, outer = (state.copy() for state in _keyed(salt))
    inner.update(f"{user_id}|{key}".encode("ascii"))
    outer.update(inner.digest())
    return bytes(outer.digest()[:16])


@lru_cache(maxsize=4096)
def _keyed(salt: bytes) -> tuple[Any, Any]:
    """Return HMAC-SHA256's two hash states after the key, which every id of a campaign begins with (RFC 2104)."""
    padded = (salt if len(salt) <= 64 else hashlib.sha256(salt).digest()).ljust(64, b"\0")
    return (
        hashlib.sha256(bytes(byte ^ 0x36 for byte in padded)),
        hashlib.sha256(bytes(byte ^ 0x5C for byte in padded)),
    )


def reservation_of(campaign_id: int, raw: bytes, code: int, now_ms: int) -> Reservation:
    """Return the reservation for a script's code.

    :raises ShopError: the code is a refusal
    """
    if code == ReserveCode.ACCEPTED or code == ReserveCode.REPLAYED:
        return Reservation(reservation_id_text(campaign_id, raw), code == ReserveCode.REPLAYED, now_ms)
    raise REFUSALS[code]


def refusal_of(error: Exception) -> ShopError:
    """Return what a caller is told when the script gave no code for his request."""
    if isinstance(error, ShopError) and not isinstance(error, BatcherFull | BatcherClosed | Overdue):
        return error
    if isinstance(error, NotVerified):
        return Paused()
    if isinstance(error, NotSent):
        return SaleUnavailable()
    if isinstance(error, BatcherFull | BatcherClosed | Overdue):
        return Busy()
    if isinstance(error, redis.ResponseError):
        # A script that fails does so before its first write, a full server refuses before it runs.
        return Busy() if str(error).startswith("OOM") else SaleUnavailable()
    return Unknown()
