"""The relay: every outbox entry reaches Kafka at least once, whatever dies, and stays in the outbox."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orders.events import Entry, record_decode
from seckill import keys, relay
from seckill.relay import Relay
from seckill.store import SaleStore
from tests.seckill.relaying import NotAcknowledged, PlayedBroker, entry_add, pending_ids
from tests.services.kafka import KafkaBroker
from tests.services.processes import wait_until
from tests.services.valkey import ValkeyServer

TOPICS = iter(range(1, 100))


@pytest.fixture
def store(valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> SaleStore:
    valkey_server.clear()
    monkeypatch.setattr(relay, "READ_SECONDS", 0.05)
    return SaleStore(valkey_server.url, verify=False)


@pytest.fixture
def no_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "topic_ensure", lambda: None)
    monkeypatch.setattr(relay, "RETRY_FIRST_SECONDS", 0.01)


def stream_ids(store: SaleStore) -> list[str]:
    return [entry_id.decode() for entry_id, _ in store.client.xrange(keys.outbox_key())]


# ---- with a broker that is played ----


@pytest.mark.usefixtures("no_kafka")
def test_relay_publishes_then_acknowledges_and_deletes_nothing(store: SaleStore) -> None:
    written = [entry_add(store, user_id=n) for n in (1, 2, 3)]
    pending_at_ack: list[list[str]] = []
    broker = PlayedBroker(before_ack=lambda number: pending_at_ack.append(pending_ids(store)))

    assert Relay(store, producer=lambda: broker).turn() == 3

    ids = [entry.entry_id for entry in written]
    assert broker.entries() == written
    assert pending_at_ack == [ids, ids, ids]  # while the broker is asked all three are still ours
    assert pending_ids(store) == []
    assert stream_ids(store) == ids


@pytest.mark.usefixtures("no_kafka")
def test_relay_acknowledges_nothing_that_the_broker_did_not(store: SaleStore) -> None:
    written = [entry_add(store, user_id=n) for n in (1, 2)]

    def second_is_lost(number: int) -> None:
        if number == 2:
            raise NotAcknowledged

    broker = PlayedBroker(before_ack=second_is_lost)
    relaying = Relay(store, producer=lambda: broker)
    with pytest.raises(NotAcknowledged):
        relaying.turn()
    assert pending_ids(store) == [entry.entry_id for entry in written]

    relaying._reader.retry()
    assert relaying.turn() == 2
    assert broker.entries() == [*written, *written]
    assert pending_ids(store) == []


@pytest.mark.usefixtures("no_kafka")
def test_relay_runs_on_after_faults_and_with_a_new_producer(store: SaleStore) -> None:
    """A producer whose delivery failed may be in a state that it cannot leave, so the next turn makes another."""
    written = entry_add(store)
    refusals = iter([True, True, False])
    brokers: list[PlayedBroker] = []

    def refuse(number: int) -> None:
        if next(refusals):
            raise NotAcknowledged

    def producer() -> PlayedBroker:
        brokers.append(PlayedBroker(before_ack=refuse))
        return brokers[-1]

    relaying = Relay(store, producer=producer)
    thread = threading.Thread(target=relaying.run)
    thread.start()
    wait_until(lambda: len(brokers) == 3 and not pending_ids(store), deadline_seconds=5, what="third try")
    relaying.terminate()
    thread.join(5)

    assert not thread.is_alive()
    assert [broker.entries() for broker in brokers] == [[written]] * 3
    assert [broker.closed for broker in brokers] == [1, 1, 1]


@pytest.mark.usefixtures("no_kafka")
def test_relay_backs_off_while_the_broker_is_away(store: SaleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_add(store)
    waits: list[float] = []

    def refuse(number: int) -> None:
        raise NotAcknowledged

    relaying = Relay(store, producer=lambda: PlayedBroker(before_ack=refuse))
    monkeypatch.setattr(relaying, "_retry_seconds", 1.0)

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 5:
            relaying.terminate()
        return True

    monkeypatch.setattr(relaying._stop_asked, "wait", wait)
    relaying.run()
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert len(pending_ids(store)) == 1


@pytest.mark.usefixtures("no_kafka")
def test_relay_leaves_out_an_entry_that_cannot_be_read(store: SaleStore) -> None:
    bad = store.client.xadd(keys.outbox_key(), {"v": 1, "campaign": "?"}).decode()
    good = entry_add(store)
    broker = PlayedBroker()

    assert Relay(store, producer=lambda: broker).turn() == 2

    assert broker.entries() == [good]
    assert pending_ids(store) == []
    assert stream_ids(store) == [bad, good.entry_id]


# ---- with a real broker ----


@pytest.fixture
def topic(kafka_broker: KafkaBroker, settings: Any) -> str:
    settings.KAFKA_BOOTSTRAP_SERVERS = [kafka_broker.bootstrap]
    settings.KAFKA_ORDERS_TOPIC = f"relay-{next(TOPICS)}"
    return settings.KAFKA_ORDERS_TOPIC


def published(broker: KafkaBroker, topic: str) -> list[Entry]:
    """Return every entry in the topic."""
    from kafka import KafkaConsumer, TopicPartition

    consumer: Any = KafkaConsumer(bootstrap_servers=broker.bootstrap, enable_auto_commit=False)
    try:
        parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        ends = consumer.end_offsets(parts)
        entries = []
        while any(consumer.position(part) < ends[part] for part in parts):
            for records in consumer.poll(timeout_ms=1000).values():
                entries += [record_decode(record.value) for record in records]
        return entries
    finally:
        consumer.close()


def by_id(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: tuple(map(int, entry.entry_id.split("-"))))


@pytest.fixture
def relays(store: SaleStore) -> Iterator[list[Relay]]:
    """Two relays that run in threads until the test's end."""
    both = [Relay(store, name=name, claim_after_ms=60_000) for name in ("one", "two")]
    threads = [threading.Thread(target=each.run) for each in both]
    for thread in threads:
        thread.start()
    yield both
    for each in both:
        each.terminate()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.kafka
