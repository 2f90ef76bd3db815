"""Bodies of the orders API. Money is text with its currency; ids travel as text; times are UTC."""

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from orders.models import LostReason, Order, OrderLine, OrderStatus, Payment, RefundStatus
from orders.payments.sandbox import SandboxOutcome


class OrderLineOutput(serializers.ModelSerializer):
    """One line, as it was when the order was made."""

    product_id = serializers.CharField(read_only=True)
    title = serializers.CharField(read_only=True, help_text="In the language of the request.")

    class Meta:
        model = OrderLine
        fields = ["product_id", "title", "unit_price", "quantity"]


class PaymentOutput(serializers.ModelSerializer):
    """One attempt to pay."""

    payment_id = serializers.CharField(source="pk", read_only=True)
    refund = serializers.SerializerMethodField(help_text="How its refund stands; null without one.")

    class Meta:
        model = Payment
        fields = ["payment_id", "status", "amount", "currency", "created_at", "settled_at", "refund"]

    @extend_schema_field({"type": ["string", "null"], "enum": [*RefundStatus.values, None]})
    def get_refund(self, payment: Payment) -> str | None:
        """Return the refund's status."""
        refund = getattr(payment, "refund", None)
        return refund.status if refund is not None else None


class OrderOutput(serializers.ModelSerializer):
    """One order of the caller's."""

    campaign_id = serializers.CharField(source="sale_id", read_only=True, allow_null=True)
    reason = serializers.SerializerMethodField(help_text="Why it was lost or ended; null while it holds.")
    pay_by = serializers.SerializerMethodField(help_text="While pending: when the chance to pay ends.")
    lines = OrderLineOutput(many=True, read_only=True)
    payments = PaymentOutput(many=True, read_only=True)
    server_time = serializers.SerializerMethodField(help_text="The server's clock, for countdowns.")

    class Meta:
        model = Order
        fields = [
            "number",
            "status",
            "reason",
            "reservation_id",
            "campaign_id",
            "units",
            "total",
            "currency",
            "created_at",
            "pay_by",
            "paid_at",
            "ended_at",
            "recipient",
            "phone",
            "address",
            "lines",
            "payments",
            "server_time",
        ]
        read_only_fields = fields

    @extend_schema_field({"type": ["string", "null"], "enum": [*LostReason.values, None]})
    def get_reason(self, order: Order) -> str | None:
        """Return why the order was lost or ended."""
        return order.reason or None

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_pay_by(self, order: Order) -> str | None:
        """Return the pay-by time while it means something."""
        if order.status != OrderStatus.PENDING or order.expires_at is None:
            return None
        return serializers.DateTimeField().to_representation(order.expires_at)

    @extend_schema_field(serializers.DateTimeField())
    def get_server_time(self, order: Order) -> str:
        """Return now."""
        return serializers.DateTimeField().to_representation(timezone.now())


class PayInput(serializers.Serializer):
    """What the sandbox shall play; other providers know no choice."""

    outcome = serializers.ChoiceField(
        choices=SandboxOutcome.choices,
        default=SandboxOutcome.SUCCESS,
        # Without the input, which may be anything.
        error_messages={"invalid_choice": _("This is not a valid choice.")},
    )


class PayOutput(serializers.Serializer):
    """The payment and what the order looks like now."""

    payment_id = serializers.CharField()
    status = serializers.CharField(help_text="created, succeeded or declined")
    order = OrderOutput()


class CallbackOutput(serializers.Serializer):
    """What the provider is told; the same for a message that is repeated."""

    reference = serializers.CharField()
    status = serializers.CharField()
