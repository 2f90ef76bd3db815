"""Ends a process whose parent is gone."""

import os
import signal
import threading
import time

GRACE_SECONDS = 5.0


def exit_with_parent(poll_seconds: float = 0.5, *, parent_pid: int | None = None) -> threading.Thread:
    """Start a daemon thread that ends this process when its parent has died: SIGTERM, after 5 s SIGKILL.

    A supervisor that was killed with SIGKILL can end nobody; its children would live on, keep their ports and
    serve old code. parent_pid: the expected parent when the caller knows it; without it the parent of this
    moment, so a parent that died before the call goes unnoticed. A process whose parent is the init process
    never ends by this.

    Polling, not Linux's PR_SET_PDEATHSIG: that signal follows the thread that forked, so a child started by a
    short-lived thread of a living supervisor would be killed, and other systems lack it. A poll is one system call.
    """
    expected = os.getppid() if parent_pid is None else parent_pid
    thread = threading.Thread(
        target=_watch, args=(expected, poll_seconds), name="exit-with-parent", daemon=True
    )
    thread.start()
    return thread


def _watch(parent_pid: int, poll_seconds: float) -> None:
    while os.getppid() == parent_pid:
        time.sleep(poll_seconds)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
