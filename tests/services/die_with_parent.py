"""Run a command that the kernel kills when the thread that started it is gone.

Used as `python -I -S die_with_parent.py PARENT_PID COMMAND ...`. The process becomes the command, so its pid stays.
It is a program of its own, not a `preexec_fn`, because Python code between fork and exec may deadlock when
other threads run.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGKILL at the parent's end, then become the command."""
    parent_pid, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent_pid:  # it ended before the call above
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
