"""Pages of the catalogue."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from shop.catalog.art import product_art

# The drawing follows from the address alone; a week bounds how long an older drawing is seen after a release.
ART_MAX_AGE_SECONDS = 7 * 24 * 3600


@require_safe
def art(request: HttpRequest, slug: str) -> HttpResponse:
    """Return the drawn picture of a product as SVG; any slug has one, so nothing is looked up."""
    response = HttpResponse(product_art(slug), content_type="image/svg+xml")
    response["Cache-Control"] = f"public, max-age={ART_MAX_AGE_SECONDS}"
    return response
