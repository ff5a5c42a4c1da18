"""Every damage to a state ends in an exact state, at worst an older one, or in a refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.storage.directory import DataDirectory
from cluster.storage.errors import DataDamaged
from cluster.storage.log_records import LogBatch
from cluster.storage.state_store import StateStore
from tests.integration.storage import damage
from tests.integration.storage.test_log_damage import (
    cut_between_records,
    cut_last_record,
    cut_middle,
    flip_last,
    flip_last_length,
    flip_middle,
    flip_middle_length,
    half_record,
    zero_middle,
    zero_tail,
)

BATCHES = 120


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("state") / "data"
    damage.build_state(root, BATCHES)
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    return damage.clone(pristine, tmp_path / "data")


def assert_exact(state: StateStore, index: int) -> None:
    """The state is what it was after batch `index`, no more and no less."""
    expected = {b"key-%d" % i: damage.command(i) for i in range(1, index + 1)}
    expected[b"shared"] = b"%d" % index
    assert state.index == index
    assert list(state.iterate()) == sorted(expected.items())


def refused(root: Path) -> DataDamaged:
    before = damage.content(root)
    with pytest.raises(DataDamaged) as caught:
        StateStore.open(root / "state")
    assert damage.content(root) == before
    return caught.value


@pytest.mark.parametrize("harm", [flip_middle, flip_middle_length, zero_middle])
def test_damage_that_later_batches_follow_is_refused(
    root: Path, harm: Callable[[Path], int]
) -> None:
    path = damage.wal(root / "state")
    offset = harm(path)
    caught = refused(root)
    assert (caught.path, caught.offset) == (path, offset)


@pytest.mark.parametrize(
    ("harm", "index"),
    [
        (flip_last, BATCHES - 1),
        (flip_last_length, BATCHES - 1),
        (cut_last_record, BATCHES - 1),
        (zero_tail, BATCHES - 1),
        (half_record, BATCHES - 1),
        (cut_middle, 60),
        (cut_between_records, 60),
    ],
)
def test_a_damaged_end_leaves_an_older_exact_state(
    root: Path, harm: Callable[[Path], int], index: int
) -> None:
    harm(damage.wal(root / "state"))
    state = StateStore.open(root / "state")
    assert_exact(state, index)
    state.write({b"shared": b"%d" % (index + 1)}, index + 1, (1, 1), 0)
    state.close()
    state = StateStore.open(root / "state")
    assert (state.index, state.get(b"shared")) == (index + 1, b"%d" % (index + 1))
    state.close()


def test_garbage_after_the_end_changes_nothing(root: Path) -> None:
    path = damage.wal(root / "state")
    path.write_bytes(path.read_bytes() + b"\xa5" * 700)
    state = StateStore.open(root / "state")
    assert state.torn
    assert_exact(state, BATCHES)
    state.close()


def test_a_flipped_bit_in_a_table_is_found_by_reading_and_by_the_scrub(root: Path) -> None:
    state = StateStore.open(root / "state")
    state.compact()
    state.close()
    needle = damage.command(60)
    path, at = next(
        (path, path.read_bytes().find(needle))
        for path in (root / "state").glob("*.ldb")
        if needle in path.read_bytes()
    )
    damage.flip(path, at + 5)
    state = StateStore.open(root / "state")
    for read in (
        lambda: state.get(b"key-60"),
        lambda: state.get_many([b"key-%d" % number for number in range(40, 80)]),
        lambda: list(state.iterate()),
        lambda: state.scan(b"key-", b"key-59", 3),
        lambda: list(state.scrub()),
    ):
        with pytest.raises(DataDamaged) as caught:
            read()
        assert caught.value.path == path
        assert caught.value.offset is not None
    state.close()


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST", "ldb"])
def test_a_lost_file_is_refused(root: Path, name: str) -> None:
    StateStore.open(root / "state").close()
    path = max(file for file in (root / "state").iterdir() if name in file.name)
    path.unlink()
    assert refused(root).path == path


def both(root: Path, *, drop_below: int) -> None:
    """Log and state to entry BATCHES, the log compacted below `drop_below`."""
    with DataDirectory.open(root, "n1") as directory:
        log, state = directory.open_stores()
        log.write(LogBatch(term=1, vote="n1"))
        damage.write_entries(log, 1, BATCHES)
        for index in range(1, BATCHES + 1):
            state.write({b"key-%d" % index: damage.command(index)}, index, (1, 1), 0)
        log.write(LogBatch(drop_below=drop_below))
        log.close()
        state.close()


def test_a_state_that_lost_what_the_log_dropped_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    both(root, drop_below=100)
    path = damage.wal(root / "state")
    damage.cut(path, damage.record_offsets(path)[80])
    for _ in range(2):
        with (
            DataDirectory.open(root, "n1") as directory,
            pytest.raises(DataDamaged, match="the log starts at 100"),
        ):
            directory.open_stores()


def test_a_state_that_the_log_can_continue_is_taken(tmp_path: Path) -> None:
    root = tmp_path / "data"
    both(root, drop_below=60)
    path = damage.wal(root / "state")
    damage.cut(path, damage.record_offsets(path)[80])
    with DataDirectory.open(root, "n1") as directory:
        log, state = directory.open_stores()
        assert (state.index, log.first_index, log.last_index) == (80, 60, BATCHES)
        assert log.read(81, 1) == [(81, 1, damage.command(81))]
        log.close()
        state.close()


def test_a_missing_state_is_refused_once_the_log_was_compacted(tmp_path: Path) -> None:
    root = tmp_path / "data"
    both(root, drop_below=60)
    for file in (root / "state").iterdir():
        file.unlink()
    with (
        DataDirectory.open(root, "n1") as directory,
        pytest.raises(DataDamaged, match="the state is gone"),
    ):
        directory.open_stores()
    assert not list((root / "state").iterdir())
