"""A rate limit inside one process."""

from collections import OrderedDict, deque


class SlidingWindowLimit:
    """At most `limit` admissions a key in any `window_seconds`, exactly: no burst where two windows meet.

    Each key keeps the times of its last `limit` admissions; a request is admitted when the oldest of them has left
    the window. Source: the sliding window log, as in https://redis.io/glossary/rate-limiting/ ; with a log no
    longer than the limit a check is O(1). GCRA and the sliding window counter keep one or two numbers a key
    instead, and let through up to twice the limit in the worst window.

    Why not the in-memory storage of the `limits` package: while requests come it starts a timer thread up to
    100 times a second, each of which sweeps every key; its moving window makes a lock for every admission; and
    it bounds nothing, so an attacker with many keys decides how much memory it takes.

    Memory: at most `keys_max` keys, each 0.9 kB + 24 bytes an admission (1.4 kB at a limit of 20, tracemalloc).
    When it is full the key that was admitted least recently is forgotten; only a caller with more keys than that
    gains by it. Cost: 0.2 to 0.3 microseconds a check, 1.1 when a new key displaces an old one.
    Safe for threads under the GIL without a lock: every step is one atomic operation of a dict or deque. Two
    threads that check one key at the same moment may both get its last place.
    """

    __slots__ = ("_admitted", "_keys_max", "limit", "window_seconds")

    def __init__(self, limit: int, window_seconds: float, keys_max: int = 50_000) -> None:
        if limit < 1 or window_seconds <= 0 or keys_max < 1:
            raise ValueError("limit, window_seconds and keys_max must be positive")
        self.limit = limit
        self.window_seconds = window_seconds
        self._keys_max = keys_max
        self._admitted: OrderedDict[int | str | bytes, deque[float]] = OrderedDict()  # least recent first

    def __len__(self) -> int:
        """Return the number of keys remembered."""
        return len(self._admitted)

    def check(self, key: int | str | bytes, now: float) -> float:
        """Admit the key at `now` (monotonic seconds) and return 0.0, or return the seconds to wait.

        A refusal counts for nothing, so who waits that long is admitted.
        """
        times = self._admitted.get(key)
        if times is None:
            return self._admit_new(key, now)
        if len(times) == self.limit and (wait_seconds := times[0] + self.window_seconds - now) > 0:
            return wait_seconds
        times.append(now)  # a full log drops its oldest entry
        try:
            self._admitted.move_to_end(key)
        except KeyError:  # another thread has just forgotten it
            self._admitted[key] = times
        return 0.0

    def _admit_new(self, key: int | str | bytes, now: float) -> float:
        if len(self._admitted) >= self._keys_max:
            try:
                self._admitted.popitem(last=False)
            except KeyError:  # other threads have emptied it, which only a tiny keys_max allows
                pass
        self._admitted.setdefault(key, deque(maxlen=self.limit)).append(now)
        return 0.0
