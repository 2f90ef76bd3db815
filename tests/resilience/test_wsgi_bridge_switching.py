"""The interpreter's switch interval is short exactly while a page is being made."""

import asyncio
import sys
from collections.abc import Callable, Iterable
from typing import Any

from shop.resilience.wsgi_bridge import IDLE_SWITCH_INTERVAL_SECONDS, SWITCH_INTERVAL_SECONDS, WSGIBridge


def test_switch_interval_is_short_only_while_threads_work() -> None:
    seen = []

    def page(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen.append(sys.getswitchinterval())
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        pass

    async def ask_twice_at_once() -> None:
        bridge = WSGIBridge(page)
        scope = {
            "type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "",
            "scheme": "http", "http_version": "1.1", "headers": [], "client": ("127.0.0.1", 1), "server": ("x", 80),
        }  # fmt: skip
        await asyncio.gather(bridge(scope, receive, send), bridge(dict(scope), receive, send))
        await bridge.close()

    asyncio.run(ask_twice_at_once())

    assert seen == [SWITCH_INTERVAL_SECONDS] * 2
    assert sys.getswitchinterval() == IDLE_SWITCH_INTERVAL_SECONDS
