"""Holes that no checksum shows: each check at opening, on a database that was made with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.storage.batches import batch_key
from cluster.storage.database import Database
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import DataDamaged
from cluster.storage.identity import new_identity, write_identity
from cluster.storage.log_check import check_log
from cluster.storage.log_records import (
    Head,
    LogBatch,
    encode_entry,
    encode_head,
    encode_tail,
    entry_key,
)
from cluster.storage.log_store import LogStore, Opened
from cluster.storage.state_records import encode_state_head
from cluster.storage.state_store import StateStore
from cluster.storage.wal import Reader, frame_records
from cluster.storage.witness import SLOT_SPACING
from tests.integration.storage import damage


def checked(root: Path, entries: list[tuple[int, int]], batches: list[int], **head: Any) -> None:
    """Check a log of these (index, term) and batch numbers, whose newest head is `head`."""
    database = Database.open(root / "log", create=True)
    record = encode_head(Head(5, **head), encode_tail(None, {}))
    database.write([(batch_key(number), record) for number in batches])
    database.write([(entry_key(index), encode_entry(term, b"x")) for index, term in entries])
    try:
        check_log(database)
    finally:
        database.close()


def test_a_log_without_holes_passes(tmp_path: Path) -> None:
    checked(tmp_path, [(3, 1), (4, 1), (5, 2)], [2, 3], floor=2, first=4, last=5, lowest=3, term=2)


@pytest.mark.parametrize(
    ("entries", "batches", "problem"),
    [
        ([(4, 1), (5, 1)], [2, 4], "batches 3 to 3 are missing"),
        ([(4, 1), (5, 1)], [3, 4], "batches 2 to 2 are missing"),
        ([(4, 1)], [2, 3], "entries 5 to 5 are missing"),
        ([], [2, 3], "entries 4 to 5 are missing"),
        ([(5, 1)], [2, 3], "entry 5 follows entry 3"),
        ([(4, 1), (5, 1), (6, 1)], [2, 3], "entry 6 follows entry 5"),
        ([(4, 2), (5, 1)], [2, 3], "entry 5 has term 1 after term 2"),
        ([(4, 1), (5, 9)], [2, 3], "the last entry has term 9, the log only 2"),
        ([(4, 1), (5, 1)], [], "no batch at all"),
    ],
)
def test_a_log_with_a_hole_is_refused(
    tmp_path: Path, entries: list[tuple[int, int]], batches: list[int], problem: str
) -> None:
    with pytest.raises(DataDamaged, match=problem):
        checked(tmp_path, entries, batches, floor=2, first=4, last=5, lowest=4, term=2)


def test_a_state_with_a_missing_batch_is_refused(tmp_path: Path) -> None:
    state = StateStore.open(tmp_path / "state")
    for index in range(1, 6):
        state.write({}, index, (1, 1), 0)
    state._db.write([], [batch_key(3)])
    state.close()
    with pytest.raises(DataDamaged, match="batches 3 to 3 are missing"):
        StateStore.open(tmp_path / "state")


def test_a_state_with_a_malformed_head_is_refused(tmp_path: Path) -> None:
    state = StateStore.open(tmp_path / "state")
    state._db.write([(batch_key(2), encode_state_head(1, 5, (1, 1), 0)[:-1])])
    state.close()
    with pytest.raises(DataDamaged, match="malformed"):
        StateStore.open(tmp_path / "state")


def split(root: Path, at: int) -> tuple[Path, Path]:
    """Spread the write-ahead file of root/log over two, as LevelDB does between memtables."""
    first = damage.wal(root / "log")
    second = first.with_name(f"{int(first.stem) + 1:06d}.log")
    records = [record.data for record in Reader(first.read_bytes()).records()]
    first.write_bytes(frame_records(records[:at]))
    second.write_bytes(frame_records(records[at:]))
    return first, second


def test_two_write_ahead_files_are_read_as_one(tmp_path: Path) -> None:
    damage.build_log(tmp_path, 50)
    split(tmp_path, 20)
    log = LogStore.open(tmp_path / "log", tmp_path / "witness")
    assert log.opened is Opened.INTACT
    damage.assert_holds(log, 50)
    log.close()


@pytest.mark.parametrize("harm", ["cut between records", "cut", "lost", "garbage"])
def test_the_older_of_two_write_ahead_files_has_no_torn_end(tmp_path: Path, harm: str) -> None:
    damage.build_log(tmp_path, 50)
    first, second = split(tmp_path, 20)
    if harm == "cut between records":
        damage.cut(first, damage.record_offsets(first)[-1])
    elif harm == "cut":
        damage.cut(first, first.stat().st_size - 10)
    elif harm == "lost":
        first.unlink()
    else:
        first.write_bytes(first.read_bytes() + b"\xa5" * 100)
    (tmp_path / "witness").unlink()  # the files alone must show it
    before = damage.content(tmp_path)
    with pytest.raises(DataDamaged) as caught:
        LogStore.open(tmp_path / "log", tmp_path / "witness")
    # Which file is lost, nobody can say; that one is, the missing batches show.
    assert caught.value.path in ((tmp_path / "log",) if harm == "lost" else (first, second))
    assert damage.content(tmp_path) == before


def test_either_witness_slot_alone_is_at_most_one_batch_behind(tmp_path: Path) -> None:
    damage.build_log(tmp_path / "a", 50)
    for slot in (0, SLOT_SPACING):
        root = damage.clone(tmp_path / "a", tmp_path / f"b{slot}")
        damage.flip(root / "witness", slot + 10)
        path = damage.wal(root / "log")
        damage.cut(path, damage.record_offsets(path)[-2])
        with pytest.raises(DataDamaged, match="synced and are gone"):
            LogStore.open(root / "log", root / "witness")


def test_a_state_whose_log_never_was_is_not_given_a_new_log(tmp_path: Path) -> None:
    write_identity(tmp_path / "node.json", new_identity("n1"))
    damage.build_state(tmp_path, 5)
    with (
        DataDirectory.open(tmp_path, "n1") as directory,
        pytest.raises(DataDamaged, match="though there is a state"),
    ):
        directory.open_stores()


class Recording:
    """Notes how LevelDB is called."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.synced: list[bool] = []

    def write_batch(self, *, sync: bool = False) -> Any:
        self.synced.append(sync)
        return self._real.write_batch(sync=sync)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_every_write_is_one_synced_batch(tmp_path: Path) -> None:
    log = LogStore.open(tmp_path / "log", tmp_path / "witness")
    state = StateStore.open(tmp_path / "state")
    for store in (log, state):
        store._db._handle = Recording(store._db._handle)
    log.write(LogBatch(term=1, vote="n1"))
    log.write(LogBatch(entries=[(1, 1, b"x"), (2, 1, b"y")], commit_index=1))
    log.write(LogBatch(truncate_from=2, entries=[(2, 1, b"z")]))
    state.write({b"a": b"1", b"b": None}, 1, (0, 1), 0)
    assert log._db._handle.synced == [True] * 3
    assert state._db._handle.synced == [True]
    log.close()
    state.close()


def test_reading_respects_count_size_and_the_ends_of_the_log(tmp_path: Path) -> None:
    damage.build_log(tmp_path, 20, size=100)
    log = LogStore.open(tmp_path / "log", tmp_path / "witness")
    assert [entry[0] for entry in log.read(5, 3)] == [5, 6, 7]
    assert [entry[0] for entry in log.read(19, 10)] == [19, 20]
    assert log.read(21, 5) == []
    assert [entry[0] for entry in log.read(1, 20, size_max=1)] == [1]
    assert [entry[0] for entry in log.read(1, 20, size_max=350)] == [1, 2, 3]
    log.write(LogBatch(drop_below=10))
    with pytest.raises(LookupError):
        log.read(9, 1)
    with pytest.raises(LookupError):
        log.read(0, 1)
    assert [entry[0] for entry in log.read(10, 2)] == [10, 11]
    log.close()
