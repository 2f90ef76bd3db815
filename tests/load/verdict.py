"""Whether a run held: the clients' history against Valkey and the database, and the thresholds asked for."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orders.models import HOLDING, OrderStatus
from tests.load.options import Options
from tests.load.outcomes import History


class OrderRow(NamedTuple):
    """The part of an order that the check looks at."""

    user_id: int | None
    units: int
    status: str
    reason: str


@dataclass(frozen=True)
class Facts:
    """The state after the run. `rows` holds every order of the campaign; ids in `before` were there at the start."""

    allotment: int
    limit: int
    sold: int
    handed_back: int
    residue: int
    in_motion: int
    reserved: int
    problems: list[str]
    rows: dict[str, OrderRow]
    before: frozenset[str] = frozenset()
    statuses: dict[str, str] = field(default_factory=dict)  # a sample, as the API tells them
    settle_seconds: float = 0.0

    @property
    def holding_units(self) -> int:
        """Units of all orders that hold theirs, counted row by row."""
        return sum(row.units for row in self.rows.values() if row.status in HOLDING)


@dataclass(frozen=True)
class Check:
    """One thing that must hold: what was found and what was wanted."""

    name: str
    ok: bool
    found: Any
    wanted: str


def nothing(name: str, found: Any) -> Check:
    """Return a check that wants a number to be 0."""
    return Check(name, not found, found, "0")


def exit_code(checks: Sequence[Check]) -> int:
    """Return 0 when all held, 1 on any breach."""
    return 0 if checks and all(check.ok for check in checks) else 1


def correctness(
    *, history: History, facts: Facts, user_ids: Sequence[int], quantity: int, fresh: bool
) -> list[Check]:
    """Check that nothing was oversold, lost or doubled.

    user_ids: the accounts' users, by position. quantity: units a request. fresh: the campaign was made for this
    run, so that its sales can be told from the history alone.
    """
    checks = [
        nothing("oversold units", _oversold(facts)),
        nothing("sold counter minus its orders", facts.sold - facts.holding_units),
        nothing("residue of the equation", facts.residue),
        Check("equation", not facts.problems, facts.problems or "holds", "holds"),
        nothing("units still in motion", facts.in_motion + facts.reserved),
        *_promises(history, facts, user_ids, quantity),
        nothing("users over the limit", len(_over_limit(facts))),
        nothing("orders nobody was told of", len(_untold(history, facts, user_ids))),
        nothing("statuses that contradict the order", len(_contradicted(facts))),
        nothing("requests without an answer", history.unanswered),
    ]
    if fresh:
        checks.append(_sold_as_demanded(history, facts, quantity))
    return checks


def _oversold(facts: Facts) -> int:
    return max(max(facts.holding_units, facts.sold) + facts.handed_back - facts.allotment, 0)


def _promises(history: History, facts: Facts, user_ids: Sequence[int], quantity: int) -> Iterator[Check]:
    """Yield what each 202 promised: one row, for that user, with those units, and a reason if it was refused."""
    names = Counter(name for name, _account in history.accepted)
    rows = [(facts.rows.get(name), account) for name, account in history.accepted]
    yield nothing("202s without an order", sum(row is None for row, _account in rows))
    yield nothing("reservations given twice", sum(count - 1 for count in names.values()))
    wrong = sum(
        row is not None and (row.user_id, row.units) != (user_ids[who], quantity) for row, who in rows
    )
    yield nothing("orders that differ from the request", wrong)
    refused = [row for row in facts.rows.values() if row.status == OrderStatus.REFUSED]
    yield nothing("refused without a reason", sum(not row.reason for row in refused))


def _over_limit(facts: Facts) -> list[int]:
    """Return the users whose orders hold more units than the campaign allows."""
    held: Counter[int] = Counter()
    for row in facts.rows.values():
        if row.status in HOLDING and row.user_id is not None:
            held[row.user_id] += row.units
    return [user_id for user_id, units in held.items() if units > facts.limit]


def _untold(history: History, facts: Facts, user_ids: Sequence[int]) -> list[str]:
    """Return new orders of our accounts that no client knows of and no request without an answer explains."""
    told = {name for name, _account in history.accepted}
    unexplained = Counter({user_ids[account]: count for account, count in history.open_ended.items()})
    ours, found = set(user_ids), []
    for name, row in facts.rows.items():
        if name in told or name in facts.before or row.user_id not in ours:
            continue
        if unexplained[row.user_id] > 0:
            unexplained[row.user_id] -= 1
        else:
            found.append(name)
    return found


def _contradicted(facts: Facts) -> list[str]:
    """Return the sampled reservations whose status is not what their order row says; without a row, none is."""
    found = []
    for name, status in facts.statuses.items():
        row = facts.rows.get(name)
        if row is None or status != ("won" if row.status in HOLDING else "lost"):
            found.append(name)
    return found


def _sold_as_demanded(history: History, facts: Facts, quantity: int) -> Check:
    """Check sold = min(allotment, demand); requests without a final answer leave the demand a range."""
    most_each = facts.limit // quantity
    stock = facts.allotment // quantity * quantity
    demand = _demand(history.decided, most_each) * quantity
    largest = _demand(history.decided + history.open_ended, most_each) * quantity
    low, high = min(stock, demand), min(stock, largest)
    # Orders that were refused or ended gave their units back; nobody need have come for them again.
    came_back = sum(row.units for row in facts.rows.values() if row.status not in HOLDING)
    ok = facts.sold <= high and facts.sold + came_back >= low
    wanted = str(low) if low == high and not came_back else f"{max(low - came_back, 0)} to {high}"
    return Check("units sold = min(allotment, demand)", ok, facts.sold, wanted)


def _demand(requests: Counter[int], most_each: int) -> int:
    return sum(min(count, most_each) for count in requests.values())


def broken_answers(outcomes: dict[str, dict[str, float]]) -> Check:
    """Check that the server never broke: of the 5xx only 503 is a refusal."""
    count = sum(
        row["count"] for name, row in outcomes.items() if name[0] == "5" and not name.startswith("503")
    )
    return nothing("5xx answers other than 503", int(count))


def thresholds(*, options: Options, qps: float, overall: dict[str, float]) -> list[Check]:
    """Check the figures that the command line put a bound on."""
    checks = []
    if options.min_qps is not None:
        checks.append(
            Check("answers per second", qps >= options.min_qps, round(qps, 1), f">= {options.min_qps:g}")
        )
    for name, bound in (("mean_ms", options.max_mean_ms), ("p99_ms", options.max_p99_ms)):
        if bound is not None:
            found = overall.get(name)
            checks.append(Check(name, found is not None and found <= bound, found, f"<= {bound:g}"))
    return checks
