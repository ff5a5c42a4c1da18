"""Child processes that end with their parent, however it ended.

A parent that is killed outright (SIGKILL, out of memory) cannot stop its children; left alone,
a pool process would run on, and a demo's broker would keep its port.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

# From <linux/prctl.h>: the kernel sends the given signal when the parent is gone.
_PR_SET_PDEATHSIG = 1
# Where the kernel has no such service: how often, in seconds, a child looks for its parent.
_POLL_SECS = 1.0


def end_with_parent(parent_pid: int, number: int) -> None:
    """Has this process get signal `number` as soon as its parent, `parent_pid`, is gone.

    Called in the child, before it does anything that matters.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent_pid:  # it went away before the call
            os.kill(os.getpid(), number)
    elif sys.platform != "win32":
        watcher = threading.Thread(target=_watch, args=(parent_pid, number), daemon=True)
        watcher.start()


def _watch(parent_pid: int, number: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_POLL_SECS)
    os.kill(os.getpid(), number)


def send_signal(pid: int, number: int) -> None:
    """Sends a signal to a child that leads a session of its own, and to what that child started.

    A child that is already gone is no error.
    """
    try:
        if sys.platform == "win32":
            os.kill(pid, number)
        else:
            os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        # PermissionError: macOS says so for a child that has ended and was not waited for.
        pass


# What ends a process at once; Windows knows only the one way.
KILL = signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL
