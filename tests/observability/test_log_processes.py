"""Several processes, forks, signals and exits; each in interpreters of its own."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROLOGUE = """
import logging, multiprocessing, os, signal, sys, time
from shop.observability.logs import BufferedFileHandler, flush_all, install_sigterm_flush
path = sys.argv[1]
logger = logging.getLogger("shop.a")
logger.setLevel(logging.INFO)
def handle(**options):
    handler = BufferedFileHandler(path, **{"flush_seconds": 3600.0, **options})
    logger.addHandler(handler)
    return handler
"""


def start(script, path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + script, str(path), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(script, path):
    """Run the script to its end; return (exit code, standard output), and assert that nothing was said on
    standard error."""
    with start(script, path) as process:
        out, err = process.communicate(timeout=30)
    assert err == ""
    return process.returncode, out


def parsed(path):
    """Return (pid, message) of each line."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(line.split(" ")[2]), line.split(" ", 5)[5]) for line in lines]


def messages(path):
    return [message for _, message in parsed(path)]


SHARING = """
import time
def split_write(fd, data):
    written = os.write(fd, data[: max(1, len(data) // 2)])
    time.sleep(0.0002)
    return written
write = split_write if sys.argv[3] == "split" else os.write
handle(flush_records=20, capacity=2000, write=write)
print("ready", flush=True)
sys.stdin.readline()
for number in range(1000):
    logger.info("worker=%s number=%d %s", sys.argv[2], number, "x" * (number % 200))
    if number % 20 == 0:
        time.sleep(0.0002)
"""
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO (\d+) shop\.a - worker=(\d) number=(\d+) x*")


def share_a_file(path, mode):
    """Let 4 processes log 1,000 lines each at once; return the matches of the whole lines, and the torn."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + SHARING, str(path), str(number), mode],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(4)
    ]
    for worker in workers:
        assert worker.stdout.readline() == b"ready\n"
    for worker in workers:
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=30)
        assert worker.returncode == 0
    lines = path.read_text().splitlines()
    matches = [LINE.fullmatch(line) for line in lines]
    return [match for match in matches if match], [
        line for line, match in zip(lines, matches, strict=True) if not match
    ]


def test_processes_share_a_file_without_a_torn_or_lost_line(tmp_path):
    whole, torn = share_a_file(tmp_path / "app.log", "whole")
    assert torn == []
    assert len({match[1] for match in whole}) == 4
    for worker in "0123":
        numbers = [int(match[3]) for match in whole if match[2] == worker]
        assert numbers == list(range(1_000))


@pytest.mark.twin
def test_processes_tear_lines_when_a_batch_is_split_into_several_writes(tmp_path):
    _, torn = share_a_file(tmp_path / "app.log", "split")
    assert torn != []


def test_interpreter_exit_loses_no_line(tmp_path):
    script = """
import atexit
atexit.register(lambda: logger.info("from atexit"))
handle(flush_records=100)
for number in range(550):
    logger.info("%d", number)
"""
    assert run(script, tmp_path / "app.log") == (0, "")
    assert messages(tmp_path / "app.log") == [*(str(number) for number in range(550)), "from atexit"]


def test_interpreter_exit_after_an_unhandled_error_loses_no_line(tmp_path):
    with start("handle(); logger.info('one'); raise SystemExit(3)", tmp_path / "app.log") as process:
        process.communicate(timeout=30)
    assert (process.returncode, messages(tmp_path / "app.log")) == (3, ["one"])


def test_interpreter_exit_is_not_held_up_by_a_stalled_disk(tmp_path):
    script = """
from shop.observability.logs import handler as handler_module
handler_module._WAIT_SECONDS = 0.1
handle(write=lambda fd, data: time.sleep(3600))
logger.error("one")
"""
    assert run(script, tmp_path / "app.log") == (0, "")


def test_fork_writes_each_line_once_and_under_its_own_pid(tmp_path):
    script = """
handler = handle()
logger.info("parent before")
pid = os.fork()
if pid == 0:
    logger.info("child")
    assert handler.flush() is True
    os._exit(0)
os.waitpid(pid, 0)
logger.info("parent after")
print(os.getpid(), pid)
"""
    code, out = run(script, tmp_path / "app.log")
    parent, child = map(int, out.split())
    assert code == 0
    assert parsed(tmp_path / "app.log") == [
        (child, "child"),
        (parent, "parent before"),
        (parent, "parent after"),
    ]


def test_fork_while_the_parents_disk_is_stalled_leaves_the_child_working(tmp_path):
    script = """
import threading
parent_pid, reached, healed = os.getpid(), threading.Event(), threading.Event()
def write(fd, data):
    if os.getpid() == parent_pid:
        reached.set()
        healed.wait()
    return os.write(fd, data)
