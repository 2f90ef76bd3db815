"""The orders API: what the owner reads and does, and what everybody else is told."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from orders.models import OrderStatus, Payment, Refund
from orders.payment_tasks import sandbox_deliver
from orders.payments.sandbox import SIGNATURE_HEADER, TIMESTAMP_HEADER
from tests.orders.rows import (
    NOW,
    PRICE,
    SANDBOX,
    counters,
    order_make,
    payment_make,
    sale_make,
    state,
    user_make,
)

pytestmark = pytest.mark.django_db
NOBODYS = "/api/v1/orders/AAAAAAAAAAAAAAAA/"


@pytest.fixture
def user():
    return user_make()


@pytest.fixture
def client(user):
    client = APIClient(HTTP_ACCEPT_LANGUAGE="en")
    client.force_authenticate(user)
    return client


@pytest.fixture
def sale():
    return sale_make(sold=1)


@pytest.fixture
def order(sale, user):
    return order_make(sale, user, expires_at=timezone.now() + timedelta(minutes=15))


def url(order, act=""):
    return f"/api/v1/orders/{order.number}/{act}"


def body_of(response):
    body = response.json()
    body["extra"].pop("request_id")
    return body


def callback_post(client, payment, *, succeeded=True, amount=PRICE, provider="sandbox", **changed):
    body, headers = SANDBOX.callback_make(
        reference=payment.reference, succeeded=succeeded, amount=amount, currency="CNY", now=NOW
    )
    return client.post(
        f"/api/v1/payments/callback/{provider}/",
        data=body,
        content_type="application/json",
        headers={**headers, **changed},
    )


def test_order_body_has_text_money_ids_and_times(client, sale, user):
    pay_by = timezone.now()
    order = order_make(sale, user, expires_at=pay_by, recipient="Mei", phone="138", address="Shanghai 1")

    response = client.get(url(order))

    assert response.status_code == 200
    body = response.json()
    assert body.pop("server_time").endswith("Z")
    assert body.pop("pay_by") == pay_by.isoformat().replace("+00:00", "Z")
    assert body == {
        "number": order.number,
        "status": "pending",
        "reason": None,
        "reservation_id": order.reservation_id,
        "campaign_id": str(sale.pk),
        "units": 1,
        "total": "199.00",
        "currency": "CNY",
        "created_at": "2026-06-18T12:00:00Z",
        "paid_at": None,
        "ended_at": None,
        "recipient": "Mei",
        "phone": "138",
        "address": "Shanghai 1",
        "lines": [
            {
                "product_id": str(sale.product_id),
                "title": "Paper lantern",
                "unit_price": "199.00",
                "quantity": 1,
            }
        ],
        "payments": [],
    }


def test_order_title_follows_the_language(client, order):
    body = client.get(url(order), headers={"Accept-Language": "zh-hans"}).json()

    assert body["lines"][0]["title"] == "纸灯笼"


def test_orders_of_others_do_not_exist(client, sale):
    """The answers are the same to the byte, the request's own id apart."""
    foreign = order_make(sale)

    for act, method in (("", client.get), ("cancel/", client.post), ("pay/", client.post)):
        theirs, nobodys = method(url(foreign, act)), method(NOBODYS + act)
        assert (theirs.status_code, nobodys.status_code) == (404, 404)
        expected = {"code": "orders.not_found", "message": "There is no such order.", "extra": {}}
        assert body_of(theirs) == body_of(nobodys) == expected

    assert state(foreign) == ("pending", "", 1, False)
    assert counters(sale) == (1, 0, 0)
    assert not Payment.objects.exists()


@pytest.mark.parametrize("act", ["", "cancel/", "pay/"])
def test_without_credentials_nothing_is_told(order, act):
    method = APIClient().post if act else APIClient().get

    response = method(url(order, act))

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
    assert state(order) == ("pending", "", 1, False)


def test_orders_list_is_mine_newest_first_without_refused(client, sale, user):
    mine = [order_make(sale, user), order_make(sale, user, status=OrderStatus.PAID)]
    order_make(sale, user, status=OrderStatus.REFUSED)
    order_make(sale)

    body = client.get("/api/v1/orders/").json()

    assert sorted(body) == ["next", "previous", "results"]
    assert [row["number"] for row in body["results"]] == [mine[1].number, mine[0].number]


def test_orders_list_pages_by_cursor(client, sale, user):
    numbers = [order_make(sale, user).number for _ in range(3)][::-1]

    first = client.get("/api/v1/orders/?limit=2").json()
    second = client.get(first["next"]).json()

    assert [row["number"] for row in first["results"]] == numbers[:2]
    assert [row["number"] for row in second["results"]] == numbers[2:]
    assert second["next"] is None


@pytest.mark.parametrize("count", [1, 3])
def test_orders_list_asks_the_same_few_queries(client, sale, user, count, django_assert_num_queries):
    for _ in range(count):
        payment_make(order_make(sale, user))

    with django_assert_num_queries(3):
        assert len(client.get("/api/v1/orders/").json()["results"]) == count


def test_cancel_ends_the_order(client, order, sale):
    response = client.post(url(order, "cancel/"))

    assert response.status_code == 200
    body = response.json()
    assert (body["status"], body["reason"], body["pay_by"]) == ("cancelled", "cancelled", None)
    assert counters(sale) == (0, 0, 0)

    again = client.post(url(order, "cancel/"))
    assert again.status_code == 409
    assert body_of(again) == {
        "code": "orders.not_pending",
        "message": "This order is not waiting for payment.",
        "extra": {"status": "cancelled"},
    }
    assert counters(sale) == (0, 0, 0)


