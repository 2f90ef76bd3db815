"""A few threads, a bounded queue in front of them, and a deadline for whatever waits there."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from shop.resilience.batcher import Overdue
from shop.resilience.errors import Unavailable

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class PoolFull(Unavailable):
    """All threads are busy and as many jobs wait as may wait; this one was not taken."""

    code = "busy"
    message = "Too many are asking at this moment. Try again shortly."


class PoolClosed(Unavailable):
    """The pool takes no more jobs; this one was never started."""

    code = "busy"
    message = "This server is restarting. Try again shortly."


class Job(Protocol):
    """What a pool can be given: exactly one of the two is called, once."""

    def run(self) -> None:
        """Do the work, in a thread of the pool; must not raise."""

    def refuse(self, error: Unavailable) -> None:
        """Learn that the work will never be done: Overdue or PoolClosed. Any thread; must not block."""


class _Call:
    """A function call whose outcome goes to a future."""

    __slots__ = ("_args", "_function", "_kwargs", "future")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.future: Future[Any] = Future()
        self._function, self._args, self._kwargs = function, args, kwargs

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self._function(*self._args, **self._kwargs)
        except BaseException as error:  # noqa: BLE001  the future's owner decides, as with every executor
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def refuse(self, error: Unavailable) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class WorkerPool(Executor):
    """Threads that take jobs in order, never more than `threads` + `queue_max` at a time.

    A job that has waited longer than `max_wait_seconds` is refused instead of run: whoever asked has given up,
    and work that nobody waits for would make the next ones late too. Threads start with the first job, so a
    process may fork before; they are daemons, so a job that hangs does not keep the process alive.
    Any thread may call any method.
    """

    def __init__(
        self, threads: int, queue_max: int, max_wait_seconds: float, *, name: str = "worker"
    ) -> None:
        if threads < 1 or queue_max < 0 or max_wait_seconds <= 0:
            raise ValueError("threads >= 1, queue_max >= 0 and max_wait_seconds > 0 are needed")
        self._thread_count, self._unfinished_max = threads, threads + queue_max
        self.max_wait_seconds = max_wait_seconds
        self._name = name
        self._waiting: deque[tuple[float, Job]] = deque()
        self._wakeups: SimpleQueue[bool] = SimpleQueue()  # True: look at _waiting; False: end
        self._lock = threading.Lock()
        self._unfinished = 0
        self._closed = False
        self._threads: list[threading.Thread] = []

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet."""
        return len(self._waiting)

    @property
    def unfinished(self) -> int:
        """Jobs that wait or run."""
        return self._unfinished

    def enqueue(self, job: Job) -> None:
        """Queue the job.

        :raises PoolFull: threads + queue_max jobs are unfinished
        :raises PoolClosed: the pool was closed
        """
        now = time.monotonic()
        self.poll(now)
        with self._lock:
            if self._closed:
                raise PoolClosed
            if self._unfinished >= self._unfinished_max:
                raise PoolFull
            self._unfinished += 1
            self._waiting.append((now + self.max_wait_seconds, job))
            self._wakeups.put(True)
            if not self._threads:
                self._start_threads()

    def submit(self, function: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Queue the call and return the future of its result, which may raise Overdue or PoolClosed.

        :raises PoolFull: threads + queue_max jobs are unfinished
        :raises PoolClosed: the pool was closed
        """
        call = _Call(function, args, kwargs)
        self.enqueue(call)
        return call.future

    def poll(self, now: float) -> None:
        """Refuse the jobs that are overdue at `now` (monotonic seconds), although no thread is free to see them.

        Every enqueue does this first: threads that hang must not hold up the refusals too.
        """
        if not self._waiting:
            return
        overdue = []
        with self._lock:
            while self._waiting and self._waiting[0][0] <= now:
                overdue.append(self._waiting.popleft()[1])
            self._unfinished -= len(overdue)
        for job in overdue:
            job.refuse(Overdue())

    def close(self) -> None:
        """Take no more jobs; those that wait are still run."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for _thread in self._threads:
                self._wakeups.put(False)

    def terminate(self) -> None:
        """Take no more jobs and refuse those that wait; those that run go on to their end."""
        self.close()
        with self._lock:
            jobs = [job for _deadline, job in self._waiting]
            self._waiting.clear()
            self._unfinished -= len(jobs)
        for job in jobs:
            job.refuse(PoolClosed())

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the threads of a closed pool; return whether all have ended in time."""
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do what every executor does: close, or with cancel_futures terminate; then join if asked to wait."""
        if cancel_futures:
            self.terminate()
        else:
            self.close()
        if wait:
            self.join()

    def _start_threads(self) -> None:
        for number in range(self._thread_count):
            thread = threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while self._wakeups.get():
            with self._lock:
                if not self._waiting:  # poll or terminate has refused it
                    continue
                deadline, job = self._waiting.popleft()
            try:
                if deadline <= time.monotonic():
                    job.refuse(Overdue())
                else:
                    job.run()
            except BaseException:
                logger.exception("A job broke its promise not to raise.")
            with self._lock:
                self._unfinished -= 1
            del job  # it may hold a whole request, and the next one may be long in coming
