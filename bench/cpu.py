"""CPU time and memory of process trees: user + system, what ended children used included."""

from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Usage:
    """What some processes have used: CPU seconds since their start, resident bytes now."""

    cpu_seconds: float
    rss_bytes: int
    processes: int

    def since(self, earlier: "Usage") -> float:
        """Return the CPU seconds used between the earlier reading and this one."""
        return self.cpu_seconds - earlier.cpu_seconds


def process_tree(pids: Iterable[int]) -> list[psutil.Process]:
    """Return the living processes with these ids and all their descendants, each once."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        try:
            root = psutil.Process(pid)
            members = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        found.update((process.pid, process) for process in members)
    return list(found.values())


def usage(pids: Iterable[int]) -> Usage:
    """Read CPU time and memory of the processes and their descendants.

    A child that ended counts through its parent once that has waited for it, so nothing counts twice.
    """
    cpu_seconds, rss_bytes, count = 0.0, 0, 0
    for process in process_tree(pids):
        try:
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        cpu_seconds += times.user + times.system
        # Linux tells what ended children used; macOS does not.
        cpu_seconds += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        rss_bytes += memory.rss
        count += 1
    return Usage(cpu_seconds=cpu_seconds, rss_bytes=rss_bytes, processes=count)
