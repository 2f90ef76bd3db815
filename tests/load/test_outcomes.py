"""Percentiles, and answers counted under the right name."""

import pytest

from tests.load.outcomes import Recorder, percentile, summary_ms
from tests.load.wire import Request

ACCEPTED = b'{"reservation_id": "7-abc", "status": "queued"}'


def test_percentile_is_the_nearest_rank():
    values = [float(number) for number in range(1, 1_001)]
    assert [percentile(values, percent) for percent in (50, 90, 95, 99, 99.9)] == [500, 900, 950, 990, 999]
    assert percentile([5.0], 99.9) == 5.0
    assert percentile([1.0, 2.0], 50) == 1.0
    assert percentile([1.0, 2.0], 51) == 2.0


def test_percentile_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_summary_is_in_milliseconds():
    figures = summary_ms([0.004, 0.001, 0.002, 0.003])
    assert figures == {
        "count": 4,
        "min_ms": 1.0,
        "mean_ms": 2.5,
        "max_ms": 4.0,
        "p50_ms": 2.0,
        "p90_ms": 4.0,
        "p95_ms": 4.0,
        "p99_ms": 4.0,
        "p99.9_ms": 4.0,
    }
    assert summary_ms([]) == {"count": 0}


def test_recorder_counts_each_outcome_apart():
    recorder = Recorder(retries=0)
    answers = [
        (202, b"http/1.1 202 accepted", ACCEPTED),
        (202, b"http/1.1 202 accepted\r\nidempotency-replayed: true", ACCEPTED),
        (409, b"", b'{"code":"seckill.sold_out"}'),
        (409, b"", b'{"code":"seckill.limit_reached"}'),
        (409, b"", b'{"code":"seckill.sold_out"}'),
        (429, b"", b'{"code":"rate_limited"}'),
        (503, b"", b'{"code":"seckill.busy"}'),
        (500, b"", b"<html>"),
    ]
    for number, (status, head, body) in enumerate(answers):
        assert recorder.answer(Request(number, number % 2, 0.0), 0.001, status, head, body) is None
    assert {name: row["count"] for name, row in recorder.summaries().items()} == {
        "202 accepted": 1,
        "202 replayed": 1,
        "409 seckill.sold_out": 2,
        "409 seckill.limit_reached": 1,
        "429 rate_limited": 1,
        "503 seckill.busy": 1,
        "500": 1,
    }
    assert (recorder.answers, recorder.finished, recorder.accepted, recorder.replayed) == (8, 8, 2, 1)
    assert recorder.history.accepted == [("7-abc", 0), ("7-abc", 1)]
    assert recorder.history.decided == {0: 3, 1: 2}
    assert recorder.history.open_ended == {1: 1}  # the 500 alone: busy and 429 wrote nothing


def test_recorder_asks_for_bounded_repeats_after_503():
    recorder, request = Recorder(retries=2), Request(0, 0, 0.0)
    head, body = b"http/1.1 503 x\r\nretry-after: 3", b'{"code":"seckill.unknown"}'
    for _attempt in range(2):
        assert recorder.answer(request, 0.001, 503, head, body) == 3.0
        request.attempts += 1
    assert recorder.answer(request, 0.001, 503, head, body) is None
    assert (recorder.repeats, recorder.finished, recorder.answers) == (2, 1, 3)
    assert recorder.history.open_ended == {0: 1}


def test_recorder_does_not_repeat_a_paused_sale():
    recorder = Recorder(retries=2)
    assert recorder.answer(Request(0, 0, 0.0), 0.001, 503, b"", b'{"code":"seckill.paused"}') is None
    assert recorder.history.open_ended == {}


def test_recorder_counts_lost_connections_and_what_stays_unanswered():
    recorder, request = Recorder(retries=1), Request(0, 4, 0.0)
    assert recorder.error(request, "reset") == 0.2
    request.attempts += 1
    assert recorder.error(request, "timeout") is None
    assert recorder.errors == {"reset": 1, "timeout": 1}
    assert (recorder.history.unanswered, recorder.history.open_ended, recorder.finished) == (1, {4: 1}, 1)


def test_a_decided_repeat_leaves_nothing_open():
    recorder, request = Recorder(retries=1), Request(0, 0, 0.0)
    recorder.error(request, "reset")
    request.attempts += 1
    recorder.answer(request, 0.001, 409, b"", b'{"code":"seckill.sold_out"}')
    assert recorder.history.open_ended == {}
    assert recorder.history.decided == {0: 1}
