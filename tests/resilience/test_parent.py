"""Children whose parent is killed with SIGKILL, as real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.services.processes import wait_until

ROOT = Path(__file__).parents[2]
CHILD = """
import os, signal, sys, time
from shop.resilience import parent
parent.GRACE_SECONDS = 0.5
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif sys.argv[1] == "orderly":
    def goodbye(number, frame):
        open(sys.argv[2], "w").write("goodbye")
        sys.exit(0)
    signal.signal(signal.SIGTERM, goodbye)
if sys.argv[1] != "unguarded":
    parent.exit_with_parent(0.05)
print(os.getpid(), flush=True)
time.sleep(30)
"""
PARENT = """
import subprocess, sys, threading, time
def start():
    subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
if sys.argv[2] == "from_thread":
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
time.sleep(30)
"""


def alive(pid: int) -> bool:
    """Tell whether the process runs; a zombie that nobody has collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.fixture
def family():
    """Start a parent with a child of the given kind; return both; leave neither."""
    pids, parents = [], []

    def start(kind: str, *arguments: str) -> tuple["subprocess.Popen[bytes]", int]:
        command = [sys.executable, "-c", PARENT, CHILD, kind, *arguments]
        parent = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        parents.append(parent)
        assert parent.stdout is not None
        pids.append(int(parent.stdout.readline()))
        return parent, pids[-1]

    yield start
    for parent in parents:
        parent.kill()
        parent.wait(10)
        parent.stdout.close()
    for pid in pids:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_child_ends_in_good_order_when_its_parent_is_killed(family, tmp_path):
    parent, child = family("orderly", str(tmp_path / "word"))
    parent.kill()
    wait_until(lambda: not alive(child), deadline_seconds=3, what="the child's end")
    assert (tmp_path / "word").read_text() == "goodbye"


def test_child_that_ignores_sigterm_is_killed_after_the_grace_period(family):
    parent, child = family("stubborn")
    parent.kill()
    time.sleep(0.3)
    assert alive(child)
    wait_until(lambda: not alive(child), deadline_seconds=3, what="the child's end")


def test_child_without_the_guard_outlives_its_parent(family):
    """The twin: without it the tests above would pass for another reason."""
    parent, child = family("unguarded")
    parent.kill()
    parent.wait(10)
    time.sleep(0.5)
    assert alive(child)


def test_child_lives_on_when_only_the_thread_that_started_it_ends(family):
    parent, child = family("from_thread")
    time.sleep(0.5)
    assert alive(child)
    parent.kill()
    wait_until(lambda: not alive(child), deadline_seconds=3, what="the child's end")


def test_child_of_a_parent_that_is_gone_already_ends_at_once():
    code = "from shop.resilience.parent import exit_with_parent as e; import time; e(parent_pid=2**22 + 1);"
    child = subprocess.run([sys.executable, "-c", code + "time.sleep(20)"], cwd=ROOT, timeout=10, check=False)
    assert child.returncode == -signal.SIGTERM
