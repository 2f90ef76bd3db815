"""Panels that the sale puts on pages of the apps below it."""

from django.http import HttpRequest
from django.template.loader import render_to_string

from seckill import page_state, selectors


def open_reservations(request: HttpRequest) -> str:
    """Return the signed-in shopper's undecided reservations for the orders list; empty when there are none."""
    user_id = int(request.user.pk or 0)
    waiting = page_state.known_or_none(lambda: selectors.reservations_open(user_id=user_id))
    if waiting is not None and not waiting:
        return ""
    return render_to_string("seckill/_open_reservations.html", {"waiting": waiting}, request)
