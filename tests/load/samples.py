"""What is read once a second during a run: units left, answers so far, CPU and memory of the servers."""

import json
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from bench.cpu import Usage, usage
from tests.load.outcomes import Recorder
from tests.load.shop_api import ShopApi

PERIOD_SECONDS = 1.0
GC_LINE = re.compile(rb'^python_gc_collections_total\{generation="(\d)"[^}]*\} ([0-9.e+]+)', re.MULTILINE)


class Sampler:
    """A thread that takes a sample a second and keeps them all.

    pids: process ids by name; descendants count with their parent. Its HTTP calls are its own, not the load's.
    """

    def __init__(self, *, url: str, campaign_id: int, pids: Mapping[str, int], recorder: Recorder) -> None:
        self.samples: list[dict[str, Any]] = []
        self.gc_reason: str | None = None
        self._api = ShopApi(url)
        self._campaign_id, self._pids, self._recorder = campaign_id, dict(pids), recorder
        self._stop = threading.Event()
        self._before: dict[str, Usage] = {}
        self._thread = threading.Thread(target=self._work, name="load-sampler", daemon=True)

    def start(self) -> None:
        """Take the first sample and go on every second."""
        self._started = self._last = time.perf_counter()
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end."""
        self._stop.set()
        self._thread.join(timeout=30)
        self._api.close()

    def _work(self) -> None:
        due = self._started
        while True:
            self._take()
            due += PERIOD_SECONDS
            if self._stop.wait(max(due - time.perf_counter(), 0.0)):
                self._take()
                return

    def _take(self) -> None:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        recorder = self._recorder
        self.samples.append(
            {
                "second": round(now - self._started, 3),
                "answers": recorder.answers,
                "accepted": recorder.accepted,
                "errors": sum(recorder.errors.values()),
                "left": self._left(),
                "processes": {name: self._usage(name, pid, seconds) for name, pid in self._pids.items()},
                "gc": self._gc(),
            }
        )

    def _left(self) -> int | None:
        try:
            live = self._api.live(self._campaign_id)
        except (OSError, json.JSONDecodeError):
            return None
        left = live.get("left") if live else None
        return left if isinstance(left, int) else None

    def _usage(self, name: str, pid: int, seconds: float) -> dict[str, float | int | None]:
        now, before = usage([pid]), self._before.get(name)
        self._before[name] = now
        percent = None if before is None or seconds <= 0 else round(now.since(before) / seconds * 100, 1)
        return {"cpu_percent": percent, "cpu_seconds": round(now.cpu_seconds, 3), "rss_bytes": now.rss_bytes}

    def _gc(self) -> dict[str, int] | None:
        """Return collections by generation as the web process exports them, None where it does not."""
        if self.gc_reason is not None:
            return None
        try:
            status, body = self._api.get("/metrics")
        except OSError as error:
            status, body = 0, str(error).encode()
        found = {f"generation_{name.decode()}": int(float(value)) for name, value in GC_LINE.findall(body)}
        if not found and not self.samples:
            self.gc_reason = f"/metrics answered {status} and exports no python_gc_collections_total"
        return found or None


def series(samples: list[dict[str, Any]]) -> list[dict[str, float | int | None]]:
    """Return the sell-out curve: for every sample its second, units left, accepted and answers per second."""
    rows, before = [], None
    for sample in samples:
        width = sample["second"] - before["second"] if before else 0.0
        rows.append(
            {
                "second": sample["second"],
                "left": sample["left"],
                "accepted_per_second": _rate(sample, before, "accepted", width),
                "answers_per_second": _rate(sample, before, "answers", width),
            }
        )
        before = sample
    return rows


def _rate(sample: dict[str, Any], before: dict[str, Any] | None, name: str, width: float) -> float | None:
    return round((sample[name] - before[name]) / width, 1) if before and width > 0 else None
