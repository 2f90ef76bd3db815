"""How a test tells a running process where to die, and how the process leaves word of the moment.

The test writes an order; a process that passes the named point often enough claims it, writes the evidence and
sends SIGKILL, to itself or to the server that the order names. All of it lives in one folder, so a process that
was started long before obeys too, and its successor finds the order gone.
"""

import json
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from seckill.keys import outbox_key

FOLDER_VARIABLE = "CHAOS_FOLDER"
ORDER, GUARDS = "order.json", "guards_off.json"


@dataclass(frozen=True)
class Order:
    """Kill at the n-th pass of a point. victim: the process group to kill, 0 for the process that passes."""

    number: int
    point: str
    passes: int
    victim: int


@dataclass(frozen=True)
class Evidence:
    """The moment of a kill. monotonic: seconds of the machine's monotonic clock; outbox: entries in it just before."""

    point: str
    passes: int
    monotonic: float
    outbox: int
    killed: int
    facts: dict[str, Any]


def write_whole(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees all of it or none."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_text(json.dumps(value))
    fresh.replace(path)


def evidence_path(folder: Path, number: int) -> Path:
    """Return where the evidence of order `number` is left."""
    return folder / f"evidence-{number}.json"


def evidence_read(folder: Path, number: int) -> Evidence | None:
    """Return the evidence of an order, None while nobody has carried it out."""
    try:
        return Evidence(**json.loads(evidence_path(folder, number).read_text()))
    except FileNotFoundError:
        return None


class Faults:
    """The process's side. Passes at which the outbox is empty do not count."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder = folder
        # A connection of its own, which no hook of the store sees.
        self._client = redis.Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=2)
        self._lock = threading.Lock()
        self._number = self._passes = 0

    def guard_is_off(self, name: str) -> bool:
        """Tell whether the test has taken this guard away."""
        try:
            return name in json.loads((self._folder / GUARDS).read_text())
        except FileNotFoundError:
            return False

    def note(self, name: str, text: str) -> None:
        """Leave a word for the test in a file of the folder."""
        (self._folder / name).write_text(text)

    def passed(self, point: str, **facts: Any) -> None:
        """Count one pass of the point; carry out the order when it is due. Does not return if the victim is this one."""
        try:
            order = Order(**json.loads((self._folder / ORDER).read_text()))
        except FileNotFoundError:
            return
        if order.point != point:
            return
        with self._lock:
            outbox = self._outbox()
            if order.number != self._number:
                self._number, self._passes = order.number, 0
            self._passes += outbox > 0
            if outbox and self._passes >= order.passes and self._claimed(order):
                self._kill(order, outbox, facts)

    def _outbox(self) -> int:
        try:
            return int(self._client.xlen(outbox_key()))
        except redis.RedisError:
            return 0

    def _claimed(self, order: Order) -> bool:
        try:
            (self._folder / ORDER).rename(self._folder / f"claimed-{order.number}.json")
        except FileNotFoundError:
            return False
        return True

    def _kill(self, order: Order, outbox: int, facts: dict[str, Any]) -> None:
        victim = order.victim or os.getpid()
        evidence = Evidence(order.point, self._passes, time.monotonic(), outbox, victim, facts)
        write_whole(evidence_path(self._folder, order.number), asdict(evidence))
        if order.victim:
            os.killpg(victim, signal.SIGKILL)
        else:
            os.kill(victim, signal.SIGKILL)


def faults_of_environment() -> Faults:
    """Return the faults of the stack that this process was started in."""
    return Faults(Path(os.environ[FOLDER_VARIABLE]), os.environ["REDIS_URL"])
