"""The accounts API: statuses, bodies, one shape for every refusal."""

import json
import logging
from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from shop.accounts.models import User

pytestmark = pytest.mark.django_db

BASE = "/api/v1/accounts/"
PASSWORD = " paper-lantern-42 "  # blanks at the ends belong to it
BODY = {"username": "mei", "email": "mei@example.com", "password": PASSWORD}


@pytest.fixture
def api():
    return APIClient(headers={"accept-language": "en"})


@pytest.fixture
def mei():
    return User.objects.create_user("mei", "mei@example.com", PASSWORD)


def test_register_answers_201_with_the_account(api):
    answer = api.post(f"{BASE}register/", BODY, format="json")

    user = User.objects.get(username="mei")
    assert answer.status_code == 201
    assert answer.json() == {
        "id": str(user.pk),
        "username": "mei",
        "email": "mei@example.com",
        "language": "en",
        "time_zone": "Asia/Shanghai",
        "date_joined": user.date_joined.isoformat().replace("+00:00", "Z"),
    }


def test_register_token_me_is_the_whole_way_in(api):
    api.post(f"{BASE}register/", BODY, format="json")
    tokens = api.post(f"{BASE}token/", {"username": "mei", "password": PASSWORD}, format="json").json()
    answer = api.get(f"{BASE}me/", headers={"authorization": f"Bearer {tokens['access']}"})

    assert tokens.keys() == {"access", "refresh"}
    assert (answer.status_code, answer.json()["username"]) == (200, "mei")
    assert AccessToken(tokens["access"])["user_id"] == str(User.objects.get().pk)


def test_register_answers_422_with_fields_and_codes(api, mei):
    answer = api.post(f"{BASE}register/", BODY, format="json")

    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "invalid")
    assert body["extra"]["fields"] == {
        "username": ["This user name is taken."],
        "email": ["An account with this e-mail address exists already."],
    }
    assert body["extra"]["codes"] == {
        "username": ["accounts.username_taken"],
        "email": ["accounts.email_taken"],
    }
    assert User.objects.count() == 1


@pytest.mark.parametrize("field", ["username", "email", "password"])
@pytest.mark.parametrize("value", [None, "", True, [], {}, "\x00", "\ud800"])
def test_register_answers_422_to_values_of_any_kind(api, field, value):
    # json.dumps escapes a lone surrogate, as a client may; REST framework's own renderer cannot send one.
    body = json.dumps(BODY | {field: value})

    answer = api.post(f"{BASE}register/", body, content_type="application/json")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert list(answer.json()["extra"]["fields"]) == [field]
    assert not User.objects.exists()


@pytest.mark.parametrize("path", ["register/", "token/", "token/refresh/"])
def test_bodies_that_cannot_be_read_answer_400_and_415(api, path):
    malformed = api.post(f"{BASE}{path}", "{", content_type="application/json")
    other_type = api.post(f"{BASE}{path}", "a=1", content_type="application/x-www-form-urlencoded")
    listed = api.post(f"{BASE}{path}", [1], format="json")

    assert (malformed.status_code, malformed.json()["code"]) == (400, "malformed")
    assert (other_type.status_code, other_type.json()["code"]) == (415, "unsupported_media_type")
    assert (listed.status_code, listed.json()["code"]) == (422, "invalid")


def test_register_and_token_ignore_a_stale_access_token(api):
    api.credentials(HTTP_AUTHORIZATION="Bearer stale")

    assert api.post(f"{BASE}register/", BODY, format="json").status_code == 201
    assert api.post(f"{BASE}token/", BODY, format="json").status_code == 200


def test_register_needs_no_csrf_token_and_session_gives_no_access(mei):
    api = APIClient(enforce_csrf_checks=True)
    api.force_login(mei)

    assert (
        api.post(f"{BASE}token/", {"username": "mei", "password": PASSWORD}, format="json").status_code == 200
    )
    assert api.get(f"{BASE}me/").status_code == 401


