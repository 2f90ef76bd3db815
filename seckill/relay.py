"""The relay: moves outbox entries to Kafka. It acknowledges an entry after the broker has, and deletes nothing."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings

from orders.events import record_encode
from seckill.outbox import CLAIM_AFTER_MS, GroupReader, Raw
from seckill.store import SaleStore

logger = logging.getLogger("seckill.relay")

READ_SECONDS = 1.0
ACK_SECONDS = 15.0
RETRY_FIRST_SECONDS, RETRY_LONGEST_SECONDS = 0.2, 5.0
RECONNECT_LONGEST_MS = 1_000  # kafka-python's 30 s would keep a broker that is back waiting for as long
TOPIC_PARTITIONS = 6


def producer_create() -> Any:
    """Return an idempotent producer that waits for all replicas."""
    from kafka import KafkaProducer

    return KafkaProducer(
        bootstrap_servers=settings.KAFKA_BOOTSTRAP_SERVERS,
        client_id="relay",
        acks="all",
        enable_idempotence=True,
        linger_ms=2,
        request_timeout_ms=10_000,
        delivery_timeout_ms=14_000,
        reconnect_backoff_max_ms=RECONNECT_LONGEST_MS,
    )


def topic_ensure() -> None:
    """Create the topic where it is missing; the broker's own defaults decide on replicas."""
    from kafka.admin import KafkaAdminClient, NewTopic
    from kafka.errors import TopicAlreadyExistsError

    admin = KafkaAdminClient(bootstrap_servers=settings.KAFKA_BOOTSTRAP_SERVERS, request_timeout_ms=10_000)
    try:
        topic = NewTopic(settings.KAFKA_ORDERS_TOPIC, num_partitions=TOPIC_PARTITIONS, replication_factor=-1)
        admin.create_topics([topic])
    except TopicAlreadyExistsError:
        pass  # another relay, or an earlier start, has made it
    finally:
        admin.close()


class Relay:
    """One reader of group `relay`. Two of them share the work; what a dead one held the other claims after 10 s."""

    def __init__(
        self,
        store: SaleStore,
        *,
        producer: Callable[[], Any] = producer_create,
        name: str | None = None,
        claim_after_ms: int = CLAIM_AFTER_MS,
    ) -> None:
        self._reader = GroupReader(store, "relay", name=name, claim_after_ms=claim_after_ms)
        self._producer_create = producer
        self._producer: Any = None
        self._stop_asked = threading.Event()
        self._retry_seconds = RETRY_FIRST_SECONDS

    def run(self) -> None:
        """Relay until asked to end; faults of Kafka or Valkey are waited out."""
        while not self._stop_asked.is_set():
            try:
                self.turn()
                self._retry_seconds = RETRY_FIRST_SECONDS
            except Exception:
                logger.exception("the relay tries again in %.1f s", self._retry_seconds)
                self._stop_asked.wait(self._retry_seconds)
                self._retry_seconds = min(self._retry_seconds * 2, RETRY_LONGEST_SECONDS)
                self._reader.retry()
                self._producer_drop()
        self.close()

    def turn(self) -> int:
        """Relay what there is, at most one read; return how many entries the broker has acknowledged.

        :raises Exception: Kafka or Valkey did not answer; unacknowledged entries are delivered again
        """
        messages = self._reader.read(timeout_seconds=READ_SECONDS)
        if messages:
            self._publish(messages)
            self._reader.ack([entry_id.decode() for entry_id, _ in messages])
        return len(messages)

    def terminate(self) -> None:
        """Ask to end after the turn in hand."""
        self._stop_asked.set()

    def close(self) -> None:
        """Give the connection to Kafka back."""
        if self._producer is not None:
            self._producer.close(timeout=5)
            self._producer = None

    def _producer_drop(self) -> None:
        """Have the next turn make a new producer: after a failed delivery this one may have given up for good."""
        try:
            self.close()
        except Exception:
            logger.exception("the producer did not close")
            self._producer = None

    def _publish(self, messages: Sequence[Raw]) -> None:
        if self._producer is None:
            topic_ensure()
            self._producer = self._producer_create()
        futures = [
            self._producer.send(settings.KAFKA_ORDERS_TOPIC, value=value) for value in _records(messages)
        ]
        self._producer.flush(timeout=ACK_SECONDS)
        for future in futures:
            future.get(timeout=ACK_SECONDS)


def _records(messages: Sequence[Raw]) -> list[bytes]:
    """Return the records of what can be read; of the rest the settler makes dead letters."""
    records = []
    for entry_id, fields in messages:
        try:
            campaign_id, epoch, packed = int(fields[b"campaign"]), int(fields[b"epoch"]), fields[b"packed"]
        except (KeyError, ValueError) as error:
            logger.error("outbox entry %s is not relayed: %r", entry_id.decode(), error)
        else:
            records.append(record_encode(entry_id.decode(), campaign_id, epoch, packed))
    return records
