"""What the clients saw: every answer counted and timed by outcome, and the history that the check needs."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.load.wire import Request, json_text

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
RETRIED_CODES = {b"seckill.busy", b"seckill.unknown", b"seckill.unavailable"}
# Answered before anything was written, so the reservation cannot exist.
UNTOUCHED_CODES = {b"seckill.paused", b"seckill.busy"}
LONGEST_RETRY_SECONDS = 5.0
RETRY_SECONDS = 0.2
# The sale itself decided: the account's demand was met or refused for stock or limit.
DECIDED_CODES = {b"seckill.sold_out", b"seckill.limit_reached"}


def percentile(ordered: "array[float] | list[float]", percent: float) -> float:
    """Return the smallest value that at least `percent` % of the sorted values do not exceed (nearest rank)."""
    if not ordered:
        raise ValueError("no values")
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(int(rank), 1) - 1]


def summary_ms(seconds: Iterable[float]) -> dict[str, float]:
    """Return count, min, mean, max and the percentiles, in milliseconds, of latencies in seconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {"count": 0}
    figures = {
        "count": len(ordered),
        "min_ms": ordered[0] * 1e3,
        "mean_ms": sum(ordered) / len(ordered) * 1e3,
        "max_ms": ordered[-1] * 1e3,
    }
    for percent in PERCENTILES:
        figures[f"p{percent:g}_ms"] = percentile(ordered, percent) * 1e3
    return {name: value if name == "count" else round(value, 3) for name, value in figures.items()}


@dataclass
class History:
    """The clients' own record of a run; accounts are positions in the list of accounts."""

    accepted: list[tuple[str, int]] = field(default_factory=list)  # (reservation id, account)
    decided: Counter[int] = field(
        default_factory=Counter
    )  # account → requests the sale answered, won or refused
    open_ended: Counter[int] = field(
        default_factory=Counter
    )  # account → requests that may have been accepted unseen
    unanswered: int = 0  # requests without any answer after the last repeat


class Recorder:
    """Counts and times answers while the run goes on."""

    def __init__(self, *, retries: int) -> None:
        self.retries = retries
        self.history = History()
        self.latencies: dict[str, array[float]] = {}
        self.errors: Counter[str] = Counter()
        self.answers = 0
        self.accepted = 0
        self.replayed = 0
        self.repeats = 0
        self.finished = 0
        self._by_key: dict[tuple[int, bytes], array[float]] = {}
        self._accepted_times = self._times(202, b"")
        self._replayed_times = self._times(202, b"replayed")

    def _times(self, status: int, code: bytes) -> "array[float]":
        found = self._by_key.get((status, code))
        if found is None:
            found = self._by_key[status, code] = array("d")
            self.latencies[_outcome_name(status, code)] = found
        return found

    def answer(self, request: Request, seconds: float, status: int, head: bytes, body: bytes) -> float | None:
        """Count one answer; return the seconds to wait before a repeat with the same key, None if it is final."""
        self.answers += 1
        if status == 202:
            self._accept(request, seconds, head, body)
            return None
        code = json_text(body, b"code")
        self._times(status, code).append(seconds)
        if status >= 500 and code not in UNTOUCHED_CODES:
            request.unsure = True
        if status == 503 and code in RETRIED_CODES and request.attempts < self.retries:
            self.repeats += 1
            return _wait_of(head)
        self.finished += 1
        if code in DECIDED_CODES:
            self.history.decided[request.account] += 1
        elif request.unsure:
            self.history.open_ended[request.account] += 1
        return None

    def _accept(self, request: Request, seconds: float, head: bytes, body: bytes) -> None:
        if b"idempotency-replayed: true" in head:
            self.replayed += 1
            self._replayed_times.append(seconds)
        else:
            self._accepted_times.append(seconds)
        self.accepted += 1
        self.finished += 1
        self.history.accepted.append((json_text(body, b"reservation_id").decode(), request.account))
        self.history.decided[request.account] += 1

    def error(self, request: Request, why: str) -> float | None:
        """Count a request whose connection failed; return the seconds before its repeat, None after the last."""
        self.errors[why] += 1
        request.unsure = True
        if request.attempts < self.retries:
            self.repeats += 1
            return RETRY_SECONDS
        self.finished += 1
        self.abandon(request)
        return None

    def abandon(self, request: Request) -> None:
        """Record that a request ended without an answer."""
        self.history.unanswered += 1
        self.history.open_ended[request.account] += 1

    def all_latencies(self) -> "array[float]":
        """Return the latencies of all answers, in seconds."""
        joined = array("d")
        for times in self.latencies.values():
            joined.extend(times)
        return joined

    def summaries(self) -> Mapping[str, dict[str, float]]:
        """Return count and latency figures by outcome, most frequent first, outcomes that never came left out."""
        rows = {name: summary_ms(times) for name, times in self.latencies.items() if times}
        return dict(sorted(rows.items(), key=lambda row: -row[1]["count"]))


def _outcome_name(status: int, code: bytes) -> str:
    if status == 202:
        return "202 replayed" if code else "202 accepted"
    return f"{status} {code.decode(errors='replace')}".rstrip()


def _wait_of(head: bytes) -> float:
    """Return how long a client waits: as Retry-After says, but never longer than it is sensible to test."""
    at = head.find(b"\r\nretry-after:")
    if at < 0:
        return RETRY_SECONDS
    word = head[at + 14 :].split(b"\r", 1)[0].strip()
    return min(float(word), LONGEST_RETRY_SECONDS) if word.isdigit() else RETRY_SECONDS
