import logging
import threading
import time
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shop.observability.logs import BufferedFileHandler, drop_counts, flush_all
from shop.observability.logs import formatting as formatting_module
from shop.observability.logs import handler as handler_module
from shop.observability.logs.formatting import LineFormatter, message_text
from shop.observability.logs.request_id import request_id_reset, request_id_set

NEVER_SECONDS = 3_600.0  # a flush interval that no test lives to see


def messages(path):
    return [line.split(" ", 5)[5] for line in path.read_text().splitlines()] if path.exists() else []


def wait_until(true, timeout_seconds=5.0):
    deadline = time.monotonic() + timeout_seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert true()


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a logger with a handler on tmp_path/app.log."""
    handlers = []

    def make_logger(path=tmp_path / "app.log", **options):
        handler = BufferedFileHandler(path, **options)
        handlers.append(handler)
        logger = logging.Logger("shop.a", logging.DEBUG)  # noqa: LOG001 - has no parents
        logger.addHandler(handler)
        return logger, handler

    yield make_logger
    for handler in handlers:
        handler.close()


def test_lines_reach_the_file_within_the_interval(make, tmp_path):
    logger, _ = make(flush_seconds=0.05)
    logger.info("one")
    wait_until(lambda: messages(tmp_path / "app.log") == ["one"])


def test_interval_alone_triggers_nothing_earlier(make, tmp_path):
    logger, handler = make(flush_seconds=NEVER_SECONDS)
    logger.info("one")
    time.sleep(0.1)
    assert messages(tmp_path / "app.log") == []
    assert handler.flush() is True
    assert messages(tmp_path / "app.log") == ["one"]


def test_flush_records_wake_the_writer_before_the_interval(make, tmp_path):
    logger, _ = make(flush_seconds=NEVER_SECONDS, flush_records=10)
    for number in range(11):
        logger.info("%d", number)
    wait_until(lambda: len(messages(tmp_path / "app.log")) == 11)


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_warning_and_above_wake_the_writer_at_once(make, tmp_path, level):
    logger, _ = make(flush_seconds=NEVER_SECONDS)
    logger.info("before")
    logger.log(level, "urgent")
    wait_until(lambda: messages(tmp_path / "app.log") == ["before", "urgent"])


def test_levels_stay_in_the_order_of_their_calls(make, tmp_path):
    logger, handler = make(flush_records=7, capacity=1_000)
    wanted = []
    for number in range(500):
        logger.log((10, 20, 30, 20, 40, 10)[number % 6], "%d", number)
        wanted.append(str(number))
    assert handler.flush() is True
    assert messages(tmp_path / "app.log") == wanted


def test_each_batch_is_one_write(make):
    sizes = []
    logger, handler = make(
        flush_seconds=NEVER_SECONDS,
        flush_records=50,
        write=lambda fd, data: sizes.append(len(data)) or len(data),
    )
    for _ in range(50):
        logger.info("x")
    handler.flush()
    assert len(sizes) == 1


def test_arguments_are_those_of_the_moment_of_the_call(make, tmp_path):
    logger, handler = make(flush_seconds=NEVER_SECONDS)
    basket, mapping = [1], {"k": "old"}

    class Named:
        name = "old"

        def __str__(self):
            return self.name

    class Text(str):
        def __str__(self):
            return named.name

    named = Named()
    logger.info("%s", basket)
    logger.info("%(k)s", mapping)
    logger.info("%s", named)
    logger.info(named)
    logger.info("%s", Text())
    logger.info("%s %s", "frozen", (basket,))
    basket.append(2)
    mapping["k"] = named.name = "new"
    handler.flush()
    assert messages(tmp_path / "app.log") == ["[1]", "old", "old", "old", "old", "frozen ([1],)"]


def test_frozen_arguments_are_formatted_by_the_writer_and_others_by_the_caller(make, monkeypatch):
    logger, handler = make(flush_seconds=NEVER_SECONDS)
    threads = []

    def noted(msg, args):
        threads.append((msg, threading.current_thread().name))
        return message_text(msg, args)

    monkeypatch.setattr(handler_module, "message_text", noted)
    monkeypatch.setattr(formatting_module, "message_text", noted)
    logger.info("frozen %s %s %s", Decimal("1.50"), uuid.UUID(int=1), datetime(2030, 1, 2, tzinfo=UTC))
    logger.info("mutable %s", [1])
    handler.flush()
    assert threads == [
        ("mutable %s", threading.current_thread().name),
        ("frozen %s %s %s", "log-writer-app"),
    ]


def test_request_id_is_that_of_the_moment_of_the_call(make, tmp_path):
    logger, handler = make(flush_seconds=NEVER_SECONDS)
    for request_id in ("r1", "r2"):
        token = request_id_set(request_id)
        logger.info("in %s", request_id)
        request_id_reset(token)
    logger.info("outside")
    handler.flush()
    ids = [line.split(" ")[4] for line in (tmp_path / "app.log").read_text().splitlines()]
    assert ids == ["r1", "r2", "-"]


def test_exception_is_that_of_the_moment_of_the_call_and_pins_no_frame(make, tmp_path):
    logger, handler = make(flush_seconds=NEVER_SECONDS)
    state = ["old"]

    class Lazy(Exception):
        def __str__(self):
            return state[0]

    try:
        raise Lazy
    except Lazy:
        logger.exception("failed")
    state[0] = "new"
    kept = [value for entry in [*handler._lesser, *handler._urgent] for value in entry]
    assert [value for value in kept if not isinstance(value, int | float | str | tuple | None)] == []
    handler.flush()
    text = (tmp_path / "app.log").read_text()
    assert text.count("\n") == len(text.splitlines())
    assert text.splitlines()[1] == "    | Traceback (most recent call last):"
    assert text.endswith("Lazy: old\n")


def test_forged_lines_stay_inside_their_record(make, tmp_path):
    logger, handler = make()
    evil = "x\r\n2030-01-01T00:00:00.000Z ERROR 1 root - forged\u2028\x1b[31m"
    logger.name = evil
    token = request_id_set(evil)
    logger.info(evil)
    logger.info("%s", evil)
    logger.info("%s", [evil])
    request_id_reset(token)
    handler.flush()
    lines = (tmp_path / "app.log").read_text().splitlines()
    assert len(lines) == 3
    assert [line for line in lines if line.startswith("2030") or "\x1b" in line] == []


def test_filters_and_handler_level_are_obeyed(make, tmp_path):
    logger, handler = make(level="INFO")
    handler.addFilter(lambda record: "secret" not in record.msg)
    logger.debug("too low")
    logger.info("a secret")
    logger.info("shown")
    handler.flush()
    assert messages(tmp_path / "app.log") == ["shown"]


def test_message_that_does_not_fit_its_arguments_raises_nothing(make, tmp_path):
    logger, handler = make()
    logger.info("%d", "many")
    logger.info("%d", ["many"])
    handler.flush()
    assert messages(tmp_path / "app.log") == [
        "'%d' args=('many',) (not formatted: TypeError)",
        "'%d' args=(['many'],) (not formatted: TypeError)",
    ]


def test_record_without_a_line_takes_no_neighbour_along(make, tmp_path):
    logger, handler = make(flush_seconds=NEVER_SECONDS)
    logger.info("before")
    broken = logger.makeRecord("shop.a", logging.INFO, "", 0, "broken", (), None)
    broken.created = float("nan")
    handler.handle(broken)
    logger.info("after")
    handler.flush()
    assert messages(tmp_path / "app.log") == [
        "before",
        "after",
        "dropped 1 records (in all info=1 warning=0 error=0)",
    ]
    assert (handler.dropped()["info"], handler.written()) == (1, 2)


def test_filter_that_fails_raises_nothing_and_is_counted(make):
    logger, handler = make()
    handler.addFilter(lambda record: 1 / 0)
    logger.warning("x")
    assert handler.dropped() == {"info": 0, "warning": 1, "error": 0}


def test_log_from_many_threads_loses_nothing_and_keeps_each_threads_order(make, tmp_path):
    logger, handler = make(flush_records=100, capacity=10_000)

    def work(name):
        for number in range(500):
            logger.log(30 if number % 50 == 0 else 20, "%s %d", name, number)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handler.flush() is True
    lines = messages(tmp_path / "app.log")
    assert len(lines) == 4_000
    for name in "abcdefgh":
        own = [line for line in lines if line.startswith(f"{name} ")]
        assert own == [f"{name} {number}" for number in range(500)]


def test_only_the_line_formatter_is_accepted(make):
    _, handler = make()
    handler.setFormatter(LineFormatter())
    with pytest.raises(ValueError, match="LineFormatter"):
        handler.setFormatter(logging.Formatter("%(message)s"))


@pytest.mark.parametrize(
    "options", [{"flush_records": 0}, {"flush_seconds": 0.0}, {"flush_records": 10, "capacity": 9}]
)
def test_bounds_that_make_no_sense_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="flush_records"):
        BufferedFileHandler(tmp_path / "app.log", **options)


def test_close_writes_everything_ends_the_thread_and_may_be_repeated(make, tmp_path):
    logger, handler = make(flush_seconds=NEVER_SECONDS)
    logger.info("one")
    thread = handler._thread
    handler.close()
    handler.close()
    assert messages(tmp_path / "app.log") == ["one"]
    assert thread.is_alive() is False
    assert handler.flush() is True


def test_close_of_an_unused_handler_leaves_no_file(make, tmp_path):
    make()[1].close()
    assert list(tmp_path.iterdir()) == []


def test_record_after_close_is_written_at_once(make, tmp_path):
    logger, handler = make()
    logger.info("before")
    handler.close()
    logger.info("after")
    logger.error("after too")
    assert messages(tmp_path / "app.log") == ["before", "after", "after too"]


def test_flush_all_and_drop_counts_cover_every_handler(make, tmp_path):
    first, _ = make(tmp_path / "1.log", flush_seconds=NEVER_SECONDS)
    second, handler = make(tmp_path / "2.log", flush_seconds=NEVER_SECONDS)
    first.info("one")
    second.info("two")
    assert flush_all() is True
    assert (messages(tmp_path / "1.log"), messages(tmp_path / "2.log")) == (["one"], ["two"])
    handler.addFilter(lambda record: 1 / 0)
    second.error("lost")
    counts = drop_counts()
    assert counts[str(tmp_path / "1.log")] == {"info": 0, "warning": 0, "error": 0}
    assert counts[str(tmp_path / "2.log")] == {"info": 0, "warning": 0, "error": 1}
