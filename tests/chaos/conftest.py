"""How often and with which seed the kill tests run, and the table that they end with."""

import os
import secrets
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import pytest

from tests.chaos.stack import Stack
from tests.chaos.trial import Fault, Verdict, trial_run

TRIALS = int(os.environ.get("CHAOS_TRIALS", "3"))
SEED = os.environ.get("CHAOS_SEED") or secrets.token_hex(4)
PROPERTY = "chaos"
COLUMNS = "{:<42} {:>6} {:>7} {:>9} {:>9} {:>9} {:>10}  {}"


def trials_of(faults: list[Fault]) -> Callable[[Any], Any]:
    """Return the parametrization: every fault as often as CHAOS_TRIALS says."""
    cases = [
        pytest.param(fault, number, id=f"{fault.point}-{number}")
        for fault in faults
        for number in range(1, TRIALS + 1)
    ]
    return pytest.mark.parametrize(("fault", "number"), cases)


class Keeper:
    """Keeps one stack for the tests of a module, and replaces one that a test has left broken."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._stack: Stack | None = None

    def stack(self) -> Stack:
        """Return the running stack."""
        if self._stack is None:
            self._stack = Stack(self.kind).__enter__()
        return self._stack

    def discard(self) -> None:
        """Let the stack go; the next test gets a new one."""
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.discard()

    def trial(self, fault: Fault, *, seed: str, **patience: float) -> Verdict:
        """Run a trial; a stack in which one raised is not used again."""
        try:
            return trial_run(self.stack(), fault, seed=seed, **patience)
        except BaseException:
            self.discard()
            raise


def kept(kind: str) -> Iterator[Keeper]:
    """Yield a keeper and discard its stack in the end."""
    keeper = Keeper(kind)
    try:
        yield keeper
    finally:
        keeper.discard()


@pytest.fixture
def held(record_property: Callable[[str, object], None]) -> Callable[[Keeper, Fault, int], None]:
    """Return what runs one trial, notes its figures and fails with the oracle's report on a breach."""

    def check(keeper: Keeper, fault: Fault, number: int) -> None:
        verdict = keeper.trial(fault, seed=f"{SEED}/{number}")
        record_property(PROPERTY, _figures(keeper.kind, verdict))
        if not verdict.held:
            logs = keeper.stack().logs()
            keeper.discard()
            pytest.fail(
                f"{fault.name} seed {verdict.seed}: history in {verdict.history}\n{verdict.report}\n{logs}",
                pytrace=False,
            )

    return check


def _figures(kind: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "name": f"{kind} {verdict.fault}",
        "held": verdict.held,
        "not_counted": len(verdict.not_counted),
        "accepted": verdict.accepted,
        "interrupted": verdict.interrupted,
        "recovery": verdict.recovery_seconds,
        "terminal": verdict.terminal_seconds,
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the fault table: a line a point."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == PROPERTY and report.when == "call":
                    rows.setdefault(value["name"], []).append(value)
    if not rows:
        return
    terminalreporter.write_sep("-", f"kills under load, CHAOS_SEED={SEED} CHAOS_TRIALS={TRIALS}")
    titles = ("point", "trials", "skipped", "202s", "cut", "back s", "terminal s", "")
    terminalreporter.write_line(COLUMNS.format(*titles))
    for name, trials in rows.items():
        terminalreporter.write_line(_line(name, trials))


def _line(name: str, trials: list[dict[str, Any]]) -> str:
    ok = sum(trial["held"] for trial in trials)
    return COLUMNS.format(
        name,
        len(trials),
        sum(trial["not_counted"] for trial in trials),
        sum(trial["accepted"] for trial in trials),
        sum(trial["interrupted"] for trial in trials),
        f"{median(trial['recovery'] for trial in trials):.2f}",
        f"{max(trial['terminal'] for trial in trials):.2f}",
        "✓" if ok == len(trials) else f"✗ {len(trials) - ok} of {len(trials)}",
    )
