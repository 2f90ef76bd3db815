"""Fill the shop: roles anywhere, demo users, products and campaigns where demo data is on."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from shop.site.seed import roles_ensure, seed_campaigns, seed_demo


class Command(BaseCommand):
    help = "Make roles, demo users, products and campaigns that are missing; may run again at any time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.add_argument(
            "--roles-only", action="store_true", help="only the staff roles; allowed in production"
        )
        parser.add_argument(
            "--no-campaigns",
            action="store_true",
            help="leave campaigns out: they need the sale's Valkey running",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Seed what was asked for and print how many rows were made."""
        if options["roles_only"]:
            self.stdout.write(f"Roles made: {roles_ensure()}")
            return
        now = timezone.now()
        try:
            counts = seed_demo(now=now)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        campaigns = [] if options["no_campaigns"] else seed_campaigns(now=now)
        self.stdout.write(
            f"Made: {counts.roles} roles, {counts.users} users, {counts.products} products, "
            f"{len(campaigns)} campaigns"
        )
        for campaign in campaigns:
            self.stdout.write(
                f"  campaign {campaign.pk}: {campaign.name_en}, starts {campaign.starts_at:%H:%M:%S} UTC"
            )
