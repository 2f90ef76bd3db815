"""How the shop is: the demo's processes, what is under way, and the equation of every campaign."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
import redis
from django.db import DatabaseError

from shop.resilience.errors import ShopError
from shop.site.demo_state import DemoState, ProcessState, is_process

if TYPE_CHECKING:
    from seckill.conservation import Equation
    from seckill.health import SaleHealth


@dataclass(frozen=True)
class ProcessStatus:
    """A supervised process as it is now. rss_bytes: its own and its children's. restarts: since the demo began."""

    name: str
    pid: int
    alive: bool
    ready: bool
    uptime_seconds: float
    rss_bytes: int
    restarts: int
    log: str


@dataclass
class Status:
    """Everything that `manage.py status` shows. demo_url: None where no demo runs on this data folder.

    sale, equations: None and empty where they cannot be read; problems then says why.
    """

    demo_url: str | None = None
    processes: list[ProcessStatus] = field(default_factory=list)
    sale: "SaleHealth | None" = None
    equations: "list[Equation]" = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def status_read(
    *,
    demo: DemoState | None,
    now: float,
    sale_read: "Callable[[], tuple[SaleHealth, list[Equation]]] | None" = None,
) -> Status:
    """Look at everything. demo: what the supervisor wrote. now: epoch seconds. sale_read: reads lag and equations.

    Servers that cannot be reached are a problem to report, not a crash.
    """
    status = Status()
    if demo is not None:
        _demo_read(status, demo, now)
    try:
        status.sale, status.equations = (sale_read or _sale_read)()
    except (redis.RedisError, DatabaseError, OSError, ShopError) as error:
        status.problems.append(f"The sale cannot be read: {error}")
        return status
    status.problems += sale_problems(status.sale)
    for equation in status.equations:
        status.problems += equation_problems(equation)
    return status


def _demo_read(status: Status, demo: DemoState, now: float) -> None:
    if not demo.running:
        status.problems.append(f"The demo's supervisor (pid {demo.pid}) was killed. Start it again.")
        return
    status.demo_url = demo.url
    status.processes = [process_status(process, now=now) for process in demo.processes]
    for process in status.processes:
        if not process.alive:
            status.problems.append(f"{process.name} does not run; see {process.log}")
        elif not process.ready:
            status.problems.append(f"{process.name} is not ready yet; see {process.log}")


def process_status(process: ProcessState, *, now: float) -> ProcessStatus:
    """Return a process as it is now. now: epoch seconds."""
    alive = process.pid > 0 and is_process(process.pid, process.started_at)
    return ProcessStatus(
        name=process.name,
        pid=process.pid,
        alive=alive,
        ready=process.ready and alive,
        uptime_seconds=now - process.started_at if alive else 0.0,
        rss_bytes=_rss_bytes(process.pid) if alive else 0,
        restarts=process.restarts,
        log=process.log,
    )


def _rss_bytes(pid: int) -> int:
    """Return the resident memory of a process and its children, in bytes."""
    total = 0
    try:
        process = psutil.Process(pid)
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_info().rss
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # it, or a child, has just ended
        return total
    return total


def _sale_read() -> "tuple[SaleHealth, list[Equation]]":
    from seckill.conservation import conservation_all
    from seckill.health import sale_health

    return sale_health(ask_kafka=True), conservation_all()


def equation_problems(equation: "Equation") -> list[str]:
    """Return what is wrong with one campaign's equation, in sentences."""
    found = list(equation.problems)
    if equation.residue and not found:
        found.append(f"{equation.residue} units do not add up")
    return [f"Campaign {equation.campaign_id}: {problem}" for problem in found]


def sale_problems(sale: "SaleHealth") -> list[str]:
    """Return what is wrong with the sale as a whole, in sentences. A pause by staff is not a problem."""
    problems = []
    if not sale.verified or sale.problem:
        problems.append(
            f"The sale's server is not verified: {sale.problem or 'no check has passed since its start'}"
        )
    if sale.undecided_too_long:
        problems.append(f"A reservation has been waiting for {sale.oldest_entry_age_seconds:.0f} s")
    return problems
