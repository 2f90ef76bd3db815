"""Staff's pages of orders: read-only, with two actions that ask for a permission."""

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from orders import admin as order_admin
from orders.models import DeadLetter, Order, Refund
from tests.orders.rows import callback, counters, order_make, payment_make, sale_make, state, user_make

pytestmark = pytest.mark.django_db
ORDERS = "/admin/orders/order/"
LETTERS = "/admin/orders/deadletter/"


@pytest.fixture
def staff(client):
    """Return a function that logs in a member of staff with exactly these permissions."""

    def log_in(*codenames):
        user = user_make(is_staff=True, language="en")
        permissions = Permission.objects.filter(content_type__app_label="orders", codename__in=codenames)
        assert permissions.count() == len(codenames)
        user.user_permissions.set(permissions)
        client.force_login(user)
        return user

    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    return log_in


@pytest.fixture
def sale():
    return sale_make(sold=2)


@pytest.fixture
def paid(sale):
    order = order_make(sale)
    callback(payment_make(order))
    return order


@pytest.fixture
def letter():
    return DeadLetter.objects.create(source="outbox", entry="1-0", payload="?", error="cut")


def act(client, url, action, *rows):
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(url, data, follow=True)


def test_refund_takes_paid_orders_and_names_the_others(client, staff, paid, sale):
    pending = order_make(sale)
    actor = staff("view_order", "change_order")

    html = act(client, ORDERS, "refund", paid, pending).content.decode()

    assert "1 order is being refunded." in html
    assert f"Not paid, so not refunded: order {pending.number}." in html
    assert state(paid) == ("refunding", "cancelled", 2, True)
    assert state(pending) == ("pending", "", 1, False)
    assert counters(sale) == (1, 0, 0)
    assert actor.username in Refund.objects.get().note


def test_refund_is_absent_without_the_permission(client, staff, paid, sale):
    staff("view_order")

    html = client.get(ORDERS).content.decode()
    response = act(client, ORDERS, "refund", paid)

    assert paid.number in html
    assert 'value="refund"' not in html
    assert response.status_code == 200
    assert state(paid) == ("paid", "", 1, False)
    assert counters(sale) == (2, 0, 0)
    assert not Refund.objects.exists()


def test_order_page_shows_lines_and_payments_and_changes_nothing(client, staff, paid):
    staff("view_order", "change_order", "view_orderline", "view_payment")
    url = f"{ORDERS}{paid.pk}/change/"

    html = client.get(url).content.decode()

    assert "Paper lantern" in html
    assert paid.payments.get().reference in html
    assert 'name="status"' not in html
    assert 'name="_save"' not in html
    assert client.post(url, {"status": "refunded"}).status_code == 403
    assert client.post(f"{ORDERS}{paid.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.post(f"{ORDERS}add/").status_code == 403
    assert state(paid) == ("paid", "", 1, False)


@pytest.mark.parametrize("field", ["number", "reservation_id"])
def test_orders_are_found_by_number_and_reservation(client, staff, sale, field):
    wanted, other = order_make(sale), order_make(sale)
    staff("view_order")

    html = client.get(ORDERS, {"q": getattr(wanted, field)}).content.decode()

    assert wanted.number in html
    assert other.number not in html


def test_orders_are_found_by_user(client, staff, sale):
    user = user_make()
    wanted, other = order_make(sale, user), order_make(sale)
    staff("view_order")

    html = client.get(ORDERS, {"q": user.username}).content.decode()

    assert wanted.number in html
    assert other.number not in html


@pytest.mark.parametrize("model", ["payment", "refund", "sale", "deadletter"])
def test_other_lists_open_and_cannot_be_changed(client, staff, paid, letter, model):
    staff("view_order", "change_order")
    act(client, ORDERS, "refund", paid)
    staff(f"view_{model}", f"change_{model}", f"delete_{model}", f"add_{model}")
    url = f"/admin/orders/{model}/"
    row = {
        "payment": paid.payments.get(),
        "refund": Refund.objects.get(),
        "sale": paid.sale,
        "deadletter": letter,
    }[model]

    assert client.get(url).status_code == 200
    html = client.get(f"{url}{row.pk}/change/").content.decode()
    assert 'name="_save"' not in html
    assert client.post(f"{url}{row.pk}/change/", {}).status_code == 403
    assert client.post(f"{url}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.get(f"{url}add/").status_code == 403


def test_dead_letter_is_understood_once(client, staff, letter):
    first = staff("view_deadletter", "change_deadletter")
    html = act(client, LETTERS, "understand", letter).content.decode()
    letter.refresh_from_db()
    understood_at = letter.understood_at
    staff("view_deadletter", "change_deadletter")
    again = act(client, LETTERS, "understand", letter).content.decode()

    letter.refresh_from_db()
    assert "1 dead letter is marked as understood." in html
    assert "0 dead letters are marked as understood." in again
    assert (letter.understood_by, letter.understood_at) == (first, understood_at)
    assert abs((timezone.now() - understood_at).total_seconds()) < 60


def test_dead_letter_action_is_absent_without_the_permission(client, staff, letter):
    staff("view_deadletter")

    act(client, LETTERS, "understand", letter)

    letter.refresh_from_db()
    assert 'value="understand"' not in client.get(LETTERS).content.decode()
    assert letter.understood_at is None


def test_the_paginator_counts_no_further_than_staff_will_page(monkeypatch, sale):
    monkeypatch.setattr(order_admin, "COUNTED_ROWS", 2)
    for _ in range(3):
        order_make(sale)

    assert order_admin.BoundedPaginator(Order.objects.order_by("-id"), 1).count == 2
