"""What every page says in one way: moments, their zone, the id to quote. None of it needs a context."""

from datetime import UTC, datetime

from django import template
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from shop.observability.logs.request_id import request_id_get

register = template.Library()


@register.filter
def moment(value: datetime) -> SafeString:
    """Return a `<time>` in the shopper's zone, machine-readable in UTC."""
    # Translators: a date format in Django's notation, such as 24 Nov 2025, 20:00
    return _time(value, _("j M Y, H:i"))


@register.filter
def moment_exact(value: datetime) -> SafeString:
    """Return a `<time>` with seconds."""
    # Translators: a date format in Django's notation with seconds, such as 24 Nov 2025, 20:00:04
    return _time(value, _("j M Y, H:i:s"))


def _time(value: datetime, pattern: str) -> SafeString:
    utc = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return format_html('<time datetime="{}">{}</time>', utc, date_format(timezone.localtime(value), pattern))


@register.simple_tag
def zone_name() -> str:
    """Return the zone in which this page writes its times, in words."""
    key = getattr(timezone.get_current_timezone(), "key", timezone.get_current_timezone_name())
    return _("Beijing time") if key == "Asia/Shanghai" else key


@register.simple_tag
def request_id() -> str:
    """Return the id of this request, which a shopper may quote and logs carry."""
    return request_id_get()
