"""Reserve units: the blocking door, used by the DRF view and by the page without script."""

import logging
import time
from functools import cache

import redis
from django.conf import settings

from orders.events import member_pack
from seckill import keys, scripts
from seckill.admission import (
    Reservation,
    key_check,
    refusal_of,
    reservation_bytes,
    reservation_of,
)
from seckill.errors import Paused, SaleUnavailable
from seckill.gate import FACT_FIELDS, FACTS_SECONDS, CampaignMemory, Gate
from seckill.store import NotVerified, sale_store

logger = logging.getLogger("seckill.reservations")


@cache
def process_gate() -> Gate:
    """Return this process's gate."""
    return Gate()


def campaign_known(*, campaign_id: int) -> bool:
    """Tell whether Valkey knows the campaign; False says nothing about why not.

    :raises Paused, SaleUnavailable: Valkey cannot be asked
    """
    return campaign_memory(campaign_id=campaign_id) is not None


def campaign_memory(*, campaign_id: int) -> CampaignMemory | None:
    """Return what this process knows of the campaign, at most a second old; None when Valkey has no such keys.

    :raises Paused, SaleUnavailable: Valkey cannot be asked
    """
    return _memory(campaign_id, time.monotonic())


def reservation_create(*, campaign_id: int, user_id: int, quantity: int, key: str) -> Reservation:
    """Reserve units for one user and queue the order; the same key gives the same reservation.

    quantity: units, at least 1. key: the client's idempotency key.
    :raises KeyMissing: the key is not 1 to 128 printable ASCII characters
    :raises RateLimited, NotStarted, Ended, SoldOut, LimitReached, KeyReused: refused, nothing changed
    :raises Paused, Busy, SaleUnavailable: not asked or not decided, nothing changed
    :raises Unknown: it may have been admitted; the same key tells
    """
    gate, now = process_gate(), time.monotonic()
    key = key_check(key)
    gate.check_rate(user_id, now)
    memory = _memory(campaign_id, now)
    if memory is None:
        raise Paused
    gate.check_campaign(memory, user_id, now)
    raw = reservation_bytes(salt=memory.salt, user_id=user_id, key=key)
    code, now_ms = _ask(gate, memory, user_id, member_pack(raw, user_id, quantity))
    return reservation_of(campaign_id, raw, code, now_ms)


def _memory(campaign_id: int, now: float) -> CampaignMemory | None:
    gate = process_gate()
    memory = gate.campaigns.get(campaign_id)
    if memory is not None and now - memory.loaded_at < FACTS_SECONDS:
        return memory
    commands = [("HMGET", keys.campaign_key(campaign_id), *FACT_FIELDS), ("TIME",)]
    try:
        values, server_time = sale_store().commands(commands)
        return gate.learn_facts(campaign_id, values, server_time, now)
    except NotVerified as error:
        raise Paused from error
    except redis.RedisError as error:
        raise SaleUnavailable from error  # a read that got lost has changed nothing


def _ask(gate: Gate, memory: CampaignMemory, user_id: int, member: bytes) -> tuple[int, int]:
    """Have the script decide; return its code and clock."""
    store, sent_at = sale_store(), time.monotonic()
    call = scripts.reserve_call(memory.campaign_id, [(user_id, member)])
    try:
        answer = store.run([call], replicas=settings.SALE_REPLICA_ACKS)[0]
    except (redis.ConnectionError, redis.TimeoutError) as error:
        gate.breaker.failure(sent_at)
        raise refusal_of(error) from error
    if isinstance(answer, Exception):
        raise refusal_of(answer) from answer
    gate.breaker.success()
    reply = scripts.reserve_reply(answer)
    if gate.learn_reply(memory, reply, sent_at):
        _learn_holders(gate, memory, admitted=reply.admitted, sent_at=sent_at)
    return reply.codes[0], reply.now_ms


def _learn_holders(gate: Gate, memory: CampaignMemory, *, admitted: int, sent_at: float) -> None:
    try:
        users = sale_store().client.hkeys(keys.users_key(memory.campaign_id))
    except redis.RedisError as error:
        logger.info("campaign %s: the script goes on answering: %s", memory.campaign_id, error)
    else:
        gate.learn_holders(memory, users, admitted=admitted, sent_at=sent_at)
