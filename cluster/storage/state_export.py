"""A state as it was at one index, read in chunks while it goes on being written.

One LevelDB iterator sees batch records and pairs as of one moment, so that index and content fit.
The sender of a snapshot reads in an executor; the state may be written, and even closed, meanwhile.
"""

from __future__ import annotations

import threading

from cluster.storage.batches import PREFIX, check_format
from cluster.storage.database import OrderedStore
from cluster.storage.errors import DataDamaged, StorageError, StorageFailed
from cluster.storage.state_records import DATA, after_prefix, decode_state_head
from taskq.pairs import pack_pair


class StateExport:
    """Attributes: `index`, `terms` and `digest`, as `StateStore` has them, of what is read here;
    `closed`."""

    def __init__(self, database: OrderedStore) -> None:
        """Walks the batch records; blocks for milliseconds. Raises DataDamaged, StorageFailed."""
        # LevelDB crashes the process if it is closed in the middle of an iterator's step.
        self._lock = threading.Lock()
        self.closed = False
        self._failure: StorageError | None = None
        self._pairs = database.iterate(PREFIX, after_prefix(DATA), fill_cache=False)
        self._next: tuple[bytes, bytes] | None = None
        head = b""
        for key, value in self._pairs:
            if key.startswith(DATA):
                self._next = key, value
                break
            if key.startswith(PREFIX):
                head = value
        check_format(database, head)
        try:
            _, self.index, self.terms, self.digest = decode_state_head(head)
        except ValueError as error:
            raise DataDamaged(database.directory, str(error)) from error

    def read(self, size: int) -> bytes:
        """The next pairs, packed (`unpack_pairs`): the least that is at least `size` bytes.

        b"" at the end. Raises DataDamaged, and StorageFailed, also where the state or this export
        was closed; from then on every call does, so that a cut export never looks whole.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                return self._pack(size)
            except StorageError as error:
                self._failure = error
                raise

    def _pack(self, size: int) -> bytes:
        pieces: list[bytes] = []
        packed = 0
        while self._next is not None and packed < size:
            key, value = self._next
            pieces.append(pack_pair(key[1:], value))
            packed += len(pieces[-1])
            self._next = next(self._pairs, None)
        return b"".join(pieces)

    def close(self) -> None:
        """Release what is held on the disk; waits for a `read`. A second call does nothing."""
        with self._lock:
            self.closed = True
            self._failure = StorageFailed("the state was closed while it was exported")
            self._pairs.close()
