"""The web process's named points, patched around the lane's own functions."""

import os
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from seckill import lane
from seckill.admission import reservation_bytes
from seckill.lane import Lane
from seckill.scripts import ReserveCode
from seckill.wire import Wire
from tests.chaos.faults import Faults

_reserving: ContextVar[bool] = ContextVar("reserving", default=False)
_batches: deque[list[int]] = (
    deque()
)  # [answers handed to the server, answers in all] of each batch, oldest first


def install(faults: Faults) -> None:
    """Patch the points and the guard `web.id_follows_key`."""
    _script(faults)
    _answers(faults)
    _ids(faults)


def _script(faults: Faults) -> None:
    reserve, call = Lane._reserve_call, Wire.call

    async def reserve_and_pass(self: Lane, items: list[tuple[int, int, bytes]]) -> Sequence[Any]:
        faults.passed("web.before_script", batch=len(items))
        token = _reserving.set(True)
        try:
            codes = await reserve(self, items)
        finally:
            _reserving.reset(token)
        faults.passed("web.after_script_before_answer", batch=len(items))
        _batches.append([0, sum(code == ReserveCode.ACCEPTED for code, _ in codes)])
        return codes

    def call_and_pass(self: Wire, commands: Any, timeout_seconds: float) -> Any:
        answers = call(self, commands, timeout_seconds)
        if _reserving.get():  # the batch is sent, its answer not read
            faults.passed("valkey.under_reservations")
        return answers

    Lane._reserve_call = reserve_and_pass  # type: ignore[method-assign]
    Wire.call = call_and_pass  # type: ignore[method-assign]


def _answers(faults: Faults) -> None:
    send = lane._send

    async def send_and_pass(to: Any, answer: Any, headers: Any) -> None:
        await send(to, answer, headers)
        while _batches and _batches[0][0] >= _batches[0][1]:
            _batches.popleft()
        if answer.status != 202 or not _batches:
            return
        batch = _batches[0]
        batch[0] += 1
        if batch[0] < batch[1]:
            faults.passed("web.mid_batch", answered=batch[0], batch=batch[1])

    lane._send = send_and_pass  # type: ignore[assignment]


def _ids(faults: Faults) -> None:
    def bytes_of(*, salt: bytes, user_id: int, key: str) -> bytes:
        if faults.guard_is_off("web.id_follows_key"):
            return os.urandom(16)
        return reservation_bytes(salt=salt, user_id=user_id, key=key)

    lane.reservation_bytes = bytes_of  # type: ignore[attr-defined]
