"""Fills an empty catalogue for the demo, in a few statements, with every unit of stock in the ledger."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from itertools import product as combinations

from django.db import transaction
from django.utils.text import slugify

from shop.catalog.demo_data import CATEGORIES, COLOURS, MODELS, Model, Named
from shop.catalog.models import Category, Product, ProductFamily, StockEntry, StockReason

INITIAL_STOCK_REFERENCE = "demo-initial"


def demo_catalogue_create(*, now: datetime) -> int:
    """Make what is missing of the demo's categories, families and products, each with its initial stock.

    now: aware, the time of the ledger rows. Returns how many products were made; a second call makes none
    and touches no stock.
    """
    slugs = [row[0] for model in MODELS for row in _variants(model)]
    if Product.objects.filter(slug__in=slugs).count() == len(slugs):
        return 0
    with transaction.atomic():
        categories = _categories()
        families = _families()
        known = set(Product.objects.filter(slug__in=slugs).values_list("slug", flat=True))
        missing = [
            product
            for model in MODELS
            for product in _products(model, categories[model.category], families.get(model.slug))
            if product.slug not in known
        ]
        Product.objects.bulk_create(missing, batch_size=200)
        # Asked again by slug: not every database returns the ids of a bulk insert.
        made = Product.objects.filter(slug__in=[product.slug for product in missing])
        StockEntry.objects.bulk_create([_initial_entry(product, now) for product in made if product.stock])
    return len(missing)


def _categories() -> dict[str, Category]:
    """Return all demo categories by slug, made where missing."""
    found = {category.slug: category for category in Category.objects.all()}
    for top, children in CATEGORIES:
        if top[0] not in found:
            found[top[0]] = Category.objects.add_root(_names(top))
        for child in children:
            if child[0] not in found:
                found[child[0]] = Category.objects.add_child(found[top[0]], _names(child))
    return found


def _names(named: Named) -> dict[str, str]:
    slug, name_zh, name_en = named
    return {"slug": slug, "name_zh": name_zh, "name_en": name_en}


def _families() -> dict[str, ProductFamily]:
    """Return the families by slug, made where missing: one for each model with options."""
    models = [model for model in MODELS if model.sizes or model.colours]
    slugs = [model.slug for model in models]
    known = set(ProductFamily.objects.filter(slug__in=slugs).values_list("slug", flat=True))
    ProductFamily.objects.bulk_create(
        ProductFamily(slug=model.slug, name_zh=model.zh, name_en=model.en)
        for model in models
        if model.slug not in known
    )
    return {family.slug: family for family in ProductFamily.objects.filter(slug__in=slugs)}


def _variants(model: Model) -> Iterator[tuple[str, str, str]]:
    """Yield slug, size and colour code of each product of a model; "" where the model has no such option."""
    for size, colour in combinations(model.sizes or ("",), model.colours or ("",)):
        yield (
            "-".join(part for part in (model.slug, slugify(size.replace(".", "-")), colour) if part),
            size,
            colour,
        )


def _products(model: Model, category: Category, family: ProductFamily | None) -> Iterator[Product]:
    for slug, size, colour in _variants(model):
        colour_zh, colour_en = COLOURS[colour] if colour else ("", "")
        options = {model.axis: size} if size else {}
        yield Product(
            slug=slug,
            name_zh=" ".join(part for part in (model.zh, size, colour_zh) if part),
            name_en=", ".join(part for part in (model.en, size, colour_en) if part),
            description_zh=f"{model.zh}，{category.name_zh}精选。",
            description_en=f"{model.en}, chosen for our {category.name_en.lower()} shelf.",
            category=category,
            family=family,
            options={**options, "colour": colour} if colour else options,
            price=Decimal(model.price) + Decimal(model.step) * (model.sizes.index(size) if size else 0),
            stock=_initial_stock(slug),
        )


def _initial_stock(slug: str) -> int:
    """Return 0 for a few, a low number for a few, else 20 to 199 units: every state of a product page is there."""
    number = sum(ordinal * byte for ordinal, byte in enumerate(slug.encode(), start=1))
    if number % 29 == 0:
        return 0
    return 1 + number % 5 if number % 17 == 0 else 20 + number % 180


def _initial_entry(product: Product, now: datetime) -> StockEntry:
    return StockEntry(
        product=product,
        delta=product.stock,
        reason=StockReason.RECEIVED,
        reference=INITIAL_STOCK_REFERENCE,
        stock_before=0,
        stock_after=product.stock,
        created_at=now,
    )
