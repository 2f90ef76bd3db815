"""Kinds of error that every app derives its own from; each kind is mapped to one HTTP status, once."""

from typing import Any


class ShopError(Exception):
    """A refusal or failure that the caller is told about.

    code: dotted, stable, never reused. message: one sentence for people, may be a lazy translation.
    extra: facts for programs, JSON-ready. retry_after_seconds: when asking again makes sense.
    """

    status = 500
    code = "error"
    message: Any = "Something went wrong."
    retry_after_seconds: int | None = None

    def __init__(
        self,
        message: Any = None,
        *,
        extra: dict[str, Any] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        if message is not None:
            self.message = message
        if retry_after_seconds is not None:
            self.retry_after_seconds = retry_after_seconds
        self.extra = extra or {}
        super().__init__(self.code)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class BadRequest(ShopError):
    """The request cannot be understood."""

    status = 400


class Unauthenticated(ShopError):
    """Who is asking is not known."""

    status = 401


class Forbidden(ShopError):
    """Who is asking may not do this."""

    status = 403


class NotFound(ShopError):
    """It does not exist, or belongs to somebody else."""

    status = 404


class Conflict(ShopError):
    """The state of the thing does not allow it now."""

    status = 409


class Invalid(ShopError):
    """The request is well formed, a value in it is not acceptable."""

    status = 422


class TooMany(ShopError):
    """The caller has asked too often."""

    status = 429
    retry_after_seconds = 1


class Unavailable(ShopError):
    """A part that is needed cannot answer now; nothing is lost by asking again."""

    status = 503
    retry_after_seconds = 1


def error_body(error: ShopError, *, request_id: str) -> dict[str, Any]:
    """Return the one JSON shape of a refusal: code, message in the active language, extra."""
    return {
        "code": error.code,
        "message": str(error.message),
        "extra": {**error.extra, "request_id": request_id},
    }
