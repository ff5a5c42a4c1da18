"""The Raft log on disk: entries, term, vote, commit index and flags of one node.

The replication driver owns one `LogStore`. It writes from one executor thread, one batch at a
time, and may read from another thread meanwhile. When `write` returns, the batch is synced and
the witness knows its number: whatever waited for it may be released. What the entries say is
none of its business.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cluster.storage.batches import FENCE, Batches, batch_key
from cluster.storage.database import OrderedStore
from cluster.storage.errors import DataDamaged, StorageFailed
from cluster.storage.files import is_missing_or_empty, set_aside
from cluster.storage.flags import NON_VOTING_FLAG, UNCERTAIN_FLAG, new_flag_id
from cluster.storage.log_check import check_log, check_witness, read_head
from cluster.storage.log_plan import plan_batch
from cluster.storage.log_records import (
    ENTRY_STOP,
    Entry,
    Head,
    LogBatch,
    encode_head,
    encode_tail,
    entry_command,
    entry_index,
    entry_key,
    entry_term,
)
from cluster.storage.opening import Condition, check_folder, create_whole, open_folder
from cluster.storage.recovery import Recovery
from cluster.storage.witness import (
    Attestation,
    Witness,
    WitnessFile,
    create_witness,
    lacks_slot,
    read_witness,
)

RECORD_OVERHEAD = 48  # bytes that LevelDB and our keys add to a record, roughly


class Opened(enum.Enum):
    """How the log was found at opening."""

    INTACT = "intact"
    TORN_TAIL = "torn tail"  # a batch that was never acknowledged was cut off
    UNCERTAIN = "uncertain"  # no readable witness: acknowledged batches may be gone


@dataclass(frozen=True, slots=True)
class CheckedLog:
    """A log that was checked and not opened yet: as it was found, its head, and what its witness
    said (None: nothing that can be read)."""

    condition: Condition
    head: Head
    witness: Path
    attestation: Attestation | None


class MembersNote(Protocol):
    """What is known, outside of the log, of the newest set of members that was ever written to it:
    its entry's index and term."""

    @property
    def members(self) -> tuple[int, int]: ...

    def note_members(self, members: tuple[int, int]) -> None: ...


