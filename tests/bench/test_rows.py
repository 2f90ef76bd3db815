"""The table: marks, bounds, rows that could not be measured, the block in a document."""

import pytest

from bench.rows import Row, median_row, not_measured, number, table_markdown, table_text


@pytest.mark.parametrize(
    ("row", "mark", "stretch"),
    [
        (Row("S1", "x", 0.30, must=0.35, stretch=0.25), "✓", "≤ 0.25"),
        (Row("S1", "x", 0.25, must=0.35, stretch=0.25), "✓", "≤ 0.25 ✓"),
        (Row("S1", "x", 0.36, must=0.35, stretch=0.25), "✗", "≤ 0.25"),
        (Row("S1", "x", 2.5, must=2.5, stretch=3.5, at_least=True), "✓", "≥ 3.5"),
        (Row("S1", "x", 2.4, must=2.5, stretch=3.5, at_least=True), "✗", "≥ 3.5"),
        (Row("S1", "x", 9.0), " ", ""),
    ],
)
def test_row_marks_what_it_reaches(row, mark, stretch):
    assert row.mark == mark
    assert row.cells()[6] == stretch


def test_median_row_shows_median_and_spread():
    assert median_row("S3", "x", [0.5, 0.9, 0.6], unit="µs").cells()[3:5] == ("0.60 µs", "0.50 … 0.90")


def test_what_was_not_measured_says_why_and_is_never_reached():
    row = not_measured("S1", "CPU", "no Go")
    assert (row.mark, row.cells()[3], row.as_json()["reached"]) == ("–", "not measured: no Go", None)


def test_a_failed_proof_is_a_miss():
    row = Row("S1", "all of it", missing="told 2, done 1", broken=True)
    assert (row.mark, row.cells()[3]) == ("✗", "proof of work failed: told 2, done 1")


def test_tables_have_a_line_a_row():
    rows = [Row("S1", "a", 1.0, must=2), not_measured("S2", "b | c", "no Go")]
    assert len(table_text(rows).splitlines()) == 3
    assert table_markdown(rows).splitlines()[-1] == "| – | S2 | b \\| c | not measured: no Go |  |  |  |"


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "0.12"), (12.34, "12.3"), (12_345.6, "12,346"), (None, "")]
)
def test_numbers_keep_three_digits(value, text):
    assert number(value) == text
