"""The journal against a plain list: whatever PySyncObj and the driver do, in any order."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.replication import journal as journal_module
from cluster.replication.journal import STAND_IN, LogJournal
from cluster.storage.log_records import LogBatch
from tests.unit.replication.disk import Disk, MemoryLog

Entry = tuple[bytes, int, int]


class JournalModel(RuleBasedStateMachine):
    """`model`: what the journal should hold. `durable`: what a crash would leave; `in_flight`: the
    batch that is being written, and what it will leave."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            mock.patch.object(journal_module, "MEMORY_SIZE_MAX", 300),
            mock.patch.object(journal_module, "MARK_SIZE", 50),
        ]
        for patch in self.patches:
            patch.start()
        self.model: list[Entry] = []
        self.begin()

    # A real log store takes the place of these in the integration tests.
    def begin(self) -> None:
        self.disk = Disk()
        self.store: Any = MemoryLog(self.disk)
        self.open()

    def reopen_store(self) -> None:
        self.store = MemoryLog(self.disk)

    def close_store(self) -> None:
        """Nothing is open."""

    def open(self) -> None:
        self.journal = LogJournal(self.store)
        self.durable = list(self.model)
        self.in_flight: tuple[LogBatch, int, list[Entry]] | None = None
        self.term = self.store.term
        self.vote = self.store.vote
        self.durable_term = (self.term, self.vote)

    def teardown(self) -> None:
        self.close_store()
        for patch in self.patches:
            patch.stop()

    # --- what may happen --------------------------------------------------------------------------

    @rule(sizes=st.lists(st.sampled_from([1, 20, 100, 400]), min_size=1, max_size=5))
    def add(self, sizes: list[int]) -> None:
        for size in sizes:
            index = self.journal.last_index + 1
            if self.term == 0:
                self.vote_in_new_term()
            entry = (bytes((index % 256,)) * size, index, self.term)
            self.journal.add(*entry)
            self.model.append(entry)

    @rule()
    def vote_in_new_term(self) -> None:
        self.term, self.vote = self.term + 1, f"n{self.term % 3}"
        self.journal.setCurrentTerm(self.term, self.vote)

    @rule(count=st.integers(0, 6))
    def truncate(self, count: int) -> None:
        """A conflict: the entries above are another leader's. Never at or below the commit."""
        position = len(self.model) - count
        if position <= 1 or self.model[position - 1][1] < self.journal.getRaftCommitIndex():
            return
        self.journal.deleteEntriesFrom(position)
        del self.model[position:]

    @rule(share=st.floats(0, 1))
    def commit(self, share: float) -> None:
        index = int(self.journal.flushed_index * share)
        if index > self.journal.getRaftCommitIndex():
            self.journal.setRaftCommitIndex(index)

    @rule(position=st.integers(0, 30))
    def drop(self, position: int) -> None:
        """A checkpoint, at most up to the commit index."""
        first = self.journal.first_index
        if not self.model or first + position > self.journal.getRaftCommitIndex():
            return
        synced = self.journal.synced_index
        if position % 2:
            self.journal.drop_below(first + position)
        else:
            self.journal.deleteEntriesTo(position)
        new_first = max(first, min(first + position, synced - 1))
        self.model = [entry for entry in self.model if entry[1] >= new_first]

    @rule(share=st.floats(0, 1))
    def forget(self, share: float) -> None:
        self.journal.forget_applied(int(self.journal.getRaftCommitIndex() * share))

    @precondition(lambda self: self.in_flight is None)
    @rule()
    def take(self) -> None:
        if self.journal.dirty:
            batch, last = self.journal.take_pending()
            assert not self.journal.dirty
            self.in_flight = (batch, last, list(self.model))
            self.in_flight_term = (self.term, self.vote)

    @precondition(lambda self: self.in_flight is not None)
    @rule()
    def write(self) -> None:
        assert self.in_flight is not None
        batch, last, left = self.in_flight
        self.in_flight = None
        self.store.write(batch)
        self.journal.flushed(last)
        self.durable, self.durable_term = left, self.in_flight_term

    @rule()
    def crash(self) -> None:
        """The batch in flight may have been written, or not; here it was not."""
        self.close_store()
        self.reopen_store()
        self.model = self.durable
        self.open()

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def same_list(self) -> None:
        journal, model = self.journal, self.model
        assert len(journal) == len(model)
        assert journal[:] == model
        assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (self.term, self.vote)
        for item in (0, -1, len(model) // 2, -len(model), len(model), -len(model) - 1):
            try:
                expected = model[item]
            except IndexError:
                with pytest.raises(IndexError):
                    journal[item]
            else:
                assert journal[item] == expected
        for start, stop in ((1, None), (-2, None), (None, -1), (2, 5), (5, 2), (-3, -1)):
            assert journal[start:stop] == model[start:stop]
        if model:
            assert (journal.first_index, journal.last_index) == (model[0][1], model[-1][1])

    @invariant()
    def bounded_reads(self) -> None:
        for position, (_, index, _) in enumerate(self.model):
            found = self.journal.entries(index, 4, 150)
            assert found == self.model[position : position + len(found)]
            assert found
            assert len(found) == 1 or sum(len(command) for command, _, _ in found) <= 150

    @invariant()
    def synced_means_durable(self) -> None:
        """A2: every entry up to the synced index would survive a crash now, as it is."""
        synced = self.journal.synced_index
        assert synced <= self.journal.flushed_index <= max(self.journal.last_index, 0)
        durable = {index: (command, term) for command, index, term in self.durable}
        for command, index, term in self.model:
            if index <= synced:
                assert durable.get(index) == (command, term), f"entry {index} is not on disk"

    @invariant()
    def term_and_vote_are_durable_when_clean(self) -> None:
        if not self.journal.dirty and self.in_flight is None:
            assert self.durable_term == (self.term, self.vote)
            assert self.durable == self.model

    @invariant()
    def tail_start_keeps_enough(self) -> None:
        """From there on there are at least so many bytes, or everything there is."""
        for size in (0, 100, 500):
            start = self.journal.tail_start(size)
            if self.model and start > self.journal.first_index:
                assert start <= self.journal.last_index


TestJournalModel = JournalModel.TestCase
TestJournalModel.settings = settings(max_examples=30, stateful_step_count=30)


def appended(store: MemoryLog, sizes: list[int]) -> LogJournal:
    journal = LogJournal(store)  # type: ignore[arg-type]
    journal.setCurrentTerm(1, "n1")
    for size in sizes:
        journal.add(bytes(size), journal.last_index + 1, 1)
    return journal


def test_a_truncation_is_not_forgotten_while_a_batch_is_written() -> None:
    store: Any = MemoryLog(Disk())
    journal = appended(store, [1] * 8)
    batch, last = journal.take_pending()
    journal.deleteEntriesFrom(5)  # 6, 7, 8 are being written just now
    journal.setCurrentTerm(2, None)
    for index in (6, 7, 8, 9):
        journal.add(b"new", index, 2)
    store.write(batch)
    journal.flushed(last)
    assert journal.synced_index == 5, "the new 6, 7, 8 are not on disk"
    batch, last = journal.take_pending()
    store.write(batch)
    journal.flushed(last)
    assert [term for _, term, _ in store.read(1, 20)] == [1] * 5 + [2] * 4
    assert journal.synced_index == 9


def test_a_truncation_at_or_below_the_commit_index_is_a_bug() -> None:
    journal = appended(MemoryLog(Disk()), [1] * 8)
    journal.setRaftCommitIndex(5)
    with pytest.raises(AssertionError, match="committed up to 5"):
        journal.deleteEntriesFrom(4)
    journal.deleteEntriesFrom(5)
    assert journal.last_index == 5


def flushed(store: Any, journal: LogJournal) -> None:
    batch, last = journal.take_pending()
    store.write(batch)
    journal.flushed(last)


def test_a_truncation_takes_back_what_was_synced() -> None:
    store: Any = MemoryLog(Disk())
    journal = appended(store, [1] * 8)
    flushed(store, journal)
    journal.deleteEntriesFrom(5)
    journal.add(b"new", 6, 1)
    journal.add(b"new", 7, 1)
    assert (journal.synced_index, journal.flushed_index) == (5, 5)
    flushed(store, journal)
    assert (journal.synced_index, store.last_index) == (7, 7)


def test_two_entries_always_stay() -> None:
    store: Any = MemoryLog(Disk())
    journal = appended(store, [1] * 8)
    journal.drop_below(8)
    assert journal.first_index == 1, "nothing is flushed"
    flushed(store, journal)
    journal.drop_below(100)
    flushed(store, journal)
    assert [index for _, index, _ in journal[:]] == [7, 8]
    assert (store.first_index, store.last_index) == (7, 8)


def test_what_is_applied_but_not_synced_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability `interval`: the disk cannot give it back yet."""
    monkeypatch.setattr(journal_module, "MEMORY_SIZE_MAX", 100)
    store: Any = MemoryLog(Disk())
    journal = appended(store, [50] * 8)
    flushed(store, journal)
    for index in range(9, 17):
        journal.add(bytes(50), index, 1)
    journal.count_unflushed()
    assert (journal.flushed_index, journal.synced_index) == (16, 8)
    journal.forget_applied(16)
    assert [index for _, index, _ in journal[:]] == list(range(1, 17))


def test_entries_alone_may_wait_for_the_interval_and_nothing_else() -> None:
    store: Any = MemoryLog(Disk())
    journal = appended(store, [1])
    assert not journal.only_entries, "a term waits"
    flushed(store, journal)
    journal.add(b"x", 2, 1)
    assert journal.only_entries
    flushed(store, journal)
    journal.deleteEntriesFrom(1)
    assert not journal.only_entries, "a truncation waits"


def test_a_rebase_is_one_batch_that_keeps_term_and_vote() -> None:
    store: Any = MemoryLog(Disk())
    flushed(store, appended(store, [1] * 3))
    journal = LogJournal(store)
    journal.rebase([(b"a", 9, 1), (b"b", 10, 1)], 1)
    assert (journal.synced_index, journal.flushed_index) == (0, 0)
    assert journal[:] == [(b"a", 9, 1), (b"b", 10, 1)]
    assert journal.dirty
    assert not journal.only_entries
    journal.add(b"c", 11, 1)
    flushed(store, journal)
    assert (store.first_index, store.last_index, store.term, store.vote) == (9, 11, 1, "n1")
    assert LogJournal(store)[:] == journal[:]


def test_stand_ins_are_known_also_after_a_restart() -> None:
    store: Any = MemoryLog(Disk())
    journal = appended(store, [10] * 5)
    assert journal.base_index == journal.first_index
    store.write(journal.take_pending()[0])
    journal = LogJournal(store)
    journal.rebase([(STAND_IN, 9, 1), (STAND_IN, 10, 1)], 1)
    journal.add(b"real", 11, 1)
    assert (journal.first_index, journal.base_index) == (9, 10)
    store.write(journal.take_pending()[0])
    assert LogJournal(store).base_index == 10
    journal = LogJournal(store)
    journal.drop_below(10)
    assert journal.base_index == 10


def test_a_rebase_to_a_higher_term_has_no_vote_in_it() -> None:
    store: Any = MemoryLog(Disk())
    flushed(store, appended(store, [1] * 3))
    journal = LogJournal(store)
    journal.rebase([(b"a", 9, 4), (b"b", 10, 5)], 5)
    flushed(store, journal)
    assert (store.term, store.vote) == (5, None)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MEMORY_SIZE_MAX", 10_000)
    store: Any = MemoryLog(Disk())
    journal = appended(store, [])
    for index in range(1, 1000):
        journal.add(bytes(100), index, 1)
        if index % 10 == 0:
            batch, last = journal.take_pending()
            store.write(batch)
            journal.flushed(last)
            journal.forget_applied(index)
            assert journal._recent_size <= 11_000
            assert journal._recent_size == sum(len(entry[0]) for entry in journal._recent)
    assert len(journal[:]) == 999


def test_the_tail_begins_where_so_many_bytes_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MARK_SIZE", 1000)
    journal = appended(MemoryLog(Disk()), [100] * 200)
    for size in (1, 500, 5_000, 12_345, 19_000):
        start = journal.tail_start(size)
        kept = (journal.last_index - start + 1) * 100
        assert size <= kept <= size + 2 * 1000
    assert journal.tail_start(20_001) == journal.first_index


def test_the_size_of_the_log_is_known_before_a_table_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_module, "MARK_SIZE", 1000)
    journal = appended(MemoryLog(Disk()), [100] * 200)
    assert 19_900 <= journal.size <= 20_000
    journal.flushed(200)
    journal.take_pending()
    journal.flushed_index = journal.synced_index = 200
    for first in (50, 120, 190):
        journal.drop_below(first)
        kept = (200 - first + 1) * 100
        assert kept <= journal.size <= kept + 1100


def test_what_earlier_processes_wrote_has_a_tail_too() -> None:
    """Otherwise a node that often restarts would never cut its log."""
    store: Any = MemoryLog(Disk())
    journal = appended(store, [100] * 1000)
    store.write(journal.take_pending()[0])
    again = LogJournal(store)
    total = store.size()
    for share in (0.1, 0.5, 0.9):
        start = again.tail_start(int(total * share))
        assert share <= (again.last_index - start + 1) / 1000 <= share + 0.03
    assert again.tail_start(total + 1) == again.first_index
    again.add(bytes(100), 1001, 1)
    assert again.tail_start(100) == 1000


def test_a_commit_index_alone_is_no_reason_to_write() -> None:
    store: Any = MemoryLog(Disk())
    journal = appended(store, [1, 1])
    store.write(journal.take_pending()[0])
    journal.setRaftCommitIndex(2)
    assert not journal.dirty


def test_clear_is_a_bug() -> None:
    journal = appended(MemoryLog(Disk()), [1])
    with pytest.raises(AssertionError, match="never cleared"):
        journal.clear()


def test_a_long_log_is_read_once_however_little_is_applied_at_a_time() -> None:
    disk = Disk()
    journal = LogJournal(MemoryLog(disk))  # type: ignore[arg-type]
    journal.setCurrentTerm(1, "n1")
    for index in range(1, 201):
        journal.add(bytes(100), index, 1)
    store = MemoryLog(disk)
    store.write(journal.take_pending()[0])
    reopened = LogJournal(store)  # type: ignore[arg-type]
    with mock.patch.object(store, "read", wraps=store.read) as read:
        for first in range(1, 200, 3):
            found = reopened.entries(first, min(64, 201 - first), 4000)
            assert [index for _, index, _ in found] == list(range(first, first + len(found)))
            assert 1 <= len(found) <= 40
        assert read.call_count <= 8
    reopened.deleteEntriesFrom(190 - 1)
    assert reopened.entries(189, 64, 4000) == [(bytes(100), 189, 1)]
