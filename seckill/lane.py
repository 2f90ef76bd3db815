"""The lane: an ASGI application that answers the sale's three busy calls without entering Django.

POST campaigns/<id>/reservations/, GET reservations/<id>/ and GET campaigns/<id>/live/. Whatever it does not know
(another URL, another method, a campaign without keys) goes to the application behind it, whose DRF views give the
same answers byte for byte.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import redis
from django.conf import settings

from orders.events import member_pack, reservation_id_parse
from seckill import answers, keys, scripts
from seckill.admission import (
    BODY_MAX_BYTES,
    key_check,
    quantity_read,
    refusal_of,
    reservation_bytes,
    reservation_of,
)
from seckill.answers import Answer
from seckill.converters import CampaignIdConverter
from seckill.errors import Malformed, TooLarge
from seckill.gate import FACT_FIELDS, FACTS_SECONDS, CampaignMemory, Gate
from seckill.lane_store import LaneStore
from seckill.statuses import status_of_record
from shop.observability.middleware import request_id_choose
from shop.resilience.batcher import Batcher
from shop.resilience.errors import ShopError

logger = logging.getLogger("seckill.lane")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

BATCH_MAX = 128
WAIT_SECONDS = 4.0  # for a place in a call; below the store's time-out, so a waiter is never told twice
WAITING_MAX = 20_000
BODY_SECONDS = 10.0  # for a body of some bytes; a client that is slower holds a connection, nothing else
_PREFIX = f"{answers.API}/"
_RESERVE = re.compile(rf"{answers.API}/campaigns/({CampaignIdConverter.regex})/reservations/")
_LIVE = re.compile(rf"{answers.API}/campaigns/({CampaignIdConverter.regex})/live/")
_STATUS = re.compile(rf"{answers.API}/reservations/([0-9]{{1,19}}-[a-z2-7]{{26}})/")


class Disconnected(Exception):
    """The client has gone, or its body is broken; the server cannot tell them apart."""


class Lane:
    """Wraps the application that answers everything else. One for a process and event loop."""

    def __init__(self, application: Asgi) -> None:
        self._application = application
        self.gate = Gate()
        self._store = LaneStore(settings.REDIS_URL)
        self._replicas = settings.SALE_REPLICA_ACKS
        self._reserve = Batcher(
            self._reserve_call, batch_max=BATCH_MAX, calls_in_flight=2, waiting_max=WAITING_MAX
        )
        self._records = Batcher(
            self._records_call, batch_max=BATCH_MAX, calls_in_flight=2, waiting_max=WAITING_MAX
        )
        self._loading: dict[int, asyncio.Future[CampaignMemory | None]] = {}
        self._failed_at: dict[int, float] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handler(scope)
        if handler is None or not await handler(scope, receive, send):
            await self._application(scope, receive, send)

    async def close(self) -> None:
        """Answer what waits, then close the connections."""
        await self._reserve.close()
        await self._records.close()
        await self._store.close()

    def _handler(self, scope: Scope) -> Callable[[Scope, Receive, Send], Awaitable[bool]] | None:
        if scope["type"] != "http" or not scope["path"].startswith(_PREFIX):
            return None
        path, method = scope["path"], scope["method"]
        if method == "POST" and (found := _RESERVE.fullmatch(path)):
            scope["seckill"] = int(found.group(1))
            return self._post_reservation
        if method == "GET" and (found := _STATUS.fullmatch(path)):
            scope["seckill"] = found.group(1)
            return self._get_status
        if method == "GET" and (found := _LIVE.fullmatch(path)):
            scope["seckill"] = int(found.group(1))
            return self._get_live
        return None

    # ---- the three calls; each returns False to leave the request to the application behind

    async def _post_reservation(self, scope: Scope, receive: Receive, send: Send) -> bool:
        memory = await self._known(scope["seckill"])
        if memory is None:
            return False
        headers = _headers(scope)
        try:
            answer = await self._admit(memory, headers, receive)
        except (Disconnected, TimeoutError):
            answer = self._refused(Malformed(), headers)
        except ShopError as error:
            answer = self._refused(error, headers)
        await _send(send, answer, headers)
        return True

    async def _admit(self, memory: CampaignMemory, headers: "Headers", receive: Receive) -> Answer:
        gate = self.gate
        user_id = gate.credentials(headers.authorization, campaign_id=memory.campaign_id)
        key = key_check(headers.idempotency_key)
        if headers.doubled:
            raise Malformed
        async with asyncio.timeout(BODY_SECONDS):
            body = await _body(receive)
        quantity = quantity_read(content_type=headers.content_type, body=body)
        now = time.monotonic()
        gate.check_rate(user_id, now)
        gate.check_campaign(memory, user_id, now)
        raw = reservation_bytes(salt=memory.salt, user_id=user_id, key=key)
        item = (memory.campaign_id, user_id, member_pack(raw, user_id, quantity))
        try:
            code, now_ms = await self._reserve.submit(item, now + WAIT_SECONDS)
        except Exception as error:
            raise refusal_of(error) from error
        if isinstance(now_ms, Exception):
            raise refusal_of(now_ms)
        return answers.accepted(reservation_of(memory.campaign_id, raw, code, now_ms))

    async def _get_status(self, scope: Scope, receive: Receive, send: Send) -> bool:
        headers = _headers(scope)
        try:
            campaign_id, raw = reservation_id_parse(scope["seckill"])
            user_id = self.gate.credentials(headers.authorization, campaign_id=campaign_id)
            packed = await self._records.submit((campaign_id, user_id), time.monotonic() + WAIT_SECONDS)
            if isinstance(packed, Exception):
                raise packed
        except (ValueError, redis.RedisError):
            return False  # the view behind answers for a server that cannot
        except ShopError as error:
            await _send(send, self._refused(error, headers), headers)
            return True
        record = scripts.record_find(packed, raw)
        if record is None:
            return False
        now_ms = self.gate.now_ms(time.monotonic())
        body = answers.status_body(status_of_record(campaign_id, record), server_time_ms=now_ms)
        await _send(send, Answer(200, body), headers)
        return True

    async def _get_live(self, scope: Scope, receive: Receive, send: Send) -> bool:
        memory = await self._known(scope["seckill"], fresh=True)
        if memory is None:
            return False
        headers = _headers(scope)
        now_ms = self.gate.now_ms(time.monotonic())
        body = answers.live_body(memory, language=headers.language, now_ms=now_ms)
        await _send(send, Answer(200, body), headers)
        return True

    def _refused(self, error: ShopError, headers: "Headers") -> Answer:
        return answers.refused(error, request_id=headers.request_id, language=headers.language)

    # ---- what the process knows of a campaign

    async def _known(self, campaign_id: int, *, fresh: bool = False) -> CampaignMemory | None:
        """Return the campaign's memory; an old one is renewed behind the scenes, or first where `fresh`."""
        memory, now = self.gate.campaigns.get(campaign_id), time.monotonic()
        if memory is not None and now - memory.loaded_at < FACTS_SECONDS:
            return memory
        if now - self._failed_at.get(campaign_id, -FACTS_SECONDS) < FACTS_SECONDS:
            return None if fresh else memory
        loading = self._loading.get(campaign_id)
        if loading is None:
            loading = asyncio.ensure_future(self._load(campaign_id))
            self._loading[campaign_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(campaign_id, None))
        if memory is not None and not fresh:
            return memory
        return await asyncio.shield(loading)

    async def _load(self, campaign_id: int) -> CampaignMemory | None:
        sent_at = time.monotonic()
        try:
            commands = [("HMGET", keys.campaign_key(campaign_id), *FACT_FIELDS), ("TIME",)]
            values, server_time = await self._store.commands(commands)
        except redis.RedisError:
            values = None
        if values is None or isinstance(values, Exception):
            self._failed_at[campaign_id] = sent_at
            return None
        self._failed_at.pop(campaign_id, None)
        return self.gate.learn_facts(campaign_id, values, server_time, sent_at)

    async def _load_holders(self, memory: CampaignMemory, admitted: int, sent_at: float) -> None:
        try:
            users = (await self._store.commands([("HKEYS", keys.users_key(memory.campaign_id))]))[0]
        except redis.RedisError as error:
            logger.info("campaign %s: the script goes on answering: %s", memory.campaign_id, error)
            return
        if not isinstance(users, Exception):
            self.gate.learn_holders(memory, users, admitted=admitted, sent_at=sent_at)

    # ---- calls to Valkey, many requests at a time

    async def _reserve_call(
        self, items: list[tuple[int, int, bytes]]
    ) -> Sequence[tuple[int, int | Exception]]:
        """Have the scripts decide: one call a campaign, all in one round trip.

        Returns (code, Valkey's clock in ms) an item, or (0, error) where the campaign's script failed.
        """
        places: dict[int, list[int]] = {}
        for place, (campaign_id, _, _) in enumerate(items):
            places.setdefault(campaign_id, []).append(place)
        calls = [
            scripts.reserve_call(campaign_id, [items[place][1:] for place in of_campaign])
            for campaign_id, of_campaign in places.items()
        ]
        sent_at = time.monotonic()
        try:
            replies = await self._store.run(calls, replicas=self._replicas)
        except (redis.ConnectionError, redis.TimeoutError):
            self.gate.breaker.failure(sent_at)
            raise
        self.gate.breaker.success()
        codes: list[tuple[int, int | Exception]] = [(0, 0)] * len(items)
        for (campaign_id, of_campaign), raw in zip(places.items(), replies, strict=True):
            if isinstance(raw, Exception):
                for place in of_campaign:
                    codes[place] = (0, raw)
                continue
            reply = scripts.reserve_reply(raw)
            self._learn(campaign_id, reply, sent_at)
            for place, code in zip(of_campaign, reply.codes, strict=True):
                codes[place] = (code, reply.now_ms)
        return codes

    def _learn(self, campaign_id: int, reply: scripts.ReserveReply, sent_at: float) -> None:
        memory = self.gate.campaigns.get(campaign_id)
        if memory is not None and self.gate.learn_reply(memory, reply, sent_at):
            task = asyncio.ensure_future(self._load_holders(memory, reply.admitted, sent_at))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _records_call(self, items: list[tuple[int, int]]) -> list[bytes | Exception | None]:
        commands = [("HGET", keys.users_key(campaign_id), user_id) for campaign_id, user_id in items]
        return await self._store.commands(commands)


