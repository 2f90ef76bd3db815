"""Reads of the sale: which campaigns are shown, and what became of a reservation, from its record or from its row."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from orders.models import LostReason, Order, OrderStatus, Sale, SalePhase
from orders.services.endings import order_cancel, orders_expire
from orders.services.payments import payment_start
from seckill import keys
from seckill.errors import CampaignNotFound, Paused, ReservationNotFound, SaleUnavailable
from seckill.scripts import Record, RecordState
from seckill.selectors import (
    LiveNumbers,
    campaign_is_drained,
    campaign_live,
    campaign_public,
    campaigns_public,
    reservation_status,
    reservations_of_user,
    reservations_open,
    status_of_order,
)
from seckill.services.campaigns import campaign_close
from seckill.statuses import ReservationStatus, status_of_record
from seckill.store import sale_store
from tests.orders.rows import callback, order_make, sale_make, user_make
from tests.seckill.live_sale import LiveSale, commits_seen, nobody_listens, server_crash
from tests.seckill.making import campaign_made, product_made
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 6, 18, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> Iterator[LiveSale]:
    with commits_seen():
        yield LiveSale(valkey_server, allotment=10, limit=4)


def status(sale: LiveSale, reservation_id: str, at: int = 0) -> ReservationStatus:
    return reservation_status(reservation_id=reservation_id, user_id=sale.users[at].pk)


def told(sale: LiveSale, reservation_id: str) -> tuple[str, str, bool]:
    """Return (status, reason, whether an order number is told)."""
    found = status(sale, reservation_id)
    return found.status, found.reason, found.order_number is not None


# ---- campaigns ----


def test_public_campaigns_are_live_ones_then_upcoming_then_ended() -> None:
    product = product_made()

    def made(starts_in: timedelta, lasts: timedelta = HOUR, **facts: Any) -> int:
        return campaign_made(product=product, now=NOW, starts_in=starts_in, lasts=lasts, **facts).pk

    soon, later = made(HOUR), made(2 * HOUR)
    live, live_longer = made(-HOUR / 2), made(-HOUR / 4)
    ended = made(-3 * HOUR)
    made(-26 * HOUR)  # ended 25 h ago
    made(-HOUR / 2, published=False)
    begins_now, ends_now = made(timedelta(0)), made(-HOUR)

    shown = [campaign.pk for campaign in campaigns_public(now=NOW)]

    assert shown == [live, live_longer, begins_now, soon, later, ended, ends_now]


def test_public_campaigns_keep_closed_ones_for_a_day() -> None:
    product = product_made()
    closed = campaign_made(product=product, now=NOW, starts_in=-2 * HOUR, lasts=HOUR)
    Sale.objects.filter(pk=closed.pk).update(phase=SalePhase.CLOSED)
    assert [c.pk for c in campaigns_public(now=NOW)] == [closed.pk]
    assert [c.pk for c in campaigns_public(now=NOW + 23 * HOUR - timedelta(seconds=1))] == [closed.pk]
    assert campaigns_public(now=NOW + 23 * HOUR) == []


@pytest.mark.parametrize("count", [1, 3])
def test_public_campaigns_need_one_query(count: int, django_assert_num_queries: Callable[..., Any]) -> None:
    product = product_made()
    for _ in range(count):
        campaign_made(product=product, now=NOW)
    with django_assert_num_queries(1):
        assert [c.sale.product.slug for c in campaigns_public(now=NOW)] == ["kettle"] * count


def test_public_campaign_is_a_published_one() -> None:
    product = product_made()
    shown, draft = campaign_made(product=product), campaign_made(product=product, published=False)
    assert campaign_public(campaign_id=shown.pk) == shown
    for missing in (draft.pk, 999_999):
        with pytest.raises(CampaignNotFound):
            campaign_public(campaign_id=missing)


def test_live_numbers_are_unknown_rather_than_zero(sale: LiveSale, settings: Any) -> None:
    ms = int(sale.now.timestamp() * 1000)
    assert campaign_live(campaign_id=sale.pk, now=sale.now) == LiveNumbers(10, ms, "open")
    sale.admit(sale.users[0], 4)
    assert campaign_live(campaign_id=sale.pk, now=sale.now).left == 6
    unknown = LiveNumbers(None, ms, "paused")
    assert campaign_live(campaign_id=sale.pk + 1, now=sale.now) == unknown
    settings.REDIS_URL = "unix:///nowhere/valkey.sock?db=0"
    assert campaign_live(campaign_id=sale.pk, now=sale.now) == unknown


def test_live_numbers_of_a_server_nobody_has_compared_are_unknown(
    sale: LiveSale, valkey_server: ValkeyServer
) -> None:
    server_crash(valkey_server)
    assert campaign_live(campaign_id=sale.pk, now=sale.now).left is None


# ---- one reservation ----


def test_reservation_moves_from_queued_to_won_to_lost(sale: LiveSale) -> None:
    reservation_id = sale.admit(sale.users[0], 2)
    assert status(sale, reservation_id) == ReservationStatus(
        reservation_id, sale.pk, "queued", "", 2, None, None, 500
    )

    sale.place(*sale.entries())
    order = Order.objects.get()
    won = status(sale, reservation_id)
    assert (won.status, won.reason, won.units, won.order_number) == ("won", "", 2, order.number)
    assert won.pay_by == order.expires_at.replace(microsecond=0)  # type: ignore[union-attr]
    assert won.poll_after_ms == 5_000

    order_cancel(number=order.number, user_id=sale.users[0].pk, now=sale.now)
    assert status(sale, reservation_id) == ReservationStatus(
        reservation_id, sale.pk, "lost", "cancelled", 2, None, None, 5_000
    )


def test_reservation_stays_queued_until_valkey_is_told(sale: LiveSale) -> None:
    """One source at a time: while the record lives, the row is not asked."""
    reservation_id = sale.admit(sale.users[0])
    with nobody_listens():
        sale.place(*sale.entries())
    assert told(sale, reservation_id) == ("queued", "", False)


def test_reservation_that_was_paid_late_is_won_again(sale: LiveSale) -> None:
    reservation_id = sale.won(sale.users[0])
    order = Order.objects.get()
    payment = payment_start(number=order.number, user_id=sale.users[0].pk, now=sale.now)
    late = order.expires_at + timedelta(seconds=1)  # type: ignore[operator]
    orders_expire(now=late)
    assert told(sale, reservation_id) == ("lost", "payment_expired", False)
    callback(payment, now=late)
    assert told(sale, reservation_id) == ("won", "", True)


def readings_of(sale: LiveSale, act: Callable[[], object]) -> tuple[ReservationStatus, ReservationStatus]:
    """Return what the record says after `act`, and what the row says when the keys are gone."""
    reservation_id = sale.won(sale.users[0], 2)
    act()
    from_record = status(sale, reservation_id)
    sale.client.delete(keys.users_key(sale.pk))
    return from_record, status(sale, reservation_id)


ACTS: dict[str, Callable[[LiveSale], object]] = {
    "pending": lambda sale: None,
    "cancelled": lambda sale: order_cancel(
        number=Order.objects.get().number, user_id=sale.users[0].pk, now=sale.now
    ),
    "expired": lambda sale: orders_expire(now=sale.now + timedelta(days=1)),
    "closed": lambda sale: campaign_close(campaign_id=sale.pk, now=sale.now),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_reservation_reads_the_same_from_its_row_when_the_keys_are_gone(
    sale: LiveSale, act: Callable[[LiveSale], object]
) -> None:
    from_record, from_row = readings_of(sale, lambda: act(sale))
    assert from_row == from_record


def test_refused_reservation_reads_the_same_from_its_row(sale: LiveSale) -> None:
    reservation_id = sale.admit(sale.users[0], 2)
    Sale.objects.filter(pk=sale.pk).update(limit_per_user=1)
    sale.place(*sale.entries())
    from_record = status(sale, reservation_id)
    assert (from_record.status, from_record.reason) == ("lost", "limit_reached")
    sale.client.delete(keys.users_key(sale.pk))
    assert status(sale, reservation_id) == from_record


ROWS = {
    OrderStatus.PENDING: ("won", ""),
    OrderStatus.PAID: ("won", ""),
    OrderStatus.SHIPPED: ("won", ""),
    OrderStatus.COMPLETED: ("won", ""),
    OrderStatus.CANCELLED: ("lost", "cancelled"),
    OrderStatus.EXPIRED: ("lost", "payment_expired"),
    OrderStatus.REFUSED: ("lost", "sold_out"),
    OrderStatus.READMITTING: ("lost", "payment_expired"),
    OrderStatus.REFUNDING: ("lost", "cancelled"),
    OrderStatus.REFUNDED: ("lost", "cancelled"),
}
REASONS = {
    OrderStatus.CANCELLED: LostReason.CANCELLED,
    OrderStatus.EXPIRED: LostReason.PAYMENT_EXPIRED,
    OrderStatus.READMITTING: LostReason.PAYMENT_EXPIRED,
    OrderStatus.REFUSED: LostReason.SOLD_OUT,
    OrderStatus.REFUNDING: LostReason.CANCELLED,
    OrderStatus.REFUNDED: LostReason.CANCELLED,
}


@pytest.mark.parametrize("order_status", OrderStatus)
def test_status_of_a_row_in_every_status(order_status: OrderStatus) -> None:
    order = order_make(sale_make(), status=order_status, reason=REASONS.get(order_status, ""), units=3)
    found = status_of_order(order)
    assert (found.status, found.reason, found.units) == (*ROWS[order_status], 3)
    won = found.status == "won"
    assert (found.order_number, found.pay_by) == ((order.number, order.expires_at) if won else (None, None))


@pytest.mark.parametrize(
    ("state", "detail", "expected"),
    [
        (RecordState.RESERVED, 0, ("queued", "")),
        (RecordState.CONFIRMED, 0, ("won", "")),
        (RecordState.RELEASED, 1, ("lost", "sold_out")),
        (RecordState.RELEASED, 3, ("lost", "ended")),
        (RecordState.RELEASED, 6, ("lost", "our_fault")),
        (RecordState.RELEASED, 99, ("lost", "our_fault")),  # a newer release's reason
    ],
)
def test_status_of_a_record(state: RecordState, detail: int, expected: tuple[str, str]) -> None:
    found = status_of_record(7, Record(b"r" * 16, 1, state, 1, detail))
    assert (found.status, found.reason) == expected
    assert found.pay_by is None


def test_reservation_of_somebody_else_is_not_there(sale: LiveSale) -> None:
    queued, won = sale.admit(sale.users[0]), sale.won(sale.users[0])
    for keys_there in (True, False):
        if not keys_there:
            sale.client.delete(keys.users_key(sale.pk))
        for reservation_id in (queued, won):
            with pytest.raises(ReservationNotFound):
                status(sale, reservation_id, at=1)


@pytest.mark.parametrize("text", ["", "x", "1-abc", "999-" + "a" * 26, "²-" + "a" * 26])
def test_reservation_that_never_was_is_not_there(sale: LiveSale, text: str) -> None:
    with pytest.raises(ReservationNotFound):
        status(sale, text)


def test_reservation_is_not_told_from_a_server_that_is_away_or_not_compared(
    sale: LiveSale, valkey_server: ValkeyServer, settings: Any
) -> None:
    """Not even where a row exists: while the keys may live, they alone are asked."""
    reservation_id = sale.won(sale.users[0])
    server_crash(valkey_server)
    with pytest.raises(Paused):
        status(sale, reservation_id)
    settings.REDIS_URL = "unix:///nowhere/valkey.sock?db=0"
    with pytest.raises(SaleUnavailable):
        status(sale, reservation_id)


# ---- a user's reservations ----


def test_reservations_of_a_user_are_open_ones_then_rows_newest_first(sale: LiveSale) -> None:
    user = sale.users[0]
    sale.won(sale.users[1])
    first, second = sale.won(user), sale.won(user)
    queued = sale.admit(user)
    order_cancel(number=Order.objects.get(reservation_id=first).number, user_id=user.pk, now=sale.now)

    mine = reservations_of_user(user_id=user.pk)

    assert [(r.reservation_id, r.status) for r in mine] == [
        (queued, "queued"),
        (second, "won"),
        (first, "lost"),
    ]
    assert [r.reservation_id for r in reservations_of_user(user_id=user.pk, limit=2)] == [queued, second]
    assert [r.reservation_id for r in reservations_open(user_id=user.pk)] == [queued]


def test_reservations_of_a_user_are_told_from_the_record_while_it_lives(sale: LiveSale) -> None:
    reservation_id = sale.admit(sale.users[0])
    with nobody_listens():
        sale.place(*sale.entries())
    mine = reservations_of_user(user_id=sale.users[0].pk)
    assert [(r.reservation_id, r.status) for r in mine] == [(reservation_id, "queued")]


def test_reservations_of_a_user_come_from_rows_where_the_campaign_is_closed(sale: LiveSale) -> None:
    reservation_id = sale.won(sale.users[0])
    campaign_close(campaign_id=sale.pk, now=sale.now)
    sale.client.delete(keys.users_key(sale.pk))
    mine = reservations_of_user(user_id=sale.users[0].pk)
    assert [(r.reservation_id, r.status) for r in mine] == [(reservation_id, "won")]
    assert reservations_open(user_id=sale.users[0].pk) == []


def test_reservations_of_a_user_leave_out_orders_of_the_ordinary_shop(sale: LiveSale) -> None:
    user = user_make()
    Order.objects.create(number="A" * 16, user=user, units=1, created_at=timezone.now())
    assert reservations_of_user(user_id=user.pk) == []


def test_reservations_of_a_user_are_not_told_in_part(sale: LiveSale, settings: Any) -> None:
    sale.won(sale.users[0])
    settings.REDIS_URL = "unix:///nowhere/valkey.sock?db=0"
    for read in (reservations_of_user, reservations_open):
        with pytest.raises(SaleUnavailable):
            read(user_id=sale.users[0].pk)


# ---- drained ----


def test_campaign_is_drained_when_nothing_is_undecided(sale: LiveSale) -> None:
    def drained() -> bool:
        return campaign_is_drained(campaign_id=sale.pk, store=sale_store())

    assert drained()
    sale.admit(sale.users[0])
    assert not drained()
    entry = sale.entries()[0]
    sale.place(entry)
    assert drained()
    sale.client.xadd(keys.outbox_key(), {"campaign": sale.pk + 1, "epoch": 1, "packed": b"\0" * 26})
    assert drained()  # of another campaign
    sale.client.xadd(keys.outbox_key(), {"campaign": sale.pk, "epoch": 1, "packed": b"\0" * 26})
    assert not drained()
    assert not campaign_is_drained(campaign_id=999, store=sale_store())  # nobody knows


def test_campaign_is_drained_looks_at_the_whole_outbox(sale: LiveSale) -> None:
    pipe = sale.client.pipeline()
    for _ in range(1_001):
        pipe.xadd(keys.outbox_key(), {"campaign": sale.pk + 1, "epoch": 1, "packed": b"\0" * 26})
    pipe.execute()
    assert campaign_is_drained(campaign_id=sale.pk, store=sale_store())
    sale.client.xadd(keys.outbox_key(), {"campaign": sale.pk, "epoch": 1, "packed": b"\0" * 26})
    assert not campaign_is_drained(campaign_id=sale.pk, store=sale_store())
