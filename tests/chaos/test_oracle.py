"""The judge of the kill tests, where it can be judged without a shop."""

import json
from pathlib import Path

import pytest

from tests.chaos.clients import LONGEST_WAIT_SECONDS, Repeats, Shoppers
from tests.chaos.faults import Evidence, Order, evidence_path, evidence_read, write_whole
from tests.chaos.history import TrialHistory, history_read, history_write
from tests.chaos.judgement import trail_is_forward
from tests.load.wire import Messages, Request

ACCEPTED = json.dumps({"reservation_id": "7-abc", "status": "queued", "status_url": "/s/7-abc/"}).encode()


@pytest.mark.parametrize(
    ("trail", "forward"),
    [
        (["queued"], True),
        (["queued", "won"], True),
        (["queued", "won", "lost"], True),
        (["lost"], True),
        (["won", "queued"], False),
        (["queued", "lost", "won"], False),
        (["queued", "answer 404", "won"], False),
        (["answer 500"], False),
    ],
)
def test_status_only_moves_forward(trail: list[str], forward: bool) -> None:
    assert trail_is_forward(trail) is forward


def test_paused_is_repeated_and_the_key_remembers_its_reservation() -> None:
    shoppers, request = Shoppers(), Request(3, 1, 0.0)
    paused = b'{"code":"seckill.paused"}'
    assert (
        shoppers.answer(request, 0.1, 503, b"http/1.1 503\r\nretry-after: 5", paused) == LONGEST_WAIT_SECONDS
    )
    assert shoppers.answer(request, 0.1, 202, b"http/1.1 202", ACCEPTED) is None
    assert shoppers.given == {3: (1, "7-abc")}
    assert shoppers.told == {3: "/s/7-abc/"}
    assert shoppers.interrupted == {3}
    assert shoppers.history.accepted == [("7-abc", 1)]


def test_a_repeat_is_the_same_bytes() -> None:
    first = Messages(url="http://h", path="/r/", tokens=["a", "b"], quantity=1, run_id="x")
    original = Request(9, 1, 0.0)
    again = Repeats(first, [original])
    assert again.build(Request(0, 0, 0.0)) == first.build(original)


def test_history_survives_its_file(tmp_path: Path) -> None:
    history = TrialHistory("t", 7, 2, 100, 50, [11, 12], 60.0, accepted=[("7-abc", 1)], decided={"1": 2})
    history_write(tmp_path / "h.json", history)
    found = history_read(tmp_path / "h.json").as_load_history()
    assert found.accepted == [("7-abc", 1)]
    assert dict(found.decided) == {1: 2}


def test_evidence_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    assert evidence_read(tmp_path, 1) is None
    evidence = Evidence("web.before_script", 2, 1.5, 4, 99, {"batch": 3})
    write_whole(evidence_path(tmp_path, 1), evidence.__dict__)
    assert evidence_read(tmp_path, 1) == evidence
    assert Order(1, "p", 2, 0).victim == 0
