"""The form of the admin's "Change stock" page."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminIntegerFieldWidget, AdminTextInputWidget
from django.utils.translation import gettext_lazy as _

from shop.catalog.models import Product, StockReason
from shop.catalog.services import STOCK_MAX_UNITS


class StockChangeForm(forms.Form):
    """A signed amount with its reason; `expected_stock` is what the person saw when the form opened."""

    delta = forms.IntegerField(
        label=_("Change"),
        min_value=-STOCK_MAX_UNITS,
        max_value=STOCK_MAX_UNITS,
        help_text=_("Signed: 12 adds twelve units, -3 takes three away."),
        widget=AdminIntegerFieldWidget,
    )
    reason = forms.ChoiceField(label=_("Reason"), choices=StockReason.choices)
    note = forms.CharField(
        label=_("Note"),
        max_length=200,
        required=False,
        help_text=_("Required when the reason is “other”."),
        widget=AdminTextInputWidget,
    )
    reference = forms.CharField(
        label=_("Reference"),
        max_length=64,
        required=False,
        help_text=_("Such as the number of a delivery note."),
        widget=AdminTextInputWidget,
    )
    expected_stock = forms.IntegerField(widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        """Ask for a note where the reason alone says nothing."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("reason") == StockReason.OTHER and not cleaned.get("note"):
            self.add_error("note", _("Say in the note why the stock changes."))
        return cleaned

    def expect(self, product: Product) -> None:
        """Show the stock as it is now, so that pressing again confirms the change against it."""
        if self.is_bound:
            self.data = {name: self.data[name] for name in self.data} | {"expected_stock": str(product.stock)}
        self.initial["expected_stock"] = product.stock
