"""The one thread of a handler that formats and writes."""

import sys
import threading
from collections import deque
from contextlib import suppress
from time import monotonic, time

from shop.observability.logs.buffer import DROP_CLASSES, RecordBuffer, drop_class
from shop.observability.logs.formatting import Entry, LineComposer
from shop.observability.logs.sink import AppendFile

_NOTICE_LOGGER = "shop.observability.logs"
_WARNING = 30


class BatchWriter:
    """Drains the buffer every interval, and at once when woken.

    A batch that the disk refuses is kept and tried again; meanwhile the buffer fills and then drops. Takes
    no lock that a caller may hold, so a signal handler can wait for it wherever it interrupted the caller.
    """

    def __init__(self, buffer: RecordBuffer, sink: AppendFile, name: str, batch_records: int) -> None:
        self.written = 0
        self.write_errors = 0
        self.last_error: BaseException | None = None
        self._buffer = buffer
        self._sink = sink
        self._name = name
        self._batch_records = batch_records
        self._composer = LineComposer()
        self._unwritten = b""
        self._unwritten_entries: list[Entry] = []
        self._reported = 0
        self._closing = False
        self._flush_waiters: deque[threading.Lock] = deque()
        # A lock used as a binary semaphore: unlike an Event, waking needs no second lock, and so it may
        # happen inside a signal handler that interrupted another waking.
        self._wake = threading.Lock()
        self._wake.acquire()

    def run(self, interval_seconds: float) -> None:
        """Write until close is asked for; then write what is left and close the file."""
        closing = False
        while not closing:
            self._wake.acquire(timeout=interval_seconds)
            closing = self._closing
            waiters = [self._flush_waiters.popleft() for _ in range(len(self._flush_waiters))]
            self.drain()
            for waiter in waiters:
                waiter.release()
        self.close_file()

    def wake(self) -> None:
        """Let the thread drain now; costs nothing when it is awake already."""
        if self._wake.locked():
            with suppress(RuntimeError):  # another thread woke it in between
                self._wake.release()

    def close_soon(self) -> None:
        """Ask the thread to end after one more drain."""
        self._closing = True
        self.wake()

    def wait_written(self, timeout_seconds: float) -> bool:
        """Wait until the thread has tried to write all that was logged before; return False if it is late."""
        deadline = monotonic() + timeout_seconds
        waiter = threading.Lock()
        waiter.acquire()
        self._flush_waiters.append(waiter)
        self.wake()
        return waiter.acquire(timeout=max(0.0, deadline - monotonic()))

    def is_clean(self) -> bool:
        """Return whether the last batch reached the file."""
        return not self._unwritten

    def drain(self) -> bool:
        """Write everything buffered; return False when the disk refuses. Never raises.

        Called by the thread, or by whoever closes once the thread is gone.
        """
        try:
            while self._unwritten or self._next_batch():
                self._unwritten = self._sink.append(self._unwritten)
                if self._unwritten:
                    raise OSError("short write")
                self.written += len(self._unwritten_entries)
                self._unwritten_entries = []
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever the disk does
            self.write_errors += 1
            self._tell_once(error)
            return False
        self.last_error = None
        return True

    def close_file(self) -> None:
        """Close the file. Never raises."""
        try:
            self._sink.close()
        except OSError as error:  # a network file system may tell of a lost write only now
            self.write_errors += 1
            self._tell_once(error)

    def abandon(self) -> None:
        """Drop and count what could not be written."""
        for entry in self._unwritten_entries:
            self._buffer.count_dropped(drop_class(entry[2]))
        self._unwritten, self._unwritten_entries = b"", []
        self._buffer.drop_all()

    def _next_batch(self) -> bool:
        entries = self._buffer.take(self._batch_records)
        notice = self._drop_notice()
        if notice is None and not entries:
            return False
        self._unwritten, self._unwritten_entries = self._compose(entries)
        if notice is not None:
            self._unwritten += self._composer.compose([notice])
        return True

    def _compose(self, entries: list[Entry]) -> tuple[bytes, list[Entry]]:
        """Return the lines, and the entries that have one."""
        try:
            return self._composer.compose(entries), entries
        except Exception:  # noqa: BLE001 - one entry is broken: its time is no time, say
            lines: list[bytes] = []
            sound: list[Entry] = []
        for entry in entries:
            try:
                lines.append(self._composer.compose([entry]))
                sound.append(entry)
            except Exception:  # noqa: BLE001 - it must not take its neighbours along
                self._buffer.count_dropped(drop_class(entry[2]))
        return b"".join(lines), sound

    def _drop_notice(self) -> Entry | None:
        """Return the line that tells how many records were dropped since the last such line."""
        dropped = dict(self._buffer.dropped)
        count = sum(dropped.values()) - self._reported
        if not count:
            return None
        self._reported += count
        totals = " ".join(f"{kind}={dropped[kind]}" for kind in DROP_CLASSES)
        message = f"dropped {count} records (in all {totals})"
        return 0, time(), _WARNING, _NOTICE_LOGGER, "-", message, None, None

    def _tell_once(self, error: Exception) -> None:
        """Say on standard error that lines are not reaching the disk, once until they do again."""
        if self.last_error is None:
            # When standard error fails too nowhere is left to tell it; write_errors counts it.
            with suppress(Exception):
                sys.stderr.write(f"log {self._name} cannot be written: {error!r}; records wait in memory\n")
        self.last_error = error
