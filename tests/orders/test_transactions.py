"""A transaction that is run again after a lock conflict, and only then."""

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from orders.services.transactions import ATTEMPTS, Again, is_transient, retry_transaction
from shop.catalog.models import Category

pytestmark = pytest.mark.django_db(transaction=True)


def category_add():
    return Category.objects.add_root({"name_zh": "灯", "name_en": "Lamps", "slug": "lamps"})


def failing(times, error):
    """Return work that writes and then fails a number of times, and the list of its runs."""
    runs = []

    def work():
        assert connection.in_atomic_block
        runs.append(category_add().slug)
        if len(runs) <= times:
            raise error
        return len(runs)

    return work, runs


@pytest.mark.parametrize(
    "error",
    [
        OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction"),
        OperationalError(1213, "Deadlock found when trying to get lock"),
        OperationalError(1020, "Record has changed since last read in table"),
        OperationalError("database is locked"),
        OperationalError("database table is locked: orders_order"),
        Again(),
    ],
)
def test_lock_conflicts_are_run_again_from_nothing(error):
    work, runs = failing(2, error)

    assert retry_transaction(work) == 3

    assert len(runs) == 3
    assert Category.objects.count() == 1


def test_it_gives_up_after_five_attempts_and_keeps_nothing():
    work, runs = failing(99, OperationalError(1213, "Deadlock"))

    with pytest.raises(OperationalError):
        retry_transaction(work)

    assert len(runs) == ATTEMPTS == 5
    assert not Category.objects.exists()


@pytest.mark.parametrize(
    "error",
    [
        OperationalError(2006, "Server has gone away"),
        OperationalError(1690, "value is out of range"),
        OperationalError("disk I/O error"),
        OperationalError(),
        IntegrityError(1062, "Duplicate entry"),
        ValueError("1213"),
    ],
)
def test_anything_else_is_raised_at_once(error):
    work, runs = failing(99, error)

    with pytest.raises(type(error)):
        retry_transaction(work)

    assert not is_transient(error)
    assert len(runs) == 1
    assert not Category.objects.exists()


def test_inside_a_transaction_it_runs_once():
    """A deadlock has rolled back the outer transaction, which only its owner can repeat."""
    work, runs = failing(99, OperationalError(1213, "Deadlock"))

    with pytest.raises(OperationalError), transaction.atomic():
        retry_transaction(work)

    assert len(runs) == 1


def test_commit_hooks_of_attempts_that_failed_are_dropped():
    done = []
    work, _ = failing(1, Again())

    def announcing():
        transaction.on_commit(lambda: done.append("told"))
        return work()

    retry_transaction(announcing)

    assert done == ["told"]
