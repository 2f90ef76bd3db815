from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.utils.translation import gettext_lazy as _


class OrdersConfig(AppConfig):
    name = "orders"
    verbose_name = _("Orders")

    def ready(self) -> None:
        """Set up each database session as it opens."""
        from orders.sessions import session_prepare

        connection_created.connect(session_prepare, dispatch_uid="orders.session_prepare")
