"""The log as PySyncObj sees it: a list of (command, index, term) over the log on disk.

Changes gather in a pending batch, in order; the driver takes it, has it synced and says so. The
newest entries stay in memory (at most about 16 MiB of flushed ones); older ones are read from disk
when somebody asks for them.
"""

from __future__ import annotations

from typing import Any

from pysyncobj.journal import Journal

from cluster.replication.roster import Roster
from cluster.replication.voters import MEMBERS
from cluster.storage.flags import loss_in
from cluster.storage.log_records import LogBatch
from cluster.storage.log_store import LogStore
from taskq.limits import MIB

# command, index, term: the order that PySyncObj uses
Entry = tuple[bytes, int, int]

MEMORY_SIZE_MAX = 16 * MIB
# In the place of an entry that only the state holds (A12): its index and term are true.
STAND_IN = b"\2"
# Every so many bytes of log a mark remembers the index, to find where a tail of a size begins.
MARK_SIZE = MIB
# So many marks are set in the log that is found at opening.
MARK_COUNT = 64


class LogJournal(Journal):  # type: ignore[misc]  # PySyncObj is not typed
    """See the module. `synced_index`: the last entry known to be on disk. `flushed_index`: the last
    one that counts as held, the same but with durability `interval`. `base_index`: entries up to
    there cannot be told to anybody; they are gone, or stand-ins, or have no predecessor here."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._first = store.first_index
        self._last = store.last_index
        self._term = store.term
        self._vote = store.vote
        self._commit = store.commit_index
        found = store.read(self._first, 2) if self._last else []
        stand_ins = (index for index, _, command in found if command == STAND_IN)
        self._stand_ins_end = max(stand_ins, default=0)
        self._recent: list[Entry] = []
        self._recent_first = self._last + 1
        self._recent_size = 0
        self._reread: list[Entry] = []  # the last that many were read of at once
        self._pending = LogBatch()
        # The last entry that the store holds once the batches taken so far are written.
        self._taken = self._last
        # (index, bytes of log up to it); what earlier processes wrote is taken as evenly spread.
        self._appended = store.size()
        self._marks: list[tuple[int, int]] = [
            (
                self._first + (len(self) - 1) * part // MARK_COUNT,
                self._appended * part // MARK_COUNT,
            )
            for part in range(1, MARK_COUNT + 1)
            if self._last
        ]
        self.flushed_index = self.synced_index = self._last
        self.flags = dict(store.flags)  # as they are on disk
        # Index and term of the newest set of members that earlier processes were to write.
        self.noted = (0, 0) if store.note is None else store.note.members
        self._flags_taken: dict[str, int] | None = None
        self._members_taken = False  # a set of members is in the batch that is being written
        # Batches are counted from 1 on, so that a message can wait for the one it depends on.
        self._taken_count = 0
        self.flushed_mark = 0
        self.term_mark = 0
        self.roster: Roster | None = None  # follows the log from when it was read at the start

    # --- what PySyncObj calls ---------------------------------------------------------------------

    def __len__(self) -> int:
        return self._last - self._first + 1 if self._last else 0

    def __getitem__(self, item: int | slice) -> Any:
        if isinstance(item, slice):
            start, stop, step = item.indices(len(self))
            assert step == 1
            return self.entries(self._first + start, max(stop - start, 0))
        position = item + len(self) if item < 0 else item
        if not 0 <= position < len(self):
            raise IndexError(item)
        return self.entries(self._first + position, 1)[0]

    def add(self, command: bytes, index: int, term: int) -> None:
        """Appends an entry; it is on disk after the next flush."""
        assert index == self._last + 1 or not self._last, f"entry {index} after {self._last}"
        if not self._last:
            self._first = self._recent_first = index
        self._last = index
        self._recent.append((command, index, term))
        self._recent_size += len(command)
        self._pending.entries.append((index, term, command))
        if command[:1] == MEMBERS:
            self._pending.members = index, term
        self._appended += len(command)
        if self.roster is not None:
            self.roster.appended(index, command)
        if not self._marks or self._appended - self._marks[-1][1] >= MARK_SIZE:
            self._marks.append((index, self._appended))

    def clear(self) -> None:
        """PySyncObj's own snapshots are never used; ours rebase the log (A12)."""
        raise AssertionError("the log is never cleared")

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803  # PySyncObj's names
        """Drops the entries from a position on: a conflict (A3)."""
        index = self._first + entryFrom
        if index > self._last:
            return
        assert index > self._commit, f"truncating from {index}, committed up to {self._commit}"
        self._reread = []
        if self.roster is not None:
            self.roster.truncated(index)
        self._last = index - 1
        kept = max(index - self._recent_first, 0)
        self._recent_size -= sum(len(entry[0]) for entry in self._recent[kept:])
        del self._recent[kept:]
        self._recent_first = min(self._recent_first, index)
        self._pending.entries = [e for e in self._pending.entries if e[0] < index]
        if self._pending.members is not None and self._pending.members[0] >= index:
            self._pending.members = None
        if index <= self._taken:
            # Also where the batch that holds them is being written just now.
            self._pending.truncate_from = index
            self._taken = index - 1
        self._marks = [mark for mark in self._marks if mark[0] < index]
        self.flushed_index = min(self.flushed_index, index - 1)
        self.synced_index = min(self.synced_index, index - 1)

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803
        """Drops the entries before a position: the state covers them."""
        self.drop_below(self._first + entryTo)

    def rebase(self, entries: list[Entry], term: int) -> None:
        """A12: these entries take the place of the whole log, in the next batch, which keeps term
        and vote (a higher term than the log's has no vote yet). Only before the first batch."""
        assert not self.dirty, "a rebase comes before anything else"
        if term > self._term:
            self.setCurrentTerm(term, None)
        self._pending.rebase = [(index, term, command) for command, index, term in entries]
        self._reread = []
        self._recent = list(entries)
        self._recent_size = sum(len(entry[0]) for entry in entries)
        self._first = self._recent_first = entries[0][1]
        self._last = entries[-1][1]
        self._stand_ins_end = self._last
        self._appended += self._recent_size
        self._marks = [(self._last, self._appended)]
        self._taken = self.flushed_index = self.synced_index = 0

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        """Advisory: written along with the next batch, never a reason for one."""
        self._commit = raftCommitIndex

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        return self._commit

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        """Term and vote; on disk after the next flush, before anybody hears of them (A2)."""
        self._term, self._vote = term, votedForNodeId
        self.term_mark = self._taken_count + 1
        self._pending.term, self._pending.vote = term, votedForNodeId

    def getCurrentTerm(self) -> int:  # noqa: N802
        return self._term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802
        return self._vote

    def _destroy(self) -> None:
        """The node closes the store."""

    # --- what the driver calls --------------------------------------------------------------------

    @property
    def first_index(self) -> int:
        """Index of the oldest entry."""
        return self._first

    @property
    def base_index(self) -> int:
        """See the class."""
        return max(self._first, self._stand_ins_end)

    @property
    def last_index(self) -> int:
        """Index of the newest entry, flushed or not."""
        return self._last

    def entries(self, first: int, count: int, size_max: int | None = None) -> list[Entry]:
        """At most `count` entries from index `first` on; `size_max` bounds their bytes, but one
        entry is always returned. Reads the disk for entries that left memory."""
        count = min(count, self._last - first + 1)
        if count <= 0:
            return []
        found: list[Entry] = []
        if first < self._recent_first:
            older = min(count, self._recent_first - first)
            found = self._stored(first, older, size_max)
            if len(found) < older or len(found) == count:
                return _within(found, size_max)
            first, count = first + len(found), count - len(found)
        start = first - self._recent_first
        found += self._recent[start : start + count]
        return _within(found, size_max)

    def _stored(self, first: int, count: int, size_max: int | None) -> list[Entry]:
        """From disk. Who applies a long log asks for as much as there may be time for, and a little
        later for the rest of it, which is kept; one that bounds the size takes fewer, too."""
        kept = self._reread
        if size_max is None or not (kept and kept[0][1] <= first <= kept[-1][1]):
            stored = self._store.read(first, count, size_max)
            kept = [(command, index, term) for index, term, command in stored]
            if size_max is None:
                return kept
            self._reread = kept
        start = first - kept[0][1] if kept else 0
        return kept[start : start + count]

    @property
    def dirty(self) -> bool:
        """Whether something waits to be flushed."""
        pending = self._pending
        return bool(
            pending.entries
            or pending.rebase is not None
            or pending.term is not None
            or pending.truncate_from is not None
            or pending.drop_below is not None
            or pending.flags is not None
        )

    @property
    def mark(self) -> int:
        """Everything so far is on disk when `flushed_mark` has reached this; `term_mark`: term and
        vote are."""
        return self._taken_count + 1 if self.dirty else self._taken_count

    def set_flags(self, flags: dict[str, int]) -> None:
        """These replace all flags; `flags` tells when they are on disk."""
        self._pending.flags = flags

    @property
    def flag(self) -> int:
        """The number of the non-voting flag on the disk, or of the uncertain one, 0 for none."""
        return loss_in(self.flags)

    @property
    def only_entries(self) -> bool:
        """Whether what waits is nothing but entries: no term, vote, truncation or rebase; nor a
        set of members, by which nobody may count before it is noted (L4)."""
        pending = self._pending
        return (
            pending.term is None
            and pending.truncate_from is None
            and pending.rebase is None
            and pending.flags is None
            and pending.members is None
            and not self._members_taken
        )

    def count_unflushed(self) -> None:
        """Durability `interval`: entries count as held before they are on disk."""
        self.flushed_index = self._last

    def take_pending(self) -> tuple[LogBatch, int]:
        """The batch to write now, and the last index that it brings to disk."""
        batch, self._pending = self._pending, LogBatch()
        batch.commit_index = min(self._commit, self._last)
        self._taken = self._last
        self._taken_count += 1
        self._flags_taken = batch.flags
        self._members_taken = batch.members is not None
        return batch, self._last

    def flushed(self, last_index: int) -> None:
        """A batch taken with this last index is on disk. What was truncated since it was taken is
        not counted, though entries with the same index may have come after."""
        self.flushed_mark = self._taken_count
        self._members_taken = False
        if self._flags_taken is not None:
            self.flags, self._flags_taken = self._flags_taken, None
        self.synced_index = max(self.synced_index, min(last_index, self._taken))
        self.flushed_index = max(self.flushed_index, self.synced_index)

    def forget_applied(self, applied_index: int) -> None:
        """Lets go of entries beyond 16 MiB that are on disk and applied."""
        if self._recent_size <= MEMORY_SIZE_MAX:
            return
        last = min(applied_index, self.synced_index)
        count = 0
        size = self._recent_size
        for entry in self._recent:
            if size <= MEMORY_SIZE_MAX // 2 or entry[1] >= last:
                break
            size -= len(entry[0])
            count += 1
        del self._recent[:count]
        self._recent_first += count
        self._recent_size = size

    def drop_below(self, index: int) -> None:
        """Drops the entries before an index, which must be flushed; two entries always stay."""
        index = min(index, self.synced_index - 1)
        if index <= self._first:
            return
        self._first = index
        dropped = max(index - self._recent_first, 0)
        self._recent_size -= sum(len(entry[0]) for entry in self._recent[:dropped])
        del self._recent[:dropped]
        self._recent_first = max(self._recent_first, index)
        self._pending.drop_below = index
        while len(self._marks) > 1 and self._marks[1][0] <= index:
            self._marks.pop(0)

    def tail_start(self, size: int) -> int:
        """The index where the last `size` bytes of the log begin, to within a MiB (less exactly in
        what earlier processes wrote)."""
        for index, appended in reversed(self._marks):
            if self._appended - appended >= size:
                return index
        return self._first

    @property
    def size(self) -> int:
        """Bytes of the entries in the log, to within a MiB."""
        if self._marks and self._marks[0][0] <= self._first:
            return self._appended - self._marks[0][1]
        return self._appended

    @property
    def pending_size(self) -> int:
        """Bytes of entries that no flush has taken yet."""
        return sum(len(command) for _, _, command in self._pending.entries)

    @property
    def appended_size(self) -> int:
        """Bytes of log so far; grows with every entry, falls never."""
        return self._appended


def _within(entries: list[Entry], size_max: int | None) -> list[Entry]:
    """The first of them, at most `size_max` bytes together but at least one."""
    if size_max is not None:
        size = 0
        for position, entry in enumerate(entries):
            size += len(entry[0])
            if size > size_max and position:
                return entries[:position]
    return entries
