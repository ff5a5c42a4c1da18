"""A power cut loses exactly what was not synced: bytes, sizes and names."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chaos.live.power import Cut, Left, cut_power
from chaos.live.shim.control import ALWAYS, ShimmedDisk
from tests.integration.chaos.disk_writer import content, run, shimmed

OLD, NEW = b"o" * 10_000, b"n" * 10_000


@pytest.fixture
def disk(tmp_path: Path) -> ShimmedDisk:
    return shimmed(tmp_path)


def cut(disk: ShimmedDisk, left: Left, seed: int = 1) -> Cut:
    return cut_power(disk, random.Random(seed), left)


WRITES = """
fd = put("a", b"o" * 10_000)
synced(fd)
os.pwrite(fd, b"n" * 10_000, 0)
os.pwrite(fd, b"more", 10_000)
synced(put("b", b"all of it"))
put("c", b"nobody knows")
"""


def test_synced_bytes_stay_and_unsynced_ones_go(disk: ShimmedDisk) -> None:
    run(disk, WRITES)
    assert content(disk)["a"] == NEW + b"more"
    done = cut(disk, Left.NOTHING)
    assert content(disk) == {"a": OLD, "b": b"all of it"}
    assert (done.unsynced, done.files, done.names) == (4, 2, 1)


def test_what_the_system_wrote_back_by_itself_stays(disk: ShimmedDisk) -> None:
    run(disk, WRITES)
    cut(disk, Left.EVERYTHING)
    assert content(disk) == {"a": NEW + b"more", "b": b"all of it", "c": b"nobody knows"}


def test_of_the_rest_any_sectors_may_stay(disk: ShimmedDisk) -> None:
    """Each sector is old or new, all kinds of lengths come, and new names as far as they will."""
    many = """
for number in range(40):
    fd = put(f"a{number}", b"o" * 8192)
    synced(fd)
    os.pwrite(fd, b"n" * 8192, 0)
    os.pwrite(fd, b"more" * 2048, 8192)
for number in range(40):
    put(f"c{number:02}", b"nobody knows")
"""
    run(disk, many)
    done = cut(disk, Left.SOME)
    found = content(disk)
    changed = [data for name, data in found.items() if name.startswith("a")]
    assert len(changed) == 40
    for data in changed:
        assert set(data[:8192]) <= {ord("o"), ord("n")}
        for start in range(0, 8192, done.torn_size):
            assert len(set(data[start : start + done.torn_size])) == 1, "a sector is written whole"
    assert sum(len(set(data[:8192])) == 2 for data in changed) > 10
    assert {8192, 16384} <= {len(data) for data in changed}
    hole = bytes(done.torn_size)
    assert any(hole in data[8192:] for data in changed), "longer, and its bytes did not come"
    named = sorted(name for name in found if name.startswith("c"))
    assert 0 < len(named) < 40
    assert named == [f"c{number:02}" for number in range(len(named))]


def test_names_survive_in_their_order_up_to_the_last_that_was_synced(disk: ShimmedDisk) -> None:
    run(
        disk,
        """
os.mkdir(at("sub"))
synced(put("sub/one", b"1"))         # with it, the folder that it is in
synced(put("draft", b"whole"))
os.rename(at("draft"), at("final"))
sync_folder()
synced(put("next", b"newer"))
os.rename(at("next"), at("final"))   # in the place of the old one
os.unlink(at("sub/one"))
os.rmdir(at("sub"))
""",
    )
    assert content(disk) == {"final": b"newer"}
    cut(disk, Left.NOTHING)
    assert content(disk) == {"sub/": b"", "sub/one": b"1", "final": b"whole", "next": b"newer"}


def test_a_sync_covers_what_came_before_it_only(disk: ShimmedDisk) -> None:
    run(
        disk,
        """
fd = put("a", b"first")
synced(fd)
os.unlink(at("a"))
fd = put("a", b"another file")
sync_folder()
synced(put("b", b"b"))
os.ftruncate(fd, 3)
open(at("b"), "w").close()
""",
    )
    assert content(disk) == {"a": b"ano", "b": b""}
    cut(disk, Left.NOTHING)
    assert content(disk) == {"a": b"", "b": b"b"}


def test_after_a_sync_that_failed_no_later_one_helps(disk: ShimmedDisk) -> None:
    """The system takes the pages for clean; what is written after it is synced as usual."""
    disk.fail(syncs=ALWAYS)
    run(
        disk,
        """
fd = put("a", b"aaaa")
try:
    synced(fd)
except OSError:
    os.pwrite(fd, b"bbbb", 4)
os.close(fd)
""",
    )
    disk.heal()
    run(disk, 'synced(put("a", b"cccc", 8))')
    assert content(disk) == {"a": b"aaaabbbbcccc"}
    cut(disk, Left.NOTHING)
    assert content(disk) == {"a": bytes(4) + b"bbbbcccc"}
    assert disk.met == 1


def test_a_mapped_file_is_as_it_was_last_synced(disk: ShimmedDisk) -> None:
    run(
        disk,
        """
import mmap
fd = put("a", b"o" * 8192)
synced(fd)
memory = mmap.mmap(fd, 0)
memory[0:4] = b"kept"
memory.flush()
memory.resize(16384)
memory[4:8] = b"gone"
""",
    )
    assert content(disk)["a"][:8] == b"keptgone"
    cut(disk, Left.NOTHING)
    assert content(disk) == {"a": b"kept" + b"o" * 8188}


def test_a_killed_process_leaves_its_journal_to_the_next(disk: ShimmedDisk) -> None:
    run(disk, 'synced(put("a", b"1")); put("a", b"22")')
    run(disk, 'put("a", b"333"); synced(put("b", b"b"))')
    cut(disk, Left.NOTHING)
    assert content(disk) == {"a": b"1", "b": b"b"}
    run(disk, 'put("a", b"4444")')
    cut(disk, Left.NOTHING)
    assert content(disk) == {"a": b"1", "b": b"b"}


def test_what_no_cut_can_bring_back_is_not_kept(disk: ShimmedDisk) -> None:
    run(
        disk,
        """
for number in range(100):
    synced(put(f"{number}", b"1" * 100))
    os.unlink(at(f"{number}"))
""",
    )
    assert len(list(disk.kept.iterdir())) == 1
    cut(disk, Left.NOTHING)
    assert content(disk) == {"99": b"1" * 100}


def test_what_it_cannot_follow_ends_the_process_with_a_word(disk: ShimmedDisk) -> None:
    with pytest.raises(AssertionError, match="disk shim: a vectored write"):
        run(disk, 'os.writev(opened("a"), [b"1", b"2"])')
