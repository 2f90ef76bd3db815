"""Benchmarks, as ratios measured on this machine: python -m bench [S1 S2 …] [--seconds N] [--pairs N].

docs/benchmarks.md tells what each number means. Exit code 0 when all work was proven, whatever was reached; 1 when
a benchmark could not prove its work or could not run.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench import machine
from bench.refusals import refusal_rows
from bench.reservations import ceiling_rows, classic_rows, durability_rows, script_rows
from bench.rows import Row, table_markdown, table_text
from bench.servers import BUILT, ROOT
from bench.stack import ACCOUNTS, RATE_LIMIT, SaleStack
from bench.stress import log_rows, stress_rows
from bench.turns import ProofFailed

ON_THE_STACK: dict[str, Callable[..., list[Row]]] = {
    "S1": classic_rows,
    "S2": script_rows,
    "S3": ceiling_rows,
    "S4": refusal_rows,
    "S6": durability_rows,
}
GOALS = (*ON_THE_STACK, "S15", "S17")
BLOCK_BEGIN, BLOCK_END = "<!-- bench: begin, written by the command above -->", "<!-- bench: end -->"
LONGEST_TURN_SECONDS = 15  # longer ones would use up the accounts' limit of 20 units a campaign
NOTES = (
    f"{ACCOUNTS:,} accounts, each turn a campaign of its own with a limit of 20 units a user; no worker, so the outbox "
    f"grows; rate limit {RATE_LIMIT} in 10 s an account, since the accounts are used again and again.\n"
    "Tokens were verified before the turn, except where a row says otherwise. The peers check no credentials and "
    "make every request a new user.\n"
    "CPU is user + system time of the process trees. Load generator, servers and Valkey share the cores.\n"
    "A ratio is the median over rounds in which the subjects took turns."
)


def say(text: str) -> None:
    """Tell how far it is; the table alone goes to standard output."""
    print(f"· {text}", file=sys.stderr, flush=True)


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("goals", nargs="*", metavar="GOAL", help=f"any of {' '.join(GOALS)} (default: all)")
    parser.add_argument("--seconds", type=int, default=5, help="length of a turn, 1 to 15 (5)")
    parser.add_argument("--pairs", type=int, default=5, help="rounds that a ratio is the median of (5)")
    parser.add_argument("--json", type=Path, help="write rows and facts to this file too")
    parser.add_argument(
        "--write", type=Path, help="put the table into this document, between its bench marks"
    )
    options = parser.parse_args(words)
    options.goals = [goal.upper() for goal in options.goals] or list(GOALS)
    unknown = [goal for goal in options.goals if goal not in GOALS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}: one of {' '.join(GOALS)}")
    if not 1 <= options.seconds <= LONGEST_TURN_SECONDS or options.pairs < 1:
        parser.error(f"--seconds is 1 to {LONGEST_TURN_SECONDS}, --pairs at least 1")
    if options.write and BLOCK_BEGIN not in options.write.read_text():
        parser.error(f"{options.write} has no line {BLOCK_BEGIN}")
    return options


class Bench:
    """One run: the rows so far, and whether any benchmark failed to prove its work."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.failed = False

    def measure(self, goal: str, work: Callable[[], list[Row]]) -> None:
        """Add a benchmark's rows, or the row that tells why there are none; go on with the next either way."""
        say(f"{goal} …")
        try:
            self.rows += work()
        except ProofFailed as error:
            self._fail(goal, str(error))
        except Exception as error:  # noqa: BLE001  the reason is printed, and the exit code is 1
            # One benchmark that cannot run must not hide what the others measured.
            traceback.print_exc()
            self._fail(goal, f"{type(error).__name__}: {error}".splitlines()[0])

    def _fail(self, goal: str, reason: str) -> None:
        self.failed = True
        self.rows.append(Row(goal, "all of it", missing=reason, broken=True))


def run(options: argparse.Namespace) -> Bench:
    """Measure what was asked for, one benchmark after the other."""
    bench = Bench()
    turns: dict[str, Any] = {"pairs": options.pairs, "seconds": options.seconds, "say": say}
    with ExitStack() as closing:
        asked = [goal for goal in ON_THE_STACK if goal in options.goals]
        if asked:
            stack = closing.enter_context(SaleStack(say=say))
            for goal in asked:
                bench.measure(goal, partial(ON_THE_STACK[goal], stack, **turns))
    if "S15" in options.goals:
        bench.measure("S15", lambda: log_rows(pairs=options.pairs, say=say))
    if "S17" in options.goals:
        bench.measure("S17", lambda: stress_rows(say=say))
    return bench


def block(rows: Sequence[Row], facts: dict[str, str], command: str) -> str:
    """Return the text that goes between a document's marks."""
    head = [f"- {name}: {value}" for name, value in facts.items()]
    return "\n".join([BLOCK_BEGIN, "", f"`{command}`", "", *head, "", table_markdown(rows), "", BLOCK_END])


def block_write(path: Path, text: str) -> None:
    """Replace what is between the marks."""
    before, rest = path.read_text().split(BLOCK_BEGIN, 1)
    path.write_text(before + text + rest.split(BLOCK_END, 1)[1])


def _without_json_path(words: Sequence[str]) -> str:
    """Return the command for the page: where one machine put its report is of no use to a reader."""
    kept = list(words)
    while "--json" in kept:
        at = kept.index("--json")
        del kept[at : at + 2]
    return " ".join(["python -m bench", *(word for word in kept if not word.startswith("--json="))])


def main(words: Sequence[str]) -> int:
    """Measure, print, and return the exit code."""
    options = _options(words)
    BUILT.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python -m bench", *words])
    facts = machine.facts(BUILT)
    bench = run(options)
    facts["load average after"] = machine.load_average()
    print(command, *(f"{name}: {value}" for name, value in facts.items()), "", sep="\n")
    print(table_text(bench.rows))
    if set(options.goals) & set(ON_THE_STACK):
        print("", NOTES, sep="\n")
    if options.json:
        rows = [row.as_json() for row in bench.rows]
        report = {"command": command, "facts": facts, "rows": rows}
        options.json.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    if options.write:
        block_write(options.write, block(bench.rows, facts, _without_json_path(words)))
    return 1 if bench.failed else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    raise SystemExit(main(sys.argv[1:]))
