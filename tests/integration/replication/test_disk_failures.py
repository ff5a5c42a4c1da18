"""L2, L6: a failed write is survived by opening again; damage and bugs end the node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from cluster.replication import upkeep as upkeep_module
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import DataDamaged, StorageFailed
from cluster.storage.witness import Witness
from taskq.errors import ErrorCode, Refusal
from taskq.machine.machine import Machine
from tests.integration.replication.node import Client, holds, make, running, troubled_disk, until
from tests.integration.storage.damage import flip, wal


@pytest.mark.parametrize("folder", ["log", "state"])
async def test_a_failed_write_is_survived(tmp_path: Path, folder: str) -> None:
    with troubled_disk() as trouble:
        async with running(tmp_path / "d") as (replica, client):
            acknowledged = []
            for number in range(1, 31):
                if number in (10, 20):
                    trouble.folder, trouble.left = folder, 3
                answer = await client.submit(number)
                if not isinstance(answer, Refusal):
                    acknowledged.append(number)
                await asyncio.sleep(0.1 if folder == "state" else 0)
            if folder == "state":
                await until(lambda: trouble.refused > 0)
            await client.insist(99)
            assert replica.reopened >= 1
            assert trouble.refused >= 1
            assert trouble.later == 0, "written on after a failed write"
            assert replica.fatal is None
            assert all(holds(replica, number) for number in acknowledged)
            replica.machine.check()
    async with running(tmp_path / "d") as (replica, _):
        assert all(holds(replica, number) for number in [*acknowledged, 99])


async def test_waiters_hear_unknown_then_refusals_then_answers(tmp_path: Path) -> None:
    with troubled_disk() as trouble:
        async with running(tmp_path / "d") as (replica, client):
            await client.submit(1)
            heard: list[bool] = []
            replica.on_leadership(heard.append)
            trouble.folder, trouble.left = "log", 1
            answer = await client.submit(2)
            assert isinstance(answer, Refusal)
            assert answer.unknown
            refused = await client.submit(3)
            assert (refused.code, refused.unknown) == (ErrorCode.UNAVAILABLE.value, False)
            assert replica.unavailable() is not None
            assert not replica.is_leader()
            await client.insist(4)
            assert heard == [False, True]
            assert holds(replica, 1)
            assert holds(replica, 4)
            assert not holds(replica, 3)
            assert replica.unavailable() is None


async def test_a_disk_that_stays_full_is_tried_until_it_takes_writes(tmp_path: Path) -> None:
    with troubled_disk() as trouble:
        async with running(tmp_path / "d") as (replica, client):
            await client.submit(1)
            trouble.folder, trouble.left = "log", 10**9
            assert (await client.submit(2)).unknown
            await until(lambda: trouble.refused >= 4)
            trouble.left = 0
            await client.insist(3)
            assert holds(replica, 1)
            assert not holds(replica, 2)


async def test_a_witness_that_cannot_be_written_is_a_failed_write(tmp_path: Path) -> None:
    write = Witness.write
    failures = [OSError("input/output error")]

    def failing(self: Witness, number: int) -> None:
        if failures and number > 4:
            raise failures.pop()
        write(self, number)

    with troubled_disk(), mock.patch.object(Witness, "write", failing):
        async with running(tmp_path / "d") as (replica, client):
            answers = [await client.submit(number) for number in range(1, 8)]
            await client.insist(9)
            assert not failures
            assert replica.reopened == 1
            for number, answer in enumerate(answers, 1):
                assert isinstance(answer, Refusal) or holds(replica, number)


async def test_the_first_start_says_what_the_disk_says(tmp_path: Path) -> None:
    with troubled_disk() as trouble, DataDirectory.open(tmp_path / "d", "n1") as directory:
        replica = make(directory)
        directory.open_log().close()
        trouble.folder, trouble.left = "log", 1
        with pytest.raises(StorageFailed, match="no space left"):
            await replica.start()
        await replica.stop()
    async with running(tmp_path / "d") as (_, client):
        assert not isinstance(await client.submit(1), Refusal)


async def test_a_stop_while_the_disk_is_opened_again(tmp_path: Path) -> None:
    with troubled_disk() as trouble:
        for pause in (0.0, 0.001, 0.01, 0.05):
            async with running(tmp_path / "d") as (_, client):
                trouble.folder, trouble.left = "log", 10**9
                assert (await client.submit(1)).unknown
                await asyncio.sleep(pause)
            trouble.left = 0


async def test_damage_found_while_opening_again_ends_the_node(tmp_path: Path) -> None:
    with troubled_disk() as trouble:
        async with running(tmp_path / "d") as (replica, client):
            await client.submit(1)
            damage = DataDamaged(tmp_path / "d" / "log", "a flipped bit", offset=7)
            trouble.folder, trouble.left = "log", 1
            with mock.patch.object(DataDirectory, "open_stores", side_effect=damage):
                assert (await client.submit(2)).unknown
                await asyncio.wait_for(replica.stopped.wait(), 10)
            assert replica.fatal is damage
            assert isinstance(await client.submit(3), Refusal)


async def test_damage_at_opening_ends_the_start_and_names_the_file(tmp_path: Path) -> None:
    async with running(tmp_path / "d") as (replica, client):
        for number in range(1, 20):
            await client.submit(number, 300)
        core = replica._core
        assert core is not None
        # As a crash leaves it: nothing of the last seconds is in tables.
        files = {path: path.read_bytes() for path in (tmp_path / "d" / "log").iterdir()}
    log = wal(tmp_path / "d" / "log")
    log.unlink()
    for path, content in files.items():
        path.write_bytes(content)
    damaged = wal(tmp_path / "d" / "log")
    flip(damaged, 700)
    before = {path: path.read_bytes() for path in (tmp_path / "d" / "log").iterdir()}
    with (
        DataDirectory.open(tmp_path / "d", "n1") as directory,
        pytest.raises(DataDamaged, match=str(damaged)),
    ):
        await make(directory).start()
    assert {p: p.read_bytes() for p in (tmp_path / "d" / "log").iterdir()} == before


async def test_a_bug_ends_the_node_at_once_and_at_every_start(tmp_path: Path) -> None:
    def broken(self: Machine, entry: bytes) -> Any:
        calls.append(1)
        raise ZeroDivisionError

    calls: list[int] = []
    async with running(tmp_path / "d") as (replica, client):
        await client.submit(1)
        with mock.patch.object(Machine, "apply", broken):
            assert (await client.submit(2)).unknown
            await asyncio.wait_for(replica.stopped.wait(), 10)
            await asyncio.sleep(0.6)
        assert isinstance(replica.fatal, ZeroDivisionError)
        assert len(calls) == 1
        assert replica.reopened == 0
    with mock.patch.object(Machine, "apply", broken), pytest.raises(ZeroDivisionError):
        async with running(tmp_path / "d"):
            pass
    assert len(calls) == 2
    async with running(tmp_path / "d") as (replica, _):
        assert holds(replica, 2), "its entry was on disk; a mended version carries it out"


async def test_the_scrub_finds_a_flipped_byte_and_the_node_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path / "d") as (_, client):
        for number in range(1, 50):
            await client.submit(number, 1000)
    async with running(tmp_path / "d"):
        pass  # what the write-ahead file held is in a table now
    table = max((tmp_path / "d" / "state").glob("*.ldb"), key=lambda path: path.stat().st_size)
    monkeypatch.setattr(upkeep_module, "SCRUB_FIRST_SECS", 0.2)
    async with running(tmp_path / "d") as (replica, client):
        assert not isinstance(await client.submit(100), Refusal)
        flip(table, table.stat().st_size // 2)
        await asyncio.wait_for(replica.stopped.wait(), 10)
        assert isinstance(replica.fatal, DataDamaged)
        assert replica.fatal.path == table
        assert replica.fatal.offset is not None
        before = {path: path.stat().st_size for path in (tmp_path / "d" / "state").iterdir()}
        assert isinstance(await client.submit(101), Refusal), "it serves on over damage"
    after = {path: path.stat().st_size for path in (tmp_path / "d" / "state").iterdir()}
    assert after == before, "written over what is damaged"


async def test_the_space_watch_refuses_growth_and_recovers(tmp_path: Path) -> None:
    async with running(tmp_path / "d") as (replica, client):
        assert replica.growth_refused() is None
        assert replica.free_bytes() > 0
        space = replica._space
        with mock.patch.object(space, "_reserve_bytes", replica.free_bytes() * 2):
            space.look()
            refusal = replica.growth_refused()
            assert refusal is not None
            assert refusal.code == ErrorCode.DISK_FULL.value
            assert not isinstance(await client.submit(1), Refusal), "what drains is taken"
        space.look()
        assert replica.growth_refused() is None


async def test_answers_go_to_whoever_asked(tmp_path: Path) -> None:
    async with running(tmp_path / "d") as (replica, client):
        clients = [client, Client(replica), Client(replica)]
        futures = [one.submit(number) for number in range(1, 300) for one in clients[number % 3 :]]
        for future in futures:
            assert not isinstance(await future, Refusal)
