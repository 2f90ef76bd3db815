from django.apps import AppConfig


class ObservabilityConfig(AppConfig):
    name = "shop.observability"
    label = "observability"

    def ready(self) -> None:
        """Register what this process exports."""
        from shop.observability.metrics import metrics_register

        metrics_register()
