"""The simulated LevelDB behaves as the real one was measured to."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chaos.sim.leveldb import MEMTABLE_SIZE, Files, Handle, SimDatabase
from cluster.storage.errors import DataDamaged, StorageFailed

HERE = Path("/n1/log")


class Disk:
    """Refuses writes while `full`."""

    def __init__(self, *, goes_on: bool = True) -> None:
        self.files = Files()
        self.full = False
        self.goes_on = goes_on

    def open(self) -> Handle:
        return Handle(self.files, HERE, self._before, lambda: self.goes_on)

    def _before(self, size: int) -> None:
        if self.full:
            raise OSError("no space left")


def put(handle: Handle, number: int, *, sync: bool = True, size: int = 10) -> None:
    batch = handle.write_batch(sync=sync)
    batch.put(b"%06d" % number, bytes(size))
    batch.write()


def keys(files: Files) -> list[int]:
    return [int(key) for key in files.content().walk(None, None)]


@pytest.mark.parametrize("seed", range(20))
def test_synced_writes_survive_a_power_cut(seed: int) -> None:
    disk = Disk()
    handle = disk.open()
    for number in range(200):
        put(handle, number, size=500)
    disk.files.lose_power(random.Random(seed))
    assert not disk.files.is_torn(HERE)
    assert keys(disk.files) == list(range(200))


def test_unsynced_writes_are_no_prefix_after_a_power_cut() -> None:
    """The old file is closed without a sync, and a later synced write syncs only the new one."""
    missing = set()
    for seed in range(30):
        disk = Disk()
        handle = disk.open()
        for number in range(4):
            put(handle, number, sync=False, size=MEMTABLE_SIZE // 4)
        put(handle, 4)
        disk.files.lose_power(random.Random(seed))
        found = keys(disk.files)
        assert 4 in found
        missing |= set(range(4)) - set(found)
    assert missing == {0, 1, 2, 3}


def test_a_torn_end_is_told_from_damage_in_the_middle() -> None:
    disk = Disk()
    handle = disk.open()
    for number in range(5):
        put(handle, number)
    records = disk.files.records()
    records[-1].readable = False
    assert disk.files.is_torn(HERE)
    assert keys(disk.files) == [0, 1, 2, 3]
    records[-1].readable, records[2].readable = True, False
    with pytest.raises(DataDamaged):
        disk.files.is_torn(HERE)


def test_what_is_written_after_a_failed_write_is_gone_at_the_next_opening() -> None:
    disk = Disk(goes_on=True)
    handle = disk.open()
    put(handle, 0)
    disk.full = True
    with pytest.raises(OSError, match="space"):
        put(handle, 1)
    disk.full = False
    put(handle, 2)
    assert handle.get(b"%06d" % 2) is not None
    assert keys(disk.files) == [0]


def test_a_handle_may_also_refuse_for_ever_after_a_failed_write() -> None:
    disk = Disk(goes_on=False)
    handle = disk.open()
    disk.full = True
    with pytest.raises(OSError, match="space"):
        put(handle, 1)
    disk.full = False
    with pytest.raises(OSError, match="space"):
        put(handle, 2)


def test_the_real_wrapper_never_writes_on() -> None:
    disk = Disk(goes_on=True)
    database = SimDatabase(disk.open(), HERE, disk.files)
    database.write([(b"a", b"1")])
    disk.full = True
    with pytest.raises(StorageFailed):
        database.write([(b"b", b"1")])
    disk.full = False
    with pytest.raises(StorageFailed, match="reopen"):
        database.write([(b"c", b"1")])


def test_a_walk_sees_what_was_there_when_it_began() -> None:
    disk = Disk()
    database = SimDatabase(disk.open(), HERE, disk.files)
    database.write([(b"a", b"1"), (b"b", b"1"), (b"c", b"1")])
    walk = database.iterate()
    assert next(walk) == (b"a", b"1")
    database.write([(b"b", b"2"), (b"bb", b"2")], [b"c"])
    assert list(walk) == [(b"b", b"1"), (b"c", b"1")]
    assert database.last(b"a", b"z") == (b"bb", b"2")


def test_rotten_tables_are_noticed_by_reads_and_by_the_scrub() -> None:
    disk = Disk()
    database = SimDatabase(disk.open(), HERE, disk.files)
    database.write([(b"a", b"1")])
    disk.files.rotten.add(b"a")
    with pytest.raises(DataDamaged):
        database.get(b"a")
    with pytest.raises(DataDamaged):
        list(database.scrub())
