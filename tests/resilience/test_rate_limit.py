"""The rate limit against its definition: never more than `limit` in any window."""

import threading
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop.resilience.rate_limit import SlidingWindowLimit


def test_limit_admits_up_to_the_limit_and_tells_the_exact_wait():
    limit = SlidingWindowLimit(3, 10.0)
    assert [limit.check("a", now) for now in (100.0, 101.0, 104.0)] == [0.0, 0.0, 0.0]
    assert limit.check("a", 105.0) == 5.0
    assert limit.check("b", 105.0) == 0.0
    assert limit.check("a", 109.5) == 0.5
    assert limit.check("a", 110.0) == 0.0
    assert limit.check("a", 110.0) == 1.0


def test_limit_does_not_count_refusals():
    limit = SlidingWindowLimit(1, 10.0)
    assert limit.check(7, 0.0) == 0.0
    assert [limit.check(7, now) for now in (1.0, 5.0, 9.0)] == [9.0, 5.0, 1.0]
    assert limit.check(7, 10.0) == 0.0


def test_limit_forgets_the_least_recently_admitted_key_when_full():
    limit = SlidingWindowLimit(2, 10.0, keys_max=2)
    for key, now in (("a", 0.0), ("b", 1.0), ("a", 2.0), ("c", 3.0)):
        assert limit.check(key, now) == 0.0
    assert len(limit) == 2
    assert limit.check("a", 4.0) == 6.0  # kept: it was admitted after b
    assert [limit.check("b", 5.0), limit.check("b", 5.0)] == [0.0, 0.0]  # forgotten
    assert len(limit) == 2


@settings(max_examples=200, deadline=None)
@given(
    gaps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=80),
    limit=st.integers(1, 4),
    window=st.integers(1, 30),
)
def test_limit_admits_exactly_what_a_full_log_would(gaps, limit, window):
    checked, log, now = SlidingWindowLimit(limit, float(window)), defaultdict(list), 0
    for key, gap in gaps:
        now += gap
        inside = [time for time in log[key] if time > now - window]
        wait_seconds = checked.check(key, float(now))
        if len(inside) < limit:
            assert wait_seconds == 0.0
            log[key].append(now)
        else:
            assert wait_seconds == log[key][-limit] + window - now


def test_limit_survives_threads_that_share_it():
    limit, errors = SlidingWindowLimit(5, 1e9, keys_max=40), []

    def hammer(offset: int) -> None:
        try:
            for number in range(5000):
                limit.check((number * 7 + offset) % 60, float(number))
        except Exception as error:  # noqa: BLE001  any error fails the test
            errors.append(error)

    threads = [threading.Thread(target=hammer, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []
    assert len(limit) <= 40 + 4


@pytest.mark.parametrize("arguments", [(0, 1.0, 1), (1, 0.0, 1), (1, 1.0, 0)])
def test_limit_refuses_senseless_bounds(arguments):
    with pytest.raises(ValueError, match="positive"):
        SlidingWindowLimit(*arguments)
