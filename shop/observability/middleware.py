"""Gives every request an id that logs, error bodies and the response carry."""

import itertools
import os
import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from shop.observability.logs.request_id import request_id_reset, request_id_set

HEADER = "X-Request-Id"
# Unique without a system call a request: a random part for the process, then a number.
_PROCESS = os.urandom(10).hex()
_numbers = itertools.count(1)
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)


def request_id_choose(offered: str | None) -> str:
    """Return the caller's id if it is harmless, else a new one."""
    if offered and _ACCEPTED.fullmatch(offered):
        return offered
    return f"{_PROCESS}{next(_numbers):012x}"


class RequestIdMiddleware:
    """Must be first: what runs before it logs without an id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = request_id_choose(request.headers.get(HEADER))
        token = request_id_set(request_id)
        try:
            response = self.get_response(request)
        finally:
            request_id_reset(token)
        response[HEADER] = request_id
        return response
