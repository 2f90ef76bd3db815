"""Outlive the supervisor and end what it left behind.

Run as `python -I -S guardian.py PIPE_FD`. The supervisor writes `+<group>` for each process group that it started
and `-<group>` when the group is gone. When the pipe closes, by a clean stop or because the supervisor was killed,
every group still on the list gets SIGKILL, last started first. The supervisor's lock on the data folder is
inherited, so a new demo can start only when the old one's processes are gone.
"""

import os
import signal
import sys
import time
from pathlib import Path

GONE_WITHIN_SECONDS = 5  # killed processes end in milliseconds, unless they wait for a disk
POLL_SECONDS = 0.02


def main() -> None:
    """Keep the list until the pipe closes, then end what is on it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: list[int] = []
    with os.fdopen(int(sys.argv[1]), encoding="ascii") as pipe:
        for line in pipe:
            group = int(line[1:])
            if line[0] == "+":
                groups.append(group)
            elif group in groups:
                groups.remove(group)
    end_groups(groups)


def end_groups(groups: list[int]) -> None:
    """Kill the process groups, last started first, and wait a bounded time until they are gone."""
    for group in reversed(groups):
        _kill(group, signal.SIGKILL)
    deadline = time.monotonic() + GONE_WITHIN_SECONDS
    while time.monotonic() < deadline and any(_lives(group) for group in groups):
        time.sleep(POLL_SECONDS)


def _kill(group: int, number: int) -> bool:
    """Signal a group; tell whether it is still there."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        return False
    return True


def _lives(group: int) -> bool:
    """Tell whether a group has a member that is no zombie; who reaps them may take seconds, or never come."""
    if not _kill(group, 0):
        return False
    return sys.platform != "linux" or any(
        _is_member(entry, group) for entry in Path("/proc").glob("[0-9]*/stat")
    )


def _is_member(stat: Path, group: int) -> bool:
    """Tell from a /proc/<pid>/stat whether the process is in the group and no zombie."""
    try:
        state, _parent, process_group, *_rest = stat.read_text().rpartition(")")[2].split()
    except (
        OSError,
        UnicodeDecodeError,
        ValueError,
    ):  # gone meanwhile; a name of any bytes, which is none of ours
        return False
    return int(process_group) == group and state not in "ZX"


if __name__ == "__main__":
    main()
