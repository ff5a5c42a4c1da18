"""An ordered map of bytes in memory, as cheap as a dictionary where nothing is inserted."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator


class SortedMap:
    """`values`: the pairs; walking them goes by key."""

    def __init__(self, values: dict[bytes, bytes] | None = None) -> None:
        self.values = dict(values or {})
        self._order = sorted(self.values)

    def apply(self, operations: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Puts, and deletes where the value is None, in order."""
        values, order = self.values, self._order
        for key, value in operations:
            if value is not None:
                if key not in values:
                    insort(order, key)
                values[key] = value
            elif values.pop(key, None) is not None:
                del order[bisect_left(order, key)]

    def walk(
        self, start: bytes | None, stop: bytes | None, *, backwards: bool = False
    ) -> Iterator[bytes]:
        """Keys with start <= key < stop; the map must not change meanwhile."""
        order = self._order
        low = bisect_left(order, start) if start is not None else 0
        high = bisect_left(order, stop) if stop is not None else len(order)
        places = range(high - 1, low - 1, -1) if backwards else range(low, high)
        for place in places:
            yield order[place]
