"""What happens to buffered lines when a process forks, is told to end, or ends."""

import os
import signal
import sys
import weakref
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Protocol


class Buffered(Protocol):
    """A handler that keeps lines for a while."""

    path: str

    def dropped(self) -> dict[str, int]: ...
    def start_flush(self) -> None: ...
    def flush(self, timeout_seconds: float | None = None) -> bool: ...
    def forget_parent(self) -> None: ...


_handlers: "weakref.WeakSet[Buffered]" = weakref.WeakSet()
_SIGTERM_FLUSH_SECONDS = 2.0
# multiprocessing's children, and those of Celery's fork of it, leave through os._exit() and run no atexit
# function; the finalizers of these modules they do run.
_FINALIZER_MODULES = ("multiprocessing.util", "billiard.util")


def register(handler: Buffered) -> None:
    """Make a handler part of fork, flush_all and drop_counts, for as long as it lives."""
    _handlers.add(handler)


def drop_counts() -> dict[str, dict[str, int]]:
    """Return, for each log file of this process, how many records of each class were dropped."""
    counts: dict[str, dict[str, int]] = {}
    for handler in list(_handlers):
        of_path = counts.setdefault(handler.path, {})
        for kind, count in handler.dropped().items():
            of_path[kind] = of_path.get(kind, 0) + count
    return counts


def flush_all(timeout_seconds: float = _SIGTERM_FLUSH_SECONDS) -> bool:
    """Write out every handler's lines; return False when some were not written in time."""
    deadline = monotonic() + timeout_seconds
    handlers = list(_handlers)
    for handler in handlers:
        handler.start_flush()
    results = [handler.flush(max(0.0, deadline - monotonic())) for handler in handlers]
    return all(results)


def flush_at_child_exit() -> None:
    """Have flush_all run when a child process of multiprocessing or billiard ends."""
    for name in _FINALIZER_MODULES:
        module = sys.modules.get(name)
        if module is not None:
            # The lowest priority: other finalizers may log.
            module.Finalize(None, flush_all, exitpriority=-1_000)


class _SigtermFlush:
    """Flushes, then does what SIGTERM would have done without it."""

    def __init__(self, previous: Callable[[int, FrameType | None], object] | int) -> None:
        self._previous = previous

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        flush_all()
        if callable(self._previous):
            self._previous(signum, frame)
        elif self._previous == signal.SIG_DFL:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)


def install_sigterm_flush() -> bool:
    """Flush all handlers on SIGTERM, then go on with the handler from before, or end as by default.

    For processes that SIGTERM would end without atexit; a server that turns the signal into a normal exit
    needs no such hook. Returns False, and changes nothing, off the main thread and where the present
    handler was not set from Python, since neither can be chained.
    """
    previous = signal.getsignal(signal.SIGTERM)
    if isinstance(previous, _SigtermFlush):
        return True
    if previous is None:
        return False
    try:
        signal.signal(signal.SIGTERM, _SigtermFlush(previous))
    except ValueError:
        return False
    return True


def _forget_parent() -> None:
    for handler in list(_handlers):
        handler.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
