"""What staff may do to a campaign: when, what follows in numbers, and which service does it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.utils.translation import gettext, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from seckill import conservation
from seckill.forms import NothingForm, ReasonForm
from seckill.models import Campaign, CampaignState
from seckill.page_state import known_or_none
from seckill.services import campaigns


@dataclass(frozen=True)
class Operation:
    """One operation: `label` is its button, `done` counts campaigns, `consequence` is told before the press."""

    name: str
    label: Any
    done: Any
    states: frozenset[CampaignState]
    permissions: tuple[str, ...]
    form: type[forms.Form]
    consequence: Callable[[Campaign], str]
    run: Callable[..., Any]

    def permitted(self, user: Any) -> bool:
        """Tell whether this person may do it: one of the permissions is enough."""
        return any(user.has_perm(permission) for permission in self.permissions)

    def allowed(self, campaign: Campaign, now: datetime) -> bool:
        """Tell whether the campaign's state permits it at `now`."""
        return campaign.state(now) in self.states

    def apply(self, *, campaign: Campaign, form: forms.Form, actor: Any, now: datetime) -> None:
        """Do it, with the form's words.

        :raises ShopError: the service refuses
        """
        self.run(campaign_id=campaign.pk, actor=actor, now=now, **form.cleaned_data)


def _publish_consequence(campaign: Campaign) -> str:
    sale = campaign.sale
    return gettext("%(units)d units leave the ordinary stock of %(product)s: %(before)d → %(after)d.") % {
        "units": sale.allotment,
        "product": sale.product.name,
        "before": sale.product.stock,
        "after": sale.product.stock - sale.allotment,
    }


def _equation(campaign: Campaign) -> conservation.Equation | None:
    return known_or_none(lambda: conservation.conservation(campaign_id=campaign.pk))


def _numbers_unknown() -> str:
    return gettext("The sale's server does not answer: how many are left and in flight is not known.")


def _pause_consequence(campaign: Campaign) -> str:
    equation = _equation(campaign)
    if equation is None:
        return _numbers_unknown()
    return gettext(
        "Nobody can reserve until you resume. %(left)d left; %(reserved)d in flight will still be decided; "
        "%(unpaid)d unpaid can still be paid."
    ) % {"left": equation.left, "reserved": equation.reserved, "unpaid": equation.unpaid}


def _resume_consequence(campaign: Campaign) -> str:
    equation = _equation(campaign)
    if equation is None:
        return _numbers_unknown()
    return ngettext(
        "Shoppers can reserve again at once. %(left)d unit is left.",
        "Shoppers can reserve again at once. %(left)d units are left.",
        equation.left,
    ) % {"left": equation.left}


def _close_consequence(campaign: Campaign) -> str:
    equation = _equation(campaign)
    if equation is None:
        return _numbers_unknown()
    return gettext(
        "The sale ends for good. %(left)d left go back to the ordinary stock of %(product)s; %(reserved)d in "
        "flight will still be decided; %(unpaid)d unpaid can still be paid, and go back if they are not."
    ) % {
        "left": equation.left,
        "product": campaign.sale.product.name,
        "reserved": equation.reserved,
        "unpaid": equation.unpaid,
    }


_MANAGES = ("seckill.change_campaign",)
# Whoever handles an incident may stop a sale without being able to prepare one.
_OPERATES = ("seckill.change_campaign", "seckill.add_campaignoperation")

OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation(
            name="publish",
            label=_("Publish"),
            done=ngettext_lazy(
                "%(count)d campaign was published.", "%(count)d campaigns were published.", "count"
            ),
            states=frozenset({CampaignState.DRAFT}),
            permissions=_MANAGES,
            form=NothingForm,
            consequence=_publish_consequence,
            run=campaigns.campaign_publish,
        ),
        Operation(
            name="pause",
            label=_("Pause"),
            done=ngettext_lazy("%(count)d campaign was paused.", "%(count)d campaigns were paused.", "count"),
            states=frozenset({CampaignState.SCHEDULED, CampaignState.LIVE}),
            permissions=_OPERATES,
            form=ReasonForm,
            consequence=_pause_consequence,
            run=campaigns.campaign_pause,
        ),
        Operation(
            name="resume",
            label=_("Resume"),
            done=ngettext_lazy(
                "%(count)d campaign was resumed.", "%(count)d campaigns were resumed.", "count"
            ),
            states=frozenset({CampaignState.PAUSED}),
            permissions=_OPERATES,
            form=NothingForm,
            consequence=_resume_consequence,
            run=campaigns.campaign_resume,
        ),
        Operation(
            name="close",
            label=_("Close for good"),
            done=ngettext_lazy("%(count)d campaign is closing.", "%(count)d campaigns are closing.", "count"),
            states=frozenset(
                {CampaignState.SCHEDULED, CampaignState.LIVE, CampaignState.PAUSED, CampaignState.ENDED}
            ),
            permissions=_OPERATES,
            form=ReasonForm,
            consequence=_close_consequence,
            run=campaigns.campaign_close,
        ),
    )
}
