"""The relay with the named points of the kill tests: `python -m tests.chaos.faulty_relay`."""

from collections.abc import Sequence
from typing import Any

from tests.chaos.faults import Faults, faults_of_environment


def install(faults: Faults) -> None:
    """Patch the points and the guard `relay.ack_after_publish`."""
    import kafka

    from seckill.relay import Relay

    publish, turn, flush = Relay._publish, Relay.turn, kafka.KafkaProducer.flush

    def publish_and_pass(self: Relay, messages: Sequence[Any]) -> None:
        if faults.guard_is_off("relay.ack_after_publish"):
            self._reader.ack([entry_id.decode() for entry_id, _ in messages])
        faults.passed("relay.after_read_before_publish", entries=len(messages))
        publish(self, messages)
        faults.passed("relay.after_publish_before_ack", entries=len(messages))

    def turn_and_pass(self: Relay) -> int:
        count = turn(self)
        if count:
            faults.passed("relay.after_ack", entries=count)
        return count

    def pass_and_flush(self: Any, timeout: float | None = None) -> None:
        faults.passed("kafka.while_relay_publishes")  # records are handed over, none is acknowledged to us
        flush(self, timeout=timeout)

    Relay._publish = publish_and_pass  # type: ignore[method-assign]
    Relay.turn = turn_and_pass  # type: ignore[method-assign]
    kafka.KafkaProducer.flush = pass_and_flush


def main() -> None:
    """Patch, then run the relay's own command."""
    import django
    from django.core.management import call_command

    django.setup()
    install(faults_of_environment())
    call_command("relay")


if __name__ == "__main__":
    main()
