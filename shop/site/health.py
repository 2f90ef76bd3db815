"""Probes: is this process alive, can it answer at all, and what is it missing."""

import logging

from django.db import DatabaseError, connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from seckill.health import SaleHealth, sale_health
from shop.observability.metrics import metrics_allowed

logger = logging.getLogger(__name__)


@require_safe
@never_cache
def livez(request: HttpRequest) -> JsonResponse:
    """Answer: the process turns."""
    return JsonResponse({"status": "ok"})


def _database_answers() -> bool:
    """Tell whether this process reaches the database now."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError:
        logger.exception("readiness: the database does not answer")
        return False
    return True


def degraded_parts(health: SaleHealth) -> list[str]:
    """Return what does not work while this process still answers: "sale" (Valkey) or "orders" (Kafka, workers)."""
    parts = [] if health.verified else ["sale"]
    if health.undecided_too_long:
        parts.append("orders")
    return parts


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 503 only where nothing can be served; what is merely degraded stays in the balancer and is named."""
    if not _database_answers():
        return JsonResponse({"status": "unavailable", "missing": ["database"]}, status=503)
    degraded = degraded_parts(sale_health())
    return JsonResponse({"status": "degraded" if degraded else "ok", "degraded": degraded})


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with this process's metrics for Prometheus; to anyone else it does not exist."""
    if not metrics_allowed(request):
        raise Http404
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)
