"""What an orders worker runs beside its Celery tasks: the consumer, the settler and, where it is embedded, beat."""

import logging
from typing import Any

from django.conf import settings

from orders.consumer import Consumer, KafkaSource
from orders.events import Source
from orders.tasks import place_orders
from seckill.outbox import StreamSource
from seckill.settler import Settler
from seckill.store import sale_store
from shop.resilience.parent import exit_with_parent
from shop.resilience.periodic import PeriodicThread

logger = logging.getLogger("orders.worker")

SETTLER_SECONDS = 0.5
STOP_SECONDS = 10.0


def order_source() -> Source:
    """Return Kafka where it is configured, else the outbox stream itself: the one switch between the two."""
    return KafkaSource() if settings.KAFKA_BOOTSTRAP_SERVERS else StreamSource(sale_store())


class OrderWorker:
    """The threads of one worker process."""

    def __init__(self) -> None:
        self._threads: list[Consumer | PeriodicThread] = []
        self._beat: Any = None

    def start(self, *, beat_app: Any = None) -> None:
        """Start the threads; `beat_app` is the Celery application whose schedule this worker keeps, if any."""
        if settings.EXIT_WITH_PARENT:
            exit_with_parent()
        consumer = Consumer(order_source(), place_orders)
        settler = Settler(lag=consumer.source.lag)
        self._threads = [consumer, PeriodicThread("settler", settler.turn, interval_seconds=SETTLER_SECONDS)]
        for thread in self._threads:
            thread.start()
        if beat_app is not None:
            from celery.beat import EmbeddedService

            self._beat = EmbeddedService(beat_app, thread=True)
            self._beat.start()
        logger.info("orders worker started with source %s", consumer.source.name)

    def stop(self) -> None:
        """Let each thread finish what it has in hand."""
        if self._beat is not None:
            self._beat.stop()
        for thread in self._threads:
            thread.terminate()
        for thread in self._threads:
            thread.join(STOP_SECONDS)


order_worker = OrderWorker()
