"""Where staff see whether the sale adds up."""

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from seckill.conservation import Equation, conservation_all
from seckill.health import sale_health
from seckill.page_state import known_or_none
from shop.site.health import degraded_parts

REFRESH_SECONDS = 5

# The sum of the equation in its order; its other side is the allotment.
_TERMS = (
    ("left", _("left")),
    ("reserved", _("reserved")),
    ("unpaid", _("unpaid orders")),
    ("paid", _("paid orders")),
    ("returning", _("returning")),
    ("handed_back", _("handed back")),
)


def _row(equation: Equation) -> dict[str, object]:
    """Return one campaign's equation as its template needs it."""
    return {
        "equation": equation,
        "terms": [{"units": getattr(equation, name), "label": label} for name, label in _TERMS],
    }


@require_safe
@never_cache
@login_required
def sales(request: HttpRequest) -> HttpResponse:
    """Render every campaign's equation as a sum, and what the sale's servers say; staff only."""
    if not request.user.is_staff:
        raise PermissionDenied
    equations = known_or_none(conservation_all)
    health = sale_health(ask_kafka=True)
    context = {
        "rows": None if equations is None else [_row(equation) for equation in equations],
        "health": health,
        "degraded": degraded_parts(health),
        "now": timezone.now(),
        "refresh_seconds": REFRESH_SECONDS,
    }
    return render(request, "ops/sales.html", context)
