"""The project's process supervisor: starts in order, waits for readiness, starts again what ends, stops in reverse.

One thread, one loop. `docs/adr/0002-process-supervisor.md` tells why it is not one of the well-kept ones.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from shop.site.demo_state import DemoState, ProcessState, read_demo_state, remove_demo_state, write_demo_state
from shop.site.supervision.keeping import Guardian, leftovers_end, lock_acquire, lock_release
from shop.site.supervision.processes import ManagedProcess, Phase, ProcessSpec
from shop.site.supervision.stopping import StopSignals

# A process that ends this often before it is ready for the first time will not get well by another try.
GIVE_UP_AFTER_ENDS = 3
PROBE_EVERY_SECONDS = 0.05
HEARTBEAT_SECONDS = 1.0
STOP_POLL_SECONDS = 0.02


class StartFailed(RuntimeError):
    """A process did not become ready; the message ends with its log."""


class Supervisor:
    """Keeps the processes of one data folder running.

    As a context manager it takes the folder's lock on entry and on exit stops everything it started. say: prints
    one line. port, servers, sockets: what the state file tells other terminals.
    """

    def __init__(
        self,
        *,
        var_dir: Path,
        directory: Path,
        signals: StopSignals,
        say: Callable[[str], None],
        port: int = 0,
        servers: dict[str, str] | None = None,
        sockets: dict[str, str] | None = None,
    ) -> None:
        self.processes: list[ManagedProcess] = []
        self._var_dir = var_dir
        self._directory = directory
        self._signals = signals
        self._say = say
        self._port = port
        self._servers = servers or {}
        self._sockets = sockets or {}
        self._token = secrets.token_hex(16)
        self._started_at_epoch = psutil.Process().create_time()

    def __enter__(self) -> "Supervisor":
        self._var_dir.mkdir(parents=True, exist_ok=True)
        (self._var_dir / "logs").mkdir(exist_ok=True)
        self._lock = lock_acquire(self._var_dir)
        try:
            self._clear_leftovers()
            self._guardian = Guardian(lock_descriptor=self._lock)
            self._publish()
        except BaseException:
            lock_release(self._lock)
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.stop()
        finally:
            self._guardian.close()
            remove_demo_state(self._var_dir)
            lock_release(self._lock)

    def _clear_leftovers(self) -> None:
        """End what a supervisor left that was killed together with its guardian."""
        state = read_demo_state(self._var_dir)
        if state is not None and (count := leftovers_end(state.token)):
            self._say(f"Ended {count} processes that an earlier demo left behind.")

    def state(self) -> DemoState:
        """Return what other terminals may know."""
        processes = tuple(
            ProcessState(
                name=process.spec.name,
                pid=process.pid,
                started_at=process.started_at_epoch,
                ready=process.phase is Phase.READY,
                restarts=process.restarts,
                log=str(process.log_path),
            )
            for process in self.processes
        )
        return DemoState(
            pid=psutil.Process().pid,
            started_at=self._started_at_epoch,
            port=self._port,
            token=self._token,
            sockets=self._sockets,
            servers=self._servers,
            processes=processes,
        )

    def _publish(self) -> None:
        write_demo_state(self._var_dir, self.state())

    def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Start processes, together, and wait until each is ready.

        :raises StartFailed: one ends again and again, or is not ready in time
        :raises StopRequested: somebody asked to stop meanwhile
        """
        added = [
            ManagedProcess(
                spec,
                directory=self._directory,
                log_path=self._var_dir / "logs" / f"{spec.name}.out",
                token=self._token,
            )
            for spec in specs
        ]
        self.processes += added
        while True:
            self._signals.check()
            self.step()
            if all(process.phase is Phase.READY for process in added):
                return
            for process in added:
                if not process.was_ready and process.failures >= GIVE_UP_AFTER_ENDS:
                    raise StartFailed(_complaint(process))
            self._signals.wait(self._next_look_seconds())

    def run(self) -> None:
        """Keep everything running until somebody asks to stop."""
        while not self._signals.count:
            self.step()
            self._signals.wait(self._next_look_seconds())

    def step(self) -> None:
        """Look at every process once and do what is due."""
        changed = False
        for process in self.processes:
            changed |= self._look_after(process, time.monotonic())
        self._guardian.keep()
        if changed:
            self._publish()

    def _look_after(self, process: ManagedProcess, now: float) -> bool:
        """Do what is due for one process; tell whether its state changed."""
        if process.phase is Phase.WAITING:
            if now < process.start_due:
                return False
            return self._start(process, now)
        ending = process.poll()
        if ending is None and process.phase is Phase.STARTING:
            if process.probe(now):
                self._tell_recovery(process)
                return True
            if now - process.started_at > process.spec.ready_seconds:
                ending = f"not ready within {process.spec.ready_seconds:g} s"
        if ending is None:
            return False
        self._has_ended(process, now=now, ending=ending)
        return True

    def _start(self, process: ManagedProcess, now: float) -> bool:
        try:
            process.start()
        except OSError as error:  # no memory or no process ids left: later, perhaps
            self._has_ended(process, now=now, ending=f"could not be started: {error}")
        else:
            self._guardian.add(process.pid)
        return True

    def _has_ended(self, process: ManagedProcess, *, now: float, ending: str) -> None:
        """Clear up after an ended process and plan its next start."""
        was_ready = process.was_ready
        self._end(process)
        delay_seconds = process.back_off(now=now, ending=ending)
        if not was_ready:
            self._say_at(
                f"✗ {process.spec.name}: {ending}; next try in {delay_seconds:g} s, log {process.log_path}"
            )

    def _end(self, process: ManagedProcess) -> None:
        group = process.pid
        process.end()
        if group:
            self._guardian.remove(group)

    def _tell_recovery(self, process: ManagedProcess) -> None:
        if process.restarts:
            took = process.ready_at - process.started_at
            self._say_at(
                f"✓ {process.spec.name}: {process.last_end}; started again, ready after {took:.1f} s "
                f"(pid {process.pid}, restart {process.restarts})"
            )

    def _say_at(self, text: str) -> None:
        self._say(f"{time.strftime('%H:%M:%S')} {text}")

    def _next_look_seconds(self) -> float:
        """Return how long to sleep where no signal comes."""
        phases = {process.phase for process in self.processes}
        if Phase.STARTING in phases:
            return PROBE_EVERY_SECONDS
        now = time.monotonic()
        due = [process.start_due - now for process in self.processes if process.phase is Phase.WAITING]
        return max(0.0, min([HEARTBEAT_SECONDS, *due]))

    def stop(self) -> None:
        """Stop everything, last started first, each within its time; a second Ctrl-C kills the rest at once."""
        asked = self._signals.count
        for process in reversed(self.processes):
            if process.phase is Phase.STOPPED:
                continue
            process.terminate()
            deadline = time.monotonic() + process.spec.stop_seconds
            while process.pid and process.poll() is None and self._signals.count <= max(asked, 1):
                if time.monotonic() > deadline:
                    self._say(f"{process.spec.name} did not stop in {process.spec.stop_seconds:g} s: killed.")
                    break
                self._signals.wait(STOP_POLL_SECONDS)
            self._end(process)
            process.phase = Phase.STOPPED


def _complaint(process: ManagedProcess) -> str:
    return (
        f"{process.spec.name} does not start ({process.last_end}).\n{process.log_path}:\n{process.log_tail()}"
    )
