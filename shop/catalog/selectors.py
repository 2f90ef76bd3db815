"""Reads of the catalogue."""

from shop.catalog.models import Product


def products_home(*, limit: int = 12) -> list[Product]:
    """Return up to `limit` products for the home page: for sale, in stock, newest first, one of a family."""
    newest = (
        Product.objects.filter(is_active=True, stock__gt=0)
        .select_related("category")
        .prefetch_related("images")
        .order_by("-created_at", "-id")
    )
    chosen: list[Product] = []
    families: set[int] = set()
    # A family has at most a few dozen members, so a bounded look is enough to fill the page.
    for product in newest[: limit * 10]:
        if product.family_id is None or product.family_id not in families:
            chosen.append(product)
        if product.family_id is not None:
            families.add(product.family_id)
        if len(chosen) == limit:
            break
    return chosen


def products_by_slug(*, slugs: list[str]) -> dict[str, Product]:
    """Return the products with these slugs, by slug; unknown slugs are absent."""
    return {product.slug: product for product in Product.objects.filter(slug__in=slugs)}
