"""When requests are due: all at once, evenly paced, or as random arrivals that do not wait for answers."""

import itertools
import random
from collections.abc import Iterator


def paced(*, start: float, qps: float) -> Iterator[float]:
    """Yield due times at even distances from `start` (seconds of the caller's clock); qps 0: always due."""
    if qps == 0:
        return itertools.repeat(start)
    return (start + number / qps for number in itertools.count())


def arrivals(*, start: float, qps: float, seed: int) -> Iterator[float]:
    """Yield the due times of a Poisson process: exponential gaps of mean 1/qps, the same for the same seed.

    The times never depend on the answers, so a slow server meets the queue that real shoppers would form.
    """
    gap = random.Random(seed).expovariate
    due = start
    while True:
        due += gap(qps)
        yield due
