"""What a log call costs its caller: the buffered handler against the standard library's handlers.

    python -m bench.log_handler [--pairs 7] [--json FILE]
    python -m bench.log_handler --records      what making, and pooling, a record costs

Threads log in bursts, as requests do, with pauses between. Each ratio is given twice: "waits" is the wall
time of the calls, which is what a request pays and holds the wait for a lock and for the disk; "CPU" is the
callers' CPU time (`time.thread_time`), which neighbours on the machine change less, but in which a thread
that waits for FileHandler's lock costs nothing. "Whole process" (`time.process_time`) has the background
writer in it. Handlers take turns, A B C then C B A, and each ratio is the median of its rounds.
After each round the lines in the file are counted: a handler that lost a line has measured nothing, and the
run fails.
"""

import argparse
import gc
import json
import logging
import logging.handlers
import os
import queue
import statistics
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from shop.observability.logs import BufferedFileHandler
from shop.observability.logs.records import LeanLogRecord

CALLS_PER_THREAD = 1_000
CALLS_PER_BURST = 20
PAUSE_SECONDS = 0.004
THREADS = 8
# A latency run outlasts the buffer of 10,000 records, so that most calls of the stalled one find it full.
LATENCY_BURSTS = 40
LATENCY_CALLS_PER_BURST = 100
LATENCY_PAUSE_SECONDS = 0.004

OURS = "buffered"
SHIPPED = "buffered, as shipped"
NULL, FILE, MEMORY, QUEUE = "NullHandler", "FileHandler", "MemoryHandler", "QueueHandler"


@dataclass
class Cost:
    """Nanoseconds a log call: what the caller waits, of its CPU, and of the whole process's CPU."""

    wait_ns: float
    caller_ns: float
    process_ns: float


@dataclass
class Row:
    """One measured number beside what is wanted of it; wanted None is for information."""

    name: str
    measured: float
    wanted: float | None
    stretch: float | None = None

    def passed(self) -> bool | None:
        """Return whether the number is as wanted."""
        return None if self.wanted is None else self.measured <= self.wanted


class Subject:
    """A handler under measurement: made anew for each round, and asked for its lines afterwards."""

    def __init__(self, name: str, folder: Path) -> None:
        self.path = folder / f"{name.replace(', ', '-').replace(' ', '-')}.log"
        self.path.unlink(missing_ok=True)
        self.writes = name != NULL
        self.record_factory = LeanLogRecord if name == SHIPPED else logging.LogRecord
        self._finish: Callable[[], object] = lambda: None
        self.handler = self._make(name)
        self.logger = logging.Logger("bench.log_handler", logging.INFO)  # noqa: LOG001 - has no parents
        self.logger.addHandler(self.handler)

    def _make(self, name: str) -> logging.Handler:
        if name == NULL:
            return logging.NullHandler()
        if name in (OURS, SHIPPED):
            buffered = BufferedFileHandler(self.path)
            self._finish = buffered.flush
            return buffered
        target = logging.FileHandler(self.path, encoding="utf-8")
        target.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(process)d %(name)s %(message)s"))
        if name == FILE:
            return target
        if name == MEMORY:
            memory = logging.handlers.MemoryHandler(1_000, logging.WARNING, target)
            self._finish = memory.flush
            return memory
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        listener = logging.handlers.QueueListener(records, target)
        listener.start()
        self._finish = listener.stop
        return logging.handlers.QueueHandler(records)

    def finish(self) -> None:
        """Wait until every line is written."""
        self._finish()

    def lines(self) -> int:
        """Return how many lines the file holds."""
        return self.path.read_bytes().count(b"\n")


class LinesLost(Exception):
    """The file does not hold the lines that were logged."""


def _in_threads(threads: int, work: Callable[[int], None]) -> Callable[[], None]:
    """Start threads that wait at a barrier; return a call that lets them go and waits for their end."""
    barrier = threading.Barrier(threads + 1)

    def wait_and_work(index: int) -> None:
        barrier.wait()
        work(index)

    started = [threading.Thread(target=wait_and_work, args=(index,)) for index in range(threads)]
    for thread in started:
        thread.start()

    def go() -> None:
        barrier.wait()
        for thread in started:
            thread.join()

    return go


