"""The id of the request in hand, carried by a context variable and printed on every log line."""

from contextvars import ContextVar, Token

NO_REQUEST = "-"

request_id_var: ContextVar[str] = ContextVar("request_id", default=NO_REQUEST)


def request_id_get() -> str:
    """Return the id of the request in hand, or "-" outside any request."""
    return request_id_var.get()


def request_id_set(request_id: str) -> Token[str]:
    """Make request_id the one that log lines of this context carry.

    Returns the token that request_id_reset needs to restore the id from before.
    """
    return request_id_var.set(request_id)


def request_id_reset(token: Token[str]) -> None:
    """Restore the request id from before the request_id_set that returned token."""
    request_id_var.reset(token)
