"""One published campaign on the real servers, and short words for what tests do to it."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from django.db import connection

from orders import signals
from orders.events import reservation_id_parse, reservation_id_text
from orders.services import transactions
from seckill import keys, scripts, settler
from seckill.scripts import Record, ReserveCode
from seckill.services import reservations
from seckill.store import sale_store, unverified_store
from shop.accounts.models import User
from tests.concurrency.sales import OpenSale
from tests.services.valkey import ValkeyServer

_numbers = count(1)


class LiveSale(OpenSale):
    """A campaign in the middle of its window, on a server that holds nothing else."""

    def __init__(self, server: ValkeyServer, *, allotment: int = 10, limit: int = 2, users: int = 2) -> None:
        reservations.process_gate.cache_clear()
        super().__init__(server, allotment=allotment, limit=limit, users=users)
        self.client: Any = unverified_store().client

    def admit(self, user: User, units: int = 1) -> str:
        """Have the script admit one reservation, in an entry of its own; return its id."""
        raw = hashlib.md5(str(next(_numbers)).encode()).digest()
        assert self.reserve((user.pk, raw, units)).codes == [ReserveCode.ACCEPTED]
        return reservation_id_text(self.pk, raw)

    def won(self, user: User, units: int = 1) -> str:
        """Admit and decide one reservation; return its id."""
        reservation_id = self.admit(user, units)
        self.place(*self.entries())
        return reservation_id

    def record(self, user: User, reservation_id: str) -> Record | None:
        """Return what Valkey holds of a reservation."""
        raw = reservation_id_parse(reservation_id)[1]
        held = scripts.records_unpack(self.client.hget(keys.users_key(self.pk), str(user.pk)))
        return next((record for record in held if record.reservation == raw), None)

    def tamper(self, **fields: Any) -> None:
        """Change fields of the campaign's hash behind everybody's back."""
        self.client.hset(keys.campaign_key(self.pk), mapping=fields)

    def field(self, name: str) -> str:
        """Return one field of the campaign's hash."""
        return self.client.hget(keys.campaign_key(self.pk), name).decode()

    def open_units(self) -> int:
        return int(self.client.hget(keys.shard_key(), "open"))

    def picture(self) -> dict[bytes, bytes]:
        """Return every key with its whole content, to compare."""
        return {key: self.client.dump(key) for key in sorted(self.client.keys())}


def server_crash(server: ValkeyServer) -> None:
    """Kill -9 the server and start it again on its own data; nobody has compared it since."""
    server.kill()
    server.start()
    sale_store().close()
    unverified_store().close()
    reservations.process_gate.cache_clear()


@contextmanager
def nobody_listens() -> Iterator[None]:
    """Let Valkey miss what orders say, as when it cannot be reached at that moment."""
    with pytest.MonkeyPatch.context() as patch:
        for signal in (signals.entries_decided, signals.outcomes_due, signals.judge_disagreed):
            patch.setattr(signal, "receivers", [])
        yield


@contextmanager
def server_emptied(server: ValkeyServer) -> Iterator[ValkeyServer]:
    """Give a server without data to a process that has learnt nothing yet, and see commits meanwhile."""
    server.clear()
    sale_store().close()
    reservations.process_gate.cache_clear()
    with commits_seen():
        yield server


@contextmanager
def commits_seen() -> Iterator[None]:
    """Run what waits for a commit when each service's own transaction ends, inside the test's that is rolled back.

    It saves emptying every table after each test; what needs several connections cannot use it.
    """
    genuine, depth = transactions._attempt, 0

    def attempt(work: Callable[[], Any]) -> Any:
        nonlocal depth
        depth += 1
        try:
            result = genuine(work)
        finally:
            depth -= 1
        while depth == 0 and connection.run_on_commit:
            connection.run_on_commit.pop(0)[1]()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transactions, "_attempt", attempt)
        patch.setattr(settler, "close_old_connections", lambda: None)  # it would end the test's transaction
        yield
