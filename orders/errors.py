"""What orders and payments refuse, each under a code that never changes its meaning."""

from django.utils.translation import gettext_lazy as _

from shop.resilience.errors import BadRequest, Conflict, Invalid, NotFound, Unauthenticated, Unavailable


class OrderNotFound(NotFound):
    """No such order, or it is somebody else's: the two answers are the same."""

    code = "orders.not_found"
    message = _("There is no such order.")


class OrderNotPending(Conflict):
    """The order is not waiting for payment; `extra` has its status."""

    code = "orders.not_pending"
    message = _("This order is not waiting for payment.")


class PayWindowOver(Conflict):
    """The time to start a payment is over."""

    code = "orders.pay_window_over"
    message = _("The time to pay for this order is over.")


class OrderNotRefundable(Conflict):
    """Only a paid order can be refunded; `extra` has its status."""

    code = "orders.not_refundable"
    message = _("Only a paid order can be refunded.")


class PaymentNotFound(NotFound):
    """The provider speaks of a payment that was never started here."""

    code = "payments.not_found"
    message = _("There is no such payment.")


class ProviderUnknown(NotFound):
    """No payment provider of this name is in use."""

    code = "payments.unknown_provider"
    message = _("There is no such payment provider.")


class BadSignature(Unauthenticated):
    """The message is not signed with the provider's key."""

    code = "payments.bad_signature"
    message = _("The signature is wrong.")


class CallbackMalformed(BadRequest):
    """The message is signed, but is not one that this provider sends."""

    code = "payments.malformed"
    message = _("The message cannot be understood.")


class AmountMismatch(Invalid):
    """The provider speaks of another amount or currency than the order's."""

    code = "payments.amount_mismatch"
    message = _("The amount is not the order's.")


class ProviderUnavailable(Unavailable):
    """The provider did not say yes; asking again with the same key is safe."""

    code = "payments.provider_unavailable"
    message = _("The payment provider does not answer now. Try again in a moment.")
