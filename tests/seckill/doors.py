"""Both doors of the sale in one process: the lane, and the DRF views behind the same WSGI bridge.

A request is sent as ASGI messages, so what is compared is what a server would put on the wire.
"""

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop
from django.core.wsgi import get_wsgi_application
from django.utils import timezone

from seckill import keys
from seckill.lane import Lane
from seckill.services import reservations
from seckill.store import unverified_store
from shop.resilience.worker_pool import WorkerPool
from shop.resilience.wsgi_bridge import WSGIBridge
from shop.site.load_accounts import access_tokens

REQUEST_ID = "request-id-held-fast"
SALT = b"s" * 16
NOW_MS = int(time.time() * 1000)  # of the run: both doors see the same windows
# The headers that carry an answer's meaning; the others are the framework's.
CONTRACT_HEADERS = (
    "content-type",
    "content-length",
    "location",
    "retry-after",
    "idempotency-replayed",
    "www-authenticate",
    "cache-control",
    "x-request-id",
    "x-content-type-options",
    "vary",
)
_CLOCK = re.compile(rb'"(server_time|as_of|pay_by)":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"')


@dataclass(frozen=True)
class Call:
    """One request. campaign 0 stands for none in the path."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """What came back, the clock held."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a refusal, else the reservation's status."""
        return self.json.get("code") or self.json.get("status") or ""


async def send(application: Any, call: Call) -> Reply:
    """Send one request to an ASGI application and return its reply with times replaced by one of the same form."""
    headers = {"host": "localhost", "x-request-id": REQUEST_ID, **call.headers}
    headers.setdefault("content-length", str(len(call.body)))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": call.method,
        "path": call.path,
        "raw_path": call.path.encode(),
        "query_string": b"",
        "scheme": "http",
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 40_000),
        "server": ("localhost", 80),
    }
    incoming = [{"type": "http.request", "body": call.body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop(0)
        await asyncio.sleep(3600)
        raise AssertionError

    async def collect(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, collect)
    found = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    held = _CLOCK.sub(rb'"\1":"2026-01-01T00:00:00.000Z"', body)
    return Reply(sent[0]["status"], {n: found[n] for n in CONTRACT_HEADERS if n in found}, held)


def lane_replies(calls: Sequence[Call], *, before: Any = None) -> list[Reply]:
    """Send the calls, in order, through a new lane and return its replies."""
    return _replies(calls, with_lane=True, before=before)


def drf_replies(calls: Sequence[Call], *, before: Any = None) -> list[Reply]:
    """Send the calls, in order, to the DRF views alone and return their replies."""
    return _replies(calls, with_lane=False, before=before)


def _replies(calls: Sequence[Call], *, with_lane: bool, before: Any) -> list[Reply]:
    reservations.process_gate.cache_clear()

    async def run() -> list[Reply]:
        bridge = WSGIBridge(get_wsgi_application(), pool=WorkerPool(1, 16, 30.0, name="door"))
        lane = Lane(bridge)  # type: ignore[arg-type]
        application: Any = lane if with_lane else bridge
        try:
            replies = []
            for number, call in enumerate(calls):
                if before is not None:
                    before(number)
                    await asyncio.sleep(0.01)  # the loop learns what happened meanwhile
                replies.append(await send(application, call))
            return replies
        finally:
            await lane.close()
            await bridge.close()

    return uvloop.run(run())  # the loop that serves


def campaign_hash(campaign_id: int, **changes: Any) -> None:
    """Write a campaign's hash as it would stand after publication, with a salt that both doors share."""
    fields = {
        "v": 1, "epoch": 1, "born": "x", "phase": "open", "starts_ms": NOW_MS - 60_000,
        "ends_ms": NOW_MS + 3_600_000, "limit": 2, "salt": SALT, "allotment": 10, "left": 10,
        "reserved": 0, "confirmed": 0, "admitted": 0, "reopen_ms": 0, "clock_ms": 0, "op": 1, "op_took": 0,
        "card": json.dumps(
            {"name_zh": "水壶", "name_en": "Kettle", "product_id": "7", "price": "9.90", "currency": "CNY"},
            ensure_ascii=False,
        ),
    } | changes  # fmt: skip
    client = unverified_store().client
    client.delete(keys.campaign_key(campaign_id), keys.users_key(campaign_id))
    client.hset(keys.campaign_key(campaign_id), mapping=fields)


def token_of(user_id: int) -> str:
    """Return an access token of the user."""
    return access_tokens(user_ids=[user_id], ttl_seconds=600, now=timezone.now())[0]


def reserve(
    campaign_id: int,
    *,
    user: int | None = 1,
    key: str | None = "k",
    body: bytes = b'{"quantity":1}',
    **headers: str,
) -> Call:
    """Return a reservation request; headers with underscores for dashes override the usual ones."""
    all_headers = {"content-type": "application/json"}
    if user is not None:
        all_headers["authorization"] = f"Bearer {token_of(user)}"
    if key is not None:
        all_headers["idempotency-key"] = key
    all_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Call("POST", f"/api/v1/seckill/campaigns/{campaign_id}/reservations/", all_headers, body)
