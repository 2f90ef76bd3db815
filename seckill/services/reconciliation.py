"""The start-up check: compare a server that (re)started with the database before anyone trusts it.

Passing sets `boot` in the shard's hash to the server's `master_replid`; until then every connection that
reserves, settles or answers status refuses to open, so the sale is paused and nothing is lost.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Max

from orders.events import Entry, entry_order, reservation_id_text
from orders.models import HOLDING, Order, SalePhase
from orders.selectors import readmissions_due, returns_due
from orders.services.place import entries_place
from seckill import keys, outbox, scripts
from seckill.models import Campaign, CampaignOperation
from seckill.scripts import Record, RecordState
from seckill.services.outcomes import RecordMissing, decided_apply, outcomes_apply
from seckill.store import SaleStore, replid_of

logger = logging.getLogger("seckill.reconciliation")

SETTLE_LIMIT = 5_000
ENTRIES_AT_ONCE = 64  # of at most 128 reservations each: one look-up of 8,192 ids


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in which Valkey and the database differ. campaign_id is None when it concerns the server."""

    campaign_id: int | None
    text: str


def server_id(store: SaleStore) -> str:
    """Return the id of the running server: new after every restart and promotion."""
    return replid_of(store.commands([("INFO", "replication")])[0])


def server_is_verified(store: SaleStore) -> bool:
    """Tell whether the running server is the one that was compared."""
    boot = store.client.hget(keys.shard_key(), "boot")
    return boot is not None and boot.decode() == server_id(store)


def server_verify(*, store: SaleStore, now: datetime) -> list[Finding]:
    """Settle what has rows, compare everything, and set `boot` if nothing differs; return what differs.

    store: of unverified connections. Repeating it on a verified server changes nothing.
    """
    replid = server_id(store)
    boot = store.client.hget(keys.shard_key(), "boot")
    if boot is not None and boot.decode() == replid:
        return []
    findings = list(_settle_what_has_rows(store, now=now))
    findings += server_compare(store)
    if findings:
        return findings
    store.client.hset(keys.shard_key(), mapping={"boot": replid, "open_max": settings.SALE_OPEN_MAX})
    store.client.hsetnx(keys.shard_key(), "open", "0")
    logger.warning("the sale's server %s was compared with the database and is trusted", replid[:8])
    return []


def server_compare(store: SaleStore) -> list[Finding]:
    """Return every difference between the server and the database; changes nothing."""
    findings = []
    campaigns = Campaign.objects.filter(published_at__isnull=False).select_related("sale")
    waiting = _outbox_units(store)
    for campaign in campaigns.exclude(sale__phase=SalePhase.CLOSED):
        findings += [
            Finding(campaign.pk, text)
            for text in _campaign_compare(store, campaign, waiting.get(campaign.pk, {}))
        ]
    for (entry_id, _), error in outbox.entries_split(store.client.xrange(keys.outbox_key()))[1]:
        findings.append(Finding(None, f"outbox entry {entry_id.decode()} cannot be read: {error}"))
    undecided = sum(units for members in waiting.values() for units in members.values())
    opened = int(store.client.hget(keys.shard_key(), "open") or 0)
    if opened != undecided:
        findings.append(Finding(None, f"{opened} undecided units are counted, the outbox holds {undecided}"))
    return findings


def _settle_what_has_rows(store: SaleStore, *, now: datetime) -> Iterable[Finding]:
    """Repeat on this server what the database has decided already, so that only real differences remain."""
    try:
        with_rows = [entry for entry in _all_entries(store) if _all_have_rows(entry)]
        for start in range(0, len(with_rows), ENTRIES_AT_ONCE):
            some = with_rows[start : start + ENTRIES_AT_ONCE]
            decided_apply(decided=entries_place(entries=some, source="start-up", now=now), store=store)
        outcomes_apply(outcomes=returns_due(SETTLE_LIMIT), store=store, now=now)
        outcomes_apply(outcomes=readmissions_due(SETTLE_LIMIT), store=store, now=now)
    except RecordMissing as error:
        for campaign_id in error.campaign_ids:
            yield Finding(campaign_id, "a won order has no record in Valkey")


def _all_entries(store: SaleStore) -> list[Entry]:
    return outbox.entries_split(store.client.xrange(keys.outbox_key()))[0]


def _all_have_rows(entry: Entry) -> bool:
    ids = [reservation_id_text(entry.sale_id, member.reservation) for member in entry.members]
    return Order.objects.filter(reservation_id__in=ids).count() == len(set(ids))


