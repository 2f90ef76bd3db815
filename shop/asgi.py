"""ASGI entry: the sale's lane in front, everything else through the WSGI bridge. One process type, one port."""

import gc
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from shop.wsgi import application as django_application  # first: it loads the apps that the lane imports from

# isort: split
from django.conf import settings

from seckill.lane import Lane
from shop.resilience.parent import exit_with_parent
from shop.resilience.worker_pool import WorkerPool
from shop.resilience.wsgi_bridge import WSGIBridge
from shop.site.faults import bilingual_page

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Application:
    """Made on the first event of the loop that serves it, so that every worker process has its own."""

    def __init__(self) -> None:
        self._lane: Lane | None = None
        self._bridge: WSGIBridge | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        lane = self._started()
        if scope["type"] == "http" and scope["path"] == "/livez":
            await _livez(send)  # the loop turns: that must be told even while every page thread is held
            return
        await lane(scope, receive, send)

    def _started(self) -> Lane:
        if self._lane is None:
            # What start-up has made lives as long as the process: no collection needs to look at it again.
            gc.collect()
            gc.freeze()
            if settings.EXIT_WITH_PARENT:
                exit_with_parent()
            pool = WorkerPool(
                settings.PAGE_THREADS, settings.PAGE_QUEUE_MAX, settings.PAGE_WAIT_SECONDS, name="page"
            )
            self._bridge = WSGIBridge(django_application, pool=pool, page=bilingual_page)
            self._lane = Lane(self._bridge)
        return self._lane

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._started()
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._lane is not None and self._bridge is not None:
                    await self._lane.close()
                    await self._bridge.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


async def _livez(send: Send) -> None:
    body = b'{"status": "ok"}'
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


application = Application()
