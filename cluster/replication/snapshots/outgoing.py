"""One state on its way to one peer, at the leader. Pure: it counts, `SnapshotSender` acts.

OPENING --Begin--> SENDING --End--> INSTALLING --Installed--> done     at any time: ENDED
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from enum import Enum, auto

from cluster.replication.snapshots.faces import StateExport
from cluster.replication.snapshots.messages import FORMAT, Begin, Chunk, End, Stream
from cluster.replication.snapshots.window import CHUNK_SIZE, Window


class Phase(Enum):
    """See the module."""

    OPENING = auto()
    SENDING = auto()
    INSTALLING = auto()
    ENDED = auto()


class Outgoing:
    """`index`: what the follower must find in the log afterwards begins above it; 0 while it is not
    known. `reading`: the executor has it. `resting`: the next chunk is not due."""

    def __init__(self, peer_id: str, stream: Stream) -> None:
        self.peer_id = peer_id
        self.stream = stream
        self.phase = Phase.OPENING
        self.index = 0
        self.export: StateExport | None = None
        self.reading = self.resting = False
        self.size = 0
        self._window = Window()
        self._count = 0
        self._crc = 0

    def opened(self, export: StateExport) -> Begin:
        """The state can be read."""
        self.phase = Phase.SENDING
        self.export = export
        self.index = export.index
        return Begin(self.stream, FORMAT, export.index, export.terms, export.digest)

    @property
    def may_read(self) -> bool:
        """Whether the next chunk is wanted now."""
        held = self.reading or self.resting
        return self.phase is Phase.SENDING and not held and self._window.is_open

    def read(self, thread_secs: Callable[[], float]) -> tuple[bytes, float]:
        """The next chunk, empty at the end, and the processor time that it took, in seconds; in the
        executor. Raises as `StateExport.read`."""
        assert self.export is not None
        began = thread_secs()
        data = self.export.read(CHUNK_SIZE)
        self._crc = zlib.crc32(data, self._crc)
        return data, thread_secs() - began

    def next(self, data: bytes) -> Chunk | End:
        """What `read` gave, as it is sent."""
        if not data:
            self.phase = Phase.INSTALLING
            return End(self.stream, self._count, self._crc)
        self._window.push(len(data))
        self.size += len(data)
        self._count += 1
        return Chunk(self.stream, self._count - 1, data)

    def taken(self, sequence: int) -> bool:
        """The follower has that chunk; false where it cannot mean it."""
        if not len(self._window) or sequence != self._count - len(self._window):
            return False
        self._window.pop()
        return True

    def installed(self, index: int) -> bool:
        """The follower has the state; false where it cannot mean it."""
        whole = self.phase is Phase.INSTALLING and not len(self._window)
        return whole and index == self.index
