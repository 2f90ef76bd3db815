"""The supervisor with toy processes: order, restart, back-off, signals, kill, lock."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from shop.site.demo_state import ProcessState, read_demo_state
from shop.site.supervision.processes import ManagedProcess, Phase, ProcessSpec, Started
from shop.site.supervision.readiness import FileSaysSo

# Writes what happens to it into one diary, and its id where readiness is looked for.
TOY = """
import os, signal, sys, time
name, folder = sys.argv[1:]
def note(word):
    with open(folder + "/diary", "a") as diary:
        diary.write(name + " " + word + "\\n")
def stop(number, frame):
    note("stops")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
note("starts")
with open(folder + "/" + name + ".ready", "w") as file:
    file.write(str(os.getpid()))
"""
STEADY = TOY + "time.sleep(60)\n"
# Has a child in its group, as granian has its worker; the child ignores SIGTERM.
WITH_CHILD = (
    """
import signal, subprocess, sys
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
subprocess.Popen([sys.executable, "-I", "-S", "-c", child])
"""
    + STEADY
)
STUBBORN = STEADY.replace(
    "signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
)
BROKEN = TOY.split('with open(folder + "/" + name', maxsplit=1)[0] + "sys.exit('no luck today')\n"


class Toys:
    """A toy supervisor as a subprocess, and what can be seen of it from outside."""

    def __init__(self, var_dir: Path, toys: list[dict]) -> None:
        self.var_dir = var_dir
        self.output = var_dir / "output"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.site.toy_supervisor", str(var_dir), json.dumps(toys)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text()

    def diary(self) -> list[str]:
        path = self.var_dir / "diary"
        return path.read_text().splitlines() if path.exists() else []

    def wait_ready(self) -> None:
        wait_for(lambda: "all ready" in self.text(), self.text)

    def toy(self, name: str) -> ProcessState:
        state = read_demo_state(self.var_dir)
        assert state is not None
        return next(process for process in state.processes if process.name == name)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        return self.process.wait(timeout=15)


def wait_for(condition: Callable[[], bool], explain: Callable[[], str] = str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.02)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if is_alive(one)]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two questions
        return False


@pytest.fixture
def run_toys(tmp_path: Path) -> Iterator[Callable[..., Toys]]:
    started: list[Toys] = []

    def run(*toys: dict) -> Toys:
        started.append(Toys(tmp_path, list(toys)))
        return started[-1]

    yield run
    for toys in started:
        if toys.process.poll() is None:
            family = toys.family()
            toys.process.kill()
            toys.process.wait()
            for process in alive(family):
                process.kill()


def test_supervisor_starts_in_order_and_stops_in_reverse_on_sigterm(run_toys: Callable[..., Toys]) -> None:
    toys = run_toys({"name": "first", "code": STEADY}, {"name": "second", "code": STEADY})
    toys.wait_ready()
    family = toys.family()

    toys.signal(signal.SIGTERM)

    assert toys.end() == 0
    assert toys.diary() == ["first starts", "second starts", "second stops", "first stops"]
    assert alive(family) == []
    assert read_demo_state(toys.var_dir) is None


def test_supervisor_stops_on_ctrl_c_while_it_still_starts(run_toys: Callable[..., Toys]) -> None:
    never_ready = TOY.replace('".ready"', '".unready"') + "time.sleep(60)\n"
    toys = run_toys({"name": "first", "code": STEADY}, {"name": "second", "code": never_ready})
    wait_for(lambda: "second starts" in toys.diary())

    toys.signal(signal.SIGINT)

    assert toys.end() == 0
    assert toys.diary()[-2:] == ["second stops", "first stops"]
    assert toys.text() == "stopped early\nstopped\n"


def test_supervisor_restarts_a_killed_process_and_says_so_in_one_line(run_toys: Callable[..., Toys]) -> None:
    toys = run_toys({"name": "other", "code": STEADY}, {"name": "victim", "code": WITH_CHILD})
    toys.wait_ready()
    other, victim = toys.toy("other"), toys.toy("victim")
    orphan = psutil.Process(victim.pid).children()[0]

    os.kill(victim.pid, signal.SIGKILL)
    wait_for(lambda: toys.toy("victim").ready and toys.toy("victim").restarts == 1, toys.text)

    told = [line.split(" ", 1)[1] for line in toys.text().splitlines() if "victim" in line]
    assert len(told) == 1
    assert told[0].startswith("✓ victim: killed by SIGKILL; started again, ready after ")
    assert told[0].endswith(f"(pid {toys.toy('victim').pid}, restart 1)")
    assert alive([orphan]) == []  # what it left in its group would hold its port
    assert toys.toy("other") == other


def test_supervisor_gives_up_a_process_that_never_gets_ready(run_toys: Callable[..., Toys]) -> None:
    toys = run_toys({"name": "first", "code": STEADY}, {"name": "broken", "code": BROKEN})

    assert toys.end() == 1
    assert toys.diary() == ["first starts", *["broken starts"] * 3, "first stops"]
    assert "broken does not start (ended with code 1)." in toys.text()
    assert toys.text().count("no luck today") == 3  # its log is shown
    assert "next try in 0.1 s" in toys.text()
    assert "next try in 0.2 s" in toys.text()


def test_supervisor_kills_a_process_that_is_not_ready_in_time(run_toys: Callable[..., Toys]) -> None:
    hanging = {"name": "hanging", "code": "import time; time.sleep(60)", "ready_seconds": 0.2}
    toys = run_toys(hanging)

    assert toys.end() == 1
    assert "hanging does not start (not ready within 0.2 s)." in toys.text()


def test_supervisor_kills_what_does_not_stop_in_time(run_toys: Callable[..., Toys]) -> None:
    toys = run_toys(
        {"name": "first", "code": STEADY}, {"name": "stubborn", "code": STUBBORN, "stop_seconds": 0.5}
    )
    toys.wait_ready()
    family, began = toys.family(), time.monotonic()

    toys.signal(signal.SIGTERM)

    assert toys.end() == 0
    assert 0.5 <= time.monotonic() - began < 3
    assert "stubborn did not stop in 0.5 s: killed." in toys.text()
    assert toys.diary()[-1] == "first stops"
    assert alive(family) == []


def test_supervisor_second_ctrl_c_kills_at_once(run_toys: Callable[..., Toys]) -> None:
    toys = run_toys({"name": "stubborn", "code": STUBBORN, "stop_seconds": 30})
    toys.wait_ready()
    family, began = toys.family(), time.monotonic()

    toys.signal(signal.SIGINT)
    time.sleep(0.3)
    assert toys.process.poll() is None  # the first one is patient
    toys.signal(signal.SIGINT)

    assert toys.end() == 0
    assert time.monotonic() - began < 5
    assert alive(family) == []


def test_supervisor_stops_a_frozen_process(run_toys: Callable[..., Toys]) -> None:
    toys = run_toys({"name": "frozen", "code": STEADY})
    toys.wait_ready()
    os.kill(toys.toy("frozen").pid, signal.SIGSTOP)

    toys.signal(signal.SIGTERM)

    assert toys.end() == 0
    assert toys.diary() == ["frozen starts", "frozen stops"]


def test_supervisor_killed_leaves_no_orphan(run_toys: Callable[..., Toys]) -> None:
    toys = run_toys({"name": "first", "code": STEADY}, {"name": "family", "code": WITH_CHILD})
    toys.wait_ready()
    family = toys.family()
    assert len(family) == 4  # guardian, both toys and the child of one

    toys.signal(signal.SIGKILL)
    toys.end()

    wait_for(lambda: alive(family) == [], lambda: str(alive(family)), seconds=5)
    state = read_demo_state(toys.var_dir)
    assert state is not None
    assert not state.running


@pytest.mark.twin
def test_supervisor_killed_without_guardian_leaves_grandchildren(run_toys: Callable[..., Toys]) -> None:
    """The death signal of the kernel reaches children only: what they started needs the guardian."""
    toys = run_toys({"name": "family", "code": WITH_CHILD})
    toys.wait_ready()
    family = toys.family()
    grandchild = psutil.Process(toys.toy("family").pid).children()[0]
    guardian = next(one for one in family if "guardian.py" in " ".join(one.cmdline()))
    toys.signal(signal.SIGSTOP)  # so that it cannot start another guardian

    guardian.kill()
    toys.signal(signal.SIGKILL)
    toys.end()

    wait_for(lambda: alive(family) == [grandchild], lambda: str(alive(family)), seconds=5)

    # The next start on the folder finds it by its mark.
    again = run_toys({"name": "family", "code": STEADY})
    wait_for(lambda: again.text().count("all ready") == 2, again.text)
    assert "Ended 1 processes that an earlier demo left behind." in again.text()
    assert alive([grandchild]) == []


def test_supervisor_starts_the_guardian_again(run_toys: Callable[..., Toys]) -> None:
    toys = run_toys({"name": "family", "code": WITH_CHILD})
    toys.wait_ready()
    guardian = next(one for one in toys.family() if "guardian.py" in " ".join(one.cmdline()))

    guardian.kill()
    wait_for(lambda: [one for one in toys.family() if "guardian.py" in " ".join(one.cmdline())] != [])
    wait_for(lambda: not guardian.is_running())
    family = toys.family()
    toys.signal(signal.SIGKILL)
    toys.end()

    wait_for(lambda: alive(family) == [], lambda: str(alive(family)), seconds=5)


def test_supervisor_refuses_a_second_one_on_the_same_folder(run_toys: Callable[..., Toys]) -> None:
    first = run_toys({"name": "toy", "code": STEADY})
    first.wait_ready()

    second = run_toys({"name": "toy", "code": STEADY})

    assert second.end() == 1
    assert f"A demo already runs on {first.var_dir}: pid {first.process.pid}" in second.text()
    assert first.diary() == ["toy starts"]
    assert first.process.poll() is None
    state = read_demo_state(first.var_dir)
    assert state is not None
    assert state.pid == first.process.pid


def test_back_off_doubles_up_to_its_bound_and_recovers(tmp_path: Path) -> None:
    spec = ProcessSpec(
        name="toy", command=("true",), ready=FileSaysSo(tmp_path / "none"), longest_backoff_seconds=5
    )
    process = ManagedProcess(spec, directory=tmp_path, log_path=tmp_path / "log", token="t")

    delays = [process.back_off(now=100.0, ending="ended") for _ in range(8)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    assert (process.restarts, process.start_due, process.phase) == (8, 105.0, Phase.WAITING)

    process.ready_at = 200.0
    assert process.back_off(now=209.9, ending="ended") == 5  # not steady for long enough
    assert process.back_off(now=210.0, ending="ended") == 0.1


def test_readiness_file_of_an_earlier_process_does_not_count(tmp_path: Path) -> None:
    probe = FileSaysSo(tmp_path / "ready")
    assert not probe(Started(pid=7, started_at=0.0))
    (tmp_path / "ready").write_text("6")
    assert not probe(Started(pid=7, started_at=0.0))
    (tmp_path / "ready").write_text("7\n")
    assert probe(Started(pid=7, started_at=0.0))
