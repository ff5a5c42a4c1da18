"""A member of a group whose disk or life is hard: it heals from the others, and always stops."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from cluster.replication import journal as journal_module
from cluster.replication import keeper as keeper_module
from cluster.replication import leader_watch as leader_watch_module
from cluster.replication.state_writer import StateWriter
from cluster.replication.status import OPENING
from cluster.storage import directory as directory_module
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import DataDamaged, StorageFailed
from cluster.storage.state_store import StateStore
from taskq.commands import AddMember, RemoveMember
from taskq.errors import ErrorCode, Refusal
from taskq.levels import LEVEL_MAX, Build
from taskq.results import ChangeStage, MemberChange
from tests.integration.replication.group import Members, members, until
from tests.integration.replication.node import Client

# So small that a member which was away needs a snapshot.
SHORT_LOG = {"checkpoint_interval_secs": 0.1, "checkpoint_size": 2_000}


@pytest.fixture(autouse=True)
def small_log_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of some KiB can be cut."""
    monkeypatch.setattr(journal_module, "MARK_SIZE", 500)


@contextmanager
def refusing(owner: Any, name: str, errors: list[Exception]) -> Iterator[None]:
    """While entered, the method raises these, one at each call, and then works."""
    method = getattr(owner, name)

    def refuse(*arguments: Any, **named: Any) -> Any:
        if errors:
            raise errors.pop(0)
        return method(*arguments, **named)

    with (
        mock.patch.object(owner, name, refuse),
        mock.patch.object(keeper_module, "REOPEN_SECS", (0.01, 0.05)),
    ):
        yield


async def left_behind(group: Members, node_id: str) -> None:
    """The member is down, and the others' logs do not reach back to it."""
    await group.submit(1)
    await group.all_hold(1)
    await group.stop(node_id)
    for number in range(2, 40):
        await group.submit(number, size=300)

    for number in range(40, 60):
        await asyncio.sleep(0.2)
        await group.submit(number, size=300)
        cores = [one._core for one in group.replicas.values()]
        if all(core is not None and core.log.first_index > 20 for core in cores):
            return
    raise AssertionError("the logs are never cut")


async def test_a_node_of_a_version_that_cannot_run_the_level_is_not_added(tmp_path: Path) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        await group.all_hold(1)
        node_id = (await group.follower()).node_id

        async def changed(change: AddMember | RemoveMember) -> MemberChange | Refusal:
            answers: list[MemberChange | Refusal] = []
            leader = await group.leader()

            def done() -> bool:
                answers.append(leader.change_members(change))
                final = ChangeStage.DONE, ErrorCode.WRONG_STATE
                answer = answers[-1]
                return (answer.code if isinstance(answer, Refusal) else answer.stage) in final

            await until(done)
            return answers[-1]

        assert isinstance(await changed(RemoveMember(node_id)), MemberChange)
        await group.stop(node_id)
        shutil.rmtree(group.folder(node_id))
        group.builds[node_id] = later = Build("9", LEVEL_MAX + 1, LEVEL_MAX + 1)
        await group.start(node_id)
        refused = await changed(AddMember(node_id, group.addresses[node_id]))
        assert isinstance(refused, Refusal)
        assert f"{node_id} is {later.text()}" in refused.message
        assert node_id not in dict((await group.leader()).members())


async def test_rot_that_shows_only_when_the_core_is_built(tmp_path: Path) -> None:
    async with members(tmp_path) as group:
        await group.submit(1, 2)
        await group.all_hold(1, 2)
        await group.stop("n3")
        damage = DataDamaged(group.folder("n3") / "state" / "000005.ldb", "a flipped bit")
        with refusing(StateStore, "get", [damage]), refusing(StateStore, "iterate", [damage]):
            await group.start("n3")
        await group.submit(3)
        await group.all_hold(1, 2, 3)
        kept = [one.name for one in (group.folder("n3") / "set-aside").iterdir()]
        assert any(name.endswith("-state") for name in kept)


async def test_rot_that_shows_while_a_failed_disk_is_opened_again(tmp_path: Path) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        await group.all_hold(1)
        victim = await group.follower()
        damage = DataDamaged(group.folder(victim.node_id) / "log" / "000005.ldb", "a flipped bit")
        with refusing(DataDirectory, "open_member_stores", [damage]):
            victim.fail(StorageFailed("no space left"))
            await until(lambda: victim.reopened == 1)
        await group.submit(2)
        await group.all_hold(1, 2)
        assert victim.fatal is None


async def test_damage_is_set_aside_when_the_disk_takes_it(tmp_path: Path) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        await group.all_hold(1)
        victim = await group.follower()
        folder = group.folder(victim.node_id)
        full: list[Exception] = [OSError("no space left on device") for _ in range(3)]
        with refusing(directory_module, "set_aside", full):
            victim.fail(DataDamaged(folder / "state" / "000005.ldb", "a flipped bit"))
            await until(lambda: victim.reopened == 1)
        assert not full
        await group.submit(2)
        await group.all_hold(1, 2)
        assert victim.fatal is None


