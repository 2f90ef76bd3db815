"""The two doors of the sale give the same answers, byte for byte: every answer by name, then generated inputs."""

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from orders.models import Sale
from seckill import keys
from seckill.lane import Headers
from seckill.models import Campaign
from seckill.services.reconciliation import server_id
from seckill.store import SaleStore, unverified_store
from seckill.tickets import ticket_mint
from tests.seckill.cutting_proxy import CuttingProxy
from tests.seckill.doors import (
    NOW_MS,
    SALT,
    Call,
    Reply,
    campaign_hash,
    drf_replies,
    lane_replies,
    reserve,
    token_of,
)
from tests.seckill.making import product_made
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db(transaction=True)
SALE, EMPTY, EARLY, OVER, PAUSED, BARE = 11, 12, 13, 14, 15, 16
UNKNOWN = 999


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> ValkeyServer:
    """Return a verified server with one campaign in each state, and a published campaign whose keys are gone."""
    product, now = product_made(), timezone.now()
    for campaign_id in (SALE, EMPTY, EARLY, OVER, PAUSED, BARE):
        row = Sale.objects.create(
            pk=campaign_id, product=product, price=Decimal("9.90"), limit_per_user=2, allotment=10
        )
        Campaign.objects.create(
            sale=row, name_zh="水壶", name_en="Kettle", salt=SALT, published_at=now,
            starts_at=now - timedelta(hours=1), ends_at=now + timedelta(hours=1),
        )  # fmt: skip
    state_reset(valkey_server)
    return valkey_server


def state_reset(server: ValkeyServer) -> None:
    server.clear()
    store = unverified_store()
    store.client.hset(keys.shard_key(), mapping={"boot": server_id(store), "open_max": 1_000, "open": 0})
    campaign_hash(SALE)
    campaign_hash(EMPTY, left=0, allotment=0)
    campaign_hash(EARLY, starts_ms=NOW_MS + 3_000_000)
    campaign_hash(OVER, ends_ms=NOW_MS - 1_000)
    campaign_hash(PAUSED, phase="paused")


def both(
    server: ValkeyServer, calls: list[Call], *, before: Callable[[int], None] | None = None
) -> list[Reply]:
    """Send the calls to each door on the same fresh state, compare, and return the replies."""
    state_reset(server)
    through_lane = lane_replies(calls, before=before)
    state_reset(server)
    through_drf = drf_replies(calls, before=before)
    for number, (ours, theirs) in enumerate(zip(through_lane, through_drf, strict=True)):
        assert ours == theirs, f"call {number}: {calls[number]}"
    return through_lane


@dataclass(frozen=True)
class Case:
    """One answer of the table: the last of `calls` gets it."""

    name: str
    status: int
    code: str
    calls: list[Call]
    headers: dict[str, str]


