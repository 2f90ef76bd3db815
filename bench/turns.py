"""Turns: every subject of a comparison runs once a round, A B A B, so that a drifting machine meets them alike."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.cpu import usage

WARM_UP_SECONDS = 1
Say = Callable[[str], None]


class ProofFailed(Exception):
    """A benchmark did not do the work that it counted; its numbers mean nothing."""


@dataclass(frozen=True)
class Turn:
    """What one subject did in one turn: `count` proven answers, and CPU seconds by part (server, Valkey, …)."""

    count: int
    seconds: float
    cpu_seconds: Mapping[str, float]
    p99_ms: float = 0.0

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.count / self.seconds

    def cpu_us(self, *parts: str) -> float:
        """Return microseconds of CPU an answer, of the parts together."""
        return sum(self.cpu_seconds[part] for part in parts) / self.count * 1e6


class Subject(Protocol):
    """Something that can be measured again and again."""

    @property
    def name(self) -> str:
        """Return what the table calls it; different from the others' names."""

    def turn(self, seconds: int) -> Turn:
        """Work for some seconds and prove it.

        :raises ProofFailed: what was counted was not done
        """


Turns = dict[str, list[Turn]]


class CpuClock:
    """CPU seconds of named processes, each with its descendants, since it was made."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before = {name: usage([pid]) for name, pid in self._pids.items()}

    def read(self) -> dict[str, float]:
        """Return the seconds used by each since the start."""
        return {name: usage([pid]).since(self._before[name]) for name, pid in self._pids.items()}


def interleave(subjects: Sequence[Subject], *, pairs: int, seconds: int, say: Say) -> Turns:
    """Run `pairs` rounds, each subject once a round; a short round before them warms up and is not counted."""
    for subject in subjects:
        say(f"{subject.name}: warming up")
        subject.turn(min(seconds, WARM_UP_SECONDS))
    turns: Turns = {subject.name: [] for subject in subjects}
    for number in range(1, pairs + 1):
        for subject in subjects:
            turn = subject.turn(seconds)
            cpu_us = ", ".join(f"{part} {turn.cpu_us(part):.1f}" for part in turn.cpu_seconds)
            say(f"{subject.name}: round {number}/{pairs}: {turn.per_second:,.0f}/s, µs CPU each: {cpu_us}")
            turns[subject.name].append(turn)
    return turns


def quotients(turns: Turns, ours: str, other: str, of: Callable[[Turn], float]) -> list[float]:
    """Return `ours` ÷ `other` of every round."""
    return [of(a) / of(b) for a, b in zip(turns[ours], turns[other], strict=True)]


def require(ok: bool, what: str) -> None:
    """Check one part of a proof.

    :raises ProofFailed: it does not hold
    """
    if not ok:
        raise ProofFailed(what)


def require_counted(*, told: int, done: int, in_flight_max: int, what: str) -> None:
    """Check that what clients were told was done, and no more than could be on its way when they left.

    A client that leaves may have one request on the wire, whose answer it never sees.
    :raises ProofFailed: a told one is missing, or more were done than can be explained
    """
    require(told <= done <= told + in_flight_max, f"{what}: the client counted {told}, {done} were done")


def values(turns: Iterable[Turn], of: Callable[[Turn], float]) -> list[float]:
    """Return one number a turn."""
    return [of(turn) for turn in turns]
