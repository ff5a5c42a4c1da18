"""A repair keeps all that can be kept, says what it loses, and never loses anything unasked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.storage import repair as repairs
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import FolderInUse, FolderRefused, NoIdentity
from cluster.storage.examination import LogPlan, StatePlan
from cluster.storage.log_records import LogBatch
from cluster.storage.log_store import LogStore
from cluster.storage.repair import REPAIRED_FLAG, examine, repair
from cluster.storage.state_store import StateStore
from tests.integration.storage import damage

LAST = 100


def filled(root: Path, *, applied: int = LAST, drop_below: int = 1) -> Path:
    """Log entries 1 to LAST, state to `applied`, one batch per entry in each."""
    with DataDirectory.open(root, "n1") as directory:
        log, state = directory.open_stores()
        log.write(LogBatch(term=1, vote="n1"))
        damage.write_entries(log, 1, LAST)
        for index in range(1, applied + 1):
            state.write({b"key-%d" % index: damage.command(index)}, index, (1, 1), 0)
        log.write(LogBatch(drop_below=drop_below))
        log.close()
        state.close()
    return root


def untouched(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in damage.content(root).items() if name != "lock"}


def reopened(root: Path) -> tuple[LogStore, StateStore]:
    with DataDirectory.open(root, "n1") as directory:
        return directory.open_stores()


def test_a_whole_folder_is_left_alone(tmp_path: Path) -> None:
    root = filled(tmp_path / "data")
    before = untouched(root)
    found = examine(root)
    assert found.healthy
    assert found.lossless
    assert found.log.runs == [(1, LAST)]
    assert repair(root).set_aside == []
    assert untouched(root) == before


def test_a_hole_in_the_log_above_the_state_is_a_loss_that_must_be_accepted(tmp_path: Path) -> None:
    root = filled(tmp_path / "data", applied=30)
    path = damage.wal(root / "log")
    damage.flip_value(path, 61)
    before = untouched(root)
    found = examine(root)
    assert untouched(root) == before
    assert found.log.damage is not None
    assert found.log.damage.path == path
    assert found.log.damage.offset is not None
    assert (found.log.plan, found.state.plan) == (LogPlan.KEEP_RUN, StatePlan.KEEP)
    first, last = found.log.keep
    assert first == 1
    assert 30 < last < LAST
    assert found.lost == [(last + 1, LAST)]
    text = "\n".join(found.lines())
    assert f"lost for good: entries {last + 1} to {LAST}" in text
    with pytest.raises(FolderRefused, match="lost for good"):
        repair(root)
    assert untouched(root) == before

    done = repair(root, accept_loss=True)
    assert [path.name.split("-", 1)[1] for path in done.set_aside] == ["log"]
    original = done.set_aside[0]
    assert {path.name: path.read_bytes() for path in original.glob("*.log")} == {
        path.name: before[f"log/{path.name}"] for path in original.glob("*.log")
    }
    log, state = reopened(root)
    assert log.read(1, LAST) == [(i, 1, damage.command(i)) for i in range(1, last + 1)]
    assert (log.term, log.vote, log.flags) == (1, "n1", {REPAIRED_FLAG: 1})
    assert state.index == 30
    damage.write_entries(log, last + 1, last + 5)
    log.close()
    state.close()
    log, state = reopened(root)
    assert log.last_index == last + 5
    log.close()
    state.close()


def test_a_hole_in_the_log_below_the_state_loses_no_entry(tmp_path: Path) -> None:
    root = filled(tmp_path / "data", applied=80)
    damage.settle(root)
    table = next(
        path for path in (root / "log").glob("*.ldb") if damage.command(20) in path.read_bytes()
    )
    damage.flip(table, table.read_bytes().find(damage.command(20)) + 5)
    found = examine(root)
    assert found.log.damage is not None
    assert found.log.damage.path == table
    assert found.lost == []
    first, last = found.log.keep
    assert 20 < first <= 81
    assert last == LAST
    assert found.lossless
    repair(root)
    log, state = reopened(root)
    assert log.read(81, LAST) == [(i, 1, damage.command(i)) for i in range(81, LAST + 1)]
    assert state.index == 80
    log.close()
    state.close()


def test_a_damaged_state_is_cut_and_the_log_has_the_rest(tmp_path: Path) -> None:
    root = filled(tmp_path / "data", drop_below=20)
    damage.flip_value(damage.wal(root / "state"), 50)
    found = examine(root)
    assert (found.log.plan, found.state.plan) == (LogPlan.KEEP, StatePlan.CUT)
    assert found.lossless
    repair(root)
    log, state = reopened(root)
    assert 20 <= state.index < 60
    assert list(state.iterate()) == sorted(
        (b"key-%d" % i, damage.command(i)) for i in range(1, state.index + 1)
    )
    assert log.read(state.index + 1, 1)[0][2] == damage.command(state.index + 1)
    log.close()
    state.close()


def damage_table(root: Path) -> Path:
    StateStore.open(root / "state").close()
    needle = damage.command(50)
    path = next(p for p in (root / "state").glob("*.ldb") if needle in p.read_bytes())
    damage.flip(path, path.read_bytes().find(needle) + 5)
    return path


def test_a_state_with_a_damaged_table_is_built_again_from_a_whole_log(tmp_path: Path) -> None:
    root = filled(tmp_path / "data")
    path = damage_table(root)
    found = examine(root)
    assert found.state.damage is not None
    assert found.state.damage.path == path
    assert (found.state.plan, found.lossless) == (StatePlan.REBUILD, True)
    repair(root)
    log, state = reopened(root)
    assert (state.index, list(state.iterate()), log.first_index) == (0, [], 1)
    log.close()
    state.close()


def test_a_state_that_nothing_can_rebuild_keeps_what_is_readable(tmp_path: Path) -> None:
    root = filled(tmp_path / "data", drop_below=90)
    damage_table(root)
    found = examine(root)
    assert (found.state.plan, found.lossless) == (StatePlan.SALVAGE, False)
    with pytest.raises(FolderRefused):
        repair(root)
    repair(root, accept_loss=True)
    log, state = reopened(root)
    kept = dict(state.iterate())
    assert 50 <= len(kept) < LAST
    assert all(value == damage.command(int(key[4:])) for key, value in kept.items())
    assert state.index == LAST
    log.close()
    state.close()


def test_a_missing_log_is_a_loss_of_unknown_size(tmp_path: Path) -> None:
    root = filled(tmp_path / "data", applied=80)
    (root / "log").rename(tmp_path / "log")
    found = examine(root)
    assert not found.lossless
    assert found.unknown_loss
    repair(root, accept_loss=True)
    log, state = reopened(root)
    assert (log.last_index, state.index) == (0, 80)
    log.close()
    state.close()


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST"])
def test_a_lost_catalogue_loses_no_entry(tmp_path: Path, name: str) -> None:
    root = filled(tmp_path / "data", applied=50)
    damage.settle(root)
    next(path for path in (root / "log").iterdir() if name in path.name).unlink()
    found = examine(root)
    assert found.log.keep == (1, LAST)
    assert found.lossless
    repair(root)
    log, state = reopened(root)
    assert log.read(1, LAST) == [(i, 1, damage.command(i)) for i in range(1, LAST + 1)]
    log.close()
    state.close()


def test_a_crash_before_the_swap_leaves_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = filled(tmp_path / "data", applied=80)
    damage.settle(root)
    (root / "log" / "CURRENT").unlink()
    before = untouched(root)

    def crash(directory: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(repairs, "swap_in", crash)
        with pytest.raises(KeyboardInterrupt):
            repair(root)
    after = untouched(root)
    assert {name: after[name] for name in before} == before
    repair(root)
    log, state = reopened(root)
    assert log.read(1, LAST) == [(i, 1, damage.command(i)) for i in range(1, LAST + 1)]
    log.close()
    state.close()


def test_a_crash_within_the_swap_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = filled(tmp_path / "data", applied=80)
    damage.settle(root)
    (root / "log" / "CURRENT").unlink()
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if target == root / "log":  # the original is in set-aside/, its place is empty
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            repair(root)
    assert not (root / "log").exists()
    log, state = reopened(root)
    assert log.read(1, LAST) == [(i, 1, damage.command(i)) for i in range(1, LAST + 1)]
    log.close()
    state.close()


def test_a_folder_in_use_or_without_identity_is_not_repaired(tmp_path: Path) -> None:
    root = filled(tmp_path / "data")
    with DataDirectory.open(root, "n1"), pytest.raises(FolderInUse):
        examine(root)
    (root / "node.json").unlink()
    with pytest.raises(NoIdentity):
        repair(root)
