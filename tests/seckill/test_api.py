"""The sale's API through REST framework's views: lists, one campaign, live numbers, status, mine."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from orders.models import Order
from seckill import keys
from seckill.answers import rfc3339
from seckill.models import Campaign
from seckill.services import campaigns
from seckill.services.campaigns import campaign_create, campaign_pause, campaign_publish
from seckill.services.reservations import process_gate
from shop.site.load_accounts import access_tokens
from tests.orders.rows import user_make
from tests.seckill.live_sale import LiveSale, commits_seen, server_crash
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db
API = "/api/v1/seckill"


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> Iterator[LiveSale]:
    with commits_seen():
        yield LiveSale(valkey_server, allotment=10, limit=4)


def client(user: Any = None, language: str = "en") -> APIClient:
    made = APIClient(raise_request_exception=False)
    made.credentials(HTTP_ACCEPT_LANGUAGE=language, **({"HTTP_AUTHORIZATION": _bearer(user)} if user else {}))
    return made


def _bearer(user: Any) -> str:
    return f"Bearer {access_tokens(user_ids=[user.pk], ttl_seconds=600, now=timezone.now())[0]}"


def get(path: str, user: Any = None, **words: Any) -> tuple[int, Any]:
    response = client(user, **words).get(API + path)
    assert response["Content-Type"] == "application/json"
    return response.status_code, json.loads(response.content)


def refused(path: str, user: Any = None) -> tuple[int, str]:
    status, body = get(path, user)
    assert set(body) == {"code", "message", "extra"}
    return status, body["code"]


def row(sale: LiveSale, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(sale.pk),
        "name": "Race",
        "product_id": str(sale.product.pk),
        "state": "live",
        "sold_out": False,
        "starts_at": rfc3339(int(sale.campaign.starts_at.timestamp() * 1000)),
        "ends_at": rfc3339(int(sale.campaign.ends_at.timestamp() * 1000)),
        "price": "9.00",
        "currency": "CNY",
        "limit_per_user": 4,
    } | changes


def without_clock(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in ("server_time", "as_of")}


def wipe(sale: LiveSale) -> None:
    sale.client.delete(keys.campaign_key(sale.pk), keys.users_key(sale.pk))
    process_gate.cache_clear()


# ---- campaigns ----


def test_campaigns_are_listed_to_everybody(sale: LiveSale) -> None:
    status, body = get("/campaigns/")
    assert status == 200
    assert (body["next"], body["previous"]) == (None, None)
    assert [without_clock(each) for each in body["results"]] == [row(sale)]
    assert get("/campaigns/", language="zh-hans")[1]["results"][0]["name"] == "竞争"


def test_campaign_is_shown_alone(sale: LiveSale) -> None:
    status, body = get(f"/campaigns/{sale.pk}/")
    assert (status, without_clock(body)) == (200, row(sale))


def test_campaigns_whose_numbers_are_unknown_are_paused_and_never_sold_out(sale: LiveSale) -> None:
    wipe(sale)
    assert [without_clock(each) for each in get("/campaigns/")[1]["results"]] == [row(sale, state="paused")]
    live = get(f"/campaigns/{sale.pk}/live/")[1]
    assert without_clock(live) == row(sale, state="paused", left=None, poll_after_ms=5_000)


def test_campaigns_are_listed_while_the_server_is_not_compared(
    sale: LiveSale, valkey_server: ValkeyServer
) -> None:
    server_crash(valkey_server)
    assert get("/campaigns/")[1]["results"][0]["state"] == "paused"
    assert refused(f"/campaigns/{sale.pk}/live/") == (503, "seckill.paused")


@pytest.mark.parametrize("count", [1, 3])
def test_campaigns_need_one_query(
    sale: LiveSale, count: int, django_assert_num_queries: Callable[..., Any]
) -> None:
    for _ in range(count - 1):
        _published(sale)
    with django_assert_num_queries(1):
        assert len(get("/campaigns/")[1]["results"]) == count


def _draft(sale: LiveSale, **changes: Any) -> Campaign:
    sale.product.stock = 100
    sale.product.save()
    values = {
        "product_id": sale.product.pk, "name_zh": "甲", "name_en": "A", "price": Decimal(1), "limit_per_user": 1,
        "allotment": 5, "starts_at": sale.now - timedelta(hours=1), "ends_at": sale.now + timedelta(hours=1),
    }  # fmt: skip
    return campaign_create(**values | changes)


def _published(sale: LiveSale, **changes: Any) -> Campaign:
    return campaign_publish(campaign_id=_draft(sale, **changes).pk, now=sale.now)


def test_live_numbers_follow_the_sale(sale: LiveSale) -> None:
    sale.admit(sale.users[0], 4)
    status, body = get(f"/campaigns/{sale.pk}/live/")
    assert (status, without_clock(body)) == (200, row(sale, left=6, poll_after_ms=1_000))
    assert body["as_of"] <= body["server_time"]


def test_live_numbers_say_sold_out_paused_scheduled(sale: LiveSale) -> None:
    sale.tamper(left=0, reserved=10)
    process_gate.cache_clear()
    assert get(f"/campaigns/{sale.pk}/live/")[1]["sold_out"] is True
    campaign_pause(campaign_id=sale.pk, reason="x", now=sale.now)
    process_gate.cache_clear()
    body = get(f"/campaigns/{sale.pk}/live/")[1]
    assert (body["state"], body["poll_after_ms"]) == ("paused", 5_000)
    later = _published(sale, starts_at=sale.now + timedelta(minutes=5))
    assert get(f"/campaigns/{later.pk}/live/")[1]["state"] == "scheduled"


def test_draft_is_not_there(sale: LiveSale) -> None:
    draft = _draft(sale)
    missing = get("/campaigns/999999/")[1]
    for path in (f"/campaigns/{draft.pk}/", f"/campaigns/{draft.pk}/live/", "/campaigns/999999/live/"):
        status, body = get(path)
        assert (status, body["code"], body["message"]) == (404, "not_found", missing["message"])
    assert [each["id"] for each in get("/campaigns/")[1]["results"]] == [str(sale.pk)]


def test_draft_whose_publication_failed_takes_nobodys_reservation(
    sale: LiveSale, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = _draft(sale)

    def fails(*_: object, **__: object) -> None:
        raise ValueError("after the keys were written")

    with monkeypatch.context() as patch:
        patch.setattr(campaigns.CampaignOperation.objects, "create", fails)
        with pytest.raises(ValueError, match="after the keys"):
            campaign_publish(campaign_id=draft.pk, now=sale.now)
    assert refused(f"/campaigns/{draft.pk}/") == (404, "not_found")
    assert _reserve(draft.pk, sale.users[0]).status_code == 404


def _reserve(campaign_id: int, user: Any, *, key: str = "k", quantity: int = 1) -> Any:
    return client(user).post(
        f"{API}/campaigns/{campaign_id}/reservations/",
        {"quantity": quantity},
        format="json",
        headers={"Idempotency-Key": key},
    )


# ---- reservations ----


def test_reservation_is_accepted_and_told_of(sale: LiveSale) -> None:
    response = _reserve(sale.pk, sale.users[0], quantity=2)
    assert response.status_code == 202
    body = response.json()
    path = f"/reservations/{body['reservation_id']}/"
    assert (body["status"], response["Location"]) == ("queued", API + path)
    assert get(path, sale.users[0])[1] | {"server_time": ""} == {
        "reservation_id": body["reservation_id"],
        "campaign_id": str(sale.pk),
        "status": "queued",
        "reason": None,
        "quantity": 2,
        "order_number": None,
        "pay_by": None,
        "poll_after_ms": 500,
        "server_time": "",
    }
    sale.place(*sale.entries())
    won = get(path, sale.users[0])[1]
    order = Order.objects.get()
    assert (won["status"], won["order_number"]) == ("won", order.number)
    assert won["pay_by"] == rfc3339(int(order.expires_at.timestamp()) * 1000)  # type: ignore[union-attr]
    replayed = _reserve(sale.pk, sale.users[0], quantity=2)
    assert (replayed.status_code, replayed["Idempotency-Replayed"]) == (202, "true")
    assert replayed.json()["reservation_id"] == body["reservation_id"]


def test_reservation_of_somebody_else_reads_like_one_that_never_was(sale: LiveSale) -> None:
    theirs = sale.won(sale.users[0])
    never = f"{sale.pk}-{'a' * 26}"
    reader = client(sale.users[1])
    reader.credentials(**reader._credentials, HTTP_X_REQUEST_ID="same-request-id")
    answers = [reader.get(f"{API}/reservations/{each}/") for each in (theirs, never)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content
    assert answers[0].json()["code"] == "not_found"


@pytest.mark.parametrize(
    "text",
    ["x", "1x", "1", "1-", "1x-" + "a" * 26, "²-" + "a" * 26, "9" * 5000, "-1-" + "a" * 26],
    ids=lambda text: text[:8],
)
def test_reservation_id_that_is_none_is_not_there(sale: LiveSale, text: str) -> None:
    assert refused(f"/reservations/{text}/", sale.users[0]) == (404, "not_found")


def test_reservations_need_credentials(sale: LiveSale) -> None:
    theirs = sale.won(sale.users[0])
    assert refused("/reservations/") == (401, "not_authenticated")
    assert refused(f"/reservations/{theirs}/") == (401, "not_authenticated")
    assert _reserve(sale.pk, None).status_code == 401


def test_reservations_are_my_own(sale: LiveSale) -> None:
    sale.won(sale.users[1])
    mine, queued = sale.won(sale.users[0]), sale.admit(sale.users[0])
    status, body = get("/reservations/", sale.users[0])
    assert status == 200
    assert [(r["reservation_id"], r["status"]) for r in body["results"]] == [
        (queued, "queued"),
        (mine, "won"),
    ]
    assert get("/reservations/", user_make())[1] == {"results": []}


def test_reservations_are_not_told_in_part(sale: LiveSale, settings: Any) -> None:
    sale.won(sale.users[0])
    settings.REDIS_URL = "unix:///nowhere/valkey.sock?db=0"
    assert refused("/reservations/", sale.users[0]) == (503, "seckill.unavailable")
