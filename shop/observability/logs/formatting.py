"""Log lines that nothing inside a message can forge.

One record is one line that starts with an ISO-8601 UTC time in column 0:

    2030-01-02T03:04:05.678Z INFO 4711 shop.accounts.login 9f2c signed in user=7

A traceback follows on lines of its own, each behind CONTINUATION. Line breaks and every other control
character of a message, an argument, a logger's name, a request id or an exception's text are escaped, so
only this module can begin a line or a record.
"""

import logging
import os
import re
import time
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from shop.observability.logs.request_id import request_id_get

CONTINUATION = "    | "

# C0, DEL, C1; the separators U+2028 and U+2029; marks and overrides that reorder what a terminal shows;
# the byte order mark; lone surrogates, which UTF-8 cannot carry.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_IN_FIELD = re.compile(_UNSAFE.pattern[:-1] + r"\s]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

# Logger names are few and fixed, but nothing forces them to be: past this many the cache starts again.
_HEADERS_MAX = 1_024

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


# One log call as it was at the moment of the call:
# sequence, time, level, logger, request id, message, arguments (immutable, or None: the message is final),
# traceback. A plain tuple, for it is built inside the log call: a NamedTuple costs 5 times as much.
Entry = tuple[int, float, int, str, str, str, tuple[Any, ...] | None, str | None]


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def escape_text(text: str) -> str:
    r"""Return text with every control character written as an escape (\n, \x1b, \u2028).

    Spaces and letters of any language stay. A backslash stays as it is too: doubling it would spoil JSON
    and regular expressions in messages, and it cannot begin a line.
    """
    # isprintable() is a C loop that is true for nearly every message, also for Chinese ones.
    return text if text.isprintable() else _UNSAFE.sub(_escaped, text)


def escape_field(text: object) -> str:
    """Return text as one word: like escape_text, and white space is escaped too; "-" when empty."""
    return _UNSAFE_IN_FIELD.sub(_escaped, str(text)) or "-"


def exception_text(exc_info: ExcInfo) -> str:
    """Return the traceback as text, without a line break at its end.

    Never raises: an exception whose own __str__ fails is named by its type.
    """
    try:
        return "".join(traceback.format_exception(*exc_info)).rstrip("\n")
    except Exception as error:  # noqa: BLE001 - an exception's own __str__ may raise anything
        return f"{exc_info[0]!r} (its traceback failed: {type(error).__name__})"


def message_text(msg: object, args: Any) -> str:
    """Return msg % args, or both side by side when they do not fit together. Never raises."""
    try:
        text = str(msg)
        return text % args if args else text
    except Exception as error:  # noqa: BLE001 - so may an argument's
        return f"{_repr(msg)} args={_repr(args)} (not formatted: {type(error).__name__})"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - or its __repr__
        return f"<{type(value).__name__}>"


class LineComposer:
    """Turns entries into lines; keeps what neighbouring lines share. For one thread at a time."""

    def __init__(self) -> None:
        self._headers: dict[tuple[int, str], str] = {}
        self._second = -1
        self._stamp = ""
        self._request_id = ""
        self._request_field = "-"
        self._pid = os.getpid()

    def compose(self, entries: Sequence[Entry]) -> bytes:
        """Return the lines of all entries, each ended by a line feed, in UTF-8."""
        return "".join([self.line(entry) for entry in entries]).encode("utf-8", "backslashreplace")

    def line(self, entry: Entry) -> str:
        """Return one entry's line, and its traceback's lines, ended by a line feed."""
        _, created, levelno, logger, request_id, msg, args, detail = entry
        second = int(created)
        if second != self._second:
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        header = self._headers.get((levelno, logger)) or self._header(levelno, logger)
        if request_id != self._request_id:
            self._request_id, self._request_field = request_id, escape_field(request_id)
        text = message_text(msg, args) if args else msg
        if not text.isprintable():
            text = escape_text(text)
        milliseconds = int((created - second) * 1000)
        line = f"{self._stamp}.{milliseconds:03d}Z {header} {self._request_field} {text}\n"
        return line if detail is None else line + _continuation(detail)

    def _header(self, levelno: int, logger: str) -> str:
        if len(self._headers) >= _HEADERS_MAX:
            self._headers.clear()
        header = f"{escape_field(logging.getLevelName(levelno))} {self._pid} {escape_field(logger)}"
        self._headers[levelno, logger] = header
        return header


def _continuation(detail: str) -> str:
    return "".join([f"{CONTINUATION}{escape_text(line)}\n" for line in detail.split("\n")])


def record_detail(record: logging.LogRecord) -> str | None:
    """Return the record's traceback and stack as text, or None when it has neither.

    The traceback's text is kept on the record, as the standard formatter does, for handlers after this one.
    """
    if record.exc_info and not record.exc_text:
        record.exc_text = exception_text(record.exc_info)
    parts = [part for part in (record.exc_text, record.stack_info) if part]
    return "\n".join(parts) or None


class LineFormatter(logging.Formatter):
    """The same lines for any other handler, such as the console's."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, and its traceback's lines, without a line feed at the end."""
        entry: Entry = (
            0,
            record.created,
            record.levelno,
            record.name,
            request_id_get(),
            message_text(record.msg, record.args),
            None,
            record_detail(record),
        )
        # A composer of its own: handlers of several threads share one formatter.
        return LineComposer().line(entry)[:-1]
