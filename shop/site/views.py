"""Pages that join several apps."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from seckill.page_state import Headline, campaign_panels
from seckill.selectors import campaigns_public
from shop.catalog.selectors import products_home

HOME_PRODUCTS = 8


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Render the home page: live campaigns first, then upcoming and just ended ones, then a few products."""
    now = timezone.now()
    cards = campaign_panels(campaigns=campaigns_public(now=now), now=now)
    upcoming = [card for card in cards if card.headline is Headline.STARTS_SOON]
    ended = [card for card in cards if card.headline is Headline.ENDED]
    context = {
        "live": [card for card in cards if card not in upcoming and card not in ended],
        "upcoming": sorted(upcoming, key=lambda card: card.campaign.starts_at),
        "ended": ended,
        "products": products_home(limit=HOME_PRODUCTS),
    }
    return render(request, "home.html", context)
