"""Events that could not be read: kept once, counted, understood once."""

from datetime import timedelta

import pytest

from orders.models import DeadLetter
from orders.services.dead_letters import dead_letter_understand, dead_letter_write
from tests.orders.rows import NOW, user_make

pytestmark = pytest.mark.django_db


def write(entry: str = "0:17", **changes: object) -> DeadLetter:
    return dead_letter_write(
        **{"source": "kafka", "entry": entry, "payload": b"\0\xffx", "error": "cut"} | changes
    )


def test_dead_letter_keeps_the_bytes_readable() -> None:
    letter = write()
    letter.refresh_from_db()
    assert (letter.source, letter.entry, letter.payload, letter.error) == ("kafka", "0:17", "00ff78", "cut")
    assert (letter.attempts, letter.understood_at, letter.understood_by) == (1, None, None)


def test_dead_letter_that_comes_again_counts_attempts() -> None:
    write()
    write(error="other", payload=b"")
    letter = DeadLetter.objects.get()
    assert (letter.attempts, letter.error, letter.payload) == (2, "cut", "00ff78")


def test_dead_letters_of_other_places_are_others() -> None:
    write()
    write("1:17")
    write(source="outbox")
    assert [letter.attempts for letter in DeadLetter.objects.all()] == [1, 1, 1]


def test_dead_letter_is_understood_by_the_first_who_says_so() -> None:
    letter, first, second = write(), user_make(), user_make()
    dead_letter_understand(letter_id=letter.pk, actor_id=first.pk, now=NOW)
    dead_letter_understand(letter_id=letter.pk, actor_id=second.pk, now=NOW + timedelta(hours=1))
    letter.refresh_from_db()
    assert (letter.understood_at, letter.understood_by) == (NOW, first)