handler = handle(write=write, flush_records=1, capacity=1)
logger.warning("parent")
reached.wait()
logger.info("parent waiting")
logger.info("parent dropped")
handler._buffer._count_lock.acquire()
handler._start_lock.acquire()
pid = os.fork()
if pid == 0:
    assert handler.dropped() == {"info": 0, "warning": 0, "error": 0}
    logger.info("child")
    assert handler.flush() is True
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
healed.set()
handler._buffer._count_lock.release()
handler._start_lock.release()
"""
    assert run(script, tmp_path / "app.log") == (0, "")
    assert messages(tmp_path / "app.log") == [
        "child",
        "parent",
        "parent waiting",
        "dropped 1 records (in all info=1 warning=0 error=0)",
    ]


def test_fork_after_close_still_writes_the_childs_lines_at_once(tmp_path):
    script = """
handler = handle()
handler.close()
pid = os.fork()
if pid == 0:
    logger.info("child")
    os._exit(0)
os.waitpid(pid, 0)
"""
    assert run(script, tmp_path / "app.log") == (0, "")
    assert messages(tmp_path / "app.log") == ["child"]


def test_fork_leaves_no_descriptor_of_the_parent_open_in_the_child(tmp_path):
    script = """
handler = handle()
logger.info("parent")
handler.flush()
pid = os.fork()
if pid == 0:
    logger.info("child")
    handler.flush()
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    print(sum(os.path.exists(link) and os.path.samefile(link, path) for link in links), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""
    assert run(script, tmp_path / "app.log") == (0, "1\n")


@pytest.mark.parametrize("library", ["multiprocessing", "billiard"])
def test_forked_worker_that_skips_atexit_loses_no_line(tmp_path, library):
    pytest.importorskip(library)
    script = f"""
import {library} as library
handle()
def work():
    logger.info("child")
process = library.get_context("fork").Process(target=work)
process.start()
process.join()
assert process.exitcode == 0
"""
    assert run(script, tmp_path / "app.log") == (0, "")
    assert messages(tmp_path / "app.log") == ["child"]


def sigterm(script, path):
    """Run the script until it says ready, terminate it, and return its exit code."""
    with start(script + "\nprint('ready', flush=True)\ntime.sleep(30)\n", path) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    return process.returncode


def test_sigterm_writes_everything_and_then_ends_the_process_as_by_default(tmp_path):
    script = "handle(); assert install_sigterm_flush(); assert install_sigterm_flush(); logger.info('one')"
    assert sigterm(script, tmp_path / "app.log") == -signal.SIGTERM
    assert messages(tmp_path / "app.log") == ["one"]


def test_sigterm_flush_can_be_asked_for_in_the_configuration(tmp_path):
    script = "handle(flush_on_sigterm=True); logger.info('one')"
    assert sigterm(script, tmp_path / "app.log") == -signal.SIGTERM
    assert messages(tmp_path / "app.log") == ["one"]


@pytest.mark.twin
def test_sigterm_loses_lines_without_the_hook(tmp_path):
    assert sigterm("handle(); logger.info('one')", tmp_path / "app.log") == -signal.SIGTERM
    assert messages(tmp_path / "app.log") == []


def test_sigterm_goes_on_with_the_handler_from_before(tmp_path):
    script = """
def end(signum, frame):
    logger.info("ending %d", signum)
    sys.exit(7)
signal.signal(signal.SIGTERM, end)
handle()
assert install_sigterm_flush()
logger.info("one")
"""
    assert sigterm(script, tmp_path / "app.log") == 7
    assert messages(tmp_path / "app.log") == ["one", "ending 15"]


def test_sigterm_that_was_ignored_stays_ignored(tmp_path):
    script = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
handle()
install_sigterm_flush()
logger.info("one")
os.kill(os.getpid(), signal.SIGTERM)
print(open(path).read().count("one"))
"""
    assert run(script, tmp_path / "app.log") == (0, "1\n")


def test_sigterm_between_log_calls_never_deadlocks(tmp_path):
    script = """
handler = handle(flush_records=50, capacity=100)
install_sigterm_flush()
print("ready", flush=True)
while True:
    logger.info("one")
    logger.warning("two")
"""
    for _ in range(3):
        with start(script, tmp_path / "app.log") as process:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)
        assert process.returncode == -signal.SIGTERM


def test_sigterm_hook_is_refused_off_the_main_thread(tmp_path):
    script = """
import threading
results = []
thread = threading.Thread(target=lambda: results.append(install_sigterm_flush()))
thread.start()
thread.join()
print(results, signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""
    assert run(script, tmp_path / "app.log") == (0, "[False] True\n")


def test_no_module_of_the_handler_imports_django(tmp_path):
    script = """
import shop.observability.logging_config
print(sorted(name for name in sys.modules if name.split(".")[0] == "django"))
"""
    assert run(script, tmp_path / "app.log") == (0, "[]\n")
