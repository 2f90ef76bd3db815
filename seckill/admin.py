"""The admin of flash sales: drafts are edited, published campaigns are only operated, every act by a service."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from seckill import selectors
from seckill.admin_operations import OPERATIONS, Operation
from seckill.forms import CampaignForm
from seckill.models import Campaign, CampaignOperation, CampaignState
from seckill.services.campaigns import campaign_create, campaign_update
from shop.resilience.errors import ShopError

SHOWN = [
    "state_shown",
    "name_zh",
    "name_en",
    "product_shown",
    "window_shown",
    "price_shown",
    "limit_shown",
    "left_shown",
    "sold_shown",
    "allotment_shown",
    "handed_back_shown",
    "paused_reason",
    "published_at",
]


def _operation_action(operation: Operation) -> Callable[..., HttpResponse | None]:
    """Return the change list's action that runs an operation on the chosen campaigns, after a confirmation."""

    @admin.action(description=operation.label)
    def action(
        modeladmin: "CampaignAdmin", request: HttpRequest, queryset: QuerySet[Campaign]
    ) -> HttpResponse | None:
        return modeladmin.operate_on(
            request, OPERATIONS[operation.name], list(queryset.select_related("sale__product"))
        )

    action.__name__ = f"{operation.name}_selected"
    return action


