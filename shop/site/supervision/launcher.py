"""Start one command so that it ends with its supervisor, even when that is killed.

Run as `python -I -S launcher.py SUPERVISOR_PID COMMAND ...`; the process becomes the command, so its pid stays.
A program of its own and not a `preexec_fn`: Python code between fork and exec may deadlock beside other threads.
Only Linux has the call; the guardian covers the rest.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGKILL at the supervisor's end, then become the command."""
    supervisor_pid, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != supervisor_pid:  # it ended before the call above
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  commands of the supervisor


if __name__ == "__main__":
    main()
