"""Stands in for `pickle` inside PySyncObj: knows one form, the bytes of one of our entries.

PySyncObj unpickles what it takes from its log and its sockets; one frame from a stranger would run
code (rule A1: nothing unpickles). Its module global `pickle` is replaced by this module, so that
a regular command is always method 0 (`Raft.apply`) with the entry's bytes as argument.
"""

from __future__ import annotations

from typing import Any, NoReturn


def loads(data: bytes) -> tuple[int, tuple[bytes]]:
    """The call that a regular command stands for: (method id, arguments)."""
    return 0, (data,)


def dumps(value: Any, protocol: int | None = None) -> NoReturn:
    """Nothing of ours is pickled; whoever calls this is a bug."""
    raise AssertionError(f"PySyncObj wants to pickle {type(value).__name__}")


to_bytes = loads
load = dump = dumps
