"""Registering through the service: values, uniqueness, the log."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError

from shop.accounts import services
from shop.accounts.errors import RegistrationInvalid
from shop.accounts.models import User
from shop.accounts.services import user_register

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 18, 12, 0, tzinfo=UTC)
PASSWORD = "paper-lantern-42"


def register(**changes):
    values: dict[str, Any] = {
        "username": "mei",
        "email": "mei@example.com",
        "password": PASSWORD,
        "now": NOW,
    } | changes
    return user_register(**values)


def refusal(**changes):
    before = User.objects.count()
    with pytest.raises(RegistrationInvalid) as caught:
        register(**changes)
    assert User.objects.count() == before
    return caught.value


def test_user_register_makes_an_account_that_can_log_in(client):
    user = register(email="Mei@EXAMPLE.com", language="en")

    stored = User.objects.get(pk=user.pk)
    assert (stored.username, stored.email, stored.language) == ("mei", "Mei@example.com", "en")
    assert stored.date_joined == NOW
    assert not stored.is_staff
    assert not stored.is_superuser
    assert client.login(username="mei", password=PASSWORD)


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"username": "MEI", "email": "other@example.com"}, {"username": ["accounts.username_taken"]}),
        ({"username": "lin", "email": "MEI@example.com"}, {"email": ["accounts.email_taken"]}),
        ({}, {"username": ["accounts.username_taken"], "email": ["accounts.email_taken"]}),
    ],
)
def test_user_register_refuses_what_is_taken_in_any_case(changes, codes):
    register()

    error = refusal(**changes)

    assert (error.status, error.code, error.extra["codes"]) == (422, "invalid", codes)
    assert error.extra["fields"].keys() == codes.keys()


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"username": ""}, {"username": ["accounts.username_blank"]}),
        ({"username": "two words"}, {"username": ["accounts.username_invalid"]}),
        ({"username": "m" * 151}, {"username": ["accounts.username_max_length"]}),
        ({"email": "nowhere"}, {"email": ["accounts.email_invalid"]}),
        ({"password": "k7-p"}, {"password": ["accounts.password_too_short"]}),
        ({"password": "73519264082"}, {"password": ["accounts.password_entirely_numeric"]}),
        ({"password": "password1"}, {"password": ["accounts.password_too_common"]}),
        (
            {"username": "paperlantern", "password": "paperlantern"},
            {"password": ["accounts.password_too_similar"]},
        ),
        ({"password": "k7-" * 43}, {"password": ["accounts.password_too_long"]}),
    ],
)
def test_user_register_refuses_bad_values_with_a_code_a_field(changes, codes):
    error = refusal(**changes)

    assert error.extra["codes"] == codes
    assert all(sentence for row in error.extra["fields"].values() for sentence in row)


def test_user_register_that_loses_to_another_is_refused_not_broken(monkeypatch):
    register()
    real = services._taken_problems
    looks_before_insert = iter([True])
    monkeypatch.setattr(
        services, "_taken_problems", lambda user: {} if next(looks_before_insert, False) else real(user)
    )

    error = refusal(email="other@example.com")

    assert error.extra["codes"] == {"username": ["accounts.username_taken"]}


def test_user_register_does_not_hide_other_faults_of_the_database(monkeypatch):
    def broken(self, **_kwargs):
        raise IntegrityError("something else")

    monkeypatch.setattr(User, "save", broken)
    with pytest.raises(IntegrityError, match="something else"):
        register()


def test_user_register_logs_success_and_refusal_without_the_password(caplog):
    with caplog.at_level(logging.INFO, logger="shop.accounts.register"):
        user = register()
        refusal(username="lin\nfake line", email="lin@example.com")

    lines = [record.getMessage() for record in caplog.records if record.name == "shop.accounts.register"]
    assert lines == [
        f"registered user {user.pk} 'mei'",
        "refused registration of 'lin\\nfake line': accounts.username_invalid",
    ]
    assert PASSWORD not in caplog.text
