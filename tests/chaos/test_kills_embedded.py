"""Web, worker and Valkey are killed under load where everything is embedded: nothing is lost, sold or given twice."""

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.conftest import SEED, Keeper, kept, trials_of
from tests.chaos.points import ON_EMBEDDED, WEB, WORKER
from tests.chaos.stack import EMBEDDED
from tests.chaos.trial import Fault

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    yield from kept(EMBEDDED)


@trials_of(ON_EMBEDDED)
def test_kill_loses_nothing(
    keeper: Keeper, held: Callable[[Keeper, Fault, int], None], fault: Fault, number: int
) -> None:
    held(keeper, fault, number)


@pytest.mark.twin
def test_acknowledging_before_the_commit_loses_orders(keeper: Keeper) -> None:
    """With the consumer's order turned round and the settler off, what the killed worker had in hand is gone."""
    stack = keeper.stack()
    stack.guards_off("consumer.done_after_place", "settler")
    verdict = keeper.trial(WORKER[0], seed=f"{SEED}/twin", settle_seconds=2)
    done = stack.oracle(verdict.history)
    stack.guards_off()
    assert (verdict.held, done.returncode) == (False, 1), done.stdout + done.stderr
    assert "BREACH 202s without an order" in done.stdout
    stack.whole()  # the settler alone makes it good again


@pytest.mark.twin
def test_an_id_that_does_not_follow_the_key_sells_twice(keeper: Keeper) -> None:
    """With a random id a client that repeats its key after a cut is given a second reservation."""
    stack = keeper.stack()
    stack.guards_off("web.id_follows_key")
    verdict = keeper.trial(WEB[1], seed=f"{SEED}/twin", settle_seconds=5)
    done = stack.oracle(verdict.history)
    stack.guards_off()
    assert (verdict.held, done.returncode) == (False, 1), done.stdout + done.stderr
    assert "BREACH orders nobody was told of" in done.stdout
    assert "BREACH repeated keys answered otherwise" in done.stdout
