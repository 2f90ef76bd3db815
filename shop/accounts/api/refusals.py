"""How refusals are documented in the OpenAPI schema: the one shape, with an example for each code."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse

REFUSAL_SCHEMA = {
    "type": "object",
    "required": ["code", "message", "extra"],
    "properties": {
        "code": {"type": "string", "description": "Stable; made for programs."},
        "message": {"type": "string", "description": "One sentence in the caller's language."},
        "extra": {
            "type": "object",
            "required": ["request_id"],
            "properties": {"request_id": {"type": "string"}},
            "additionalProperties": True,
        },
    },
}
_REQUEST_ID = "0f9b2c6e5d4a4f1e8c3b7a6d5e4f3c2b"


def refusal(
    description: str, *, code: str, message: str, extra: dict[str, Any] | None = None
) -> OpenApiResponse:
    """Return the documentation of one refused answer."""
    value = {"code": code, "message": message, "extra": {**(extra or {}), "request_id": _REQUEST_ID}}
    return OpenApiResponse(
        response=REFUSAL_SCHEMA, description=description, examples=[OpenApiExample(code, value=value)]
    )


NOT_ACCEPTABLE = {
    406: refusal("Accept excludes JSON.", code="not_acceptable", message="The API answers in JSON only."),
}
UNREADABLE = {
    400: refusal("The body is not JSON.", code="malformed", message="The request body is not valid JSON."),
    415: refusal(
        "The body is of another type.",
        code="unsupported_media_type",
        message="Send JSON with Content-Type application/json.",
    ),
    **NOT_ACCEPTABLE,
}
NOT_AUTHENTICATED = {
    401: refusal("No access token, or not a valid one.", code="not_authenticated", message="Sign in first."),
}
