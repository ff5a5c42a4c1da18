"""Digests of what entries wrote, so that nodes notice when their states part ways (A14). Pure.

Entries are cut into windows by their index; a node has the digest of a window only if it applied
all of it since its start. Nodes tell each other the newest; equal entries must have equal digests.
"""

from __future__ import annotations

from zlib import crc32

WINDOW = 64
# So many are kept, to compare with a peer that is behind.
KEPT = 256


class Digests:
    """Of one node. `latest`: (window, digest) of the newest whole window; (0, 0) for none."""

    def __init__(self) -> None:
        self._digests: dict[int, int] = {}
        self._digest = 0
        self._next = -1  # the index that goes on the window in hand; -1: wait for a new window
        self.latest = (0, 0)

    def add(self, index: int, written: int) -> None:
        """Entry `index` was applied; `written`: the digest of what it wrote."""
        window, place = divmod(index, WINDOW)
        if place == 0:
            self._digest, self._next = 0, index
        if index != self._next:
            return
        self._digest = crc32(written.to_bytes(4, "big"), self._digest)
        self._next += 1
        if place == WINDOW - 1:
            self._digests[window] = self._digest
            self._digests.pop(window - KEPT, None)
            self.latest = (window, self._digest)

    def of(self, window: int) -> int | None:
        """The digest of a window, None if it is not known (any more)."""
        return self._digests.get(window)
