"""The judge on its own: what it writes, what it refuses and why, and that one bad reservation costs no other."""

import base64
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import OperationalError

from orders import signals
from orders.events import Decided, Entry, Member, Outcome, order_number, reservation_id_text
from orders.models import DeadLetter, Order, OrderLine, OrderStatus, Sale, SalePhase
from orders.services import place
from orders.services.endings import orders_expire
from orders.services.place import entries_place
from shop.accounts.models import Address, User
from tests.orders.rows import NOW, PRICE, counters, sale_make, user_make

pytestmark = pytest.mark.django_db(transaction=True)


class Ears:
    """What the judge told others."""

    def __init__(self) -> None:
        self.decided: list[list[Decided]] = []
        self.disagreed: list[list[int]] = []

    def hear_decided(self, *, decided: list[Decided], **_: object) -> None:
        self.decided.append(decided)

    def hear_disagreed(self, *, sale_ids: list[int], **_: object) -> None:
        self.disagreed.append(sale_ids)


@pytest.fixture
def ears() -> Iterator[Ears]:
    ears = Ears()
    with pytest.MonkeyPatch.context() as patch:
        for signal in (signals.entries_decided, signals.judge_disagreed, signals.outcomes_due):
            patch.setattr(signal, "receivers", [])
        signals.entries_decided.connect(ears.hear_decided)
        signals.judge_disagreed.connect(ears.hear_disagreed)
        yield ears


def raw(at: int) -> bytes:
    return at.to_bytes(1, "big") * 16


def entry(sale: Sale, *members: tuple[int, int, int], at: int = 1, epoch: int = 1) -> Entry:
    """Return an entry of (reservation number, user id, units) members."""
    made = tuple(Member(raw(number), user_id, units) for number, user_id, units in members)
    return Entry(f"{at}-0", sale.pk, epoch, made)


def placed(*entries: Entry) -> list[Decided]:
    return entries_place(entries=entries, source="test", now=NOW)


def rows() -> list[tuple[str, str, int]]:
    return list(Order.objects.order_by("pk").values_list("status", "reason", "units"))


def test_won_reservation_is_an_order_with_everything_frozen(ears: Ears) -> None:
    sale, user = sale_make(allotment=10, limit_per_user=3, pay_window_seconds=600), user_make()
    Address.objects.create(
        user=user,
        recipient="Li",
        phone="1",
        region="Hubei",
        street="Road 1",
        postal_code="43",
        is_default=True,
    )

    decided = placed(entry(sale, (1, user.pk, 3), at=5))

    order = Order.objects.get()
    rid = reservation_id_text(sale.pk, raw(1))
    assert (order.reservation_id, order.number) == (rid, base64.b32encode(raw(1)).decode()[:16])
    assert (order.user_id, order.sale_id, order.status, order.move) == (user.pk, sale.pk, "pending", 1)
    assert (order.units, order.total, order.currency) == (3, 3 * PRICE, "CNY")
    assert (order.created_at, order.expires_at) == (NOW, NOW + timedelta(seconds=600))
    assert (order.recipient, order.phone, order.address) == ("Li", "1", "Hubei Road 1 43")
    line = OrderLine.objects.get()
    assert (line.order_id, line.product_id, line.quantity) == (order.pk, sale.product_id, 3)
    assert (line.unit_price, line.title_zh, line.title_en) == (PRICE, "纸灯笼", "Paper lantern")
    pay_by = int((NOW + timedelta(seconds=600)).timestamp())
    assert decided[0].outcomes == (Outcome(rid, sale.pk, user.pk, 3, won=True, move=1, detail=pay_by),)
    assert ears.decided == [decided]
    assert ears.disagreed == []
    assert counters(sale) == (3, 0, 0)
    assert sale.last_entry == "5-0"


def test_repeated_entry_keeps_its_rows_and_tells_the_same_again(ears: Ears) -> None:
    sale, users = sale_make(), [user_make(), user_make()]
    batch = entry(sale, (1, users[0].pk, 1), (2, users[1].pk, 1))

    first, second = placed(batch), placed(batch, batch)

    assert second == first * 2
    assert rows() == [("pending", "", 1)] * 2
    assert OrderLine.objects.count() == 2
    assert counters(sale) == (2, 0, 0)
    assert ears.decided == [first, second]


def test_same_reservation_in_two_entries_of_one_batch_is_one_row(ears: Ears) -> None:
    sale, user = sale_make(limit_per_user=1), user_make()

    one, two = placed(entry(sale, (1, user.pk, 1), at=1), entry(sale, (1, user.pk, 1), at=2))

    assert one.outcomes == two.outcomes
    assert rows() == [("pending", "", 1)]
    assert counters(sale) == (1, 0, 0)


