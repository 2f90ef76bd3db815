from collections import deque

import pytest

from shop.observability.logs.buffer import RecordBuffer, drop_class


def entry(sequence, level=20):
    return (sequence, 0.0, level, "shop.a", "-", "message", None, None)


def sequences(entries):
    return [taken[0] for taken in entries]


@pytest.mark.parametrize(
    ("level", "kind"),
    [(0, "info"), (29, "info"), (30, "warning"), (39, "warning"), (40, "error"), (50, "error")],
)
def test_drop_class_of_each_level(level, kind):
    assert drop_class(level) == kind


def test_take_merges_both_queues_in_the_order_of_the_calls():
    buffer = RecordBuffer(10)
    buffer.lesser.extend([entry(1), entry(2), entry(5)])
    buffer.urgent.extend([entry(3, 30), entry(4, 40), entry(6, 30)])
    assert sequences(buffer.take(4)) == [1, 2, 3, 4]
    assert sequences(buffer.take(4)) == [5, 6]
    assert buffer.take(4) == []


def test_take_puts_an_entry_that_comes_while_it_compares_into_its_place():
    buffer = RecordBuffer(10)

    class Interrupted(deque):
        def popleft(self):
            buffer.lesser.append(entry(1))
            return super().popleft()

    buffer.urgent = Interrupted([entry(2, 30)])
    assert sequences(buffer.take(2)) == [1, 2]


def test_take_survives_an_eviction_while_it_compares():
    buffer = RecordBuffer(10)

    class Evicted(deque):
        def __getitem__(self, index):
            self.clear()
            return super().__getitem__(index)

    buffer.lesser = Evicted([entry(1)])
    buffer.urgent.append(entry(2, 30))
    assert sequences(buffer.take(2)) == [2]


def test_drop_all_empties_the_buffer_and_counts_by_class():
    buffer = RecordBuffer(10)
    buffer.lesser.extend([entry(1), entry(2, 10)])
    buffer.urgent.extend([entry(3, 30), entry(4, 50)])
    buffer.drop_all()
    assert len(buffer) == 0
    assert buffer.dropped == {"info": 2, "warning": 1, "error": 1}
