"""Deadlines of one key family, in the order of their keys: family + due (8 bytes) + rest.

Used for schedules (both clocks), TTLs, retention and forgotten ids. `low` is a time before which
no deadline is left; it is part of the state (`state.py` stores it), so that a restart does not
walk the keys that were deleted in front of it. What is next is a cache.
"""

from __future__ import annotations

from typing import NamedTuple

from taskq.machine import keys
from taskq.machine.view import View

# Later than any time: no deadline is known.
NEVER = (1 << 63) - 1


class Due(NamedTuple):
    """A deadline: when, the rest of its key, its value."""

    when: int
    rest: bytes
    value: bytes


class DueIndex:
    """See the module."""

    __slots__ = ("_family", "_head", "_next", "_view", "low")

    def __init__(self, view: View, family: bytes, low: int) -> None:
        self._view = view
        self._family = family
        self.low = low
        self._head: bytes | None = None  # no live key is less; None: start from `low`
        self._next: int | None = None  # the earliest deadline; None: not known

    def add(self, when: int, rest: bytes, value: bytes = b"") -> None:
        """Adds a deadline that is not there yet, earlier than `NEVER`."""
        assert when < NEVER, when
        key = self._family + keys.u64(when) + rest
        self._view.create(key, value)
        if when < self.low:
            self.low = when
        if self._head is not None and key < self._head:
            self._head = key
        if self._next is not None and when < self._next:
            self._next = when

    def remove(self, when: int, rest: bytes) -> None:
        """Removes a deadline."""
        self._view.delete(self._family + keys.u64(when) + rest)
        if self._next is not None and when <= self._next:
            self._next = None

    def next(self) -> int:
        """The earliest deadline, or NEVER."""
        if self._next is None:
            found = self._scan(1)
            self._next = keys.from_u64(found[0][0][1:9]) if found else NEVER
            if found:
                self._head = found[0][0]
        return self._next

    def take(self, until: int, limit: int) -> list[Due]:
        """At most `limit` deadlines not later than `until`, earliest first, removed from the index.

        Raises `low`: called at the same index with the same arguments on every node.
        """
        if limit <= 0:
            return []
        if self.next() > until:
            found = []  # spares a scan of `limit`; `low` rises all the same
        else:
            found = [pair for pair in self._scan(limit) if keys.from_u64(pair[0][1:9]) <= until]
        taken = [Due(keys.from_u64(key[1:9]), key[9:], value) for key, value in found]
        for key, _ in found:
            self._view.delete(key)
        if len(taken) == limit:
            self.low = max(self.low, taken[-1].when)
        else:
            self.low = max(self.low, until)
        if found:
            self._head = found[-1][0]
            self._next = None
        return taken

    def _scan(self, limit: int) -> list[tuple[bytes, bytes]]:
        start = self._head
        if start is None:
            start = self._family + keys.u64(self.low)
        # The key before `start`: a live key may be equal to it.
        after = (
            start[:-1] if start[-1] == 0 else start[:-1] + bytes((start[-1] - 1,)) + b"\xff" * 40
        )
        return self._view.scan(self._family, after, limit)
