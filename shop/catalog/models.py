"""Categories, products and the immutable ledger of their stock."""

from typing import Any, NoReturn

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from treebeard.mp_tree import MP_Node


class Bilingual(models.Model):
    """A thing with a name in each of the shop's languages."""

    name_zh = models.CharField(_("name (Chinese)"), max_length=120)
    name_en = models.CharField(_("name (English)"), max_length=120)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The name in the active language."""
        return self.name_en if (get_language() or "").startswith("en") else self.name_zh


class Category(Bilingual, MP_Node):  # type: ignore[django-manager-missing]  # treebeard has no types
    slug = models.SlugField(max_length=80, unique=True)

    class Meta:
        verbose_name = _("category")
        verbose_name_plural = _("categories")


class ProductFamily(Bilingual):
    """Products that differ in size or colour and share one page."""

    slug = models.SlugField(max_length=80, unique=True)

    class Meta:
        verbose_name = _("product family")
        verbose_name_plural = _("product families")


class Product(Bilingual):
    """What is bought: one size and colour has its own stock and price."""

    slug = models.SlugField(max_length=80, unique=True)
    category = models.ForeignKey(
        Category, on_delete=models.PROTECT, related_name="products", verbose_name=_("category")
    )
    family = models.ForeignKey(
        ProductFamily,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="products",
        verbose_name=_("family"),
    )
    options = models.JSONField(
        _("options"), default=dict, blank=True, help_text=_('such as {"size": "M", "colour": "red"}')
    )
    description_zh = models.TextField(_("description (Chinese)"), blank=True)
    description_en = models.TextField(_("description (English)"), blank=True)
    price = models.DecimalField(
        _("price"), max_digits=10, decimal_places=2, validators=[MinValueValidator(0)]
    )
    currency = models.CharField(_("currency"), max_length=3, default="CNY")
    stock = models.IntegerField(_("stock"), default=0, editable=False)
    low_stock = models.PositiveIntegerField(_("low-stock threshold"), default=5)
    limit_per_order = models.PositiveIntegerField(_("limit per order"), default=10)
    is_active = models.BooleanField(_("for sale"), default=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("product")
        verbose_name_plural = _("products")
        ordering = ["id"]
        indexes = [
            models.Index(fields=["category", "is_active", "price"]),
            models.Index(fields=["is_active", "-created_at"]),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(stock__gte=0), name="product_stock_not_negative"),
            models.CheckConstraint(condition=models.Q(price__gte=0), name="product_price_not_negative"),
        ]

    @property
    def description(self) -> str:
        """The description in the active language."""
        return self.description_en if (get_language() or "").startswith("en") else self.description_zh


class ProductImage(models.Model):
    """A picture of a product; without one the drawn art is shown."""

    product = models.ForeignKey(
        Product, on_delete=models.CASCADE, related_name="images", verbose_name=_("product")
    )
    image = models.FileField(_("image"), upload_to="products/")
    alt_zh = models.CharField(_("description (Chinese)"), max_length=200, blank=True)
    alt_en = models.CharField(_("description (English)"), max_length=200, blank=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)

    class Meta:
        verbose_name = _("product image")
        verbose_name_plural = _("product images")
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return self.image.name or ""


class StockReason(models.TextChoices):
    RECEIVED = "received", _("received")
    COUNT = "count", _("stock count")
    DAMAGED = "damaged", _("damaged")
    LOST = "lost", _("lost")
    RETURN = "return", _("return")
    CAMPAIGN = "campaign", _("campaign")
    CORRECTION = "correction", _("correction")
    OTHER = "other", _("other")


class StockEntryQuerySet(models.QuerySet["StockEntry"]):
    """Entries are only added: what `save` and `delete` refuse is refused in bulk too."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("The stock ledger is immutable: add an opposite entry.")

    def delete(self) -> NoReturn:
        raise TypeError("The stock ledger is immutable: add an opposite entry.")


class StockEntry(models.Model):
    """One change of a product's stock, for ever: entries are only added, a mistake gets its opposite."""

    product = models.ForeignKey(
        Product, on_delete=models.PROTECT, related_name="stock_entries", verbose_name=_("product")
    )
    delta = models.IntegerField(_("change"))
    reason = models.CharField(_("reason"), max_length=12, choices=StockReason.choices)
    note = models.CharField(_("note"), max_length=200, blank=True)
    reference = models.CharField(_("reference"), max_length=64, blank=True)
    stock_before = models.PositiveIntegerField(_("stock before"))
    stock_after = models.PositiveIntegerField(_("stock after"))
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, verbose_name=_("who")
    )
    created_at = models.DateTimeField(_("when"), default=timezone.now, editable=False)

    objects = StockEntryQuerySet.as_manager()

    class Meta:
        verbose_name = _("stock entry")
        verbose_name_plural = _("stock ledger")
        ordering = ["-id"]
        indexes = [models.Index(fields=["product", "-id"]), models.Index(fields=["reference"])]
        constraints = [
            models.CheckConstraint(condition=~models.Q(delta=0), name="stock_entry_changes_something"),
            models.CheckConstraint(
                condition=models.Q(stock_after=models.F("stock_before") + models.F("delta")),
                name="stock_entry_adds_up",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.delta:+d} → {self.stock_after}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("The stock ledger is immutable: add an opposite entry.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("The stock ledger is immutable: add an opposite entry.")
