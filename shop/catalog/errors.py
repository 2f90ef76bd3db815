"""Why the catalogue refuses."""

from django.utils.translation import gettext_lazy as _

from shop.resilience.errors import Conflict, Invalid, NotFound


class ProductNotFound(NotFound):
    """No product has this id."""

    code = "catalog.product_not_found"
    message = _("This product does not exist.")


class InsufficientStock(Conflict):
    """The change would take more than there is. extra: stock and delta, in units."""

    code = "catalog.insufficient_stock"
    message = _("There is not enough stock for this change.")


class StockMoved(Conflict):
    """Somebody else changed the stock since the caller looked. extra: expected and stock, in units."""

    code = "catalog.stock_moved"
    message = _("The stock has changed meanwhile.")


class StockChangeInvalid(Invalid):
    """The change itself makes no sense: nothing, too much, or no known reason."""

    code = "catalog.stock_change_invalid"
    message = _("This stock change is not acceptable.")