@pytest.mark.parametrize("data", [{}, {"outcome": "success"}, {"outcome": "twice"}])
def test_pay_with_success_has_paid(client, order, sale, data):
    response = client.post(url(order, "pay/"), data, format="json")

    assert response.status_code == 200
    payment = Payment.objects.get()
    body = response.json()
    assert (body["payment_id"], body["status"]) == (str(payment.pk), "succeeded")
    assert body["order"]["status"] == "paid"
    assert [(row["payment_id"], row["status"], row["amount"]) for row in body["order"]["payments"]] == [
        (str(payment.pk), "succeeded", "199.00")
    ]
    assert state(order) == ("paid", "", 1, False)
    assert counters(sale) == (1, 0, 0)


def test_pay_twice_is_refused_the_second_time(client, order):
    client.post(url(order, "pay/"))

    response = client.post(url(order, "pay/"))

    assert (response.status_code, response.json()["extra"]["status"]) == (409, "paid")
    assert Payment.objects.count() == 1


def test_pay_with_decline_leaves_it_pending(client, order):
    body = client.post(url(order, "pay/"), {"outcome": "decline"}, format="json").json()

    assert (body["status"], body["order"]["status"]) == ("declined", "pending")
    assert client.post(url(order, "pay/")).json()["status"] == "succeeded"


def test_pay_with_abandon_only_starts(client, order):
    body = client.post(url(order, "pay/"), {"outcome": "abandon"}, format="json").json()

    assert (body["status"], body["order"]["status"]) == ("created", "pending")


@pytest.mark.parametrize(("outcome", "countdown_seconds"), [("slow", {20}), ("late", {929, 930})])
def test_pay_later_queues_the_callback_that_then_pays(client, order, monkeypatch, outcome, countdown_seconds):
    queued = []
    monkeypatch.setattr(sandbox_deliver, "apply_async", lambda **words: queued.append(words))

    body = client.post(url(order, "pay/"), {"outcome": outcome}, format="json").json()

    assert (body["status"], body["order"]["status"]) == ("created", "pending")
    assert len(queued) == 1
    assert queued[0]["countdown"] in countdown_seconds
    kwargs = json.loads(json.dumps(queued[0]["kwargs"]))
    assert sandbox_deliver(**kwargs, added_by_a_later_version=1) == "succeeded"
    assert state(order)[0] == "paid"


def test_pay_with_an_unknown_outcome_starts_nothing(client, order):
    response = client.post(url(order, "pay/"), {"outcome": "fly"}, format="json")

    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert not Payment.objects.exists()


def test_pay_after_the_pay_by_time_is_refused(client, sale, user):
    order = order_make(sale, user, expires_at=timezone.now())

    response = client.post(url(order, "pay/"))

    assert (response.status_code, response.json()["code"]) == (409, "orders.pay_window_over")
    assert state(order) == ("pending", "", 1, False)


def test_callback_needs_no_login_and_marks_the_order_paid(order, sale):
    payment = payment_make(order)

    first = callback_post(APIClient(), payment)
    second = callback_post(APIClient(), payment)

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == {"reference": payment.reference, "status": "succeeded"}
    assert second.content == first.content
    assert state(order) == ("paid", "", 1, False)
    assert counters(sale) == (1, 0, 0)
    assert not Refund.objects.exists()


def test_callback_of_any_age_is_honoured(order):
    """The timestamp is signed, not judged: a message that was held up for days still speaks of money that moved."""
    payment = payment_make(order)
    assert callback_post(APIClient(), payment).status_code == 200
    assert abs((timezone.now() - NOW).total_seconds()) > 300
    assert state(order)[0] == "paid"


@pytest.mark.parametrize(
    ("words", "status_code", "code"),
    [
        ({SIGNATURE_HEADER: "0" * 64}, 401, "payments.bad_signature"),
        ({TIMESTAMP_HEADER: "1"}, 401, "payments.bad_signature"),
        ({"amount": PRICE + 1}, 422, "payments.amount_mismatch"),
        ({"provider": "nobody"}, 404, "payments.unknown_provider"),
    ],
)
def test_callback_refused_changes_nothing(order, sale, words, status_code, code):
    payment = payment_make(order)

    response = callback_post(APIClient(), payment, **words)

    assert (response.status_code, response.json()["code"]) == (status_code, code)
    payment.refresh_from_db()
    assert payment.status == "created"
    assert state(order) == ("pending", "", 1, False)
    assert counters(sale) == (1, 0, 0)


def test_callback_body_is_not_parsed_before_its_signature(order):
    response = APIClient().post(
        "/api/v1/payments/callback/sandbox/", data=b"\xff{", content_type="application/json"
    )

    assert (response.status_code, response.json()["code"]) == (401, "payments.bad_signature")


def test_with_another_provider_nobody_chooses_an_outcome(client, order, settings, monkeypatch):
    """A success that the shopper asks for is the sandbox's alone."""
    from orders.payments import provider as providers
    from tests.orders.rows import StubbornProvider

    monkeypatch.setitem(providers._factories, "stubborn", lambda: StubbornProvider(0, ValueError))
    settings.PAYMENT_PROVIDER = "stubborn"

    body = client.post(url(order, "pay/"), {"outcome": "success"}, format="json").json()

    assert (body["status"], body["order"]["status"]) == ("created", "pending")
    assert Payment.objects.get().provider == "stubborn"