@admin.register(Campaign)
class CampaignAdmin(admin.ModelAdmin):
    """Counters are read-only: units move by the sale's own rules and by the operations alone."""

    form = CampaignForm
    fields = ["name_zh", "name_en", "product", "starts_at", "ends_at", "price", "limit_per_user", "allotment"]
    list_display = [
        "name_shown",
        "state_shown",
        "left_shown",
        "sold_shown",
        "allotment_shown",
        "window_shown",
    ]
    list_select_related = ["sale__product"]
    list_per_page = 50
    search_fields = ["name_zh", "name_en", "=sale__id"]
    ordering = ["-starts_at"]
    actions = [_operation_action(operation) for operation in OPERATIONS.values()]
    actions_on_top = True
    change_form_template = "admin/seckill/campaign/change_form.html"

    # ---- what is shown ----

    @admin.display(description=_("name"), ordering="name_zh")
    def name_shown(self, campaign: Campaign) -> str:
        return campaign.name

    @admin.display(description=_("state"))
    def state_shown(self, campaign: Campaign) -> str:
        return str(campaign.state(timezone.now()).label)

    @admin.display(description=_("product"))
    def product_shown(self, campaign: Campaign) -> str:
        product = campaign.sale.product
        url = reverse("admin:catalog_product_change", args=[product.pk])
        return format_html('<a href="{}">{}</a>', url, product.name)

    @admin.display(description=_("window"), ordering="starts_at")
    def window_shown(self, campaign: Campaign) -> str:
        starts, ends = timezone.localtime(campaign.starts_at), timezone.localtime(campaign.ends_at)
        return f"{starts:%Y-%m-%d %H:%M:%S} – {ends:%Y-%m-%d %H:%M:%S}"

    @admin.display(description=_("campaign price"))
    def price_shown(self, campaign: Campaign) -> str:
        return f"{campaign.sale.price} {campaign.sale.currency}"

    @admin.display(description=_("limit per user"))
    def limit_shown(self, campaign: Campaign) -> int:
        return campaign.sale.limit_per_user

    @admin.display(description=_("left"), empty_value="?")
    def left_shown(self, campaign: Campaign) -> int | None:
        if campaign.state(timezone.now()) is CampaignState.DRAFT:
            return 0
        return selectors.campaign_live(campaign_id=campaign.pk, now=timezone.now()).left

    @admin.display(description=_("sold"), ordering="sale__sold")
    def sold_shown(self, campaign: Campaign) -> int:
        return campaign.sale.sold

    @admin.display(description=_("allotment"), ordering="sale__allotment")
    def allotment_shown(self, campaign: Campaign) -> int:
        return campaign.sale.allotment

    @admin.display(description=_("handed back"))
    def handed_back_shown(self, campaign: Campaign) -> int:
        return campaign.sale.handed_back

    # ---- what may be done ----

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the operations that this person may do; others are absent."""
        offered = super().get_actions(request)
        for operation in OPERATIONS.values():
            if not operation.permitted(request.user):
                offered.pop(f"{operation.name}_selected", None)
        return offered

    def has_change_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        """Refuse to edit what is published; operations ask for the permission themselves."""
        return super().has_change_permission(request, obj) and (obj is None or obj.published_at is None)

    def has_view_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        """Let whoever may operate see what is operated on."""
        operates = any(operation.permitted(request.user) for operation in OPERATIONS.values())
        return operates or super().has_view_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        """Refuse: orders and the ledger point at a campaign for ever."""
        return False

    def get_fields(self, request: HttpRequest, obj: Campaign | None = None) -> list[Any]:
        """Return the form of a draft, or what is shown of a campaign that is not to be edited."""
        if obj is not None and not self.has_change_permission(request, obj):
            return SHOWN
        return list(self.fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Campaign | None = None) -> list[str]:
        return SHOWN if self.get_fields(request, obj) is SHOWN else []

    # ---- drafts ----

    def save_model(self, request: HttpRequest, obj: Campaign, form: CampaignForm, change: bool) -> None:
        """Create or change the draft by its service, and take over what that made."""
        facts = {
            "product_id": form.cleaned_data["product"].pk,
            "name_zh": obj.name_zh,
            "name_en": obj.name_en,
            "starts_at": obj.starts_at,
            "ends_at": obj.ends_at,
            "price": form.cleaned_data["price"],
            "limit_per_user": form.cleaned_data["limit_per_user"],
            "allotment": form.cleaned_data["allotment"],
        }
        saved = campaign_update(campaign_id=obj.pk, **facts) if change else campaign_create(**facts)
        obj.__dict__.update(saved.__dict__)

    # ---- operations ----

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<path:object_id>/<str:name>/confirm/",
            self.admin_site.admin_view(self.operation_view),
            name="seckill_campaign_operation",
        )
        return [own, *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer the operations that this person may do to the campaign in its state; others are absent."""
        campaign = context.get("original")
        if campaign is not None:
            now = timezone.now()
            context["operations"] = [
                row
                for row in OPERATIONS.values()
                if row.permitted(request.user) and row.allowed(campaign, now)
            ]
        return super().render_change_form(request, context, *args, **kwargs)

    def operation_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Show what an operation would do to one campaign; do it on POST."""
        campaign = self.get_object(request, object_id)
        operation = OPERATIONS.get(name)
        if campaign is None or operation is None:
            raise Http404
        back = HttpResponseRedirect(reverse("admin:seckill_campaign_change", args=[campaign.pk]))
        return self.operate_on(request, operation, [campaign], back=back) or back

    def operate_on(
        self,
        request: HttpRequest,
        operation: Operation,
        campaigns: list[Campaign],
        back: HttpResponse | None = None,
    ) -> HttpResponse | None:
        """Ask for confirmation, or carry out the confirmed operation on each campaign that allows it."""
        if not operation.permitted(request.user):
            raise PermissionDenied
        now = timezone.now()
        allowed = [row for row in campaigns if operation.allowed(row, now)]
        if len(allowed) < len(campaigns):
            self._say_not_allowed(request, [row for row in campaigns if row not in allowed])
        if not allowed:
            return None
        confirmed = request.method == "POST" and "confirmed" in request.POST
        form = operation.form(request.POST if confirmed else None)
        if not confirmed or not form.is_valid():
            return self._confirmation(request, operation, allowed, form, from_list=back is None)
        done = sum(self._operate(request, operation, campaign, form) for campaign in allowed)
        if done:
            self.message_user(request, operation.done % {"count": done}, messages.SUCCESS)
        return None

    def _operate(
        self, request: HttpRequest, operation: Operation, campaign: Campaign, form: forms.Form
    ) -> bool:
        """Carry out one operation and write the audit log; tell a refusal and go on with the others."""
        try:
            operation.apply(campaign=campaign, form=form, actor=request.user, now=timezone.now())
        except ShopError as error:
            self.message_user(request, f"{campaign.name}: {error.message}", messages.ERROR)
            return False
        words = [str(operation.label), *form.cleaned_data.values()]
        self.log_change(request, campaign, ": ".join(words))
        return True

    def _say_not_allowed(self, request: HttpRequest, campaigns: list[Campaign]) -> None:
        names = ", ".join(f"{row.name} ({row.state(timezone.now()).label})" for row in campaigns)
        text = gettext("Not in a state for this: %(names)s.") % {"names": names}
        self.message_user(request, text, messages.WARNING)

    def _confirmation(
        self,
        request: HttpRequest,
        operation: Operation,
        campaigns: list[Campaign],
        form: forms.Form,
        *,
        from_list: bool,
    ) -> HttpResponse:
        """Render the page that states the consequence in numbers."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": operation.label,
            "operation": operation,
            "rows": [{"campaign": row, "consequence": operation.consequence(row)} for row in campaigns],
            "form": form,
            "from_list": from_list,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/seckill/campaign/operation.html", context)


@admin.register(CampaignOperation)
class CampaignOperationAdmin(admin.ModelAdmin):
    """What staff did to campaigns; read only."""

    list_display = ["campaign", "number", "kind", "reason", "actor", "created_at", "done_at"]
    list_filter = ["kind"]
    list_select_related = ["campaign", "actor"]
    search_fields = ["=campaign__sale__id", "reason"]
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: CampaignOperation | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: CampaignOperation | None = None) -> bool:
        return False
