"""The worker pool: its bound, its deadlines and its end."""

import threading
import time
from concurrent.futures import CancelledError, Executor

import pytest

from shop.resilience.batcher import Overdue
from shop.resilience.worker_pool import PoolClosed, PoolFull, WorkerPool


class Occupied:
    """A pool whose threads are all held by jobs of the test."""

    def __init__(self, *, threads: int = 1, queue_max: int = 2, max_wait_seconds: float = 30.0) -> None:
        self.release = threading.Event()
        self.pool = WorkerPool(threads, queue_max, max_wait_seconds, name="test")
        started = threading.Semaphore(0)
        self.holding = [self.pool.submit(self._hold, started) for _ in range(threads)]
        for _ in range(threads):
            assert started.acquire(timeout=5)

    def _hold(self, started: threading.Semaphore) -> str:
        started.release()
        assert self.release.wait(10)
        return threading.current_thread().name

    def __enter__(self) -> "Occupied":
        return self

    def __exit__(self, *_error: object) -> None:
        self.release.set()
        self.pool.terminate()
        assert self.pool.join(5)


def test_pool_is_an_executor_that_returns_results_and_raises_errors():
    with WorkerPool(2, 5, 10) as pool:
        assert isinstance(pool, Executor)
        assert pool.submit(pow, 2, exp=10).result(5) == 1024
        assert sorted(pool.map(abs, [-1, -2])) == [1, 2]
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 // 0).result(5)
    assert pool.unfinished == 0


def test_pool_refuses_at_once_when_full_and_takes_jobs_again():
    with Occupied(threads=2, queue_max=2) as held:
        ran: list[int] = []
        waiting = [held.pool.submit(ran.append, number) for number in range(2)]
        with pytest.raises(PoolFull) as refusal:
            held.pool.submit(ran.append, 99)
        assert (refusal.value.status, refusal.value.code, refusal.value.retry_after_seconds) == (
            503,
            "busy",
            1,
        )
        assert held.pool.waiting == 2
        held.release.set()
        for future in [*held.holding, *waiting]:
            future.result(5)
        assert sorted(ran) == [0, 1]
        assert held.pool.submit(int, "7").result(5) == 7


def test_pool_takes_as_many_jobs_as_it_has_threads_without_a_queue():
    """The second of two jobs is not one too many only because no thread has taken the first yet."""
    for _ in range(50):
        with WorkerPool(2, 0, 10) as pool:
            both = threading.Barrier(2)
            futures = [pool.submit(both.wait, 5) for _ in range(2)]
            assert sorted(future.result(5) for future in futures) == [0, 1]


def test_pool_never_runs_a_job_that_waited_too_long():
    with Occupied(max_wait_seconds=0.05) as held:
        ran: list[int] = []
        late = held.pool.submit(ran.append, 1)
        time.sleep(0.1)
        held.release.set()
        with pytest.raises(Overdue):
            late.result(5)
        assert held.pool.submit(ran.append, 2).result(5) is None
        assert ran == [2]


def test_pool_refuses_overdue_jobs_while_every_thread_hangs():
    with Occupied(queue_max=1, max_wait_seconds=0.05) as held:
        ran: list[int] = []
        late = held.pool.submit(ran.append, 1)
        time.sleep(0.1)
        fresh = held.pool.submit(ran.append, 2)  # the overdue job's place
        with pytest.raises(Overdue):
            late.result(0)
        assert not held.holding[0].done()
        held.release.set()
        fresh.result(5)
        assert ran == [2]


def test_pool_skips_jobs_cancelled_while_they_waited():
    with Occupied() as held:
        ran: list[int] = []
        gone, kept = held.pool.submit(ran.append, 1), held.pool.submit(ran.append, 2)
        assert gone.cancel()
        held.release.set()
        kept.result(5)
        with pytest.raises(CancelledError):
            gone.result(5)
        assert ran == [2]


def test_pool_close_runs_what_waits_and_terminate_refuses_it():
    closed, terminated = Occupied(), Occupied()
    runs, never = closed.pool.submit(int, "1"), terminated.pool.submit(int, "1")
    closed.pool.close()
    terminated.pool.terminate()
    for held in (closed, terminated):
        with pytest.raises(PoolClosed):
            held.pool.submit(int, "2")
        assert not held.pool.join(0.05)
        held.release.set()
        assert held.pool.join(5)
        assert held.holding[0].result(0) == "test-0"
        assert held.pool.unfinished == 0
    assert runs.result(0) == 1
    with pytest.raises(PoolClosed):
        never.result(0)


class Rude:
    """A job that breaks its promise not to raise."""

    def run(self) -> None:
        """Raise."""
        raise SystemExit("rude")

    def refuse(self, error: Exception) -> None:
        """Never called here."""
        raise AssertionError(error)


def test_pool_keeps_its_thread_when_a_job_raises(caplog):
    with WorkerPool(1, 3, 10) as pool:
        pool.enqueue(Rude())
        assert pool.submit(int, "5").result(5) == 5
        assert pool.unfinished == 0 or pool.submit(int, "6").result(5) == 6
    assert "broke its promise" in caplog.text


def test_pool_never_exceeds_its_bound_when_many_threads_submit():
    """And every job it has accepted is run or refused."""
    pool = WorkerPool(2, 3, 0.02)
    peak, refused, futures, lock = 0, 0, [], threading.Lock()

    def submit_many() -> None:
        nonlocal peak, refused
        for _ in range(300):
            try:
                future = pool.submit(time.sleep, 0.0002)
            except PoolFull:
                with lock:
                    refused += 1
                time.sleep(0.0001)
            else:
                with lock:
                    futures.append(future)
                    peak = max(peak, pool.unfinished)

    threads = [threading.Thread(target=submit_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    pool.shutdown()
    assert all(future.done() for future in futures)
    assert len(futures) + refused == 1200
    assert 1 <= peak <= 5
    assert (pool.unfinished, pool.waiting) == (0, 0)


@pytest.mark.parametrize("arguments", [(0, 1, 1.0), (1, -1, 1.0), (1, 1, 0.0)])
def test_pool_refuses_senseless_bounds(arguments):
    with pytest.raises(ValueError, match="needed"):
        WorkerPool(*arguments)
