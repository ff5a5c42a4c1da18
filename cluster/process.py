"""A node as a process of its system: standard streams, stop signals, the file that says "ready".

Knows nothing of queues or disks; `cluster/node.py` uses it, once per process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

OPEN_FILES_MAX = 65_536
# Parameters of glibc's mallopt(3), from malloc.h, and what they are set to. Frames and batches of
# some hundred KiB come and go: from the heap, where glibc puts them after the first, they leave it
# full of holes that the system does not get back (a third of a loaded node's memory).
_MALLOPT = {
    -8: 2,  # M_ARENA_MAX: the loop, and the threads that write
    -3: 256 * 1024,  # M_MMAP_THRESHOLD
    -1: 1024 * 1024,  # M_TRIM_THRESHOLD
}


def bound_memory() -> None:
    """Lets the allocator give back what a burst took, where it is glibc's; before threads start."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    for parameter, value in _MALLOPT.items():
        mallopt(parameter, value)


def allow_open_files() -> None:
    """Raises the soft limit of open files to the hard one, within reason: connections, clients' and
    strangers', have files, and so have the tables of the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # as many as there may be, then
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def fill_standard_streams() -> None:
    """Opens the null device where a parent closed stdin, stdout or stderr.

    Otherwise a socket or a data file gets the number 1 or 2, and whatever prints writes into it;
    libuv ends the process when it closes such a socket.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free: just this one.
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # for good
            setattr(sys, name, stream)


@contextlib.contextmanager
def signals_to(stop: asyncio.Event, reload: Callable[[], None]) -> Iterator[None]:
    """Within the block SIGTERM and SIGINT set `stop`, however often they come; SIGHUP calls
    `reload`, but for the one that says that the terminal of this process was closed: that stops.

    Under `nohup` SIGHUP stays ignored.
    """
    loop = asyncio.get_running_loop()
    had_terminal = _has_terminal()

    def hang_up() -> None:
        if had_terminal and not _has_terminal():
            stop.set()
        else:
            reload()

    handlers: dict[int, Callable[[], None]] = {signal.SIGTERM: stop.set, signal.SIGINT: stop.set}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = hang_up
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
            # It is ending: an impatient second Ctrl-C must not cut that short with a traceback.
            signal.signal(number, signal.SIG_IGN)


def _has_terminal() -> bool:
    """Whether this process belongs to a terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


class ReadyFile:
    """A JSON file that exists while the node serves and says where. Removed by `remove`.

    `write` raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def obstacle(self) -> str:
        """Why the file could not be written later, in words; empty if nothing speaks against it."""
        if self._path.is_dir():
            return f"{self._path} is a folder, not a file"
        folder = self._path.parent
        if not folder.is_dir():
            return f"the folder {folder} does not exist"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"no permission to write in {folder}"
        return ""

    def write(self, content: Mapping[str, Any]) -> None:
        """Makes the file whole in one step: whoever sees it can read all of it."""
        aside = self._path.with_name(self._path.name + ".new")
        aside.write_text(json.dumps({**content, "pid": os.getpid()}) + "\n")
        aside.replace(self._path)

    def remove(self) -> None:
        """The node serves no more, or never did. A second call does nothing."""
        self._path.unlink(missing_ok=True)
