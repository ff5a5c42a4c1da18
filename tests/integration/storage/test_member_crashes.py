"""A member that dies anywhere in an opening, or in receiving a state, opens right the next time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster.storage.directory import DataDirectory
from cluster.storage.flags import UNCERTAIN_FLAG
from cluster.storage.log_store import LogStore
from tests.integration.storage import damage
from tests.integration.storage.dying import crash_everywhere
from tests.integration.storage.members import (
    DROPPED,
    ENTRIES,
    STATE_INDEX,
    assert_state,
    build_member,
    flag,
    kept,
    opened,
)
from tests.integration.storage.test_state_transfer import export_of, pairs_of


def open_it(root: Path) -> None:
    with opened(root, listed=True):
        pass


def damaged(tmp_path: Path, *, cut: bool, lost: tuple[str, ...], bad: tuple[str, ...]) -> Path:
    """A member's folder without `lost`, and with an altered CURRENT in `bad`."""
    root = build_member(tmp_path / "member", cut=cut)
    for name in lost:
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()
    for name in bad:
        damage.flip(root / name / "CURRENT", 2)
    return root


CASES = [
    # cut, lost, bad, whether a log was lost, where the state may be
    (False, ("log",), (), True, {STATE_INDEX}),
    (False, ("log", "witness"), (), True, {STATE_INDEX}),
    (True, (), ("log",), True, {STATE_INDEX}),
    (False, (), ("state",), False, {0}),
    (False, ("state",), (), False, {0}),
    (True, (), ("state",), True, {0}),
    (True, ("state",), (), True, {0}),
    (False, (), ("log", "state"), True, {0}),
    (False, ("log", "state"), (), True, {0}),
]


@pytest.mark.parametrize(("cut", "lost", "bad", "log_lost", "indices"), CASES)
def test_a_crash_at_any_step_of_an_opening(
    tmp_path: Path,
    cut: bool,
    lost: tuple[str, ...],
    bad: tuple[str, ...],
    log_lost: bool,
    indices: set[int],
) -> None:
    root = damaged(tmp_path, cut=cut, lost=lost, bad=bad)
    originals = [damage.content(root / name) for name in bad]

    def check(left: Path) -> None:
        ids = set()
        for turn in range(2):
            with opened(left, listed=True) as stores:
                ids.add(flag(stores.log))
                assert UNCERTAIN_FLAG not in stores.log.flags
                assert stores.state.index in indices
                assert_state(stores.state, stores.state.index)
                if not log_lost:
                    damage.assert_holds(stores.log, ENTRIES)
                else:
                    assert stores.log.last_index == 0
                assert stores.loss == "" or turn == 0
        assert len(ids) == 1
        assert ids.isdisjoint({0}) == log_lost
        held = [damage.content(path) for path in left.glob("set-aside/*") if path.is_dir()]
        assert all(original in held for original in originals)

    steps = crash_everywhere(root, tmp_path, open_it, check)
    assert len(steps) >= 6


@pytest.mark.parametrize("listed", [True, False])
def test_a_crash_while_a_new_folder_is_opened(tmp_path: Path, listed: bool) -> None:
    root = tmp_path / "new"
    root.mkdir()

    def run(folder: Path) -> None:
        with opened(folder, listed=listed):
            pass

    def check(left: Path) -> None:
        with opened(left, listed=listed) as stores:
            assert bool(flag(stores.log)) != listed
            assert stores.loss == ""
            assert UNCERTAIN_FLAG not in stores.log.flags
            assert_state(stores.state, 0)
        assert kept(left) == []

    crash_everywhere(root, tmp_path, run, check)


def test_a_damaged_log_that_was_never_noted_is_not_made_anew_without_the_flag(
    tmp_path: Path,
) -> None:
    root = tmp_path / "member"
    DataDirectory.open(root, "n1").close()
    LogStore.create(root / "log", root / "witness")
    damage.flip(root / "log" / "CURRENT", 2)

    def check(left: Path) -> None:
        with opened(left, listed=True) as stores:
            assert flag(stores.log)

    crash_everywhere(root, tmp_path, open_it, check)


