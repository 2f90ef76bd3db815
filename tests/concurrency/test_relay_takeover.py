"""A relay that dies with entries in hand: another takes them over, because only the broker's answer counts."""

import inspect
import textwrap
import time
from typing import Any

import pytest

from orders.events import Entry
from seckill import relay
from seckill.relay import Relay
from seckill.store import SaleStore
from tests.seckill.mutants import changed
from tests.seckill.relaying import Died, PlayedBroker, entry_add, pending_ids
from tests.services.valkey import ValkeyServer

CLAIM_MS = 400


@pytest.fixture
def store(valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> SaleStore:
    valkey_server.clear()
    monkeypatch.setattr(relay, "READ_SECONDS", 0.01)
    monkeypatch.setattr(relay, "topic_ensure", lambda: None)
    return SaleStore(valkey_server.url, verify=False)


def relay_named(store: SaleStore, name: str, broker: Any) -> Relay:
    return Relay(store, producer=lambda: broker, name=name, claim_after_ms=CLAIM_MS)


def broker_unreachable() -> None:
    raise Died


def takeover(store: SaleStore) -> tuple[list[Entry], PlayedBroker]:
    """Let a relay die between reading two entries and reaching the broker, and another go on; tell what arrived."""
    written = [entry_add(store, user_id=n) for n in (1, 2)]
    dying = Relay(store, producer=broker_unreachable, name="dying", claim_after_ms=CLAIM_MS)
    with pytest.raises(Died):
        dying.turn()

    broker = PlayedBroker()
    other = relay_named(store, "other", broker)
    assert other.turn() == 0  # they may still be on their way
    time.sleep(CLAIM_MS / 1000 + 0.05)
    other.turn()
    return written, broker


def test_relay_takes_over_what_a_dead_one_held(store: SaleStore) -> None:
    written, broker = takeover(store)

    assert broker.entries() == written
    assert pending_ids(store) == []


@pytest.mark.twin
def test_relay_that_acknowledges_first_loses_what_it_held(
    store: SaleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin acknowledges before the broker does; nobody ever relays what it held."""
    source = changed(
        textwrap.dedent(inspect.getsource(Relay.turn)),
        ("self._publish(messages)", "pass"),
        (
            "self._reader.ack([entry_id.decode() for entry_id, _ in messages])",
            "self._reader.ack([entry_id.decode() for entry_id, _ in messages])\n        self._publish(messages)",
        ),
    )
    made: dict[str, Any] = {}
    exec(compile(source, "<turn without its order>", "exec"), vars(relay), made)
    monkeypatch.setattr(Relay, "turn", made["turn"])

    written, broker = takeover(store)

    assert len(written) == 2
    assert broker.entries() == []
    assert pending_ids(store) == []


def test_relay_that_died_after_the_broker_took_them_leaves_duplicates_not_gaps(store: SaleStore) -> None:
    written = [entry_add(store, user_id=n) for n in (1, 2)]

    def die(number: int) -> None:
        raise Died

    first, second = PlayedBroker(before_ack=die), PlayedBroker()
    with pytest.raises(Died):
        relay_named(store, "dying", first).turn()
    time.sleep(CLAIM_MS / 1000 + 0.05)
    relay_named(store, "other", second).turn()

    assert first.entries() == second.entries() == written
    assert pending_ids(store) == []


def test_relay_restarted_under_its_own_name_need_not_wait(store: SaleStore) -> None:
    written = [entry_add(store)]
    with pytest.raises(Died):
        Relay(store, producer=broker_unreachable, name="same", claim_after_ms=60_000).turn()

    broker = PlayedBroker()
    Relay(store, producer=lambda: broker, name="same", claim_after_ms=60_000).turn()

    assert broker.entries() == written
