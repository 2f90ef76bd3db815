"""django-silk: which requests it records, and the one exception to the content policy, for its own pages."""

import random
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

# Silk's pages carry inline styles and handlers.
SILK_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


class SilkPolicyMiddleware:
    """Set silk's policy before CSPMiddleware (further out) would set the strict one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path.startswith("/ops/silk/"):
            response["Content-Security-Policy"] = SILK_POLICY
        return response


# Never on the hot path, and nothing of value in probes and files.
_UNPROFILED = (
    "/api/v1/seckill/",
    "/api/v1/time/",
    "/static/",
    "/art/",
    "/livez",
    "/readyz",
    "/metrics",
    "/ops/",
)


def should_profile(request: HttpRequest) -> bool:
    """Return whether silk records this request: the configured share of pages and API calls off the hot path."""
    if request.path.startswith(_UNPROFILED):
        return False
    return random.uniform(0, 100) < float(settings.SILK_PERCENT)  # noqa: S311  a sample, not a secret


def may_see_profiles(user: Any) -> bool:
    """Return whether the user may open silk: recorded queries hold session keys and addresses, so no mere role may."""
    return bool(user.is_active and user.is_staff and user.is_superuser)
