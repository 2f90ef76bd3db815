"""The form of the register page."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib.auth.forms import UsernameField
from django.contrib.auth.password_validation import password_validators_help_text_html
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from shop.accounts.errors import RegistrationInvalid
from shop.accounts.models import User
from shop.accounts.services import PASSWORD_MAX_LENGTH, user_register


class RegisterForm(forms.Form):
    """User name, e-mail address and password; the service judges them."""

    username = UsernameField(
        label=_("User name"),
        max_length=150,
        help_text=_("Letters, digits and @ . + - _ only."),
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none"}),
    )
    email = forms.EmailField(
        label=_("E-mail address"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
    password = forms.CharField(
        label=_("Password"),
        max_length=PASSWORD_MAX_LENGTH,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].help_text = password_validators_help_text_html()

    def register(self, *, now: datetime) -> User | None:
        """Make the account, or put the service's refusal on the form and return None."""
        try:
            return user_register(**self.cleaned_data, language=get_language() or "zh-hans", now=now)
        except RegistrationInvalid as error:
            for field, sentences in error.extra["fields"].items():
                self.add_error(field if field in self.fields else None, sentences)
            return None
