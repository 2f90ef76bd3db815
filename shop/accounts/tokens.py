"""Reads access tokens without a database query, for the doors that must not make one."""

from dataclasses import dataclass

import jwt
from django.conf import settings


class TokenInvalid(Exception):
    """Not a valid access token of this shop."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Whose token it is, and when it ends (epoch seconds)."""

    user_id: int
    expires: int


def access_token_read(token: str) -> AccessToken:
    """Return what a signed, unexpired access token says; the API's log-in issues them.

    An account that was disabled keeps its access tokens until they end (15 minutes).
    :raises TokenInvalid: for every other string
    """
    try:
        claims = jwt.decode(token, settings.SECRET_KEY, algorithms=["HS256"], options={"require": ["exp"]})
        if claims.get("token_type") != "access":
            raise TokenInvalid
        return AccessToken(int(claims["user_id"]), int(claims["exp"]))
    except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
        raise TokenInvalid from error
