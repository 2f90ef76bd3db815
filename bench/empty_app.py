"""The least a call can do, which the lane is measured by.

POST reads the body, parses it and answers a fixed 202; GET answers a fixed 200.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

Message = MutableMapping[str, Any]


class Body(msgspec.Struct):
    """The body of a reservation."""

    quantity: int


_decode = msgspec.json.Decoder(Body).decode
_HEADERS = [(b"content-type", b"application/json")]
_ANSWER = b'{"reservation_id":"1-aaaaaaaaaaaaaaaaaaaaaaaaaa","status":"queued","poll_after_ms":500}'


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer every POST with the same 202, 400 when the body is not a reservation's, and every GET with 200."""
    if scope["type"] != "http":
        return
    if scope["method"] == "GET":
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _ANSWER})
        return
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    try:
        _decode(b"".join(parts))
    except msgspec.MsgspecError:
        await send({"type": "http.response.start", "status": 400, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b"{}"})
        return
    await send({"type": "http.response.start", "status": 202, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _ANSWER})
