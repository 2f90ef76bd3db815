"""Load where there is no wrk: tests.load's client, as a process of its own.

    python -m bench.client --url URL --path PATH --seconds N --connections N [--tokens FILE]

Prints the line that bench/reserve.lua prints. It costs more CPU a request than wrk, on the cores that the server
works on too, so rates are lower; CPU of the server a request stays comparable.
"""

import argparse
import json
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.servers import ROOT
from bench.wrk import RESULT_MARK, SPARE_SECONDS, WrkFailed, WrkResult, wrk_missing, wrk_parse, wrk_run
from tests.load.outcomes import Recorder, summary_ms
from tests.load.run import LoadRun, Plan
from tests.load.wire import Messages

MANY_REQUESTS = 10**9  # time ends the run, not their number


def load_run(*, url: str, path: str, seconds: int, connections: int, tokens: Path | None = None) -> WrkResult:
    """Send reservations for some seconds, from wrk or, without one, from this module as a process.

    :raises WrkFailed: the generator fails or prints no result
    """
    if wrk_missing() is None:
        return wrk_run(url=url, path=path, seconds=seconds, connections=connections, tokens=tokens)
    words = ["--url", url, "--path", path, "--seconds", str(seconds), "--connections", str(connections)]
    words += ["--tokens", str(tokens)] if tokens else []
    done = subprocess.run(
        [sys.executable, "-m", "bench.client", *words],
        capture_output=True,
        text=True,
        timeout=seconds + SPARE_SECONDS,
        check=False,
        cwd=ROOT,
    )
    if done.returncode != 0:
        raise WrkFailed(f"the client ended with {done.returncode}: {done.stdout}{done.stderr}")
    return wrk_parse(done.stdout)


def send(*, url: str, path: str, seconds: int, connections: int, tokens: Sequence[str]) -> dict[str, object]:
    """Send reservations, as fast as answers come, and return what wrk would print."""
    plan = Plan(
        url=url,
        users=connections,
        requests=MANY_REQUESTS,
        qps=0,
        seconds=seconds,
        accounts=len(tokens),
        open_loop=False,
        seed=0,
        timeout_seconds=10,
        give_up_seconds=10,
    )
    messages = Messages(url=url, path=path, tokens=tokens, quantity=1, run_id=secrets.token_hex(6))
    recorder = Recorder(retries=0)
    run = LoadRun(plan=plan, messages=messages, recorder=recorder)
    uvloop.run(run.run())
    latency = summary_ms(recorder.all_latencies())
    return {
        "requests": recorder.answers,
        "duration_us": int(run.timing.seconds * 1e6),
        "bytes": 0,
        "errors": {
            "connect": 0,
            "read": sum(recorder.errors.values()),
            "write": 0,
            "status": recorder.answers - recorder.accepted,
            "timeout": recorder.history.unanswered,
        },
        "latency_us": {
            name.removesuffix("_ms"): value * 1e3 for name, value in latency.items() if name != "count"
        },
    }


def main() -> int:
    """Send what the command line says and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--tokens", type=Path)
    given = parser.parse_args()
    tokens = given.tokens.read_text().split() if given.tokens else ["none"]
    result = send(
        url=given.url, path=given.path, seconds=given.seconds, connections=given.connections, tokens=tokens
    )
    print(RESULT_MARK + json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
