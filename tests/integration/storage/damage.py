"""Folders with known content, and the ways in which disks damage them."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from cluster.storage.log_records import LogBatch
from cluster.storage.log_store import LogStore
from cluster.storage.state_store import StateStore
from cluster.storage.wal import HEAD_SIZE, Reader

UNTOUCHED_BY_RULE = {"LOG", "LOG.old", "LOCK"}  # LevelDB's own notes; they hold no data


def command(index: int, size: int = 300) -> bytes:
    """A recognisable command for entry `index`, different for every index."""
    return random.Random(index).randbytes(size)


def write_entries(log: LogStore, first: int, last: int, size: int = 300) -> None:
    for index in range(first, last + 1):
        log.write(LogBatch(entries=[(index, 1, command(index, size))], commit_index=index - 1))


def build_log(root: Path, entries: int = 120, *, size: int = 300) -> None:
    """root/log and root/witness: a vote, then one entry per batch, all of it in one WAL file."""
    root.mkdir(parents=True, exist_ok=True)
    log = LogStore.open(root / "log", root / "witness")
    log.write(LogBatch(term=1, vote="n1"))
    write_entries(log, 1, entries, size)
    log.close()


def settle(root: Path) -> None:
    """Move what the write-ahead file of root/log holds into tables, as every opening does."""
    LogStore.open(root / "log", root / "witness").close()


def build_state(root: Path, batches: int = 60) -> None:
    """root/state: batch i sets key-i and the shared key, and brings the state to index i."""
    root.mkdir(parents=True, exist_ok=True)
    state = StateStore.open(root / "state")
    for index in range(1, batches + 1):
        state.write({b"key-%d" % index: command(index), b"shared": b"%d" % index}, index, (1, 1), 0)
    state.close()


def wal(directory: Path) -> Path:
    """The write-ahead file in use."""
    return max(directory.glob("*.log"), key=lambda path: path.name)


def record_offsets(path: Path) -> list[int]:
    return [record.offset for record in Reader(path.read_bytes()).records()]


def flip(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def flip_length(path: Path, record: int, bit: int = 8) -> int:
    """Flip a bit in the length of the given record; its offset."""
    offset = record_offsets(path)[record]
    flip(path, offset + 4 + bit // 8, bit % 8)
    return offset


def flip_value(path: Path, record: int) -> int:
    offset = record_offsets(path)[record]
    flip(path, offset + HEAD_SIZE + 60)
    return offset


def cut(path: Path, size: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:size])


def content(root: Path) -> dict[str, bytes]:
    """Every file under `root` but LevelDB's notes, by relative path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in UNTOUCHED_BY_RULE
    }


def clone(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def assert_holds(log: LogStore, last: int, size: int = 300) -> None:
    """The log holds exactly entries 1 to `last` as they were written."""
    assert (log.first_index, log.last_index) == (1, last)
    assert log.read(1, last) == [(index, 1, command(index, size)) for index in range(1, last + 1)]
    assert (log.term, log.vote) == (1, "n1")
