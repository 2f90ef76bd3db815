"""What must hold after every step of a schedule, and what must have become of everything at its end."""

from collections import Counter
from dataclasses import dataclass

from orders.events import reservation_id_text
from orders.models import HOLDING, Order, OrderStatus, Payment, PaymentStatus, Refund, Sale, SalePhase
from orders.services.refunds import refund_send
from seckill import keys, outbox, scripts
from seckill.conservation import conservation
from seckill.models import CampaignOperation
from seckill.scripts import Record, RecordState
from seckill.store import unverified_store
from shop.catalog.models import Product
from tests.seckill.schedules import LIMIT, STOCK, World, Wrong

RESERVED, CONFIRMED, RELEASED = RecordState.RESERVED, RecordState.CONFIRMED, RecordState.RELEASED


@dataclass(frozen=True)
class Seen:
    """The sale's server at one moment."""

    numbers: dict[str, int]
    phase: str
    records: dict[str, tuple[int, Record]]
    waiting: set[str]
    open_units: int


def require(holds: bool, text: str) -> None:
    """Raise unless it holds."""
    if not holds:
        raise Wrong(text)


def look(world: World) -> Seen:
    """Read the server, raising where one reservation has two records."""
    pk, client = world.campaign.pk, unverified_store().client
    fields = {name.decode(): value for name, value in client.hgetall(keys.campaign_key(pk)).items()}
    names = ("allotment", "left", "reserved", "confirmed", "op")
    records: dict[str, tuple[int, Record]] = {}
    for user, packed in client.hgetall(keys.users_key(pk)).items():
        for record in scripts.records_unpack(packed):
            rid = reservation_id_text(pk, record.reservation)
            require(rid not in records, f"{rid} has two records")
            records[rid] = (int(user), record)
    entries = [outbox.entry_decode(raw) for raw in client.xrange(keys.outbox_key())]
    waiting = {reservation_id_text(pk, m.reservation) for entry in entries for m in entry.members}
    numbers = {name: int(fields[name]) for name in names}
    opened = int(client.hget(keys.shard_key(), "open") or 0)
    return Seen(numbers, fields["phase"].decode(), records, waiting, opened)


def valkey_check(seen: Seen) -> None:
    """left + reserved + confirmed = allotment, and the records add up to exactly these counters."""
    n = seen.numbers
    require(min(n.values()) >= 0, f"a counter is below zero: {n}")
    require(n["left"] + n["reserved"] + n["confirmed"] == n["allotment"], f"Valkey's sum: {n}")
    held: Counter[RecordState] = Counter()
    quota: Counter[int] = Counter()
    for user, record in seen.records.values():
        held[record.state] += record.units
        quota[user] += record.units * (record.state != RELEASED)
    require((held[RESERVED], held[CONFIRMED]) == (n["reserved"], n["confirmed"]), f"records: {held}, {n}")
    require(seen.open_units == held[RESERVED], f"open {seen.open_units}, reserved {held[RESERVED]}")
    require(max(quota.values(), default=0) <= LIMIT, f"over the limit in Valkey: {quota}")
    for rid, (_, record) in seen.records.items():
        require(record.state != RESERVED or rid in seen.waiting, f"{rid} is reserved and in no entry")


def database_check(world: World) -> dict[str, Order]:
    """sold = what the orders hold, nothing oversold, nobody over the limit, no unit appears or vanishes."""
    sale = Sale.objects.get(pk=world.campaign.pk)
    rows = {order.reservation_id or "": order for order in Order.objects.filter(sale_id=sale.pk)}
    holding = [order for order in rows.values() if order.status in HOLDING]
    quota: Counter[int | None] = Counter()
    for order in holding:
        quota[order.user_id] += order.units
    require(sale.sold == sum(quota.values()), f"sold {sale.sold}, held {quota}")
    require(sale.sold + sale.handed_back <= sale.allotment, f"oversold: {sale.sold} + {sale.handed_back}")
    require(max(quota.values(), default=0) <= LIMIT, f"over the limit in the database: {quota}")
    stock = Product.objects.get(pk=world.product.pk).stock
    require(stock + sale.allotment - sale.handed_back == STOCK, f"stock {stock}: units appeared or vanished")
    closed = sale.phase == SalePhase.CLOSED
    require(not closed or sale.sold + sale.handed_back == sale.allotment, "closed, but not all handed back")
    world.paid_late |= {rid for rid, order in rows.items() if order.status == OrderStatus.READMITTING}
    return rows


