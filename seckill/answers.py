"""Every answer of the sale's API as bytes; the lane and the DRF views send exactly these."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils import translation
from django.utils.translation import trans_real

from seckill.admission import Reservation
from seckill.gate import CampaignMemory
from seckill.statuses import ReservationStatus
from shop.resilience.errors import ShopError, error_body

API = "/api/v1/seckill"
POLL_LIVE_MS, POLL_IDLE_MS = 1_000, 5_000
_COOKIE = re.compile(rf"(?:^|;\s*){re.escape(settings.LANGUAGE_COOKIE_NAME)}=([A-Za-z-]{{2,16}})")
_CLOSED_PHASES = {"closing": "ended", "closed": "closed"}


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. headers: those that the answer's meaning needs, names in lower case."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def rfc3339(milliseconds: int) -> str:
    """Return a time in UTC with milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def json_bytes(value: Any) -> bytes:
    """Return compact UTF-8 JSON, as REST framework's renderer writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def language_of(accept_language: str, cookie: str) -> str:
    """Return the caller's language as Django's LocaleMiddleware finds it: cookie, then Accept-Language."""
    if cookie and (found := _COOKIE.search(cookie)):
        chosen = _supported(found.group(1))
        if chosen:
            return chosen
    return _accepted(accept_language)


@lru_cache(maxsize=64)
def _supported(code: str) -> str | None:
    try:
        return translation.get_supported_language_variant(code)
    except LookupError:
        return None


@lru_cache(maxsize=1024)
def _accepted(header: str) -> str:
    for code, _ in trans_real.parse_accept_lang_header(header):
        if code == "*":
            break
        if chosen := _supported(code):
            return chosen
    return settings.LANGUAGE_CODE


def accepted(reservation: Reservation) -> Answer:
    """Return 202; a replay gives the same body, server_time apart."""
    url = f"{API}/reservations/{reservation.reservation_id}/"
    body = (
        f'{{"reservation_id":"{reservation.reservation_id}","status":"queued","status_url":"{url}",'
        f'"poll_after_ms":{reservation.poll_after_ms},"server_time":"{rfc3339(reservation.server_time_ms)}"}}'
    )
    headers: tuple[tuple[str, str], ...] = (("location", url),)
    if reservation.replayed:
        headers = (*headers, ("idempotency-replayed", "true"))
    return Answer(202, body.encode(), headers)


def refused(error: ShopError, *, request_id: str, language: str) -> Answer:
    """Return the refusal in the one JSON shape, with Retry-After where asking again makes sense."""
    headers: list[tuple[str, str]] = []
    if error.retry_after_seconds is not None:
        headers.append(("retry-after", str(error.retry_after_seconds)))
    if error.status == 401:
        headers.append(("www-authenticate", 'Bearer realm="api"'))
    if error.extra:
        with translation.override(language):
            body = json_bytes(error_body(error, request_id=request_id))
    else:
        head = _refusal_head(type(error), language)  # type: ignore[arg-type]  # a class hashes by identity
        body = head + request_id.encode() + b'"}}'
    return Answer(error.status, body, tuple(headers))


@lru_cache(maxsize=256)
def _refusal_head(kind: type[ShopError], language: str) -> bytes:
    with translation.override(language):
        whole = json_bytes(error_body(kind(), request_id=""))
    return whole.removesuffix(b'"}}')


def status_body(status: ReservationStatus, *, server_time_ms: int) -> bytes:
    """Return the body of a reservation's status. Every part is plain ASCII, so nothing needs escaping."""
    reason = f'"{status.reason}"' if status.reason else "null"
    number = f'"{status.order_number}"' if status.order_number else "null"
    pay_by = f'"{rfc3339(int(status.pay_by.timestamp() * 1000))}"' if status.pay_by else "null"
    return (
        f'{{"reservation_id":"{status.reservation_id}","campaign_id":"{status.campaign_id}",'
        f'"status":"{status.status}","reason":{reason},"quantity":{status.units},"order_number":{number},'
        f'"pay_by":{pay_by},"poll_after_ms":{status.poll_after_ms},"server_time":"{rfc3339(server_time_ms)}"}}'
    ).encode()


def campaign_row(memory: CampaignMemory, *, language: str, now_ms: int) -> dict[str, Any]:
    """Return a campaign's public row from what Valkey holds."""
    card = json.loads(memory.card)
    return {
        "id": str(memory.campaign_id),
        "name": card["name_en"] if language.startswith("en") else card["name_zh"],
        "product_id": card["product_id"],
        "state": state_of(memory, now_ms),
        "sold_out": memory.left == 0,
        "starts_at": rfc3339(memory.starts_ms),
        "ends_at": rfc3339(memory.ends_ms),
        "price": card["price"],
        "currency": card["currency"],
        "limit_per_user": memory.limit,
        "server_time": rfc3339(now_ms),
    }


def live_body(memory: CampaignMemory, *, language: str, now_ms: int) -> bytes:
    """Return the live numbers: the public row, units left and when they were read.

    All of it but `server_time` stays the same until the numbers or the state change, and is kept until then.
    """
    state = state_of(memory, now_ms)
    facts = (state, memory.left, memory.as_of_ms, memory.loaded_at)
    kept = memory.live.get(language)
    if kept is None or kept[0] != facts:
        row = campaign_row(memory, language=language, now_ms=now_ms)
        poll_after_ms = POLL_LIVE_MS if state == "live" else POLL_IDLE_MS
        whole = {
            **row,
            "left": memory.left,
            "as_of": rfc3339(memory.as_of_ms),
            "poll_after_ms": poll_after_ms,
        }
        mark = b'"server_time":"'
        head, _, tail = json_bytes(whole).rpartition(mark)
        kept = (facts, head + mark, tail[len(row["server_time"]) :])
        memory.live[language] = kept
    return kept[1] + rfc3339(now_ms).encode() + kept[2]


def state_of(memory: CampaignMemory, now_ms: int) -> str:
    """Return the campaign's public state: the phase that staff set, else what the clock says."""
    if memory.phase in _CLOSED_PHASES:
        return _CLOSED_PHASES[memory.phase]
    if now_ms >= memory.ends_ms:
        return "ended"
    if memory.phase == "paused":
        return "paused"
    return "live" if now_ms >= memory.starts_ms else "scheduled"
