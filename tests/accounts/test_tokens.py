"""Access tokens as the doors read them: ours, for access, in time; everything else is nobody's."""

import base64
import json

import jwt
import pytest
from django.conf import settings
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken as IssuedToken
from rest_framework_simplejwt.tokens import RefreshToken

from shop.accounts.models import User
from shop.accounts.tokens import AccessToken, TokenInvalid, access_token_read

EXPIRES = int(timezone.now().timestamp()) + 600


def token(*, key: str | None = None, algorithm: str = "HS256", **changes: object) -> str:
    claims = {"token_type": "access", "exp": EXPIRES, "user_id": "42", "jti": "x"} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, settings.SECRET_KEY if key is None else key, algorithm=algorithm)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_token_tells_whose_it_is_and_until_when() -> None:
    assert access_token_read(token()) == AccessToken(42, EXPIRES)


@pytest.mark.django_db
def test_token_that_the_log_in_issues_is_read() -> None:
    user = User.objects.create_user("reader", "reader@example.com", "paper-lantern-42")
    issued = IssuedToken.for_user(user)
    assert access_token_read(str(issued)) == AccessToken(user.pk, issued["exp"])


@pytest.mark.django_db
def test_refresh_token_is_no_access_token() -> None:
    user = User.objects.create_user("reader", "reader@example.com", "paper-lantern-42")
    with pytest.raises(TokenInvalid):
        access_token_read(str(RefreshToken.for_user(user)))


def test_token_ends_when_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert access_token_read(token(exp=int(timezone.now().timestamp()) + 30)).user_id == 42
    with pytest.raises(TokenInvalid):
        access_token_read(token(exp=int(timezone.now().timestamp())))


@pytest.mark.filterwarnings(
    "ignore:The HMAC key is"
)  # too short for HS384 and HS512, of which we want no more
@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": "soon"},
        {"exp": EXPIRES - 601},
        {"token_type": None},
        {"token_type": "refresh"},
        {"token_type": "ACCESS"},
        {"user_id": None},
        {"user_id": "root"},
        {"user_id": [42]},
        {"nbf": EXPIRES},
        {"key": "x" * 50},
        {"key": ""},
        {"algorithm": "HS512"},
        {"algorithm": "HS384"},
    ],
    ids=" ".join,
)
def test_token_is_refused(changes: dict[str, object]) -> None:
    if changes.get("key") == "":
        forged = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'token_type': 'access', 'exp': EXPIRES, 'user_id': '42'})}."
    else:
        forged = token(**changes)  # type: ignore[arg-type]
    with pytest.raises(TokenInvalid):
        access_token_read(forged)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "RS256", "ES256"])
def test_token_that_names_another_algorithm_is_refused(algorithm: str) -> None:
    claims = part({"token_type": "access", "exp": EXPIRES, "user_id": "42"})
    signature = token().rpartition(".")[2]
    for end in ("", signature):
        with pytest.raises(TokenInvalid):
            access_token_read(f"{part({'alg': algorithm, 'typ': 'JWT'})}.{claims}.{end}")


def test_token_with_any_character_changed_is_refused() -> None:
    genuine = token()
    last_of_signature = len(genuine) - 1  # its low bits mean nothing: another letter may spell the same bytes
    refused = 0
    for at in range(last_of_signature):
        changed = genuine[:at] + ("A" if genuine[at] != "A" else "B") + genuine[at + 1 :]
        with pytest.raises(TokenInvalid):
            access_token_read(changed)
        refused += 1
    assert refused == len(genuine) - 1


def test_token_with_any_bit_of_its_signature_flipped_is_refused() -> None:
    head, _, signature = token().rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=")
    assert len(raw) == 32
    for bit in range(256):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TokenInvalid):
            access_token_read(f"{head}.{base64.urlsafe_b64encode(flipped).decode().rstrip('=')}")


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "Bearer " + token(), token()[:-5], token() + ".x", "é"]
)
def test_token_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(TokenInvalid):
        access_token_read(text)