class LogStore:
    """An open log. Attributes, as of the last write: `first_index`, `last_index` (0 and 0 when
    empty), `term`, `vote`, `commit_index` (advisory), `flags`; and `opened`, `note` (None: nothing
    is known outside of the log)."""

    def __init__(
        self,
        database: OrderedStore,
        witness: WitnessFile,
        number: int,
        head: Head,
        opened: Opened,
        note: MembersNote | None = None,
    ) -> None:
        self._db = database
        self._witness = witness
        self._batches = Batches(number, head.floor)
        self._tail = encode_tail(head.vote, head.flags)
        self._last_term = self._term_on_disk(head.last)
        self.opened = opened
        self.note = note
        self._adopt(head)

    @classmethod
    def create(cls, directory: Path, witness: Path, flags: dict[str, int] | None = None) -> None:
        """Make an empty log with `flags` set from its first batch on (rule A8).

        `directory` and `witness` must be missing. Raises DataDamaged if they are not, and
        StorageFailed.
        """
        if _knows_of_data(witness):
            raise _log_gone(directory, _read_attestation(witness))
        head = Head(secrets.randbits(63) + 1, flags=dict(flags or {}))
        record = encode_head(head, encode_tail(head.vote, head.flags))
        try:
            # The witness first: a log without one would count as uncertain.
            create_witness(witness, head.log_id, 1)
        except OSError as error:
            raise StorageFailed(f"creating {witness} failed: {error}") from error
        create_whole(directory, lambda database: database.write([(batch_key(1), record), FENCE]))

    @classmethod
    def open(cls, directory: Path, witness: Path, *, create: bool = True) -> LogStore:
        """Open the log, after every batch and entry was checked on a copy.

        With `create`, a missing or empty folder becomes an empty log, unless the witness knows
        of synced batches. Raises DataDamaged (file and offset where they can be found),
        NewerFormat, StorageFailed; the folder is then as it was.
        """
        if create and is_missing_or_empty(directory):
            cls.create(directory, witness)
        return cls.open_checked(cls.check(directory, witness))

    @classmethod
    def check(cls, directory: Path, witness: Path, recovery: Recovery | None = None) -> CheckedLog:
        """Check an existing log on a copy; nothing is changed. Raises as `open`."""
        attestation = _read_attestation(witness)
        if is_missing_or_empty(directory):
            raise _log_gone(directory, attestation)
        found: list[Head] = []

        def verify(database: OrderedStore, condition: Condition) -> None:
            number, head = check_log(database, recovery)
            found.append(head)
            try:
                check_witness(database, number, head, attestation)
            except DataDamaged as damage:
                path, offset = condition.end()
                raise DataDamaged(path, damage.problem, offset=offset) from damage

        condition = check_folder(directory, verify)
        return CheckedLog(condition, found[0], witness, attestation)

    @classmethod
    def open_checked(cls, checked: CheckedLog, note: MembersNote | None = None) -> LogStore:
        """Open what `check` found good. Raises StorageFailed."""
        witness = checked.witness
        database = open_folder(checked.condition)
        try:
            number, head = read_head(database)
            opened = Opened.TORN_TAIL if checked.condition.cuts else Opened.INTACT
            if checked.attestation is None:
                number, head = _mark_uncertain(database, number, head)
                if witness.exists():
                    set_aside(witness)
                create_witness(witness, head.log_id, number)
            elif lacks_slot(witness):
                create_witness(witness, head.log_id, checked.attestation.number)
            if UNCERTAIN_FLAG in head.flags:
                opened = Opened.UNCERTAIN
            return cls(database, Witness(witness, head.log_id), number, head, opened, note)
        except BaseException as error:
            database.close()
            if isinstance(error, OSError):
                raise StorageFailed(f"opening {witness} failed: {error}") from error
            raise

    def _adopt(self, head: Head) -> None:
        self._head = head
        self.first_index = head.first
        self.last_index = head.last
        self.term = head.term
        self.vote = head.vote
        self.commit_index = head.commit_index
        self.flags = dict(head.flags)

    @property
    def failed(self) -> bool:
        """Whether a write failed; the store must be closed and opened again."""
        return self._db.failed

    @property
    def batch_number(self) -> int:
        """Number of the last synced batch."""
        return self._batches.number

    @property
    def last_term(self) -> int:
        """Term of the last entry, 0 when empty."""
        return self._last_term

    def write(self, batch: LogBatch) -> None:
        """Note a set of members, apply `batch` in one synced write, then tell the witness.

        Raises ValueError for a batch that breaks the log's order (a bug; nothing was written),
        StorageFailed when the disk refused: nothing that waited for it may be released, and no
        further write is taken.
        """
        drops = self._batches.next_drops()
        floor = self._head.floor + len(drops)
        plan = plan_batch(self._head, self._last_term, batch, floor, self._term_on_disk)
        head = plan.head
        if head.vote != self._head.vote or head.flags != self._head.flags:
            self._tail = encode_tail(head.vote, head.flags)
        number = self._batches.number + 1
        plan.puts.append((batch_key(number), encode_head(head, self._tail)))
        if batch.members is not None and self.note is not None:
            self.note.note_members(batch.members)
        if batch.rebase is not None or batch.truncate_from is not None:
            # Readers in other threads must not look for what is about to go.
            self.last_index = min(self.last_index, (batch.truncate_from or 1) - 1)
        self._db.write(plan.puts, drops + plan.deletes)
        try:
            self._witness.write(number)
        except OSError as error:
            self._db.fail(f"its witness could not be written: {error}")
            raise StorageFailed(f"writing the witness failed: {error}") from error
        self._batches.written(len(drops), plan.size + RECORD_OVERHEAD * len(plan.puts))
        self._last_term = plan.last_term
        self._adopt(head)

    def read(self, first: int, count: int, size_max: int | None = None) -> list[Entry]:
        """Up to `count` entries from index `first` on, fewer at the end of the log.

        `size_max` bounds the bytes of their commands, but one entry is always returned. Raises
        LookupError if `first` is below `first_index` (dropped), DataDamaged, StorageFailed.
        """
        if first < self.first_index or first < 1:
            raise LookupError(
                f"entry {first} is not in the log, which starts at {self.first_index}"
            )
        stop = min(first + count, self.last_index + 1)
        entries: list[Entry] = []
        size = 0
        if stop <= first:
            return entries
        expected = first
        for key, record in self._db.iterate(entry_key(first), entry_key(stop)):
            index = entry_index(key)
            if index != expected:
                break
            size += len(record)
            if size_max is not None and size > size_max and entries:
                return entries
            entries.append((index, entry_term(record), entry_command(record)))
            expected += 1
        if expected < min(stop, self.last_index + 1):
            if expected < self.first_index:
                raise LookupError(f"entry {expected} was dropped while it was read")
            raise DataDamaged(self._db.directory, f"entry {expected} is missing")
        return entries

    def _term_on_disk(self, index: int) -> int:
        """The term of entry `index`, 0 for index 0."""
        if index == 0:
            return 0
        record = self._db.get(entry_key(index))
        if record is None:
            raise DataDamaged(self._db.directory, f"entry {index} is missing")
        return entry_term(record)

    def compact(self) -> None:
        """Give the space of dropped entries back to the disk; blocks. Raises StorageFailed."""
        self._db.compact_range(entry_key(0), entry_key(self._head.lowest))

    def size(self) -> int:
        """Bytes of entries in table files, without what is still in memory."""
        return self._db.approximate_size(entry_key(0), ENTRY_STOP)

    def scrub(self) -> Iterator[Path]:
        """Check every table file, one per step. Raises DataDamaged."""
        return self._db.scrub()

    def close(self) -> None:
        """Sync the witness and release the folder. A second call does nothing."""
        self._db.close()
        self._witness.close()


