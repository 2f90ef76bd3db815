"""Reads access tokens without a database query, for the doors that must not make one."""

import binascii
import hmac
import time
from dataclasses import dataclass

import jwt
import msgspec
from django.conf import settings


class TokenInvalid(Exception):
    """Not a valid access token of this shop."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Whose token it is, and when it ends (epoch seconds)."""

    user_id: int
    expires: int


class _Claims(msgspec.Struct):
    exp: int
    token_type: str
    user_id: str
    nbf: float = 0


_claims_decode = msgspec.json.Decoder(_Claims).decode
# The header of every token that our log-in issues: {"alg":"HS256","typ":"JWT"} as simplejwt writes it.
_ACCESS = "access"
_OUR_HEADER = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"


def access_token_read(token: str) -> AccessToken:
    """Return what a signed, unexpired access token says; the API's log-in issues them.

    An account that was disabled keeps its access tokens until they end (15 minutes).
    A sale's first second brings thousands of tokens that were never seen before, so those with our own header are
    checked here (HMAC-SHA256, RFC 7515 section 5.2); whatever looks unusual goes to PyJWT.
    :raises TokenInvalid: for every other string
    """
    header, _, rest = token.partition(".")
    payload, _, signature = rest.partition(".")
    if header != _OUR_HEADER or not payload or not signature:
        return _read_by_library(token)
    try:
        expected = hmac.digest(settings.SECRET_KEY.encode(), f"{header}.{payload}".encode("ascii"), "sha256")
        if not hmac.compare_digest(_base64url(signature), expected):
            raise TokenInvalid
        claims = _claims_decode(_base64url(payload))
        if claims.token_type != _ACCESS or not claims.nbf <= time.time() < claims.exp:
            raise TokenInvalid
        return AccessToken(int(claims.user_id), claims.exp)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise TokenInvalid from error


def _base64url(text: str) -> bytes:
    """Decode unpadded base64url; one value has one spelling.

    :raises ValueError: it is spelt otherwise
    """
    padded = text.encode("ascii").translate(_TO_STANDARD) + b"=" * (-len(text) % 4)
    raw = binascii.a2b_base64(padded, strict_mode=True)
    if binascii.b2a_base64(raw, newline=False) != padded:
        raise ValueError(text)  # spare bits that are not zero
    return raw


# base64url's two letters become base64's; base64's own become what no strict decoder takes.
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")


def _read_by_library(token: str) -> AccessToken:
    try:
        claims = jwt.decode(token, settings.SECRET_KEY, algorithms=["HS256"], options={"require": ["exp"]})
        if claims.get("token_type") != _ACCESS:
            raise TokenInvalid
        return AccessToken(int(claims["user_id"]), int(claims["exp"]))
    except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
        raise TokenInvalid from error
