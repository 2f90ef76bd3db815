"""What the terminal shows: marks, colours, tables. Plain text where nobody looks at it."""

import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TextIO

from shop.site.demo_state import DemoState

PASSWORD = "flash-demo"  # noqa: S105  the demo's, printed on purpose; never in production
# User and role, in the order in which a newcomer tries them.
LOG_INS = (
    ("shopper", "buys"),
    ("campaigns", "plans and runs flash sales"),
    ("stock", "keeps products and stock"),
    ("support", "helps with orders"),
    ("operator", "watches the system"),
    ("admin", "may do everything"),
)
GREEN, RED, BOLD, DIM, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"


class Screen:
    """Writes lines. Colours only on a terminal and without NO_COLOR; ASCII marks where the encoding has no ✓."""

    def __init__(self, stream: TextIO | None = None, *, colour: bool | None = None) -> None:
        self._stream = stream or sys.stdout
        wanted = self._stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.colour = wanted if colour is None else colour
        self._narrow = not _can_write(self._stream, "✓✗·")

    def paint(self, text: str, style: str) -> str:
        """Return the text in a style, or as it is."""
        return f"{style}{text}{PLAIN}" if self.colour else text

    def mark(self, good: bool) -> str:
        """Return the sign of a good or a bad line."""
        return self.paint("✓", GREEN) if good else self.paint("✗", RED)

    def line(self, text: str = "") -> None:
        """Write one line and show it at once."""
        if self._narrow:
            text = text.replace("✓", "ok").replace("✗", "!!").replace("·", "-")
            text = text.encode("ascii", "replace").decode("ascii")
        with contextlib.suppress(OSError):  # the terminal or the pipe is gone; the work goes on
            self._stream.write(text + "\n")
            self._stream.flush()

    def table(self, rows: Sequence[Sequence[str]], *, indent: int = 2, right: Iterable[int] = ()) -> None:
        """Write rows in columns. right: the columns of numbers."""
        if not rows:
            return
        right = set(right)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            cells = [
                cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
                for column, cell in enumerate(row)
            ]
            self.line(" " * indent + "  ".join(cells).rstrip())


def _can_write(stream: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown_path(path: str) -> str:
    """Return a path as short as it can be typed from here."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def processes_show(screen: Screen, state: DemoState) -> None:
    """Write one line a process: mark, name, pid, log."""
    width = max((len(process.name) for process in state.processes), default=0)
    for process in state.processes:
        log = screen.paint(shown_path(process.log), DIM)
        screen.line(f"  {screen.mark(process.ready)} {process.name.ljust(width)}  pid {process.pid:<8} {log}")


def ready_show(
    screen: Screen,
    *,
    state: DemoState,
    pages: Sequence[tuple[str, str]],
    next_sale: datetime | None,
    now: datetime,
    took_seconds: float,
) -> None:
    """Write the one screen of a demo that is ready.

    pages: name and path. next_sale, now: aware, in the time zone to show.
    """
    screen.line()
    screen.line(screen.paint(f"The shop is ready after {took_seconds:.1f} s", BOLD))
    screen.line()
    processes_show(screen, state)
    screen.line()
    screen.table([(name, state.url.rstrip("/") + path) for name, path in pages])
    screen.line()
    screen.line(f"  Log in with password {screen.paint(PASSWORD, BOLD)} as")
    screen.table(LOG_INS, indent=4)
    screen.line()
    screen.line("  " + next_sale_text(next_sale, now=now))
    screen.line("  Ctrl-C stops all, nothing is lost.")
    screen.line()


def next_sale_text(next_sale: datetime | None, *, now: datetime) -> str:
    """Say when the next sale starts, with its time zone, and how far away that is."""
    if next_sale is None:
        return "No sale is planned."
    minutes, seconds = divmod(max(0, round((next_sale - now).total_seconds())), 60)
    away = f"{minutes} min {seconds} s" if minutes < 120 else f"{minutes // 60} h"
    return f"Next sale {next_sale:%H:%M:%S} ({next_sale.tzinfo}), in {away}"
