"""Load from wrk: the generator that costs least beside the server. Closed loop, so it hides queueing."""

import json
import secrets
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.services.processes import find_program

RESERVE_SCRIPT = Path(__file__).with_name("reserve.lua")
READ_SCRIPT = Path(__file__).with_name("read.lua")
RESULT_MARK = "RESULT "
SPARE_SECONDS = 30


class WrkFailed(RuntimeError):
    """wrk did not run or printed no result; the message holds its output."""


@dataclass(frozen=True)
class WrkResult:
    """What wrk saw. `refused`: answers that are neither 2xx nor 3xx; `broken`: connections and time-outs."""

    requests: int
    seconds: float
    refused: int
    broken: int
    latency_ms: dict[str, float]

    @property
    def qps(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds

    @property
    def accepted(self) -> int:
        """Answers of 2xx."""
        return self.requests - self.refused

    @property
    def accepted_per_second(self) -> float:
        """Answers of 2xx per second."""
        return self.accepted / self.seconds


def wrk_missing() -> str | None:
    """Return why wrk cannot run here, None when it can."""
    return None if find_program("wrk") else "no wrk on PATH (Debian: apt-get install wrk)"


@cache
def wrk_version() -> str | None:
    """Return wrk's name and version, None without one."""
    program = find_program("wrk")
    if program is None:
        return None
    answer = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=10, check=False)
    return " ".join((answer.stdout + answer.stderr).split()[:2])


def wrk_run(
    *,
    url: str,
    path: str,
    seconds: int,
    connections: int = 100,
    threads: int = 1,
    tokens: Path | None = None,
    quantity: int = 1,
) -> WrkResult:
    """Send reservations for some seconds, each with the next token of the file and a key of its own.

    tokens: one access token a line (`manage.py load_tokens` writes them); None sends no credentials.
    :raises WrkFailed: wrk is missing, fails or prints no result
    """
    words = [path, str(tokens or ""), secrets.token_hex(6), str(threads), str(quantity)]
    return _wrk(RESERVE_SCRIPT, words, url=url, seconds=seconds, connections=connections, threads=threads)


def wrk_read(*, url: str, requests: Path, seconds: int, connections: int = 100) -> WrkResult:
    """Send GETs for some seconds.

    requests: a file with one path a line, where needed followed by a space and an access token
    :raises WrkFailed: wrk is missing, fails or prints no result
    """
    return _wrk(READ_SCRIPT, [str(requests)], url=url, seconds=seconds, connections=connections, threads=1)


def _wrk(
    script: Path, script_words: list[str], *, url: str, seconds: int, connections: int, threads: int
) -> WrkResult:
    program = find_program("wrk")
    if program is None:
        raise WrkFailed(str(wrk_missing()))
    options = [f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
    done = subprocess.run(
        [program, *options, url, "--", *script_words],
        capture_output=True,
        text=True,
        timeout=seconds + SPARE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise WrkFailed(f"wrk ended with {done.returncode}: {done.stdout}{done.stderr}")
    return wrk_parse(done.stdout)


def wrk_parse(output: str) -> WrkResult:
    """Read the line that the scripts print.

    :raises WrkFailed: there is none
    """
    line = next((line for line in output.splitlines() if line.startswith(RESULT_MARK)), None)
    if line is None:
        raise WrkFailed(f"wrk printed no result:\n{output}")
    found = json.loads(line.removeprefix(RESULT_MARK))
    errors = found["errors"]
    return WrkResult(
        requests=found["requests"],
        seconds=found["duration_us"] / 1e6,
        refused=errors["status"],
        broken=errors["connect"] + errors["read"] + errors["write"] + errors["timeout"],
        latency_ms={name: value / 1e3 for name, value in found["latency_us"].items()},
    )
