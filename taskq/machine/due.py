"""Deadlines of one key family, in the order of their keys: family + due (8 bytes) + rest.

Used for schedules (both clocks), TTLs, retention and forgotten ids. `low` is a time before which
no deadline is left; it is part of the state (`state.py` stores it), so that a restart does not
walk the keys that were deleted in front of it. The next deadlines are a cache, a window like that
of ready tasks: everything up to `_edge` is in `_heap` (None: everything there is), and what was
removed meanwhile is in `_gone` until it comes up.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

from taskq.machine import keys
from taskq.machine.view import View

# Later than any time: no deadline is known.
NEVER = (1 << 63) - 1
# Deadlines read ahead at once: about 0.2 MiB.
REFILL_COUNT = 1_024
WINDOW_COUNT_MAX = 4 * REFILL_COUNT


class Due(NamedTuple):
    """A deadline: when, the rest of its key, its value."""

    when: int
    rest: bytes
    value: bytes


class DueIndex:
    """See the module."""

    __slots__ = ("_edge", "_family", "_gone", "_heap", "_view", "low")

    def __init__(self, view: View, family: bytes, low: int) -> None:
        self._view = view
        self._family = family
        self.low = low
        self._heap: list[Due] = []
        self._gone: set[tuple[int, bytes]] = set()
        self._edge: tuple[int, bytes] | None = None
        self._refill((low, b""))

    def add(self, when: int, rest: bytes, value: bytes = b"") -> None:
        """Adds a deadline that is not there yet, earlier than `NEVER`.

        The same one, added again after its removal, has the same value."""
        assert when < NEVER, when
        self._view.create(self._family + keys.u64(when) + rest, value)
        if when < self.low:
            self.low = when
        if self._edge is not None and (when, rest) > self._edge:
            return
        if (when, rest) in self._gone:
            self._gone.remove((when, rest))
            return
        heappush(self._heap, Due(when, rest, value))
        if len(self._heap) > WINDOW_COUNT_MAX:
            self._shrink()

    def remove(self, when: int, rest: bytes) -> None:
        """Removes a deadline that is there."""
        self._view.delete(self._family + keys.u64(when) + rest)
        if self._edge is None or (when, rest) <= self._edge:
            self._gone.add((when, rest))

    def next(self) -> int:
        """The earliest deadline, or NEVER."""
        if self._edge is None and not self._heap:
            return NEVER
        first = self._first()
        return NEVER if first is None else first.when

    def take(self, until: int, limit: int) -> list[Due]:
        """At most `limit` deadlines not later than `until`, earliest first, removed from the index.

        Raises `low`: called at the same index with the same arguments on every node.
        """
        if limit <= 0:
            return []
        taken: list[Due] = []
        while len(taken) < limit:
            first = self._first()
            if first is None or first.when > until:
                break
            heappop(self._heap)
            self._view.delete(self._family + keys.u64(first.when) + first.rest)
            taken.append(first)
        self.low = max(self.low, taken[-1].when if len(taken) == limit else until)
        return taken

    def _first(self) -> Due | None:
        heap, gone = self._heap, self._gone
        while True:
            while gone and heap and heap[0][:2] in gone:
                gone.remove(heappop(heap)[:2])
            if heap:
                return heap[0]
            if self._edge is None:
                return None
            self._refill(self._edge)

    def _refill(self, edge: tuple[int, bytes]) -> None:
        after = self._family + keys.u64(edge[0]) + edge[1]
        found = self._view.scan(self._family, after, REFILL_COUNT)
        # In order, so that the list is a heap; it is changed in place, because `_first` holds it.
        self._heap += [Due(keys.from_u64(key[1:9]), key[9:], value) for key, value in found]
        self._edge = self._heap[-1][:2] if len(found) == REFILL_COUNT else None

    def _shrink(self) -> None:
        """Lets go of what is far away, and of what is gone."""
        live = sorted(due for due in self._heap if due[:2] not in self._gone)
        self._gone.clear()
        if len(live) > REFILL_COUNT:
            del live[REFILL_COUNT:]
            self._edge = live[-1][:2]
        self._heap = live
