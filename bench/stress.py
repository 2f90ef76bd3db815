"""S15 and S17, each measured by a program of its own: the log handler, and the classic stress run on a demo."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.rows import Row, not_measured
from bench.servers import BUILT, ROOT, SpecServer
from bench.stack import NOT_INHERITED
from bench.turns import ProofFailed, Say
from shop.site.demo_state import read_demo_state
from shop.site.supervision.processes import ProcessSpec, Started
from tests.services.processes import free_port

LOG_SECONDS = 1_800
DEMO_START_SECONDS = 120
STRESS_SECONDS = 300
# 100 clients, 10,000 requests, 1,000 a second, one minute at most: what shops of this kind are shown with.
STRESS = ("--users", "100", "--requests", "10000", "--qps", "1000", "--seconds", "60")


def _program(words: list[str], *, environment: dict[str, str] | None = None, timeout_seconds: int) -> None:
    """Run a module of this project to its end.

    :raises ProofFailed: it ended with another code than 0, that is, its own checks did not hold
    """
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    if done.returncode != 0:
        tail = " ".join((done.stdout + done.stderr).split()[-80:])
        raise ProofFailed(f"{' '.join(words[1:3])} ended with {done.returncode}: {tail}")


def log_rows(*, pairs: int, say: Say) -> list[Row]:
    """S15: what the log handler costs its callers, on eight threads."""
    say("log handler: takes turns with the standard library's, about a minute")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "rows.json"
        words = ["-m", "bench.log_handler", "--pairs", str(pairs), "--json", str(path)]
        _program(words, timeout_seconds=LOG_SECONDS)
        found: list[dict[str, Any]] = json.loads(path.read_text())
    judged = [row for row in found if row["wanted"] is not None and row["name"].startswith("8 threads")]
    if not judged:
        return [not_measured("S15", "log call", "bench.log_handler printed no row for 8 threads")]
    return [
        Row("S15", f"log call, {row['name']}", row["measured"], must=row["wanted"], stretch=row["stretch"])
        for row in judged
    ]


class DemoReady:
    """Ready when the demo's own state file says that all its processes are."""

    def __init__(self, var_dir: Path) -> None:
        self._var_dir = var_dir

    def __call__(self, _started: Started) -> bool:
        """Tell whether the web server, which starts last, is ready."""
        state = read_demo_state(self._var_dir)
        if state is None or not any(process.name == "web" for process in state.processes):
            return False
        return all(process.ready for process in state.processes)


def stress_rows(*, say: Say) -> list[Row]:
    """S17: the classic stress configuration against a demo in a folder of its own; tests.load proves every sale."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="demo-", dir=BUILT) as name:
        var_dir, report_path = Path(name) / "var", Path(name) / "report.json"
        var_dir.mkdir()
        environment = {key: value for key, value in os.environ.items() if key not in _SHOP_VARIABLES}
        environment |= {"SHOP_VAR_DIR": str(var_dir), "DJANGO_SETTINGS_MODULE": "shop.settings.development"}
        words = ("manage.py", "demo", "--port", str(free_port()), "--no-color")
        spec = ProcessSpec(
            name="demo",
            command=("env", *(f"-u{key}" for key in _SHOP_VARIABLES), sys.executable, *words),
            ready=DemoReady(var_dir),
            environment=environment,
            ready_seconds=DEMO_START_SECONDS,
        )
        say("starting a demo")
        with SpecServer(spec) as demo:
            say("stress run")
            load = ["-m", "tests.load", *STRESS, "--quiet", "--json", str(report_path)]
            _program(load, environment=environment, timeout_seconds=STRESS_SECONDS)
            report = json.loads(report_path.read_text())
            demo.stop()  # in good order, so that all its processes have ended before its folder goes
    return _stress_rows(report)


_SHOP_VARIABLES = (*NOT_INHERITED, "DATABASE_URL", "REDIS_URL", "SALE_OPEN_MAX", "SALE_RATE_LIMIT")


def _stress_rows(report: dict[str, Any]) -> list[Row]:
    latency = report["all"]
    name = "100 clients, 10,000 requests, 1,000 a second on the demo"
    return [
        Row("S17", f"{name}: answers/s", report["qps"], must=990, at_least=True, unit="/s"),
        Row("S17", f"{name}: mean", latency["mean_ms"], must=10, stretch=5, unit="ms"),
        Row("S17", f"{name}: p99", latency["p99_ms"], must=50, unit="ms"),
        Row("S17", "  accepted", float(report["counts"]["accepted"])),
    ]
