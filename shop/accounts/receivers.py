"""The log of log-ins: who, by which door, from where, never a password."""

import logging
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from shop.accounts.models import User

login_logger = logging.getLogger("shop.accounts.login")


def login_note(*, user: User, request: HttpRequest) -> None:
    """Record that the user has proved who they are, by a session or by a token."""
    login_logger.info("log-in of user %d %r by %s from %s", user.pk, user.username, *_door(request))


@receiver(user_logged_in, dispatch_uid="shop.accounts.login_succeeded")
def _login_succeeded(*, user: User, request: HttpRequest, **_kwargs: Any) -> None:
    login_note(user=user, request=request)


@receiver(user_login_failed, dispatch_uid="shop.accounts.login_failed")
def _login_failed(*, credentials: dict[str, Any], request: HttpRequest | None = None, **_kwargs: Any) -> None:
    # Django has already masked everything in `credentials` that looks like a secret.
    username = str(credentials.get("username", ""))[:150]
    login_logger.warning("refused log-in of %r by %s from %s", username, *_door(request))


def _door(request: HttpRequest | None) -> tuple[str, str]:
    """Return the path that was asked and the client's address, "-" where there is no request."""
    if request is None:
        return "-", "-"
    return request.path or "-", request.META.get("REMOTE_ADDR", "-")
