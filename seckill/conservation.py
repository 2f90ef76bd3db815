"""The conservation equation, read live: every unit of a campaign's allotment is somewhere, once.

allotment = left + reserved + unpaid + paid + returning + handed back. Valkey and the database are read without
a common snapshot, so units that are being decided at that moment are counted as in motion.
"""

from dataclasses import dataclass, field

from django.db.models import Q, QuerySet, Sum

from orders.events import reservation_id_text
from orders.models import HOLDING, Order, OrderStatus, Sale, SalePhase
from seckill import keys, outbox
from seckill.models import Campaign
from seckill.scripts import RecordState, records_unpack
from seckill.store import SaleStore, unverified_store

_PAID = (OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.COMPLETED)
_SAMPLES = 5  # of which one quiet one is enough: a residue that stays is real


@dataclass(frozen=True, slots=True)
class Equation:
    """One campaign's sum in units. in_motion: decided in the database, not yet told to Valkey.

    returning: held by Valkey for orders that have ended or wait to be readmitted.
    residue: allotment minus all that was found; problems: what to look at, with reservation ids.
    """

    campaign_id: int
    name: str
    allotment: int
    left: int
    reserved: int
    unpaid: int
    paid: int
    returning: int
    handed_back: int
    in_motion: int
    residue: int
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every unit was found and nothing else is wrong."""
        return self.residue == 0 and not self.problems


def conservation_all(*, store: SaleStore | None = None) -> list[Equation]:
    """Return the equation of every published campaign, newest first."""
    campaigns = Campaign.objects.filter(published_at__isnull=False).order_by("-pk")
    return [conservation(campaign_id=pk, store=store) for pk in campaigns.values_list("pk", flat=True)]


def conservation(*, campaign_id: int, store: SaleStore | None = None) -> Equation:
    """Return the equation of one campaign; sampled again while it does not close, since life goes on meanwhile.

    :raises redis.RedisError: Valkey cannot be read
    """
    source = store or unverified_store()
    equation = _sample(source, campaign_id)
    for _ in range(_SAMPLES - 1):
        if equation.holds:
            break
        equation = _sample(source, campaign_id)
    return equation


def _sample(store: SaleStore, campaign_id: int) -> Equation:
    campaign = Campaign.objects.select_related("sale").get(pk=campaign_id)
    fields = ("left", "reserved", "confirmed", "allotment")
    raw = store.client.hmget(keys.campaign_key(campaign_id), fields)
    waiting = _waiting(store, campaign_id)
    sale = Sale.objects.get(pk=campaign_id)
    units = dict(Order.objects.filter(sale_id=campaign_id).values_list("status").annotate(Sum("units")))
    unpaid = units.get(OrderStatus.PENDING, 0)
    paid = sum(units.get(status, 0) for status in _PAID)
    orders = Order.objects.filter(sale_id=campaign_id, user__isnull=False)
    deciding = orders.filter(reservation_id__in=waiting, status__in=HOLDING)
    in_motion = _units(store, campaign_id, deciding, RecordState.RESERVED)
    giving_back = orders.filter(Q(return_due=True) | Q(status=OrderStatus.READMITTING))
    closed = sale.phase == SalePhase.CLOSED  # then `handed_back` has counted them already
    returning = 0 if closed else _units(store, campaign_id, giving_back, RecordState.CONFIRMED)
    problems = _database_problems(sale, unpaid + paid)
    if raw[0] is None:
        left = reserved = 0
        problems.append("the campaign's hash is missing in Valkey")
    else:
        left, reserved, confirmed, allotment = (int(value or 0) for value in raw)
        if left + reserved + confirmed != allotment:
            problems.append(
                f"Valkey: left {left} + reserved {reserved} + confirmed {confirmed} ≠ {allotment}"
            )
    residue = sale.allotment - (left + reserved - in_motion + unpaid + paid + returning + sale.handed_back)
    return Equation(
        campaign_id=campaign_id,
        name=campaign.name,
        allotment=sale.allotment,
        left=left,
        reserved=reserved - in_motion,
        unpaid=unpaid,
        paid=paid,
        returning=returning,
        handed_back=sale.handed_back,
        in_motion=in_motion,
        residue=residue,
        problems=problems,
    )


def _waiting(store: SaleStore, campaign_id: int) -> list[str]:
    """Return the reservation ids of the campaign's outbox entries."""
    entries, _ = outbox.entries_split(store.client.xrange(keys.outbox_key()))
    mine = (member for entry in entries if entry.sale_id == campaign_id for member in entry.members)
    return [reservation_id_text(campaign_id, member.reservation) for member in mine]


def _units(store: SaleStore, campaign_id: int, orders: QuerySet[Order], state: RecordState) -> int:
    """Return the units of those orders whose record in Valkey has this state; the two differ for moments."""
    rows = list(orders.values_list("reservation_id", "user_id"))
    if not rows:
        return 0
    users = sorted({str(user_id) for _, user_id in rows})
    held = (
        record
        for packed in store.client.hmget(keys.users_key(campaign_id), users)
        for record in records_unpack(packed)
        if record.state == state
    )
    wanted = {reservation_id for reservation_id, _ in rows}
    return sum(r.units for r in held if reservation_id_text(campaign_id, r.reservation) in wanted)


def _database_problems(sale: Sale, held: int) -> list[str]:
    if sale.sold != held:
        return [f"database: {sale.sold} units are counted as sold, the orders hold {held}"]
    return []