def test_token_answers_every_wrong_pair_alike(api, mei):
    User.objects.create_user("blocked", "blocked@example.com", PASSWORD, is_active=False)
    pairs = [("mei", "wrong"), ("mei", PASSWORD.strip()), ("nobody", PASSWORD), ("blocked", PASSWORD)]

    answers = [
        api.post(f"{BASE}token/", {"username": name, "password": word}, format="json") for name, word in pairs
    ]

    bodies = [answer.json() for answer in answers]
    assert {answer.status_code for answer in answers} == {401}
    assert {(body["code"], body["message"]) for body in bodies} == {
        ("not_authenticated", "The credentials are wrong or expired.")
    }
    assert all(body["extra"].keys() == {"request_id"} for body in bodies)


def test_token_logs_success_and_failure_without_the_password(api, mei, caplog):
    with caplog.at_level(logging.INFO, logger="shop.accounts.login"):
        api.post(f"{BASE}token/", {"username": "mei", "password": PASSWORD}, format="json")
        api.post(f"{BASE}token/", {"username": "x\ny", "password": "hunter-2-hunter"}, format="json")

    lines = [record.getMessage() for record in caplog.records if record.name == "shop.accounts.login"]
    assert lines == [
        f"log-in of user {mei.pk} 'mei' by {BASE}token/ from 127.0.0.1",
        f"refused log-in of 'x\\ny' by {BASE}token/ from 127.0.0.1",
    ]
    assert "lantern" not in caplog.text
    assert "hunter" not in caplog.text


def test_refresh_gives_a_new_access_token(api, mei):
    answer = api.post(f"{BASE}token/refresh/", {"refresh": str(RefreshToken.for_user(mei))}, format="json")

    assert answer.status_code == 200
    assert AccessToken(answer.json()["access"])["user_id"] == str(mei.pk)


def test_refresh_answers_401_to_what_is_no_valid_refresh_token(api, mei):
    expired = RefreshToken.for_user(mei)
    expired.set_exp(from_time=timezone.now() - timedelta(days=30))
    gone = User.objects.create_user("gone", "gone@example.com", PASSWORD)
    of_gone = RefreshToken.for_user(gone)
    gone.delete()
    blocked = User.objects.create_user("blocked", "blocked@example.com", PASSWORD, is_active=False)
    tokens = ["nonsense", expired, of_gone, RefreshToken.for_user(blocked), AccessToken.for_user(mei)]

    answers = [api.post(f"{BASE}token/refresh/", {"refresh": str(token)}, format="json") for token in tokens]

    assert [answer.status_code for answer in answers] == [401] * 5
    assert {answer.json()["code"] for answer in answers} == {"not_authenticated"}


@pytest.mark.parametrize("header", [None, "Bearer nonsense", "Bearer", "Basic bWVpOng="])
def test_me_answers_401_without_a_valid_token(api, header):
    answer = api.get(f"{BASE}me/", headers={"authorization": header} if header else {})

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_schema_documents_every_status_of_the_accounts_api(api):
    paths = api.get("/api/v1/schema/", {"format": "json"}).json()["paths"]

    documented = {
        f"{method} {path.removeprefix(BASE)}": set(operation["responses"])
        for path, operations in paths.items()
        if path.startswith(BASE)
        for method, operation in operations.items()
    }
    assert documented == {
        "post register/": {"201", "400", "406", "415", "422"},
        "post token/": {"200", "400", "401", "406", "415", "422"},
        "post token/refresh/": {"200", "400", "401", "406", "415", "422"},
        "get me/": {"200", "401", "406"},
    }


def test_schema_gives_an_example_for_every_answer(api):
    paths = api.get("/api/v1/schema/", {"format": "json"}).json()["paths"]

    without = [
        (path, status)
        for path, operations in paths.items()
        if path.startswith(BASE)
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        if not answer["content"]["application/json"].get("examples")
    ]
    assert without == []
