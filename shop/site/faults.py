"""What is answered where no view can: JSON under /api/, pages elsewhere."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext_lazy as _
from django.views import defaults

from shop.observability.logs.request_id import request_id_var
from shop.resilience import errors

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
        error.code = code
        body = errors.error_body(error, request_id=request_id_var.get())
        return JsonResponse(
            body, status=status, json_dumps_params={"ensure_ascii": False, "separators": (",", ":")}
        )

    return handle


bad_request = _handler(400, defaults.bad_request)
permission_denied = _handler(403, defaults.permission_denied)
page_not_found = _handler(404, defaults.page_not_found)
server_error = _handler(500, defaults.server_error)
