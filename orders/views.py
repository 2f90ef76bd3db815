"""Pages of orders and of paying for them; each works without a script."""

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from orders.caller import caller_id
from orders.forms import SandboxForm
from orders.models import Order, OrderStatus, PaymentStatus
from orders.payment_tasks import sandbox_play
from orders.payments.sandbox import SandboxOutcome, sandbox_in_use
from orders.selectors import order_get, orders_of_user
from orders.services.endings import order_cancel
from orders.services.payments import payment_start
from orders.timeline import timeline

ORDERS_A_PAGE = 20

# Safe HTML for the top of the orders list, from apps that this one does not know; filled in their AppConfig.
list_panels: list[Callable[[HttpRequest], str]] = []


@require_safe
@never_cache
@login_required
def order_list(request: HttpRequest) -> HttpResponse:
    """Show the shopper's orders, newest first; a page that does not exist is the last one."""
    page = Paginator(orders_of_user(caller_id(request.user)), ORDERS_A_PAGE).get_page(request.GET.get("page"))
    panels = [panel(request) for panel in list_panels]
    return render(request, "orders/list.html", {"page": page, "panels": [html for html in panels if html]})


@require_safe
@never_cache
@login_required
def order_detail(request: HttpRequest, number: str) -> HttpResponse:
    """Show one order, what has happened to it and what can be done."""
    order = order_get(number, caller_id(request.user))
    return render(request, "orders/detail.html", _context(order))


@require_POST
@login_required
def cancel(request: HttpRequest, number: str) -> HttpResponse:
    """Cancel an unpaid order."""
    order_cancel(number=number, user_id=caller_id(request.user), now=timezone.now())
    messages.success(request, _("The order is cancelled. Nothing was charged."))
    return redirect("orders:detail", number=number)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
def pay(request: HttpRequest, number: str) -> HttpResponse:
    """Show how to pay, or why not; on POST start the payment."""
    order = order_get(number, caller_id(request.user))
    form = SandboxForm(request.POST if request.method == "POST" else None) if sandbox_in_use() else None
    if request.method == "POST" and (form is None or form.is_valid()):
        return _pay(request, order, form)
    return render(request, "orders/pay.html", {**_context(order), "form": form})


def _pay(request: HttpRequest, order: Order, form: SandboxForm | None) -> HttpResponse:
    now = timezone.now()
    payment = payment_start(number=order.number, user_id=caller_id(request.user), now=now)
    if form is not None:
        sandbox_play(payment, SandboxOutcome(form.cleaned_data["outcome"]), now=now)
        payment.refresh_from_db()
    if payment.status == PaymentStatus.DECLINED:
        messages.error(request, _("The payment was declined. You may try again."))
        return redirect("orders:pay", number=order.number)
    if payment.status == PaymentStatus.SUCCEEDED:
        messages.success(request, _("The provider confirmed the payment."))
    else:
        messages.info(
            request, _("The payment has been started. The order changes when the provider confirms it.")
        )
    return redirect("orders:detail", number=order.number)


def _context(order: Order) -> dict[str, object]:
    """Return what both pages of one order show."""
    payments = list(order.payments.all())
    pending = order.status == OrderStatus.PENDING
    overdue = pending and order.expires_at is not None and order.expires_at <= timezone.now()
    refunds = [payment.refund for payment in payments if hasattr(payment, "refund")]
    late = order.status == OrderStatus.EXPIRED and not refunds
    return {
        "order": order,
        "lines": order.lines.all(),
        "timeline": timeline(order),
        "may_pay": pending and not overdue,
        "may_cancel": pending,
        "overdue": overdue,
        "refunds": refunds,
        "late_payment": late and any(payment.status == PaymentStatus.SUCCEEDED for payment in payments),
        "declined": pending and any(payment.status == PaymentStatus.DECLINED for payment in payments),
    }
