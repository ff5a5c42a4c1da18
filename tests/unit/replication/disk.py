"""A disk in memory: log and state that survive a crash exactly as far as their writes returned.

They stand in for `LogStore` and `StateStore` and keep their rules: a log batch goes through the
real `plan_batch`, a write that was not carried out leaves nothing, and a failed handle is dead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cluster.storage.errors import StorageFailed
from cluster.storage.log_plan import plan_batch
from cluster.storage.log_records import (
    Entry,
    Head,
    LogBatch,
    entry_command,
    entry_index,
    entry_key,
    entry_term,
)
from taskq.machine.view import MemoryView


class Disk:
    """What is stored. `history`: every entry that ever reached the log, for the account."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.head = Head(1)
        self.batches = 0
        self.state = MemoryView()
        self.state_index = 0
        self.state_terms = (0, 0)
        self.state_digest = 0
        self.history: dict[int, tuple[int, bytes]] = {}
        self.members = (0, 0)

    def note_members(self, members: tuple[int, int]) -> None:
        """Outside of the log."""
        self.members = members

    def entries(self) -> list[Entry]:
        """What the log holds."""
        indices = range(self.head.first, self.head.last + 1) if self.head.last else ()
        found = [(index, self.records[entry_key(index)]) for index in indices]
        return [(index, entry_term(record), entry_command(record)) for index, record in found]


class MemoryLog:
    """An open log."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.note = disk
        self._failed = False
        self._adopt()

    def _adopt(self) -> None:
        head = self._disk.head
        self.first_index, self.last_index = head.first, head.last
        self.term, self.vote, self.commit_index = head.term, head.vote, head.commit_index
        self.flags = dict(head.flags)

    def _term_at(self, index: int) -> int:
        return entry_term(self._disk.records[entry_key(index)]) if index else 0

    def write(self, batch: LogBatch) -> None:
        if self._failed:
            raise StorageFailed("written after a failed write")
        disk = self._disk
        last_term = self._term_at(disk.head.last)
        plan = plan_batch(disk.head, last_term, batch, 1, self._term_at)
        if batch.members is not None:
            disk.note_members(batch.members)
        for key in plan.deletes:
            disk.records.pop(key, None)
        for key, record in plan.puts:
            disk.records[key] = record
            index = entry_index(key)
            disk.history[index] = (entry_term(record), entry_command(record))
        assert plan.head.term >= disk.head.term, "the term went back"
        disk.head = plan.head
        disk.batches += 1
        self._adopt()

    def fail(self) -> None:
        """From now on every write is refused, as LevelDB's are after a failed one."""
        self._failed = True

    def read(self, first: int, count: int, size_max: int | None = None) -> list[Entry]:
        if first < self.first_index or first < 1:
            raise LookupError(f"entry {first} is not in the log")
        found: list[Entry] = []
        size = 0
        for index in range(first, min(first + count, self.last_index + 1)):
            record = self._disk.records[entry_key(index)]
            size += len(record)
            if size_max is not None and size > size_max and found:
                break
            found.append((index, entry_term(record), entry_command(record)))
        return found

    def size(self) -> int:
        return sum(map(len, self._disk.records.values()))


class MemoryState:
    """An open state."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._failed = False
        self.index, self.terms = disk.state_index, disk.state_terms
        self.digest = disk.state_digest

    def get_many(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in wanted]

    def get(self, key: bytes) -> bytes | None:
        return self._disk.state.get(key)

    def iterate(
        self, prefix: bytes = b"", start: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(self._disk.state.values):
            if key.startswith(prefix) and key >= (start or b""):
                yield key, self._disk.state.values[key]

    def write(
        self,
        changes: Mapping[bytes, bytes | None],
        index: int,
        terms: tuple[int, int],
        digest: int,
    ) -> None:
        if self._failed:
            raise StorageFailed("written after a failed write")
        assert index >= self.index, "the state went back"
        assert index <= self._disk.head.last, "the state is ahead of the log"
        for key, value in changes.items():
            if value is None:
                self._disk.state.delete(key)
            else:
                self._disk.state.put(key, value)
        self.index, self.terms, self.digest = index, terms, digest
        self._disk.state_index, self._disk.state_terms = index, terms
        self._disk.state_digest = digest

    def fail(self) -> None:
        self._failed = True
