"""`manage.py demo`: the whole shop on this machine, with demo data, in one terminal."""

import os
import resource
import time
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand
from django.db import connections
from django.utils import timezone

from shop.settings.sockets import UnsafeSocketFolder
from shop.site.supervision.keeping import DemoRuns
from shop.site.supervision.plan import DemoPlan, demo_plan
from shop.site.supervision.ports import NoFreePort, port_choose
from shop.site.supervision.screen import DIM, Screen, ready_show
from shop.site.supervision.stopping import StopRequested, StopSignals
from shop.site.supervisor import StartFailed, Supervisor

DEFAULT_PORT = 8000
# Valkey wants 10,032 for 10,000 clients, a load test as many for the web server; macOS starts with 256.
WANTED_OPEN_FILES = 65_536
# Name on the screen and path.
PAGES = (("Shop", "/"), ("Admin", "/admin/"), ("API docs", "/api/v1/docs/"))


class Command(BaseCommand):
    """Migrate, seed, start every process, supervise them until Ctrl-C."""

    help = "Run the whole shop on this machine, with demo data, until Ctrl-C."
    requires_system_checks: list[str] = []  # the first page waits for them otherwise; `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Offer the port."""
        parser.add_argument(
            "--port",
            type=int,
            default=os.environ.get("PORT") or DEFAULT_PORT,
            help="port on the loopback address (also: PORT=...); a taken one is replaced by the next free one",
        )

    def handle(self, *, port: int, no_color: bool, **_options: Any) -> None:
        """Run the demo.

        :raises CommandError: it cannot run, or something does not start
        """
        if not settings.DEMO:
            raise CommandError("The demo needs settings with DEMO on, such as shop.settings.development.")
        screen = Screen(colour=False if no_color else None)
        try:
            with StopSignals() as signals:
                Demo(screen=screen, signals=signals, wanted_port=port).run()
        except (DemoRuns, NoFreePort, StartFailed, UnsafeSocketFolder) as error:
            raise CommandError(str(error)) from error


class Demo:
    """One run.

    prepare: brings the database up to date and fills it, with the servers running; returns when the next sale starts.
    """

    def __init__(
        self,
        *,
        screen: Screen,
        signals: StopSignals,
        wanted_port: int,
        plan: Callable[..., DemoPlan] = demo_plan,
        prepare: Callable[["Demo"], datetime | None] | None = None,
    ) -> None:
        self.screen = screen
        self._signals = signals
        self._wanted_port = wanted_port
        self._plan = plan
        self._prepare = prepare or database_prepare
        self._began = time.monotonic()

    def run(self) -> None:
        """Start everything, show where to look, keep it running; on a signal stop it and return."""
        raise_open_files()
        var_dir, base_dir = Path(settings.VAR_DIR), Path(settings.BASE_DIR)
        port = port_choose(self._wanted_port)
        if port != self._wanted_port:
            self.screen.line(f"Port {self._wanted_port} is taken; using {port}.")
        plan = self._plan(var_dir=var_dir, base_dir=base_dir, port=port, environment=os.environ)
        supervisor = Supervisor(
            var_dir=var_dir,
            directory=base_dir,
            signals=self._signals,
            say=self.screen.line,
            port=port,
            servers=plan.addresses,
            sockets=plan.sockets,
        )
        try:
            with supervisor:
                self._start(supervisor, plan)
                supervisor.run()
                self.screen.line("Stopping ...")
        except StopRequested:
            pass
        self.screen.line("Stopped. The data is kept; start again with the same command.")

    def _start(self, supervisor: Supervisor, plan: DemoPlan) -> None:
        """Start servers, then fill the database, then start the application."""
        self.step("servers", lambda: supervisor.start(plan.servers))
        with self._signals.interrupting():
            next_sale = self._prepare(self)
        connections.close_all()  # this process needs the database no more
        self.step("processes", lambda: supervisor.start(plan.apps))
        zone = ZoneInfo(settings.SHOPPER_TIME_ZONE)
        ready_show(
            self.screen,
            state=supervisor.state(),
            pages=PAGES,
            next_sale=next_sale and next_sale.astimezone(zone),
            now=timezone.now().astimezone(zone),
            took_seconds=time.monotonic() - self._began,
        )

    def step(self, name: str, work: Callable[[], Any]) -> None:
        """Do one part of the start and say how long it took."""
        began = time.monotonic()
        work()
        self.screen.line(
            f"  {self.screen.mark(True)} {name}  "
            + self.screen.paint(f"{time.monotonic() - began:.1f} s", DIM)
        )


def database_prepare(demo: Demo) -> datetime | None:
    """Migrate and fill the database; done already, both are quick. Interrupted, the next start goes on."""
    from shop.site.seed import seed_campaigns, seed_demo

    demo.step("database", lambda: call_command("migrate", interactive=False, verbosity=0, skip_checks=True))
    demo.step("products and users", lambda: seed_demo(now=timezone.now()))
    demo.step("campaigns", lambda: seed_campaigns(now=timezone.now()))
    return next_sale_at(now=timezone.now())


def next_sale_at(*, now: datetime) -> datetime | None:
    """Return when the next published campaign starts."""
    from seckill.models import Campaign

    coming = Campaign.objects.filter(published_at__isnull=False, starts_at__gt=now)
    return coming.order_by("starts_at").values_list("starts_at", flat=True).first()


def raise_open_files() -> None:
    """Allow this process and its children as many open files as the system lets an ordinary user have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(WANTED_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
