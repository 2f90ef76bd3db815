"""What a shopper sends to reserve, and what staff type to prepare and run a campaign."""

import secrets
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import ForeignKeyRawIdWidget
from django.utils.translation import gettext_lazy as _

from orders.models import Sale
from seckill.models import Campaign
from seckill.scripts import RECORDS_MAX
from shop.catalog.models import Product


def idempotency_key_new() -> str:
    """Return a key for one purchase: pressing twice on the page that carries it buys once."""
    return secrets.token_urlsafe(16)


class ReserveForm(forms.Form):
    """Quantity and the page's idempotency key; the key's own rules are the service's."""

    key = forms.CharField(required=False, widget=forms.HiddenInput, strip=False)
    quantity = forms.TypedChoiceField(label=_("Quantity"), coerce=int)

    def __init__(self, *args: Any, limit: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        quantity = self.fields["quantity"]
        assert isinstance(quantity, forms.TypedChoiceField)
        quantity.choices = [(number, str(number)) for number in range(1, limit + 1)]


class CampaignForm(forms.ModelForm):
    """A draft: the campaign's own fields and those of its sale row, on one page."""

    product = forms.ModelChoiceField(label=_("Product"), queryset=Product.objects.all())
    price = forms.DecimalField(label=_("Campaign price"), min_value=0, max_digits=10, decimal_places=2)
    limit_per_user = forms.IntegerField(
        label=_("Limit per user"), min_value=1, max_value=RECORDS_MAX, initial=1
    )
    allotment = forms.IntegerField(
        label=_("Allotment (units)"),
        min_value=1,
        help_text=_("Moved out of the product's stock when the campaign is published."),
    )

    class Meta:
        model = Campaign
        fields = ["name_zh", "name_en", "starts_at", "ends_at"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        relation = Sale._meta.get_field("product").remote_field
        self.fields["product"].widget = ForeignKeyRawIdWidget(relation, admin.site)
        if self.instance.pk is not None:
            sale = self.instance.sale
            self.initial.update(
                product=sale.product_id,
                price=sale.price,
                limit_per_user=sale.limit_per_user,
                allotment=sale.allotment,
            )

    def clean(self) -> dict[str, Any]:
        """Say at the field that a window must end after it starts."""
        cleaned = super().clean() or self.cleaned_data
        starts_at, ends_at = cleaned.get("starts_at"), cleaned.get("ends_at")
        if starts_at and ends_at and ends_at <= starts_at:
            self.add_error("ends_at", _("The end must be after the start."))
        return cleaned


class ReasonForm(forms.Form):
    """Why a campaign is paused or closed; kept with the operation and shown to other staff."""

    reason = forms.CharField(label=_("Reason"), max_length=200)


class NothingForm(forms.Form):
    """An operation that needs no words."""
