"""Web, worker, relay, Valkey, Kafka and MariaDB are killed under load: nothing is lost, sold or given twice."""

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.conftest import SEED, Keeper, kept, trials_of
from tests.chaos.points import ON_REAL, RELAY
from tests.chaos.stack import REAL
from tests.chaos.trial import Fault

pytestmark = [pytest.mark.chaos, pytest.mark.mariadb, pytest.mark.kafka]


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    yield from kept(REAL)


@trials_of(ON_REAL)
def test_kill_loses_nothing(
    keeper: Keeper, held: Callable[[Keeper, Fault, int], None], fault: Fault, number: int
) -> None:
    held(keeper, fault, number)


@pytest.mark.twin
def test_acknowledging_before_publishing_loses_orders(keeper: Keeper) -> None:
    """With the relay's order turned round and the settler off, what the killed relay had in hand reaches nobody."""
    stack = keeper.stack()
    stack.guards_off("relay.ack_after_publish", "settler")
    verdict = keeper.trial(RELAY[0], seed=f"{SEED}/twin", settle_seconds=2)
    done = stack.oracle(verdict.history)
    stack.guards_off()
    assert (verdict.held, done.returncode) == (False, 1), done.stdout + done.stderr
    assert "BREACH 202s without an order" in done.stdout
    stack.whole()  # the settler alone makes it good again
