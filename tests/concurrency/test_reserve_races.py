"""Many threads for few units, and one user many times at once: in Valkey, and again before the judge.

Each race has a twin without its guard; the twin must go wrong, else the race proves nothing.
"""

import threading
from collections import Counter

import pytest

from orders import signals
from orders.models import LostReason, Order, OrderStatus
from orders.services import place
from seckill import keys, scripts
from seckill.scripts import RecordState, ReserveCode
from seckill.store import unverified_store
from tests.concurrency.sales import WAIT_SECONDS, OpenSale, together
from tests.seckill.mutants import function_change, lua_change, sales_unconstrained
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db(transaction=True)
THREADS, ASKS, ALLOTMENT = 8, 25, 40


def test_threads_for_few_units_get_exactly_the_units(valkey_server: ValkeyServer) -> None:
    sale = OpenSale(valkey_server, allotment=ALLOTMENT)

    def ask(thread: int) -> Counter[int]:
        codes: Counter[int] = Counter()
        for at in range(thread * ASKS, (thread + 1) * ASKS):
            codes.update(sale.reserve((at + 1, sale.raw(at), 1)).codes)
        return codes

    answers = together(*[lambda thread=thread: ask(thread) for thread in range(THREADS)])

    codes = sum((codes for codes in answers if isinstance(codes, Counter)), Counter())
    assert codes == {ReserveCode.ACCEPTED: ALLOTMENT, ReserveCode.SOLD_OUT: THREADS * ASKS - ALLOTMENT}
    assert sale.valkey() == (0, ALLOTMENT, 0, ALLOTMENT)
    assert sum(len(entry.members) for entry in sale.entries()) == ALLOTMENT


def one_user_at_once(sale: OpenSale) -> Counter[int]:
    """Let one user ask for one unit in eight threads with eight keys; return the codes."""
    asks = [lambda at=at: sale.reserve((1, sale.raw(at), 1)).codes[0] for at in range(THREADS)]
    return Counter(answer for answer in together(*asks) if isinstance(answer, int))


def test_one_user_at_once_keeps_to_the_limit(valkey_server: ValkeyServer) -> None:
    sale = OpenSale(valkey_server, allotment=ALLOTMENT, limit=2)

    assert one_user_at_once(sale) == {ReserveCode.ACCEPTED: 2, ReserveCode.LIMIT_REACHED: THREADS - 2}

    assert sale.valkey() == (ALLOTMENT - 2, 2, 0, ALLOTMENT)


def test_one_key_at_once_reserves_once(valkey_server: ValkeyServer) -> None:
    sale = OpenSale(valkey_server, allotment=ALLOTMENT, limit=2)

    codes = Counter(together(*[lambda: sale.reserve((1, sale.raw(0), 1)).codes[0]] * THREADS))

    assert codes == {ReserveCode.ACCEPTED: 1, ReserveCode.REPLAYED: THREADS - 1}
    assert sale.valkey() == (ALLOTMENT - 1, 1, 0, ALLOTMENT)


class ReadThenWrite:
    """Reserves as one would without a script: reads what is left and held, waits for the others, then writes."""

    def __init__(self, sale: OpenSale, *, limit: int) -> None:
        self.sale, self.limit = sale, limit
        self.everyone_has_read = threading.Barrier(THREADS, timeout=WAIT_SECONDS)

    def reserve(self, user_id: int, raw: bytes) -> ReserveCode:
        client, pk = unverified_store().client, self.sale.pk
        left = int(client.hget(keys.campaign_key(pk), "left") or 0)
        records = scripts.records_unpack(client.hget(keys.users_key(pk), str(user_id)))
        held = sum(record.units for record in records if record.state != RecordState.RELEASED)
        self.everyone_has_read.wait()
        if left < 1:
            return ReserveCode.SOLD_OUT
        if held + 1 > self.limit:
            return ReserveCode.LIMIT_REACHED
        client.hincrby(keys.campaign_key(pk), "left", -1)
        client.hincrby(keys.campaign_key(pk), "reserved", 1)
        client.hset(keys.users_key(pk), str(user_id), raw + b"\0\1\1\0\0\0\0\0")
        return ReserveCode.ACCEPTED


@pytest.mark.twin
def test_threads_without_the_script_oversell(valkey_server: ValkeyServer) -> None:
    sale = OpenSale(valkey_server, allotment=2)
    twin = ReadThenWrite(sale, limit=2)

    codes = Counter(together(*[lambda at=at: twin.reserve(at + 1, sale.raw(at)) for at in range(THREADS)]))

    assert codes == {ReserveCode.ACCEPTED: THREADS}
    assert sale.valkey() == (2 - THREADS, THREADS, 0, 2)


@pytest.mark.twin
def test_one_user_without_the_script_breaks_the_limit(valkey_server: ValkeyServer) -> None:
    sale = OpenSale(valkey_server, allotment=ALLOTMENT)
    twin = ReadThenWrite(sale, limit=2)

    codes = Counter(together(*[lambda at=at: twin.reserve(1, sale.raw(at)) for at in range(THREADS)]))

    assert codes == {ReserveCode.ACCEPTED: THREADS}


