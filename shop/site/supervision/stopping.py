"""Signals of the supervisor: who asks it to stop, and what wakes it."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """Somebody asked to stop. Not an Exception: nothing between here and the supervisor may handle it."""


class StopSignals:
    """While active, Ctrl-C, SIGTERM and a closed terminal are counted instead of obeyed.

    An end of a child wakes `wait` too. Only for the main thread.
    """

    def __init__(self) -> None:
        self.count = 0
        self._interrupting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in STOPPING:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started with nohup
            self._before[number] = signal.signal(number, self._stop_asked)
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._reading)
        os.close(self._writing)

    def _stop_asked(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self._interrupting:
            self._interrupting = False
            raise StopRequested

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal interrupt the work inside, at any point of it.

        :raises StopRequested: somebody asked to stop, before or inside
        """
        self._interrupting = True
        try:
            self.check()
            yield
        finally:
            self._interrupting = False

    def check(self) -> None:
        """Raise where somebody has asked to stop.

        :raises StopRequested: somebody has
        """
        if self.count:
            raise StopRequested

    def wait(self, seconds: float) -> None:
        """Sleep until a signal comes, at most this long."""
        ready, _, _ = select.select([self._reading], [], [], max(0.0, seconds))
        if ready:
            os.read(self._reading, 4096)
