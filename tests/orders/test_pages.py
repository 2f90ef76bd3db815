"""The order pages as a browser without scripts gets them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from orders import views
from orders.models import OrderStatus, Payment, PaymentStatus
from orders.services.endings import orders_expire
from tests.orders.rows import (
    callback,
    cancel,
    counters,
    order_make,
    payment_make,
    sale_make,
    state,
    user_make,
)

pytestmark = pytest.mark.django_db
PAY = "Pay ¥199.00"


@pytest.fixture
def user():
    return user_make()


@pytest.fixture
def page(client, user):
    """Return a function that gets an English page as the shopper."""
    client.force_login(user)
    return lambda path: client.get(f"/en{path}")


@pytest.fixture
def sale():
    return sale_make(sold=1)


@pytest.fixture
def order(sale, user):
    return order_make(sale, user, expires_at=timezone.now() + timedelta(minutes=15))


@pytest.mark.parametrize("path", ["/orders/", "/orders/AAAAAAAAAAAAAAAA/", "/pay/AAAAAAAAAAAAAAAA/"])
def test_pages_ask_to_log_in_and_come_back(client, path):
    response = client.get(f"/en{path}")

    assert (response.status_code, response["Location"]) == (302, f"/en/account/login/?next=/en{path}")


def test_orders_of_others_are_not_found(client, page, sale):
    foreign = order_make(sale)

    statuses = [
        page(f"/orders/{foreign.number}/").status_code,
        page(f"/pay/{foreign.number}/").status_code,
        client.post(f"/en/orders/{foreign.number}/cancel/").status_code,
        client.post(f"/en/pay/{foreign.number}/", {"outcome": "success"}).status_code,
    ]

    assert statuses == [404, 404, 404, 404]
    assert state(foreign) == ("pending", "", 1, False)
    assert not Payment.objects.exists()


def test_list_without_orders_says_so(page):
    assert "You have no orders yet." in page("/orders/").content.decode()


def test_list_shows_mine_with_a_way_to_pay(page, order, sale):
    foreign = order_make(sale)

    html = page("/orders/").content.decode()

    assert f'href="/en/orders/{order.number}/"' in html
    assert f'href="/en/pay/{order.number}/"' in html
    assert "Paper lantern × 1" in html
    assert "¥199.00" in html
    assert foreign.number not in html


@pytest.mark.parametrize("count", [1, 3])
def test_list_asks_the_same_few_queries(page, sale, user, count, django_assert_num_queries):
    for _ in range(count):
        payment_make(order_make(sale, user))

    with django_assert_num_queries(
        6
    ):  # user, count, orders, lines, payments, campaigns that may hold reservations
        assert page("/orders/").content.decode().count("Paper lantern") == count


def test_list_page_out_of_range_is_the_last_one(page, sale, user, monkeypatch):
    monkeypatch.setattr(views, "ORDERS_A_PAGE", 2)
    oldest = order_make(sale, user)
    order_make(sale, user)
    order_make(sale, user)

    html = page("/orders/?page=99").content.decode()

    assert oldest.number in html
    assert "Page 2 of 2" in html


def test_list_shows_panels_of_other_apps(page, monkeypatch):
    monkeypatch.setattr(views, "list_panels", [lambda request: "", lambda request: f"for {request.user.pk}"])

    assert page("/orders/").context["panels"] == [f"for {page('/orders/').wsgi_request.user.pk}"]


def test_pending_order_offers_pay_and_cancel_with_the_consequence(page, order):
    html = page(f"/orders/{order.number}/").content.decode()

    assert f'href="/en/pay/{order.number}/">{PAY}</a>' in html
    assert f'action="/en/orders/{order.number}/cancel/"' in html
    assert "1 unit goes back on sale at once and somebody else may take it." in html
    assert order.expires_at.strftime('<time datetime="%Y-%m-%dT%H:%M:%SZ">') in html
    assert "Order placed." in html


def test_overdue_order_offers_no_payment(page, sale, user):
    order = order_make(sale, user, expires_at=timezone.now() - timedelta(seconds=1))

    for path in (f"/orders/{order.number}/", f"/pay/{order.number}/"):
        html = page(path).content.decode()
        assert PAY not in html
        assert "The pay-by time has passed." in html


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (OrderStatus.PAID, "This order is paid."),
        (OrderStatus.SHIPPED, "This order is on its way to you."),
        (OrderStatus.COMPLETED, "This order is completed."),
        (OrderStatus.CANCELLED, "You cancelled this order."),
        (OrderStatus.EXPIRED, "This order was not paid in time and has ended."),
        (OrderStatus.READMITTING, "Your payment came after the pay-by time."),
        (OrderStatus.REFUNDING, "your money is on its way back."),
        (OrderStatus.REFUNDED, "your money has gone back."),
        (OrderStatus.REFUSED, "This order could not be made."),
    ],
)
def test_every_other_status_is_explained_without_pay_or_cancel(page, sale, user, status, words):
    order = order_make(sale, user, status=status)

    for path in (f"/orders/{order.number}/", f"/pay/{order.number}/"):
        html = page(path).content.decode()
        assert words in html
        assert PAY not in html
        assert "/cancel/" not in html


def test_late_payment_that_waits_is_explained(page, order):
    orders_expire(now=timezone.now() + timedelta(hours=1))
    callback(payment_make(order))

    html = page(f"/orders/{order.number}/").content.decode()

    assert "Your payment came after the pay-by time." in html
    assert "has ended." not in html


def test_refund_of_an_unusable_payment_is_told(page, order):
    cancel(order, now=timezone.now())
    callback(payment_make(order))

    html = page(f"/orders/{order.number}/").content.decode()

    assert "A payment that this order could not use is on its way back to you." in html
    assert "The refund was ordered." in html


def test_cancel_ends_the_order_and_says_so(client, page, order, sale):
    client.force_login(order.user)

    response = client.post(f"/en/orders/{order.number}/cancel/", follow=True)

    assert response.redirect_chain == [(f"/en/orders/{order.number}/", 302)]
    assert "The order is cancelled. Nothing was charged." in response.content.decode()
    assert state(order) == ("cancelled", "cancelled", 2, True)
    assert counters(sale) == (0, 0, 0)

    assert client.post(f"/en/orders/{order.number}/cancel/").status_code == 409
    assert client.get(f"/en/orders/{order.number}/cancel/").status_code == 405
    assert counters(sale) == (0, 0, 0)


def test_pay_page_lets_choose_and_says_that_no_money_moves(page, order):
    html = page(f"/pay/{order.number}/").content.decode()

    assert "This is a sandbox: no money moves, whatever you choose." in html
    for outcome in ("success", "decline", "twice", "slow", "late", "abandon"):
        assert f'<input type="radio" name="outcome" value="{outcome}"' in html


@pytest.mark.parametrize(
    ("outcome", "where", "words", "status"),
    [
        ("success", "orders", "The provider confirmed the payment.", "paid"),
        ("twice", "orders", "The provider confirmed the payment.", "paid"),
        ("decline", "pay", "The payment was declined. You may try again.", "pending"),
        ("abandon", "orders", "The payment has been started.", "pending"),
    ],
)
def test_pay_plays_the_chosen_outcome(client, page, order, outcome, where, words, status):
    response = client.post(f"/en/pay/{order.number}/", {"outcome": outcome}, follow=True)

    assert response.redirect_chain == [(f"/en/{where}/{order.number}/", 302)]
    assert words in response.content.decode()
    assert state(order)[0] == status


@pytest.mark.parametrize("data", [{}, {"outcome": "fly"}])
def test_pay_without_a_known_outcome_starts_nothing(client, page, order, data):
    response = client.post(f"/en/pay/{order.number}/", data)

    assert response.status_code == 200
    assert "Choose one of the outcomes." in response.content.decode()
    assert not Payment.objects.exists()


def test_pay_again_is_refused(client, page, order):
    payment_make(order, status=PaymentStatus.DECLINED)
    client.post(f"/en/pay/{order.number}/", {"outcome": "success"})

    assert client.post(f"/en/pay/{order.number}/", {"outcome": "success"}).status_code == 409
    assert Payment.objects.filter(status=PaymentStatus.SUCCEEDED).count() == 1


def test_posts_need_the_csrf_token(order):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(order.user)

    assert client.post(f"/en/orders/{order.number}/cancel/").status_code == 403
    assert client.post(f"/en/pay/{order.number}/", {"outcome": "success"}).status_code == 403
    assert state(order) == ("pending", "", 1, False)


@pytest.mark.parametrize("path", ["/orders/", "/orders/{number}/", "/pay/{number}/"])
def test_pages_carry_no_inline_script_or_style(page, order, path):
    html = page(path.format(number=order.number)).content.decode()

    assert "<script" not in html
    assert "style=" not in html
    assert " on" + "click" not in html
