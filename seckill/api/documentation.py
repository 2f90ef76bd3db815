"""What the OpenAPI document says of the sale: every status an operation can give, with an example."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from seckill import errors
from seckill.api import serializers
from shop.resilience.errors import ShopError

_RESERVATION_ID = "17-3vxt6bq2m5k4n7p2r6s4t7u3wa"
_TIME = "2026-11-24T12:00:00.123Z"
_CAMPAIGN = {
    "id": "17",
    "name": "Kettle at half price",
    "product_id": "42",
    "state": "live",
    "sold_out": False,
    "starts_at": "2026-11-24T12:00:00.000Z",
    "ends_at": "2026-11-25T12:00:00.000Z",
    "price": "99.00",
    "currency": "CNY",
    "limit_per_user": 2,
    "server_time": _TIME,
}
_STATUS = {
    "reservation_id": _RESERVATION_ID,
    "campaign_id": "17",
    "status": "won",
    "reason": None,
    "quantity": 1,
    "order_number": "3VXT6BQ2M5K4N7P2",
    "pay_by": "2026-11-24T12:15:00.000Z",
    "poll_after_ms": 5000,
    "server_time": _TIME,
}
_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    required=True,
    description="1 to 128 printable ASCII characters, chosen by the client; repeat it to repeat the request safely.",
)


def _refusals(*kinds: type[ShopError], **extra: Any) -> dict[int, OpenApiResponse]:
    """Return one response a status, with an example a code."""
    by_status: dict[int, list[type[ShopError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        status: OpenApiResponse(
            serializers.ErrorOutput,
            description=", ".join(kind.code for kind in of_status),
            examples=[
                OpenApiExample(
                    kind.code,
                    value={
                        "code": kind.code,
                        "message": str(kind.message),
                        "extra": {"request_id": "5f2b8c7d9e1a4b6c"},
                    },
                    response_only=True,
                )
                for kind in of_status
            ],
        )
        for status, of_status in by_status.items()
    }


def _shown(serializer: Any, value: Any, description: str) -> OpenApiResponse:
    example = OpenApiExample("example", value=value, response_only=True)
    return OpenApiResponse(serializer, description=description, examples=[example])


_TOKEN_OR_TICKET: list[dict[str, list[str]]] = [{"jwtAuth": []}]
_NOBODY: list[dict[str, list[str]]] = [{}]
_UNREACHABLE = (errors.Paused, errors.SaleUnavailable)

CAMPAIGNS: dict[str, Any] = {
    "operation_id": "seckill_campaigns",
    "tags": ["seckill"],
    "auth": _NOBODY,
    "responses": {
        200: _shown(
            serializers.CampaignListOutput,
            {"results": [_CAMPAIGN], "next": None, "previous": None},
            "Campaigns.",
        )
    },
}
CAMPAIGN: dict[str, Any] = {
    "operation_id": "seckill_campaign",
    "tags": ["seckill"],
    "auth": _NOBODY,
    "responses": {
        200: _shown(serializers.CampaignOutput, _CAMPAIGN, "The campaign."),
        **_refusals(errors.CampaignNotFound),
    },
}
LIVE: dict[str, Any] = {
    "operation_id": "seckill_campaign_live",
    "tags": ["seckill"],
    "auth": _NOBODY,
    "responses": {
        200: _shown(
            serializers.LiveOutput,
            {**_CAMPAIGN, "left": 37, "as_of": _TIME, "poll_after_ms": 1000},
            "The campaign with its live numbers. `left` is null while they are not known.",
        ),
        **_refusals(errors.CampaignNotFound, *_UNREACHABLE),
    },
}
RESERVE: dict[str, Any] = {
    "operation_id": "seckill_reserve",
    "tags": ["seckill"],
    "auth": _TOKEN_OR_TICKET,
    "parameters": [_KEY],
    "request": serializers.ReservationInput,
    "examples": [OpenApiExample("one unit", value={"quantity": 1}, request_only=True)],
    "responses": {
        202: _shown(
            serializers.ReservationOutput,
            {
                "reservation_id": _RESERVATION_ID,
                "status": "queued",
                "status_url": f"/api/v1/seckill/reservations/{_RESERVATION_ID}/",
                "poll_after_ms": 500,
                "server_time": _TIME,
            },
            "Accepted and on disk, or replayed (`Idempotency-Replayed: true`).",
        ),
        **_refusals(
            errors.KeyMissing,
            errors.Malformed,
            errors.NotSignedIn,
            errors.CampaignNotFound,
            errors.NotStarted,
            errors.Ended,
            errors.SoldOut,
            errors.LimitReached,
            errors.TooLarge,
            errors.NotJson,
            errors.InvalidValues,
            errors.KeyReused,
            errors.RateLimited,
            errors.Paused,
            errors.Busy,
            errors.Unknown,
            errors.SaleUnavailable,
        ),
    },
}
MY_RESERVATIONS: dict[str, Any] = {
    "operation_id": "seckill_my_reservations",
    "tags": ["seckill"],
    "auth": _TOKEN_OR_TICKET,
    "responses": {
        200: _shown(serializers.MyReservationsOutput, {"results": [_STATUS]}, "My reservations."),
        **_refusals(errors.NotSignedIn, *_UNREACHABLE),
    },
}
RESERVATION: dict[str, Any] = {
    "operation_id": "seckill_reservation",
    "tags": ["seckill"],
    "auth": _TOKEN_OR_TICKET,
    "responses": {
        200: _shown(serializers.ReservationStatusOutput, _STATUS, "What became of it."),
        **_refusals(errors.NotSignedIn, errors.ReservationNotFound, *_UNREACHABLE),
    },
}
TIME: dict[str, Any] = {
    "operation_id": "time",
    "tags": ["time"],
    "auth": _NOBODY,
    "responses": {
        200: _shown(
            serializers.TimeOutput, {"server_time": _TIME, "server_time_ms": 1795521600123}, "The clock."
        )
    },
}
