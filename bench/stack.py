"""The shop for benchmarks: the demo's own plan with an empty database, in a folder that is removed at the end.

The sale's Valkey has a TCP port beside its socket, and everything that is compared uses that port: the shop, the
peers, the relay. Between two turns the last turn's reservations are taken out and the append-only file is
rewritten, so every turn starts from the same small state and no rewrite falls into one.
"""

import dataclasses
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import redis

from bench.client import load_run
from bench.servers import BUILT, ROOT, GranianServer, SpecServer
from bench.turns import Say
from shop.settings.sockets import SALE, socket_folder, socket_path
from shop.site.supervision.plan import DemoPlan, demo_plan, valkey_spec
from shop.site.supervision.processes import ProcessSpec
from tests.load.shop_api import reservations_path
from tests.services.processes import ServiceFailed, free_port, wait_until

ACCOUNTS = 20_000
TOKEN_TTL_SECONDS = 6 * 3600
ALLOTMENT = 5_000_000
LIMIT_PER_USER = 20
# Above what a turn can accept, since no worker drains the outbox; below what would change the script's work.
OPEN_MAX = 10_000_000
# Ten times the shipped limit: wrk asks for each of 20,000 accounts again after a second or two.
RATE_LIMIT = 200
SETTLE_SECONDS = 10
PRICE = Decimal("9.90")
PEER_KEYS = ("{1}b", "{1}o")  # users and outbox of the Go peers
# The environment of whoever runs the benchmark must not lead to his own servers or database.
NOT_INHERITED = (
    "KAFKA_BOOTSTRAP_SERVERS",
    "CACHE_URL",
    "SESSION_REDIS_URL",
    "CELERY_BROKER_URL",
    "SALE_REPLICA_ACKS",
)


