import logging
import os
import re
import sys

import pytest

from shop.observability.logs.formatting import (
    CONTINUATION,
    LineComposer,
    LineFormatter,
    escape_field,
    escape_text,
    exception_text,
    message_text,
)
from shop.observability.logs.request_id import (
    request_id_get,
    request_id_reset,
    request_id_set,
    request_id_var,
)

PID = os.getpid()
CREATED = 1893553445.678901  # 2030-01-02 03:04:05.678 UTC


def entry(msg="hello", args=None, *, level=logging.INFO, logger="shop.a", request_id="r1", detail=None):
    return (1, CREATED, level, logger, request_id, msg, args, detail)


def test_line_has_utc_time_level_pid_logger_request_and_message():
    line = LineComposer().line(entry("sold %d to %s", (3, "小明")))
    assert line == f"2030-01-02T03:04:05.678Z INFO {PID} shop.a r1 sold 3 to 小明\n"


def test_compose_joins_lines_in_order_across_seconds_levels_and_requests():
    composer = LineComposer()
    later = (2, CREATED + 1, logging.ERROR, "orders", "r2", "bad", None, None)
    assert composer.compose([entry("good"), later, entry("good")]).decode() == (
        f"2030-01-02T03:04:05.678Z INFO {PID} shop.a r1 good\n"
        f"2030-01-02T03:04:06.678Z ERROR {PID} orders r2 bad\n"
        f"2030-01-02T03:04:05.678Z INFO {PID} shop.a r1 good\n"
    )


def test_header_cache_stays_bounded_and_right():
    composer = LineComposer()
    for number in range(2_100):
        assert f" shop.n{number} r1 " in composer.line(entry(logger=f"shop.n{number}"))
    assert len(composer._headers) <= 1_024


@pytest.mark.parametrize(
    ("character", "escaped"),
    [
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\t", "\\t"),
        ("\x00", "\\x00"),
        ("\x0b", "\\x0b"),
        ("\x0c", "\\x0c"),
        ("\x1b", "\\x1b"),
        ("\x1c", "\\x1c"),
        ("\x7f", "\\x7f"),
        ("\x85", "\\x85"),
        ("\x9b", "\\x9b"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
        ("\u202e", "\\u202e"),
        ("\ufeff", "\\ufeff"),
        ("\udc80", "\\udc80"),
    ],
)
def test_control_character_is_escaped_everywhere(character, escaped):
    forged = f"x{character}2030-01-02T00:00:00.000Z"
    wanted = f"x{escaped}2030-01-02T00:00:00.000Z"
    hostile = entry(f"{forged} %s", (forged,), logger=forged, request_id=forged)
    assert LineComposer().compose([hostile]).decode() == (
        f"2030-01-02T03:04:05.678Z INFO {PID} {wanted} {wanted} {wanted} {wanted}\n"
    )


def test_every_line_break_that_python_knows_stays_inside_one_line():
    breaks = "".join(
        chr(code) for code in range(sys.maxunicode + 1) if len(f"a{chr(code)}b".splitlines()) == 2
    )
    assert len(breaks) >= 10
    hostile = entry(breaks, logger=f"n{breaks}", request_id=f"r{breaks}")
    assert len(LineComposer().compose([hostile]).decode().splitlines()) == 1


def test_every_control_character_is_escaped():
    controls = [chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]]
    assert [c for c in controls if not escape_text(c).isprintable()] == []


def test_text_in_any_language_stays_readable():
    text = 'C:\\new "引号" café 👩\u200d💻 {"a": 1} \u3000全角'
    assert escape_text(text) == text


def test_field_stays_one_word():
    assert escape_field("r1 ERROR 1 root\u3000x") == "r1\\x20ERROR\\x201\\x20root\\u3000x"
    assert escape_field("") == "-"
    assert escape_field(None) == "None"


def test_traceback_lines_cannot_look_like_records():
    try:
        raise ValueError("boom\n2030-01-02T03:04:05.678Z INFO 1 root - forged\r\x1b[2K")
    except ValueError:
        detail = exception_text(sys.exc_info())
    text = LineComposer().compose([entry("failed", detail=detail)]).decode()
    first, *others = text.removesuffix("\n").split("\n")
    assert first.endswith(" failed")
    assert others[0] == f"{CONTINUATION}Traceback (most recent call last):"
    assert others[-1] == f"{CONTINUATION}2030-01-02T03:04:05.678Z INFO 1 root - forged\\r\\x1b[2K"
    assert [line for line in others if not line.startswith(CONTINUATION)] == []
    assert [line for line in others if re.match(r"\d{4}-", line)] == []


def test_message_that_does_not_fit_its_arguments_keeps_both():
    assert message_text("%d units", ("many",)) == "'%d units' args=('many',) (not formatted: TypeError)"
    assert message_text("%s and %s", (1,)) == "'%s and %s' args=(1,) (not formatted: TypeError)"


def test_message_whose_objects_fail_is_named_by_type():
    class Broken:
        def __str__(self):
            raise RuntimeError

        __repr__ = __str__

    assert message_text(Broken(), ()) == "<Broken> args=() (not formatted: RuntimeError)"


def test_exception_that_cannot_be_shown_is_named_by_type():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    try:
        raise Broken
    except Broken:
        assert "Broken" in exception_text(sys.exc_info())


def test_line_formatter_gives_the_same_line_to_other_handlers():
    record = logging.LogRecord("shop.a", logging.WARNING, __file__, 1, "a\n%s", ("b\r",), None)
    record.created = CREATED
    token = request_id_set("r 9")
    try:
        line = LineFormatter().format(record)
    finally:
        request_id_reset(token)
    assert line == f"2030-01-02T03:04:05.678Z WARNING {PID} shop.a r\\x209 a\\nb\\r"


def test_request_id_is_a_dash_outside_requests_and_restored_after():
    assert request_id_get() == "-"
    token = request_id_set("abc")
    assert (request_id_get(), request_id_var.get()) == ("abc", "abc")
    request_id_reset(token)
    assert request_id_get() == "-"
