"""What is measured on the sale's stack: the shop's lane, alone or with its relay, the Go peers, the empty reply."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from bench.client import load_run
from bench.servers import GoPeer, GranianServer, SpecServer
from bench.stack import SETTLE_SECONDS, SaleStack
from bench.turns import CpuClock, Turn, require, require_counted
from bench.wrk import WrkResult
from seckill import keys
from shop.site.supervision.plan import relay_spec
from shop.site.supervision.processes import ProcessSpec
from tests.load.shop_api import reservations_path
from tests.services.kafka import KafkaBroker
from tests.services.processes import wait_until

CONNECTIONS = 100
RECORD_BYTES, MEMBER_BYTES = 24, 26  # as seckill.scripts packs them
SERVER, VALKEY, RELAY, BROKER = "server", "Valkey", "relay", "broker"
RELAY_DRAIN_SECONDS = 120
QUIET_SECONDS = 0.05
UNSEEN_TOKENS_EACH = 4  # a turn that gets through them all meets some again


def _turn(result: WrkResult, clock: CpuClock) -> Turn:
    return Turn(
        count=result.accepted,
        seconds=result.seconds,
        cpu_seconds=clock.read(),
        p99_ms=result.latency_ms.get("p99", 0.0),
    )


def _all_accepted(name: str, result: WrkResult) -> None:
    require(result.accepted > 0, f"{name}: nothing was accepted")
    require(
        result.refused == 0 and result.broken == 0,
        f"{name}: {result.refused} refusals and {result.broken} broken connections among {result.requests} answers",
    )


def _quiet(read: Callable[[], int]) -> int:
    """Return a counter once it stands still: requests that were on their way have arrived."""
    before = read()
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(QUIET_SECONDS)
        now = read()
        if now == before:
            return now
        before = now
    return before


@dataclass
class Empty:
    """The empty reply of the server that the shop runs on. Its only proof is that every answer was a 202."""

    server: GranianServer
    name: str = "empty reply"
    connections: int = CONNECTIONS

    def turn(self, seconds: int) -> Turn:
        """Have it answer for some seconds."""
        clock = CpuClock({SERVER: self.server.pid})
        result = load_run(
            url=self.server.url, path="/reservations/", seconds=seconds, connections=self.connections
        )
        turn = _turn(result, clock)
        _all_accepted(self.name, result)
        return turn


@dataclass
class Lane:
    """Reservations through the shop's lane, each turn in a campaign of its own; no worker, so the outbox grows.

    durability: Valkey's appendfsync. unseen_tokens: credentials that the process has to verify, not only to find.
    """

    stack: SaleStack
    name: str = "shop"
    durability: str = "always"
    connections: int = CONNECTIONS
    unseen_tokens: bool = False

    def turn(self, seconds: int) -> Turn:
        """Accept for some seconds, then count what Valkey holds."""
        self.stack.durability(self.durability)
        campaign_id = self.stack.campaign_fresh()
        tokens = (
            self.stack.tokens_unseen(UNSEEN_TOKENS_EACH) if self.unseen_tokens else self.stack.tokens_path
        )
        clock = CpuClock({SERVER: self.stack.web.pid, VALKEY: self.stack.sale.pid})
        result = self._load(campaign_id, seconds, tokens)
        turn = _turn(result, clock)
        self.prove(campaign_id, result)
        return turn

    def _load(self, campaign_id: int, seconds: int, tokens: Path) -> WrkResult:
        return load_run(
            url=self.stack.web.url,
            path=reservations_path(campaign_id),
            seconds=seconds,
            connections=self.connections,
            tokens=tokens,
        )

    def prove(self, campaign_id: int, result: WrkResult) -> int:
        """Check the client's 202s against counters, records and outbox; return how many units are reserved.

        :raises bench.turns.ProofFailed: they differ
        """
        _all_accepted(self.name, result)
        client, campaign = self.stack.client, keys.campaign_key(campaign_id)
        admitted = _quiet(lambda: int(client.hget(campaign, "admitted") or 0))
        require_counted(
            told=result.accepted, done=admitted, in_flight_max=self.connections, what=f"{self.name}: admitted"
        )
        names = ("allotment", "left", "reserved", "confirmed")
        allotment, left, reserved, confirmed = (int(value or 0) for value in client.hmget(campaign, names))
        found = {
            "reserved + confirmed": reserved + confirmed,
            "allotment - left": allotment - left,
            "users' records": sum(map(len, client.hvals(keys.users_key(campaign_id)))) // RECORD_BYTES,
            "outbox": outbox_members(client),
        }
        require(
            set(found.values()) == {admitted}, f"{self.name}: {admitted} are admitted, but there are {found}"
        )
        return admitted


def outbox_members(client: Any) -> int:
    """Return how many reservations the outbox holds."""
    count, start = 0, "-"
    while page := client.xrange(keys.outbox_key(), min=start, count=500):
        count += sum(len(fields[b"packed"]) // MEMBER_BYTES for _, fields in page)
        start = "(" + page[-1][0].decode()
    return count


@dataclass
class LaneWithRelay(Lane):
    """The same while the relay moves the outbox to Kafka; its turn ends when the relay has moved everything."""

    broker: KafkaBroker | None = None
    topic: str = "bench-relay"
    name: str = "shop with relay"

    def turn(self, seconds: int) -> Turn:
        """Accept for some seconds, wait for the relay, then count what Valkey and Kafka hold."""
        assert self.broker is not None
        self.stack.durability(self.durability)
        campaign_id = self.stack.campaign_fresh()
        before = topic_records(self.broker, self.topic)
        with SpecServer(self._relay_spec(self.broker)) as relay:
            wait_until(
                lambda: self._group() is not None, deadline_seconds=SETTLE_SECONDS, what="the relay's group"
            )
            clock = CpuClock(
                {
                    SERVER: self.stack.web.pid,
                    VALKEY: self.stack.sale.pid,
                    RELAY: relay.pid,
                    BROKER: self.broker.child.pid,
                }
            )
            result = self._load(campaign_id, seconds, self.stack.tokens_path)
            wait_until(self._drained, deadline_seconds=RELAY_DRAIN_SECONDS, what="the relay's backlog")
            turn = _turn(result, clock)
            relay.stop()
        self.prove(campaign_id, result)
        entries = int(self.stack.client.xlen(keys.outbox_key()))
        moved = topic_records(self.broker, self.topic) - before
        require(moved == entries, f"{self.name}: {entries} entries in the outbox, {moved} records in Kafka")
        return turn

    def _relay_spec(self, broker: KafkaBroker) -> ProcessSpec:
        environment = {
            **self.stack.plan.environment,
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
            "KAFKA_ORDERS_TOPIC": self.topic,
        }
        return relay_spec(environment=environment)

    def _group(self) -> dict[str, Any] | None:
        try:
            groups = self.stack.client.xinfo_groups(keys.outbox_key())
        except redis.ResponseError:  # no stream yet
            return None
        return next((group for group in groups if group["name"] == b"relay"), None)

    def _drained(self) -> bool:
        group = self._group()
        return group is not None and group["lag"] == 0 and group["pending"] == 0


@dataclass
class Peer:
    """A Go peer on the sale's Valkey. broker: for mode classic."""

    stack: SaleStack
    server: GoPeer
    mode: str
    broker: KafkaBroker | None = None
    connections: int = CONNECTIONS

    @property
    def name(self) -> str:
        """The mode, which names it in the table."""
        return f"Go {self.mode}"

    def turn(self, seconds: int) -> Turn:
        """Accept for some seconds, then count what Valkey (and Kafka) hold."""
        self.stack.durability("always")
        self.stack.sale_empty()
        stock, orders = self._stock(), self._orders()
        pids = {SERVER: self.server.pid, VALKEY: self.stack.sale.pid}
        if self.broker is not None:
            pids[BROKER] = self.broker.child.pid
        clock = CpuClock(pids)
        result = load_run(
            url=self.server.url, path=self.server.path, seconds=seconds, connections=self.connections
        )
        turn = _turn(result, clock)
        _all_accepted(self.name, result)
        taken = stock - _quiet(self._stock)
        require_counted(
            told=result.accepted, done=taken, in_flight_max=self.connections, what=f"{self.name}: units"
        )
        ordered = self._orders() - orders
        require(ordered == taken, f"{self.name}: {taken} units taken, {ordered} orders written")
        return turn

    def _stock(self) -> int:
        if self.mode == "classic":
            return int(self.stack.client.get("product:1:stock"))
        return int(self.stack.client.hget("{1}c", "stock"))

    def _orders(self) -> int:
        if self.broker is not None:
            return topic_records(self.broker, "orders")
        return int(self.stack.client.xlen("{1}o"))


def topic_records(broker: KafkaBroker, topic: str) -> int:
    """Return how many records a topic has taken in all."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap)
    try:
        partitions = consumer.partitions_for_topic(topic) or set()
        ends = consumer.end_offsets([TopicPartition(topic, number) for number in partitions])
        return sum(ends.values())
    finally:
        consumer.close()