async def test_a_received_state_is_opened_when_the_disk_lets_it(tmp_path: Path) -> None:
    async with members(tmp_path, **SHORT_LOG) as group:
        await left_behind(group, "n3")
        await group.start("n3")
        full: list[Exception] = [StorageFailed("no space left on device") for _ in range(3)]
        with refusing(DataDirectory, "open_member_stores", full):
            await group.all_hold(1, 39)
        assert not full, "no state was received"
        assert group.replicas["n3"].fatal is None


async def test_a_stop_while_the_core_is_closed_to_be_opened_again(tmp_path: Path) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        await group.all_hold(1)
        victim = await group.follower()
        closing = asyncio.Event()
        finish = StateWriter.finish

        async def slow(self: StateWriter) -> None:
            closing.set()
            await asyncio.sleep(0.1)
            await finish(self)

        with mock.patch.object(StateWriter, "finish", slow):
            victim._keeper._open_again(victim._keeper._after_a_failure)
            await closing.wait()
            await group.stop(victim.node_id)
        await group.start(victim.node_id)
        await group.submit(2)
        await group.all_hold(1, 2)


async def test_a_leader_that_is_closed_ends_what_was_proposed(tmp_path: Path) -> None:
    """Not only the driver: what the others say reaches it until the end."""
    async with members(tmp_path) as group:
        leader = await group.leader()
        client = Client(leader)
        answers = [client.submit(number) for number in range(1, 50)]
        await group.stop(leader.node_id)
        assert not [one for one in await asyncio.gather(*answers) if isinstance(one, Refusal)]


async def test_messages_for_a_core_that_is_away_are_no_news(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        victim = await group.follower()
        full: list[Exception] = [StorageFailed("no space left on device") for _ in range(20)]
        with refusing(DataDirectory, "open_member_stores", full):
            victim.fail(StorageFailed("no space left on device"))
            await until(lambda: victim.reopened == 1)
        said = capsys.readouterr().out
        assert "the disk does not take writes yet" in said
        assert "for nobody" not in said


async def test_a_member_without_a_majority_knows_of_no_leader_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leader_watch_module, "PATIENCE_SECS", 0.5)
    async with members(tmp_path) as group:
        await group.submit(1)
        await group.all_hold(1)
        survivor = await group.follower()
        gone = [one for one in group.replicas if one != survivor.node_id]
        await group.stop(*gone)
        await until(lambda: survivor.leader == "")
        roles = {one.node_id: one.role for one in survivor.cluster_status().members}
        assert roles.pop(survivor.node_id) in ("follower", "candidate")
        assert roles == dict.fromkeys(gone, "unreachable")
        await until(lambda: f"{gone[0]} cannot be reached" in capsys.readouterr().out)
        shutil.rmtree(group.folder(gone[0]))
        await group.start(gone[0])
        await until(lambda: f"{gone[0]} lost its log" in capsys.readouterr().out)
        assert survivor.leader == ""
        await group.start(gone[1])
        await group.submit(2)
        await group.all_hold(1, 2)
        await until(lambda: "there is a leader again" in capsys.readouterr().out)


async def test_the_others_know_that_a_member_opens_its_folder_again(tmp_path: Path) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        leader, victim = await group.leader(), await group.follower()

        def told() -> tuple[str, str]:
            views = leader.cluster_status().members
            return next((one.role, one.state) for one in views if one.node_id == victim.node_id)

        full: list[Exception] = [StorageFailed("no space left on device") for _ in range(30)]
        with refusing(DataDirectory, "open_member_stores", full):
            victim.fail(StorageFailed("no space left on device"))
            await until(lambda: told() == ("unreachable", OPENING))
            own = victim.cluster_status().members[int(victim.node_id[1]) - 1]
            assert (own.role, own.state) == ("unreachable", OPENING)
            await until(lambda: told() == ("follower", ""))
        assert victim.reopened == 1


@pytest.mark.parametrize("crashed", [["n3"], ["n1", "n2", "n3"]])
async def test_a_crash_with_durability_interval_is_caught_up(
    tmp_path: Path, crashed: list[str]
) -> None:
    """The others believe that the node has what it acknowledged, and had not synced."""
    async with members(tmp_path / "group", sync_interval_secs=2.0) as group:
        await group.submit(1)
        await group.all_hold(1)
        await asyncio.sleep(2.5)
        for one in crashed:
            shutil.copytree(group.folder(one), tmp_path / one)
        await group.submit(*range(2, 20))
        await group.all_hold(19)
        await group.stop(*crashed)
        for one in crashed:
            shutil.rmtree(group.folder(one))
            shutil.move(tmp_path / one, group.folder(one))
        await group.start(*crashed)
        await group.submit(99)
        await group.all_hold(1, 99)
        if len(crashed) < 3:
            await group.all_hold(19)
        await group.stop(*crashed)
        assert not any((group.folder(one) / "unsynced").exists() for one in crashed)
