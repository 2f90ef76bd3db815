"""Children of a test run: started, killed, frozen and waited for, and never left behind."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

LAUNCHER = Path(__file__).with_name("die_with_parent.py")
POLL_SECONDS = 0.02

# The kernel's death signal follows the thread that forked, not the process: a server restarted by a short-lived
# thread of a test would die with that thread. So one thread, which lives as long as the process, starts them all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="service-starter")


class ServiceFailed(RuntimeError):
    """A server did not start, stop or answer in time; the message ends with its log."""


def wait_until(
    condition: Callable[[], bool], *, deadline_seconds: float, what: str, child: "Child | None" = None
) -> None:
    """Poll until the condition holds.

    :raises ServiceFailed: the deadline passed, or the child ended first
    """
    deadline = time.monotonic() + deadline_seconds
    while not condition():
        if child is not None and not child.alive:
            raise ServiceFailed(f"{what}: the process ended with {child.exit_code}\n{child.log_tail()}")
        if time.monotonic() > deadline:
            log = "" if child is None else "\n" + child.log_tail()
            raise ServiceFailed(f"{what}: not within {deadline_seconds} s{log}")
        time.sleep(POLL_SECONDS)


def port_is_open(port: int) -> bool:
    """Tell whether something on the loopback address accepts connections at the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def socket_is_open(path: Path) -> bool:
    """Tell whether something accepts connections at the unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) == 0


def free_port() -> int:
    """Find a loopback port that nothing listens on.

    It lies below the range of outgoing connections (32768 up on Linux). Above it, a client that keeps knocking
    while its server is down may be given the server's own port, connect to itself and block the restart.
    """
    for _attempt in range(200):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServiceFailed("no free port between 20000 and 31999")


def short_directory(prefix: str) -> Path:
    """Make a temporary directory whose path leaves room for a unix socket's name (at most 108 bytes in all)."""
    parent = "/tmp" if Path("/tmp").is_dir() else None  # not TMPDIR, which may be long
    return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))


def find_program(*names: str) -> str | None:
    """Find the first of the programs on PATH, or where servers are kept that ordinary users have not on PATH."""
    path = os.pathsep.join(
        [
            os.environ.get("PATH", os.defpath),
            "/usr/sbin",
            "/usr/local/sbin",
            "/usr/local/bin",
            "/opt/homebrew/bin",
        ]
    )
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


class Child:
    """One server process in a process group of its own, with a log file that all its starts append to."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.command = list(command)
        self.log_path = log_path
        self.environment = dict(environment or {})
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs (or is frozen)."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The last process's exit code; minus the signal's number when a signal ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        """The process id, which is the process group's too."""
        if self._process is None:
            raise ServiceFailed(f"{self.command[0]} was never started")
        return self._process.pid

    def start(self) -> None:
        """Start the process; waiting until it serves is the caller's part."""
        if self.alive:
            raise ServiceFailed(f"{self.command[0]} already runs")
        with self.log_path.open("ab") as log:
            self._process = _starter.submit(self._spawn, log).result()

    def _spawn(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
        return subprocess.Popen(
            launcher + self.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment},
            cwd=self.directory,
            process_group=0,
        )

    def kill(self) -> None:
        """Send SIGKILL to the process and its group, and wait for its end."""
        self._signal(signal.SIGKILL)
        self._wait(deadline_seconds=10)

    def stop(self, *, deadline_seconds: float = 15) -> None:
        """Send SIGTERM and wait for the end; nothing happens when it has ended already.

        :raises ServiceFailed: it ignored SIGTERM; it is killed then
        """
        if not self.alive:
            return
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a frozen process acts on SIGTERM only when it runs again
        try:
            self._wait(deadline_seconds=deadline_seconds)
        except ServiceFailed:
            self.kill()
            raise

    def freeze(self) -> None:
        """Send SIGSTOP: the process keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT: the process goes on where it was frozen."""
        self._signal(signal.SIGCONT)

    def log_tail(self, *, lines: int = 40) -> str:
        """Return the end of the log."""
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if not self.alive:
            raise ServiceFailed(
                f"{self.command[0]} does not run: exit code {self.exit_code}\n{self.log_tail()}"
            )
        os.killpg(self.pid, number)

    def _wait(self, *, deadline_seconds: float) -> None:
        if self._process is None:
            raise ServiceFailed(f"{self.command[0]} was never started")
        try:
            self._process.wait(timeout=deadline_seconds)
        except subprocess.TimeoutExpired as error:
            message = f"{self.command[0]} did not end within {deadline_seconds} s\n{self.log_tail()}"
            raise ServiceFailed(message) from error


class Server:
    """What every server here can do: start, stop, kill -9, restart on the same data, freeze and thaw.

    As a context manager it starts on entry; on exit it is killed and its directory removed.
    """

    child: Child
    directory: Path

    def start(self) -> None:
        """Start the server and wait until it answers."""
        raise NotImplementedError

    def kill(self) -> None:
        """End it as a crash would: SIGKILL, no goodbye."""
        self.child.kill()

    def stop(self) -> None:
        """End it in good order: SIGTERM, and wait."""
        self.child.stop()

    def restart(self) -> None:
        """Start it again on the same data, after ending in good order what still runs."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP)."""
        self.child.freeze()

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self.child.thaw()

    def discard(self) -> None:
        """Kill it if it runs, and remove its data."""
        if self.child.alive:
            self.child.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "Server":
        try:
            self.start()
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.discard()
