"""Shows pages in the shopper's own time zone."""

from collections.abc import Callable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

# Programs get UTC, and a probe must not need the session or the database.
_IN_UTC = ("/api/", "/livez", "/readyz", "/metrics")


def shopper_zone(name: str | None) -> ZoneInfo:
    """Return the named zone, or the shop's where there is none or it is unknown."""
    try:
        return ZoneInfo(name or settings.SHOPPER_TIME_ZONE)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder of zones
        return ZoneInfo(settings.SHOPPER_TIME_ZONE)


class ShopperTimeZoneMiddleware:
    """Must stand behind AuthenticationMiddleware: the zone is the account's, else the shop's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(_IN_UTC):
            return self.get_response(request)
        name = request.user.time_zone if request.user.is_authenticated else None
        with timezone.override(shopper_zone(name)):
            return self.get_response(request)
