"""`manage.py status`: processes, lag and the equation of every campaign; exit code 1 when something is unwell."""

import json
import sys
import time
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from shop.site.demo_state import read_demo_state
from shop.site.status import Status, status_read
from shop.site.supervision.screen import Screen
from shop.site.supervision.status_screen import status_show


class Command(BaseCommand):
    """Show how the shop is."""

    help = "Show processes, lag and the equation of every campaign; exit code 1 when something is unwell."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Offer the form for programs."""
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")

    def handle(self, *, json: bool, no_color: bool, **_options: Any) -> None:
        """Print the status and end with 1 when something is unwell."""
        status = status_read(demo=read_demo_state(Path(settings.VAR_DIR)), now=time.time())
        if json:
            self.stdout.write(status_json(status))
        else:
            status_show(Screen(colour=False if no_color else None), status)
        if status.problems:
            sys.exit(1)


def status_json(status: Status) -> str:
    """Return the status for programs."""
    return json.dumps({"well": not status.problems, **asdict(status)}, ensure_ascii=False)
