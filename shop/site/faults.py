"""What is answered where no view can: JSON under /api/, pages elsewhere."""

import logging
import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.views import defaults

from shop.observability.logs.request_id import request_id_get
from shop.resilience import errors

logger = logging.getLogger(__name__)

_API = "/api/"
_ANSWERS: dict[int, tuple[str, Any]] = {
    400: ("malformed", _("The request cannot be understood.")),
    403: ("forbidden", _("You may not do this.")),
    404: ("not_found", _("There is nothing here.")),
    500: ("error", _("Something went wrong.")),
}


def _handler(status: int, page: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    code, message = _ANSWERS[status]

    def handle(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.path.startswith(_API):
            return page(request, *args, **kwargs)
        error = errors.ShopError(message)
        error.code, error.status = code, status
        return _json(error)

    return handle


bad_request = _handler(400, defaults.bad_request)
permission_denied = _handler(403, defaults.permission_denied)
page_not_found = _handler(404, defaults.page_not_found)
_fault = _handler(500, defaults.server_error)


class DatabaseUnavailable(errors.Unavailable):
    """The database did not answer; whether the request was carried out is not known."""

    code = "unavailable"
    message = _("The shop cannot do this right now. Try again in a moment.")


def database_unavailable(exception: BaseException | None) -> DatabaseUnavailable | None:
    """Return what is told when the database did not answer, logged; None for every other exception."""
    if not isinstance(exception, OperationalError | InterfaceError):
        return None
    logger.error("the database did not answer", exc_info=exception)
    return DatabaseUnavailable()


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a fault; a database that does not answer is 503 with Retry-After, not a fault of the request."""
    error = database_unavailable(sys.exc_info()[1])
    if error is None:
        return _fault(request)
    if request.path.startswith(_API):
        response: HttpResponse = _json(error)
    else:
        response = HttpResponse(render_to_string("503.html", {"error": error}), status=error.status)
    response["Retry-After"] = str(error.retry_after_seconds)
    return response


def _json(error: errors.ShopError) -> JsonResponse:
    body = errors.error_body(error, request_id=request_id_get())
    return JsonResponse(
        body, status=error.status, json_dumps_params={"ensure_ascii": False, "separators": (",", ":")}
    )


_BRIDGE_MESSAGES: dict[int, Any] = {
    400: _("The request cannot be understood."),
    408: _("The request took too long to arrive. Try again."),
    413: _("What you sent is too large."),
    500: _("Something went wrong."),
    503: _("Very many people are here at this moment. Try again shortly."),
}


def bilingual_page(error: errors.ShopError) -> str:
    """Return a small page in both languages, for a refusal before Django could learn which one is wanted."""
    message = _BRIDGE_MESSAGES.get(error.status, _BRIDGE_MESSAGES[500])
    paragraphs = []
    for language, _name in settings.LANGUAGES:
        with translation.override(language):
            paragraphs.append(format_html('<p lang="{}">{}</p>', language, message))
    return f'<!doctype html><meta charset="utf-8"><title>{error.status}</title>{"".join(paragraphs)}\n'
