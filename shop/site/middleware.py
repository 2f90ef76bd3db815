"""Turns a ShopError that a page view raises into a page with its status."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from shop.resilience.errors import ShopError


class ShopErrorMiddleware:
    """The pages' counterpart of the API's exception handler: views raise, this renders, once."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Render `errors/shop_error.html`; anything else is Django's to handle."""
        if not isinstance(exception, ShopError):
            return None
        response = render(request, "errors/shop_error.html", {"error": exception}, status=exception.status)
        if exception.retry_after_seconds is not None:
            response["Retry-After"] = str(exception.retry_after_seconds)
        return response