# ---- the judge, where Valkey has admitted too much


def over_the_limit_at_once(server: ValkeyServer) -> tuple[Counter[str], tuple[int, int, int], list[int]]:
    """Have Valkey admit one user twice his limit and place both entries at once.

    Return the orders' statuses, (sold, held, handed back) and for which sales the judge disagreed.
    """
    disagreed: list[int] = []

    def hear(*, sale_ids: list[int], **_: object) -> None:
        disagreed.extend(sale_ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals.judge_disagreed, "receivers", [])
        signals.judge_disagreed.connect(hear)
        lua_change(patch, "reserve", ("if sum + units > limit or #packed", "if #packed"))
        sale = OpenSale(server, allotment=ALLOTMENT, limit=2, users=1)
        for at in range(2):
            sale.reserve((sale.users[0].pk, sale.raw(at), 2))
        entries = sale.entries()
        results = together(*[lambda entry=entry: sale.place(entry) for entry in entries])
    assert not [result for result in results if isinstance(result, Exception)]
    statuses = Counter(Order.objects.filter(sale_id=sale.pk).values_list("status", flat=True))
    return statuses, sale.database(), [pk - sale.pk for pk in disagreed]


def test_judge_keeps_one_user_to_the_limit(valkey_server: ValkeyServer) -> None:
    for _ in range(4):
        statuses, numbers, disagreed = over_the_limit_at_once(valkey_server)

        assert statuses == {OrderStatus.PENDING: 1, OrderStatus.REFUSED: 1}
        assert numbers == (2, 2, 0)
        assert disagreed == [0]  # this sale, once
    assert set(Order.objects.filter(status=OrderStatus.REFUSED).values_list("reason", flat=True)) == {
        LostReason.LIMIT_REACHED
    }


@pytest.mark.twin
def test_judge_without_the_look_at_the_limit_breaks_it(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_users_over_limit", lambda *_: [])

    statuses, numbers, _ = over_the_limit_at_once(valkey_server)

    assert statuses == {OrderStatus.PENDING: 2}
    assert numbers == (4, 4, 0)


@pytest.mark.twin
def test_judge_that_looks_before_it_holds_the_sale_breaks_the_limit(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin looks at the user's units before its transaction, as both threads do at once."""
    looked = threading.Barrier(2, timeout=WAIT_SECONDS)
    genuine, genuine_place = place._users_over_limit, place.retry_transaction
    monkeypatch.setattr(place, "_users_over_limit", lambda *_: [])

    def look_first(work: object) -> None:
        assert not genuine_held()
        looked.wait()
        genuine_place(work)

    def genuine_held() -> list[int]:
        sale = place.Sale.objects.latest("pk")
        users = set(place.get_user_model().objects.values_list("pk", flat=True))
        return genuine(sale, users)

    monkeypatch.setattr(place, "retry_transaction", look_first)

    statuses, numbers, _ = over_the_limit_at_once(valkey_server)

    assert statuses == {OrderStatus.PENDING: 2}
    assert numbers == (4, 4, 0)


def more_than_there_is_at_once(server: ValkeyServer) -> tuple[OpenSale, list[object]]:
    """Have Valkey admit eight units of four, and place the eight entries at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals.judge_disagreed, "receivers", [])
        lua_change(patch, "reserve", ("if left < units or now < reopen", "if now < reopen"))
        sale = OpenSale(server, allotment=4, limit=1, users=THREADS)
        for at, user in enumerate(sale.users):
            sale.reserve((user.pk, sale.raw(at), 1))
        entries = sale.entries()
        assert len(entries) == THREADS
        return sale, together(*[lambda entry=entry: sale.place(entry) for entry in entries])


def test_judge_never_sells_more_than_there_is(valkey_server: ValkeyServer) -> None:
    sale, results = more_than_there_is_at_once(valkey_server)

    sale.place(*sale.entries())  # what gave up on the crowded row is delivered again
    assert sale.database() == (4, 4, 0)
    reasons = Counter(Order.objects.filter(status=OrderStatus.REFUSED).values_list("reason", flat=True))
    assert reasons == {LostReason.SOLD_OUT: THREADS - 4}
    assert len(results) == THREADS


def guard_off(patch: pytest.MonkeyPatch) -> None:
    function_change(
        patch, place, "_take_units", ('        allotment__gte=F("sold") + F("handed_back") + units,\n', "")
    )


@pytest.mark.twin
def test_judge_without_the_guarded_update_oversells(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard_off(monkeypatch)

    with sales_unconstrained():
        sale, _ = more_than_there_is_at_once(valkey_server)
        sale.place(*sale.entries())

        assert sale.database() == (THREADS, THREADS, 0)


def test_constraint_stands_behind_the_guarded_update(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the guard the table still refuses; only the reason is not known any more."""
    guard_off(monkeypatch)

    sale, _ = more_than_there_is_at_once(valkey_server)

    sale.place(*sale.entries())
    assert sale.database() == (4, 4, 0)
    reasons = Counter(Order.objects.filter(status=OrderStatus.REFUSED).values_list("reason", flat=True))
    assert reasons == {LostReason.OUR_FAULT: THREADS - 4}
