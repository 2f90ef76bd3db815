"""Examples and refusals of the orders API, for the OpenAPI schema."""

from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from shop.accounts.api.refusals import NOT_ACCEPTABLE, NOT_AUTHENTICATED, UNREADABLE, refusal

_LINE = {"product_id": "7", "title": "Paper lantern", "unit_price": "199.00", "quantity": 1}
_PENDING = {
    "number": "MFRGGZDFMZTWQ2LK",
    "status": "pending",
    "reason": None,
    "reservation_id": "12-mfrggzdfmztwq2lknnwg23tpoa",
    "campaign_id": "12",
    "units": 1,
    "total": "199.00",
    "currency": "CNY",
    "created_at": "2026-06-18T12:00:02Z",
    "pay_by": "2026-06-18T12:15:02Z",
    "paid_at": None,
    "ended_at": None,
    "recipient": "Mei",
    "phone": "13800000000",
    "address": "Shanghai, Example Road 1",
    "lines": [_LINE],
    "payments": [],
    "server_time": "2026-06-18T12:03:10Z",
}
_PAID = {
    **_PENDING,
    "status": "paid",
    "pay_by": None,
    "paid_at": "2026-06-18T12:03:10Z",
    "payments": [
        {
            "payment_id": "31",
            "status": "succeeded",
            "amount": "199.00",
            "currency": "CNY",
            "created_at": "2026-06-18T12:03:10Z",
            "settled_at": "2026-06-18T12:03:10Z",
            "refund": None,
        }
    ],
}
_CANCELLED = {
    **_PENDING,
    "status": "cancelled",
    "reason": "cancelled",
    "pay_by": None,
    "ended_at": "2026-06-18T12:03:10Z",
}

PENDING = OpenApiExample("waiting for payment", value=_PENDING, response_only=True)
CANCELLED = OpenApiExample("cancelled", value=_CANCELLED, response_only=True)
PAY_BODY = OpenApiExample("a payment that succeeds", value={"outcome": "success"}, request_only=True)
PAY_DONE = OpenApiExample(
    "paid", value={"payment_id": "31", "status": "succeeded", "order": _PAID}, response_only=True
)
CALLBACK_BODY = OpenApiExample(
    "the money is there",
    value={
        "reference": "9f86d081884c7d659a2feaa0c55ad015",
        "outcome": "success",
        "amount": "199.00",
        "currency": "CNY",
    },
    request_only=True,
)
CALLBACK_DONE = OpenApiExample(
    "noted",
    value={"reference": "9f86d081884c7d659a2feaa0c55ad015", "status": "succeeded"},
    response_only=True,
)

SIGNATURE_HEADERS = [
    OpenApiParameter(
        "X-Sandbox-Timestamp",
        str,
        OpenApiParameter.HEADER,
        required=True,
        description="Seconds since 1970. Any age is accepted.",
    ),
    OpenApiParameter(
        "X-Sandbox-Signature",
        str,
        OpenApiParameter.HEADER,
        required=True,
        description="Hexadecimal HMAC-SHA256 over the timestamp, a full stop and the raw body.",
    ),
]

READ = {**NOT_AUTHENTICATED, **NOT_ACCEPTABLE}
BAD_CURSOR = {404: refusal("The cursor is none of ours.", code="not_found", message="There is nothing here.")}
NOT_FOUND = {
    404: refusal(
        "It does not exist or is not yours.", code="orders.not_found", message="There is no such order."
    )
}
NOT_PENDING = {
    409: refusal(
        "It is paid already, or has ended.",
        code="orders.not_pending",
        message="This order is not waiting for payment.",
        extra={"status": "paid"},
    )
}
PAY_REFUSED = {
    409: refusal(
        "It is paid already or has ended (`orders.not_pending`), or its pay-by time has just passed.",
        code="orders.pay_window_over",
        message="The time to pay for this order is over.",
    ),
    422: refusal(
        "There is no such outcome.",
        code="invalid",
        message="Some values are not acceptable.",
        extra={"fields": {"outcome": ['"fly" is not a valid choice.']}},
    ),
    503: refusal(
        "A later confirmation cannot be queued now.",
        code="payments.provider_unavailable",
        message="The payment provider does not answer now. Try again in a moment.",
    ),
    **UNREADABLE,
}
CALLBACK_REFUSED = {
    400: refusal(
        "It is signed, but not understood.",
        code="payments.malformed",
        message="The message cannot be understood.",
    ),
    401: refusal(
        "It is not signed with the provider's key.",
        code="payments.bad_signature",
        message="The signature is wrong.",
    ),
    404: refusal(
        "No such provider (`payments.unknown_provider`), or no such payment.",
        code="payments.not_found",
        message="There is no such payment.",
    ),
    422: refusal(
        "Amount or currency are not the order's; nothing has changed.",
        code="payments.amount_mismatch",
        message="The amount is not the order's.",
    ),
    **NOT_ACCEPTABLE,
}