def table() -> list[Case]:
    """Return every answer that the API promises for a reservation, with the request that gets it."""
    later = int(time.time()) + 600
    ticket = ticket_mint(user_id=1, campaign_id=SALE, starts=later, now=later)
    foreign = ticket_mint(user_id=1, campaign_id=EMPTY, starts=later, now=later)
    retry = {"retry-after": "5"}
    return [
        Case("accepted", 202, "queued", [reserve(SALE)], {}),
        Case("accepted by ticket", 202, "queued", [reserve(SALE, authorization=f"Ticket {ticket}")], {}),
        Case("replayed", 202, "queued", [reserve(SALE), reserve(SALE)], {"idempotency-replayed": "true"}),
        Case("malformed", 400, "malformed", [reserve(SALE, body=b'{"quantity":')], {}),
        Case("no body", 400, "malformed", [reserve(SALE, body=b"")], {}),
        Case("key missing", 400, "seckill.key_missing", [reserve(SALE, key=None)], {}),
        Case("key too long", 400, "seckill.key_missing", [reserve(SALE, key="k" * 129)], {}),
        Case("key not ASCII", 400, "seckill.key_missing", [reserve(SALE, key="é")], {}),
        Case(
            "nobody",
            401,
            "not_authenticated",
            [reserve(SALE, user=None)],
            {"www-authenticate": 'Bearer realm="api"'},
        ),
        Case("bad token", 401, "not_authenticated", [reserve(SALE, authorization="Bearer x.y.z")], {}),
        Case(
            "another campaign's ticket",
            401,
            "not_authenticated",
            [reserve(SALE, authorization=f"Ticket {foreign}")],
            {},
        ),
        Case("unknown campaign", 404, "not_found", [reserve(UNKNOWN)], {}),
        Case("not started", 409, "seckill.not_started", [reserve(EARLY)], {}),
        Case("ended", 409, "seckill.ended", [reserve(OVER)], {}),
        Case("sold out", 409, "seckill.sold_out", [reserve(EMPTY)], {}),
        Case("sold out from memory", 409, "seckill.sold_out", [reserve(EMPTY), reserve(EMPTY, user=2)], {}),
        Case("limit reached", 409, "seckill.limit_reached", [reserve(SALE, body=b'{"quantity":3}')], {}),
        Case("body too large", 413, "too_large", [reserve(SALE, body=b" " * 5_000)], {}),
        Case("not JSON", 415, "unsupported_media_type", [reserve(SALE, content_type="text/plain")], {}),
        Case("quantity 0", 422, "invalid", [reserve(SALE, body=b'{"quantity":0}')], {}),
        Case("quantity in words", 422, "invalid", [reserve(SALE, body=b'{"quantity":"1"}')], {}),
        Case(
            "key reused",
            422,
            "seckill.key_reused",
            [reserve(SALE), reserve(SALE, body=b'{"quantity":2}')],
            {},
        ),
        Case("paused", 503, "seckill.paused", [reserve(PAUSED)], retry),
        Case("keys gone", 503, "seckill.paused", [reserve(BARE)], retry),
    ]


@pytest.mark.parametrize("number", range(len(table())))
def test_doors_give_every_answer_alike(sale: ValkeyServer, number: int) -> None:
    case = table()[number]
    last = both(sale, case.calls)[-1]
    assert (last.status, last.code) == (case.status, case.code), case.name
    assert case.headers.items() <= last.headers.items()


@pytest.mark.parametrize(("language", "message"), [("en", "Sold out."), ("zh-CN,zh;q=0.9", "已抢光。")])
def test_doors_refuse_in_the_callers_language(sale: ValkeyServer, language: str, message: str) -> None:
    reply = both(sale, [reserve(EMPTY, accept_language=language)])[0]
    assert reply.json["message"] == message


@override_settings(SALE_RATE_LIMIT=1, SALE_RATE_WINDOW_SECONDS=60)
def test_doors_limit_an_account_alike(sale: ValkeyServer) -> None:
    reply = both(sale, [reserve(SALE), reserve(SALE, key="other")])[1]
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (429, "rate_limited", "60")


def test_doors_are_busy_alike(sale: ValkeyServer) -> None:
    full = {"open": 1_000}

    def before(_: int) -> None:
        unverified_store().client.hset(keys.shard_key(), mapping=full)

    reply = both(sale, [reserve(SALE)], before=before)[0]
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "seckill.busy", "1")


def test_doors_pause_after_a_restart_until_the_server_is_compared(sale: ValkeyServer) -> None:
    def before(number: int) -> None:
        if number == 1:
            sale.kill()
            sale.start()

    replies = both(sale, [reserve(SALE), reserve(SALE, key="other")], before=before)
    assert [(reply.status, reply.code) for reply in replies] == [(202, "queued"), (503, "seckill.paused")]


def test_doors_say_unavailable_where_nothing_listens(sale: ValkeyServer) -> None:
    with override_settings(REDIS_URL=f"unix://{sale.directory}/nobody.sock"):
        calls = [reserve(SALE)]
        ours, theirs = lane_replies(calls)[0], drf_replies(calls)[0]
    assert ours == theirs
    assert (ours.status, ours.code, ours.headers["retry-after"]) == (503, "seckill.unavailable", "2")


