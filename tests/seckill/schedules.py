"""One campaign under a random schedule: the real scripts, judge, settler and operations, and a world that loses,
delays and repeats every message between them. A seed gives the same schedule again.

Clocks stand still unless a step moves them: the sale's clock never runs back, so one set into the future obeys
this world, and the database's clock is handed in everywhere.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.conf import settings
from django.utils import timezone

from orders import signals
from orders.errors import OrderNotPending, OrderNotRefundable, PayWindowOver
from orders.events import Decided, Entry, Outcome, member_pack, members_pack, record_decode, record_encode
from orders.models import Order, Payment, PaymentStatus, Sale, SalePhase
from orders.services import place
from orders.services.endings import order_cancel, orders_expire
from orders.services.payments import payment_start
from orders.services.refunds import order_refund
from seckill import keys, outbox, scripts, selectors, settler
from seckill.admission import reservation_bytes
from seckill.errors import OperationNotAllowed, OperationPending, Paused, ReservationNotFound
from seckill.models import Campaign, CampaignOperation, OperationKind
from seckill.scripts import ReserveCode
from seckill.services import campaigns, outcomes
from seckill.services.outcomes import RecordMissing
from seckill.services.reconciliation import server_is_verified, server_verify
from seckill.store import SaleStore, unverified_store
from shop.accounts.models import User
from tests.orders.rows import callback, product_make, user_make
from tests.services.valkey import ValkeyServer

USERS, KEYS, LIMIT, ALLOTMENT, STOCK = 4, 4, 2, 6, 10
RANKS = {"queued": 0, "won": 1, "lost": 2}
DRAIN_ROUNDS = 12


class Wrong(AssertionError):
    """The promise is broken; the text says how."""


class LossyStore(SaleStore):
    """Loses the next calls where told: before they arrive, after the first, or on the way back."""

    lose: str | None = None

    def run(self, calls: Any, *, replicas: int = 0) -> list[Any]:
        """Run the calls, or some of them, and answer, or not."""
        how, self.lose = self.lose, None
        if how == "before":
            raise redis.ConnectionError("lost on the way there")
        if how == "between":
            super().run(calls[:1])
            raise redis.ConnectionError("lost after the first call")
        answers = super().run(calls)
        if how == "after":
            raise redis.TimeoutError("lost on the way back")
        return answers


class World:
    """The servers, everything on its way between them, and what shoppers were told."""

    def __init__(self, seed: int, server: ValkeyServer, store: LossyStore, *, trusted: bool = True) -> None:
        self.random = random.Random(seed)
        self.mix = seed % 2
        self.trusted = trusted  # False: the sale's scripts are broken on purpose, the judge stands alone
        self.server, self.store = server, store
        self.now = (timezone.now() + timedelta(days=1)).replace(microsecond=0)
        self.users = list(User.objects.order_by("pk")[:USERS]) or [user_make() for _ in range(USERS)]
        self.held: list[bytes] = []  # read by a relay, not published yet
        self.topic: list[bytes] = []
        self.offset = 0
        self.calls: list[Callable[[], None]] = []  # to the sale's server: late, repeated or dropped
        self.told: dict[str, tuple[int, int]] = {}  # reservation id: (user id, units), answered 202
        self.ranks: dict[str, int] = {}
        self.paid_late: set[str] = set()
        self.disagreed: list[int] = []
        self.log: list[str] = []
        server.clear()
        store.close()
        self.campaign = self._campaign_open()

    def _campaign_open(self) -> Campaign:
        self.product = product_make(stock=STOCK)
        draft = campaigns.campaign_create(
            product_id=self.product.pk,
            name_zh="赛程",
            name_en="Schedule",
            starts_at=self.now - timedelta(hours=1),
            ends_at=self.now + timedelta(days=30),
            price=Decimal("10.00"),
            limit_per_user=LIMIT,
            allotment=ALLOTMENT,
        )
        campaign = campaigns.campaign_publish(campaign_id=draft.pk, now=self.now)
        self._sale_clock_set(int(self.now.timestamp() * 1000))
        return campaign

    def _sale_clock_set(self, clock_ms: int) -> None:
        self.clock_ms = clock_ms
        key = keys.campaign_key(Campaign.objects.latest("pk").pk)
        unverified_store().client.hset(key, "clock_ms", str(clock_ms))

    # ---- what the services say, kept until a step lets it through

    def hear_decided(self, *, decided: list[Decided], **_: Any) -> None:
        for item in decided:
            self.calls.append(lambda item=item: outcomes.decided_apply(decided=[item], store=self.store))

    def hear_outcomes(self, *, outcomes: list[Outcome], **_: Any) -> None:
        self.calls.append(lambda: self._outcomes_apply(outcomes))

    def hear_disagreement(self, *, sale_ids: list[int], **_: Any) -> None:
        self.disagreed += sale_ids

    def _outcomes_apply(self, due: list[Outcome]) -> None:
        outcomes.outcomes_apply(outcomes=due, store=self.store, now=self.now)

    # ---- shoppers

    def reserve(self) -> None:
        """Send one batch: one to three requests, of which some repeat a key with the same or other units."""
        asked = []
        for _ in range(self.random.choice((1, 1, 2, 3))):
            user = self.random.choice(self.users)
            key = str(self.random.randrange(KEYS))
            raw = reservation_bytes(salt=bytes(self.campaign.salt), user_id=user.pk, key=key)
            asked.append((user.pk, raw, self.random.choice((1, 1, 2))))
        requests = [(user_id, member_pack(raw, user_id, units)) for user_id, raw, units in asked]
        ids = [place.reservation_id_text(self.campaign.pk, raw) for _, raw, _ in asked]
        answer = self.store.run([scripts.reserve_call(self.campaign.pk, requests)])[0]
        codes = scripts.reserve_reply(answer).codes
        for rid, code, (user_id, _, units) in zip(ids, codes, asked, strict=True):
            if code == ReserveCode.ACCEPTED and rid in self.told:
                raise Wrong(f"{rid} was admitted twice")
            is_told = code in (ReserveCode.ACCEPTED, ReserveCode.REPLAYED)
            if is_told and self.told.setdefault(rid, (user_id, units)) != (user_id, units):
                raise Wrong(f"{rid} was replayed with other units")

    def poll(self) -> None:
        """Ask what became of a 202: it never goes back, except from lost to won by a late payment."""
        if not self.told:
            return
        rid = self.random.choice(list(self.told))
        try:
            status = selectors.reservation_status(reservation_id=rid, user_id=self.told[rid][0])
        except ReservationNotFound as error:
            raise Wrong(f"{rid} was answered 202 and is not found") from error
        except Paused:
            if server_is_verified(unverified_store()):
                raise
            return
        rank = RANKS[status.status]
        if rank < self.ranks.get(rid, 0) and not (status.status == "won" and rid in self.paid_late):
            raise Wrong(f"the status of {rid} went back to {status.status}")
        self.ranks[rid] = rank

    def _some_order(self, *statuses: str) -> Order | None:
        orders = list(Order.objects.filter(sale_id=self.campaign.pk, status__in=statuses).order_by("pk"))
        return self.random.choice(orders) if orders else None

    def cancel(self) -> None:
        order = self._some_order("pending", "paid", "expired", "cancelled")
        if order:
            with _refusals(OrderNotPending):
                order_cancel(number=order.number, user_id=order.user_id or 0, now=self.now)

    def pay_start(self) -> None:
        order = self._some_order("pending")
        if order:
            with _refusals(PayWindowOver):
                payment_start(number=order.number, user_id=order.user_id or 0, now=self.now)

    def pay(self) -> None:
        """Deliver the provider's success for any payment: in time, too late, after a cancel, or again."""
        payments = list(Payment.objects.filter(order__sale_id=self.campaign.pk).order_by("pk"))
        fresh = [payment for payment in payments if payment.status == PaymentStatus.CREATED]
        if payments:
            again = not fresh or self.random.random() < 0.2
            callback(self.random.choice(payments if again else fresh), now=self.now)

    def refund(self) -> None:
        order = self._some_order("paid")
        if order:
            with _refusals(OrderNotRefundable):
                order_refund(number=order.number, actor=self.users[0], now=self.now)

    # ---- the way of an entry

    def _entries(self) -> list[Entry]:
        return [outbox.entry_decode(raw) for raw in self.store.client.xrange(keys.outbox_key())]

    def relay_read(self) -> None:
        entries = self._entries()
        if entries:
            entry = self.random.choice(entries)
            packed = members_pack(entry.members)
            self.held.append(record_encode(entry.entry_id, entry.sale_id, entry.epoch, packed))

    def relay_publish(self) -> None:
        """Publish what was read just now or long ago; a relay that hears no answer publishes again."""
        if self.held:
            record = self.random.choice(self.held)
            self.topic.append(record)
            if self.random.random() < 0.7:
                self.held.remove(record)

    def consume(self) -> None:
        """Decide the next one to three records; a consumer that dies before its commit decides them again."""
        records = self.topic[self.offset : self.offset + self.random.randint(1, 3)]
        self._place(records)
        if self.random.random() < 0.8:
            self.offset += len(records)

    def redeliver(self) -> None:
        if self.topic:
            self._place([self.random.choice(self.topic)])

    def _place(self, records: list[bytes]) -> None:
        if records:
            entries = [record_decode(record) for record in records]
            place.entries_place(entries=entries, source="schedule", now=self.now)

    def call_apply(self) -> None:
        """Let one call through, the newest or an old one; it may come again."""
        if self.calls:
            place_ = -1 if self.random.random() < 0.4 else self.random.randrange(len(self.calls))
            call = self.calls[place_]
            if self.random.random() < (0.6, 0.4)[self.mix]:
                del self.calls[place_]
            call()

    def call_drop(self) -> None:
        if self.calls:
            del self.calls[self.random.randrange(len(self.calls))]

    # ---- staff, time and the settler

    def operate(self) -> None:
        kind = self.random.choices(("pause", "resume", "close"), (3, 6, 4 if len(self.log) > 30 else 0))[0]
        acts = {
            "pause": lambda: campaigns.campaign_pause(
                campaign_id=self.campaign.pk, reason="schedule", now=self.now
            ),
            "resume": lambda: campaigns.campaign_resume(campaign_id=self.campaign.pk, now=self.now),
            "close": lambda: campaigns.campaign_close(campaign_id=self.campaign.pk, now=self.now),
        }
        with _refusals(OperationNotAllowed, OperationPending):
            acts[kind]()

    def operation_again(self) -> None:
        """A worker that was thought dead applies an operation, done or not."""
        operations = list(CampaignOperation.objects.filter(campaign=self.campaign).order_by("number"))
        operation = self.random.choice(operations)
        done = [other for other in operations if other.done_at is None and other.number < operation.number]
        if not done:  # operations are one at a time
            campaigns.operation_apply(operation=operation, store=self.store, now=self.now)

    def time_pass(self) -> None:
        """Move the database's clock on and expire what is overdue."""
        self.now += timedelta(seconds=self.random.choice((60, 450, 900, 900)))
        orders_expire(now=self.now)

    def sale_time_pass(self) -> None:
        """Move the sale's clock on, past the pause after units came back to an empty campaign."""
        self._sale_clock_set(self.clock_ms + 3_000)

    def settle_entries(self) -> None:
        settler.entries_settle(store=self.store, now=self.now, after_seconds=-1)

    def settle_returns(self) -> None:
        settler.Settler()._returns(self.now)

    def settle_operations(self) -> None:
        settler.Settler()._operations(self.now)

    # ---- the server's own faults

    def restart(self) -> None:
        """Kill the sale's server; it comes back on its own log, and nobody trusts it before it is compared."""
        if self.trusted:  # what breaks its scripts would fail the comparison too
            self.server.kill()
            self.server.start()

    def verify(self) -> None:
        """Compare the server as the settler does; the log lost nothing, so nothing may differ for long."""
        for _ in range(3):
            findings = server_verify(store=unverified_store(), now=self.now)
            if not findings:
                return
        raise Wrong(f"after a restart: {findings}")

    # ---- the schedule

    # Weights in two mixes: one crowds the way of an entry, one has more money come late and more calls repeated.
    STEPS: tuple[tuple[str, float, float], ...] = (
        ("reserve", 18, 15), ("poll", 7, 5),
        ("relay_read", 8, 2), ("relay_publish", 8, 2), ("consume", 9, 4), ("redeliver", 4, 1),
        ("settle_entries", 3, 8), ("call_apply", 16, 24), ("call_drop", 2, 1), ("settle_returns", 3, 3),
        ("cancel", 4, 1), ("pay_start", 10, 16), ("pay", 6, 10), ("refund", 1, 0.5),
        ("time_pass", 6, 8), ("sale_time_pass", 5, 7),
        ("operate", 2, 2), ("settle_operations", 3, 3), ("operation_again", 1, 0.5), ("restart", 0.25, 0.25),
    )  # fmt: skip

    def step(self) -> None:
        """Do one step; a lost call is what the caller sees of it."""
        names, *mixes = zip(*self.STEPS, strict=True)
        name = self.random.choices(names, mixes[self.mix])[0]
        lose = self.random.choice(("before", "between", "after")) if self.random.random() < 0.08 else None
        self.log.append(f"{name} {lose}" if lose else name)
        self.store.lose = lose
        try:
            getattr(self, name)()
        except (redis.ConnectionError, redis.TimeoutError):
            if not server_is_verified(unverified_store()) and self.random.random() < 0.5:
                self.verify()
        except RecordMissing as error:
            raise Wrong(str(error)) from error
        finally:
            self.store.lose = None

    def drain(self) -> None:
        """Let everything arrive: what is held, what is in the topic, every call, and the settler's turns."""
        for _ in range(DRAIN_ROUNDS):
            if not server_is_verified(unverified_store()):
                self.verify()
            self.topic += self.held
            self.held = []
            self._place(self.topic[self.offset :])
            self.offset = len(self.topic)
            calls, self.calls = self.calls, []
            for act in (self.settle_entries, *calls, self.settle_returns, self.settle_operations):
                act()
            undone = CampaignOperation.objects.filter(campaign=self.campaign, done_at=None).exists()
            if not (self.calls or undone or self._entries()):
                return
        raise Wrong(f"not quiet after {DRAIN_ROUNDS} rounds")

    def close(self) -> None:
        """Close the campaign if staff have not done so."""
        if not CampaignOperation.objects.filter(campaign=self.campaign, kind=OperationKind.CLOSE).exists():
            campaigns.campaign_close(campaign_id=self.campaign.pk, now=self.now)


@contextmanager
def _refusals(*kinds: type[Exception]) -> Iterator[None]:
    """Take a refusal for what it is: an answer."""
    try:
        yield
    except kinds:
        return


@contextmanager
def world_made(
    seed: int, server: ValkeyServer, store: LossyStore, *, trusted: bool = True
) -> Iterator[World]:
    """Yield a world whose services speak to it alone, and use its store."""
    Sale.objects.update(phase=SalePhase.CLOSED)  # earlier worlds are over
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "REDIS_URL", server.url)
        for module in (campaigns, settler, selectors):
            patch.setattr(module, "sale_store", lambda: store)
        for signal in (signals.entries_decided, signals.outcomes_due, signals.judge_disagreed):
            patch.setattr(signal, "receivers", [])
        world = World(seed, server, store, trusted=trusted)
        signals.entries_decided.connect(world.hear_decided)
        signals.outcomes_due.connect(world.hear_outcomes)
        signals.judge_disagreed.connect(world.hear_disagreement)
        yield world
