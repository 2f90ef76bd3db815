"""The command: its options, its exit code, the block that it writes into a document."""

import pytest

from bench.__main__ import BLOCK_BEGIN, BLOCK_END, Bench, _options, block, block_write
from bench.rows import Row
from bench.turns import ProofFailed


def test_an_unknown_goal_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        _options(["S99"])
    assert ended.value.code == 2
    assert "no benchmark S99" in capsys.readouterr().err


def test_goals_may_be_written_small():
    assert _options(["s3", "--pairs", "1"]).goals == ["S3"]


@pytest.mark.parametrize("error", [ProofFailed("told 2, done 1"), RuntimeError("told 2, done 1")])
def test_a_benchmark_that_fails_is_a_row_and_the_next_goes_on(error):
    def broken() -> list[Row]:
        raise error

    bench = Bench()
    bench.measure("S1", broken)
    bench.measure("S2", lambda: [Row("S2", "x", 1.0)])
    assert bench.failed
    assert [(row.goal, row.mark) for row in bench.rows] == [("S1", "✗"), ("S2", " ")]
    assert "told 2, done 1" in bench.rows[0].missing


def test_a_missed_must_is_no_failure():
    bench = Bench()
    bench.measure("S2", lambda: [Row("S2", "x", 3.0, must=1.0)])
    assert (bench.failed, bench.rows[0].mark) == (False, "✗")


def test_the_block_is_replaced_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BLOCK_BEGIN}\nold\n{BLOCK_END}\nafter\n")
    for value in (1.0, 2.0):
        block_write(page, block([Row("S3", "x", value)], {"machine": "2 cores"}, "python -m bench"))
    text = page.read_text()
    assert text.startswith(f"before\n{BLOCK_BEGIN}\n")
    assert text.endswith(f"{BLOCK_END}\nafter\n")
    assert "old" not in text
    assert text.count("| S3 |") == 1
    assert "2.00" in text
