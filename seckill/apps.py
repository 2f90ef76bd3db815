from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SeckillConfig(AppConfig):
    name = "seckill"
    verbose_name = _("Flash sales")

    def ready(self) -> None:
        """Connect the receivers and fill the hooks of the apps below."""
        from django.urls import register_converter

        from orders.views import list_panels
        from seckill import receivers  # noqa: F401
        from seckill.converters import CampaignIdConverter
        from seckill.panels import open_reservations

        register_converter(CampaignIdConverter, "campaign_id")
        list_panels.append(open_reservations)
