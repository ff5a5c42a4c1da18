"""The view: the ordered map of bytes that the machine works on, and the one kept in memory.

A node's view is an overlay over LevelDB (`cluster/storage`); tests and simulation use `MemoryView`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from typing import Protocol


class View(Protocol):
    """What the machine may do with the state."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    def get_many(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        """As `get` of each, which together may cost less."""

    def put(self, key: bytes, value: bytes) -> None:
        """Sets the value of a key, whether it exists or not."""

    def create(self, key: bytes, value: bytes) -> None:
        """Sets the value of a key that is absent now: if deleted soon, it never reaches a disk."""

    def delete(self, key: bytes) -> None:
        """Removes a key, whether it exists or not."""

    def scan(self, prefix: bytes, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` pairs whose keys start with `prefix` and are greater than `after`."""


class MemoryView:
    """A view in memory: a dictionary and the sorted list of its keys."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self._order: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def get_many(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in wanted]

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.values:
            insort(self._order, key)
        self.values[key] = value

    def create(self, key: bytes, value: bytes) -> None:
        assert key not in self.values, key
        self.put(key, value)

    def delete(self, key: bytes) -> None:
        if self.values.pop(key, None) is not None:
            del self._order[bisect_left(self._order, key)]

    def scan(self, prefix: bytes, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        order = self._order
        if after is None or after < prefix:
            position = bisect_left(order, prefix)
        else:
            position = bisect_right(order, after)
        found: list[tuple[bytes, bytes]] = []
        while position < len(order) and len(found) < limit and order[position].startswith(prefix):
            found.append((order[position], self.values[order[position]]))
            position += 1
        return found
