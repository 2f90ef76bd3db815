"""The one exception to the content policy: django-silk's own pages, which staff alone can open."""

from collections.abc import Callable

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
