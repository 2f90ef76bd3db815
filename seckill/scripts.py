"""The atomic operations of the sale: one Lua file each, behind one typed pair of functions.

`*_call` builds a call, `*_reply` reads its answer; how it travels (one at a time, or many in one round trip)
is the caller's business, so the lane and the workers share every byte of this.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from orders.events import Entry, Outcome, reservation_id_parse
from seckill import keys

_FOLDER = Path(__file__).parent / "lua"
_RECORD = struct.Struct(">16sHBBI")
RECORDS_MAX = 20  # records a user and campaign


class ReserveCode(IntEnum):
    ACCEPTED = 1
    REPLAYED = 2
    KEY_REUSED = 3
    NOT_STARTED = 4
    ENDED = 5
    SOLD_OUT = 6
    LIMIT_REACHED = 7
    PAUSED = 8
    BUSY = 9


class MoveCode(IntEnum):
    OK = 1
    OLD = 2
    UNKNOWN = 3
    SOLD_OUT = 4
    PAUSED = 5


class SwitchCode(IntEnum):
    OK = 1
    OLD = 2
    PAUSED = 5


class RecordState(IntEnum):
    RESERVED = 1
    CONFIRMED = 2
    RELEASED = 3


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file; sent by digest, and whole when the server does not know it yet."""

    name: str
    text: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One script call: `arguments` are KEYS (the first `key_count`) and ARGV."""

    script: Script
    key_count: int
    arguments: tuple[Any, ...]

    def by_digest(self) -> tuple[Any, ...]:
        return (b"EVALSHA", self.script.digest, self.key_count, *self.arguments)

    def by_text(self) -> tuple[Any, ...]:
        return (b"EVAL", self.script.text, self.key_count, *self.arguments)


@dataclass(frozen=True, slots=True)
class ReserveReply:
    """left and admitted are -1 when the campaign's hash is missing."""

    now_ms: int
    left: int
    admitted: int
    codes: list[int]


@dataclass(frozen=True, slots=True)
class Record:
    """One reservation as Valkey holds it. detail: pay-by (epoch seconds) or reason code, 0 while reserved."""

    reservation: bytes
    units: int
    state: RecordState
    move: int
    detail: int


@cache
def script(name: str) -> Script:
    """Return the Lua file `name` with its digest."""
    text = (_FOLDER / f"{name}.lua").read_bytes()
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


@lru_cache(maxsize=4096)
def _four_keys(campaign_id: int) -> tuple[str, str, str, str]:
    return (keys.shard_key(), keys.campaign_key(campaign_id), keys.users_key(campaign_id), keys.outbox_key())


def reserve_call(campaign_id: int, requests: Sequence[tuple[int, bytes]]) -> Call:
    """Return the call that decides `requests`: (user id, packed member) each."""
    arguments: list[Any] = [*_four_keys(campaign_id), campaign_id]
    for request in requests:
        arguments += request
    return Call(script("reserve"), 4, tuple(arguments))


def reserve_reply(raw: list[int]) -> ReserveReply:
    """Return the codes of `ReserveCode`, in the requests' order, with the campaign's clock and counters."""
    return ReserveReply(raw[0], raw[1], raw[2], raw[3:])


def confirm_call(sale_id: int, outcomes: Sequence[Outcome], *, entry: Entry | None) -> Call:
    """Return the call that confirms `outcomes`; `entry`, where given, leaves the outbox with it."""
    arguments: list[Any] = [*_four_keys(sale_id), *_entry_arguments(entry)]
    for outcome in outcomes:
        raw = reservation_id_parse(outcome.reservation_id)[1]
        arguments += (raw, outcome.user_id, outcome.move, outcome.detail)
    return Call(script("confirm"), 4, tuple(arguments))


def release_call(sale_id: int, outcomes: Sequence[Outcome], *, entry: Entry | None) -> Call:
    """Return the call that releases `outcomes`; `entry`, where given, leaves the outbox with it."""
    arguments: list[Any] = [*_four_keys(sale_id), *_entry_arguments(entry)]
    for outcome in outcomes:
        raw = reservation_id_parse(outcome.reservation_id)[1]
        arguments += (raw, outcome.user_id, outcome.units, outcome.move, outcome.detail)
    return Call(script("release"), 4, tuple(arguments))


def move_reply(raw: list[int]) -> list[MoveCode]:
    """Return one code a reservation of a confirm or release."""
    return [MoveCode(code) for code in raw]


def warm_up_call(campaign_id: int, fields: dict[str, Any]) -> Call:
    """Return the call that writes a campaign's hash unless it is there."""
    pairs = [part for item in fields.items() for part in item]
    return Call(script("warm_up"), 1, (keys.campaign_key(campaign_id), *pairs))


def switch_call(campaign_id: int, *, number: int, phase: str) -> Call:
    """Return the call that applies operation `number`, which sets the phase."""
    return Call(script("switch"), 1, (keys.campaign_key(campaign_id), number, phase))


def close_call(campaign_id: int) -> Call:
    """Return the call that empties a campaign whose units the database has handed back."""
    return Call(script("close"), 1, (keys.campaign_key(campaign_id),))


def records_unpack(packed: bytes | None) -> list[Record]:
    """Return a user's records, oldest first."""
    if not packed:
        return []
    return [
        Record(reservation, units, RecordState(state), move, detail)
        for reservation, units, state, move, detail in _RECORD.iter_unpack(packed)
    ]


def record_find(packed: bytes | None, reservation: bytes) -> Record | None:
    """Return the user's record of one reservation, None when there is none."""
    at = packed.find(reservation) if packed else -1
    while packed and at >= 0:
        if at % _RECORD.size == 0:
            raw, units, state, move, detail = _RECORD.unpack_from(packed, at)
            return Record(raw, units, RecordState(state), move, detail)
        at = packed.find(reservation, at + 1)
    return None


def _entry_arguments(entry: Entry | None) -> tuple[str, int]:
    return (entry.entry_id, entry.epoch) if entry else ("", 0)
