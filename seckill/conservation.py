"""The conservation equation, read live: every unit of a campaign's allotment is somewhere, once.

allotment = left + reserved + unpaid + paid + returning + handed back. Valkey and the database are read without
a common snapshot, so units that are being decided at that moment are counted as in motion.
"""

from dataclasses import dataclass, field

from django.db.models import Sum

from orders.events import reservation_id_text
from orders.models import Order, OrderStatus, Sale, SalePhase
from seckill import keys, outbox
from seckill.models import Campaign
from seckill.store import SaleStore, unverified_store

_PAID = (OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.COMPLETED)
_SAMPLES = 5  # of which one quiet one is enough: a residue that stays is real


@dataclass(frozen=True, slots=True)
class Equation:
    """One campaign's sum in units. in_motion: decided in the database, not yet told to Valkey.

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
    moving = _moving(campaign_id, list(waiting))
    unpaid = units.get(OrderStatus.PENDING, 0)
    paid = sum(units.get(status, 0) for status in _PAID)
    returning = 0 if sale.phase == SalePhase.CLOSED else _returning(campaign_id)
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
    in_motion = sum(moving.values())
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


def _waiting(store: SaleStore, campaign_id: int) -> dict[str, int]:
    """Return {reservation id: units} of the campaign's outbox entries."""
    waiting: dict[str, int] = {}
    for entry in outbox.entries_split(store.client.xrange(keys.outbox_key()))[0]:
        if entry.sale_id == campaign_id:
            waiting.update({reservation_id_text(campaign_id, m.reservation): m.units for m in entry.members})
    return waiting


def _moving(campaign_id: int, reservation_ids: list[str]) -> dict[str, int]:
    """Return {reservation id: units} of those that have a row while their entry still waits in the outbox."""
    rows = Order.objects.filter(sale_id=campaign_id, reservation_id__in=reservation_ids)
    found = rows.exclude(status=OrderStatus.REFUSED).values_list("reservation_id", "units")
    return {reservation_id: units for reservation_id, units in found if reservation_id}


def _returning(campaign_id: int) -> int:
    rows = Order.objects.filter(sale_id=campaign_id, return_due=True)
    return rows.aggregate(units=Sum("units"))["units"] or 0


def _database_problems(sale: Sale, held: int) -> list[str]:
    if sale.sold != held:
        return [f"database: {sale.sold} units are counted as sold, the orders hold {held}"]
    return []
