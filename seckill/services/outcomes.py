"""Tells Valkey what the database has decided: confirm or release, by the newest move."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import redis

from orders.events import Decided, Outcome, reservation_id_parse
from orders.services.late_payments import readmission_finish, return_settle
from seckill import keys, scripts
from seckill.scripts import MoveCode, RecordState
from seckill.store import SaleStore

logger = logging.getLogger("seckill.outcomes")

OUTCOMES_A_CALL = 500  # Lua unpacks at most 8,000 values, two for each reservation's record


class RecordMissing(Exception):
    """The database confirms a reservation that Valkey does not hold: pause and rebuild."""

    def __init__(self, campaign_ids: Sequence[int]) -> None:
        self.campaign_ids = sorted(set(campaign_ids))
        super().__init__(f"campaigns {self.campaign_ids}: a won reservation has no record")


def decided_apply(*, decided: Sequence[Decided], store: SaleStore) -> None:
    """Apply every outcome of whole entries in one round trip; each entry leaves the outbox with its last call.

    :raises RecordMissing: a won reservation has no record
    :raises redis.RedisError: not all is applied; the entries stay and repeating is safe
    """
    calls: list[scripts.Call] = []
    asked: list[tuple[Decided, list[Outcome]]] = []
    for item in decided:
        won = [o for o in item.outcomes if o.won]
        lost = [o for o in item.outcomes if not o.won]
        sale_id = item.entry.sale_id
        if won:
            calls.append(scripts.confirm_call(sale_id, won, entry=None if lost else item.entry))
            asked.append((item, won))
        if lost:
            # The entry goes with the release; a confirm that found no record stops everything anyway.
            calls.append(scripts.release_call(sale_id, lost, entry=item.entry))
            asked.append((item, lost))
    missing = []
    for (item, outcomes), raw in zip(asked, _run(store, calls), strict=True):
        codes = scripts.move_reply(raw)
        if MoveCode.UNKNOWN in codes and any(o.won for o in outcomes):
            missing.append(item.entry.sale_id)
    if missing:
        raise RecordMissing(missing)


def outcomes_apply(*, outcomes: Sequence[Outcome], store: SaleStore, now: datetime) -> None:
    """Apply outcomes that follow a change of an order, and note in the database what Valkey has taken.

    :raises RecordMissing, redis.RedisError: see `decided_apply`
    """
    by_call: defaultdict[tuple[int, bool], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_call[outcome.sale_id, outcome.won].append(outcome)
    groups = [
        (sale_id, won, group[start : start + OUTCOMES_A_CALL])
        for (sale_id, won), group in by_call.items()
        for start in range(0, len(group), OUTCOMES_A_CALL)
    ]
    calls = [
        (scripts.confirm_call if won else scripts.release_call)(sale_id, group, entry=None)
        for sale_id, won, group in groups
    ]
    for (_, _, group), raw in zip(groups, _run(store, calls), strict=True):
        for outcome, code in zip(group, scripts.move_reply(raw), strict=True):
            _note(outcome, code, store=store, now=now)


def _run(store: SaleStore, calls: list[scripts.Call]) -> list[list[int]]:
    answers = store.run(calls) if calls else []
    for answer in answers:
        if isinstance(answer, redis.ResponseError):
            raise answer
    return answers


def _note(outcome: Outcome, code: MoveCode, *, store: SaleStore, now: datetime) -> None:
    """Tell the orders app what Valkey answered; PAUSED tells nothing and is asked again later."""
    if code == MoveCode.PAUSED:
        return
    if not outcome.won:
        return_settle(reservation_id=outcome.reservation_id, move=outcome.move, now=now)
        return
    admitted = code in (MoveCode.OK, MoveCode.OLD) and _is_confirmed(store, outcome)
    readmission_finish(reservation_id=outcome.reservation_id, move=outcome.move, admitted=admitted, now=now)


def _is_confirmed(store: SaleStore, outcome: Outcome) -> bool:
    campaign_id, raw = reservation_id_parse(outcome.reservation_id)
    packed = store.client.hget(keys.users_key(campaign_id), str(outcome.user_id))
    record = scripts.record_find(packed, raw)
    return record is not None and record.state == RecordState.CONFIRMED