def _outbox_units(store: SaleStore) -> dict[int, dict[bytes, int]]:
    """Return {campaign: {reservation: units}} of what still is in the outbox without an outcome."""
    waiting: dict[int, dict[bytes, int]] = {}
    for entry in _all_entries(store):
        packed = store.client.hmget(keys.users_key(entry.sale_id), [str(m.user_id) for m in entry.members])
        for member, records in zip(entry.members, packed, strict=True):
            for record in scripts.records_unpack(records):
                if record.reservation == member.reservation and record.state == RecordState.RESERVED:
                    waiting.setdefault(entry.sale_id, {})[record.reservation] = record.units
    return waiting


def campaign_records(store: SaleStore, campaign_id: int) -> dict[str, tuple[int, Record]]:
    """Return {reservation id: (user id, record)} of a campaign."""
    records = {}
    for user, packed in store.client.hscan_iter(keys.users_key(campaign_id), count=1_000):
        for record in scripts.records_unpack(packed):
            records[reservation_id_text(campaign_id, record.reservation)] = (int(user), record)
    return records


def _campaign_compare(store: SaleStore, campaign: Campaign, waiting: dict[bytes, int]) -> Iterable[str]:
    raw = store.client.hgetall(keys.campaign_key(campaign.pk))
    if not raw:
        yield "its hash is missing"
        return
    fields: dict[str, str] = {name.decode(): value.decode("latin-1") for name, value in raw.items()}
    records = campaign_records(store, campaign.pk)
    yield from _compare_rules(campaign, fields)
    yield from _compare_counters(campaign, fields, [record for _, record in records.values()], waiting)
    yield from _compare_rows(campaign, records)
    if entry_order(_last_id(store)) < entry_order(campaign.sale.last_entry):
        yield f"the outbox ends before entry {campaign.sale.last_entry}, which the database has decided"


def _last_id(store: SaleStore) -> str:
    """Return the id of the last entry that was ever in the outbox."""
    if not store.client.exists(keys.outbox_key()):
        return "0-0"
    info: dict[Any, Any] = store.client.xinfo_stream(keys.outbox_key())
    value = info.get("last-generated-id", info.get(b"last-generated-id"))
    return value.decode() if isinstance(value, bytes) else str(value)


def _compare_rules(campaign: Campaign, fields: dict[str, str]) -> Iterable[str]:
    sale = campaign.sale
    if int(fields["epoch"]) != sale.epoch:
        yield f"epoch {fields['epoch']} in Valkey, {sale.epoch} in the database"
    done = (
        CampaignOperation.objects.filter(campaign=campaign, done_at__isnull=False).aggregate(
            last=Max("number")
        )["last"]
        or 0
    )
    if int(fields["op"]) < done:
        yield f"operation {done} is done, Valkey has seen only {fields['op']}"
    if fields["phase"] != "closed" and int(fields["allotment"]) != sale.allotment:
        yield f"allotment {fields['allotment']} in Valkey, {sale.allotment} in the database"


def _compare_counters(
    campaign: Campaign, fields: dict[str, str], records: list[Record], waiting: dict[bytes, int]
) -> Iterable[str]:
    left, reserved, confirmed = (int(fields[name]) for name in ("left", "reserved", "confirmed"))
    if left < 0 or left + reserved + confirmed != int(fields["allotment"]):
        yield f"left {left} + reserved {reserved} + confirmed {confirmed} is not {fields['allotment']}"
    held = {state: sum(r.units for r in records if r.state == state) for state in RecordState}
    if reserved != held[RecordState.RESERVED] or confirmed != held[RecordState.CONFIRMED]:
        yield (
            f"the records hold {held[RecordState.RESERVED]} reserved and {held[RecordState.CONFIRMED]} confirmed, "
            f"the counters say {reserved} and {confirmed}"
        )
    if reserved != sum(waiting.values()):
        yield f"{reserved} units are reserved, the outbox holds {sum(waiting.values())}"
    if confirmed != campaign.sale.sold:
        yield f"{confirmed} units are confirmed in Valkey, {campaign.sale.sold} are sold in the database"


def _compare_rows(campaign: Campaign, records: dict[str, tuple[int, Record]]) -> Iterable[str]:
    """Each row's state against its record's, and no confirmed record without a row."""
    rows = dict(Order.objects.filter(sale_id=campaign.pk).values_list("reservation_id", "status"))
    for reservation_id, status in rows.items():
        found = records.get(reservation_id or "")
        held = status in HOLDING
        if held and (found is None or found[1].state != RecordState.CONFIRMED):
            yield f"{reservation_id} is {status} in the database and not confirmed in Valkey"
        if not held and found is not None and found[1].state == RecordState.CONFIRMED:
            yield f"{reservation_id} is {status} in the database and confirmed in Valkey"
    for reservation_id, (_, record) in records.items():
        if record.state == RecordState.CONFIRMED and reservation_id not in rows:
            yield f"{reservation_id} is confirmed in Valkey and has no row"
