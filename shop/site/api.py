"""The API's one exception handler and its cursor pages."""

import logging
import re
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions, pagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import set_rollback

from shop.observability.logs.request_id import request_id_get
from shop.resilience import errors
from shop.site.faults import database_unavailable

logger = logging.getLogger(__name__)

# REST framework's own exceptions under the shop's stable codes.
_CODES: dict[type[Exception], tuple[str, Any]] = {
    exceptions.ParseError: ("malformed", _("The request body is not valid JSON.")),
    exceptions.NotAuthenticated: ("not_authenticated", _("Sign in first.")),
    exceptions.AuthenticationFailed: ("not_authenticated", _("The credentials are wrong or expired.")),
    exceptions.PermissionDenied: ("forbidden", _("You may not do this.")),
    exceptions.NotFound: ("not_found", _("There is nothing here.")),
    exceptions.MethodNotAllowed: ("method_not_allowed", _("This method is not allowed here.")),
    exceptions.NotAcceptable: ("not_acceptable", _("The API answers in JSON only.")),
    exceptions.UnsupportedMediaType: (
        "unsupported_media_type",
        _("Send JSON with Content-Type application/json."),
    ),
    exceptions.Throttled: ("rate_limited", _("Too many requests. Wait a moment, then try again.")),
}


def _as_drf(exc: Exception) -> Exception:
    """Return Django's own refusals as REST framework's."""
    if isinstance(exc, Http404):
        return exceptions.NotFound()
    if isinstance(exc, PermissionDenied):
        return exceptions.PermissionDenied()
    return exc


def _as_shop_error(exc: exceptions.APIException) -> errors.ShopError:
    """Return REST framework's refusal in the shop's shape, status kept (values: 422)."""
    if isinstance(exc, exceptions.ValidationError):
        error: errors.ShopError = errors.Invalid(
            _("Some values are not acceptable."), extra={"fields": exc.detail}
        )
        error.code = "invalid"
        return error
    code, message = next(
        (row for kind, row in _CODES.items() if isinstance(exc, kind)), ("error", _("Something went wrong."))
    )
    error = errors.ShopError(message)
    error.code, error.status = code, exc.status_code
    if wait := getattr(exc, "wait", None):
        error.retry_after_seconds = int(wait) + 1
    return error


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Return the one JSON shape for every refusal; None leaves a fault to the 500 handler."""
    exc = _as_drf(exc)
    headers = {}
    exc = database_unavailable(exc) or exc
    if isinstance(exc, RecursionError):
        exc = exceptions.ParseError()  # JSON nested deeper than the parser goes
    if isinstance(exc, exceptions.APIException):
        if auth_header := getattr(exc, "auth_header", None):
            headers["WWW-Authenticate"] = auth_header
        exc = _as_shop_error(exc)
    if not isinstance(exc, errors.ShopError):
        return None
    set_rollback()
    if exc.retry_after_seconds is not None:
        headers["Retry-After"] = str(exc.retry_after_seconds)
    return Response(errors.error_body(exc, request_id=request_id_get()), status=exc.status, headers=headers)


_POSITION = re.compile(r"[0-9]{1,18}", re.ASCII)


class CursorPages(pagination.CursorPagination):
    """`{"results", "next", "previous"}`; `limit` 20 by default, at most 100."""

    page_size = 20
    page_size_query_param = "limit"
    max_page_size = 100
    ordering = "-id"

    def decode_cursor(self, request: Request) -> Any:
        """Return the cursor of the request.

        :raises rest_framework.exceptions.NotFound: it is none of ours
        """
        cursor = super().decode_cursor(request)
        if (
            cursor is not None
            and cursor.position is not None
            and not _POSITION.fullmatch(str(cursor.position))
        ):
            raise exceptions.NotFound
        return cursor
