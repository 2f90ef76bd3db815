"""The orders API. Every look-up is filtered by its owner, so that others' orders do not exist."""

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import generics
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders.api import documentation as doc
from orders.api.serializers import CallbackOutput, OrderOutput, PayInput, PayOutput
from orders.caller import caller_id
from orders.models import Order
from orders.payment_tasks import sandbox_play
from orders.payments.sandbox import SandboxOutcome, sandbox_in_use
from orders.selectors import order_get, orders_of_user
from orders.services.endings import order_cancel
from orders.services.payments import payment_callback, payment_start


class OrderListView(generics.ListAPIView):
    """The caller's orders."""

    serializer_class = OrderOutput

    @extend_schema(
        operation_id="orders_list",
        tags=["orders"],
        summary="My orders",
        description="Newest first. Reservations that were lost are not orders; they are listed under seckill.",
        responses={
            200: OpenApiResponse(OrderOutput(many=True), examples=[doc.PENDING]),
            **doc.READ,
            **doc.BAD_CURSOR,
        },
    )
    def get(self, request: Request) -> Response:
        """Return one page."""
        return self.list(request)

    def get_queryset(self) -> QuerySet[Order]:
        """Return the caller's orders."""
        if getattr(self, "swagger_fake_view", False):
            return Order.objects.none()
        return orders_of_user(caller_id(self.request.user))


class OrderView(APIView):
    """One order of the caller's."""

    @extend_schema(
        operation_id="orders_get",
        tags=["orders"],
        summary="One of my orders",
        responses={200: OpenApiResponse(OrderOutput, examples=[doc.PENDING]), **doc.READ, **doc.NOT_FOUND},
    )
    def get(self, request: Request, number: str) -> Response:
        """Return the order."""
        return Response(OrderOutput(order_get(number, caller_id(request.user))).data)


class OrderPayView(APIView):
    """Payment of one order."""

    @extend_schema(
        operation_id="orders_pay",
        tags=["orders"],
        summary="Pay for my order",
        description=(
            "Starts a payment, or goes on with the one under way. In the sandbox the body chooses what happens, and "
            "`success`, `decline` and `twice` have happened when this answers. Only the provider's signed callback "
            "marks an order paid, so with other outcomes ask for the order again."
        ),
        request=PayInput,
        examples=[doc.PAY_BODY],
        responses={
            200: OpenApiResponse(PayOutput, examples=[doc.PAY_DONE]),
            **doc.READ,
            **doc.NOT_FOUND,
            **doc.PAY_REFUSED,
        },
    )
    def post(self, request: Request, number: str) -> Response:
        """Start the payment and let the sandbox play."""
        body = PayInput(data=request.data)
        body.is_valid(raise_exception=True)
        now = timezone.now()
        payment = payment_start(number=number, user_id=caller_id(request.user), now=now)
        if sandbox_in_use():
            sandbox_play(payment, SandboxOutcome(body.validated_data["outcome"]), now=now)
            payment.refresh_from_db()
        order = order_get(number, caller_id(request.user))
        return Response(
            {"payment_id": str(payment.pk), "status": payment.status, "order": OrderOutput(order).data}
        )


class OrderCancelView(APIView):
    """The end of one unpaid order."""

    @extend_schema(
        operation_id="orders_cancel",
        tags=["orders"],
        summary="Cancel my unpaid order",
        description="Its units and the quota they used are free again. A payment that arrives later is refunded.",
        request=None,
        responses={
            200: OpenApiResponse(OrderOutput, examples=[doc.CANCELLED]),
            **doc.READ,
            **doc.NOT_FOUND,
            **doc.NOT_PENDING,
        },
    )
    def post(self, request: Request, number: str) -> Response:
        """Cancel the order."""
        order_cancel(number=number, user_id=caller_id(request.user), now=timezone.now())
        return Response(OrderOutput(order_get(number, caller_id(request.user))).data)


class PaymentCallbackView(APIView):
    """Where payment providers report; the signature is the only credential."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="payments_callback",
        tags=["payments"],
        summary="A provider reports what became of a payment",
        description=(
            "Safe to repeat: the same message has its effect once and gets the same answer. A payment for an order "
            "that has ended meanwhile is recorded, then kept if the units are still free, else refunded."
        ),
        auth=[],
        parameters=doc.SIGNATURE_HEADERS,
        request={"application/json": {"type": "object", "additionalProperties": True}},
        examples=[doc.CALLBACK_BODY],
        responses={
            200: OpenApiResponse(CallbackOutput, examples=[doc.CALLBACK_DONE]),
            **doc.CALLBACK_REFUSED,
        },
    )
    def post(self, request: Request, provider: str) -> Response:
        """Apply the message; its raw bytes are what was signed, so nothing parses them before."""
        payment = payment_callback(
            provider=provider, body=request.body, headers=request.headers, now=timezone.now()
        )
        return Response({"reference": payment.reference, "status": payment.status})
