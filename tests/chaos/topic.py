"""Reads the order topic from outside every group."""

from typing import Any

from django.conf import settings

from orders.events import Entry, record_decode

READ_MS = 500


def _consumer(**configuration: Any) -> Any:
    from kafka import KafkaConsumer

    return KafkaConsumer(
        bootstrap_servers=settings.KAFKA_BOOTSTRAP_SERVERS,
        client_id="oracle",
        request_timeout_ms=10_000,
        **configuration,
    )


def _partitions(consumer: Any) -> list[Any]:
    from kafka import TopicPartition

    numbers = consumer.partitions_for_topic(settings.KAFKA_ORDERS_TOPIC) or set()
    return [TopicPartition(settings.KAFKA_ORDERS_TOPIC, number) for number in sorted(numbers)]


def end_offsets() -> dict[str, int]:
    """Return the offset after the last record, by partition number as text; empty while there is no topic."""
    consumer = _consumer()
    try:
        partitions = _partitions(consumer)
        ends = consumer.end_offsets(partitions) if partitions else {}
        return {str(partition.partition): end for partition, end in ends.items()}
    finally:
        consumer.close()


def backlog() -> int:
    """Return how many records the group `orders` has not committed."""
    consumer = _consumer(group_id="orders", enable_auto_commit=False)
    try:
        partitions = _partitions(consumer)
        ends = consumer.end_offsets(partitions) if partitions else {}
        return sum(end - (consumer.committed(partition) or 0) for partition, end in ends.items())
    finally:
        consumer.close(autocommit=False)


def entries_since(offsets: dict[str, int]) -> list[Entry]:
    """Return every entry from these offsets to the present end, partition by partition.

    :raises orders.events.BadEntry: a record cannot be read
    """
    consumer = _consumer(enable_auto_commit=False)
    try:
        partitions = _partitions(consumer)
        if not partitions:
            return []
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, offsets.get(str(partition.partition), 0))
        ends = consumer.end_offsets(partitions)
        found = []
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for batch in consumer.poll(timeout_ms=READ_MS).values():
                found += [record_decode(record.value) for record in batch]
        return found
    finally:
        consumer.close()
