"""What a running demo tells other terminals: one small file in the data folder, replaced whole."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

FILE_NAME = "demo.json"
# psutil derives start times from clock ticks since boot; two readings of one process differ by less than this.
SAME_START_SECONDS = 1.0


@dataclass(frozen=True)
class ProcessState:
    """One supervised process. pid: 0 while it waits for its next start. started_at: epoch seconds."""

    name: str
    pid: int
    started_at: float
    ready: bool
    restarts: int
    log: str


@dataclass(frozen=True)
class DemoState:
    """A demo: who supervises it, where it listens and what runs.

    pid: the supervisor's. started_at: its start, epoch seconds. token: marks the environment of every process
    that it started. sockets: path by server name. servers: address by setting. processes: in order of start.
    """

    pid: int
    started_at: float
    port: int
    token: str
    sockets: dict[str, str] = field(default_factory=dict)
    servers: dict[str, str] = field(default_factory=dict)
    processes: tuple[ProcessState, ...] = ()

    @property
    def url(self) -> str:
        """The shop's address."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def running(self) -> bool:
        """Whether the supervisor is alive; the process id alone would not tell, ids are used again."""
        return is_process(self.pid, self.started_at)


def is_process(pid: int, started_at: float) -> bool:
    """Tell whether the process with this id that started at that time (epoch seconds) is alive."""
    try:
        process = psutil.Process(pid)
        same = bool(abs(process.create_time() - started_at) < SAME_START_SECONDS)
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
        return False


def read_demo_state(var_dir: Path) -> DemoState | None:
    """Return what the last demo on this data folder wrote, or None after a clean stop.

    A supervisor that was killed leaves its file: ask `running`.
    """
    try:
        found = json.loads((var_dir / FILE_NAME).read_text())
    except FileNotFoundError:
        return None
    processes = tuple(ProcessState(**process) for process in found.pop("processes"))
    return DemoState(**found, processes=processes)


def write_demo_state(var_dir: Path, state: DemoState) -> None:
    """Replace the file in one step, so that a reader sees the old or the new state, never a part."""
    path = var_dir / FILE_NAME
    fresh = path.with_suffix(".json.new")
    fresh.write_text(json.dumps(asdict(state), indent=1))
    fresh.replace(path)


def remove_demo_state(var_dir: Path) -> None:
    """Say that nothing runs any more."""
    (var_dir / FILE_NAME).unlink(missing_ok=True)
