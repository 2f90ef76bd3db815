from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "shop.site"
    label = "site"

    def ready(self) -> None:
        """Make the Celery application the one that tasks are sent through."""
        import shop.celery  # noqa: F401
