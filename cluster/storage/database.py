"""One LevelDB handle: opened strictly, read with checksums, dead after its first failed write.

LevelDB loses later synced writes if it is written on after a failed one, and opens an empty
database over one whose CURRENT is lost; this wrapper makes both impossible. The log store and the
state store use it; nobody else touches LevelDB.
"""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import plyvel

from cluster.storage.errors import DataDamaged, StorageFailed
from cluster.storage.files import is_missing_or_empty
from cluster.storage.manifest import read_manifest, table_path
from cluster.storage.table import check_table

# Tables that are open at a time, and ten for other files. Each costs some 30 KiB for its index and
# filter, and is mapped: 2 MiB that count as resident, though the system may take them back. With 64
# tables, the least that LevelDB takes, claims from a thousand queues cost half as much again.
MAX_OPEN_FILES = 266
WRITE_BUFFER_SIZE = 4 * 1024 * 1024  # bytes; LevelDB's default
# From so many keys on an iterator is worth being made.
ITERATED_COUNT = 8
BLOCK_CACHE_SIZE = 2 * 1024 * 1024  # bytes; the page cache does the rest


class OrderedStore(Protocol):
    """What the stores need of a database; `Database` says what each call does and raises.

    `LogStore` and `StateStore` run on anything that has this face: a simulated disk has it, too.
    """

    @property
    def directory(self) -> Path: ...
    @property
    def failed(self) -> bool: ...
    def fail(self, reason: str) -> None: ...
    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes] = ()) -> None: ...
    def get(self, key: bytes) -> bytes | None: ...
    def get_many(self, wanted: Sequence[bytes]) -> list[bytes | None]: ...
    def iterate(
        self, start: bytes | None = None, stop: bytes | None = None, *, fill_cache: bool = True
    ) -> Generator[tuple[bytes, bytes]]: ...
    def last(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None: ...
    def compact_range(self, start: bytes | None, stop: bytes | None) -> None: ...
    def approximate_size(self, start: bytes, stop: bytes) -> int: ...
    def scrub(self) -> Iterator[Path]: ...
    def close(self) -> None: ...


def _text(error: BaseException) -> str:
    """What LevelDB says; it says it in bytes."""
    first = error.args[0] if error.args else ""
    return first.decode(errors="replace") if isinstance(first, bytes) else str(error)


def _translate(error: Exception, directory: Path, doing: str) -> Exception:
    """Our exception for LevelDB's. A damaged table may also show as an input/output error, as a
    broken block handle points past the end of its file, so every failed read looks for damage.
    """
    text = _text(error)
    damage = find_damage(directory)
    if damage is not None:
        return damage
    if isinstance(error, plyvel.CorruptionError):
        return DataDamaged(directory, f"{doing}: {text}")
    return StorageFailed(f"{doing} in {directory} failed: {text}")


def _unreadable(path: Path, error: OSError) -> Exception:
    """Our exception for a file that cannot be read: damage only where the disk itself says so. No
    permission or no file handle left passes, and nothing may be given up for it."""
    if error.errno == errno.EIO:
        return DataDamaged(path, f"the file is unreadable: {error}")
    return StorageFailed(f"reading {path} failed: {error}")


def find_damage(directory: Path) -> DataDamaged | None:
    """The first damaged or missing table of the database in `directory`, None if all are whole.

    Raises StorageFailed where that cannot be told.
    """
    try:
        tables = read_manifest(directory).tables
    except DataDamaged as damage:
        return damage
    for number, size in sorted(tables.items()):
        path = table_path(directory, number)
        try:
            found = path.stat().st_size
            if found < size:
                return DataDamaged(
                    path, f"the file ends after {found} of {size} bytes", offset=found
                )
            check_table(path)
        except DataDamaged as damage:
            return damage
        except FileNotFoundError:
            return DataDamaged(path, "the file is missing")
        except OSError as error:
            unreadable = _unreadable(path, error)
            if not isinstance(unreadable, DataDamaged):
                raise unreadable from error
            return unreadable
    return None


class Database:
    """An open LevelDB. Reads may come from any thread, writes from one at a time."""

    def __init__(self, handle: Any, directory: Path) -> None:
        self._handle = handle
        self._failure: str | None = None
        self.directory = directory

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        create: bool,
        bloom_filter_bits: int = 0,
        write_buffer_size: int = WRITE_BUFFER_SIZE,
    ) -> Database:
        """Open `directory`; with `create`, a missing or empty folder becomes a new database.

        Up to two times `write_buffer_size` bytes of what was written last are in memory.

        Raises DataDamaged (nothing there, CURRENT lost, strict checks failed), StorageFailed (in
        use, no space, no permission). A folder that cannot be read is never written to.
        """
        empty = is_missing_or_empty(directory)
        if empty and not create:
            raise DataDamaged(directory, "the folder is missing or empty")
        if not empty:
            read_manifest(directory)
        try:
            handle = plyvel.DB(
                str(directory),
                create_if_missing=empty,
                paranoid_checks=True,
                max_open_files=MAX_OPEN_FILES,
                lru_cache_size=BLOCK_CACHE_SIZE,
                bloom_filter_bits=bloom_filter_bits,
                write_buffer_size=write_buffer_size,
                compression=None,
            )
        except plyvel.Error as error:
            raise _translate(error, directory, "opening") from error
        return cls(handle, directory)

    @property
    def failed(self) -> bool:
        """Whether a write failed: this handle is never written again."""
        return self._failure is not None

    def fail(self, reason: str) -> None:
        """Take no more writes, as after a failed one: something that belongs to a batch failed."""
        self._failure = self._failure or reason

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes] = ()) -> None:
        """Apply all deletes, then all puts, in one synced batch.

        Raises StorageFailed; from then on every write does, at once and without trying: what
        LevelDB accepted after a failed write is gone at the next opening.
        """
        if self._failure is not None:
            raise StorageFailed(
                f"{self.directory} takes no writes since one failed ({self._failure}); reopen it"
            )
        try:
            batch = self._handle.write_batch(sync=True)
            for key in deletes:
                batch.delete(key)
            for key, value in puts:
                batch.put(key, value)
            batch.write()
        except BaseException as error:
            self._failure = _text(error) or type(error).__name__
            if isinstance(error, Exception):
                raise StorageFailed(
                    f"writing to {self.directory} failed: {self._failure}"
                ) from error
            raise

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None if absent. Raises DataDamaged, StorageFailed."""
        try:
            value: bytes | None = self._handle.get(key, verify_checksums=True)
        except plyvel.Error as error:
            raise _translate(error, self.directory, "reading") from error
        return value

    def get_many(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        """As `get` of each. Many are read by one iterator: it costs as much, but LevelDB counts
        each `get` that looks into two tables against the first, and soon merges that one."""
        if len(wanted) < ITERATED_COUNT:
            return [self.get(key) for key in wanted]
        found: dict[bytes, bytes | None] = {}
        try:
            with self._handle.raw_iterator(verify_checksums=True) as pairs:
                for key in sorted(wanted):
                    pairs.seek(key)
                    there = pairs.valid() and pairs.key() == key
                    # What an iterator does not see may stand in a block that it passed over.
                    found[key] = pairs.value() if there else self.get(key)
        except plyvel.Error as error:
            raise _translate(error, self.directory, "reading") from error
        return [found[key] for key in wanted]

    def iterate(
        self, start: bytes | None = None, stop: bytes | None = None, *, fill_cache: bool = True
    ) -> Generator[tuple[bytes, bytes]]:
        """Pairs with start <= key < stop in ascending order, as of the first step.

        Raises DataDamaged, StorageFailed while iterating.
        """
        yield from self._walk(
            {"start": start, "stop": stop, "fill_cache": fill_cache, "reverse": False}
        )

    def last(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        """The pair with the greatest key in start <= key < stop. Raises as `iterate`."""
        return next(self._walk({"start": start, "stop": stop, "reverse": True}), None)

    def _walk(self, options: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
        try:
            with self._handle.iterator(verify_checksums=True, **options) as pairs:
                yield from pairs
        except plyvel.Error as error:
            raise _translate(error, self.directory, "reading") from error

    def compact_range(self, start: bytes | None, stop: bytes | None) -> None:
        """Drop deleted keys in the range from the disk; blocks for long. Raises StorageFailed."""
        try:
            self._handle.compact_range(start=start, stop=stop)
        except plyvel.Error as error:
            raise _translate(error, self.directory, "compacting") from error

    def approximate_size(self, start: bytes, stop: bytes) -> int:
        """Bytes in table files for start <= key < stop, without what is still in memory."""
        size: int = self._handle.approximate_size(start, stop)
        return size

    def scrub(self) -> Iterator[Path]:
        """Check every table now in use, one per step, so that the caller sets the pace.

        Raises DataDamaged naming file and byte. A table that a compaction removed meanwhile
        is passed over.
        """
        for number in sorted(read_manifest(self.directory).tables):
            path = table_path(self.directory, number)
            try:
                check_table(path)
            except OSError as error:
                if number in read_manifest(self.directory).tables:
                    raise _unreadable(path, error) from error
            yield path

    def close(self) -> None:
        """Release the folder. A second call does nothing."""
        self._handle.close()