class Headers:
    """The request headers that the lane reads, and what follows from them."""

    __slots__ = (
        "_accept_language",
        "_cookie",
        "authorization",
        "content_type",
        "doubled",
        "idempotency_key",
        "request_id",
    )

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self.authorization = self.content_type = self._accept_language = self._cookie = ""
        self.idempotency_key: str | None = None
        self.doubled = (
            False  # one of the two that decide was sent twice: readers would differ on which counts
        )
        offered = None
        for name, value in raw:
            if name == b"authorization":
                self.doubled = self.doubled or bool(self.authorization)
                self.authorization = value.decode("latin-1")
            elif name == b"idempotency-key":
                self.doubled = self.doubled or self.idempotency_key is not None
                self.idempotency_key = value.decode("latin-1")
            elif name == b"content-type":
                self.content_type = value.decode("latin-1")
            elif name == b"accept-language":
                self._accept_language = value.decode("latin-1")
            elif name == b"cookie":
                self._cookie = value.decode("latin-1")
            elif name == b"x-request-id":
                offered = value.decode("latin-1")
        self.request_id = request_id_choose(offered)

    @property
    def language(self) -> str:
        """The caller's language."""
        return answers.language_of(self._accept_language, self._cookie)


def _headers(scope: Scope) -> Headers:
    return Headers(scope["headers"])


async def _body(receive: Receive) -> bytes:
    """Return the request's body.

    :raises TooLarge: it is longer than any sensible one
    :raises Disconnected: the client has gone or the body is broken
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return bytes(message.get("body", b""))
    parts, size = [], 0
    while True:
        if message["type"] != "http.request":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_MAX_BYTES:
            raise TooLarge
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


async def _send(send: Send, answer: Answer, headers: Headers) -> None:
    raw = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", headers.request_id.encode()),
        *_FIXED_HEADERS,
        *((name.encode(), value.encode()) for name, value in answer.headers),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body})


_FIXED_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"vary", b"Accept-Language, Cookie"),
    (b"x-content-type-options", b"nosniff"),
)
