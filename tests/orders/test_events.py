"""The order-event contract: bytes as they were agreed, and nothing else is understood."""

import struct

import pytest

from orders.events import (
    LOST_CODES,
    LOST_REASONS,
    BadEntry,
    Entry,
    Member,
    members_pack,
    members_unpack,
    order_number,
    record_decode,
    record_encode,
    reservation_id_parse,
    reservation_id_text,
)
from orders.models import LostReason

RAW = bytes(range(16))
TEXT = "12-aaaqeayeaudaocajbifqydiob4"
MEMBERS = (Member(RAW, 42, 2), Member(b"\xff" * 16, 2**40, 1000))
PACKED = RAW + b"\0" * 7 + b"\x2a" + b"\0\2" + b"\xff" * 16 + b"\0\0\1" + b"\0" * 5 + b"\x03\xe8"
HEAD = b"\1" + struct.pack(">QQQI", 1_700_000_000_123, 4, 12, 3)


def test_reservation_id_has_one_spelling() -> None:
    assert reservation_id_text(12, RAW) == TEXT
    assert reservation_id_parse(TEXT) == (12, RAW)


def test_order_number_is_the_first_sixteen_letters() -> None:
    assert order_number(TEXT) == "AAAQEAYEAUDAOCAJ"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "12-",
        TEXT[:-1],
        TEXT + "a",
        TEXT.upper(),
        "0" + TEXT,
        " " + TEXT,
        TEXT + "\n",
        TEXT[:-1] + "5",  # bits beyond the sixteenth byte
        TEXT[:-1] + "1",  # not a letter of base32
        "-" + TEXT.partition("-")[2],
        "x" + TEXT,
        "-1" + TEXT[2:],
        "１２" + TEXT[2:],
        "²" + TEXT[2:],
        "9" * 30 + TEXT[2:],
        TEXT[:-1] + "é",
    ],
)
def test_reservation_id_parse_refuses_every_other_spelling(text: str) -> None:
    with pytest.raises(ValueError):
        reservation_id_parse(text)


def test_members_travel_as_26_bytes_each() -> None:
    assert members_pack(MEMBERS) == PACKED
    assert members_unpack(PACKED) == MEMBERS


@pytest.mark.parametrize("packed", [b"", PACKED[:-1], PACKED[:25], PACKED + b"\0"])
def test_members_unpack_refuses_cut_bytes(packed: bytes) -> None:
    with pytest.raises(BadEntry, match=f"{len(packed)} bytes"):
        members_unpack(packed)


def test_record_carries_one_entry() -> None:
    value = record_encode("1700000000123-4", 12, 3, PACKED)
    assert value == HEAD + PACKED
    assert record_decode(value) == Entry("1700000000123-4", 12, 3, MEMBERS)


@pytest.mark.parametrize(
    "value", [b"", b"\1", HEAD, HEAD[:-1], HEAD + PACKED[:-3], b"\2" + (HEAD + PACKED)[1:], b"\0" * 100]
)
def test_record_decode_refuses_cut_bytes_and_other_versions(value: bytes) -> None:
    with pytest.raises(BadEntry):
        record_decode(value)


def test_lost_reasons_keep_their_numbers() -> None:
    """The numbers stand in records that outlive a release."""
    assert LOST_REASONS == {
        1: "sold_out",
        2: "limit_reached",
        3: "ended",
        4: "payment_expired",
        5: "cancelled",
        6: "our_fault",
    }
    assert set(LOST_CODES) == set(LostReason.values)
