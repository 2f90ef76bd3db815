"""Stops asking a server that does not answer."""

import threading


class CircuitBreaker:
    """Closed: every call is allowed. Open, after `failures_to_open` failures in a row: none for `open_seconds`.
    Then half-open: one probe; its success closes the breaker, its failure opens it again.

    The probe is allowed by moving the next allowed time on by `open_seconds`. So a probe whose caller vanished
    without a report blocks nobody for longer than that, and there is no state that could get stuck.
    Time is passed in (monotonic seconds). A closed breaker is asked without a lock.
    Source: Michael Nygard, "Release It!", 2nd edition, "Circuit Breaker";
    https://martinfowler.com/bliki/CircuitBreaker.html
    Why not pybreaker: it locks every call, refuses by exception and wraps functions, none of which suits an
    asyncio hot path.
    """

    __slots__ = ("_failures", "_lock", "_probing", "_retry_at", "failures_to_open", "open_seconds")

    def __init__(self, failures_to_open: int = 5, open_seconds: float = 1.0) -> None:
        if failures_to_open < 1 or open_seconds <= 0:
            raise ValueError("failures_to_open and open_seconds must be positive")
        self.failures_to_open = failures_to_open
        self.open_seconds = open_seconds
        self._failures = 0
        self._retry_at: float | None = None  # None: closed
        self._probing = False
        self._lock = threading.Lock()

    def state(self, now: float) -> str:
        """Return "closed", "open" or "half_open" (a probe is out, or the next caller will be one)."""
        retry_at = self._retry_at
        if retry_at is None:
            return "closed"
        return "half_open" if self._probing or retry_at <= now else "open"

    def allow(self, now: float) -> bool:
        """Return whether a call may be made; whoever makes it reports success() or failure()."""
        if self._retry_at is None:
            return True
        with self._lock:
            if self._retry_at is None:
                return True  # type: ignore[unreachable]  # another thread closed it meanwhile
            if now < self._retry_at:
                return False
            self._probing = True
            self._retry_at = now + self.open_seconds
            return True

    def retry_after_seconds(self, now: float) -> float:
        """Return how long no call will be allowed, 0.0 when one is allowed now."""
        retry_at = self._retry_at
        return 0.0 if retry_at is None else max(0.0, retry_at - now)

    def success(self) -> None:
        """Report an answer, be it from the probe or from a call begun before the breaker opened: the server lives."""
        if self._failures == 0 and self._retry_at is None:
            return
        with self._lock:
            self._failures, self._retry_at, self._probing = 0, None, False

    def failure(self, now: float) -> None:
        """Report a call without an answer (time-out, lost connection), not a refusal by a server that works."""
        with self._lock:
            if self._retry_at is None:
                self._failures += 1
                if self._failures < self.failures_to_open:
                    return
            elif not self._probing:
                return  # a straggler from before the opening says nothing new
            self._retry_at, self._probing = now + self.open_seconds, False
