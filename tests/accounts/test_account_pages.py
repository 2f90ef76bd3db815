"""Register, log in and log out as plain pages."""

import logging

import pytest
from django.test import Client
from django.urls import reverse

from shop.accounts.models import User

pytestmark = pytest.mark.django_db

PASSWORD = "paper-lantern-42"
FOREIGN = [
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example/",
    "javascript:alert(1)",
    "http:///evil.example",
]


@pytest.fixture
def mei():
    return User.objects.create_user("mei", "mei@example.com", PASSWORD)


def page(name):
    return reverse(f"accounts:{name}")


def main_of(answer):
    """Return the page's own part; header and footer have forms of their own."""
    return answer.content.decode().partition("<main")[2].partition("</main>")[0]


def test_login_page_is_a_form_that_posts_to_itself(client):
    html = main_of(client.get(page("login"), {"next": "/zh-hans/orders/"}))

    assert '<form method="post"' in html
    assert "csrfmiddlewaretoken" in html
    assert '<input type="hidden" name="next" value="/zh-hans/orders/">' in html
    assert "<script" not in html
    assert " style=" not in html


def test_login_opens_a_session_and_goes_to_next(client, mei):
    answer = client.post(page("login"), {"username": "mei", "password": PASSWORD, "next": "/zh-hans/orders/"})

    assert (answer.status_code, answer["Location"]) == (302, "/zh-hans/orders/")
    assert client.session["_auth_user_id"] == str(mei.pk)


@pytest.mark.parametrize("target", FOREIGN)
@pytest.mark.parametrize("name", ["login", "register", "logout"])
def test_pages_never_lead_to_another_site(client, mei, name, target):
    values = {
        "login": {"username": "mei", "password": PASSWORD},
        "register": {"username": "lin", "email": "lin@example.com", "password": PASSWORD},
        "logout": {},
    }[name]

    shown = main_of(client.get(page(name), {"next": target}))
    answer = client.post(page(name), values | {"next": target})

    assert "csrfmiddlewaretoken" in shown
    assert "next" not in shown
    assert "evil" not in shown
    assert (answer.status_code, answer["Location"]) == (302, reverse("site:home"))


def test_login_answers_every_wrong_pair_alike(client, mei):
    User.objects.create_user("blocked", "blocked@example.com", PASSWORD, is_active=False)
    pairs = [("mei", "wrong"), ("nobody", PASSWORD), ("blocked", PASSWORD)]

    answers = [client.post(page("login"), {"username": name, "password": word}) for name, word in pairs]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({str(answer.context["form"].errors) for answer in answers}) == 1
    assert "_auth_user_id" not in client.session


def test_login_changes_the_session_key(client, mei):
    client.get(page("login"))
    session = client.session
    session["seen"] = 1
    session.save()
    before = session.session_key

    client.post(page("login"), {"username": "mei", "password": PASSWORD})

    assert client.session.session_key != before


@pytest.mark.parametrize("name", ["login", "register", "logout"])
def test_pages_refuse_a_post_without_csrf_token(mei, name):
    answer = Client(enforce_csrf_checks=True).post(page(name), {"username": "mei", "password": PASSWORD})

    assert answer.status_code == 403


def test_login_logs_success_and_failure_without_the_password(client, mei, caplog):
    with caplog.at_level(logging.INFO, logger="shop.accounts.login"):
        client.post(page("login"), {"username": "mei", "password": "hunter-2-hunter"})
        client.post(page("login"), {"username": "mei", "password": PASSWORD})

    lines = [record.getMessage() for record in caplog.records if record.name == "shop.accounts.login"]
    assert lines == [
        f"refused log-in of 'mei' by {page('login')} from 127.0.0.1",
        f"log-in of user {mei.pk} 'mei' by {page('login')} from 127.0.0.1",
    ]
    assert "hunter" not in caplog.text
    assert PASSWORD not in caplog.text


def test_admin_login_is_logged_too(client, mei, caplog):
    with caplog.at_level(logging.INFO, logger="shop.accounts.login"):
        client.post("/admin/login/", {"username": "mei", "password": "wrong"})

    assert "refused log-in of 'mei' by /admin/login/ from 127.0.0.1" in caplog.text


def test_register_makes_an_account_logs_in_and_goes_to_next(client):
    answer = client.post(
        page("register"),
        {"username": "lin", "email": "lin@example.com", "password": PASSWORD, "next": "/zh-hans/orders/"},
    )

    user = User.objects.get(username="lin")
    assert (answer.status_code, answer["Location"]) == (302, "/zh-hans/orders/")
    assert client.session["_auth_user_id"] == str(user.pk)
    assert user.language == "zh-hans"


def test_register_shows_refusals_beside_their_fields_and_keeps_values_but_the_password(client, mei):
    answer = client.post(
        page("register"), {"username": "MEI", "email": "new@example.com", "password": "73519264082"}
    )

    html = answer.content.decode()
    assert list(answer.context["form"].errors) == ["password"]
    assert 'id="id_password_error"' in html
    assert 'href="#id_password"' in html
    assert 'value="new@example.com"' in html
    assert "73519264082" not in html
    assert User.objects.count() == 1


def test_register_shows_a_taken_name(client, mei):
    answer = client.post(
        page("register"), {"username": "MEI", "email": "new@example.com", "password": PASSWORD}
    )

    assert list(answer.context["form"].errors) == ["username"]
    assert "_auth_user_id" not in client.session
    assert User.objects.count() == 1


def test_logout_asks_on_get_and_ends_the_session_on_post(client, mei):
    client.force_login(mei)

    asked = client.get(page("logout"))
    assert asked.status_code == 200
    assert client.session["_auth_user_id"] == str(mei.pk)

    answer = client.post(page("logout"))
    assert (answer.status_code, answer["Location"]) == (302, reverse("site:home"))
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize("name", ["login", "register", "logout"])
def test_pages_are_never_cached(client, name):
    assert "no-store" in client.get(page(name))["Cache-Control"]


def test_user_admin_shows_and_makes_users_with_address_and_email(admin_client, mei):
    mei.addresses.create(recipient="Mei", phone="1", region="Shanghai", street="Road 1")

    shown = admin_client.get(reverse("admin:accounts_user_change", args=(mei.pk,)))
    made = admin_client.post(
        reverse("admin:accounts_user_add"),
        {
            "username": "staff",
            "email": "staff@example.com",
            "usable_password": "true",
            "password1": PASSWORD,
            "password2": PASSWORD,
        },
    )

    assert "Road 1" in shown.content.decode()
    assert made.status_code == 302
    assert User.objects.get(username="staff").email == "staff@example.com"
