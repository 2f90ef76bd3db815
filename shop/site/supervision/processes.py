"""One supervised process: what to run, and the running thing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")
TOKEN_VARIABLE = "SHOP_SUPERVISOR_TOKEN"  # noqa: S105  a mark in the environment, no secret
FIRST_BACKOFF_SECONDS = 0.1
# Up for this long after it was ready counts as recovered: the next end starts again from the first back-off.
STEADY_AFTER_SECONDS = 10
LARGEST_LOG_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class Started:
    """What a readiness probe is asked about. started_at: on the monotonic clock."""

    pid: int
    started_at: float


@dataclass(frozen=True)
class ProcessSpec:
    """What to run and how long to be patient with it.

    ready: asked again and again, must answer within about half a second. stop_seconds: from SIGTERM to SIGKILL.
    ready_seconds: from start to readiness, else it is killed and started again. longest_backoff_seconds: the
    upper bound of the waits between starts.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[Started], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 10
    ready_seconds: float = 60
    longest_backoff_seconds: float = 5


class Phase(Enum):
    """Where a process is on its way."""

    WAITING = "waiting"  # for its (next) start
    STARTING = "starting"
    READY = "ready"
    STOPPED = "stopped"


class ManagedProcess:
    """A process in a group of its own, with the history that its next start depends on.

    It does not decide anything: `Supervisor` calls start, asks, and calls stop or end.
    """

    def __init__(self, spec: ProcessSpec, *, directory: Path, log_path: Path, token: str) -> None:
        self.spec = spec
        self.log_path = log_path
        self.phase = Phase.WAITING
        self.start_due = 0.0  # monotonic
        self.started_at = 0.0  # monotonic
        self.started_at_epoch = 0.0
        self.ready_at = 0.0  # monotonic
        self.restarts = 0
        self.failures = 0  # ends in a row without a steady time between
        self.last_end = ""
        self._directory = directory
        self._environment = {**os.environ, **spec.environment, TOKEN_VARIABLE: token}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, which is its group's too; 0 when it does not run."""
        return 0 if self._process is None else self._process.pid

    @property
    def was_ready(self) -> bool:
        """Whether it was ready at least once since its last start."""
        return self.ready_at > 0

    def start(self) -> None:
        """Start the process; its log goes on where it was, or anew when that has grown too large."""
        _rotate(self.log_path)
        command = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *self.spec.command]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  commands of our own
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._directory,
                process_group=0,  # Ctrl-C of the terminal reaches the supervisor alone, which keeps the order
            )
        self.started_at, self.started_at_epoch = time.monotonic(), time.time()
        self.ready_at = 0.0
        self.phase = Phase.STARTING

    def poll(self) -> str | None:
        """Tell how the process ended, in words, or None while it runs."""
        if self._process is None:
            return None
        code = self._process.poll()
        return None if code is None else _ending(code)

    def probe(self, now: float) -> bool:
        """Ask whether it is ready, and remember when it first was. now: monotonic."""
        if not self.spec.ready(Started(pid=self.pid, started_at=self.started_at)):
            return False
        self.ready_at, self.phase = now, Phase.READY
        return True

    def terminate(self) -> None:
        """Ask the process to stop; a frozen one acts on it only when it runs again."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill what is left of the process and its group, and reap it."""
        if self._process is None:
            return
        # Granian's worker outlives a granian that was killed, and would hold the port.
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # nobody left; macOS answers EPERM for zombies
            pass
        self._process.wait()
        self._process = None

    def back_off(self, *, now: float, ending: str) -> float:
        """Note an end and return how long to wait before the next start, in seconds. now: monotonic."""
        if self.was_ready and now - self.ready_at >= STEADY_AFTER_SECONDS:
            self.failures = 0
        doubled_seconds = FIRST_BACKOFF_SECONDS * float(2 ** min(self.failures, 10))
        delay_seconds = min(self.spec.longest_backoff_seconds, doubled_seconds)
        self.failures += 1
        self.restarts += 1
        self.last_end = ending
        self.start_due = now + delay_seconds
        self.phase = Phase.WAITING
        return delay_seconds

    def log_tail(self, *, lines: int = 20) -> str:
        """Return the last lines of the log."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


def _ending(code: int) -> str:
    """Say in words how a process ended."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {-code}"


def _rotate(path: Path) -> None:
    """Keep one older log when this one has grown too large."""
    if path.exists() and path.stat().st_size > LARGEST_LOG_BYTES:
        path.replace(path.with_name(path.name + ".1"))
