"""Celery tasks of the sale."""

from typing import Any

from celery import shared_task
from django.utils import timezone

from seckill.services.retention import records_purge


@shared_task(name="seckill.keys_purge", acks_late=True, reject_on_worker_lost=True)
def keys_purge(**_newer: Any) -> int:
    """Remove user records of campaigns that were closed a day ago; return of how many."""
    return records_purge(now=timezone.now())
