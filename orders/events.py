"""The order-event contract: what an admitted batch looks like on its way to the judge, and the way back.

One entry is one batch of one campaign as a script wrote it. The packed form is the same in the outbox stream
and in Kafka, so the relay moves bytes and both sources read with this module.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

VERSION = 1
# Reservation 16 bytes, user id 8, units 2; seckill/lua/reserve.lua takes it and writes it to the outbox.
_MEMBER = struct.Struct(">16sQH")
_RECORD_HEAD = struct.Struct(">BQQQI")  # version, entry id (ms, seq), sale, epoch
NUMBER_LENGTH = 16
# RFC 4648 base32 in lower case, two letters (10 bits) at a time.
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = tuple(first + second for first, second in product(_ALPHABET, repeat=2))
_PAIR_BITS = {pair: bits for bits, pair in enumerate(_PAIRS)}
_LETTERS, _SPARE_BITS = 26, 2  # 26 letters carry 130 bits
# Why a reservation was lost, as the number in its record. Written into records, so a code is never reused.
LOST_REASONS: dict[int, str] = {
    1: "sold_out",
    2: "limit_reached",
    3: "ended",
    4: "payment_expired",
    5: "cancelled",
    6: "our_fault",
}
LOST_CODES: dict[str, int] = {reason: code for code, reason in LOST_REASONS.items()}


class BadEntry(ValueError):
    """The bytes are not an entry of a version that is understood."""


@dataclass(frozen=True, slots=True)
class Member:
    """One reservation of a batch: 16 raw bytes of its id, the user, units."""

    reservation: bytes
    user_id: int
    units: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch that a campaign admitted; `entry_id` is its id in the outbox stream."""

    entry_id: str
    sale_id: int
    epoch: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a reservation, for whoever holds its record.

    move: the order row's; an older one than the record's is late and ignored.
    detail: pay-by time in epoch seconds when won, else the code of a `LostReason`.
    """

    reservation_id: str
    sale_id: int
    user_id: int
    units: int
    won: bool
    move: int
    detail: int


@dataclass(frozen=True, slots=True)
class Decided:
    """One entry with the outcome of each member, in the members' order."""

    entry: Entry
    outcomes: tuple[Outcome, ...]


class Source(Protocol):
    """Where entries come from: the outbox stream itself, or Kafka."""

    name: str

    def poll(self, *, timeout_seconds: float) -> list[Entry]:
        """Return the next entries, at most about 1,000 reservations; empty after the time-out."""

    def done(self, entries: Sequence[Entry]) -> None:
        """Note that these entries are decided and committed."""

    def retry(self) -> None:
        """Deliver again whatever was polled and is not done."""

    def lag(self) -> int:
        """Return how many entries wait behind what was polled."""

    def close(self) -> None:
        """Give the connection back; undone entries go to another consumer."""


def reservation_id_text(sale_id: int, raw: bytes) -> str:
    """Return `<campaign>-<26 letters>` for the 16 raw bytes."""
    bits = int.from_bytes(raw, "big") << _SPARE_BITS
    return f"{sale_id}-" + "".join([_PAIRS[bits >> shift & 1023] for shift in range(120, -1, -10)])


def reservation_id_parse(text: str) -> tuple[int, bytes]:
    """Return (campaign, 16 raw bytes).

    :raises ValueError: the text is not the one spelling of a reservation id
    """
    campaign, _, letters = text.partition("-")
    if len(text) > 48 or len(letters) != _LETTERS or not campaign.isascii() or not campaign.isdigit():
        raise ValueError(text)
    bits = 0
    for at in range(0, _LETTERS, 2):
        pair = _PAIR_BITS.get(letters[at : at + 2])
        if pair is None:
            raise ValueError(text)
        bits = bits << 10 | pair
    if bits & (1 << _SPARE_BITS) - 1 or str(int(campaign)) != campaign:
        raise ValueError(text)
    return int(campaign), (bits >> _SPARE_BITS).to_bytes(16, "big")


def order_number(reservation_id: str) -> str:
    """Return the order's number: the first 16 letters of the reservation id."""
    return reservation_id.partition("-")[2][:NUMBER_LENGTH].upper()


def entry_order(entry_id: str) -> tuple[int, int]:
    """Return what sorts entry ids (`<milliseconds>-<sequence>`) as the stream does."""
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0)


def members_unpack(packed: bytes) -> tuple[Member, ...]:
    """Return the members of one batch.

    :raises BadEntry: the length is not a whole number of members
    """
    if not packed or len(packed) % _MEMBER.size:
        raise BadEntry(f"{len(packed)} bytes are not a whole number of reservations")
    return tuple(Member(*fields) for fields in _MEMBER.iter_unpack(packed))


def member_pack(reservation: bytes, user_id: int, units: int) -> bytes:
    """Return the 26 bytes of one reservation, as `reserve.lua` takes it and the outbox carries it."""
    return _MEMBER.pack(reservation, user_id, units)


def members_pack(members: Sequence[Member]) -> bytes:
    """Return the packed form of `members`."""
    return b"".join(member_pack(m.reservation, m.user_id, m.units) for m in members)


def record_encode(entry_id: str, sale_id: int, epoch: int, packed: bytes) -> bytes:
    """Return the Kafka record of one outbox entry."""
    ms, _, sequence = entry_id.partition("-")
    return _RECORD_HEAD.pack(VERSION, int(ms), int(sequence), sale_id, epoch) + packed


def record_decode(value: bytes) -> Entry:
    """Return the entry in one Kafka record.

    :raises BadEntry: unknown version, or the bytes are cut
    """
    if len(value) < _RECORD_HEAD.size or value[0] != VERSION:
        raise BadEntry("not an order event of a known version")
    _, ms, sequence, sale_id, epoch = _RECORD_HEAD.unpack_from(value)
    return Entry(f"{ms}-{sequence}", sale_id, epoch, members_unpack(value[_RECORD_HEAD.size :]))
