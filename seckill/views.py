"""Pages of the flash sale: a campaign, the purchase, its outcome."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_safe

from orders.caller import caller_id
from orders.models import OrderStatus
from orders.selectors import order_get
from seckill import page_state, selectors
from seckill.forms import ReserveForm, idempotency_key_new
from seckill.services.reservations import reservation_create
from seckill.statuses import LOST, QUEUED, WON, ReservationStatus
from shop.resilience.errors import NotFound, ShopError

REFRESH_SECONDS = 3  # a queued reservation's page without script


_View = Callable[..., HttpResponse]
# Not "no-store": going back must show the same page with the same key, so that pressing again buys nothing twice.
_own_page = cache_control(private=True, no_cache=True)


def _campaign_response(
    request: HttpRequest,
    *,
    campaign_id: int,
    form: ReserveForm | None = None,
    refusal: page_state.Refusal | None = None,
) -> HttpResponse:
    """Render the campaign's page: as asked for, or again after a refusal with what was sent kept."""
    panel = page_state.campaign_panel(
        campaign=selectors.campaign_public(campaign_id=campaign_id),
        user_id=request.user.pk,
        now=timezone.now(),
    )
    sent = request.POST if request.method == "POST" else {}
    keep_key = bool(sent.get("key")) and not (refusal and refusal.key_is_spent)
    if form is None:
        form = ReserveForm(
            initial={
                "key": sent["key"] if keep_key else idempotency_key_new(),
                "quantity": sent.get("quantity", 1),
            },
            limit=max(1, panel.may_take),
        )
    status = refusal.status if refusal else 422 if form.errors else 200
    context = {
        "panel": panel,
        "form": form,
        "refusal": refusal,
        "language_next": reverse("seckill:campaign", args=[campaign_id]),
    }
    response = render(request, "seckill/campaign.html", context, status=status)
    if refusal and refusal.retry_after_seconds is not None:
        response["Retry-After"] = str(refusal.retry_after_seconds)
    return response


def _refusals_on_the_page(view: _View) -> _View:
    """Show a refused reservation on the campaign's page, with its status; the key is kept for the next press."""

    @wraps(view)
    def wrapped(request: HttpRequest, campaign_id: int) -> HttpResponse:
        try:
            return view(request, campaign_id)
        except NotFound:
            raise
        except ShopError as error:
            return _campaign_response(request, campaign_id=campaign_id, refusal=page_state.refusal_of(error))

    return wrapped


@require_safe
@_own_page
def campaign(request: HttpRequest, campaign_id: int) -> HttpResponse:
    """Render one campaign."""
    return _campaign_response(request, campaign_id=campaign_id)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@_own_page
@_refusals_on_the_page
def reserve(request: HttpRequest, campaign_id: int) -> HttpResponse:
    """Reserve and go to the reservation; whoever comes by a log-in or a reload lands on the campaign."""
    if request.method != "POST":
        return redirect("seckill:campaign", campaign_id)
    sale = selectors.campaign_public(campaign_id=campaign_id).sale
    form = ReserveForm(request.POST, limit=sale.limit_per_user)
    if not form.is_valid():
        return _campaign_response(request, campaign_id=campaign_id, form=form)
    reservation = reservation_create(
        campaign_id=campaign_id,
        user_id=caller_id(request.user),
        quantity=form.cleaned_data["quantity"],
        key=form.cleaned_data["key"],
    )
    return HttpResponseRedirect(reverse("seckill:reservation", args=[reservation.reservation_id]), status=303)


def _outcome(found: ReservationStatus, user_id: int) -> dict[str, Any]:
    """Return what the page says beyond the status: whether there is something to pay, or why it was lost."""
    if found.status == WON and found.order_number is not None:
        order = order_get(found.order_number, user_id)
        return {"may_pay": order.status == OrderStatus.PENDING}
    if found.status == LOST:
        return {"lost": page_state.lost_explained(found)}
    return {}


@require_safe
@login_required
@_own_page
def reservation(request: HttpRequest, reservation_id: str) -> HttpResponse:
    """Render what became of a reservation; while that is open the page asks again by itself."""
    user_id = caller_id(request.user)
    found = page_state.known_or_none(
        lambda: selectors.reservation_status(reservation_id=reservation_id, user_id=user_id)
    )
    waiting = found is None or found.status == QUEUED
    context = {
        "reservation_id": reservation_id,
        "reservation": found,
        "refresh_seconds": REFRESH_SECONDS if waiting else None,
        "now": timezone.now(),
        **({} if found is None else _outcome(found, user_id)),
    }
    response = render(request, "seckill/reservation.html", context, status=503 if found is None else 200)
    if found is None:
        response["Retry-After"] = str(REFRESH_SECONDS)
    return response


@require_safe
@login_required
@_own_page
def reservations(request: HttpRequest) -> HttpResponse:
    """Render the shopper's reservations, open ones too."""
    found = page_state.known_or_none(lambda: selectors.reservations_of_user(user_id=caller_id(request.user)))
    rows = None
    if found is not None:
        rows = [
            {"reservation": row, "headline": page_state.reservation_headline(row.status)} for row in found
        ]
    return render(request, "seckill/reservations.html", {"reservations": rows})
