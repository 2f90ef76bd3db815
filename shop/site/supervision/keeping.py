"""One demo a data folder, and nothing left of it afterwards: the lock, the guardian, the sweep of leftovers."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from shop.site.demo_state import read_demo_state
from shop.site.supervision.processes import TOKEN_VARIABLE

GUARDIAN = Path(__file__).with_name("guardian.py")
LOCK_NAME = "demo.lock"
# A killed demo's guardian holds the lock until its processes are gone; it allows itself 5 s for that.
LOCK_WAIT_SECONDS = 8
POLL_SECONDS = 0.05


class DemoRuns(RuntimeError):
    """Another demo holds this data folder."""


def lock_acquire(var_dir: Path) -> int:
    """Lock the data folder and return the file descriptor that holds the lock.

    :raises DemoRuns: another demo runs on it
    """
    descriptor = os.open(var_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            state = read_demo_state(var_dir)
            if (state is not None and state.running) or time.monotonic() > deadline:
                os.close(descriptor)
                raise DemoRuns(_who_holds(var_dir)) from None
        time.sleep(POLL_SECONDS)


def lock_release(descriptor: int) -> None:
    """Give the data folder up; a guardian that still works keeps the lock until it has ended."""
    os.close(descriptor)


def _who_holds(var_dir: Path) -> str:
    state = read_demo_state(var_dir)
    if state is None or not state.running:
        return f"Another demo is starting or stopping on {var_dir}."
    return (
        f"A demo already runs on {var_dir}: pid {state.pid}, {state.url}\n"
        f"Stop it with Ctrl-C in its terminal or with `kill {state.pid}`, "
        "or give this one a folder of its own: SHOP_VAR_DIR=..."
    )


class Guardian:
    """The process that ends all groups when the supervisor is gone; see guardian.py.

    It inherits the lock, and is started again when it ends itself.
    """

    def __init__(self, *, lock_descriptor: int) -> None:
        self._lock_descriptor = lock_descriptor
        self._groups: list[int] = []
        self._start()

    @property
    def pid(self) -> int:
        """The guardian's process id."""
        return self._process.pid

    def _start(self) -> None:
        reading, self._pipe = os.pipe()
        self._process = subprocess.Popen(  # noqa: S603  a program of our own
            [sys.executable, "-I", "-S", str(GUARDIAN), str(reading)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe to whoever reads our output ends with us, not with the guardian
            pass_fds=(reading, self._lock_descriptor),
            start_new_session=True,  # neither Ctrl-C nor the end of the terminal reaches it
        )
        os.close(reading)
        for group in self._groups:
            self._tell(f"+{group}\n")

    def _tell(self, line: str) -> None:
        try:
            os.write(self._pipe, line.encode("ascii"))  # one short write to a pipe is never split
        except BrokenPipeError:
            self._process.wait()
            self.keep()

    def add(self, group: int) -> None:
        """Watch over a process group."""
        self._groups.append(group)
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Forget a group that is gone, before its id can be used again."""
        self._groups.remove(group)
        self._tell(f"-{group}\n")

    def keep(self) -> None:
        """Start the guardian again if it ended."""
        if self._process.poll() is not None:
            os.close(self._pipe)
            self._start()

    def close(self) -> None:
        """Let it end what is still on its list, and wait for that."""
        os.close(self._pipe)
        self._process.wait()


def leftovers_end(token: str) -> int:
    """Kill every process that carries the token of an earlier supervisor; return how many there were."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN_VARIABLE) == token:
                process.kill()
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            continue  # somebody else's, or gone meanwhile
    psutil.wait_procs(found, timeout=5)
    return len(found)
