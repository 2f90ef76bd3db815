"""Judges one trial: the clients' history against Valkey, Kafka and the database, before and after the close."""

import time
from collections.abc import Iterator, Sequence

from tests.chaos.history import TrialHistory
from tests.load.verdict import Check, Facts, broken_answers, correctness, exit_code, nothing

RANKS = {"queued": 0, "won": 1, "lost": 2}
TERMINAL_SECONDS = 60.0
CLOSE_SECONDS = 20.0


def trail_is_forward(trail: Sequence[str]) -> bool:
    """Tell whether a reservation's statuses only went queued → won → lost; anything else is no status."""
    ranks = [RANKS.get(status, -1) for status in trail]
    return -1 not in ranks and ranks == sorted(ranks)


def judge(history: TrialHistory) -> list[Check]:
    """Wait until all is decided, check everything, close the campaign and check that too."""
    from tests.load.facts import facts_read, settled

    accepted = {name for name, _account in history.accepted}
    seconds = settled(
        campaign_id=history.campaign_id, accepted=accepted, deadline_seconds=history.settle_deadline_seconds
    )
    facts = facts_read(
        campaign_id=history.campaign_id, before=frozenset(), statuses=history.finals, settle_seconds=seconds
    )
    checks = [
        *correctness(
            history=history.as_load_history(), facts=facts, user_ids=history.user_ids, quantity=1, fresh=True
        ),
        *_clients_saw(history),
        *_valkey_agrees(history, facts),
        *_kafka_agrees(history, facts),
    ]
    if exit_code(checks) == 0:  # a sale that does not add up cannot be drained either
        checks += _after_close(history)
    return checks


def _clients_saw(history: TrialHistory) -> Iterator[Check]:
    backwards = [f"{name}: {trail}" for name, trail in history.trails.items() if not trail_is_forward(trail)]
    yield Check("statuses that went backwards or vanished", not backwards, backwards[:5] or 0, "0")
    unseen = {name for name, _ in history.accepted} - history.finals.keys()
    yield nothing("202s whose status was never told", len(unseen))
    open_ones = sum(status not in ("won", "lost") for status in history.finals.values())
    yield nothing("reservations not terminal", open_ones)
    wanted = f"<= {TERMINAL_SECONDS:g}"
    in_time = history.terminal_seconds <= TERMINAL_SECONDS
    yield Check("seconds from healing to all terminal", in_time, round(history.terminal_seconds, 2), wanted)
    yield Check("repeated keys answered otherwise", not history.repeats, history.repeats[:5] or 0, "0")
    yield broken_answers({name: {"count": count} for name, count in history.outcomes.items()})
    yield Check("broken answers to other calls", not history.broken, history.broken or 0, "0")


def _valkey_agrees(history: TrialHistory, facts: Facts) -> Iterator[Check]:
    """Yield whether each row has the record that it should, and each record a row; the outbox is empty."""
    from orders.models import HOLDING
    from seckill import keys
    from seckill.scripts import RecordState
    from seckill.services.reconciliation import campaign_records
    from seckill.store import unverified_store

    store = unverified_store()
    records = campaign_records(store, history.campaign_id)
    wrong = [
        f"{name}: row {row.status}, record {records[name][1].state.name if name in records else None}"
        for name, row in facts.rows.items()
        if name not in records
        or (row.status in HOLDING) != (records[name][1].state == RecordState.CONFIRMED)
        or records[name][1].state == RecordState.RESERVED
    ]
    yield Check("rows that their record contradicts", not wrong, wrong[:5] or 0, "0")
    yield nothing("records without a row", len(records.keys() - facts.rows.keys()))
    yield nothing("202s without a record", len({name for name, _ in history.accepted} - records.keys()))
    yield nothing("outbox entries left", store.client.xlen(keys.outbox_key()))
    yield nothing("units still counted as undecided", int(store.client.hget(keys.shard_key(), "open") or 0))


def _kafka_agrees(history: TrialHistory, facts: Facts) -> Iterator[Check]:
    """Yield whether everything that Kafka holds of this campaign was decided; nothing without Kafka."""
    from django.conf import settings

    if not settings.KAFKA_BOOTSTRAP_SERVERS:
        return
    from orders.events import reservation_id_text
    from tests.chaos.topic import entries_since

    named = {
        reservation_id_text(entry.sale_id, member.reservation)
        for entry in entries_since(history.kafka_offsets)
        if entry.sale_id == history.campaign_id
        for member in entry.members
    }
    yield nothing("reservations in Kafka without an order", len(named - facts.rows.keys()))


def _after_close(history: TrialHistory) -> Iterator[Check]:
    """Close the campaign, let the settler finish, and yield whether every unsold unit is back, once."""
    from django.utils import timezone

    from orders.models import Sale, SalePhase
    from seckill import keys
    from seckill.conservation import conservation
    from seckill.services.campaigns import campaign_close
    from seckill.store import unverified_store
    from shop.catalog.models import Product, StockEntry

    campaign_close(campaign_id=history.campaign_id, reason="trial over", now=timezone.now())
    deadline = time.monotonic() + CLOSE_SECONDS
    key = keys.campaign_key(history.campaign_id)
    while True:
        sale = Sale.objects.get(pk=history.campaign_id)
        left, phase = unverified_store().client.hmget(key, "left", "phase")
        if (sale.phase, phase) == (SalePhase.CLOSED, b"closed") or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    yield Check(
        "closed", (sale.phase, phase) == (SalePhase.CLOSED, b"closed"), f"{sale.phase}, {phase!r}", "both"
    )
    yield nothing("units left in Valkey after close", int(left))
    yield nothing("units neither sold nor handed back", history.allotment - sale.sold - sale.handed_back)
    stock = Product.objects.get(pk=history.product_id).stock
    wanted = history.stock_before - sale.sold
    yield Check("stock = before − sold", stock == wanted, stock, str(wanted))
    moves = list(
        StockEntry.objects.filter(reference=f"campaign {history.campaign_id}")
        .order_by("pk")
        .values_list("delta", flat=True)
    )
    expected = [-history.allotment, *([sale.handed_back] if sale.handed_back else [])]
    yield Check("ledger rows of the campaign", moves == expected, moves, str(expected))
    equation = conservation(campaign_id=history.campaign_id)
    yield Check("equation after close", equation.holds, equation.problems or equation.residue, "holds")


def report(checks: Sequence[Check]) -> str:
    """Return a line a check, breaches first."""
    lines = [
        f"{'ok ' if check.ok else 'BREACH'} {check.name}: {check.found} (wanted {check.wanted})"
        for check in checks
    ]
    return "\n".join(sorted(lines))
