"""Staff's view of orders, money and dead letters: read-only, with actions that call services."""

from typing import Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from orders.caller import caller_id
from orders.errors import OrderNotRefundable
from orders.models import DeadLetter, Order, OrderLine, Payment, Refund, Sale
from orders.services.dead_letters import dead_letter_understand
from orders.services.refunds import order_refund

COUNTED_ROWS = (
    10_000  # pages beyond are reached by search; counting millions of rows would hold up every view
)


class BoundedPaginator(Paginator):
    """A paginator that counts no further than staff will ever page."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most COUNTED_ROWS."""
        rows: QuerySet[Model] = self.object_list[:COUNTED_ROWS]  # type: ignore[assignment]
        return rows.count()


class ReadOnly:
    """Rows that staff may look at; what changes them are actions and the shop itself."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):
    """A read-only list of a table that grows large."""

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50
    ordering = ("-id",)


class OrderLineInline(ReadOnly, admin.TabularInline):
    model = OrderLine
    fields = ("product", "title", "unit_price", "quantity")
    readonly_fields = fields
    extra = 0


class PaymentInline(ReadOnly, admin.TabularInline):
    model = Payment
    fields = ("provider", "reference", "amount", "currency", "status", "created_at", "settled_at", "refunded")
    readonly_fields = fields
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Payment]:
        """Return payments with their refunds."""
        return super().get_queryset(request).select_related("refund")

    @admin.display(description=_("refund"))
    def refunded(self, payment: Payment) -> str:
        """Return how the payment's refund stands, and why there is one."""
        refund = getattr(payment, "refund", None)
        if refund is None:
            return "-"
        note = gettext(refund.note) if refund.note else ""
        return f"{refund.get_status_display()} {note}".strip()


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = (
        "number",
        "user",
        "status",
        "reason",
        "units",
        "total",
        "currency",
        "created_at",
        "return_due",
    )
    list_filter = ("status", "reason", "return_due")
    list_select_related = ("user",)
    search_fields = ("=number", "=reservation_id", "=user__username", "=user__email")
    search_help_text = _("order number, reservation id, user name or e-mail address, in full")
    raw_id_fields = ("user", "sale")
    inlines = (OrderLineInline, PaymentInline)
    actions = ("refund",)

    def has_refund_permission(self, request: HttpRequest) -> bool:
        """Tell whether this member of staff may refund."""
        return request.user.has_perm("orders.change_order")

    @admin.action(description=_("Refund: take the units back and return the money"), permissions=["refund"])
    def refund(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        """Refund each selected order that is paid, and say what was done."""
        now, done, refused = timezone.now(), 0, []
        for number in queryset.order_by("pk").values_list("number", flat=True):
            try:
                order_refund(number=number, actor=request.user, now=now)  # type: ignore[arg-type]
                done += 1
            except OrderNotRefundable:
                refused.append(number)
        if done:
            text = ngettext(
                "%(count)d order is being refunded.", "%(count)d orders are being refunded.", done
            )
            self.message_user(request, text % {"count": done}, messages.SUCCESS)
        if refused:
            text = ngettext(
                "Not paid, so not refunded: order %(numbers)s.",
                "Not paid, so not refunded: orders %(numbers)s.",
                len(refused),
            )
            self.message_user(request, text % {"numbers": ", ".join(refused)}, messages.ERROR)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = (
        "reference",
        "provider",
        "order",
        "amount",
        "currency",
        "status",
        "created_at",
        "settled_at",
    )
    list_filter = ("status", "provider")
    list_select_related = ("order",)
    search_fields = ("=reference", "=order__number")
    raw_id_fields = ("order",)


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = ("payment", "amount", "status", "note", "created_at", "settled_at")
    list_filter = ("status",)
    list_select_related = ("payment",)
    search_fields = ("=payment__reference", "=payment__order__number")
    raw_id_fields = ("payment",)


@admin.register(Sale)
class SaleAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "product",
        "phase",
        "allotment",
        "sold",
        "handed_back",
        "limit_per_user",
        "price",
        "epoch",
    )
    list_filter = ("phase",)
    list_select_related = ("product",)
    search_fields = ("=id",)
    raw_id_fields = ("product",)


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = (
        "source",
        "entry",
        "reservation_id",
        "attempts",
        "created_at",
        "understood_at",
        "understood_by",
    )
    list_filter = (("understood_at", admin.EmptyFieldListFilter), "source")
    list_select_related = ("understood_by",)
    search_fields = ("=entry", "=reservation_id")
    raw_id_fields = ("understood_by",)
    actions = ("understand",)

    def has_understand_permission(self, request: HttpRequest) -> bool:
        """Tell whether this member of staff looks after dead letters."""
        return request.user.has_perm("orders.change_deadletter")

    @admin.action(description=_("Mark as understood"), permissions=["understand"])
    def understand(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Note who has understood the selected dead letters."""
        now = timezone.now()
        ids = list(queryset.filter(understood_at=None).order_by("pk").values_list("pk", flat=True))
        for pk in ids:
            dead_letter_understand(letter_id=pk, actor_id=caller_id(request.user), now=now)
        text = ngettext(
            "%(count)d dead letter is marked as understood.",
            "%(count)d dead letters are marked as understood.",
            len(ids),
        )
        self.message_user(request, text % {"count": len(ids)}, messages.SUCCESS)
