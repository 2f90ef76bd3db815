"""The report of a run: a verdict for people, everything as JSON for programs."""

import bisect
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.load.options import Options
from tests.load.outcomes import Recorder, summary_ms
from tests.load.run import Timing
from tests.load.samples import Sampler, series
from tests.load.verdict import Check, exit_code

HISTOGRAM_BOUNDS_MS = (
    0.5,
    1,
    2,
    3,
    5,
    7.5,
    10,
    15,
    20,
    30,
    50,
    75,
    100,
    150,
    200,
    300,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
)
COLUMNS = ("count", "mean_ms", "p50_ms", "p95_ms", "p99_ms", "p99.9_ms", "max_ms")


@dataclass(frozen=True)
class Figures:
    """The numbers of a run, before they are judged."""

    outcomes: dict[str, dict[str, float]]
    overall: dict[str, float]
    qps: float
    accepted_per_second: float


def figures(recorder: Recorder, timing: Timing) -> Figures:
    """Summarise what the recorder holds."""
    return Figures(
        outcomes=dict(recorder.summaries()),
        overall=summary_ms(recorder.all_latencies()),
        qps=recorder.answers / timing.seconds,
        accepted_per_second=recorder.accepted / timing.seconds,
    )


def histogram(seconds: Iterable[float]) -> list[dict[str, float | int | None]]:
    """Return counts by upper bound in milliseconds; the last has none."""
    counts = [0] * (len(HISTOGRAM_BOUNDS_MS) + 1)
    for value in seconds:
        counts[bisect.bisect_left(HISTOGRAM_BOUNDS_MS, value * 1e3)] += 1
    bounds: list[float | None] = [*HISTOGRAM_BOUNDS_MS, None]
    return [{"to_ms": bound, "count": count} for bound, count in zip(bounds, counts, strict=True)]


def commit() -> str | None:
    """Return the commit of the checkout, None outside one."""
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def environment() -> dict[str, Any]:
    """Describe the machine that the driver ran on."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "commit": commit(),
    }


def report_json(
    *,
    options: Options,
    target: dict[str, Any],
    recorder: Recorder,
    timing: Timing,
    numbers: Figures,
    checks: Sequence[Check],
    sampler: Sampler,
    ended_at: datetime,
) -> dict[str, Any]:
    """Return everything about the run, JSON-ready; times are seconds unless a name says ms."""
    return {
        "verdict": {"ok": exit_code(checks) == 0, "checks": [asdict(check) for check in checks]},
        "ended_at": ended_at.astimezone(UTC).isoformat(),
        "target": target,
        "options": {name: value for name, value in asdict(options).items() if name != "json_path"},
        "environment": environment(),
        "qps": round(numbers.qps, 2),
        "accepted_per_second": round(numbers.accepted_per_second, 2),
        "all": numbers.overall,
        "outcomes": numbers.outcomes,
        "histogram": histogram(recorder.all_latencies()),
        "connection_errors": dict(recorder.errors),
        "counts": _counts(recorder, timing),
        "run_seconds": round(timing.seconds, 3),
        "stopped_by": timing.stopped_by,
        "driver_cpu_us_per_request": round(timing.driver_cpu_seconds / max(recorder.answers, 1) * 1e6, 1),
        "curve": series(sampler.samples),
        "samples": sampler.samples,
        "gc_missing_because": sampler.gc_reason,
        "reservations": [
            {"reservation_id": name, "account": who + 1} for name, who in recorder.history.accepted
        ],
    }


def _counts(recorder: Recorder, timing: Timing) -> dict[str, int]:
    return {
        "issued": timing.issued,
        "answers": recorder.answers,
        "accepted": recorder.accepted,
        "replayed": recorder.replayed,
        "repeats": recorder.repeats,
        "unanswered": recorder.history.unanswered,
        "reconnects": timing.reconnects,
        "arrivals_that_waited": timing.late_arrivals,
        "arrivals_given_up": timing.given_up,
    }


def report_write(path: Path, report: dict[str, Any]) -> None:
    """Write the JSON report, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n")


def report_text(report: dict[str, Any], *, colour: bool) -> str:
    """Return the summary for a terminal: verdict first, then numbers."""
    verdict, lines = report["verdict"], []
    lines.append(_mark(verdict["ok"], "the run held" if verdict["ok"] else "BREACH", colour))
    for check in verdict["checks"]:
        wanted = "" if check["ok"] else f"  (wanted {check['wanted']})"
        lines.append("  " + _mark(check["ok"], f"{check['name']}: {check['found']}{wanted}", colour))
    counts = report["counts"]
    lines.append("")
    lines.append(
        f"{counts['answers']} answers in {report['run_seconds']:.2f} s: {report['qps']:.1f}/s, "
        f"accepted {report['accepted_per_second']:.1f}/s; seed {report['options']['seed']}; "
        f"driver {report['driver_cpu_us_per_request']:.0f} µs CPU a request"
    )
    lines.append(
        f"repeats {counts['repeats']}, replayed {counts['replayed']}, connection errors "
        f"{sum(report['connection_errors'].values())}, unanswered {counts['unanswered']}"
    )
    if report["options"]["open_loop"]:
        waited, given_up = counts["arrivals_that_waited"], counts["arrivals_given_up"]
        lines.append(f"open loop: {waited} arrivals waited for a connection, {given_up} gave up")
    lines += ["", *_table({"all": report["all"], **report["outcomes"]}), "", *_servers(report)]
    return "\n".join(lines) + "\n"


def _mark(ok: bool, text: str, colour: bool) -> str:
    sign = "✓" if ok else "✗"
    return f"\x1b[{32 if ok else 31}m{sign}\x1b[0m {text}" if colour else f"{sign} {text}"


def _table(rows: dict[str, dict[str, float]]) -> list[str]:
    width = max(len(name) for name in rows)
    heads = "".join(f"{name.removesuffix('_ms'):>10}" for name in COLUMNS)
    lines = [f"{'latency in ms':<{width + 2}}{heads}"]
    for name, row in rows.items():
        cells = "".join(f"{row.get(column, 0):>10.{0 if column == 'count' else 2}f}" for column in COLUMNS)
        lines.append(f"{name:<{width + 2}}{cells}")
    return lines


def _servers(report: dict[str, Any]) -> list[str]:
    """Return a line a measured process: mean CPU and largest memory."""
    samples = report["samples"]
    names = samples[0]["processes"] if samples else {}
    lines = []
    for name in names:
        rows = [sample["processes"][name] for sample in samples]
        seconds = max(samples[-1]["second"] - samples[0]["second"], 1e-9)
        percent = (rows[-1]["cpu_seconds"] - rows[0]["cpu_seconds"]) / seconds * 100
        largest = max(row["rss_bytes"] for row in rows) / 2**20
        lines.append(f"{name}: {percent:.0f} % of a core, {largest:.0f} MiB at most")
    return lines or ["servers not measured: no running demo at this address and no --pid"]
