"""The usual ports, for one `taskq up` at a time: between the look at a port and the moment when a
node listens there, seconds pass, and another `taskq up` may look, too."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Sequence

from taskq.cli.process import is_free


def take(ports: Sequence[int], ends: contextlib.ExitStack) -> bool:
    """Whether these ports are free and no other `taskq up` has taken them; they are ours until
    `ends` ends, or our process does."""
    with contextlib.ExitStack() as marks:
        if not all(_mark(port, marks) and is_free(port) for port in ports):
            return False
        ends.push(marks.pop_all())
    return True


def _mark(port: int, marks: contextlib.ExitStack) -> bool:
    """Takes a name that one process of this network can have at a time. Only Linux has such names
    that leave nothing behind; elsewhere two at a time are not told apart."""
    if sys.platform != "linux":
        return True
    mark = marks.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    try:
        mark.bind(f"\0taskq-port-{port}")
    except OSError:
        return False
    return True
