"""The log as PySyncObj keeps it by itself: its file journal and its meta file, with our log's face.

Only to show that the experiments of this folder find what it loses: nothing is ever synced, there
is no checksum, and what is gone is not noticed. `stock_node.py` puts it in place of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pysyncobj.journal import FileJournal

from cluster.storage.log_records import Entry, LogBatch
from cluster.storage.log_store import Opened

NAME = "journal"


class StockLog:
    """As `LogStore`, in `directory`/journal and journal.meta. Flags of ours, for which it has no
    place, are gone with the process."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._journal = FileJournal(str(directory / NAME))
        self.opened = Opened.INTACT
        self.note = None  # nothing outside of it tells what it should hold
        self.flags: dict[str, int] = {}
        self.failed = False

    @property
    def first_index(self) -> int:
        """0 where it is empty."""
        return int(self._journal[0][1]) if len(self._journal) else 0

    @property
    def last_index(self) -> int:
        """0 where it is empty."""
        return int(self._journal[-1][1]) if len(self._journal) else 0

    @property
    def term(self) -> int:
        """Of the meta file, which is read as empty where it is damaged."""
        return int(self._journal.getCurrentTerm())

    @property
    def vote(self) -> str | None:
        """Of the meta file."""
        vote: str | None = self._journal.getVotedForNodeId()
        return vote

    @property
    def commit_index(self) -> int:
        """Of the meta file."""
        return int(self._journal.getRaftCommitIndex())

    def write(self, batch: LogBatch) -> None:
        """In the memory map when it returns."""
        journal = self._journal
        if batch.rebase is not None:
            journal.clear()
        if batch.truncate_from is not None:
            journal.deleteEntriesFrom(max(batch.truncate_from - self.first_index, 0))
        for index, term, command in (*(batch.rebase or ()), *batch.entries):
            journal.add(command, index, term)
        if batch.drop_below is not None:
            journal.deleteEntriesTo(batch.drop_below - self.first_index)
        if batch.commit_index is not None:
            journal.setRaftCommitIndex(batch.commit_index)
        if batch.term is not None:
            journal.setCurrentTerm(batch.term, batch.vote)
        if batch.flags is not None:
            self.flags = dict(batch.flags)

    def read(self, first: int, count: int, size_max: int | None = None) -> list[Entry]:
        """As `LogStore.read`."""
        if first < self.first_index or first < 1:
            raise LookupError(f"entry {first} is not in the log")
        start = first - self.first_index
        found: list[Entry] = []
        size = 0
        for command, index, term in self._journal[start : start + count]:
            size += len(command)
            if size_max is not None and size > size_max and found:
                break
            found.append((index, term, command))
        return found

    def compact(self) -> None:
        """There is nothing to compact."""

    def size(self) -> int:
        """Bytes of entries."""
        return sum(len(command) for command, _, _ in self._journal[:])

    def scrub(self) -> Iterator[Path]:
        """There is nothing to compare with."""
        return iter(())

    def close(self) -> None:
        """Writes the meta file, as PySyncObj does once a second."""
        self._journal.onOneSecondTimer()
        self._journal._destroy()
