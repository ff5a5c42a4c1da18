"""A state that is being received from another node, built beside the one in use.

    begin --> add, add, ... --> finish --> (the next opening) it is the state
                  `--> discard        `--> discard

Every call blocks and comes from one thread. A crash before `finish` returns leaves nothing, or all
of it. Only the last batch carries a head: whatever is cut off its end, the rest is never taken for
a state.
"""

from __future__ import annotations

from pathlib import Path

from cluster.storage.batches import FENCE, batch_key
from cluster.storage.database import Database
from cluster.storage.errors import StorageFailed
from cluster.storage.files import discard_unfinished, sync_tree
from cluster.storage.state_records import DATA, encode_state_head
from cluster.storage.state_store import BLOOM_FILTER_BITS
from cluster.storage.swap import decide_received, drop_received, incoming_name
from taskq.pairs import unpack_pairs


class IncomingState:
    """Being built. Attributes: `index`, `terms`, `digest`, which the state will have; `size`, bytes
    of the chunks so far; `open`, it takes chunks; `finished`."""

    def __init__(self, directory: Path, index: int, terms: tuple[int, int], digest: int) -> None:
        """Begins the replacement of the state at `directory`; an unfinished older one is wiped.

        Raises ValueError for an index below 1, StorageFailed.
        """
        if index < 1:
            raise ValueError(f"a snapshot at index {index}")
        self.index, self.terms, self.digest = index, terms, digest
        self.size = 0
        self.open, self.finished = True, False
        self._directory = directory
        self._building = incoming_name(directory)
        self._last_key: bytes | None = None
        try:
            discard_unfinished(self._building)
        except OSError as error:
            raise StorageFailed(f"clearing {self._building} failed: {error}") from error
        self._db = self._open_database(create=True)

    def _open_database(self, *, create: bool) -> Database:
        return Database.open(self._building, create=create, bloom_filter_bits=BLOOM_FILTER_BITS)

    def add(self, chunk: bytes) -> None:
        """Write the pairs of one chunk of `StateExport.read`, in one synced batch.

        Synced each, so that a large state never makes the log wait for its bytes at the end. Raises
        ValueError for a malformed chunk, of which nothing is written, or out of turn; StorageFailed
        when the disk refused: then nothing is left to do but `discard`.
        """
        if not self.open:
            raise ValueError("a chunk for a state that is finished or discarded")
        pairs = unpack_pairs(chunk, self._last_key)
        self._db.write((DATA + key, value) for key, value in pairs)
        self._last_key = pairs[-1][0]
        self.size += len(chunk)

    def finish(self) -> None:
        """Complete it, durably: the next opening of the stores puts it in the state's place.

        The state in use must not be written on for long: what it gains is given up. Raises
        ValueError out of turn, DataDamaged, StorageFailed; then it is not in place, and
        `discard` clears up.
        """
        if not self.open:
            raise ValueError("this state is finished or discarded")
        head = encode_state_head(1, self.index, self.terms, self.digest)
        self._db.write([(batch_key(1), head), FENCE])
        self._db.close()
        self.open = False
        # Opened once more, what was in the write-ahead file is in a checksummed table.
        self._open_database(create=False).close()
        try:
            sync_tree(self._building)
            decide_received(self._directory)
        except OSError as error:
            raise StorageFailed(f"finishing {self._building} failed: {error}") from error
        self.finished = True

    def discard(self) -> None:
        """Give it up, even when finished, as long as no opening has put it in place.

        A second call does nothing. Raises StorageFailed.
        """
        self._db.close()
        self.open = False
        try:
            discard_unfinished(self._building)
            if self.finished:
                drop_received(self._directory)
        except OSError as error:
            raise StorageFailed(f"discarding {self._building} failed: {error}") from error
        self.finished = False
