"""Numbers every write batch of a database, so that a hole anywhere is seen at the next opening.

Each batch puts one record under its number; the record of the newest batch is also the head of
the database. Old records are dropped only when several memtables' worth of data was written after
them: then they are in checksummed tables, and what could go missing unseen, the write-ahead
file, starts later. The head carries the floor, the oldest number still kept.
"""

from __future__ import annotations

import struct
from collections import deque

from cluster.storage.database import OrderedStore
from cluster.storage.errors import DataDamaged, NewerFormat, OlderFormat

# Version byte at the start of every record. 1 was never released: its states have no digest.
FORMAT = 2
PREFIX = b"b"
STOP = b"c"
# A key that is always there, right behind the batches: LevelDB, asked for the last of them, first
# looks for the next key that lives, and would walk all deleted ones behind them to find it (4 s in
# a log of 700 MiB).
FENCE = (STOP, b"")
MARK_SIZE = 4 * 1024 * 1024  # bytes; one memtable of LevelDB's default
MARKS_KEPT = 4  # memtables of batch records that are always kept
# A steady load adds one record a batch, so two deletions a batch catch up and cost 3 microseconds.
DROPS_PER_BATCH = 2
_KEY = struct.Struct(">cQ")


def batch_key(number: int) -> bytes:
    """The key of batch `number`, counted from 1."""
    return _KEY.pack(PREFIX, number)


def batch_number(key: bytes) -> int:
    """The number in a batch key."""
    number: int = _KEY.unpack(key)[1]
    return number


class Batches:
    """The numbers in use, and which old records may go. Attributes: `number`, the last synced
    batch (0 before the first), `floor`, the oldest whose record is kept."""

    def __init__(self, number: int, floor: int) -> None:
        self.number = number
        self.floor = floor
        self._target = floor  # records below may go
        self._marks: deque[int] = deque()  # numbers that began a new memtable's worth of data
        self._since_mark = 0

    def next_drops(self) -> list[bytes]:
        """Keys of the old batch records that the next batch may delete."""
        stop = min(self._target, self.floor + DROPS_PER_BATCH)
        return [batch_key(number) for number in range(self.floor, stop)]

    def written(self, drops: int, size: int) -> None:
        """The next batch is synced; it deleted `drops` records and held about `size` bytes."""
        self.number += 1
        self.floor += drops
        self._since_mark += size
        if self._since_mark >= MARK_SIZE:
            self._since_mark = 0
            self._marks.append(self.number)
            if len(self._marks) > MARKS_KEPT:
                self._target = self._marks.popleft()


def newest_batch(database: OrderedStore) -> tuple[int, bytes]:
    """Number and record of the newest batch. Raises as `check_format`, StorageFailed."""
    found = database.last(PREFIX, STOP)
    if found is None:
        raise DataDamaged(database.directory, "it holds no batch at all")
    check_format(database, found[1])
    return batch_number(found[0]), found[1]


def check_format(database: OrderedStore, record: bytes) -> None:
    """Raises NewerFormat, OlderFormat or DataDamaged unless the record starts with the version that
    we read."""
    if not record or record[0] == 0:
        raise DataDamaged(database.directory, "a record has no format version")
    if record[0] > FORMAT:
        raise NewerFormat(database.directory, record[0], FORMAT)
    if record[0] < FORMAT:
        raise OlderFormat(database.directory, record[0], FORMAT)


def check_batches(database: OrderedStore, floor: int, number: int) -> None:
    """Every batch from `floor` to `number` is there.

    Raises DataDamaged naming the first missing one, as `check_format`, and StorageFailed.
    """
    expected = floor
    for key, record in database.iterate(batch_key(floor), STOP, fill_cache=False):
        check_format(database, record)
        found = batch_number(key)
        if found != expected:
            raise DataDamaged(database.directory, f"batches {expected} to {found - 1} are missing")
        expected += 1
    if expected != number + 1:
        raise DataDamaged(database.directory, f"batches {expected} to {number} are missing")
