"""Runs the relay until it is told to stop."""

import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from seckill.relay import Relay
from seckill.store import sale_store
from shop.resilience.parent import exit_with_parent


class Command(BaseCommand):
    help = "Move admitted reservations from the outbox to Kafka."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.KAFKA_BOOTSTRAP_SERVERS:
            raise CommandError(
                "KAFKA_BOOTSTRAP_SERVERS is not set: without Kafka there is nothing to relay to."
            )
        if settings.EXIT_WITH_PARENT:
            exit_with_parent()
        relay = Relay(sale_store())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: relay.terminate())
        self.stdout.write("relay ready")
        relay.run()
