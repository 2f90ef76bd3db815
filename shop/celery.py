"""The Celery application, and what an orders worker runs beside its tasks."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_shutdown, worker_ready, worker_shutting_down

from shop.observability.logs.lifecycle import flush_all

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings.development")

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["orders"], related_name="payment_tasks")


@worker_ready.connect
def start_order_threads(sender: Any, **_: Any) -> None:
    """Start consumer and settler in a worker that serves the queue `orders`, and beat where it is embedded."""
    from django.conf import settings

    from shop.site.order_worker import order_worker

    if "orders" in sender.app.amqp.queues.consume_from:
        order_worker.start(beat_app=app if settings.WORKER_EMBEDS_BEAT else None)


@worker_shutting_down.connect
def stop_order_threads(**_: Any) -> None:
    """Let the threads finish the batch in hand."""
    from shop.site.order_worker import order_worker

    order_worker.stop()


@worker_process_shutdown.connect
def flush_logs(**_: Any) -> None:
    """Write what is buffered: a pool's child process leaves without running its exit handlers."""
    flush_all()
