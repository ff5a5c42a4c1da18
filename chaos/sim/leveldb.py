"""LevelDB's files as they behave (`shared/leveldb.md`), and a handle with the face of plyvel's.

    write --> newest write-ahead file --full--> a new one, the old one is closed, not synced
                                                --a few writes later--> tables, old one gone

A synced write syncs the newest write-ahead file and no other. At a power cut the unsynced end of
each file vanishes or tears, independently of the others. After a failed write the file goes on
behind garbage: whatever is written then, synced or not, cannot be read at the next opening.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.sim.sorted_map import SortedMap
from cluster.storage.database import Database
from cluster.storage.errors import DataDamaged

Operation = tuple[bytes, bytes | None]  # key, value; None deletes

# A memtable: small, so that files rotate many times in a minute.
MEMTABLE_SIZE = 24 * 1024
# Writes after which the closed file of a full memtable has become tables.
TABLES_AFTER = 3


@dataclass(slots=True)
class Record:
    """A batch in a write-ahead file. `readable`: no bit of it was lost or changed."""

    operations: list[Operation]
    size: int
    synced: bool = False
    readable: bool = True


@dataclass(slots=True)
class WriteAhead:
    """A write-ahead file. `spoiled`: a write failed in it, nothing after that can be read."""

    records: list[Record] = field(default_factory=list)
    size: int = 0
    spoiled: bool = False

    def append(self, record: Record) -> None:
        """Writes it at the end; not synced."""
        record.readable = record.readable and not self.spoiled
        self.records.append(record)
        self.size += record.size

    def sync(self) -> None:
        """Everything in it is on the medium."""
        for record in reversed(self.records):
            if record.synced:
                break
            record.synced = True

    def lose_power(self, chance: random.Random) -> int:
        """Of the unsynced end a part stays, the next record may be torn; how many are lost."""
        kept = len(self.records)
        while kept and not self.records[kept - 1].synced:
            kept -= 1
        unsynced = len(self.records) - kept
        if not unsynced:
            return 0
        written = chance.randint(0, unsynced)
        torn = written < unsynced and chance.random() < 0.5
        del self.records[kept + written + torn :]
        if torn:
            self.records[-1].readable = False
        for record in self.records:
            record.synced = True
        return unsynced - written


class Files:
    """A database's folder. `tables`: what became tables, always synced; `rotten`: keys of tables
    whose bytes changed; `write_aheads`: oldest first."""

    def __init__(self, tables: dict[bytes, bytes] | None = None) -> None:
        self.tables = SortedMap(tables)
        self.rotten: set[bytes] = set()
        self.write_aheads = [WriteAhead()]

    @property
    def size(self) -> int:
        """Bytes in write-ahead files."""
        return sum(one.size for one in self.write_aheads)

    def records(self) -> list[Record]:
        """Those of all write-ahead files."""
        return [record for one in self.write_aheads for record in one.records]

    def lose_power(self, chance: random.Random) -> int:
        """How many records were lost."""
        return sum(one.lose_power(chance) for one in self.write_aheads)

    def is_torn(self, directory: Path) -> bool:
        """Whether the end is torn, as a power cut leaves it. Raises DataDamaged where an
        unreadable record is followed by one that survives."""
        broken = False
        for record in self.records():
            if record.readable and broken:
                raise DataDamaged(directory, "a batch is unreadable, and later ones are there")
            broken = broken or not record.readable
        return broken

    def recover(self) -> SortedMap:
        """What a database that opens these files holds; its write-ahead files become tables."""
        readable = (record for record in self.records() if record.readable)
        for record in readable:
            self.tables.apply(record.operations)
            self.rotten.difference_update(key for key, _ in record.operations)
        self.write_aheads = [WriteAhead()]
        return SortedMap(self.tables.values)

    def content(self) -> SortedMap:
        """What `recover` would give, without changing anything."""
        found = SortedMap(self.tables.values)
        for record in self.records():
            if record.readable:
                found.apply(record.operations)
        return found


class Batch:
    """As `plyvel.DB.write_batch`."""

    def __init__(self, handle: Handle, sync: bool) -> None:
        self._handle = handle
        self._sync = sync
        self._operations: list[Operation] = []
        self._size = 0

    def put(self, key: bytes, value: bytes) -> None:
        self._operations.append((key, value))
        self._size += len(key) + len(value) + 8

    def delete(self, key: bytes) -> None:
        self._operations.append((key, None))
        self._size += len(key) + 4

    def write(self) -> None:
        self._handle.write(self._operations, self._size, self._sync)


class Walk:
    """As `plyvel.DB.iterator`: it sees what was there when it began, whatever is written since."""

    def __init__(self, handle: Handle, keys: Iterator[bytes]) -> None:
        self._handle = handle
        self._keys = keys
        self._rest: deque[tuple[bytes, bytes]] | None = None

    def __enter__(self) -> Walk:
        self._handle.walks.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.walks.remove(self)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        while True:
            if self._rest is not None:
                while self._rest:
                    yield self._rest.popleft()
                return
            key = next(self._keys, None)
            if key is None:
                return
            yield self._pair(key)

    def _pair(self, key: bytes) -> tuple[bytes, bytes]:
        value = self._handle.get(key)
        assert value is not None, "changed during a walk"
        return key, value

    def freeze(self) -> None:
        """Something is about to be written: keeps what it has yet to give."""
        if self._rest is None:
            values = self._handle.values
            self._rest = deque((key, values[key]) for key in self._keys)


class Seeker:
    """LevelDB's raw iterator, as far as it is asked for single keys."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._key = b""
        self._value: bytes | None = None

    def __enter__(self) -> Seeker:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def seek(self, key: bytes) -> None:
        self._key, self._value = key, self._handle.get(key)

    def valid(self) -> bool:
        return self._value is not None

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        assert self._value is not None
        return self._value


