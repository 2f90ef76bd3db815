"""What this process exports to Prometheus: its CPU, memory and garbage collections, and log lines that were dropped."""

import hmac
from collections.abc import Iterable

from django.conf import settings
from django.http import HttpRequest
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from shop.observability.logs.lifecycle import drop_counts

_LOOPBACK = ("127.0.0.1", "::1")


class LogDropCollector(Collector):
    """Log records that a full buffer or a failing disk has cost, by file and level."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily("shop_log_dropped", "Log records dropped.", labels=("file", "level"))
        for path, counts in drop_counts().items():
            for level, count in counts.items():
                family.add_metric((str(path), level), count)
        yield family


def metrics_register() -> None:
    """Add what is ours to the process's registry; called once, at start."""
    REGISTRY.register(LogDropCollector())


def metrics_allowed(request: HttpRequest) -> bool:
    """Return whether the caller may read metrics: by the configured token, or directly from this machine."""
    if settings.METRICS_TOKEN:
        offered = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(offered.encode(), settings.METRICS_TOKEN.encode())
    return request.META.get("REMOTE_ADDR") in _LOOPBACK and "X-Forwarded-For" not in request.headers
