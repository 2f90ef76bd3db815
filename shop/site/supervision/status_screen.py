"""The tables of `manage.py status`."""

from shop.site.status import ProcessStatus, Status
from shop.site.supervision.screen import BOLD, RED, Screen, shown_path

MEBIBYTE = 1024 * 1024
# The parts of the equation, in the order of the promise.
PARTS = ("left", "reserved", "unpaid", "paid", "returning", "handed_back")


def status_show(screen: Screen, status: Status) -> None:
    """Write processes, lag, equations, and last what is wrong."""
    if status.demo_url:
        screen.line(screen.paint(f"Demo at {status.demo_url}", BOLD))
        screen.table([process_row(screen, process) for process in status.processes], right=(2, 3, 4))
    else:
        screen.line("No demo runs on this data folder.")
    if status.sale is not None:
        screen.line()
        sale_show(screen, status)
    if status.equations:
        screen.line()
        equations_show(screen, status)
    screen.line()
    for problem in status.problems:
        screen.line(f"{screen.mark(False)} {screen.paint(problem, RED)}")
    if not status.problems:
        screen.line(f"{screen.mark(True)} All is well.")


def process_row(screen: Screen, process: ProcessStatus) -> list[str]:
    """Return one process as cells."""
    return [
        screen.mark(process.alive and process.ready),
        process.name,
        f"pid {process.pid}",
        duration(process.uptime_seconds),
        f"{process.rss_bytes / MEBIBYTE:.0f} MB",
        f"restarts {process.restarts}",
        shown_path(process.log),
    ]


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def sale_show(screen: Screen, status: Status) -> None:
    """Write what is under way and how far behind each part is."""
    sale = status.sale
    if sale is None:
        return
    screen.line(screen.paint("Under way", BOLD))
    rows = [
        ["outbox", f"{sale.outbox_entries}", "entries"],
        ["undecided", f"{sale.undecided_units}", "units"],
        ["oldest", f"{sale.oldest_entry_age_seconds:.1f}", "s"],
        ["dead letters", f"{sale.dead_letters}", "for diagnosis"],
    ]
    if sale.relay_lag is not None:
        rows.append(["relay lag", f"{sale.relay_lag}", "entries"])
    if sale.consumer_lag is not None:
        rows.append(["consumer lag", f"{sale.consumer_lag}", "entries"])
    screen.table(rows, right=(1,))
    for campaign_id, reason in sale.paused_campaigns:
        screen.line(f"  campaign {campaign_id} is paused: {reason}")


def equations_show(screen: Screen, status: Status) -> None:
    """Write each campaign's equation, with a mark that tells whether it holds."""
    screen.line(screen.paint("allotment = " + " + ".join(PARTS).replace("_", " "), BOLD))
    rows = []
    for equation in status.equations:
        parts = " + ".join(f"{getattr(equation, part)}" for part in PARTS)
        rows.append(
            [
                screen.mark(equation.holds),
                f"{equation.campaign_id}",
                f"{equation.allotment} = {parts}",
                equation.name,
            ]
        )
    screen.table(rows, right=(1,))
