"""What a log batch does to the keys, against a plain dictionary, and what it refuses."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.storage.log_plan import DELETIONS_PER_BATCH, Plan, plan_batch
from cluster.storage.log_records import (
    Head,
    LogBatch,
    decode_head,
    encode_head,
    encode_tail,
    entry_command,
    entry_index,
    entry_term,
)


class Disk:
    """A dictionary where LevelDB would be, and the head that goes with it."""

    def __init__(self) -> None:
        self.keys: dict[bytes, bytes] = {}
        self.head = Head(7)
        self.last_term = 0

    def write(self, batch: LogBatch) -> Plan:
        plan = plan_batch(self.head, self.last_term, batch, 1, self.term_at)
        for key in plan.deletes:
            self.keys.pop(key, None)
        self.keys.update(plan.puts)
        self.head, self.last_term = plan.head, plan.last_term
        return plan

    def term_at(self, index: int) -> int:
        return next(entry_term(v) for k, v in self.keys.items() if entry_index(k) == index)

    def entries(self) -> list[tuple[int, int, bytes]]:
        return sorted(
            (entry_index(k), entry_term(v), entry_command(v))
            for k, v in self.keys.items()
            if entry_index(k) >= self.head.first
        )


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_run_of_batches_ends_as_a_plain_list_would(dice: random.Random) -> None:
    disk = Disk()
    model: list[tuple[int, int, bytes]] = []
    term = commit = 0
    for _ in range(25):
        batch = LogBatch()
        if dice.random() < 0.3:
            term += 1
            batch.term, batch.vote = term, dice.choice([None, "n1", "n2"])
        kind = dice.choice(("append", "append", "append", "truncate", "drop", "rebase"))
        if kind == "truncate" and model and model[-1][0] > commit:
            start = dice.randint(max(commit + 1, model[0][0]), model[-1][0])
            batch.truncate_from = start
            model = [entry for entry in model if entry[0] < start]
        elif kind == "rebase" and dice.random() < 0.2:
            start = dice.randint(1, 500)
            batch.rebase = [(start, term, b"x"), (start + 1, term, b"y")]
            batch.commit_index = commit = start + 1
            model = list(batch.rebase)
        following = model[-1][0] + 1 if model else dice.randint(1, 5) + commit
        for index in range(following, following + dice.randint(0, 20)):
            batch.entries.append((index, term, dice.randbytes(dice.randint(0, 9))))
        model += batch.entries
        if kind == "drop" and model:
            batch.drop_below = dice.randint(model[0][0], model[-1][0])
            model = [entry for entry in model if entry[0] >= batch.drop_below]
        if batch.commit_index is None and model:
            batch.commit_index = commit = max(commit, dice.randint(model[0][0], model[-1][0]))
        disk.write(batch)
        assert disk.entries() == model
        head = disk.head
        assert (head.first, head.last) == ((model[0][0], model[-1][0]) if model else (0, 0))
        assert (head.term, head.commit_index) == (term, commit)
        on_disk = sorted(entry_index(key) for key in disk.keys)
        assert not on_disk or on_disk[0] == head.lowest
        assert decode_head(encode_head(head, encode_tail(head.vote, head.flags))) == head


def test_dropped_entries_go_a_few_at_a_time_and_never_in_the_batch_that_drops_them() -> None:
    disk = Disk()
    disk.write(LogBatch(term=1, entries=[(i, 1, b"x") for i in range(1, 101)]))
    assert disk.write(LogBatch(drop_below=60)).deletes == []
    assert (disk.head.first, disk.head.lowest) == (60, 1)
    steps = 0
    while disk.head.lowest < 60:
        assert 0 < len(disk.write(LogBatch()).deletes) <= DELETIONS_PER_BATCH
        steps += 1
    assert steps == -(-59 // DELETIONS_PER_BATCH)
    assert sorted(entry_index(key) for key in disk.keys) == list(range(60, 101))


def log_of_ten() -> Disk:
    disk = Disk()
    disk.write(LogBatch(term=3, vote="n1", entries=[(i, 3, b"x") for i in range(1, 11)]))
    disk.write(LogBatch(commit_index=5))
    return disk


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (LogBatch(entries=[(12, 3, b"")]), "cannot follow"),
        (LogBatch(entries=[(10, 3, b"")]), "cannot follow"),
        (LogBatch(entries=[(11, 2, b"")]), "cannot follow"),
        (LogBatch(entries=[(11, 4, b"")]), "in a log of term 3"),
        (LogBatch(truncate_from=5), "committed"),
        (LogBatch(drop_below=11), "empty the log"),
        (LogBatch(term=2), "after term 3"),
        (LogBatch(term=3, vote="n2"), "after vote n1"),
        (LogBatch(term=3), "after vote n1"),
        (LogBatch(vote="n2"), "together with its term"),
        (LogBatch(rebase=[(5, 3, b"")]), "at least two"),
    ],
)
def test_what_breaks_the_order_of_the_log_is_refused(batch: LogBatch, reason: str) -> None:
    disk = log_of_ten()
    with pytest.raises(ValueError, match=reason):
        disk.write(batch)


def test_the_same_vote_may_be_written_again_and_a_new_term_frees_it() -> None:
    disk = log_of_ten()
    disk.write(LogBatch(term=3, vote="n1"))
    disk.write(LogBatch(term=4))
    assert (disk.head.term, disk.head.vote) == (4, None)
    disk.write(LogBatch(term=4, vote="n2"))
    assert disk.head.vote == "n2"


def test_a_rebase_keeps_term_and_vote() -> None:
    disk = log_of_ten()
    disk.write(LogBatch(rebase=[(40, 2, b""), (41, 3, b"")]))
    assert (disk.head.first, disk.head.last, disk.last_term) == (40, 41, 3)
    assert (disk.head.term, disk.head.vote) == (3, "n1")
    assert sorted(entry_index(key) for key in disk.keys) == [40, 41]


@pytest.mark.parametrize("record", [b"", b"\x01", b"\x01" * 57, b"\x01" * 57 + b"[1,{}]"])
def test_a_malformed_head_is_an_error(record: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        decode_head(record)