class Handle:
    """An open database. `before_write(size)` raises where the disk refuses (OSError) and where the
    machine is gone; `spoils()`: whether a failed write leaves garbage and the handle goes on."""

    def __init__(
        self,
        files: Files,
        directory: Path,
        before_write: Callable[[int], None],
        spoils: Callable[[], bool],
    ) -> None:
        self._files = files
        self._directory = directory
        self._before_write = before_write
        self._spoils = spoils
        self._content = files.recover()
        self._writes_since_full = 0
        self._stuck = ""
        self.walks: list[Walk] = []
        self.closed = False

    @property
    def values(self) -> dict[bytes, bytes]:
        """All pairs."""
        return self._content.values

    def write_batch(self, *, sync: bool = False) -> Batch:
        return Batch(self, sync)

    def write(self, operations: list[Operation], size: int, sync: bool) -> None:
        """Raises OSError."""
        assert not self.closed, "a write to a closed database"
        if self._stuck:
            raise OSError(self._stuck)
        newest = self._files.write_aheads[-1]
        try:
            self._before_write(size)
        except OSError as error:
            newest.append(Record(operations, size, readable=False))
            newest.spoiled = True
            if not self._spoils():
                self._stuck = str(error)
            raise
        if newest.size >= MEMTABLE_SIZE:
            newest = WriteAhead()
            self._files.write_aheads.append(newest)
        newest.append(Record(operations, size))
        if sync:
            newest.sync()
        for walk in self.walks:
            walk.freeze()
        self._content.apply(operations)
        self._make_tables()

    def _make_tables(self) -> None:
        files = self._files
        if len(files.write_aheads) < 2:
            return
        self._writes_since_full += 1
        if self._writes_since_full < TABLES_AFTER:
            return
        self._writes_since_full = 0
        while len(files.write_aheads) > 1:
            for record in files.write_aheads.pop(0).records:
                # From memory, so also what its file could not give back.
                files.tables.apply(record.operations)

    def get(self, key: bytes, **_: Any) -> bytes | None:
        if key in self._files.rotten:
            raise DataDamaged(self._directory, "a block does not match its checksum")
        return self._content.values.get(key)

    def iterator(
        self,
        *,
        start: bytes | None = None,
        stop: bytes | None = None,
        reverse: bool = False,
        **_: Any,
    ) -> Walk:
        return Walk(self, self._content.walk(start, stop, backwards=reverse))

    def raw_iterator(self, **_: Any) -> Seeker:
        return Seeker(self)

    @classmethod
    def frozen(cls, files: Files, directory: Path, content: SortedMap) -> Handle:
        """One for reading, over a content that does not change."""
        handle = Handle.__new__(Handle)
        handle._files, handle._directory, handle._content = files, directory, content
        handle.walks = []
        handle.closed = False
        return handle

    def compact_range(self, start: bytes | None = None, stop: bytes | None = None) -> None:
        """Space is not modelled that finely."""

    def approximate_size(self, start: bytes, stop: bytes) -> int:
        """As LevelDB: of tables only, so next to nothing in a minute."""
        return 0

    def close(self) -> None:
        self.closed = True


class SimDatabase(Database):
    """The real wrapper over a simulated handle; only the scrub reads files by itself."""

    def __init__(self, handle: Any, directory: Path, files: Files) -> None:
        super().__init__(handle, directory)
        self._files = files

    def scrub(self) -> Iterator[Path]:
        if self._files.rotten:
            raise DataDamaged(self.directory, "a table does not match its checksum")
        yield self.directory


def packed(values: Mapping[bytes, bytes]) -> Record:
    """A synced record that puts these pairs."""
    operations: list[Operation] = list(values.items())
    return Record(operations, sum(len(key) + len(value) for key, value in values.items()), True)
