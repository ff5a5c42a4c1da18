"""A member of a group opens whatever the disk left: the cases of `member_policy` on real files."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.storage import member_stores
from cluster.storage.batches import FORMAT
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import DataDamaged, NewerFormat, StorageFailed
from cluster.storage.flags import NON_VOTING_FLAG, UNCERTAIN_FLAG
from cluster.storage.log_records import LogBatch
from cluster.storage.log_store import LogStore, Opened
from cluster.storage.state_store import StateStore
from cluster.storage.witness import SLOT_SPACING, create_witness, read_witness
from tests.integration.storage import damage
from tests.integration.storage.members import (
    DROPPED,
    ENTRIES,
    STATE_INDEX,
    assert_state,
    build_member,
    fill_state,
    flag,
    kept,
    opened,
)
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


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """By whether the log was cut."""
    root = tmp_path_factory.mktemp("members")
    return {cut: build_member(root / f"cut-{cut}", cut=cut) for cut in (False, True)}


@pytest.fixture
def whole(members: dict[bool, Path], tmp_path: Path) -> Path:
    """Its log reaches back to its beginning."""
    return damage.clone(members[False], tmp_path / "whole")


@pytest.fixture
def cut(members: dict[bool, Path], tmp_path: Path) -> Path:
    """Its log starts later."""
    return damage.clone(members[True], tmp_path / "cut")


def flip_current(root: Path) -> None:
    damage.flip(root / "log" / "CURRENT", 2)


def lose_log(root: Path) -> None:
    shutil.rmtree(root / "log")


def lose_log_and_witness(root: Path) -> None:
    lose_log(root)
    (root / "witness").unlink()


def flip_log(root: Path) -> None:
    flip_middle(damage.wal(root / "log"))


def break_state(root: Path) -> None:
    damage.flip_value(damage.wal(root / "state"), 20)


def lose_state(root: Path) -> None:
    shutil.rmtree(root / "state")


@pytest.mark.parametrize("listed", [True, False])
def test_a_new_folder_votes_only_if_its_disk_is_listed(tmp_path: Path, listed: bool) -> None:
    ids = []
    for _ in range(2):
        with opened(tmp_path, listed=listed) as stores:
            ids.append(flag(stores.log))
            assert stores.loss == ""
            assert (stores.log.opened, stores.log.last_index) == (Opened.INTACT, 0)
            assert_state(stores.state, 0)
    assert bool(ids[0]) != listed
    assert ids[0] == ids[1]
    assert kept(tmp_path) == []


def test_a_whole_folder_is_opened_as_it_is(whole: Path, cut: Path) -> None:
    for root, first in ((whole, 1), (cut, DROPPED)):
        with opened(root, listed=False) as stores:
            assert (stores.loss, flag(stores.log)) == ("", 0)
            assert (stores.log.first_index, stores.log.last_index) == (first, ENTRIES)
            assert (stores.log.term, stores.log.vote) == (1, "n1")
            assert_state(stores.state, STATE_INDEX)
        assert kept(root) == []


@pytest.mark.parametrize("harm", [flip_log, flip_current, lose_log, lose_log_and_witness])
def test_a_lost_log_is_renewed_and_the_state_kept(cut: Path, harm: Callable[[Path], None]) -> None:
    harm(cut)
    left = {path.name for path in (cut / "log", cut / "witness") if path.exists()}
    ids = []
    for turn in range(2):
        with opened(cut) as stores:
            ids.append(flag(stores.log))
            assert (stores.log.last_index, stores.log.term, stores.log.vote) == (0, 0, None)
            assert_state(stores.state, STATE_INDEX)
            assert ("does not vote" in stores.loss) == (turn == 0)
    assert ids[0] == ids[1] > 0
    assert set(kept(cut)) == left


def test_the_loss_names_file_byte_and_place(cut: Path) -> None:
    path = damage.wal(cut / "log")
    offset = flip_middle(path)
    with opened(cut) as stores:
        loss = stores.loss
    assert f"{path}, byte {offset}: " in loss
    for place in (cut / "set-aside").iterdir():
        assert str(place) in loss
    assert loss.endswith("; the node does not vote until it has caught up")
    assert "\n" not in loss


@pytest.mark.parametrize(
    "harm",
    [
        *(flip_last, flip_last_length, cut_last_record, cut_between_records, cut_middle),
        *(flip_middle, flip_middle_length, zero_middle, zero_tail, half_record),
    ],
)
def test_every_damage_to_acknowledged_batches_is_a_lost_log(
    whole: Path, harm: Callable[[Path], int]
) -> None:
    harm(damage.wal(whole / "log"))
    before = damage.content(whole / "log")
    with opened(whole) as stores:
        assert flag(stores.log)
        assert stores.log.last_index == 0
    place = next(path for path in (whole / "set-aside").iterdir() if path.name.endswith("-log"))
    assert damage.content(place) == before


@pytest.mark.parametrize("harm", [zero_tail, half_record, cut_last_record, flip_last])
def test_a_torn_end_that_was_never_acknowledged_is_cut_and_the_node_votes(
    whole: Path, harm: Callable[[Path], int]
) -> None:
    harm(damage.wal(whole / "log"))
    set_witness(whole, -1)  # the power went before it saw that batch
    with opened(whole) as stores:
        assert (flag(stores.log), stores.loss) == (0, "")
        assert stores.log.opened is Opened.TORN_TAIL
        damage.assert_holds(stores.log, ENTRIES - 1)


def set_witness(root: Path, by: int) -> None:
    """Change the number that the witness knows `by` so much."""
    found = read_witness(root / "witness")
    assert found is not None
    create_witness(root / "witness", found.log_id, found.number + by)


def test_a_log_lost_again_gets_another_id_and_a_flag_that_stays_keeps_its_own(cut: Path) -> None:
    ids = []
    for _ in range(3):
        flip_current(cut)
        for _ in range(2):
            with opened(cut) as stores:
                ids.append(flag(stores.log))
                stores.log.write(LogBatch(term=stores.log.term + 1))
    assert ids[0::2] == ids[1::2]
    assert len(set(ids)) == 3


@pytest.mark.parametrize("harm", [break_state, lose_state])
def test_a_lost_state_is_built_from_a_log_that_reaches_back(
    whole: Path, harm: Callable[[Path], None]
) -> None:
    harm(whole)
    was_there = (whole / "state").exists()
    with opened(whole) as stores:
        assert flag(stores.log) == 0
        damage.assert_holds(stores.log, ENTRIES)
        assert_state(stores.state, 0)
        assert str(whole / "state") in stores.loss
        assert stores.loss.endswith("the log builds the state again")
        fill_state(stores.state, 1, ENTRIES)
    assert kept(whole) == (["state"] if was_there else [])
    with opened(whole) as stores:
        assert_state(stores.state, ENTRIES)
        assert stores.loss == ""


@pytest.mark.parametrize("harm", [break_state, lose_state])
def test_a_lost_state_takes_a_log_that_starts_later_with_it(
    cut: Path, harm: Callable[[Path], None]
) -> None:
    harm(cut)
    with opened(cut) as stores:
        assert flag(stores.log)
        assert stores.log.last_index == 0
        assert_state(stores.state, 0)
        assert str(cut / "state") in stores.loss
        assert f"starts at {DROPPED}" in stores.loss
    assert {"log", "witness"} <= set(kept(cut))


def test_a_state_that_ends_before_the_log_starts_takes_the_log_with_it(cut: Path) -> None:
    path = damage.wal(cut / "state")
    damage.cut(path, damage.record_offsets(path)[20])
    with opened(cut) as stores:
        assert flag(stores.log)
        assert_state(stores.state, 0)
        assert f"ends at entry 20, and the log starts at {DROPPED}" in stores.loss
    assert kept(cut) == ["log", "state", "witness"]


def test_both_lost(whole: Path) -> None:
    flip_log(whole)
    break_state(whole)
    with opened(whole) as stores:
        assert flag(stores.log)
        assert stores.log.last_index == 0
        assert_state(stores.state, 0)
        assert str(whole / "log") in stores.loss
        assert str(whole / "state") in stores.loss
    assert kept(whole) == ["log", "state", "witness"]


def test_a_log_that_lost_its_end_unseen_is_told_by_the_state(whole: Path) -> None:
    """The witness is older, as after a power cut: only the state knows better."""
    path = damage.wal(whole / "log")
    damage.cut(path, damage.record_offsets(path)[STATE_INDEX - 5])
    set_witness(whole, -50)
    with opened(whole) as stores:
        assert flag(stores.log)
        assert_state(stores.state, STATE_INDEX)
        assert f"written at entry {STATE_INDEX}" in stores.loss
    with opened(whole) as stores:  # before it is rebased, and known to be lost
        assert stores.loss == ""
        assert_state(stores.state, STATE_INDEX)
    assert kept(whole) == ["log", "witness"]


def test_a_state_without_a_log_that_was_never_noted_is_a_lost_log(tmp_path: Path) -> None:
    DataDirectory.open(tmp_path, "n1").close()
    damage.build_state(tmp_path, 5)
    with opened(tmp_path) as stores:
        assert flag(stores.log)
        assert_state(stores.state, 5)
        assert "the log" in stores.loss


def test_an_unreadable_witness_makes_the_node_uncertain_each_time_with_a_new_id(
    whole: Path,
) -> None:
    ids = []
    for _ in range(2):
        damage.flip(whole / "witness", 10)
        damage.flip(whole / "witness", SLOT_SPACING + 10)
        for _ in range(2):
            with opened(whole) as stores:
                assert (stores.log.opened, flag(stores.log)) == (Opened.UNCERTAIN, 0)
                ids.append(stores.log.flags[UNCERTAIN_FLAG])
                damage.assert_holds(stores.log, ENTRIES)
    assert ids[0::2] == ids[1::2]
    assert len(set(ids)) == 2
    assert min(ids) > 1


def test_a_node_without_vote_that_loses_its_witness_has_lost_its_log_again(whole: Path) -> None:
    with opened(whole) as stores:
        stores.log.write(LogBatch(flags={NON_VOTING_FLAG: 7}))
    damage.flip(whole / "witness", 10)
    damage.flip(whole / "witness", SLOT_SPACING + 10)
    with opened(whole) as stores:
        assert flag(stores.log) not in (0, 7), "the leader must hear of it"


def test_an_uncertain_log_that_was_marked_before_there_were_ids_stays_so(whole: Path) -> None:
    with opened(whole) as stores:
        stores.log.write(LogBatch(flags={UNCERTAIN_FLAG: 1}))
    with opened(whole) as stores:
        assert stores.log.opened is Opened.UNCERTAIN
        assert stores.log.flags == {UNCERTAIN_FLAG: 1}


@pytest.mark.parametrize("newer", ["log", "state"])
def test_a_newer_format_is_refused_and_nothing_is_set_aside_for_the_other(
    whole: Path, newer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, opened(whole) as stores:
        if newer == "log":
            patch.setattr("cluster.storage.log_records.FORMAT", FORMAT + 1)
            damage.write_entries(stores.log, ENTRIES + 1, ENTRIES + 1)
        else:
            patch.setattr("cluster.storage.state_records.FORMAT", FORMAT + 1)
            stores.state.write({}, STATE_INDEX + 1, (1, 1), 0)
    other = {"log": "state", "state": "log"}[newer]
    damage.flip(whole / other / "CURRENT", 2)
    _assert_refused(whole, NewerFormat)


def _assert_refused(root: Path, kind: type[Exception]) -> None:
    before = damage.content(root)
    with DataDirectory.open(root, "n1") as directory:
        for _ in range(2):
            with pytest.raises(kind):
                directory.open_member_stores(listed=True)
    after = damage.content(root)
    assert {name: data for name, data in after.items() if name != "lock"} == {
        name: data for name, data in before.items() if name != "lock"
    }


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.EIO])
def test_a_disk_that_cannot_be_read_is_no_damage(
    whole: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_state(whole)  # would be set aside, could the log be read
    real = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.parent == whole / "log":
            raise OSError(number, "no")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with DataDirectory.open(whole, "n1") as directory, pytest.raises(StorageFailed):
        directory.open_member_stores(listed=True)
    assert kept(whole) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EMFILE, StorageFailed), (errno.EACCES, StorageFailed), (errno.EIO, DataDamaged)],
)
def test_a_table_that_cannot_be_read_is_damaged_only_where_the_disk_says_so(
    whole: Path, number: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(whole):
        pass  # so that there is a table
    with opened(whole) as stores:

        def refuse(path: Path) -> int:
            raise OSError(number, "no")

        monkeypatch.setattr("cluster.storage.database.check_table", refuse)
        with pytest.raises(kind):
            list(stores.log.scrub())


@pytest.mark.parametrize("cut_log", [False, True])
def test_damage_met_while_running_is_as_damage_at_the_next_opening(
    members: dict[bool, Path], tmp_path: Path, cut_log: bool
) -> None:
    root = damage.clone(members[cut_log], tmp_path / "data")
    with DataDirectory.open(root, "n1") as directory:
        place = directory.mark_state_lost()
        assert place is not None
        assert place.is_dir()
        assert directory.mark_state_lost() is None
        stores = directory.open_member_stores(listed=True)
        assert bool(flag(stores.log)) == cut_log
        assert_state(stores.state, 0)
        stores.log.close()
        stores.state.close()
        before = flag(stores.log)
        assert directory.mark_log_lost() is not None
        stores = directory.open_member_stores(listed=True)
        assert flag(stores.log) not in (0, before)
        assert_state(stores.state, 0)
        stores.log.close()
        stores.state.close()


def test_a_log_marked_lost_in_a_folder_that_never_noted_one_is_lost(tmp_path: Path) -> None:
    DataDirectory.open(tmp_path, "n1").close()
    LogStore.create(tmp_path / "log", tmp_path / "witness")
    with DataDirectory.open(tmp_path, "n1") as directory:
        directory.mark_log_lost()
    with opened(tmp_path) as stores:
        assert flag(stores.log)


def test_a_state_that_cannot_be_opened_leaves_the_log_closed(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(checked: object) -> StateStore:
        raise StorageFailed("no")

    with DataDirectory.open(whole, "n1") as directory:
        with monkeypatch.context() as patch:
            patch.setattr(member_stores.StateStore, "open_checked", refuse)
            with pytest.raises(StorageFailed):
                directory.open_member_stores(listed=True)
        stores = directory.open_member_stores(listed=True)
        damage.assert_holds(stores.log, ENTRIES)
        stores.log.close()
        stores.state.close()
