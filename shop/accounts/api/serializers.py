"""Bodies of the accounts API."""

from typing import Any

from django.contrib.auth import get_user_model
from rest_framework import exceptions, serializers
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer, TokenRefreshSerializer

from shop.accounts.models import User
from shop.accounts.receivers import login_note
from shop.accounts.services import PASSWORD_MAX_LENGTH


class RegisterInput(serializers.Serializer):
    """What a new account needs; the service judges the values."""

    username = serializers.CharField(max_length=150)
    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=PASSWORD_MAX_LENGTH, trim_whitespace=False, write_only=True)


class UserOutput(serializers.ModelSerializer):
    """An account as its owner sees it."""

    id = serializers.CharField(read_only=True)

    class Meta:
        model = User
        fields = ["id", "username", "email", "language", "time_zone", "date_joined"]
        read_only_fields = fields


class TokenInput(TokenObtainPairSerializer):
    """User name and password against a pair of tokens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A password is compared as typed; blanks at its ends belong to it.
        self.fields["password"] = serializers.CharField(write_only=True, trim_whitespace=False)

    def validate_username(self, value: str) -> str:
        """Return the name in the form in which it was stored."""
        return User.normalize_username(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        """Return `refresh` and `access`.

        :raises AuthenticationFailed: wrong name, wrong password or blocked account, all told alike
        """
        tokens = super().validate(attrs)
        assert isinstance(self.user, User)
        login_note(user=self.user, request=self.context["request"])
        return tokens


class TokenPair(serializers.Serializer):
    """Both tokens."""

    access = serializers.CharField()
    refresh = serializers.CharField()


class RefreshInput(TokenRefreshSerializer):
    """A refresh token against a new access token."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        """Return `access`.

        :raises AuthenticationFailed: the account is blocked or gone
        """
        try:
            return super().validate(attrs)
        except get_user_model().DoesNotExist as error:
            raise exceptions.AuthenticationFailed() from error


class AccessToken(serializers.Serializer):
    """A new access token."""

    access = serializers.CharField()
