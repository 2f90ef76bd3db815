"""A whole shop of its own for the kill tests, started as the demo's supervisor starts it, each process killable."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from seckill.keys import outbox_key
from shop.site.supervision.plan import DemoPlan, demo_plan
from shop.site.supervision.processes import FIRST_BACKOFF_SECONDS, ManagedProcess, ProcessSpec
from tests.chaos.faults import FOLDER_VARIABLE, GUARDS, ORDER, Evidence, Order, evidence_read, write_whole
from tests.chaos.faulty_worker import CONSUMER_READY
from tests.services.kafka import KafkaBroker
from tests.services.mariadb import MariaDBServer
from tests.services.processes import Server, ServiceFailed, free_port, short_directory, wait_until

BASE = Path(__file__).parents[2]
EMBEDDED, REAL = "embedded", "real"
READY_SECONDS = 40.0
DEATH_SECONDS = 5.0
POLL_SECONDS = 0.02
# Short, so that a trial is: what they do is the same after 2 s as after the 10 s of production.
SETTLE_AFTER_SECONDS = 2
BROKER_EXTRA = "group.min.session.timeout.ms=1000\n"
# The shop's processes as entry points that can be told where to die.
ENTRIES = {"worker": ("-m", "tests.chaos.faulty_worker"), "relay": ("-m", "tests.chaos.faulty_relay")}
SALE_PROCESS = "valkey"  # the plan calls it `sale`


class Stack:
    """kind: EMBEDDED (SQLite, the stream as source) or REAL (MariaDB, Kafka, a relay)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.folder = short_directory("chaos-")
        self.port = free_port()
        self._orders = 0
        self._servers: dict[str, Server] = {}
        self._processes: dict[str, ManagedProcess] = {}
        self._inspector: subprocess.Popen[str] | None = None
        self._client: redis.Redis | None = None

    @property
    def url(self) -> str:
        """The shop's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def sale_client(self) -> "redis.Redis":
        """A client of the sale's Valkey that repeats nothing by itself."""
        assert self._client is not None
        return self._client

    # ---- start and end

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.discard()

    def _start(self) -> None:
        plan = self._plan(self._start_servers())
        self.environment = {**self._own, **plan.environment}
        for spec in plan.servers:
            self._launch(spec, SALE_PROCESS if spec.name == "sale" else spec.name)
        self._await_ready(*self._processes)
        self._client = redis.Redis.from_url(
            plan.addresses["REDIS_URL"], retry=Retry(NoBackoff(), 0), socket_timeout=2
        )
        self._start_inspector()
        self.ask("prepare")
        self.people: dict[str, list[Any]] = self.ask("accounts")
        for spec in plan.apps:
            self._launch(self._faulty(spec), spec.name)
        self._await_ready(*(spec.name for spec in plan.apps))

    def _start_servers(self) -> dict[str, str]:
        """Start MariaDB and Kafka where this kind has them; return the variables that name them."""
        if self.kind == EMBEDDED:
            return {
                "DATABASE_URL": f"sqlite:///{self.folder / 'shop.sqlite3'}",
                "KAFKA_BOOTSTRAP_SERVERS": "",
            }
        mariadb, kafka = MariaDBServer(), KafkaBroker()
        with kafka.properties_path.open("a") as properties:
            properties.write(BROKER_EXTRA)
        self._servers = {"mariadb": mariadb, "kafka": kafka}
        for server in self._servers.values():
            server.start()
        return {"DATABASE_URL": mariadb.url, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}

    def _plan(self, servers: Mapping[str, str]) -> DemoPlan:
        self._own = {
            **servers,
            FOLDER_VARIABLE: str(self.folder),
            "SALE_SETTLE_AFTER_SECONDS": str(SETTLE_AFTER_SECONDS),
            "SALE_RATE_LIMIT": "100000",  # the clients here repeat far more often than a person
            "SILK_PERCENT": "0",
            "EXIT_WITH_PARENT": "1",  # granian's worker too, when a test run is killed
            "LOG_DIR": str(self.folder / "logs"),
        }
        return demo_plan(var_dir=self.folder, base_dir=BASE, port=self.port, environment=self._own)

    def _faulty(self, spec: ProcessSpec) -> ProcessSpec:
        """Return the spec with our entry point in place of the shop's; everything else stays."""
        environment = {**self._own, **spec.environment}
        program, *words = spec.command
        if spec.name == "web":
            return replace(
                spec,
                command=(program, *words[:-1], "tests.chaos.faulty_asgi:application"),
                environment=environment,
            )
        kept = words[2:]  # after `-m celery`, or `manage.py relay`
        return replace(spec, command=(program, *ENTRIES[spec.name], *kept), environment=environment)

    def _launch(self, spec: ProcessSpec, name: str) -> None:
        log = self.folder / f"{name}.log"
        self._processes[name] = ManagedProcess(spec, directory=BASE, log_path=log, token="chaos")
        self._processes[name].start()

    def _start_inspector(self) -> None:
        with (self.folder / "inspector.log").open("ab") as log:
            self._inspector = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.inspector"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment},
                cwd=BASE,
                text=True,
            )

    def discard(self) -> None:
        """Kill everything and remove all data."""
        if self._inspector is not None:
            self._inspector.kill()
            self._inspector.communicate()
        if self._client is not None:
            self._client.close()
        for process in reversed(self._processes.values()):
            process.end()
        for server in self._servers.values():
            server.discard()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- what the test asks

    def ask(self, command: str, **arguments: Any) -> Any:
        """Have the inspector do something and return its answer.

        :raises ServiceFailed: it failed; the message is its traceback
        """
        assert self._inspector is not None
        assert self._inspector.stdin is not None
        assert self._inspector.stdout is not None
        self._inspector.stdin.write(json.dumps([command, arguments]) + "\n")
        self._inspector.stdin.flush()
        line = self._inspector.stdout.readline()
        answer = json.loads(line) if line else {"error": (self.folder / "inspector.log").read_text()[-4000:]}
        if "error" in answer:
            raise ServiceFailed(f"inspector, {command}: {answer['error']}")
        return answer["ok"]

    def outbox(self) -> int:
        """Return how many entries wait in the outbox."""
        return int(self.sale_client.xlen(outbox_key()))

    def oracle(self, history: Path) -> "subprocess.CompletedProcess[str]":
        """Run the oracle as a program of its own."""
        return subprocess.run(
            [sys.executable, "-m", "tests.chaos.oracle", "--history", str(history)],
            env={**os.environ, **self.environment},
            cwd=BASE,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def logs(self, *, lines: int = 15) -> str:
        """Return the end of every log that is not empty."""
        paths = [*sorted(self.folder.glob("*.log")), *sorted((self.folder / "logs").glob("*.log"))]
        tails = [(path.name, path.read_text(errors="replace").splitlines()[-lines:]) for path in paths]
        return "\n".join(f"--- {name}\n" + "\n".join(tail) for name, tail in tails if tail)

    # ---- faults

    def arm(self, point: str, *, passes: int, victim: str = "") -> int:
        """Order a kill at the n-th pass of the point and return the order's number. victim: "" for the passer."""
        self._orders += 1
        order = Order(self._orders, point, passes, self._pid(victim) if victim else 0)
        write_whole(self.folder / ORDER, order.__dict__)
        return self._orders

    def disarm(self) -> None:
        """Take the order back if nobody has claimed it."""
        (self.folder / ORDER).unlink(missing_ok=True)

    def evidence(self, number: int) -> Evidence | None:
        """Return the evidence of an order that was carried out."""
        return evidence_read(self.folder, number)

    def guards_off(self, *names: str) -> None:
        """Take these guards away, and give every other one back."""
        if names:
            write_whole(self.folder / GUARDS, list(names))
        else:
            (self.folder / GUARDS).unlink(missing_ok=True)

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a process and its group; return the process id."""
        pid = self._pid(name)
        os.killpg(pid, number)
        return pid

    def dead(self, name: str) -> bool:
        """Wait for the end of a process that was killed; tell whether it came."""
        deadline = time.monotonic() + DEATH_SECONDS
        while self._alive(name):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def revive(self, name: str) -> float:
        """Start a dead process again, as the supervisor would; return the seconds until it was ready."""
        began = time.monotonic()
        if name in self._servers:
            self._servers[name].start()
            return time.monotonic() - began
        process = self._processes[name]
        process.end()
        time.sleep(FIRST_BACKOFF_SECONDS)
        process.start()
        self._await_ready(name)
        return time.monotonic() - began

    def whole(self) -> None:
        """Wait until every process runs, the sale's server is trusted and the consumer has its partitions.

        :raises ServiceFailed: something has died that nobody killed
        """
        for name in (*self._servers, *self._processes):
            if not self._alive(name):
                raise ServiceFailed(f"{name} has died\n{self.logs()}")
        worker = self._processes["worker"]
        self._await("the consumer", lambda: self._word(CONSUMER_READY) == str(worker.pid))
        self._await("an empty outbox", lambda: self.outbox() == 0)

    def _word(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def _pid(self, name: str) -> int:
        if name in self._servers:
            return self._servers[name].child.pid
        return self._processes[name].pid

    def _alive(self, name: str) -> bool:
        if name in self._servers:
            return self._servers[name].child.alive
        return self._processes[name].poll() is None

    def _await_ready(self, *names: str) -> None:
        for name in names:
            self._await(name, lambda name=name: self._ready(name))  # type: ignore[misc]

    def _ready(self, name: str) -> bool:
        process = self._processes[name]
        if (ending := process.poll()) is not None:
            raise ServiceFailed(f"{name} {ending}\n{process.log_tail()}")
        return process.probe(time.monotonic())

    def _await(self, what: str, condition: Callable[[], bool]) -> None:
        try:
            wait_until(condition, deadline_seconds=READY_SECONDS, what=what)
        except ServiceFailed as error:
            raise ServiceFailed(f"{error}\n{self.logs()}") from error
