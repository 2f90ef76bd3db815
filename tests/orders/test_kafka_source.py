"""Kafka as the consumer's source: offsets move by `done` alone, and nothing between two of them is lost."""

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from kafka.errors import KafkaError

from orders.consumer import KafkaSource
from orders.events import Entry, Member, members_pack, record_encode
from orders.models import DeadLetter
from tests.services.kafka import KafkaBroker

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]
_topics = count(1)
WAIT_SECONDS = 30.0


@pytest.fixture
def topic(kafka_broker: KafkaBroker, settings: Any) -> str:
    """Return the name of a topic that does not exist yet."""
    settings.KAFKA_BOOTSTRAP_SERVERS = [kafka_broker.bootstrap]
    settings.KAFKA_ORDERS_TOPIC = f"orders-{next(_topics)}"
    return settings.KAFKA_ORDERS_TOPIC


@pytest.fixture
def source_made() -> Iterator[Callable[[], KafkaSource]]:
    """Make sources that leave the group at the test's end."""
    made: list[KafkaSource] = []

    def make() -> KafkaSource:
        made.append(KafkaSource())
        return made[-1]

    yield make
    for source in made:
        source.close()


def publish(broker: KafkaBroker, topic: str, *values: bytes, partition: int = 0) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
    try:
        for future in [producer.send(topic, value=value, partition=partition) for value in values]:
            future.get(timeout=10)
    finally:
        producer.close()


def value(number: int) -> bytes:
    return record_encode(f"{number}-0", 7, 1, members_pack([Member(bytes([number]) * 16, number, 1)]))


def ids(entries: list[Entry]) -> list[str]:
    return [entry.entry_id for entry in entries]


def poll_until(source: KafkaSource, number: int) -> list[Entry]:
    """Poll until so many entries came, without being done with any."""
    found: list[Entry] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while len(found) < number and time.monotonic() < deadline:
        found += source.poll(timeout_seconds=0.2)
    assert len(found) == number, ids(found)
    return found


def test_kafka_source_commits_by_done_alone(
    kafka_broker: KafkaBroker, topic: str, source_made: Callable[[], KafkaSource]
) -> None:
    kafka_broker.create_topic(topic)
    publish(kafka_broker, topic, value(1), value(2))
    first = source_made()
    entries = poll_until(first, 2)
    assert ids(entries) == ["1-0", "2-0"]
    assert entries[0].members == (Member(b"\1" * 16, 1, 1),)
    first.done(entries)
    publish(kafka_broker, topic, value(3))
    assert ids(poll_until(first, 1)) == ["3-0"]
    first.close()  # 3 was never done: this consumer crashed

    second = source_made()
    assert ids(poll_until(second, 1)) == ["3-0"]


def test_kafka_source_goes_back_to_what_is_not_done(
    kafka_broker: KafkaBroker, topic: str, source_made: Callable[[], KafkaSource]
) -> None:
    kafka_broker.create_topic(topic)
    publish(kafka_broker, topic, value(1), value(2))
    source = source_made()
    poll_until(source, 2)
    source.retry()  # nothing was ever done
    entries = poll_until(source, 2)
    assert ids(entries) == ["1-0", "2-0"]
    source.done(entries)
    publish(kafka_broker, topic, value(3))
    poll_until(source, 1)
    source.retry()
    assert ids(poll_until(source, 1)) == ["3-0"]
    assert source.poll(timeout_seconds=0.2) == []


