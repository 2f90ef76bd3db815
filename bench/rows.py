"""Rows of the table that `python -m bench` prints: measured beside wanted, on a terminal and in Markdown."""

import statistics
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

REACHED, MISSED, UNMEASURED, INFORMATION = "✓", "✗", "–", " "
HEADS = ("", "goal", "what", "measured", "rounds from … to", "must", "stretch")


@dataclass(frozen=True)
class Row:
    """One number. Without `must` and `stretch` it is information; `missing` tells why it was not measured.

    must, stretch: bounds, lower ones where `at_least`. rounds: the values that `measured` is the median of.
    """

    goal: str
    name: str
    measured: float | None = None
    must: float | None = None
    stretch: float | None = None
    at_least: bool = False
    unit: str = ""
    rounds: Sequence[float] = field(default_factory=tuple)
    missing: str = ""
    broken: bool = False  # it could not be proven, so nothing was measured

    def reaches(self, bound: float | None) -> bool | None:
        """Tell whether the measured number is within the bound; None without either."""
        if bound is None or self.measured is None:
            return None
        return self.measured >= bound if self.at_least else self.measured <= bound

    @property
    def mark(self) -> str:
        """The sign in front of the row."""
        if self.broken:
            return MISSED
        if self.missing:
            return UNMEASURED
        reached = self.reaches(self.must)
        return INFORMATION if reached is None else REACHED if reached else MISSED

    def cells(self) -> tuple[str, ...]:
        """Return the row's text, one cell a column of HEADS."""
        if self.missing:
            word = "proof of work failed" if self.broken else "not measured"
            return (self.mark, self.goal, self.name, f"{word}: {self.missing}", "", *self._bounds())
        shown = number(self.measured) + (f" {self.unit}" if self.unit else "")
        spread = f"{number(min(self.rounds))} … {number(max(self.rounds))}" if len(self.rounds) > 1 else ""
        return (self.mark, self.goal, self.name, shown, spread, *self._bounds())

    def _bounds(self) -> tuple[str, str]:
        sign = "≥" if self.at_least else "≤"
        must = "" if self.must is None else f"{sign} {self.must:g}"
        stretch = "" if self.stretch is None else f"{sign} {self.stretch:g}"
        return must, stretch + (f" {REACHED}" if self.reaches(self.stretch) else "")

    def as_json(self) -> dict[str, Any]:
        """Return everything about the row, JSON-ready."""
        return asdict(self) | {"rounds": list(self.rounds), "reached": self.reaches(self.must)}


def median_row(goal: str, name: str, rounds: Sequence[float], **wanted: Any) -> Row:
    """Return the row of the median of some rounds."""
    return Row(goal, name, statistics.median(rounds), rounds=tuple(rounds), **wanted)


def not_measured(goal: str, name: str, reason: str) -> Row:
    """Return the row of something that this machine cannot measure."""
    return Row(goal, name, missing=reason)


def number(value: float | None) -> str:
    """Return a number with three digits that count; whole above 100."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table_text(rows: Sequence[Row]) -> str:
    """Return the table for a terminal."""
    lines = [HEADS, *(row.cells() for row in rows)]
    # A reason may be long; it is allowed to run over the columns after it.
    reasons = [bool(row.missing) for row in rows]
    measured = [cells for cells, reason in zip(lines[1:], reasons, strict=True) if not reason]
    widths = [max(_width(cells[at]) for cells in [HEADS, *measured]) for at in range(len(HEADS))]
    widths[2] = max(_width(cells[2]) for cells in lines)
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)
        ).rstrip()
        for cells in lines
    )


def table_markdown(rows: Sequence[Row]) -> str:
    """Return the table for a document."""
    lines = [HEADS, ("---",) * len(HEADS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
