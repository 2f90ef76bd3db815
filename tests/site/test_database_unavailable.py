"""What the API answers while its database is away."""

from base64 import b64encode
from typing import Any, NoReturn

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.test import Client
from rest_framework.test import APIClient

from orders.api import views
from shop.accounts.models import User
from shop.resilience.errors import Unavailable
from shop.settings import base
from shop.site.api import exception_handler
from shop.site.faults import bilingual_page


def raising(error: Exception) -> Any:
    def service(**_facts: object) -> NoReturn:
        raise error

    return service


@pytest.mark.django_db
@pytest.mark.parametrize(
    "error", [OperationalError(2006, "gone"), InterfaceError("connection already closed")]
)
def test_a_lost_database_is_unavailable_and_not_a_fault(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(views, "order_cancel", raising(error))
    client = APIClient()
    client.force_authenticate(User.objects.create_user("ada", "ada@example.com", "flash-demo-2031"))
    answer = client.post("/api/v1/orders/ABCDEFGHIJKLMNOP/cancel/", headers={"accept-language": "en"})
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()["code"]) == (
        503,
        "1",
        "unavailable",
    )


def test_a_mistake_in_a_query_stays_a_fault() -> None:
    assert exception_handler(ProgrammingError("no such column"), {}) is None


@pytest.mark.django_db
def test_a_page_without_its_database_is_503_and_says_when_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from shop.site import views as pages

    monkeypatch.setattr(pages, "campaigns_public", raising(OperationalError(2006, "gone")))
    client = Client(raise_request_exception=False)

    answer = client.get("/en/")

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "We will be back in a moment" in answer.content.decode()


def test_a_refusal_before_django_is_told_in_both_languages() -> None:
    page = bilingual_page(Unavailable())
    assert '<p lang="zh-hans">' in page
    assert '<p lang="en">Very many people are here at this moment. Try again shortly.</p>' in page


@pytest.mark.django_db
@pytest.mark.parametrize("position", ["p=abc", "p=%00", "p=" + "9" * 30])
def test_cursor_that_is_none_of_ours_is_not_found(position: str) -> None:
    client = APIClient()
    client.force_authenticate(User.objects.create_user("ada", "ada@example.com", "flash-demo-2031"))
    cursor = b64encode(position.encode()).decode()
    assert client.get("/api/v1/orders/", {"cursor": cursor}).json()["code"] == "not_found"


@pytest.mark.django_db
def test_json_that_is_nested_too_deeply_is_malformed() -> None:
    answer = APIClient().post("/api/v1/accounts/register/", "[" * 5_000, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


@pytest.mark.django_db
def test_pages_and_log_in_go_on_without_the_cache(settings: Any) -> None:
    options = base.CACHES["sessions"]["OPTIONS"]
    settings.CACHES = {
        name: {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "unix:///nobody/listens.sock?db=0",
            "OPTIONS": options,
        }
        for name in ("default", "sessions")
    }
    User.objects.create_user("ada", "ada@example.com", "flash-demo-2031")
    client = Client()

    answer = client.post("/en/account/login/", {"username": "ada", "password": "flash-demo-2031"})

    assert answer.status_code == 302
    assert client.get("/en/orders/").status_code == 200
