"""The consumer thread of the orders worker, and Kafka as one of its sources."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.db import close_old_connections

from orders.events import BadEntry, Entry, Source, record_decode
from orders.services.dead_letters import dead_letter_write

logger = logging.getLogger("orders.consumer")

BATCH_RESERVATIONS = 1_000  # in one transaction
POLL_SECONDS = 1.0
RETRY_FIRST_SECONDS, RETRY_LONGEST_SECONDS = 0.2, 5.0
RECONNECT_LONGEST_MS = 1_000  # kafka-python's 30 s would keep a broker that is back waiting for as long


def batches(entries: Sequence[Entry], most: int = BATCH_RESERVATIONS) -> Iterator[list[Entry]]:
    """Yield whole entries in order, at most `most` reservations at a time (one larger entry goes alone)."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and size + len(entry.members) > most:
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.members)
    if batch:
        yield batch


class Consumer(threading.Thread):
    """Takes entries from its source and has them decided, in order; marks them done after the commit.

    If it dies its worker goes down with it (`on_death`): a worker that looks alive and decides nothing would
    keep shoppers waiting.
    """

    def __init__(
        self,
        source: Source,
        place: Callable[..., Any],
        *,
        on_death: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGTERM),
    ) -> None:
        super().__init__(name=f"consumer-{source.name}", daemon=True)
        self.source = source
        self.decided_entries = 0
        self._place = place
        self._on_death = on_death
        self._stop_asked = threading.Event()
        self._retry_seconds = RETRY_FIRST_SECONDS

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                self._turn()
        except BaseException:
            logger.critical("the consumer thread died and takes its worker down", exc_info=True)
            self._on_death()
            raise
        finally:
            self.source.close()

    def terminate(self) -> None:
        """Ask the thread to end after the batch in hand."""
        self._stop_asked.set()

    def _turn(self) -> None:
        try:
            close_old_connections()
            entries = self.source.poll(timeout_seconds=POLL_SECONDS)
            for batch in batches(entries):
                self._place(entries=batch, source=self.source.name)
            if entries:
                self.source.done(entries)
                self.decided_entries += len(entries)
            self._retry_seconds = RETRY_FIRST_SECONDS
        except Exception:
            # Database, Valkey or Kafka did not answer: nothing is done, everything is delivered again.
            logger.exception("the consumer tries again in %.1f s", self._retry_seconds)
            self._stop_asked.wait(self._retry_seconds)
            self._retry_seconds = min(self._retry_seconds * 2, RETRY_LONGEST_SECONDS)
            self._deliver_again()

    def _deliver_again(self) -> None:
        try:
            self.source.retry()
        except Exception:
            logger.exception("the source could not be set back yet")


class KafkaSource:
    """Entries from the topic, group `orders`; offsets are committed by `done` alone."""

    name = "kafka"

    def __init__(self) -> None:
        self._consumer: Any = None
        self._lag = 0
        self._lag_read_at = 0.0

    def poll(self, *, timeout_seconds: float) -> list[Entry]:
        """Return what the topic has next; what cannot be read becomes a dead letter."""
        consumer = self._connected()
        records = consumer.poll(timeout_ms=int(timeout_seconds * 1000), max_records=500)
        self._read_lag(consumer)
        entries = []
        for partition, batch in records.items():
            for record in batch:
                try:
                    entries.append(record_decode(record.value or b""))
                except BadEntry as error:
                    place = f"{partition.partition}:{record.offset}"
                    dead_letter_write(
                        source=self.name, entry=place, payload=record.value or b"", error=str(error)
                    )
        if records and not entries:
            consumer.commit()
        return entries

    def done(self, entries: Sequence[Entry]) -> None:
        """Commit the offsets up to what was polled last; all of it is decided."""
        self._connected().commit()

    def retry(self) -> None:
        """Go back to the last committed offsets.

        Where they cannot be read the next poll starts anew from them: reading on would commit, with the next
        `done`, what was never decided.
        """
        try:
            self._seek_to_committed(self._connected())
        except Exception:
            self.close()
            raise

    @staticmethod
    def _seek_to_committed(consumer: Any) -> None:
        for partition in consumer.assignment():
            offset = consumer.committed(partition)
            if offset is None:
                consumer.seek_to_beginning(partition)
            else:
                consumer.seek(partition, offset)

    def lag(self) -> int:
        """Return how many records of the assigned partitions are not polled yet, read at most a second ago."""
        return self._lag

    def close(self) -> None:
        """Leave the group, so that another consumer takes over at once."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False)

    def _connected(self) -> Any:
        if self._consumer is None:
            from kafka import KafkaConsumer

            self._consumer = KafkaConsumer(
                settings.KAFKA_ORDERS_TOPIC,
                bootstrap_servers=settings.KAFKA_BOOTSTRAP_SERVERS,
                group_id="orders",
                client_id="orders",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_poll_interval_ms=60_000,
                session_timeout_ms=10_000,
                heartbeat_interval_ms=2_000,
                request_timeout_ms=15_000,
                reconnect_backoff_max_ms=RECONNECT_LONGEST_MS,
            )
        return self._consumer

    def _read_lag(self, consumer: Any) -> None:
        if time.monotonic() - self._lag_read_at < 1:
            return
        partitions = list(consumer.assignment())
        ends = consumer.end_offsets(partitions) if partitions else {}
        self._lag = sum(end - (consumer.position(partition) or 0) for partition, end in ends.items())
        self._lag_read_at = time.monotonic()


def topic_lag() -> int:
    """Return how many records of the topic no member of the group has decided yet; joins no group.

    :raises kafka.errors.KafkaError: Kafka does not answer within seconds
    """
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=settings.KAFKA_BOOTSTRAP_SERVERS,
        group_id="orders",
        client_id="orders-lag",
        enable_auto_commit=False,
        request_timeout_ms=3_000,
        bootstrap_timeout_ms=3_000,
    )
    try:
        numbers = consumer.partitions_for_topic(settings.KAFKA_ORDERS_TOPIC) or set()
        partitions = [TopicPartition(settings.KAFKA_ORDERS_TOPIC, number) for number in numbers]
        ends = consumer.end_offsets(partitions) if partitions else {}
        return sum(end - (consumer.committed(partition) or 0) for partition, end in ends.items())
    finally:
        consumer.close(autocommit=False)
