"""The orders worker with the named points of the kill tests: `python -m tests.chaos.faulty_worker`, then Celery's words."""

import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tests.chaos.faults import Faults, faults_of_environment

# So that the group lets a killed consumer's partitions go soon; the broker must allow it.
SESSION_TIMEOUT_MS, HEARTBEAT_MS = 3_000, 500
CONSUMER_READY = "consumer.ready"

_applying = threading.local()


def _is_consumer() -> bool:
    """Tell whether this is the consumer's thread: the settler walks through the same code."""
    return threading.current_thread().name.startswith("consumer-")


def install(faults: Faults) -> None:
    """Patch the points, and the guards `settler` and `consumer.done_after_place`."""
    _judge(faults)
    _sources(faults)
    _outcomes(faults)
    _settler(faults)
    _session()


def _judge(faults: Faults) -> None:
    from django.db import connection

    from orders.consumer import Consumer
    from orders.services import place
    from orders.services.transactions import retry_transaction
    from orders.signals import entries_decided

    retry, send, turn = retry_transaction, entries_decided.send, Consumer._turn

    def retry_and_pass(work: Callable[[], None]) -> None:
        def work_and_pass() -> None:
            work()
            if _is_consumer():  # every row is written, nothing is committed
                faults.passed("worker.after_poll_before_commit")
                faults.passed("mariadb.during_place_transaction", in_transaction=connection.in_atomic_block)

        retry(work_and_pass)

    def pass_and_send(*arguments: Any, **facts: Any) -> Any:
        if _is_consumer():
            faults.passed("worker.after_commit_before_outcomes")
            faults.passed("mariadb.after_commit", in_transaction=connection.in_atomic_block)
        return send(*arguments, **facts)

    def pass_and_turn(self: Consumer) -> None:
        faults.passed("mariadb.while_idle_between_batches", in_transaction=connection.in_atomic_block)
        turn(self)

    place.retry_transaction = retry_and_pass  # type: ignore[attr-defined,assignment]
    entries_decided.send = pass_and_send  # type: ignore[method-assign]
    Consumer._turn = pass_and_turn  # type: ignore[method-assign]


def _sources(faults: Faults) -> None:
    from orders.consumer import KafkaSource
    from seckill.outbox import StreamSource

    for source in (KafkaSource, StreamSource):
        _source(source, faults)


def _source(source: Any, faults: Faults) -> None:
    poll, done = source.poll, source.done

    @functools.wraps(poll)
    def poll_and_note(self: Any, *, timeout_seconds: float) -> Sequence[Any]:
        entries: Sequence[Any] = poll(self, timeout_seconds=timeout_seconds)
        if _has_partitions(self):
            faults.note(CONSUMER_READY, str(os.getpid()))
        if entries and faults.guard_is_off("consumer.done_after_place"):
            done(self, entries)
        return entries

    @functools.wraps(done)
    def pass_and_done(self: Any, entries: Sequence[Any]) -> None:
        faults.passed("worker.after_outcomes_before_ack")
        done(self, entries)
        faults.passed("kafka.just_after_commit")

    source.poll, source.done = poll_and_note, pass_and_done


def _has_partitions(source: Any) -> bool:
    return source.name != "kafka" or bool(source._connected().assignment())


def _outcomes(faults: Faults) -> None:
    from seckill.services import outcomes
    from seckill.store import SaleStore

    run, read = outcomes._run, SaleStore._read

    def run_marked(store: SaleStore, calls: list[Any]) -> list[list[int]]:
        _applying.now = bool(calls) and _is_consumer()
        try:
            return run(store, calls)
        finally:
            _applying.now = False

    def pass_and_read(connection: Any) -> Any:
        if getattr(_applying, "now", False):  # the outcomes are sent, their answers not read
            faults.passed("valkey.while_outcomes_are_applied")
        return read(connection)

    outcomes._run = run_marked
    SaleStore._read = staticmethod(pass_and_read)  # type: ignore[method-assign]


def _settler(faults: Faults) -> None:
    from seckill.settler import Settler

    settle = Settler._settle

    @functools.wraps(settle)
    def settle_unless_off(self: Settler, now: Any) -> None:
        if not faults.guard_is_off("settler"):
            settle(self, now)

    Settler._settle = settle_unless_off  # type: ignore[method-assign]


def _session() -> None:
    import kafka

    class QuickConsumer(kafka.KafkaConsumer):
        def __init__(self, *topics: str, **configuration: Any) -> None:
            configuration |= {"session_timeout_ms": SESSION_TIMEOUT_MS, "heartbeat_interval_ms": HEARTBEAT_MS}
            super().__init__(*topics, **configuration)

    kafka.KafkaConsumer = QuickConsumer


def main() -> None:
    """Patch, then become the Celery program."""
    import django
    from celery.__main__ import main as celery

    django.setup()
    install(faults_of_environment())
    celery()


if __name__ == "__main__":
    main()
