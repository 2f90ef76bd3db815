"""Due times: even pace, and random arrivals that a seed repeats."""

import itertools

from tests.load.schedule import arrivals, paced


def test_paced_is_even():
    assert list(itertools.islice(paced(start=10.0, qps=4), 4)) == [10.0, 10.25, 10.5, 10.75]


def test_paced_without_a_rate_is_always_due():
    assert list(itertools.islice(paced(start=10.0, qps=0), 3)) == [10.0, 10.0, 10.0]


def test_arrivals_repeat_with_their_seed():
    first = list(itertools.islice(arrivals(start=0.0, qps=100, seed=7), 50))
    assert first == list(itertools.islice(arrivals(start=0.0, qps=100, seed=7), 50))
    assert first != list(itertools.islice(arrivals(start=0.0, qps=100, seed=8), 50))


def test_arrivals_have_exponential_gaps_of_the_asked_rate():
    times = list(itertools.islice(arrivals(start=0.0, qps=1_000, seed=1), 20_000))
    gaps = [after - before for before, after in itertools.pairwise([0.0, *times])]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert times == sorted(times)
    assert abs(mean * 1_000 - 1) < 0.03
    assert abs(deviation / mean - 1) < 0.05  # an exponential's deviation is its mean; an even pace has 0
