"""Interleaving, and the proof that what clients counted was done."""

import pytest

from bench.turns import ProofFailed, Turn, interleave, quotients, require_counted


class Noting:
    """A subject that notes its turns in a list it shares."""

    def __init__(self, name: str, count: int, log: list[tuple[str, int]]) -> None:
        self.name, self._count, self._log = name, count, log

    def turn(self, seconds: int) -> Turn:
        self._log.append((self.name, seconds))
        return Turn(count=self._count, seconds=2.0, cpu_seconds={"server": 0.01, "valkey": 0.02})


def test_subjects_take_turns_after_a_short_warm_up():
    log: list[tuple[str, int]] = []
    turns = interleave(
        [Noting("a", 100, log), Noting("b", 50, log)], pairs=2, seconds=3, say=lambda text: None
    )
    assert log == [("a", 1), ("b", 1), ("a", 3), ("b", 3), ("a", 3), ("b", 3)]
    assert quotients(turns, "a", "b", lambda turn: turn.per_second) == [2.0, 2.0]
    assert turns["a"][0].cpu_us("server", "valkey") == pytest.approx(300.0)


@pytest.mark.parametrize("done", [10, 12])
def test_requests_on_their_way_explain_a_few_more(done):
    require_counted(told=10, done=done, in_flight_max=2, what="x")


@pytest.mark.parametrize("done", [9, 13])
def test_a_missing_or_an_unexplained_one_fails_the_proof(done):
    with pytest.raises(ProofFailed, match=f"x: the client counted 10, {done} were done"):
        require_counted(told=10, done=done, in_flight_max=2, what="x")
