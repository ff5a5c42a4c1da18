"""How much of a snapshot may be under way between two nodes. Pure; both ends count by it.

The rest of what the leader says, heartbeats above all, waits behind these bytes on the same
connection, and the follower holds them until its disk has them.
"""

from __future__ import annotations

from collections import deque

from taskq.limits import KIB, MIB

# What a chunk is aimed at. One large record makes it larger, up to `CHUNK_SIZE_MAX`.
CHUNK_SIZE = 256 * KIB
COUNT_MAX = 4
SIZE_MAX = MIB


class Window:
    """Chunks that were sent and not answered, or that came and are not written."""

    __slots__ = ("_sizes", "size")

    def __init__(self) -> None:
        self._sizes: deque[int] = deque()
        self.size = 0

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def is_open(self) -> bool:
        """Whether one more chunk is allowed, however large it turns out to be."""
        return len(self._sizes) < COUNT_MAX and self.size + CHUNK_SIZE <= SIZE_MAX

    def push(self, size: int) -> None:
        """One more is under way."""
        self._sizes.append(size)
        self.size += size

    def pop(self) -> None:
        """The oldest has arrived."""
        self.size -= self._sizes.popleft()