def test_kafka_source_that_cannot_go_back_starts_anew_instead_of_going_on(
    kafka_broker: KafkaBroker,
    topic: str,
    source_made: Callable[[], KafkaSource],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Going on would commit, with the next `done`, what was never decided."""
    kafka_broker.create_topic(topic)
    publish(kafka_broker, topic, value(1))
    source = source_made()
    poll_until(source, 1)

    def lost(*_: object) -> None:
        raise TimeoutError("the coordinator did not answer")

    monkeypatch.setattr(source._consumer, "committed", lost)
    with pytest.raises(TimeoutError):
        source.retry()
    publish(kafka_broker, topic, value(2))
    assert ids(poll_until(source, 2)) == ["1-0", "2-0"]


def test_kafka_source_makes_a_dead_letter_and_goes_on(
    kafka_broker: KafkaBroker, topic: str, source_made: Callable[[], KafkaSource]
) -> None:
    kafka_broker.create_topic(topic)
    publish(kafka_broker, topic, value(1), b"\1poison", value(2), b"")
    source = source_made()
    entries = poll_until(source, 2)
    assert ids(entries) == ["1-0", "2-0"]
    letters = list(DeadLetter.objects.order_by("entry").values_list("source", "entry", "payload", "attempts"))
    assert letters == [("kafka", "0:1", b"\1poison".hex(), 1), ("kafka", "0:3", "", 1)]
    source.done(entries)
    source.close()

    again = source_made()
    publish(kafka_broker, topic, value(3))
    assert ids(poll_until(again, 1)) == ["3-0"]
    assert DeadLetter.objects.count() == 2


def test_kafka_source_commits_past_a_batch_that_is_poison_alone(
    kafka_broker: KafkaBroker, topic: str, source_made: Callable[[], KafkaSource]
) -> None:
    kafka_broker.create_topic(topic)
    publish(kafka_broker, topic, b"poison")
    source = source_made()
    deadline = time.monotonic() + WAIT_SECONDS
    while not DeadLetter.objects.exists() and time.monotonic() < deadline:
        assert source.poll(timeout_seconds=0.2) == []
    source.close()
    publish(kafka_broker, topic, value(1))

    assert ids(poll_until(source_made(), 1)) == ["1-0"]
    assert DeadLetter.objects.get().attempts == 1


def test_kafka_source_counts_what_waits(
    kafka_broker: KafkaBroker, topic: str, source_made: Callable[[], KafkaSource]
) -> None:
    kafka_broker.create_topic(topic)
    source = source_made()
    assert source.lag() == 0
    publish(kafka_broker, topic, value(1))
    poll_until(source, 1)
    publish(kafka_broker, topic, value(2), value(3))
    source._lag_read_at = 0.0
    source._read_lag(source._connected())
    assert source.lag() == 2


def test_kafka_source_shares_partitions_and_takes_them_over(
    kafka_broker: KafkaBroker, topic: str, source_made: Callable[[], KafkaSource]
) -> None:
    """Two members share; what the one that leaves was not done with goes to the other."""
    kafka_broker.create_topic(topic, partitions=2)
    both = [source_made(), source_made()]
    taken: list[set[str]] = [set(), set()]
    ended = [threading.Event(), threading.Event()]

    def work(at: int) -> None:
        while not ended[at].is_set():
            try:
                entries = both[at].poll(timeout_seconds=0.1)
                taken[at] |= set(ids(entries))
                if at == 0:
                    both[at].done(entries)
            except KafkaError:  # the group was rebalanced meanwhile: go back, as the consumer thread does
                both[at].retry()

    def assigned() -> list[int]:
        return [len(each._consumer.assignment()) if each._consumer else 0 for each in both]

    threads = [threading.Thread(target=work, args=(at,)) for at in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        _wait(lambda: assigned() == [1, 1])
        publish(kafka_broker, topic, value(1), partition=0)
        publish(kafka_broker, topic, value(2), partition=1)
        _wait(lambda: taken[0] | taken[1] == {"1-0", "2-0"})

        ended[1].set()  # it had its entry in hand and was not done with it
        threads[1].join(5)
        both[1].close()
        _wait(lambda: taken[0] == {"1-0", "2-0"})
    finally:
        for event in ended:
            event.set()
        for thread in threads:
            thread.join(5)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_kafka_source_finds_a_topic_that_is_made_after_its_start(
    kafka_broker: KafkaBroker, topic: str, source_made: Callable[[], KafkaSource]
) -> None:
    source = source_made()
    assert source.poll(timeout_seconds=0.5) == []
    kafka_broker.create_topic(topic, partitions=2)
    publish(kafka_broker, topic, value(1), partition=1)
    assert ids(poll_until(source, 1)) == ["1-0"]