def measure_cost(name: str, threads: int, folder: Path) -> Cost:
    """Return what a call costs when each thread logs CALLS_PER_THREAD lines in bursts."""
    subject = Subject(name, folder)
    wait_ns, caller_ns = [0] * threads, [0] * threads
    info = subject.logger.info

    def work(index: int) -> None:
        for _ in range(CALLS_PER_THREAD // CALLS_PER_BURST):
            begun, cpu_begun = time.perf_counter_ns(), time.thread_time_ns()
            for number in range(CALLS_PER_BURST):
                info("reserved user=%s units=%d", "shopper", number)
            caller_ns[index] += time.thread_time_ns() - cpu_begun
            wait_ns[index] += time.perf_counter_ns() - begun
            time.sleep(PAUSE_SECONDS)

    logging.setLogRecordFactory(subject.record_factory)
    go = _in_threads(threads, work)
    gc.collect()
    begun = time.process_time_ns()
    go()
    subject.finish()
    process_ns = time.process_time_ns() - begun
    logging.setLogRecordFactory(logging.LogRecord)
    calls = threads * CALLS_PER_THREAD
    if subject.writes and subject.lines() != calls:
        raise LinesLost(f"{name}: {subject.lines()} lines of {calls}")
    subject.handler.close()
    return Cost(sum(wait_ns) / calls, sum(caller_ns) / calls, process_ns / calls)


def cost_rows(threads: int, pairs: int, folder: Path) -> list[Row]:
    """Return the ratios of all handlers on that many threads."""
    names = [NULL, OURS, SHIPPED, FILE, MEMORY, QUEUE]
    rounds: list[dict[str, Cost]] = []
    for number in range(pairs + 1):
        order = names if number % 2 else names[::-1]
        rounds.append({name: measure_cost(name, threads, folder) for name in order})
    del rounds[0]  # warms caches and the interpreter's specialised code

    def ratio(of: str, ours: str, other: str) -> float:
        ratios: list[float] = [getattr(turn[ours], of) / getattr(turn[other], of) for turn in rounds]
        return statistics.median(ratios)

    def both(ours: str, other: str, wanted: float | None, stretch: float | None = None) -> list[Row]:
        name = f"{on}: {ours} / {other}"
        return [
            Row(f"{name}, waits", ratio("wait_ns", ours, other), wanted, stretch),
            # What FileHandler makes its callers wait is not CPU: the judged number is the wait alone.
            Row(f"{name}, CPU", ratio("caller_ns", ours, other), wanted if other == NULL else None, stretch),
        ]

    on = _on(threads)
    of_file = 0.20 if threads > 1 else None
    rows = both(OURS, NULL, 1.5, 1.2) + both(SHIPPED, NULL, 1.5, 1.2)
    rows += both(OURS, FILE, of_file, 0.15) + both(SHIPPED, FILE, of_file, 0.15)
    rows += both(OURS, MEMORY, 1.0) + both(OURS, QUEUE, 1.0) + both(NULL, FILE, None)
    rows.append(Row(f"{on}: {OURS} / {FILE}, whole process", ratio("process_ns", OURS, FILE), 1.0))
    for name in names:
        wait = statistics.median(turn[name].wait_ns for turn in rounds) / 1_000
        rows.append(Row(f"{on}: {name}, wait in µs a call", wait, None))
    return rows


def _on(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"


def measure_p99_us(threads: int, folder: Path, stalled: bool) -> float:
    """Return the 99th percentile of a call's wall time, with the disk well or stalled throughout.

    All calls are accounted for afterwards: written, or counted as dropped.
    """
    healed = threading.Event()

    def stalled_write(fd: int, data: memoryview) -> int:
        healed.wait()
        return os.write(fd, data)

    path = folder / f"latency-{stalled}.log"
    path.unlink(missing_ok=True)
    handler = BufferedFileHandler(path, write=stalled_write)
    if not stalled:
        healed.set()
    logger = logging.Logger("bench.log_handler", logging.INFO)  # noqa: LOG001 - has no parents
    logger.addHandler(handler)
    latencies_ns: list[list[int]] = [[] for _ in range(threads)]
    bursts = LATENCY_BURSTS * THREADS // threads

    def work(index: int) -> None:
        note = latencies_ns[index].append
        for _ in range(bursts):
            for number in range(LATENCY_CALLS_PER_BURST):
                begun = time.perf_counter_ns()
                logger.info("reserved user=%s units=%d", "shopper", number)
                note(time.perf_counter_ns() - begun)
            time.sleep(LATENCY_PAUSE_SECONDS)

    _in_threads(threads, work)()
    healed.set()
    handler.flush(timeout_seconds=30)
    _check_accounted(handler, path, threads * bursts * LATENCY_CALLS_PER_BURST, stalled)
    handler.close()
    return statistics.quantiles([value for one in latencies_ns for value in one], n=100)[98] / 1_000


def _check_accounted(handler: BufferedFileHandler, path: Path, calls: int, stalled: bool) -> None:
    dropped = sum(handler.dropped().values())
    lines = path.read_bytes().splitlines()
    written = sum(b" reserved user=" in line for line in lines)
    if written + dropped != calls or bool(dropped) != stalled:
        raise LinesLost(f"{written} lines and {dropped} drops of {calls} calls, stalled={stalled}")


def latency_rows(threads: int, pairs: int, folder: Path) -> list[Row]:
    """Return the p99 with the disk stalled over the p99 with it well."""
    well: list[float] = []
    stalled: list[float] = []
    for number in range(pairs):
        for is_stalled in (False, True) if number % 2 else (True, False):
            (stalled if is_stalled else well).append(measure_p99_us(threads, folder, is_stalled))
    on = _on(threads)
    ratio = statistics.median(a / b for a, b in zip(stalled, well, strict=True))
    return [
        Row(f"{on}: p99, disk stalled / well", ratio, 2.0, 1.2),
        Row(f"{on}: p99 in µs, disk well", statistics.median(well), None),
        Row(f"{on}: p99 in µs, disk stalled", statistics.median(stalled), None),
    ]


def record_rows(pairs: int) -> list[Row]:
    """Return what a record costs to make: as the library does, lean, and from a pool."""
    arguments = ("bench", logging.INFO, __file__, 1, "units=%d", (7,), None, "record_rows")
    pool = [LeanLogRecord(*arguments)]

    def pooled() -> None:
        # The least a pool can cost: take, fill again, give back.
        record = pool.pop()
        record.__init__(*arguments)  # type: ignore[misc]
        pool.append(record)

    logger = logging.Logger("bench.log_handler", logging.INFO)  # noqa: LOG001 - has no parents
    logger.addHandler(logging.NullHandler())
    subjects: dict[str, Callable[[], object]] = {
        "LogRecord": lambda: logging.LogRecord(*arguments),
        "LeanLogRecord": lambda: LeanLogRecord(*arguments),
        "LeanLogRecord, pooled": pooled,
        "whole call to NullHandler": lambda: logger.info("units=%d", 7),
    }
    runs: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(pairs):
        for name, subject in subjects.items():
            runs[name].append(timeit.timeit(subject, number=20_000, timer=time.process_time) * 1e6 / 20_000)
    return [Row(f"{name}, µs", statistics.median(values), None) for name, values in runs.items()]


def show(rows: list[Row]) -> None:
    """Print one line a row: measured, wanted, and whether it is reached."""
    for row in rows:
        mark = {None: " ", True: "✓", False: "✗"}[row.passed()]
        wanted = "" if row.wanted is None else f"wanted ≤ {row.wanted:g}"
        stretch = f", best ≤ {row.stretch:g}" if row.wanted is not None and row.stretch else ""
        print(f"{mark} {row.name:<62}{row.measured:>8.2f}  {wanted}{stretch}")


def main() -> int:
    """Measure and print; return 1 when lines were lost, so that the numbers mean nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="rounds a ratio is the median of (at least 5)")
    parser.add_argument("--records", action="store_true", help="measure records and their pooling only")
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    options = parser.parse_args()
    pairs = max(5, options.pairs)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if options.records:
                rows = record_rows(pairs)
            else:
                rows = cost_rows(1, pairs, folder) + cost_rows(THREADS, pairs, folder)
                rows += latency_rows(1, pairs, folder) + latency_rows(THREADS, pairs, folder)
    except LinesLost as error:
        print(f"✗ lines lost: {error}", file=sys.stderr)
        return 1
    show(rows)
    if not options.records:
        print("✓ lines in each file = calls made; where the disk was stalled, lines + counted drops = calls")
    if options.json:
        report = [asdict(row) | {"passed": row.passed()} for row in rows]
        options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
