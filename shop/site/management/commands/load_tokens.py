"""Mint access tokens of load accounts into a file, one a line, for wrk and other load generators."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from seckill.models import Campaign
from shop.site.load_accounts import LARGEST_COUNT, access_tokens, load_accounts_allowed, load_accounts_ensure


class Command(BaseCommand):
    help = "Mint access tokens of load accounts for a published campaign, one a line; makes missing accounts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.add_argument(
            "--campaign", type=int, required=True, help="the campaign's id; it must be published"
        )
        parser.add_argument(
            "--count", type=int, required=True, help=f"how many tokens, at most {LARGEST_COUNT}"
        )
        parser.add_argument(
            "--out", type=Path, required=True, help="the file to write, readable by its owner alone"
        )
        parser.add_argument("--ttl-seconds", type=int, default=3600, help="validity of each token (3600)")
        parser.add_argument(
            "--allow-outside-demo", action="store_true", help="make load accounts where demo data is off too"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Check everything first, then make accounts and write the tokens."""
        if not load_accounts_allowed(outside_demo=options["allow_outside_demo"]):
            raise CommandError(
                "Demo data is off here. --allow-outside-demo makes load accounts all the same."
            )
        if not 1 <= options["count"] <= LARGEST_COUNT:
            raise CommandError(f"--count must be between 1 and {LARGEST_COUNT}.")
        if options["ttl_seconds"] < 1:
            raise CommandError("--ttl-seconds must be at least 1.")
        _require_published(options["campaign"])
        user_ids = load_accounts_ensure(options["count"])
        tokens = access_tokens(user_ids=user_ids, ttl_seconds=options["ttl_seconds"], now=timezone.now())
        _write_private(options["out"], "".join(f"{token}\n" for token in tokens))
        self.stdout.write(f"{len(tokens)} tokens in {options['out']}, valid for {options['ttl_seconds']} s")


def _require_published(campaign_id: int) -> None:
    published_at = Campaign.objects.filter(pk=campaign_id).values_list("published_at", flat=True)
    if not published_at:
        raise CommandError(f"There is no campaign {campaign_id}.")
    if published_at[0] is None:
        raise CommandError(f"Campaign {campaign_id} is a draft; publish it first.")


def _write_private(path: Path, text: str) -> None:
    """Write the file with mode 0600, whatever mode an earlier file of that name had."""
    try:
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {error.strerror}") from error
