"""The running digest of what entries wrote, so that nodes notice when their states part ways (A14).

It belongs to the state at an index and takes in what each entry wrote, from the first on: it is
stored with the state and travels with a snapshot. Where two nodes once differed they differ at
every later index, over restarts, too; CRC-32 shows for certain where one entry wrote something
else, and all but one in four milliards of other differences. Pure.
"""

from __future__ import annotations

from zlib import crc32

# Digests are compared at indices that are multiples of this.
WINDOW = 64
# So many are kept, to compare with a peer that is behind.
KEPT = 256


class Digests:
    """Of one node, whose state is at `index` and has `digest`. `latest`: (index, digest) of the
    newest that can be compared; (0, 0) for none."""

    def __init__(self, index: int, digest: int) -> None:
        self._kept: dict[int, int] = {}
        self.digest = digest
        self.latest = (0, 0)
        if index and index % WINDOW == 0:
            self._keep(index)

    def add(self, index: int, written: int) -> None:
        """Entry `index`, the next, was applied; `written`: the digest of what it wrote."""
        self.digest = crc32(written.to_bytes(4, "big"), self.digest)
        if index % WINDOW == 0:
            self._keep(index)

    def _keep(self, index: int) -> None:
        self._kept[index] = self.digest
        self._kept.pop(index - KEPT * WINDOW, None)
        self.latest = (index, self.digest)

    def of(self, index: int) -> int | None:
        """The digest at an index, None if it is not known (any more)."""
        return self._kept.get(index)
