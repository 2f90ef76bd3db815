"""One sale on a real server, driven through the typed functions of `seckill.scripts`, and looked at from outside."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orders.events import Entry, Outcome, member_pack, reservation_id_text
from seckill import keys, outbox, scripts
from seckill.scripts import MoveCode, Record, RecordState, ReserveReply
from seckill.store import SaleStore
from tests.services.valkey import ValkeyServer

CAMPAIGN = 7
FAR_MS = 4_102_444_800_000  # the year 2100
RESERVED, CONFIRMED, RELEASED = RecordState.RESERVED, RecordState.CONFIRMED, RecordState.RELEASED
_RECORD = struct.Struct(">16sHBBI")
COUNTERS = ("left", "reserved", "confirmed", "allotment")


def rid(letter: str) -> bytes:
    """Return 16 bytes that one letter names."""
    return letter.encode() * 16


def outcome(
    letter: str, user_id: int, *, move: int, units: int = 1, won: bool = True, detail: int = 5
) -> Outcome:
    """Return what the database says of a reservation."""
    text = reservation_id_text(CAMPAIGN, rid(letter))
    return Outcome(text, CAMPAIGN, user_id, units, won, move, detail)


def record(letter: str, state: RecordState, *, units: int = 1, move: int = 0, detail: int = 0) -> Record:
    """Return a record as Valkey holds it."""
    return Record(rid(letter), units, state, move, detail)


class Rig:
    """A server with one open campaign of 10 units, at most 2 a user, in the middle of its window."""

    def __init__(self, server: ValkeyServer) -> None:
        server.clear()
        self.store = SaleStore(server.url, verify=False)
        self.client = self.store.client
        self.client.hset(keys.shard_key(), mapping={"boot": "me", "open": 0, "open_max": 100})
        self.campaign_set()

    def campaign_set(self, **fields: Any) -> None:
        """Write the campaign's hash afresh, with these fields changed."""
        rules = {
            "v": 1,
            "epoch": 1,
            "phase": "open",
            "starts_ms": 0,
            "ends_ms": FAR_MS,
            "limit": 2,
            "salt": "salt",
        }
        counters = {"allotment": 10, "left": 10, "reserved": 0, "confirmed": 0, "admitted": 0}
        clocks = {"reopen_ms": 0, "clock_ms": 0, "op": 1, "op_took": 0}
        self.client.delete(keys.campaign_key(CAMPAIGN))
        self.fields_set(**rules | counters | clocks | fields)

    def fields_set(self, **fields: Any) -> None:
        """Change fields of the campaign's hash."""
        self.client.hset(keys.campaign_key(CAMPAIGN), mapping=fields)

    def records_set(self, user_id: int, *records: Record) -> None:
        """Give a user these records and make the campaign's and the shard's counters agree with them."""
        packed = b"".join(_RECORD.pack(r.reservation, r.units, r.state, r.move, r.detail) for r in records)
        self.client.hset(keys.users_key(CAMPAIGN), str(user_id), packed)
        held = dict.fromkeys(RecordState, 0)
        for each in self.records_all():
            held[each.state] += each.units
        allotment = self.number("allotment")
        left = allotment - held[RESERVED] - held[CONFIRMED]
        self.fields_set(left=left, reserved=held[RESERVED], confirmed=held[CONFIRMED])
        self.client.hset(keys.shard_key(), "open", held[RESERVED])

    def reserve(self, *requests: tuple[int, str, int]) -> ReserveReply:
        """Send one batch of (user, reservation's letter, units)."""
        pairs = [(user, member_pack(rid(letter), user, units)) for user, letter, units in requests]
        return scripts.reserve_reply(self.run(scripts.reserve_call(CAMPAIGN, pairs)))

    def confirm(self, *outcomes: Outcome, entry: Entry | None = None) -> list[MoveCode]:
        return scripts.move_reply(self.run(scripts.confirm_call(CAMPAIGN, outcomes, entry=entry)))

    def release(self, *outcomes: Outcome, entry: Entry | None = None) -> list[MoveCode]:
        return scripts.move_reply(self.run(scripts.release_call(CAMPAIGN, outcomes, entry=entry)))

    def run(self, call: scripts.Call) -> Any:
        """Run one call and return its raw answer.

        :raises redis.ResponseError: the script failed
        """
        answer = self.store.run([call])[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def entries(self) -> list[Entry]:
        return [outbox.entry_decode(raw) for raw in self.client.xrange(keys.outbox_key())]

    def records(self, user_id: int) -> list[Record]:
        return scripts.records_unpack(self.client.hget(keys.users_key(CAMPAIGN), str(user_id)))

    def records_all(self) -> list[Record]:
        packed = self.client.hvals(keys.users_key(CAMPAIGN))
        return [each for user in packed for each in scripts.records_unpack(user)]

    def number(self, field: str) -> int:
        """Return one number of the campaign's hash."""
        return int(self.client.hget(keys.campaign_key(CAMPAIGN), field) or -1)

    def counters(self) -> tuple[int, int, int, int]:
        """Return (left, reserved, confirmed, allotment), having checked that the first three are the last."""
        left, reserved, confirmed, allotment = (self.number(name) for name in COUNTERS)
        assert left + reserved + confirmed == allotment
        return left, reserved, confirmed, allotment

    def open_units(self) -> int:
        return int(self.client.hget(keys.shard_key(), "open") or 0)

    def now_ms(self) -> int:
        """Return the server's own time."""
        seconds, micros = self.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def picture(self) -> dict[bytes, bytes]:
        """Return every key with its whole content, to compare."""
        return {key: self.client.dump(key) for key in sorted(self.client.keys())}

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Assert that nothing at all is written inside the block."""
        before = self.picture()
        yield
        assert self.picture() == before

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave the server no memory inside the block."""
        self.client.config_set("maxmemory", "1")
        try:
            yield
        finally:
            self.client.config_set("maxmemory", "0")

    def close(self) -> None:
        self.store.close()
