"""The command line of the load driver."""

import argparse
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What was asked for. Rates are requests per second; `qps` 0 means as fast as possible."""

    url: str | None = None
    campaign: int | None = None
    users: int = 100
    requests: int = 10_000
    qps: float = 1_000.0
    seconds: float = 60.0
    accounts: int = 10_000
    quantity: int = 1
    units: int = 2_000
    limit: int = 2
    open_loop: bool = False
    seed: int = 0
    retries: int = 3
    timeout_seconds: float = 10.0
    give_up_seconds: float = 10.0
    settle_seconds: float = 60.0
    max_p99_ms: float | None = None
    max_mean_ms: float | None = None
    min_qps: float | None = None
    pids: tuple[int, ...] = ()
    allow_outside_demo: bool = False
    quiet: bool = False
    json_path: Path | None = None


def _whole(least: int):
    def parse(word: str) -> int:
        value = int(word)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return parse


def _number(word: str) -> float:
    value = float(word)
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{word} is not a number from 0 up")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.load",
        description="Reserve under load over HTTP, then check against Valkey and the database that nothing was "
        "lost or sold twice. Exit code: 0 all held, 1 a breach, 2 it could not run.",
    )
    _load_options(parser.add_argument)
    _check_options(parser.add_argument)
    return parser


def _load_options(add: Callable[..., argparse.Action]) -> None:
    """Add what is sent, where and how fast."""
    add("--url", help="the shop's address (default: the running demo's, else http://127.0.0.1:8000)")
    add("--campaign", type=int, help="an existing campaign's id (default: a new one is made)")
    add(
        "--users",
        type=_whole(1),
        default=100,
        help="concurrent clients, one kept-alive connection each (100)",
    )
    add("--requests", type=_whole(1), default=10_000, help="requests in all (10000)")
    add("--qps", type=_number, default=1_000.0, help="requests per second, 0 for as fast as possible (1000)")
    add("--seconds", type=_number, default=60.0, help="longest sending time (60)")
    add(
        "--accounts",
        type=_whole(1),
        default=10_000,
        help="accounts that the requests are spread over (10000)",
    )
    add("--quantity", type=_whole(1), default=1, help="units a request (1)")
    add("--units", type=_whole(1), default=2_000, help="allotment of the campaign that is made (2000)")
    add("--limit", type=_whole(1), default=2, help="limit per user of the campaign that is made (2)")
    add(
        "--open",
        dest="open_loop",
        action="store_true",
        help="open loop: arrivals by the clock, answered or not",
    )
    add("--seed", type=int, help="seed of the arrivals (default: random, printed)")


def _check_options(add: Callable[..., argparse.Action]) -> None:
    """Add how patient the clients are, what is checked and what is shown."""
    add(
        "--retries",
        type=_whole(0),
        default=3,
        help="repeats with the same key after 503 or a lost connection (3)",
    )
    add("--timeout-seconds", type=_number, default=10.0, help="a client's patience with one answer (10)")
    add(
        "--give-up-seconds",
        type=_number,
        default=10.0,
        help="open loop: longest wait for a free connection (10)",
    )
    add(
        "--settle-seconds", type=_number, default=60.0, help="time for all to become terminal afterwards (60)"
    )
    add("--max-p99-ms", type=_number, help="breach if the 99th percentile of all answers is above")
    add("--max-mean-ms", type=_number, help="breach if the mean of all answers is above")
    add("--min-qps", type=_number, help="breach if fewer answers arrive per second")
    add(
        "--pid",
        dest="pids",
        type=int,
        action="append",
        default=[],
        help="a server process to measure (repeatable)",
    )
    add("--allow-outside-demo", action="store_true", help="make load accounts where demo data is off too")
    add("--quiet", action="store_true", help="no progress, only the verdict")
    add("--json", dest="json_path", type=Path, help="file for the whole report as JSON")


def options_parse(words: list[str]) -> Options:
    """Parse the command line; argparse ends the process with code 2 on a mistake."""
    parser = _parser()
    given = vars(parser.parse_args(words))
    if given["open_loop"] and not given["qps"]:
        parser.error("--open needs --qps above 0: its arrivals follow the clock")
    if given["campaign"] is None and given["quantity"] > given["limit"]:
        parser.error("--quantity is above --limit: every request would be refused")
    if given["seed"] is None:
        given["seed"] = secrets.randbelow(2**32)
    given["pids"] = tuple(given["pids"])
    return Options(**given)