def test_relay_makes_the_topic_and_two_relays_share_the_entries(
    kafka_broker: KafkaBroker,
    topic: str,
    store: SaleStore,
    relays: list[Relay],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seckill.outbox.READ_COUNT", 3)
    written = [entry_add(store, user_id=n) for n in range(1, 41)]
    wait_until(
        lambda: relays[0]._reader.lag() == 0 and not pending_ids(store), deadline_seconds=30, what="relayed"
    )

    assert by_id(published(kafka_broker, topic)) == written  # each once: nothing failed
    readers = store.client.xinfo_consumers(keys.outbox_key(), "relay")
    assert [reader["name"] for reader in readers] == [b"one", b"two"]
    assert stream_ids(store) == [entry.entry_id for entry in written]


@pytest.mark.kafka
def test_relay_loses_nothing_when_the_broker_is_killed_in_mid_flight(
    kafka_broker: KafkaBroker,
    topic: str,
    store: SaleStore,
    relays: list[Relay],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seckill.outbox.READ_COUNT", 1)
    monkeypatch.setattr(relay, "RETRY_LONGEST_SECONDS", 0.5)
    written = [entry_add(store, user_id=1)]
    wait_until(
        lambda: relays[0]._reader.lag() == 0 and not pending_ids(store), deadline_seconds=30, what="first"
    )
    written += [entry_add(store, user_id=n) for n in range(2, 30)]
    kafka_broker.kill()
    written += [entry_add(store, user_id=n) for n in range(30, 50)]
    time.sleep(0.3)
    assert (
        relays[0]._reader.lag() + len(pending_ids(store)) >= 20
    )  # written after its end, so nobody has them
    kafka_broker.start()
    wait_until(
        lambda: relays[0]._reader.lag() == 0 and not pending_ids(store), deadline_seconds=60, what="relayed"
    )

    there = {entry.entry_id: entry for entry in published(kafka_broker, topic)}
    assert by_id(list(there.values())) == written
    assert stream_ids(store) == [entry.entry_id for entry in written]
