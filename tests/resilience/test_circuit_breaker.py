"""The circuit breaker's three states."""

import pytest

from shop.resilience.circuit_breaker import CircuitBreaker


def opened(*, at: float = 10.0) -> CircuitBreaker:
    """A breaker that three failures have opened for two seconds."""
    breaker = CircuitBreaker(failures_to_open=3, open_seconds=2.0)
    for _ in range(3):
        breaker.failure(at)
    return breaker


def test_breaker_opens_after_failures_in_a_row():
    breaker = CircuitBreaker(failures_to_open=3, open_seconds=2.0)
    breaker.failure(1.0)
    breaker.failure(2.0)
    assert breaker.allow(2.0)
    breaker.failure(3.0)
    assert (breaker.state(3.0), breaker.allow(3.0), breaker.allow(4.9)) == ("open", False, False)
    assert breaker.retry_after_seconds(4.0) == 1.0


def test_breaker_success_starts_the_count_again():
    breaker = CircuitBreaker(failures_to_open=2, open_seconds=2.0)
    breaker.failure(1.0)
    breaker.success()
    breaker.failure(2.0)
    assert (breaker.state(2.0), breaker.allow(2.0), breaker.retry_after_seconds(2.0)) == ("closed", True, 0.0)


def test_breaker_half_open_lets_one_probe_through():
    breaker = opened(at=10.0)
    assert breaker.state(12.0) == "half_open"
    assert [breaker.allow(12.0), breaker.allow(12.0), breaker.allow(13.9)] == [True, False, False]
    breaker.success()
    assert (breaker.state(12.5), breaker.allow(12.5), breaker.allow(12.5)) == ("closed", True, True)


def test_breaker_failed_probe_opens_it_for_the_whole_time_again():
    breaker = opened(at=10.0)
    assert breaker.allow(12.0)
    breaker.failure(13.0)
    assert (breaker.state(13.0), breaker.allow(14.9), breaker.allow(15.0)) == ("open", False, True)


def test_breaker_lost_probe_blocks_no_longer_than_the_open_time():
    breaker = opened(at=10.0)
    assert breaker.allow(12.0)  # and never reports
    assert [breaker.allow(13.9), breaker.allow(14.0)] == [False, True]


def test_breaker_straggling_failure_does_not_prolong_the_opening():
    breaker = opened(at=10.0)
    breaker.failure(11.9)
    assert breaker.allow(12.0)


def test_breaker_reopens_only_after_as_many_failures_as_at_first():
    breaker = opened(at=10.0)
    breaker.allow(12.0)
    breaker.success()
    breaker.failure(12.1)
    breaker.failure(12.2)
    assert breaker.allow(12.3)
    breaker.failure(12.3)
    assert not breaker.allow(12.3)


@pytest.mark.parametrize("arguments", [(0, 1.0), (1, 0.0)])
def test_breaker_refuses_senseless_bounds(arguments):
    with pytest.raises(ValueError, match="positive"):
        CircuitBreaker(*arguments)