def test_a_crash_while_a_log_is_marked_uncertain(tmp_path: Path) -> None:
    root = build_member(tmp_path / "member", cut=False)
    (root / "witness").write_bytes(b"")

    def check(left: Path) -> None:
        with opened(left) as stores:
            assert UNCERTAIN_FLAG in stores.log.flags
            damage.assert_holds(stores.log, ENTRIES)

    crash_everywhere(root, tmp_path, open_it, check)


def receive(root: Path, chunks: list[bytes], index: int) -> None:
    with DataDirectory.open(root, "n1") as directory:
        incoming = directory.begin_state(index, (3, 4), 0)
        for chunk in chunks:
            incoming.add(chunk)
        incoming.finish()


def finished(root: Path) -> bool:
    return (root / "state.received").exists()


@pytest.mark.parametrize("harm", ["", "state", "log"])
def test_a_crash_at_any_step_of_receiving_leaves_one_state_or_the_other(
    tmp_path: Path, harm: str
) -> None:
    """Also where the state that it replaces, or the log, was set aside meanwhile."""
    root = build_member(tmp_path / "member", cut=True)
    _, chunks = export_of(tmp_path / "source", 400, 8 * 1024)
    old = {b"key-%d" % i: damage.command(i) for i in range(1, STATE_INDEX + 1)}
    new = pairs_of(400)
    seen = set()

    def run(folder: Path) -> None:
        receive(folder, chunks, 500)
        with DataDirectory.open(folder, "n1") as directory:
            if harm == "state":
                directory.mark_state_lost()
            elif harm == "log":
                directory.mark_log_lost()
        open_it(folder)

    def check(left: Path) -> None:
        decided = finished(left)
        with opened(left) as stores:
            seen.add(stores.state.index)
            if stores.state.index == 500:
                assert dict(stores.state.iterate()) == new
                assert stores.state.terms == (3, 4)
            elif stores.state.index:
                assert not decided
                assert_state(stores.state, STATE_INDEX)
            assert dict(stores.state.iterate()) in (new, {**old, b"shared": b"40"}, {})
            if not flag(stores.log):
                assert (stores.log.first_index, stores.log.last_index) == (DROPPED, ENTRIES)
                assert stores.state.index
        unfinished = [path.name for path in left.iterdir() if path.name.startswith("state.")]
        assert unfinished == []

    steps = crash_everywhere(root, tmp_path, run, check)
    assert seen == {STATE_INDEX, 500}
    assert "remove state.replaced" in steps or harm == "state"


def test_a_crash_while_a_newer_state_takes_the_place_of_one_that_waits(tmp_path: Path) -> None:
    root = build_member(tmp_path / "member", cut=False)
    _, chunks = export_of(tmp_path / "source", 200)
    receive(root, chunks, 500)
    seen = set()

    def check(left: Path) -> None:
        with opened(left) as stores:
            seen.add(stores.state.index)
            if stores.state.index == STATE_INDEX:  # the older one was given up, the newer not there
                assert_state(stores.state, STATE_INDEX)
            else:
                assert dict(stores.state.iterate()) == pairs_of(200)

    def run(folder: Path) -> None:
        with DataDirectory.open(folder, "n1") as directory:
            incoming = directory.begin_state(900, (3, 4), 0)
            for chunk in chunks:
                incoming.add(chunk)
            incoming.finish()

    crash_everywhere(root, tmp_path, run, check)
    assert seen == {500, STATE_INDEX, 900}


@pytest.mark.parametrize("give_up", [True, False])
def test_a_finished_state_that_is_discarded_goes_whole(tmp_path: Path, give_up: bool) -> None:
    root = build_member(tmp_path / "member", cut=False)
    _, chunks = export_of(tmp_path / "source", 50)
    seen = set()

    def run(folder: Path) -> None:
        with DataDirectory.open(folder, "n1") as directory:
            incoming = directory.begin_state(500, (3, 4), 0)
            for chunk in chunks:
                incoming.add(chunk)
            incoming.finish()
            if give_up:
                incoming.discard()

    def check(left: Path) -> None:
        with opened(left) as stores:
            seen.add(stores.state.index)
            if stores.state.index == 500:
                assert dict(stores.state.iterate()) == pairs_of(50)
            else:
                assert_state(stores.state, STATE_INDEX)

    crash_everywhere(root, tmp_path, run, check)
    assert seen == {STATE_INDEX, 500}
