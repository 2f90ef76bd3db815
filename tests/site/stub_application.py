"""What the stub demo serves instead of the shop: one ASGI application and one Celery application."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from celery import Celery

urlpatterns: list[Any] = []
app = Celery("stub", broker=os.environ.get("CELERY_BROKER_URL"))
app.conf.task_ignore_result = True


async def application(
    scope: dict[str, Any], receive: Callable, send: Callable[[dict], Awaitable[None]]
) -> None:
    """Answer every request with 200 and this process's id."""
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
