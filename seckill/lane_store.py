"""The lane's access to the sale's Valkey: one connection of its own, opened when needed, dropped at any fault."""

import asyncio
from collections.abc import Sequence
from typing import Any

from seckill.scripts import Call
from seckill.store import SOCKET_TIMEOUT_SECONDS, acknowledged, unknown_scripts, with_wait
from seckill.wire import Commands, Wire, wire_open


class LaneStore:
    """Belongs to one event loop. Raises what `SaleStore` raises."""

    def __init__(self, url: str, *, timeout_seconds: float = SOCKET_TIMEOUT_SECONDS) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._wire: Wire | None = None
        self._opening: asyncio.Task[Wire] | None = None

    async def run(self, calls: Sequence[Call], *, replicas: int = 0) -> list[Any]:
        """Return each call's answer, or the ResponseError it got; all travel in one round trip."""
        answers = await self.commands([call.by_digest() for call in calls], replicas=replicas)
        if missing := unknown_scripts(answers):
            again = await self.commands([calls[i].by_text() for i in missing], replicas=replicas)
            for i, answer in zip(missing, again, strict=True):
                answers[i] = answer
        return answers

    async def commands(self, commands: Commands, *, replicas: int = 0) -> list[Any]:
        """Return each command's raw answer, or the ResponseError it got."""
        wire = self._wire
        if wire is None or not wire.is_open:
            wire = await self._open()
        if replicas:
            answers = await wire.call(with_wait(list(commands), replicas), self._timeout_seconds)
            return acknowledged(answers, replicas)
        return await wire.call(commands, self._timeout_seconds)

    async def close(self) -> None:
        """Close the connection."""
        if self._opening is not None:
            self._opening.cancel()
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def _open(self) -> Wire:
        """Open one connection, however many calls wait for it."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(wire_open(self._url, timeout_seconds=self._timeout_seconds))
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[Wire]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._wire = opening.result()
