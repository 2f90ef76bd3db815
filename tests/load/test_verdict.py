"""The verdict: a run that held passes, and each single breach turns the exit code to 1."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.load.options import Options
from tests.load.outcomes import History
from tests.load.verdict import Facts, OrderRow, broken_answers, correctness, exit_code, thresholds

USERS = [11, 12, 13]
ACCEPTED = [("1-a", 0), ("1-b", 1)]


def history(**changes) -> History:
    settings = {"accepted": list(ACCEPTED), "decided": Counter({0: 1, 1: 1, 2: 1})}
    return History(**{**settings, **changes})


def facts(**changes) -> Facts:
    rows = {"1-a": OrderRow(11, 1, "pending", ""), "1-b": OrderRow(12, 1, "pending", "")}
    sound = Facts(
        allotment=2,
        limit=1,
        sold=2,
        handed_back=0,
        residue=0,
        in_motion=0,
        reserved=0,
        problems=[],
        rows=rows,
        statuses={"1-a": "won"},
    )
    return replace(sound, **changes)


def breaches(seen: History, found: Facts, *, fresh: bool = True) -> set[str]:
    checks = correctness(history=seen, facts=found, user_ids=USERS, quantity=1, fresh=fresh)
    assert exit_code(checks) == (1 if any(not check.ok for check in checks) else 0)
    return {check.name for check in checks if not check.ok}


def test_a_run_that_held_passes():
    assert breaches(history(), facts()) == set()


def more(name: str, row: OrderRow) -> dict[str, OrderRow]:
    return {**facts().rows, name: row}


REFUSED = {**facts().rows, "1-b": OrderRow(12, 1, "refused", "sold_out")}
BREACHES = {
    "oversold": (facts(allotment=1), {"oversold units", "units sold = min(allotment, demand)"}),
    "counter": (facts(sold=1), {"sold counter minus its orders", "units sold = min(allotment, demand)"}),
    "residue": (facts(residue=-1), {"residue of the equation"}),
    "equation": (facts(problems=["left + reserved + confirmed"]), {"equation"}),
    "motion": (facts(in_motion=1), {"units still in motion"}),
    "lost order": (
        facts(rows={"1-a": facts().rows["1-a"]}, sold=1),
        {"202s without an order", "units sold = min(allotment, demand)"},
    ),
    "other user's": (
        facts(rows={**facts().rows, "1-b": OrderRow(13, 1, "pending", "")}),
        {"orders that differ from the request"},
    ),
    "no reason": (
        facts(rows={**facts().rows, "1-b": OrderRow(12, 1, "refused", "")}, sold=1),
        {"refused without a reason"},
    ),
    "over limit": (
        facts(allotment=3, sold=3, rows=more("1-c", OrderRow(12, 1, "paid", ""))),
        {"users over the limit", "orders nobody was told of"},
    ),
    "untold": (
        facts(allotment=3, sold=3, rows=more("1-c", OrderRow(13, 1, "paid", ""))),
        {"orders nobody was told of"},
    ),
    "status": (facts(statuses={"1-a": "queued"}), {"statuses that contradict the order"}),
}


@pytest.mark.parametrize("name", BREACHES)
def test_each_breach_is_found_by_name(name):
    found, expected = BREACHES[name]
    assert breaches(history(), found) == expected


def test_a_reservation_given_to_two_requests_is_a_breach():
    seen = history(accepted=[("1-a", 0), ("1-a", 0), ("1-b", 1)])
    assert breaches(seen, facts()) == {"reservations given twice"}


def test_a_request_without_an_answer_is_a_breach_though_it_may_have_sold():
    seen = history(accepted=ACCEPTED[:1], unanswered=1, decided=Counter({0: 1}), open_ended=Counter({1: 1}))
    assert breaches(seen, facts()) == {"requests without an answer"}


def test_a_reasoned_refusal_is_no_breach():
    assert breaches(history(), facts(rows=REFUSED, sold=1)) == set()


def test_units_unsold_while_somebody_was_refused_is_a_breach():
    seen = history(accepted=ACCEPTED[:1])
    found = facts(rows={"1-a": facts().rows["1-a"]}, sold=1, statuses={})
    assert breaches(seen, found) == {"units sold = min(allotment, demand)"}


def test_orders_from_before_the_run_are_not_ours_to_explain():
    rows = more("1-old", OrderRow(13, 1, "paid", ""))
    assert (
        breaches(history(), facts(allotment=3, sold=3, rows=rows, before=frozenset({"1-old"})), fresh=False)
        == set()
    )


def test_thresholds_are_bounds():
    options = Options(max_p99_ms=50, max_mean_ms=10, min_qps=990)
    good = thresholds(options=options, qps=990, overall={"p99_ms": 50, "mean_ms": 10})
    bad = thresholds(options=options, qps=989.9, overall={"p99_ms": 50.1, "mean_ms": 10.1})
    assert [check.ok for check in good] == [True, True, True]
    assert [check.ok for check in bad] == [False, False, False]
    assert (exit_code(good), exit_code(bad)) == (0, 1)
    assert thresholds(options=Options(), qps=1, overall={}) == []


def test_a_threshold_without_any_answer_is_missed():
    assert exit_code(thresholds(options=Options(max_p99_ms=50), qps=0, overall={"count": 0})) == 1


def test_broken_answers_are_5xx_without_503():
    row = {"count": 2.0}
    assert broken_answers({"202 accepted": row, "503 seckill.busy": row, "409 x": row}).ok
    assert broken_answers({"502": row, "500 error": row}).found == 4


def test_no_checks_is_no_pass():
    assert exit_code([]) == 1