def test_doors_say_unknown_when_the_answer_is_lost_and_the_key_tells(sale: ValkeyServer) -> None:
    answers = []
    for door in (lane_replies, drf_replies):
        state_reset(sale)
        with CuttingProxy(sale.socket_path) as proxy, override_settings(REDIS_URL=proxy.url):
            # The facts are read first; then the script's answer is cut off, once.
            replies = door(
                [reserve(SALE), reserve(SALE)], before=lambda n, p=proxy: p.cut_next_script(n == 0)
            )
            proxy.close_stores()
        assert unverified_left(sale) == b"9"
        answers.append(replies)
    ours, theirs = answers
    assert ours == theirs
    assert [(reply.status, reply.code) for reply in ours] == [(503, "seckill.unknown"), (202, "queued")]
    assert ours[1].headers["idempotency-replayed"] == "true"


def unverified_left(server: ValkeyServer) -> bytes | None:
    store = SaleStore(server.url, verify=False)
    try:
        return store.client.hget(keys.campaign_key(SALE), "left")
    finally:
        store.close()


def test_replay_outranks_every_refusal(sale: ValkeyServer) -> None:
    """Cut the 202, sell out, pause, end: the same key still gets the 202 and the same id."""
    changes: list[dict[str, Any]] = [
        {},
        {"left": 0, "allotment": 1, "reserved": 1},
        {"phase": "paused"},
        {"phase": "closing"},
        {"phase": "open", "ends_ms": 1},
        {"limit": 1},
    ]

    def before(number: int) -> None:
        if changes[number]:
            unverified_store().client.hset(keys.campaign_key(SALE), mapping=changes[number])

    replies = both(sale, [reserve(SALE)] * len(changes), before=before)
    assert [reply.status for reply in replies] == [202] * len(changes)
    assert len({reply.json["reservation_id"] for reply in replies}) == 1


def test_holder_is_never_refused_from_memory(sale: ValkeyServer) -> None:
    """User 1 holds the last unit; the process has learnt "sold out", and still asks the script for him."""
    campaign = {"left": 1, "allotment": 1}

    def before(number: int) -> None:
        if number == 0:
            unverified_store().client.hset(keys.campaign_key(SALE), mapping=campaign)
        time.sleep(0.02)  # the holders are read behind the scenes

    calls = [reserve(SALE), reserve(SALE, user=2), reserve(SALE, user=3), reserve(SALE)]
    replies = both(sale, calls, before=before)
    assert [reply.status for reply in replies] == [202, 409, 409, 202]
    assert replies[3].headers["idempotency-replayed"] == "true"


# ---- generated inputs

LANGUAGES = ("", "en", "zh-hans", "zh-CN,zh;q=0.9,en;q=0.8", "fr", "*", "en-GB;q=0.5, zh;q=0.7", "x" * 300)
BODIES = (
    b'{"quantity":1}', b'{"quantity":1}', b'{"quantity":2}', b"{}", b'{"quantity":0}', b'{"quantity":-1}',
    b'{"quantity":9223372036854775808}', b'{"quantity":1e3}', b'{"quantity":NaN}', b'{"quantity":"1"}',
    b'{"quantity":true}', b'{"quantity":null}', '{"quantity":"１"}'.encode(), b"[]", b"null", b"", b"{", b"\xff\xfe",
    b'{"quantity":1,"price":"0.01"}', b'{"quantity":1}' + b" " * 5_000, b"[" * 4_000,
)  # fmt: skip
TYPES = ("application/json",) * 6 + ("application/json; charset=utf-8", "text/plain", "", "APPLICATION/JSON")
KEYS = ("a", "b", "c", "a b~", "k" * 128, None, "", "k" * 129, "\x7f", "ключ".encode().decode("latin-1"))
CAMPAIGNS = (SALE,) * 5 + (EMPTY, EARLY, OVER, PAUSED, BARE, UNKNOWN)


