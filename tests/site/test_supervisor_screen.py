"""What `demo` and `status` print, and when `status` says unwell."""

import io
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import pytest
import redis

from seckill.conservation import Equation
from seckill.health import SaleHealth
from shop.site.demo_state import DemoState, ProcessState
from shop.site.status import Status, status_read
from shop.site.supervision.screen import Screen, next_sale_text
from shop.site.supervision.status_screen import duration, status_show


def health(**changes: Any) -> SaleHealth:
    well = SaleHealth(
        verified=True, problem="", outbox_entries=3, undecided_units=7, oldest_entry_age_seconds=1.5
    )
    return replace(well, **changes)


def balance(**changes: Any) -> Equation:
    whole = Equation(
        campaign_id=5,
        name="Phone",
        allotment=100,
        left=40,
        reserved=3,
        unpaid=20,
        paid=35,
        returning=2,
        handed_back=0,
        in_motion=0,
        residue=0,
    )
    return replace(whole, **changes)


def own_process(**changes: Any) -> ProcessState:
    own = psutil.Process()
    state = ProcessState(
        name="web",
        pid=own.pid,
        started_at=own.create_time(),
        ready=True,
        restarts=2,
        log="/data/logs/web.out",
    )
    return replace(state, **changes)


def own_demo(*processes: ProcessState) -> DemoState:
    own = psutil.Process()
    return DemoState(pid=own.pid, started_at=own.create_time(), port=8000, token="t", processes=processes)


def read(
    sale: SaleHealth | None = None, equation: Equation | None = None, demo: DemoState | None = None
) -> Status:
    now = psutil.Process().create_time() + 3725
    pair = (sale or health(), [equation or balance()])
    return status_read(demo=demo, now=now, sale_read=lambda: pair)


def shown(status: Status) -> str:
    stream = io.StringIO()
    status_show(Screen(stream), status)
    return stream.getvalue()


def test_status_of_a_well_shop_is_shown_whole() -> None:
    status = read(demo=own_demo(own_process()))
    memory = status.processes[0].rss_bytes / 1024**2

    assert status.problems == []
    assert shown(status).splitlines() == [
        "Demo at http://127.0.0.1:8000/",
        f"  ✓  web  pid {os.getpid()}  1 h 02 min  {memory:.0f} MB  restarts 2  /data/logs/web.out",
        "",
        "Under way",
        "  outbox          3  entries",
        "  undecided       7  units",
        "  oldest        1.5  s",
        "  dead letters    0  for diagnosis",
        "",
        "allotment = left + reserved + unpaid + paid + returning + handed back",
        "  ✓  5  100 = 40 + 3 + 20 + 35 + 2 + 0  Phone",
        "",
        "✓ All is well.",
    ]


@pytest.mark.parametrize(
    ("sale", "equation", "problem"),
    [
        (
            health(verified=False),
            balance(),
            "The sale's server is not verified: no check has passed since its start",
        ),
        (health(verified=False, problem="boot"), balance(), "The sale's server is not verified: boot"),
        (health(oldest_entry_age_seconds=61), balance(), "A reservation has been waiting for 61 s"),
        (health(), balance(residue=-1), "Campaign 5: -1 units do not add up"),
        (health(), balance(residue=-1, problems=["one sold twice"]), "Campaign 5: one sold twice"),
    ],
)
def test_status_names_what_is_unwell(sale: SaleHealth, equation: Equation, problem: str) -> None:
    status = read(sale, equation)
    assert status.problems == [problem]
    assert f"✗ {problem}" in shown(status)
    assert "All is well" not in shown(status)


def test_status_pause_by_staff_is_shown_and_well() -> None:
    status = read(health(paused_campaigns=[(5, "price check")], relay_lag=4, consumer_lag=9))
    assert status.problems == []
    assert "  campaign 5 is paused: price check" in shown(status)
    assert "  relay lag       4  entries" in shown(status)
    assert "  consumer lag    9  entries" in shown(status)


def test_status_tells_a_dead_process_from_one_that_starts() -> None:
    dead = own_process(name="worker", pid=0, ready=False, log="w.out")
    starting = own_process(ready=False)
    status = read(demo=own_demo(dead, starting))

    assert status.problems == [
        "worker does not run; see w.out",
        "web is not ready yet; see /data/logs/web.out",
    ]
    assert (status.processes[0].rss_bytes, status.processes[0].uptime_seconds) == (0, 0.0)


def test_status_tells_of_a_killed_supervisor() -> None:
    demo = replace(own_demo(own_process()), started_at=1.0)
    status = read(demo=demo)
    assert status.problems == [f"The demo's supervisor (pid {os.getpid()}) was killed. Start it again."]
    assert status.processes == []


def test_status_without_servers_is_unwell_and_not_a_crash() -> None:
    def lost() -> None:
        raise redis.ConnectionError("no such socket")

    status = status_read(demo=None, now=0.0, sale_read=lost)  # type: ignore[arg-type]
    assert status.problems == ["The sale cannot be read: no such socket"]
    assert shown(status).startswith("No demo runs on this data folder.\n")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_screen_colours_only_on_a_terminal_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Screen(Terminal()).mark(True) == "\x1b[32m✓\x1b[0m"
    assert Screen(io.StringIO()).mark(True) == "✓"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Screen(Terminal()).mark(True) == "✓"


def test_screen_writes_words_where_the_encoding_has_no_marks() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Screen(stream).line("✓ 手机 ✗")
    assert raw.getvalue() == b"ok ?? !!\n"


class GoneTerminal(io.StringIO):
    """A stream whose reader is gone."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_screen_outlives_its_terminal() -> None:
    stream = GoneTerminal()
    Screen(stream).line("nobody reads this")
    assert stream.getvalue() == ""


def test_next_sale_is_told_with_zone_and_distance() -> None:
    now = datetime(2026, 1, 1, 12, 0, tzinfo=UTC).astimezone(ZoneInfo("Asia/Shanghai"))
    assert next_sale_text(now + timedelta(seconds=118), now=now) == (
        "Next sale 20:01:58 (Asia/Shanghai), in 1 min 58 s"
    )
    assert next_sale_text(now + timedelta(hours=5), now=now) == "Next sale 01:00:00 (Asia/Shanghai), in 5 h"
    assert next_sale_text(None, now=now) == "No sale is planned."


def test_duration_shows_two_units() -> None:
    assert [duration(value) for value in (5.9, 65, 3725)] == ["5 s", "1 min 05 s", "1 h 02 min"]
