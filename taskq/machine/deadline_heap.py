"""Things with a deadline, earliest first: leases and workers.

A heap whose entries may be too early: a deadline that moves back is not looked up, its entry is
put right when it comes up. Whoever brings a deadline forward pushes it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

from taskq.machine.due import NEVER


class Timed(Protocol):
    """What has a deadline, in cluster time."""

    @property
    def deadline(self) -> int: ...


Key = TypeVar("Key", int, bytes)
Item = TypeVar("Item", bound=Timed)


class DeadlineHeap(Generic[Key, Item]):
    """The deadlines of `items`, which the owner changes; ties are in the order of the keys."""

    __slots__ = ("_heap", "_items")

    def __init__(self, items: Mapping[Key, Item]) -> None:
        self._items: Mapping[Key, Item] = items
        self._heap: list[tuple[int, Key]] = []
        self._rebuild()

    def push(self, key: Key, deadline: int) -> None:
        """An item was added, or its deadline may have come nearer."""
        heappush(self._heap, (deadline, key))
        # Entries of items that are gone, or pushed again and again, must not fill our memory.
        if len(self._heap) > 64 + 4 * len(self._items):
            self._rebuild()

    def next(self) -> int:
        """The earliest deadline, or NEVER."""
        heap = self._heap
        while heap:
            when, key = heap[0]
            item = self._items.get(key)
            if item is not None and item.deadline == when:
                return when
            heappop(heap)
            if item is not None and item.deadline > when:
                heappush(heap, (item.deadline, key))
        return NEVER

    def first(self, until: int) -> Item | None:
        """The item that is due first, if it is due not later than `until`. It stays."""
        return None if self.next() > until else self._items[self._heap[0][1]]

    def _rebuild(self) -> None:
        self._heap = [(item.deadline, key) for key, item in self._items.items()]
        heapify(self._heap)
