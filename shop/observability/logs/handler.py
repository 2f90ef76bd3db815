"""A logging handler whose callers never touch the disk."""

import logging
import os
import threading
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from shop.observability.logs import lifecycle
from shop.observability.logs.buffer import WARNING_LEVEL, RecordBuffer, drop_class
from shop.observability.logs.formatting import Entry, LineFormatter, message_text, record_detail
from shop.observability.logs.records import install_lean_records
from shop.observability.logs.request_id import request_id_var
from shop.observability.logs.sink import AppendFile
from shop.observability.logs.writer import BatchWriter

# Arguments of exactly these types cannot change after the call, so their formatting can wait for the
# writer. A subclass may bring a __str__ that changes, hence a type and not an isinstance test.
_FROZEN_TYPES = frozenset(
    {str, int, float, bool, type(None), bytes, Decimal, datetime, date, time, timedelta, UUID}
)
_WAIT_SECONDS = 2.0  # how long flush() and close() wait for a stalled disk


def _is_frozen(args: object) -> bool:
    # A loop, for it is shorter by a third than issuperset(map(type, args)) for one to three arguments.
    if type(args) is not tuple:
        return False
    for argument in args:  # noqa: SIM110 - all() would make a generator
        if type(argument) not in _FROZEN_TYPES:
            return False
    return True


