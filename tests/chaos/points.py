"""Every named point at which a process is killed."""

import signal
import time

from tests.chaos.faults import Evidence
from tests.chaos.stack import Stack
from tests.chaos.trial import Fault, Running

BEHIND_SECONDS = 8.0
REWRITE_SECONDS = 4.0
# Slows the child that rewrites the log, so that the moment can be hit; a key takes this long.
SAVE_DELAY_MICROSECONDS = 200_000


def _killed(running: Running, victim: str, point: str, **facts: object) -> Evidence:
    """Kill now and return the evidence; the outbox is looked at immediately before."""
    outbox = running.stack.outbox()
    at = time.monotonic()
    pid = running.stack.signal(victim, signal.SIGKILL)
    return Evidence(point=point, passes=1, monotonic=at, outbox=outbox, killed=pid, facts=facts)


def during_aof_rewrite(running: Running) -> Evidence | None:
    """Kill Valkey while it rewrites its log."""
    client = running.stack.sale_client
    client.config_set("rdb-key-save-delay", SAVE_DELAY_MICROSECONDS)
    client.bgrewriteaof()
    deadline = time.monotonic() + REWRITE_SECONDS
    while time.monotonic() < deadline:
        rewriting = client.info("persistence")["aof_rewrite_in_progress"]
        if rewriting and running.stack.outbox():
            return _killed(running, "valkey", "valkey.during_aof_rewrite", rewriting=rewriting)
    client.config_set("rdb-key-save-delay", 0)
    return None


def while_consumer_is_behind(running: Running) -> Evidence | None:
    """Freeze the worker, wait until Kafka holds what it has not decided, then kill Kafka."""
    stack = running.stack
    stack.signal("worker", signal.SIGSTOP)
    deadline = time.monotonic() + BEHIND_SECONDS
    while time.monotonic() < deadline:
        if backlog := stack.ask("backlog"):
            return _killed(running, "kafka", "kafka.while_consumer_is_behind", backlog=backlog)
    return None


def _thaw_worker(stack: Stack) -> None:
    stack.signal("worker", signal.SIGCONT)


def _own(*points: str) -> list[Fault]:
    """Return faults whose passer dies itself; the point's first word is the victim."""
    return [Fault(victim=point.partition(".")[0], point=point) for point in points]


def _servers(*points: str) -> list[Fault]:
    """Return faults in which a process of ours, at a point of its own code, kills the server it talks to."""
    return [Fault(victim=point.partition(".")[0], point=point, is_own=False) for point in points]


WEB = _own("web.before_script", "web.after_script_before_answer", "web.mid_batch")
WORKER = _own(
    "worker.after_poll_before_commit",
    "worker.after_commit_before_outcomes",
    "worker.after_outcomes_before_ack",
)
RELAY = _own("relay.after_read_before_publish", "relay.after_publish_before_ack", "relay.after_ack")
VALKEY = [
    *_servers("valkey.under_reservations", "valkey.while_outcomes_are_applied"),
    Fault(victim="valkey", point="valkey.during_aof_rewrite", moment=during_aof_rewrite),
]
KAFKA = [
    *_servers("kafka.while_relay_publishes", "kafka.just_after_commit"),
    Fault(
        victim="kafka",
        point="kafka.while_consumer_is_behind",
        moment=while_consumer_is_behind,
        mended=_thaw_worker,
    ),
]
MARIADB = _servers(
    "mariadb.during_place_transaction", "mariadb.after_commit", "mariadb.while_idle_between_batches"
)

ON_EMBEDDED = [*WEB, *WORKER, *VALKEY]
ON_REAL = [*WEB, *WORKER, *RELAY, *VALKEY, *KAFKA, *MARIADB]
