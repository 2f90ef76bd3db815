"""Forms of the order pages."""

from django import forms
from django.utils.translation import gettext_lazy as _

from orders.payments.sandbox import SandboxOutcome


class SandboxForm(forms.Form):
    """What the sandbox shall play."""

    outcome = forms.ChoiceField(
        label=_("What should happen?"),
        choices=SandboxOutcome.choices,
        initial=SandboxOutcome.SUCCESS,
        widget=forms.RadioSelect,
    )
