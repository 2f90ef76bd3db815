"""A periodic thread: again and again, through failures, until it is asked to end."""

import threading
import time
from itertools import pairwise

import pytest

from shop.resilience.periodic import PeriodicThread


def test_periodic_runs_again_after_the_interval() -> None:
    times: list[float] = []
    enough = threading.Event()

    def work() -> None:
        times.append(time.monotonic())
        if len(times) == 3:
            enough.set()

    thread = PeriodicThread("ticker", work, interval_seconds=0.05)
    thread.start()
    assert enough.wait(5)
    thread.terminate()
    thread.join(5)
    assert not thread.is_alive()
    assert min(later - earlier for earlier, later in pairwise(times)) >= 0.05


def test_periodic_goes_on_after_a_failure_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    turns: list[int] = []
    thread: PeriodicThread

    def work() -> None:
        turns.append(len(turns))
        if len(turns) == 2:
            thread.terminate()
            return
        raise ValueError("the first turn")

    thread = PeriodicThread("settler", work, interval_seconds=0.001)
    thread.run()
    assert turns == [0, 1]
    assert [record.getMessage() for record in caplog.records] == ["settler failed and is tried again"]


def test_periodic_does_not_outlive_what_must_end_it() -> None:
    def work() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        PeriodicThread("ticker", work, interval_seconds=0.001).run()


def test_periodic_terminates_out_of_its_wait() -> None:
    done = threading.Event()
    thread = PeriodicThread("ticker", done.set, interval_seconds=60)
    thread.start()
    assert done.wait(5)
    began = time.monotonic()
    thread.terminate()
    thread.join(5)
    assert not thread.is_alive()
    assert time.monotonic() - began < 1


def test_periodic_terminated_before_its_start_does_nothing() -> None:
    turns: list[int] = []
    thread = PeriodicThread("ticker", lambda: turns.append(1), interval_seconds=60)
    thread.terminate()
    thread.run()
    assert turns == []


def test_periodic_is_a_daemon_with_a_name() -> None:
    thread = PeriodicThread("settler", lambda: None, interval_seconds=1)
    assert (thread.name, thread.daemon) == ("settler", True)