class BufferedFileHandler(logging.Handler):
    """Appends records to memory; a thread of its own writes them to a file shared with other processes.

    A log call never waits for the disk, takes no lock unless its record is dropped, and never raises. When
    the disk does not keep up the buffer fills: records below WARNING are dropped first, all drops are
    counted by class and told in the file once there is room.
    """

    _closed: bool

    def __init__(
        self,
        path: str | os.PathLike[str],
        level: int | str = logging.NOTSET,
        *,
        flush_records: int = 1_000,
        flush_seconds: float = 0.5,
        capacity: int | None = None,
        flush_on_sigterm: bool = False,
        lean_records: bool = False,
        write: Callable[[int, memoryview], int] = os.write,
    ) -> None:
        """Prepare the handler; the file is opened, and the thread started, by the first record.

        flush_records: the writer is woken when that many records wait, and writes that many at once.
        capacity: records held before drops begin; 10 * flush_records by default.
        flush_on_sigterm: call install_sigterm_flush. lean_records: call install_lean_records.
        write: os.write, or a faulty one in tests.
        :raises ValueError: a bound that is not positive, or a capacity below flush_records
        """
        capacity = 10 * flush_records if capacity is None else capacity
        if flush_records < 1 or flush_seconds <= 0 or capacity < flush_records:
            raise ValueError("flush_records and flush_seconds must be positive, capacity >= flush_records")
        super().__init__(level)
        self.path = os.path.abspath(os.fspath(path))
        self._flush_records = flush_records
        self._flush_seconds = flush_seconds
        self._capacity = capacity
        self._write = write
        self._begin()
        lifecycle.register(self)
        if flush_on_sigterm:
            lifecycle.install_sigterm_flush()
        if lean_records:
            install_lean_records()

    def createLock(self) -> None:
        """Go without the lock of other handlers: nothing here needs it."""
        self.lock = None

    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        """Accept only the formatter whose lines this handler writes anyway.

        :raises ValueError: another formatter, whose lines could be forged
        """
        if fmt is not None and type(fmt) is not LineFormatter:
            raise ValueError("BufferedFileHandler writes the lines of LineFormatter only")
        super().setFormatter(fmt)

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep what the record says now, for the writer; return whether the filters let it pass."""
        try:
            if self.filters and not self.filter(record):
                return False
            msg: Any = record.msg
            args: Any = record.args
            if type(msg) is not str or (args and not _is_frozen(args)):
                msg, args = message_text(msg, args), None
            detail = None
            if record.exc_info or record.exc_text or record.stack_info:
                detail = record_detail(record)
            levelno = record.levelno
            entry: Entry = (
                next(self._sequence),
                record.created,
                levelno,
                record.name,
                request_id_var.get(),
                msg,
                args,
                detail,
            )
            waiting = len(self._lesser) + len(self._urgent)
            if levelno < WARNING_LEVEL and waiting < self._room:
                self._lesser.append(entry)
                if waiting >= self._flush_records:
                    self._writer.wake()
            else:
                self._put_slowly(entry, levelno)
        except Exception:  # noqa: BLE001 - whatever fails here, the caller's work goes on
            self._buffer.count_dropped(drop_class(record.levelno))
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record for the writer."""
        self.handle(record)

    def dropped(self) -> dict[str, int]:
        """Return how many records were dropped, by class: info (below WARNING), warning, error."""
        return dict(self._buffer.dropped)

    def written(self) -> int:
        """Return how many records this process has written."""
        return self._writer.written

    def write_errors(self) -> int:
        """Return how many times the disk refused a batch."""
        return self._writer.write_errors

    def start_flush(self) -> None:
        """Wake the writer, without waiting for it."""
        self._writer.wake()

    def flush(self, timeout_seconds: float | None = None) -> bool:  # type: ignore[override]
        """Wait until what was logged before this call is written; return False when it was not in time."""
        if self._thread is None or self._closed:
            return not self._buffer
        in_time = self._writer.wait_written(_WAIT_SECONDS if timeout_seconds is None else timeout_seconds)
        self._stalled = not in_time
        return in_time and self._writer.is_clean()

    def close(self) -> None:
        """Write what is left, end the thread and close the file; a record after this is written at once."""
        if self._closed:
            return
        self._closed = True
        self._writer.close_soon()
        if self._thread is not None and self._thread.is_alive():
            # logging.shutdown flushes before it closes: a disk found stalled then is not waited for again.
            self._thread.join(0.0 if self._stalled else _WAIT_SECONDS)
        self._room = 0
        self._drain_here()
        super().close()

    def forget_parent(self) -> None:
        """Start anew in a forked child: what the parent buffered, the parent writes."""
        closed = self._closed
        self._writer.close_file()
        self._begin()
        self._closed = closed

    def _begin(self) -> None:
        self._sequence = count(1)
        self._buffer = RecordBuffer(self._capacity)
        # Read on every call, and one attribute is cheaper than two.
        self._lesser, self._urgent = self._buffer.lesser, self._buffer.urgent
        sink = AppendFile(Path(self.path), self._write)
        self._writer = BatchWriter(self._buffer, sink, self.path, self._flush_records)
        self._thread: threading.Thread | None = None
        self._room = 0  # records that may wait: none yet, for the first one must start the writer
        self._closed = False
        self._stalled = False
        # Re-entrant: a signal handler may log while its own thread is starting the writer.
        self._start_lock = threading.RLock()

    def _put_slowly(self, entry: Entry, levelno: int) -> None:
        """Append an urgent entry, or one that finds no writer running; drop one that finds no room."""
        if levelno >= WARNING_LEVEL:
            self._buffer.put_urgent(entry, levelno)
        elif len(self._buffer) < self._capacity:
            self._lesser.append(entry)
        else:
            self._buffer.count_dropped("info")
        if self._closed:
            self._drain_here()
        elif (self._thread is not None or self._start_writer()) and levelno >= WARNING_LEVEL:
            self._writer.wake()

    def _start_writer(self) -> bool:
        with self._start_lock:
            if self._thread is not None:
                return True
            name = f"log-writer-{Path(self.path).stem}"
            # A daemon: a writer stuck on a dead disk must not keep the process; close() waits long enough.
            self._thread = threading.Thread(
                target=self._writer.run, args=(self._flush_seconds,), name=name, daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:  # no thread to be had now; the record waits in the buffer
                self._thread = None
                return False
            self._room = self._capacity
            lifecycle.flush_at_child_exit()
            return True

    def _drain_here(self) -> None:
        """Write, after close, in the calling thread; drop and count what cannot be written."""
        with self._start_lock:
            if self._thread is None or not self._thread.is_alive():
                self._writer.drain()
                self._writer.close_file()
            self._writer.abandon()