class SaleStack:
    """Valkey for the sale, Valkey for the rest, and the web process; accounts and their tokens.

    One a process: it decides Django's settings. Use it as a context manager.
    """

    def __init__(self, *, say: Say) -> None:
        self._say = say
        self._closing = ExitStack()
        self.sale_port = free_port()

    def __enter__(self) -> Self:
        BUILT.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=BUILT))
        self._closing.callback(shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.close()

    def _start(self) -> None:
        for name in NOT_INHERITED:
            os.environ.pop(name, None)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "shop.settings.development",
            "SHOP_VAR_DIR": str(self.folder),
            "DATABASE_URL": f"sqlite:///{self.folder / 'shop.sqlite3'}",
            "REDIS_URL": f"redis://127.0.0.1:{self.sale_port}/0",
            "SALE_OPEN_MAX": str(OPEN_MAX),
            "SALE_RATE_LIMIT": str(RATE_LIMIT),
        }
        self._say("starting Valkey and the shop")
        self.plan = self._plan()
        self.sale = self._closing.enter_context(
            SpecServer(self._sale_spec(), directory=self.folder / "sale-run")
        )
        for spec in self.plan.servers:
            self._closing.enter_context(SpecServer(spec))
        self.client: Any = redis.Redis(unix_socket_path=str(socket_path(self.folder, SALE)))
        self._closing.callback(self.client.close)
        self._database_fill()
        self.web = self._closing.enter_context(self.web_server())
        self._say("warming up: every token once")
        self._tokens_warm()

    def _plan(self) -> DemoPlan:
        plan = demo_plan(var_dir=self.folder, base_dir=ROOT, port=free_port(), environment=os.environ)
        if socket_folder(self.folder) != self.folder:
            self._closing.callback(shutil.rmtree, socket_folder(self.folder), ignore_errors=True)
        (self.folder / "sale-run").mkdir()
        return plan

    def _sale_spec(self) -> ProcessSpec:
        spec = valkey_spec(SALE, var_dir=self.folder, base_dir=ROOT)
        # Rewrites of the append-only file are this benchmark's to start, between two turns.
        words = ("--port", str(self.sale_port), "--bind", "127.0.0.1", "--auto-aof-rewrite-percentage", "0")
        return dataclasses.replace(spec, command=(*spec.command, *words))

    def _database_fill(self) -> None:
        import django

        django.setup()
        from django.core.management import call_command
        from django.utils import timezone

        from shop.site.load_accounts import access_tokens, load_accounts_ensure

        self._say(f"making a database and {ACCOUNTS:,} accounts with tokens")
        call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
        self.user_ids = load_accounts_ensure(ACCOUNTS)
        self.tokens = access_tokens(user_ids=self.user_ids, ttl_seconds=TOKEN_TTL_SECONDS, now=timezone.now())
        self.tokens_path = self.lines_file("tokens", self.tokens)

    def lines_file(self, name: str, lines: Iterable[str]) -> Path:
        """Write lines to a file of the folder, for the load generator, and return its path."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")
        return path

    def tokens_unseen(self, each: int) -> Path:
        """Write new tokens, `each` for every account, that no process has verified yet; return the file."""
        from django.utils import timezone

        from shop.site.load_accounts import access_tokens

        lines: list[str] = []
        for _ in range(each):
            lines += access_tokens(user_ids=self.user_ids, ttl_seconds=TOKEN_TTL_SECONDS, now=timezone.now())
        return self.lines_file("tokens-unseen", lines)

    def _tokens_warm(self) -> None:
        """Have the web process see every token once, as it has in a sale after the first page or poll."""
        path, seconds = reservations_path(self.campaign_fresh()), 2
        while True:
            result = load_run(
                url=self.web.url, path=path, seconds=seconds, connections=64, tokens=self.tokens_path
            )
            if result.requests >= ACCOUNTS:
                return
            seconds = math.ceil(ACCOUNTS / result.requests * seconds) + 2

    def web_server(self, environment: Mapping[str, str] | None = None) -> GranianServer:
        """Make the shop's web process (not started); environment: what differs from the plan's."""
        return GranianServer(
            "shop.asgi:application",
            path="/readyz",
            environment={**self.plan.environment, **(environment or {})},
        )

    # ---- the sale between two turns

    def campaign_fresh(self, *, allotment: int = ALLOTMENT) -> int:
        """Empty the sale, then add a campaign to it and return its id."""
        self.sale_empty()
        return self.campaign_add(allotment=allotment)

    def campaign_add(self, *, allotment: int = ALLOTMENT) -> int:
        """Publish a campaign that is live at once, beside those there are, and return its id."""
        from django.utils import timezone

        from seckill.services.campaigns import campaign_create, campaign_publish
        from shop.catalog.models import StockReason
        from shop.catalog.services import stock_change

        now = timezone.now()
        product_id = self._product_id()
        stock_change(
            product_id=product_id, delta=allotment, reason=StockReason.RECEIVED, note="benchmark", now=now
        )
        campaign = campaign_create(
            product_id=product_id,
            name_zh="性能测试",
            name_en="Benchmark",
            starts_at=now,
            ends_at=now + timedelta(seconds=TOKEN_TTL_SECONDS),
            price=PRICE,
            limit_per_user=LIMIT_PER_USER,
            allotment=allotment,
        )
        campaign_publish(campaign_id=campaign.pk, now=timezone.now())
        return int(campaign.pk)

    def sale_empty(self) -> None:
        """Take every campaign, the outbox and the peers' orders out of Valkey, and rewrite its file.

        The database's side is closed with them, so that both still agree.
        """
        from orders.models import Sale, SalePhase
        from seckill import keys

        for campaign_id in Sale.objects.exclude(phase=SalePhase.CLOSED).values_list("pk", flat=True):
            # DEL, not UNLINK: what a background thread frees later would count as the next turn's work.
            self.client.delete(keys.campaign_key(campaign_id), keys.users_key(campaign_id))
        Sale.objects.update(phase=SalePhase.CLOSED)
        self.client.delete(keys.outbox_key(), *PEER_KEYS)
        if self.client.exists(keys.shard_key()):
            self.client.hset(keys.shard_key(), "open", "0")
        self._file_rewrite()

    def _file_rewrite(self) -> None:
        self.client.bgrewriteaof()

        def is_done() -> bool:
            found = self.client.info("persistence")
            return not (found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"])

        wait_until(is_done, deadline_seconds=SETTLE_SECONDS, what="rewriting the append-only file")

    @staticmethod
    def _product_id() -> int:
        from shop.catalog.models import Category, Product

        found = Product.objects.filter(slug="benchmark").first()
        if found is None:
            names = {"name_zh": "性能测试", "name_en": "Benchmark", "slug": "benchmark"}
            category = Category.objects.add_root(names)
            found = Product.objects.create(**names, category=category, price=PRICE)
        return int(found.pk)

    def durability(self, appendfsync: str) -> None:
        """Have Valkey sync its file as told: always or everysec.

        :raises ServiceFailed: it does not
        """
        self.client.config_set("appendfsync", appendfsync)
        found = self.client.config_get("appendfsync")["appendfsync"]
        if found != appendfsync:
            raise ServiceFailed(f"Valkey's appendfsync is {found}, not {appendfsync}")

    def sale_start_again(self) -> None:
        """Start the stopped Valkey on its data and have it compared with the database, as the shop does.

        :raises ServiceFailed: the two differ
        """
        from django.utils import timezone

        from seckill.services.reconciliation import server_verify
        from seckill.store import unverified_store

        self.sale.start()
        findings = server_verify(store=unverified_store(), now=timezone.now())
        if findings:
            raise ServiceFailed(f"after its restart Valkey differs from the database: {findings}")
