"""How an amount of money is written."""

from decimal import Decimal

from django import template

register = template.Library()

_SIGNS = {"CNY": "¥"}
_CENT = Decimal("0.01")


@register.filter
def money(amount: Decimal | str | int, currency: str = "CNY") -> str:
    """Return an amount as ¥1,299.00, the same in both languages; a currency without a sign is named."""
    if isinstance(amount, float):
        raise TypeError("money is a Decimal or a string, never a float")
    sign = _SIGNS.get(currency, f"{currency} ")
    value = Decimal(amount).quantize(_CENT)
    return f"{'-' if value < 0 else ''}{sign}{abs(value):,}"
