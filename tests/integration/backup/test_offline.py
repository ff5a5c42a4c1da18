"""Folders that are made of a backup, or left alone: what they hold; none ever opens by halves."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cluster.replication.offline.alone import TOKEN_COUNT, stand_ins
from cluster.replication.offline.looking import examine
from cluster.replication.offline.recovering import recover
from cluster.replication.offline.restoring import restore
from cluster.replication.voters import Voter, encode_entry
from cluster.storage.audit_file import AUDIT_NAME
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import (
    FolderInUse,
    FolderRefused,
    NotEmpty,
    StorageFailed,
    Unfinished,
)
from cluster.storage.identity import IDENTITY_NAME, read_identity
from cluster.storage.log_end import end_log
from cluster.storage.new_folder import NewFolder, discard_folder
from cluster.storage.unfinished import MARK_NAME
from taskq.backup.file_format import NotWhole
from taskq.backup.reading import BackupReader
from taskq.cli.main import cli
from taskq.commands import ClaimTask, GetCluster, QueryStatus, SubmitTask, TaskResult
from taskq.results import TaskState
from tests.integration.backup.backed_up import (
    DONE,
    LARGE,
    LARGE_SIZE,
    LEASED,
    READY,
    SCHEDULED,
    WORKER,
    make,
    reader_of,
)
from tests.integration.config.live_node import running
from tests.integration.storage.dying import crash_everywhere
from tests.small_files import no_file_beyond

MEMBER = {"raft.enabled": True, "raft.port": 0, "raft.election_timeout_ms": 100}
MEMBER |= {"raft.peers": "node1=127.0.0.1:1", "raft.heartbeat_interval_ms": 30}


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    return make(tmp_path_factory.mktemp("backup"))


async def assert_all_there(client: Any, token: int) -> None:
    """The tasks of the backup, each in its state; tokens go on far above."""
    expected = {
        DONE: TaskState.COMPLETED,
        LEASED: TaskState.LEASED,
        READY: TaskState.READY,
        SCHEDULED: TaskState.SCHEDULED,
        LARGE: TaskState.READY,
    }
    for task_id, state in expected.items():
        assert (await client.call(QueryStatus(task_id))).state == state
    assert (await client.call(QueryStatus(DONE))).result == b"result"
    assert (await client.call(QueryStatus(LARGE))).size == LARGE_SIZE
    # Whoever has the lease may end the task; no token of before is given again.
    reply = await client.call(TaskResult(LEASED, token, True))
    assert reply.state == TaskState.COMPLETED
    claimed = await client.call(ClaimTask(WORKER, 9, 9, ["q"]))
    assert (claimed.tasks[0][0], claimed.tasks[0][4]) == (READY, b"kept")
    assert claimed.tasks[0][1] == token + TOKEN_COUNT + 1


@pytest.mark.parametrize("member", [False, True])
async def test_a_restored_node_has_all_of_it(
    backup: tuple[Path, int], tmp_path: Path, member: bool
) -> None:
    file, token = backup
    reader = reader_of(file)
    done = restore(reader, tmp_path / "data", "node1", member=member)
    assert done.contents.tasks == 5
    assert done.cluster_id not in ("", reader.head.cluster_id)
    for turn in range(2):  # a restart finds what the first start left
        async with running(tmp_path, MEMBER if member else {}) as node:
            if not turn:
                await assert_all_there(node.client, token)
                await node.client.call(SubmitTask(b"n" * 16, "q"))
            status = await node.client.call(GetCluster())
            assert (status.cluster_id, len(status.members)) == (done.cluster_id, 1)
            assert (await node.client.call(QueryStatus(b"n" * 16))).state == TaskState.READY


# --- what is refused ------------------------------------------------------------------------------


def test_nothing_is_overwritten(backup: tuple[Path, int], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "letter.txt").write_text("mine")
    with pytest.raises(NotEmpty, match=r"it holds letter\.txt"):
        restore(reader_of(backup[0]), tmp_path / "data", "node1", member=False)
    assert [one.name for one in (tmp_path / "data").iterdir()] == ["letter.txt"]
    with pytest.raises(NotEmpty, match="a file"):
        restore(reader_of(backup[0]), tmp_path / "data" / "letter.txt", "node1", member=False)


def test_an_empty_folder_and_the_root_of_a_new_file_system_will_do(
    backup: tuple[Path, int], tmp_path: Path
) -> None:
    (tmp_path / "data" / "lost+found").mkdir(parents=True)
    restore(reader_of(backup[0]), tmp_path / "data", "node1", member=False)
    with DataDirectory.open(tmp_path / "data", "node1"):
        pass


@pytest.mark.parametrize("where", [0.3, 0.9999])
def test_a_damaged_backup_makes_no_folder_that_opens(
    backup: tuple[Path, int], tmp_path: Path, where: float
) -> None:
    data = bytearray(backup[0].read_bytes())
    data[int(len(data) * where)] ^= 4
    with pytest.raises(NotWhole):
        restore(BackupReader(io.BytesIO(bytes(data))), tmp_path / "data", "node1", member=False)
    with pytest.raises(Unfinished, match=r"the restore of .* remove the folder"):
        DataDirectory.open(tmp_path / "data", "node1")
    with pytest.raises(Unfinished, match=r"the restore of .* remove the folder, and begin again"):
        restore(reader_of(backup[0]), tmp_path / "data", "node1", member=False)


def test_a_folder_that_is_being_made_is_in_use(backup: tuple[Path, int], tmp_path: Path) -> None:
    folder = NewFolder(tmp_path / "data", "the restore")
    with pytest.raises(FolderInUse):
        restore(reader_of(backup[0]), tmp_path / "data", "node1", member=False)
    with pytest.raises(FolderInUse):
        discard_folder(tmp_path / "data", "the restore", keep=False)
    folder.close()
    discard_folder(tmp_path / "data", "another act", keep=False)
    assert (tmp_path / "data" / MARK_NAME).exists()
    discard_folder(tmp_path / "data", "the restore", keep=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("where", [0.3, 0.9999])
def test_a_restore_that_fails_leaves_nothing_and_can_be_done_again(
    backup: tuple[Path, int], tmp_path: Path, where: float, there: bool
) -> None:
    data = bytearray(backup[0].read_bytes())
    data[int(len(data) * where)] ^= 4
    (tmp_path / "damaged").write_bytes(data)
    folder = tmp_path / "data"
    if there:
        (folder / "lost+found").mkdir(parents=True)
    command = ["backup", "restore", "--data-dir", str(folder), "--form", "single"]
    failed = CliRunner().invoke(cli, [*command, str(tmp_path / "damaged")])
    assert failed.exit_code == 1, failed.output
    assert "checksum" in failed.stderr or "middle" in failed.stderr or "damaged" in failed.stderr
    assert folder.exists() is there
    assert not there or [one.name for one in folder.iterdir()] == ["lost+found"]
    done = CliRunner().invoke(cli, [*command, str(backup[0])])
    assert (done.exit_code, "holds 5 tasks" in done.stdout) == (0, True), done.output
    # One that is whole is left alone.
    again = CliRunner().invoke(cli, [*command, str(backup[0])])
    assert (again.exit_code, "is not empty" in again.stderr) == (1, True)
    with DataDirectory.open(folder, "node1"):
        pass


# --- dying ----------------------------------------------------------------------------------------


@contextmanager
def stores_of(path: Path) -> Iterator[Any]:
    with DataDirectory.open(path, "node1") as directory:
        stores = directory.open_member_stores(listed=True)
        try:
            yield stores
        finally:
            stores.log.close()
            stores.state.close()


@pytest.mark.parametrize("there", [False, True])
def test_a_disk_that_is_full_is_left_as_it_was(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "data"
    if there:
        folder.mkdir()
    # The mark is longer.
    with no_file_beyond(20), pytest.raises(StorageFailed, match="File too large"):
        NewFolder(folder, "the restore")
    assert list(tmp_path.rglob("*")) == [folder] * there
    NewFolder(folder, "the restore").close()


def test_a_restore_that_dies_anywhere_is_refused_or_whole(
    backup: tuple[Path, int], tmp_path: Path
) -> None:
    index = reader_of(backup[0]).head.index
    (tmp_path / "root").mkdir()
    ends = []

    def check(left: Path) -> None:
        data = left / "data"
        if not (data / MARK_NAME).exists() and not (data / IDENTITY_NAME).exists():
            assert [one.name for one in data.iterdir() if one.name != MARK_NAME + ".new"] == [
                "lock"
            ], "nothing was begun"
            ends.append("nothing")
            return
        try:
            with stores_of(data) as stores:
                assert stores.state.index == index
                assert stores.log.last_index == index + 2
                assert stores.log.flags == {}
                assert not stores.loss
            ends.append("whole")
        except Unfinished:
            ends.append("refused")

    def run(root: Path) -> None:
        restore(reader_of(backup[0]), root / "data", "node1", member=True)

    names = crash_everywhere(tmp_path / "root", tmp_path, run, check)
    assert len(names) > 10
    assert ends == sorted(ends, key=["nothing", "refused", "whole"].index)
    assert ends.count("refused") > 8
    assert ends[-1] == "whole"


# --- recovering -----------------------------------------------------------------------------------


@pytest.fixture
def survivor(backup: tuple[Path, int], tmp_path: Path) -> Path:
    """The folder of one member of three, the others of which are gone."""
    path = tmp_path / "survivor" / "data"
    restore(reader_of(backup[0]), path, "node1", member=True)
    three = {name: Voter(f"127.0.0.1:{port}") for port, name in enumerate(NAMES, 1)}
    end_log(path, lambda last: [(last[0] + 1, last[1] + 1, encode_entry(three))], stand_ins)
    return path


NAMES = ("node1", "node2", "node3")


async def test_a_survivor_goes_on_alone(backup: tuple[Path, int], survivor: Path) -> None:
    found = examine(survivor)
    assert sorted(found.members) == list(NAMES)
    assert found.trouble == ()
    done = recover(survivor)
    assert done.cluster_id != found.cluster_id
    assert sorted(examine(survivor).members) == ["node1"]
    async with running(survivor.parent, MEMBER) as node:
        status = await node.client.call(GetCluster())
        assert (status.cluster_id, len(status.members)) == (done.cluster_id, 1)
        assert (await node.client.call(QueryStatus(READY))).state == TaskState.READY
        claimed = await node.client.call(ClaimTask(WORKER, 9, 9, ["q"]))
        assert claimed.tasks[0][1] == backup[1] + 2 * TOKEN_COUNT + 1  # restored, then recovered
    (line,) = (survivor / AUDIT_NAME).read_text().splitlines()
    act = json.loads(line)
    assert (act["act"], act["cluster"], act["cluster_before"]) == (
        "recover",
        done.cluster_id,
        found.cluster_id,
    )
    old = read_identity(done.kept / IDENTITY_NAME)
    assert old is not None
    assert old.cluster_id == found.cluster_id


@pytest.mark.slow
def test_a_recovery_that_dies_anywhere_is_refused_or_done_and_can_be_done_again(
    survivor: Path, tmp_path: Path
) -> None:
    before = examine(survivor)
    ends = []

    def check(left: Path) -> None:
        try:
            with DataDirectory.open(left, "node1") as directory:
                new = directory.identity.cluster_id != before.cluster_id
            ends.append("done" if new else "nothing")
        except Unfinished as refused:
            assert "cluster recover" in str(refused)
            ends.append("refused")
        found = examine(left)
        assert (sorted(found.members) == ["node1"]) >= (ends[-1] == "done")
        assert found.last_index >= before.last_index
        recover(left)
        after = examine(left)
        assert (sorted(after.members), after.warnings) == (["node1"], ())
        with stores_of(left) as stores:
            assert stores.log.flags == {}
            assert not stores.loss

    crash_everywhere(survivor, tmp_path, lambda root: void(recover(root)), check)
    assert ends == sorted(ends, key=["nothing", "refused", "done"].index)
    assert ends.count("refused") >= 3
    assert ends[-1] == "done"


def void(_: object) -> None:
    """Nothing."""


def test_a_group_of_one_has_lost_nobody(backup: tuple[Path, int], tmp_path: Path) -> None:
    restore(reader_of(backup[0]), tmp_path / "data", "node1", member=False)
    with pytest.raises(FolderRefused, match="group of one"):
        recover(tmp_path / "data")


def test_a_folder_whose_restore_did_not_end_is_not_recovered(
    backup: tuple[Path, int], survivor: Path
) -> None:
    (survivor / MARK_NAME).write_text("the restore\nremove the folder, and begin again\n")
    with pytest.raises(FolderRefused, match="did not come to its end"):
        recover(survivor)