def generated_call(rng: random.Random, tokens: dict[int, str], seen: list[str]) -> Call:
    """Return one request: a reservation, a status poll or the live numbers, right or wrong in some part."""
    user = rng.randrange(1, 5)
    authorization = rng.choice(
        [f"Bearer {tokens[user]}"] * 8 + ["", "Bearer", "Bearer x", f"Token {tokens[user]}", f"bearer {tokens[user]}",
                                          f"Bearer {tokens[user]}x", "Ticket 1.11.99:bad"]
    )  # fmt: skip
    headers = {"authorization": authorization, "accept-language": rng.choice(LANGUAGES)}
    if rng.random() < 0.1:
        headers["cookie"] = f"django_language={rng.choice(('en', 'zh-hans', 'tlh'))}"
    campaign_id = rng.choice(CAMPAIGNS)
    kind = rng.random()
    if kind < 0.15:
        return Call("GET", f"/api/v1/seckill/campaigns/{campaign_id}/live/", headers)
    if kind < 0.35:
        unknown = f"{campaign_id}-{'a' * 26}"
        one = rng.choice([*seen, unknown, "11-abc", "0-" + "a" * 26, "x"])
        return Call("GET", f"/api/v1/seckill/reservations/{one}/", headers)
    headers["content-type"] = rng.choice(TYPES)
    if (key := rng.choice(KEYS)) is not None:
        headers["idempotency-key"] = key
    path = f"/api/v1/seckill/campaigns/{campaign_id}/reservations/"
    return Call("POST", path, headers, rng.choice(BODIES))


@override_settings(SALE_RATE_LIMIT=10_000)
@pytest.mark.parametrize("seed", range(8))
def test_doors_answer_generated_requests_alike(sale: ValkeyServer, seed: int) -> None:
    """250 requests a seed, 2,000 in all, each in the state that the ones before it left."""
    rng = random.Random(seed)
    tokens = {user: token_of(user) for user in range(1, 5)}
    warm = [reserve(SALE, user=user, key="a", body=b"{}") for user in (1, 2)]
    seen = [reply.json["reservation_id"] for reply in both(sale, warm)]
    calls = [*warm, *(generated_call(rng, tokens, seen) for _ in range(248))]
    replies = both(sale, calls)
    assert {202, 400, 401, 404, 409, 422, 503} <= {reply.status for reply in replies}
    assert all(reply.status != 500 for reply in replies)


def test_server_time_has_the_form_of_rfc_3339(sale: ValkeyServer) -> None:
    assert re.search(rb'"server_time":"2026-01-01T00:00:00.000Z"', both(sale, [reserve(SALE)])[0].body)


@pytest.mark.parametrize("name", [b"idempotency-key", b"authorization"])
def test_lane_takes_no_header_twice(name: bytes) -> None:
    """Readers would differ on which one counts, so neither does."""
    assert Headers([(name, b"one"), (name, b"other")]).doubled
    assert not Headers([(name, b"one"), (b"cookie", b"other")]).doubled


def test_status_of_a_campaign_whose_keys_are_lost_is_paused_and_not_missing(sale: ValkeyServer) -> None:
    reservation_id = both(sale, [reserve(SALE)])[0].json["reservation_id"]
    path = f"/api/v1/seckill/reservations/{reservation_id}/"
    poll = Call("GET", path, {"authorization": reserve(SALE).headers["authorization"]})

    def before(number: int) -> None:
        client = unverified_store().client
        if number == 1:
            client.delete(keys.campaign_key(SALE), keys.users_key(SALE))

    replies = both(sale, [reserve(SALE), poll], before=before)
    assert [(reply.status, reply.code) for reply in replies] == [(202, "queued"), (503, "seckill.paused")]


def test_damaged_record_is_unavailable_and_no_fault(sale: ValkeyServer) -> None:
    path = f"/api/v1/seckill/reservations/{SALE}-{'a' * 26}/"
    poll = Call("GET", path, {"authorization": reserve(SALE).headers["authorization"]})

    def before(_: int) -> None:
        unverified_store().client.set(keys.users_key(SALE), "damaged")

    reply = both(sale, [poll], before=before)[0]
    assert (reply.status, reply.code) == (503, "seckill.unavailable")