def test_repeated_entry_tells_what_became_of_the_order_meanwhile(ears: Ears) -> None:
    sale, user = sale_make(), user_make()
    batch = entry(sale, (1, user.pk, 1))
    placed(batch)
    orders_expire(now=NOW + timedelta(days=1))

    ((outcome,),) = [item.outcomes for item in placed(batch)]

    assert (outcome.won, outcome.move, outcome.detail) == (False, 2, 4)
    assert counters(sale) == (0, 0, 0)


def test_last_entry_never_runs_back(ears: Ears) -> None:
    sale, users = sale_make(), [user_make() for _ in range(3)]

    for at, user in zip((9, 100, 20), users, strict=True):
        placed(entry(sale, (at, user.pk, 1), at=at))

    sale.refresh_from_db()
    assert sale.last_entry == "100-0"


def test_too_few_units_refuse_the_last_ones_and_disagree(ears: Ears) -> None:
    sale, users = sale_make(allotment=3), [user_make() for _ in range(5)]
    members = [(at, user.pk, 1) for at, user in enumerate(users, 1)]

    (decided,) = placed(entry(sale, *members))

    assert [outcome.won for outcome in decided.outcomes] == [True, True, True, False, False]
    assert [outcome.detail for outcome in decided.outcomes[3:]] == [1, 1]
    assert rows() == [("pending", "", 1)] * 3 + [("refused", "sold_out", 1)] * 2
    assert counters(sale) == (3, 0, 0)
    assert ears.disagreed == [[sale.pk]]
    assert not DeadLetter.objects.exists()


@pytest.mark.parametrize(
    ("sold", "handed_back", "status"),
    [(8, 0, "pending"), (9, 0, "refused"), (6, 2, "pending"), (6, 3, "refused"), (0, 10, "refused")],
)
def test_units_sold_and_handed_back_are_not_sold_again(
    ears: Ears, sold: int, handed_back: int, status: str
) -> None:
    sale, user = sale_make(allotment=10, sold=sold, handed_back=handed_back, limit_per_user=2), user_make()

    placed(entry(sale, (1, user.pk, 2)))

    assert [row[0] for row in rows()] == [status]
    assert counters(sale) == (sold + 2 * (status == "pending"), handed_back, 0)


def test_user_over_the_limit_is_refused_and_disagrees(ears: Ears) -> None:
    sale, user, other = sale_make(limit_per_user=2), user_make(), user_make()

    (decided,) = placed(entry(sale, (1, user.pk, 1), (2, other.pk, 2), (3, user.pk, 1), (4, user.pk, 1)))

    assert [outcome.won for outcome in decided.outcomes] == [True, True, True, False]
    assert rows()[-1] == ("refused", "limit_reached", 1)
    assert counters(sale) == (4, 0, 0)
    assert ears.disagreed == [[sale.pk]]


def test_ended_orders_do_not_count_against_the_limit(ears: Ears) -> None:
    sale, user = sale_make(limit_per_user=1), user_make()
    placed(entry(sale, (1, user.pk, 1)))
    orders_expire(now=NOW + timedelta(days=1))

    placed(entry(sale, (2, user.pk, 1), at=2))

    assert [row[0] for row in rows()] == ["expired", "pending"]


def test_closing_sale_still_takes_what_was_admitted(ears: Ears) -> None:
    sale, user = sale_make(phase=SalePhase.CLOSING), user_make()

    placed(entry(sale, (1, user.pk, 1)))

    assert rows() == [("pending", "", 1)]


def test_closed_sale_refuses(ears: Ears) -> None:
    sale, user = sale_make(phase=SalePhase.CLOSED), user_make()

    (decided,) = placed(entry(sale, (1, user.pk, 1)))

    assert rows() == [("refused", "ended", 1)]
    assert (decided.outcomes[0].won, decided.outcomes[0].detail) == (False, 3)
    assert counters(sale) == (0, 0, 0)
    assert ears.disagreed == []


