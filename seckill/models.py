"""Campaigns and the numbered operations that staff run on them."""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from orders.models import Sale, SalePhase
from shop.catalog.models import Bilingual


class CampaignState(models.TextChoices):
    DRAFT = "draft", _("draft")
    SCHEDULED = "scheduled", _("scheduled")
    LIVE = "live", _("live")
    PAUSED = "paused", _("paused")
    ENDED = "ended", _("ended")
    CLOSED = "closed", _("closed")


class Campaign(Bilingual):
    """One flash sale of one product. Price, limit and counters live on its `Sale` row, whose id it shares.

    `paused_reason` is empty unless paused; live and ended follow from the clock, never from a job's write.
    """

    sale = models.OneToOneField(
        Sale,
        on_delete=models.PROTECT,
        primary_key=True,
        db_constraint=False,
        related_name="campaign",
        verbose_name=_("sale"),
    )
    shard = models.PositiveSmallIntegerField(_("shard"), default=0, editable=False)
    # Random per campaign; reservation ids are an HMAC under it, so they survive a change of secrets.
    salt = models.BinaryField(max_length=16, editable=False)
    starts_at = models.DateTimeField(_("starts"))
    ends_at = models.DateTimeField(_("ends"))
    published_at = models.DateTimeField(_("published"), null=True, blank=True, editable=False)
    paused_reason = models.CharField(_("paused because"), max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("campaign")
        verbose_name_plural = _("campaigns")
        indexes = [models.Index(fields=["published_at", "starts_at"])]
        constraints = [
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="campaign_ends_after_start"),
        ]

    def state(self, now: datetime) -> CampaignState:
        """Return the state at `now` (aware)."""
        if self.published_at is None:
            return CampaignState.DRAFT
        if self.sale.phase == SalePhase.CLOSED:
            return CampaignState.CLOSED
        if now >= self.ends_at or self.sale.phase == SalePhase.CLOSING:
            return CampaignState.ENDED
        if self.paused_reason:
            return CampaignState.PAUSED
        return CampaignState.LIVE if now >= self.starts_at else CampaignState.SCHEDULED


class OperationKind(models.TextChoices):
    PAUSE = "pause", _("pause")
    RESUME = "resume", _("resume")
    CLOSE = "close", _("close")


class CampaignOperation(models.Model):
    """One numbered act of staff on a campaign; Valkey applies number k once."""

    campaign = models.ForeignKey(
        Campaign, on_delete=models.PROTECT, related_name="operations", verbose_name=_("campaign")
    )
    number = models.PositiveIntegerField(_("number"))
    kind = models.CharField(_("kind"), max_length=8, choices=OperationKind.choices)
    reason = models.CharField(_("reason"), max_length=200, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, verbose_name=_("who")
    )
    created_at = models.DateTimeField(_("ordered"))
    done_at = models.DateTimeField(_("done"), null=True, blank=True)

    class Meta:
        verbose_name = _("campaign operation")
        verbose_name_plural = _("campaign operations")
        ordering = ["-campaign_id", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "number"], name="campaign_operation_number_once"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} #{self.number} {self.kind}"
