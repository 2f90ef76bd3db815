"""The bounded buffer between the threads that log and the one that writes."""

import threading
from collections import deque

from shop.observability.logs.formatting import Entry

# What is counted apart when it is dropped: below WARNING, WARNING up to ERROR, ERROR and above.
DROP_CLASSES = ("info", "warning", "error")
WARNING_LEVEL = 30
ERROR_LEVEL = 40


def drop_class(levelno: int) -> str:
    """Return under which of DROP_CLASSES a level is counted."""
    if levelno < WARNING_LEVEL:
        return "info"
    return "warning" if levelno < ERROR_LEVEL else "error"


class RecordBuffer:
    """Holds entries in two queues, so that a warning finds the oldest lesser entry to evict at once.

    Callers append without a lock (a deque's append and popleft are atomic), hence the bound may be passed
    by as many entries as threads are between test and append. The lock guards the counts alone, and only
    callers whose entry is dropped take it. It is re-entrant, because a signal handler or a finalizer may
    log while its own thread holds it.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.lesser: deque[Entry] = deque()
        self.urgent: deque[Entry] = deque()
        self.dropped = dict.fromkeys(DROP_CLASSES, 0)
        self._count_lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.lesser) + len(self.urgent)

    def put_urgent(self, entry: Entry, levelno: int) -> None:
        """Append an entry of WARNING or above; when full it takes the oldest lesser entry's place."""
        if len(self) < self.capacity:
            self.urgent.append(entry)
            return
        try:
            self.lesser.popleft()
        except IndexError:
            self.count_dropped(drop_class(levelno))
        else:
            self.urgent.append(entry)
            self.count_dropped("info")

    def count_dropped(self, kind: str) -> None:
        """Count one dropped record of a class."""
        with self._count_lock:
            self.dropped[kind] += 1

    def take(self, limit: int) -> list[Entry]:
        """Remove and return up to limit entries, in the order of their calls. For one thread at a time."""
        lesser, urgent = self.lesser, self.urgent
        taken: list[Entry] = []
        mixed = False
        while len(taken) < limit:
            try:
                if urgent and (not lesser or urgent[0] < lesser[0]):
                    taken.append(urgent.popleft())
                    mixed = True
                else:
                    taken.append(lesser.popleft())
            except IndexError:
                # Empty, unless a caller evicted the entry between the test and here.
                if not self:
                    break
        if mixed:
            # An entry that came while the heads were compared may stand one place off.
            taken.sort()
        return taken

    def drop_all(self) -> None:
        """Drop and count what is left."""
        for queue in (self.lesser, self.urgent):
            while True:
                try:
                    entry = queue.popleft()
                except IndexError:
                    break
                self.count_dropped(drop_class(entry[2]))
