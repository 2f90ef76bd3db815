"""Orders with everything frozen on them, the judge's sale rows, payments, refunds and dead letters."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from shop.catalog.models import Product


class SalePhase(models.TextChoices):
    OPEN = "open", _("open")
    CLOSING = "closing", _("closing")
    CLOSED = "closed", _("closed")


class Sale(models.Model):
    """The counter row of one campaign: what the database allows to be sold. Its id is the campaign's.

    All counters are units. `sold` counts orders that are pending, paid or beyond; `handed_back` went to
    ordinary stock after close.
    """

    product = models.ForeignKey(
        Product, on_delete=models.PROTECT, related_name="sales", verbose_name=_("product")
    )
    price = models.DecimalField(_("campaign price"), max_digits=10, decimal_places=2)
    currency = models.CharField(_("currency"), max_length=3, default="CNY")
    limit_per_user = models.PositiveSmallIntegerField(_("limit per user"), default=1)
    pay_window_seconds = models.PositiveIntegerField(_("pay window (seconds)"), default=900)
    epoch = models.PositiveIntegerField(_("epoch"), default=1)
    phase = models.CharField(_("phase"), max_length=8, choices=SalePhase.choices, default=SalePhase.OPEN)
    allotment = models.PositiveIntegerField(_("allotment"))
    sold = models.PositiveIntegerField(_("sold"), default=0)
    handed_back = models.PositiveIntegerField(_("handed back"), default=0)
    last_entry = models.CharField(_("last outbox entry"), max_length=42, default="0-0")

    class Meta:
        verbose_name = _("sale")
        verbose_name_plural = _("sales")
        constraints = [
            models.CheckConstraint(condition=Q(sold__gte=0), name="sale_sold_not_negative"),
            models.CheckConstraint(condition=Q(handed_back__gte=0), name="sale_handed_back_not_negative"),
            models.CheckConstraint(
                condition=Q(allotment__gte=F("sold") + F("handed_back")), name="sale_never_oversold"
            ),
            models.CheckConstraint(condition=Q(limit_per_user__gte=1), name="sale_limit_at_least_one"),
            models.CheckConstraint(condition=Q(price__gte=0), name="sale_price_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.pk}: {self.sold}/{self.allotment}"


class OrderStatus(models.TextChoices):
    PENDING = "pending", _("waiting for payment")
    PAID = "paid", _("paid")
    SHIPPED = "shipped", _("shipped")
    COMPLETED = "completed", _("completed")
    CANCELLED = "cancelled", _("cancelled")
    EXPIRED = "expired", _("payment window missed")
    REFUSED = "refused", _("refused")
    READMITTING = "readmitting", _("late payment being checked")
    REFUNDING = "refunding", _("refunding")
    REFUNDED = "refunded", _("refunded")


# Orders that hold their units; `Sale.sold` is the sum of exactly these.
HOLDING = (
    OrderStatus.PENDING,
    OrderStatus.PAID,
    OrderStatus.SHIPPED,
    OrderStatus.COMPLETED,
)


class LostReason(models.TextChoices):
    SOLD_OUT = "sold_out", _("sold out")
    LIMIT_REACHED = "limit_reached", _("limit reached")
    ENDED = "ended", _("the sale had ended")
    PAYMENT_EXPIRED = "payment_expired", _("not paid in time")
    CANCELLED = "cancelled", _("cancelled")
    OUR_FAULT = "our_fault", _("our fault")


class Order(models.Model):
    """One order; a reservation's row too, won or refused. Price, title and address are frozen copies.

    `move` counts how often the order's units have changed sides; `return_due` says that Valkey has not yet
    taken back the units of an order that ended.
    """

    number = models.CharField(_("order number"), max_length=16, unique=True)
    reservation_id = models.CharField(_("reservation"), max_length=48, unique=True, null=True, blank=True)
    # Empty only where the account was gone when the reservation reached the judge.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        related_name="orders",
        verbose_name=_("user"),
    )
    # No constraint in the database: its shared lock on the hot row deadlocks two consumers.
    sale = models.ForeignKey(
        Sale,
        on_delete=models.PROTECT,
        null=True,
        db_constraint=False,
        related_name="orders",
        verbose_name=_("sale"),
    )
    status = models.CharField(
        _("status"), max_length=12, choices=OrderStatus.choices, default=OrderStatus.PENDING
    )
    reason = models.CharField(_("reason"), max_length=16, choices=LostReason.choices, blank=True)
    units = models.PositiveIntegerField(_("units"))
    total = models.DecimalField(_("total"), max_digits=12, decimal_places=2, default=0)
    currency = models.CharField(_("currency"), max_length=3, default="CNY")
    recipient = models.CharField(_("recipient"), max_length=80, blank=True)
    phone = models.CharField(_("phone"), max_length=32, blank=True)
    address = models.CharField(_("address"), max_length=400, blank=True)
    move = models.PositiveSmallIntegerField(_("move"), default=1)
    return_due = models.BooleanField(_("return due"), default=False)
    created_at = models.DateTimeField(_("created"))
    expires_at = models.DateTimeField(_("pay by"), null=True, blank=True)
    paid_at = models.DateTimeField(_("paid"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        indexes = [
            models.Index(fields=["status", "expires_at"]),
            models.Index(fields=["user", "-id"]),
            models.Index(fields=["sale", "status"]),
            models.Index(fields=["sale", "user"]),
            models.Index(fields=["return_due", "id"]),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(units__gte=1), name="order_units_at_least_one"),
            models.CheckConstraint(condition=Q(total__gte=0), name="order_total_not_negative"),
            models.CheckConstraint(condition=Q(move__gte=1), name="order_move_at_least_one"),
        ]

    def __str__(self) -> str:
        return self.number


class OrderLine(models.Model):
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines", verbose_name=_("order"))
    product = models.ForeignKey(Product, on_delete=models.PROTECT, verbose_name=_("product"))
    title_zh = models.CharField(_("title (Chinese)"), max_length=120)
    title_en = models.CharField(_("title (English)"), max_length=120)
    unit_price = models.DecimalField(_("price"), max_digits=10, decimal_places=2)
    quantity = models.PositiveIntegerField(_("quantity"))

    class Meta:
        verbose_name = _("order line")
        verbose_name_plural = _("order lines")
        constraints = [
            models.CheckConstraint(condition=Q(quantity__gte=1), name="order_line_quantity_at_least_one"),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="order_line_price_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.title} × {self.quantity}"

    @property
    def title(self) -> str:
        """The frozen title in the active language."""
        return self.title_en if (get_language() or "").startswith("en") else self.title_zh


class PaymentStatus(models.TextChoices):
    CREATED = "created", _("started")
    SUCCEEDED = "succeeded", _("succeeded")
    DECLINED = "declined", _("declined")


class Payment(models.Model):
    """One attempt to pay one order at one provider; only the provider's signed callback moves it on."""

    order = models.ForeignKey(
        Order, on_delete=models.PROTECT, related_name="payments", verbose_name=_("order")
    )
    provider = models.CharField(_("provider"), max_length=20)
    reference = models.CharField(_("provider's reference"), max_length=64)
    amount = models.DecimalField(_("amount"), max_digits=12, decimal_places=2)
    currency = models.CharField(_("currency"), max_length=3)
    status = models.CharField(
        _("status"), max_length=10, choices=PaymentStatus.choices, default=PaymentStatus.CREATED
    )
    created_at = models.DateTimeField(_("created"))
    settled_at = models.DateTimeField(_("settled"), null=True, blank=True)

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        constraints = [
            models.UniqueConstraint(fields=["provider", "reference"], name="payment_reference_once"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="payment_amount_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.reference}"


class RefundStatus(models.TextChoices):
    DUE = "due", _("due")
    SUCCEEDED = "succeeded", _("succeeded")


class Refund(models.Model):
    """Money that goes back: one for each payment at most, sent through the provider until it says yes."""

    payment = models.OneToOneField(
        Payment, on_delete=models.PROTECT, related_name="refund", verbose_name=_("payment")
    )
    amount = models.DecimalField(_("amount"), max_digits=12, decimal_places=2)
    status = models.CharField(
        _("status"), max_length=10, choices=RefundStatus.choices, default=RefundStatus.DUE
    )
    note = models.CharField(_("note"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created"))
    settled_at = models.DateTimeField(_("settled"), null=True, blank=True)

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        indexes = [models.Index(fields=["status", "id"])]
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="refund_amount_positive")]

    def __str__(self) -> str:
        return f"{self.payment}: {self.amount}"


class DeadLetter(models.Model):
    """An event that could not be decided as it stood; for diagnosis, never keeping a unit or a shopper waiting."""

    source = models.CharField(_("source"), max_length=80)
    entry = models.CharField(_("entry"), max_length=64)
    reservation_id = models.CharField(_("reservation"), max_length=48, blank=True)
    payload = models.TextField(_("payload"))
    error = models.TextField(_("error"))
    attempts = models.PositiveIntegerField(_("attempts"), default=1)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    understood_at = models.DateTimeField(_("understood"), null=True, blank=True)
    understood_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("understood by"),
    )

    class Meta:
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        constraints = [
            models.UniqueConstraint(fields=["source", "entry", "reservation_id"], name="dead_letter_once"),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.entry}"
