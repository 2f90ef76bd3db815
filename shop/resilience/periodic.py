"""A thread that does the same duty again and again."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("shop.resilience.periodic")


class PeriodicThread(threading.Thread):
    """Runs `work` every `interval_seconds`; a turn that fails is logged and the next one comes all the same."""

    def __init__(self, name: str, work: Callable[[], object], *, interval_seconds: float) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._interval_seconds = interval_seconds
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                self._work()
            except Exception:
                logger.exception("%s failed and is tried again", self.name)
            self._stop_asked.wait(self._interval_seconds)

    def terminate(self) -> None:
        """Ask the thread to end after the turn in hand."""
        self._stop_asked.set()
