"""The catalogue in the admin. Stock is read-only everywhere; it changes on a page of its own, with a reason."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from treebeard.admin import TreeAdmin
from treebeard.forms import movenodeform_factory

from shop.catalog.errors import InsufficientStock, StockChangeInvalid, StockMoved
from shop.catalog.forms import StockChangeForm
from shop.catalog.models import Category, Product, ProductFamily, ProductImage, StockEntry
from shop.catalog.services import stock_change

STOCK_PERMISSION = "catalog.add_stockentry"


@admin.register(Category)
class CategoryAdmin(TreeAdmin):
    """The tree of categories."""

    form = movenodeform_factory(Category)
    list_display = ("name_zh", "name_en", "slug")
    search_fields = ("name_zh", "name_en", "slug")


@admin.register(ProductFamily)
class ProductFamilyAdmin(admin.ModelAdmin):
    """Families of products."""

    list_display = ("name_zh", "name_en", "slug")
    search_fields = ("name_zh", "name_en", "slug")


class ProductImageInline(admin.TabularInline):
    """A product's pictures, on its page."""

    model = ProductImage
    extra = 0


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    """Products; new ones start with no stock."""

    list_display = ("id", "name_zh", "name_en", "category", "price", "stock", "is_active")
    list_display_links = ("id", "name_zh", "name_en")
    list_filter = ("is_active", "category")
    list_select_related = ("category",)
    list_per_page = 50
    search_fields = ("name_zh", "name_en", "slug")
    show_full_result_count = False
    raw_id_fields = ("family",)
    readonly_fields = ("stock", "created_at")
    prepopulated_fields = {"slug": ("name_en",)}
    inlines = (ProductImageInline,)

    def get_prepopulated_fields(self, request: HttpRequest, obj: Model | None = None) -> dict[str, Any]:
        """Propose the address of a new product only; that of an old one is linked from elsewhere."""
        return self.prepopulated_fields if obj is None and self.has_add_permission(request) else {}

    def get_urls(self) -> list[URLPattern]:
        """Add the page that changes stock."""
        view = self.admin_site.admin_view(self.change_stock_view)
        return [
            path("<int:product_id>/change-stock/", view, name="catalog_product_change_stock"),
            *super().get_urls(),
        ]

    def change_stock_view(self, request: HttpRequest, product_id: int) -> HttpResponse:
        """Show the form, or carry out the change if the stock is still what the form showed."""
        product = self.get_object(request, str(product_id))
        if product is None:
            raise Http404
        if not request.user.has_perm(STOCK_PERMISSION) or not self.has_view_permission(request, product):
            raise PermissionDenied
        if request.method != "POST":
            return self._stock_page(
                request, product, StockChangeForm(initial={"expected_stock": product.stock})
            )
        form = StockChangeForm(request.POST)
        entry, status = self._stock_changed(request, product, form)
        if entry is None:
            return self._stock_page(request, product, form, status=status)
        note = _("Stock %(before)d → %(after)d") % {"before": entry.stock_before, "after": entry.stock_after}
        self.log_change(request, product, note)
        self.message_user(request, note, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:catalog_product_change", args=(quote(product.pk),)))

    def _stock_changed(
        self, request: HttpRequest, product: Product, form: StockChangeForm
    ) -> tuple[StockEntry | None, int]:
        """Return the ledger row, or None with the status of a refusal that now stands on the form."""
        if not form.is_valid():
            return None, 422
        assert isinstance(request.user, AbstractBaseUser)
        try:
            entry = stock_change(
                product_id=product.pk, actor=request.user, now=timezone.now(), **form.cleaned_data
            )
        except StockMoved as error:
            product.refresh_from_db(fields=["stock"])
            form.expect(product)
            form.add_error(
                None,
                _(
                    "Nothing was changed: the stock was %(expected)d when the form opened and is %(stock)d now. "
                    "Press again to apply the change to %(stock)d."
                )
                % error.extra,
            )
            return None, error.status
        except (InsufficientStock, StockChangeInvalid) as error:
            form.add_error("delta", str(error.message))
            return None, error.status
        return entry, 302

    def _stock_page(
        self, request: HttpRequest, product: Product, form: StockChangeForm, *, status: int = 200
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Change stock"),
            "subtitle": str(product),
            "opts": self.opts,
            "original": product,
            "form": form,
            "entries": product.stock_entries.select_related("actor")[:10],
        }
        return TemplateResponse(request, "admin/catalog/product/change_stock.html", context, status=status)


@admin.register(StockEntry)
class StockEntryAdmin(admin.ModelAdmin):
    """The ledger: read by those who may, written by nobody here."""

    list_display = (
        "created_at", "product", "delta", "stock_before", "stock_after", "reason", "reference", "actor",
    )  # fmt: skip
    list_filter = ("reason", "created_at")
    list_select_related = ("product", "actor")
    search_fields = ("product__slug", "product__name_zh", "product__name_en", "reference")
    search_help_text = gettext_lazy("Product or reference")
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: entries come from changes of stock alone."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: the ledger is immutable."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: the ledger is immutable."""
        return False
