"""What a flash sale may refuse, and how it says so."""

from django.utils.translation import gettext_lazy as _

from shop.resilience import errors


class CampaignNotFound(errors.NotFound):
    code = "not_found"
    message = _("There is nothing here.")


class ReservationNotFound(errors.NotFound):
    code = "not_found"
    message = _("There is nothing here.")


class NotSignedIn(errors.Unauthenticated):
    code = "not_authenticated"
    message = _("The credentials are wrong or expired.")


class Malformed(errors.BadRequest):
    code = "malformed"
    message = _("The request body is not valid JSON.")


class TooLarge(errors.BadRequest):
    status = 413
    code = "too_large"
    message = _("The request body is too large.")


class NotJson(errors.BadRequest):
    status = 415
    code = "unsupported_media_type"
    message = _("Send JSON with Content-Type application/json.")


class InvalidValues(errors.Invalid):
    code = "invalid"
    message = _("Some values are not acceptable.")


class KeyMissing(errors.BadRequest):
    code = "seckill.key_missing"
    message = _("Send an Idempotency-Key of 1 to 128 printable ASCII characters.")


class KeyReused(errors.Invalid):
    code = "seckill.key_reused"
    message = _("This Idempotency-Key was used for another quantity. Use a new key.")


class NotStarted(errors.Conflict):
    code = "seckill.not_started"
    message = _("The sale has not started yet.")


class Ended(errors.Conflict):
    code = "seckill.ended"
    message = _("The sale has ended.")


class SoldOut(errors.Conflict):
    code = "seckill.sold_out"
    message = _("Sold out.")


class LimitReached(errors.Conflict):
    code = "seckill.limit_reached"
    message = _("You have reached the limit for this sale.")


class RateLimited(errors.TooMany):
    code = "rate_limited"
    message = _("Too many requests. Wait a moment, then try again.")


class Paused(errors.Unavailable):
    code = "seckill.paused"
    message = _("The sale is paused. Nothing is lost; try again in a moment.")
    retry_after_seconds = 5


class Busy(errors.Unavailable):
    code = "seckill.busy"
    message = _("Very many people are buying. Try again in a moment.")
    retry_after_seconds = 1


class Unknown(errors.Unavailable):
    code = "seckill.unknown"
    message = _("The answer got lost. Ask again with the same key to learn what happened.")
    retry_after_seconds = 1


class SaleUnavailable(errors.Unavailable):
    code = "seckill.unavailable"
    message = _("The sale cannot be reached right now. Try again in a moment.")
    retry_after_seconds = 2


class CampaignNotDraft(errors.Conflict):
    code = "seckill.not_draft"
    message = _("Only a draft can be changed or published.")


class OperationNotAllowed(errors.Conflict):
    code = "seckill.operation_not_allowed"
    message = _("The campaign's state does not allow this.")


class OperationPending(errors.Conflict):
    code = "seckill.operation_pending"
    message = _("An earlier operation on this campaign is not finished yet.")