def _read_attestation(witness: Path) -> Attestation | None:
    try:
        return read_witness(witness)
    except OSError as error:
        raise StorageFailed(f"reading {witness} failed: {error}") from error


def _knows_of_data(witness: Path) -> bool:
    """Whether there was a log that held something. An unreadable witness is no proof that there was
    none; one that knows of a single batch is left by a crash while the log was being created."""
    attestation = _read_attestation(witness)
    return attestation.number > 1 if attestation is not None else witness.exists()


def never_written(directory: Path, witness: Path) -> bool:
    """Whether there is no log, and no trace of one. Raises NewerFormat, StorageFailed."""
    return is_missing_or_empty(directory) and not _knows_of_data(witness)


def _log_gone(directory: Path, attestation: Attestation | None) -> DataDamaged:
    known = f", and its witness knows of {attestation.number} batches" if attestation else ""
    return DataDamaged(directory, f"the log is gone{known}; it is not taken for a new one")


def _mark_uncertain(database: OrderedStore, number: int, head: Head) -> tuple[int, Head]:
    """Remember, durably, that the log opened without a witness, before there is one again. With a
    new id, even where it is marked already: what was learnt since then may be gone, too. So does a
    flag of a lost log: the leader must not go on from what it knew of this log's end."""
    flags = {**head.flags, UNCERTAIN_FLAG: new_flag_id()}
    if NON_VOTING_FLAG in flags:
        flags[NON_VOTING_FLAG] = new_flag_id()
    marked = replace(head, flags=flags)
    record = encode_head(marked, encode_tail(marked.vote, marked.flags))
    database.write([(batch_key(number + 1), record)])
    return number + 1, marked
