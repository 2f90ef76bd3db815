"""The sale's API as REST framework views: plain WSGI, documented, byte-equal with the lane."""

import time
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse, RawPostDataException
from django.utils import timezone
from django.utils.translation import get_language
from drf_spectacular.utils import extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from orders.events import reservation_id_parse
from seckill import answers
from seckill.admission import key_check, quantity_read
from seckill.answers import Answer
from seckill.api import documentation
from seckill.campaign_rows import campaign_rows
from seckill.errors import Paused, TooLarge
from seckill.selectors import campaign_public, campaigns_public, reservation_status, reservations_of_user
from seckill.services.reservations import (
    campaign_known,
    campaign_memory,
    process_gate,
    reservation_create,
)
from shop.observability.logs.request_id import request_id_get
from shop.resilience.errors import ShopError


class JsonOnly(BaseContentNegotiation):
    """The sale answers in JSON whatever a client says it accepts; so does the lane."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class SaleView(APIView):
    """Credentials are read by the gate, as in the lane: access tokens and tickets, no query."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    content_negotiation_class = JsonOnly

    def handle_exception(self, exc: Exception) -> Any:
        """Answer a refusal with the very bytes of the lane; anything else is the exception handler's."""
        if isinstance(exc, ShopError):
            return _response(answers.refused(exc, request_id=request_id_get(), language=_language()))
        return super().handle_exception(exc)

    def user_id(self, request: Request, campaign_id: int | None = None) -> int:
        """Return whose credentials the request carries.

        :raises NotSignedIn: none that are valid
        """
        authorization = request.headers.get("Authorization", "")
        return process_gate().credentials(authorization, campaign_id=campaign_id)


class CampaignsView(SaleView):
    @extend_schema(**documentation.CAMPAIGNS)
    def get(self, request: Request) -> HttpResponse:
        """Return published campaigns: live ones first, then upcoming, then those that ended within a day."""
        rows = campaign_rows(campaigns_public(now=timezone.now()), language=_language())
        return _json({"results": rows, "next": None, "previous": None})


class CampaignView(SaleView):
    @extend_schema(**documentation.CAMPAIGN)
    def get(self, request: Request, campaign_id: int) -> HttpResponse:
        """Return one published campaign."""
        campaign = campaign_public(campaign_id=campaign_id)
        return _json(campaign_rows([campaign], language=_language())[0])


class LiveView(SaleView):
    @extend_schema(**documentation.LIVE)
    def get(self, request: Request, campaign_id: int) -> HttpResponse:
        """Return the numbers that change: units left, and when they were read."""
        memory = campaign_memory(campaign_id=campaign_id)
        now_ms = process_gate().now_ms(time.monotonic())
        if memory is not None:
            return _response(Answer(200, answers.live_body(memory, language=_language(), now_ms=now_ms)))
        row = campaign_rows([campaign_public(campaign_id=campaign_id)], language=_language())[0]
        unknown = {"state": "paused", "left": None, "as_of": row["server_time"]}
        return _json({**row, **unknown, "poll_after_ms": answers.POLL_IDLE_MS})


class ReserveView(SaleView):
    @extend_schema(**documentation.RESERVE)
    def post(self, request: Request, campaign_id: int) -> HttpResponse:
        """Reserve units and queue the order; the same Idempotency-Key gives the same reservation."""
        if not campaign_known(campaign_id=campaign_id):
            campaign_public(campaign_id=campaign_id)
            raise Paused
        user_id = self.user_id(request, campaign_id)
        key = key_check(request.headers.get("Idempotency-Key"))
        quantity = quantity_read(content_type=request.content_type, body=_body(request))
        reservation = reservation_create(campaign_id=campaign_id, user_id=user_id, quantity=quantity, key=key)
        return _response(answers.accepted(reservation))


class ReservationsView(SaleView):
    @extend_schema(**documentation.MY_RESERVATIONS)
    def get(self, request: Request) -> HttpResponse:
        """Return my reservations, undecided ones first, then newest first."""
        now_ms = process_gate().now_ms(time.monotonic())
        mine = reservations_of_user(user_id=self.user_id(request))
        rows = b",".join(answers.status_body(status, server_time_ms=now_ms) for status in mine)
        return _response(Answer(200, b'{"results":[' + rows + b"]}"))


class ReservationView(SaleView):
    @extend_schema(**documentation.RESERVATION)
    def get(self, request: Request, reservation_id: str) -> HttpResponse:
        """Return what became of one reservation: queued, won or lost."""
        user_id = self.user_id(request, _campaign_of(reservation_id))
        status = reservation_status(reservation_id=reservation_id, user_id=user_id)
        now_ms = process_gate().now_ms(time.monotonic())
        return _response(Answer(200, answers.status_body(status, server_time_ms=now_ms)))


class TimeView(SaleView):
    @extend_schema(**documentation.TIME)
    def get(self, request: Request) -> HttpResponse:
        """Return the sale's clock, for a client that counts down."""
        now_ms = process_gate().now_ms(time.monotonic())
        return _json({"server_time": answers.rfc3339(now_ms), "server_time_ms": now_ms})


def _campaign_of(reservation_id: str) -> int | None:
    """Return the campaign that a reservation id names; None for what is no reservation id."""
    try:
        return reservation_id_parse(reservation_id)[0]
    except ValueError:
        return None


def _language() -> str:
    return get_language() or "zh-hans"


def _body(request: Request) -> bytes:
    try:
        return request.body
    except (RequestDataTooBig, RawPostDataException) as error:
        raise TooLarge from error


def _json(body: dict[str, Any]) -> HttpResponse:
    return _response(Answer(200, answers.json_bytes(body)))


def _response(answer: Answer) -> HttpResponse:
    response = HttpResponse(answer.body, status=answer.status, content_type="application/json")
    response["Cache-Control"] = "no-store"
    response["Vary"] = "Accept-Language, Cookie"
    for name, value in answer.headers:
        response[name] = value
    return response
