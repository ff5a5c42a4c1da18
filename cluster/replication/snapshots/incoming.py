"""One state on its way in, at the follower. Pure: it counts, `SnapshotReceiver` acts.

TAKING --all written, counted, checked--> FINISHING --synced--> READY --> installed
   |                                                              |
   `--> forgotten: whatever goes wrong                            `--> DISMISSED: no use any more
"""

from __future__ import annotations

import zlib
from collections import deque
from enum import Enum, auto

from cluster.replication.snapshots.faces import IncomingState
from cluster.replication.snapshots.messages import Begin, Chunk, End
from cluster.replication.snapshots.window import Window


class Phase(Enum):
    """See the module."""

    TAKING = auto()
    FINISHING = auto()
    READY = auto()
    DISMISSED = auto()


class Incoming:
    """`waiting`: chunks that came and are not written; `state`: None until it is begun."""

    def __init__(self, peer_id: str, begin: Begin) -> None:
        self.peer_id = peer_id
        self.stream = begin.stream
        self.index = begin.index
        self.terms = begin.terms
        self.digest = begin.digest
        self.phase = Phase.TAKING
        self.state: IncomingState | None = None
        self.waiting: deque[bytes] = deque()
        self.end: End | None = None
        self._window = Window()
        self._arrived = 0
        self._crc = 0

    def take(self, message: Chunk | End) -> bool:
        """Holds it for the disk; false where it is not what comes next, or too much."""
        if self.end is not None:
            return False
        if isinstance(message, End):
            self.end = message
            return message.count == self._arrived
        if message.sequence != self._arrived or not self._window.is_open:
            return False
        self._arrived += 1
        self._window.push(len(message.data))
        self.waiting.append(message.data)
        return True

    def write(self, data: bytes) -> None:
        """Writes the oldest that waits; in the executor. Raises as `IncomingState.add`."""
        assert self.state is not None
        self.state.add(data)
        self._crc = zlib.crc32(data, self._crc)

    def written(self) -> int:
        """`write` is done; the chunk's number."""
        self.waiting.popleft()
        self._window.pop()
        return self._arrived - len(self.waiting) - 1

    @property
    def is_written(self) -> bool:
        """Everything came and is written."""
        return self.end is not None and not self.waiting

    @property
    def is_whole(self) -> bool:
        """What is written is what was read."""
        return self.end is not None and self.end.crc == self._crc
