"""The state on disk: an ordered map of keys and values that is exactly the state at one index.

Every write is one synced, numbered batch that carries the index and terms it brings the map to.
The applier writes from one thread; reads may come from another. A checkpoint of the log must never
drop an entry above `index`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.storage.batches import FENCE, Batches, batch_key, check_batches, newest_batch
from cluster.storage.database import OrderedStore
from cluster.storage.errors import DataDamaged, StorageFailed
from cluster.storage.files import is_missing_or_empty
from cluster.storage.opening import Condition, check_folder, create_whole, open_folder
from cluster.storage.state_export import StateExport
from cluster.storage.state_records import DATA, after_prefix, decode_state_head, encode_state_head

# A backlog that is drained changes keys all over the map: with buffers of 4 MiB, merging its tables
# took three times as much processor time.
WRITE_BUFFER_SIZE = 16 * 1024 * 1024
BLOOM_FILTER_BITS = 10  # most lookups are for absent ids; 1 % of them then touch a block


def read_state_head(database: OrderedStore) -> tuple[int, int, int, tuple[int, int], int]:
    """(batch number, floor, index, terms, digest). Raises DataDamaged, NewerFormat, OlderFormat,
    StorageFailed."""
    number, record = newest_batch(database)
    try:
        return number, *decode_state_head(record)
    except ValueError as error:
        raise DataDamaged(database.directory, f"batch {number} is malformed: {error}") from error


def verify_state(database: OrderedStore, condition: Condition) -> None:
    """The batch records have no hole. What the batches hold is not walked: it may be large."""
    number, floor, *_ = read_state_head(database)
    try:
        check_batches(database, floor, number)
    except DataDamaged as damage:
        path, offset = condition.end()
        raise DataDamaged(path, damage.problem, offset=offset) from damage


@dataclass(frozen=True, slots=True)
class CheckedState:
    """A state that was checked and not opened yet: as it was found, the number of its last batch,
    and the index it is at."""

    condition: Condition
    number: int
    index: int

    @property
    def as_received(self) -> bool:
        """Never written since a snapshot brought it (or since it was made empty)."""
        return self.number == 1


class StateStore:
    """An open state. Attributes: `index`, the last applied entry's index that it includes;
    `terms`, the terms of entry index - 1 and of entry index; `digest`, of what the entries up to it
    wrote (A14); `torn`, a torn end was cut off."""

    def __init__(self, database: OrderedStore, *, torn: bool) -> None:
        self._db = database
        self._closed = False
        self._exports: list[StateExport] = []
        # Exports begin in a thread of their own; LevelDB must not be closed meanwhile.
        self._exporting = threading.Lock()
        number, floor, self.index, self.terms, self.digest = read_state_head(database)
        self._batches = Batches(number, floor)
        self.torn = torn

    @classmethod
    def create(cls, directory: Path) -> None:
        """Make an empty state at index 0. Raises DataDamaged if one is there, StorageFailed."""
        record = encode_state_head(1, 0, (0, 0), 0)
        create_whole(
            directory,
            lambda database: database.write([(batch_key(1), record), FENCE]),
            bloom_filter_bits=BLOOM_FILTER_BITS,
        )

    @classmethod
    def open(cls, directory: Path, *, create: bool = True) -> StateStore:
        """Open the state after its batches were checked on a copy.

        With `create`, a missing or empty folder becomes an empty state at index 0. A torn last
        batch is cut off; the log has what it held. Raises DataDamaged, NewerFormat, StorageFailed;
        the folder is then as it was.
        """
        if is_missing_or_empty(directory) and create:
            cls.create(directory)
        return cls.open_checked(cls.check(directory))

    @classmethod
    def check(cls, directory: Path) -> CheckedState:
        """Check an existing state on a copy; nothing is changed. Raises as `open`."""
        found: list[tuple[int, int]] = []

        def verify(database: OrderedStore, condition: Condition) -> None:
            verify_state(database, condition)
            number, _, index, *_ = read_state_head(database)
            found.append((number, index))

        condition = check_folder(directory, verify)
        return CheckedState(condition, *found[0])

    @classmethod
    def open_checked(cls, checked: CheckedState) -> StateStore:
        """Open what `check` found good. Raises StorageFailed."""
        database = open_folder(
            checked.condition,
            bloom_filter_bits=BLOOM_FILTER_BITS,
            write_buffer_size=WRITE_BUFFER_SIZE,
        )
        return cls(database, torn=bool(checked.condition.cuts))

    @property
    def failed(self) -> bool:
        """Whether a write failed; the store must be closed and opened again."""
        return self._db.failed

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None if absent. Raises DataDamaged, StorageFailed."""
        return self._db.get(DATA + key)

    def get_many(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        """As `get` of each."""
        return self._db.get_many([DATA + key for key in wanted])

    def scan(self, prefix: bytes, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` pairs whose keys start with `prefix` and are greater than `after`.

        Ascending by key. Raises DataDamaged, StorageFailed.
        """
        start = prefix if after is None else max(prefix, after + b"\0")
        found: list[tuple[bytes, bytes]] = []
        if limit <= 0:
            return found
        for pair in self.iterate(prefix, start):
            found.append(pair)
            if len(found) == limit:
                break
        return found

    def iterate(
        self, prefix: bytes = b"", start: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with `prefix` from `start` (included) on, as of the first step.

        Raises DataDamaged, StorageFailed while iterating.
        """
        first = DATA + max(prefix, start or b"")
        for key, value in self._db.iterate(first, after_prefix(DATA + prefix)):
            yield key[1:], value

    def write(
        self,
        changes: Mapping[bytes, bytes | None],
        index: int,
        terms: tuple[int, int],
        digest: int,
    ) -> None:
        """Apply `changes` (None deletes) and move to `index`, in one synced batch.

        Raises ValueError if the index falls, StorageFailed when the disk refused; then no further
        write is taken.
        """
        if index < self.index:
            raise ValueError(f"state index {index} after {self.index}")
        drops = self._batches.next_drops()
        floor = self._batches.floor + len(drops)
        puts: list[tuple[bytes, bytes]] = []
        deletes = drops[:]
        size = 0
        for key, value in changes.items():
            size += len(key)
            if value is None:
                deletes.append(DATA + key)
            else:
                size += len(value)
                puts.append((DATA + key, value))
        number = self._batches.number + 1
        puts.append((batch_key(number), encode_state_head(floor, index, terms, digest)))
        self._db.write(puts, deletes)
        self._batches.written(len(drops), size)
        self.index, self.terms, self.digest = index, terms, digest

    def export(self) -> StateExport:
        """All of it as it is now, to be read while writing goes on; in any thread.

        Raises as `StateExport`, and StorageFailed once the state is closed.
        """
        with self._exporting:
            if self._closed:
                raise StorageFailed("the state is closed")
            self._exports = [export for export in self._exports if not export.closed]
            self._exports.append(StateExport(self._db))
            return self._exports[-1]

    def compact(self, start: bytes = b"", stop: bytes | None = None) -> None:
        """Give the space of deleted keys in start <= key < stop back; blocks.

        Raises StorageFailed. Meant for ranges that were emptied, not for all of it.
        """
        end = after_prefix(DATA) if stop is None else DATA + stop
        self._db.compact_range(DATA + start, end)

    def size(self, prefix: bytes = b"") -> int:
        """Bytes under `prefix` in table files, without what is still in memory."""
        stop = after_prefix(DATA + prefix)
        assert stop is not None  # DATA is not 0xff
        return self._db.approximate_size(DATA + prefix, stop)

    def scrub(self) -> Iterator[Path]:
        """Check every table file, one per step. Raises DataDamaged."""
        return self._db.scrub()

    def close(self) -> None:
        """End every export and release the folder. A second call does nothing."""
        with self._exporting:
            self._closed = True
            for export in self._exports:
                export.close()
            self._db.close()
