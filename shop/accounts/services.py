"""Writes to accounts."""

import logging
from datetime import datetime
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext_lazy as _

from shop.accounts.errors import RegistrationInvalid
from shop.accounts.models import User

register_logger = logging.getLogger("shop.accounts.register")

# Longer ones would only feed the hasher; browsers and password managers stay far below.
PASSWORD_MAX_LENGTH = 128

Problems = dict[str, list[tuple[str, Any]]]


def user_register(
    *, username: str, email: str, password: str, now: datetime, language: str = "zh-hans"
) -> User:
    """Make an account that can log in at once.

    Names and addresses are unique whatever their case. now: aware, when the account was made.
    :raises RegistrationInvalid: a value is not acceptable or taken; nothing was written
    """
    user = User(
        username=User.normalize_username(username),
        email=User.objects.normalize_email(email),
        language=language,
        date_joined=now,
    )
    _refuse(user, _value_problems(user, password))
    # Before the transaction: hashing takes tens of milliseconds, in which SQLite would admit no other writer.
    user.set_password(password)
    try:
        with transaction.atomic():
            _refuse(user, _taken_problems(user))
            user.save(force_insert=True)
    except IntegrityError:
        # Somebody took it between the look and the insert; the unique index decided.
        _refuse(user, _taken_problems(user))
        raise
    register_logger.info("registered user %d %r", user.pk, user.username)
    return user


def _refuse(user: User, problems: Problems) -> None:
    if not problems:
        return
    error = RegistrationInvalid(problems)
    codes = sorted(code for row in error.codes.values() for code in row)
    register_logger.warning("refused registration of %r: %s", user.username[:150], ", ".join(codes))
    raise error


def _value_problems(user: User, password: str) -> Problems:
    """Return what is wrong with the values themselves."""
    problems: Problems = {}
    try:
        user.clean_fields(exclude={"password"})
    except ValidationError as error:
        for field, rows in error.error_dict.items():
            problems[field] = _rows(field, rows)
    try:
        if len(password) > PASSWORD_MAX_LENGTH:
            raise ValidationError(
                _("The password is longer than %(limit)d characters."),
                code="password_too_long",
                params={"limit": PASSWORD_MAX_LENGTH},
            )
        validate_password(password, user)
    except ValidationError as error:
        problems["password"] = _rows("password", error.error_list)
    return problems


def _rows(field: str, errors: list[ValidationError]) -> list[tuple[str, Any]]:
    """Return (code, sentence) of each error; codes begin with the field, as `accounts.username_invalid`."""
    codes = [error.code or "invalid" for error in errors]
    return [
        (f"accounts.{code if code.startswith(field) else f'{field}_{code}'}", error.messages[0])
        for code, error in zip(codes, errors, strict=True)
    ]


def _taken_problems(user: User) -> Problems:
    """Return which of the values another account has."""
    problems: Problems = {}
    if User.objects.filter(username__iexact=user.username).exists():
        problems["username"] = [("accounts.username_taken", _("This user name is taken."))]
    if User.objects.filter(email__iexact=user.email).exists():
        problems["email"] = [
            ("accounts.email_taken", _("An account with this e-mail address exists already."))
        ]
    return problems