def between_check(seen: Seen, rows: dict[str, Order]) -> None:
    """Id by id: Valkey and the database differ only by what is being decided or returned now."""
    for rid, order in rows.items():
        require(rid in seen.records, f"{rid} has a row and no record")
        state = seen.records[rid][1].state
        holds = order.status in HOLDING
        require(not (holds and state == RELEASED), f"{rid} is {order.status} and released")
        undecided = order.return_due or order.status == OrderStatus.READMITTING
        require(state != CONFIRMED or holds or undecided, f"{rid} is {order.status} and confirmed")
    for rid, (_, record) in seen.records.items():
        require(record.state == RESERVED or rid in rows, f"{rid} is decided and has no row")


def step_check(world: World) -> None:
    """Check everything that holds at every moment; of a world with broken scripts only the database."""
    rows = database_check(world)
    if world.trusted:
        seen = look(world)
        valkey_check(seen)
        between_check(seen, rows)
        require(not world.disagreed, f"the judge refused what Valkey admitted: {world.disagreed}")
        refused = [rid for rid, order in rows.items() if order.status == OrderStatus.REFUSED]
        require(not refused, f"the judge refused {refused}")


def end_check(world: World) -> None:
    """Check a drained world: every 202 has its row, nothing is reserved, returning, or differs."""
    rows, seen = database_check(world), look(world)
    sale = Sale.objects.get(pk=world.campaign.pk)
    n = seen.numbers
    for rid in world.told:
        require(rid in rows, f"{rid} was answered 202 and has no row")
    require((n["reserved"], seen.open_units, len(seen.waiting)) == (0, 0, 0), f"something is undecided: {n}")
    require(n["confirmed"] == sale.sold, f"confirmed {n['confirmed']}, sold {sale.sold}")
    due = [rid for rid, order in rows.items() if order.return_due or order.status == OrderStatus.READMITTING]
    require(not due, f"still returning: {due}")
    if sale.phase == SalePhase.CLOSED:
        require((seen.phase, n["left"]) == ("closed", 0), f"closed, but Valkey is {seen.phase}: {n}")
    else:
        require(n["left"] == sale.allotment - sale.sold, f"left {n['left']}, sold {sale.sold}")
    undone = CampaignOperation.objects.filter(campaign=world.campaign, done_at=None)
    require(not undone.exists(), "an operation is not done")
    equation = conservation(campaign_id=sale.pk, store=unverified_store())
    require(equation.holds and equation.in_motion == 0, f"the equation: {equation}")


def money_check(world: World) -> None:
    """Each payment that succeeded is kept by the one order it paid, or goes back."""
    for refund in Refund.objects.filter(payment__order__sale_id=world.campaign.pk, status="due"):
        refund_send(refund_id=refund.pk, now=world.now)
    orders = Order.objects.filter(sale_id=world.campaign.pk)
    require(not orders.filter(status=OrderStatus.REFUNDING).exists(), "a refund was sent and not noted")
    kept = Payment.objects.filter(status=PaymentStatus.SUCCEEDED, refund=None, order__in=orders)
    paid = orders.filter(status=OrderStatus.PAID)
    require(
        sorted(kept.values_list("order_id", flat=True)) == sorted(paid.values_list("pk", flat=True)),
        "money without an order, or an order without money",
    )
