"""Every damage to a log ends in all that was acknowledged, or in a refusal that changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.storage.errors import DataDamaged
from cluster.storage.log_records import LogBatch
from cluster.storage.log_store import LogStore, Opened
from cluster.storage.witness import SLOT_SPACING
from tests.integration.storage import damage

LAST = 120


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("log") / "data"
    damage.build_log(root, LAST)
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    return damage.clone(pristine, tmp_path / "data")


def open_log(root: Path) -> LogStore:
    return LogStore.open(root / "log", root / "witness")


def refused(root: Path) -> DataDamaged:
    """The log is refused, twice the same, and not a byte of the folder changes."""
    before = damage.content(root)
    problems = []
    for _ in range(2):
        with pytest.raises(DataDamaged) as caught:
            open_log(root)
        problems.append(str(caught.value))
        assert damage.content(root) == before
    assert problems[0] == problems[1]
    return caught.value


def test_an_undamaged_log_opens_with_everything(root: Path) -> None:
    log = open_log(root)
    assert log.opened is Opened.INTACT
    damage.assert_holds(log, LAST)
    log.close()


def flip_middle(path: Path) -> int:
    return damage.flip_value(path, 60)


def flip_last(path: Path) -> int:
    return damage.flip_value(path, -1)


def flip_middle_length(path: Path) -> int:
    return damage.flip_length(path, 60)


def flip_last_length(path: Path) -> int:
    return damage.flip_length(path, -1)


def flip_length_past_the_block(path: Path) -> int:
    return damage.flip_length(path, 60, bit=15)


def flip_type(path: Path) -> int:
    offset = damage.record_offsets(path)[60]
    damage.flip(path, offset + 6)
    return offset


def flip_checksum(path: Path) -> int:
    offset = damage.record_offsets(path)[60]
    damage.flip(path, offset, 7)
    return offset


def cut_last_record(path: Path) -> int:
    offset = damage.record_offsets(path)[-1]
    damage.cut(path, path.stat().st_size - 50)
    return offset


def cut_middle(path: Path) -> int:
    offset = damage.record_offsets(path)[60]
    damage.cut(path, offset + 100)
    return offset


def cut_between_records(path: Path) -> int:
    offset = damage.record_offsets(path)[60]
    damage.cut(path, offset)
    return offset


def zero_tail(path: Path) -> int:
    offset = damage.record_offsets(path)[-1]
    data = path.read_bytes()
    path.write_bytes(data[:-200] + bytes(4096))
    return offset


def half_record(path: Path) -> int:
    offset = damage.record_offsets(path)[-1]
    data = path.read_bytes()
    path.write_bytes(data[: offset + 40] + bytes(len(data) - offset - 40))
    return offset


def zero_middle(path: Path) -> int:
    offset = damage.record_offsets(path)[60]
    data = bytearray(path.read_bytes())
    data[offset : offset + 1000] = bytes(1000)
    path.write_bytes(data)
    return offset


def emptied(path: Path) -> int:
    damage.cut(path, 0)
    return 0


@pytest.mark.parametrize(
    "harm",
    [
        flip_middle,
        flip_last,
        flip_middle_length,
        flip_last_length,
        flip_length_past_the_block,
        flip_type,
        flip_checksum,
        cut_last_record,
        cut_middle,
        cut_between_records,
        zero_tail,
        half_record,
        zero_middle,
        emptied,
    ],
)
def test_a_damaged_acknowledged_batch_is_refused_by_file_and_byte(
    root: Path, harm: Callable[[Path], int]
) -> None:
    path = damage.wal(root / "log")
    offset = harm(path)
    caught = refused(root)
    assert caught.path == path
    assert caught.offset is not None
    # Where the batch before ends, or a little on where a block's padding lies between.
    assert offset - 7 <= caught.offset <= offset
    assert str(path) in str(caught)


@pytest.mark.parametrize(
    "rest", [b"\xa5" * 700, bytes(4096), b"\x01" * 30], ids=lambda b: b[:1].hex()
)
def test_garbage_after_the_end_is_cut_off_and_kept(root: Path, rest: bytes) -> None:
    path = damage.wal(root / "log")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + rest)
    log = open_log(root)
    assert log.opened is Opened.TORN_TAIL
    damage.assert_holds(log, LAST)
    log.close()
    (kept,) = (root / "set-aside").iterdir()
    assert kept.read_bytes() == rest
    assert kept.name.endswith(f"-log-{path.name}-from-{size}")


def unacknowledged(root: Path, size: int) -> tuple[Path, int]:
    """Append one whole batch whose sync has not returned: the witness does not know it."""
    witness = (root / "witness").read_bytes()
    settle = open_log(root)  # so that the batch starts a write-ahead file that we know
    damage.write_entries(settle, LAST + 1, LAST + 1)
    known = (root / "witness").read_bytes()
    assert known != witness
    end = damage.wal(root / "log").stat().st_size
    settle.write(LogBatch(entries=[(LAST + 2, 1, damage.command(LAST + 2, size))]))
    settle.close()
    (root / "witness").write_bytes(known)
    return damage.wal(root / "log"), end


@pytest.mark.parametrize("size", [300, 100_000])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("tail", ["cut", "zeros"])
def test_a_torn_batch_that_nobody_heard_of_is_cut_off(
    root: Path, size: int, keep: float, tail: str
) -> None:
    path, end = unacknowledged(root, size)
    whole = path.read_bytes()
    stop = end + int((len(whole) - end) * keep)
    path.write_bytes(whole[:stop] + bytes((len(whole) - stop) if tail == "zeros" else 0))
    torn = path.read_bytes()
    log = open_log(root)
    assert log.opened is Opened.TORN_TAIL
    damage.assert_holds(log, LAST + 1)
    (kept,) = (root / "set-aside").iterdir()
    assert torn[:end] + kept.read_bytes() == torn

    number = log.batch_number
    log.write(LogBatch(entries=[(LAST + 2, 1, damage.command(LAST + 2))]))
    assert log.batch_number == number + 1
    log.close()
    log = open_log(root)
    assert log.opened is Opened.INTACT
    damage.assert_holds(log, LAST + 2)
    log.close()


def test_any_pages_of_the_torn_batch_may_have_reached_the_disk(root: Path) -> None:
    path, end = unacknowledged(root, 100_000)
    data = bytearray(path.read_bytes())
    for start in range(0, len(data), 8192):  # every second page stayed unwritten
        first = max(start, end)
        data[first : start + 4096] = bytes(max(0, min(start + 4096, len(data)) - first))
    path.write_bytes(data)
    log = open_log(root)
    assert log.opened is Opened.TORN_TAIL
    damage.assert_holds(log, LAST + 1)
    log.close()


def test_a_whole_batch_that_the_witness_missed_is_kept(root: Path) -> None:
    unacknowledged(root, 300)
    log = open_log(root)
    assert log.opened is Opened.INTACT
    damage.assert_holds(log, LAST + 2)
    log.close()


def test_a_lost_vote_is_noticed(root: Path) -> None:
    log = open_log(root)
    damage.write_entries(log, LAST + 1, LAST + 1)
    log.write(LogBatch(term=2, vote="n2"))
    log.close()
    path = damage.wal(root / "log")
    damage.cut(path, damage.record_offsets(path)[-1])
    assert "synced and are gone" in str(refused(root))


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST", "ldb", "log"])
def test_a_lost_file_is_refused(root: Path, name: str) -> None:
    if name == "ldb":
        damage.settle(root)
    path = max(file for file in (root / "log").iterdir() if name in file.name)
    path.unlink()
    caught = refused(root)
    assert caught.path == path or name == "log"


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST"])
def test_a_flipped_bit_in_the_catalogue_is_refused(root: Path, name: str) -> None:
    damage.settle(root)
    (path,) = [file for file in (root / "log").iterdir() if name in file.name]
    damage.flip(path, 3)
    assert refused(root).path == path


def table_with(root: Path, needle: bytes) -> tuple[Path, int]:
    for path in sorted((root / "log").glob("*.ldb")):
        at = path.read_bytes().find(needle)
        if at >= 0:
            return path, at
    raise AssertionError("no table holds it")


def test_a_flipped_bit_in_a_table_is_refused_by_file_and_byte(root: Path) -> None:
    damage.settle(root)
    path, at = table_with(root, damage.command(60))
    damage.flip(path, at + 5)
    caught = refused(root)
    assert caught.path == path
    assert caught.offset is not None
    assert at - 8192 < caught.offset <= at


@pytest.mark.parametrize("cut_bytes", [1, 40, 5000])
def test_a_table_cut_short_is_refused(root: Path, cut_bytes: int) -> None:
    damage.settle(root)
    path, _ = table_with(root, damage.command(60))
    damage.cut(path, path.stat().st_size - cut_bytes)
    assert refused(root).path == path


def test_a_missing_or_emptied_folder_is_not_taken_for_a_new_log(root: Path) -> None:
    for file in (root / "log").iterdir():
        file.unlink()
    assert "witness knows" in str(refused(root))
    (root / "log").rmdir()
    assert "witness knows" in str(refused(root))


def test_a_missing_log_with_an_unreadable_witness_is_not_taken_for_new(
    root: Path, tmp_path: Path
) -> None:
    bad_slots(root)
    (root / "log").rename(tmp_path / "elsewhere")
    assert "the log is gone" in str(refused(root))
    with pytest.raises(DataDamaged, match="the log is gone"):
        LogStore.create(root / "log", root / "witness")


def test_one_bad_witness_slot_is_harmless(pristine: Path, tmp_path: Path) -> None:
    for slot in (0, SLOT_SPACING):
        root = damage.clone(pristine, tmp_path / str(slot))
        damage.flip(root / "witness", slot + 10)
        log = open_log(root)
        assert log.opened is Opened.INTACT
        damage.assert_holds(log, LAST)
        log.close()


def test_a_torn_slot_is_made_good_before_the_next_power_cut_can_tear_the_other(
    pristine: Path, tmp_path: Path
) -> None:
    for torn, other in ((0, SLOT_SPACING), (SLOT_SPACING, 0)):
        root = damage.clone(pristine, tmp_path / str(torn))
        damage.flip(root / "witness", torn + 10)
        open_log(root).close()
        damage.flip(root / "witness", other + 10)
        log = open_log(root)
        assert log.opened is Opened.INTACT
        damage.assert_holds(log, LAST)
        log.close()


def bad_slots(root: Path) -> None:
    damage.flip(root / "witness", 10)
    damage.flip(root / "witness", SLOT_SPACING + 10)


def no_witness(root: Path) -> None:
    (root / "witness").unlink()


def empty_witness(root: Path) -> None:
    damage.cut(root / "witness", 0)


@pytest.mark.parametrize("harm", [bad_slots, no_witness, empty_witness])
def test_without_a_witness_the_log_is_uncertain_until_told_otherwise(
    root: Path, harm: Callable[[Path], None]
) -> None:
    harm(root)
    for _ in range(2):
        log = open_log(root)
        assert log.opened is Opened.UNCERTAIN
        damage.assert_holds(log, LAST)
        log.close()
    log = open_log(root)
    log.write(LogBatch(flags={}))
    log.close()
    log = open_log(root)
    assert log.opened is Opened.INTACT
    log.close()


def test_without_a_witness_a_cut_end_is_uncertain_and_a_damaged_middle_refused(
    root: Path, tmp_path: Path
) -> None:
    bad_slots(root)
    other = damage.clone(root, tmp_path / "other")
    cut_last_record(damage.wal(root / "log"))
    log = open_log(root)
    assert log.opened is Opened.UNCERTAIN
    damage.assert_holds(log, LAST - 1)
    log.close()
    flip_middle(damage.wal(other / "log"))
    refused(other)


def test_an_older_witness_is_harmless(root: Path) -> None:
    old = (root / "witness").read_bytes()
    log = open_log(root)
    damage.write_entries(log, LAST + 1, LAST + 30)
    log.close()
    (root / "witness").write_bytes(old)
    log = open_log(root)
    assert log.opened is Opened.INTACT
    damage.assert_holds(log, LAST + 30)
    log.close()


def test_the_witness_of_another_log_is_refused(root: Path, tmp_path: Path) -> None:
    damage.build_log(tmp_path / "other", 3)
    (root / "witness").write_bytes((tmp_path / "other" / "witness").read_bytes())
    assert "another log" in str(refused(root))