@pytest.mark.parametrize("epoch", [1, 3])
def test_entry_of_another_epoch_is_our_fault(ears: Ears, epoch: int) -> None:
    sale, user = sale_make(epoch=2), user_make()

    placed(entry(sale, (1, user.pk, 1), epoch=epoch))

    assert rows() == [("refused", "our_fault", 1)]
    assert (counters(sale), sale.last_entry) == ((0, 0, 0), "0-0")
    assert ears.disagreed == []
    assert not DeadLetter.objects.exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"phase": SalePhase.CLOSED}, "ended"), ({"epoch": 2}, "our_fault"), ({"sold": 10}, "sold_out")],
)
def test_guard_refuses_what_changed_after_the_facts_were_read(
    ears: Ears, changes: dict[str, object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Phase, epoch and units are asked again in the UPDATE itself, not trusted from the read before."""
    sale, user = sale_make(allotment=10), user_make()
    genuine = place._facts

    def facts(cases):
        read = genuine(cases)
        Sale.objects.filter(pk=sale.pk).update(**changes)
        return read

    monkeypatch.setattr(place, "_facts", facts)

    placed(entry(sale, (1, user.pk, 1)))

    assert rows() == [("refused", reason, 1)]
    assert Sale.objects.get(pk=sale.pk).sold == changes.get("sold", 0)


def test_bad_data_becomes_a_refused_row_and_a_dead_letter_and_costs_no_other(ears: Ears) -> None:
    sale, users = sale_make(), [user_make() for _ in range(3)]
    members = [(at, user.pk, 1) for at, user in enumerate(users, 1)]
    gone_id = users[-1].pk + 1_000

    (decided,) = placed(entry(sale, members[0], (7, gone_id, 2), members[1], (8, users[2].pk, 0), members[2]))

    assert [outcome.won for outcome in decided.outcomes] == [True, False, True, False, True]
    assert counters(sale) == (3, 0, 0)
    lost = Order.objects.filter(status=OrderStatus.REFUSED).order_by("pk")
    assert [(o.user_id, o.reason, o.units, o.total) for o in lost] == [
        (None, "our_fault", 2, Decimal(0)),
        (users[2].pk, "our_fault", 1, Decimal(0)),
    ]
    assert [outcome.user_id for outcome in decided.outcomes][1] == gone_id  # whose record must follow
    letters = DeadLetter.objects.order_by("pk")
    assert [(letter.source, letter.entry, letter.error) for letter in letters] == [
        ("test", "1-0", "there is no such user"),
        ("test", "1-0", "units must be at least 1"),
    ]
    assert letters[0].payload == f"user {gone_id}, units 2, epoch 1"
    assert ears.disagreed == []


def test_bad_data_delivered_again_leaves_one_dead_letter(ears: Ears) -> None:
    sale = sale_make()
    batch = entry(sale, (1, 10**6, 1))

    assert placed(batch) == placed(batch)

    assert (Order.objects.count(), DeadLetter.objects.count()) == (1, 1)


def test_unknown_sale_is_refused_and_costs_no_other(ears: Ears) -> None:
    sale, user = sale_make(), user_make()
    nowhere = Entry("1-0", sale.pk + 1_000, 1, (Member(raw(1), user.pk, 1),))

    first, second = placed(nowhere, entry(sale, (2, user.pk, 1), at=2))

    assert ([o.won for o in first.outcomes], [o.won for o in second.outcomes]) == ([False], [True])
    assert DeadLetter.objects.get().error == "there is no such sale"
    assert counters(sale) == (1, 0, 0)


def test_two_sales_in_one_batch_are_judged_apart(ears: Ears) -> None:
    poor, rich = sale_make(allotment=1), sale_make(allotment=5)
    users = [user_make() for _ in range(2)]

    placed(
        entry(poor, (1, users[0].pk, 1), (2, users[1].pk, 1)),
        entry(rich, (3, users[0].pk, 1), (4, users[1].pk, 1), at=2),
    )

    assert (counters(poor), counters(rich)) == ((1, 0, 0), (2, 0, 0))
    assert ears.disagreed == [[poor.pk]]


def test_whole_batch_is_one_transaction_with_few_queries(
    ears: Ears, django_assert_max_num_queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of queries does not grow with the reservations."""
    sale = sale_make(allotment=100)
    users = User.objects.bulk_create(
        User(username=f"many{at}", email=f"many{at}@example.com") for at in range(60)
    )
    ids = list(User.objects.filter(username__startswith="many").order_by("pk").values_list("pk", flat=True))
    assert len(users) == len(ids) == 60

    with django_assert_max_num_queries(16):
        placed(entry(sale, *((at, pk, 1) for at, pk in enumerate(ids, 1))))

    assert counters(sale) == (60, 0, 0)


def test_fault_in_the_middle_leaves_nothing_and_tells_nobody(
    ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale, user = sale_make(), user_make()

    def fail(*_: object) -> None:
        raise OperationalError("the server has gone away")

    monkeypatch.setattr(place, "_users_over_limit", fail)
    with pytest.raises(OperationalError, match="gone away"):
        placed(entry(sale, (1, user.pk, 1)))

    assert rows() == []
    assert (counters(sale), sale.last_entry) == ((0, 0, 0), "0-0")
    assert (ears.decided, ears.disagreed) == ([], [])


def test_transient_fault_is_tried_again(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    sale, user = sale_make(), user_make()
    genuine, faults = place._users_over_limit, iter([OperationalError(1213, "Deadlock found"), None])

    def fail_once(*arguments):
        if error := next(faults):
            raise error
        return genuine(*arguments)

    monkeypatch.setattr(place, "_users_over_limit", fail_once)

    placed(entry(sale, (1, user.pk, 1)))

    assert rows() == [("pending", "", 1)]
    assert counters(sale) == (1, 0, 0)
    assert len(ears.decided) == 1


def test_order_number_is_the_beginning_of_the_reservation_id() -> None:
    assert order_number(reservation_id_text(7, raw(1))) == base64.b32encode(raw(1)).decode()[:16]
