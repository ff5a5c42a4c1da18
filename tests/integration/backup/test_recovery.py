"""Most of a cluster is lost for good, under load: one survivor goes on, and it grows again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID

import pytest

from chaos.live.cluster import LiveCluster
from cluster.replication.offline.looking import examine
from taskq import AsyncClient
from taskq.commands import AddMember
from taskq.errors import NotFound, TaskqError
from taskq.results import ChangeStage
from tests.integration.cli.conftest import TASKQ

pytestmark = [pytest.mark.slow, pytest.mark.timeout(100)]


class Load:
    """Submits without a pause; `acknowledged` in the order of their answers."""

    def __init__(self) -> None:
        self.acknowledged: list[UUID] = []

    async def run(self, client: AsyncClient) -> None:
        while True:
            with suppress(TaskqError):
                self.acknowledged.append((await client.submit("q", timeout=2)).id)


@asynccontextmanager
async def loaded(url: str, count: int = 8) -> AsyncIterator[Load]:
    """`count` submitters at once."""
    load = Load()
    async with AsyncClient(url) as client:
        tasks = [asyncio.create_task(load.run(client)) for _ in range(count)]
        try:
            yield load
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def taskq(*arguments: object) -> str:
    """A command as people run it."""
    process = await asyncio.create_subprocess_exec(
        *TASKQ, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, told = await process.communicate()
    assert process.returncode == 0, told.decode()
    return out.decode()


async def missing(client: AsyncClient, ids: list[UUID]) -> list[UUID]:
    """Those of the tasks that are not there."""
    found = await asyncio.gather(*map(client.status, ids), return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, NotFound):
            raise one
    return [task_id for task_id, one in zip(ids, found, strict=True) if isinstance(one, NotFound)]


async def grow(cluster: LiveCluster, survivor: str, client: AsyncClient) -> None:
    """The others come back with empty disks, and are added one by one."""
    for name in cluster.nodes:
        if name == survivor:
            continue
        cluster.wipe(name)
        cluster.start([name])
        address = f"127.0.0.1:{cluster.raft_ports[name]}"
        async with asyncio.timeout(30):
            while (await client.call(AddMember(name, address))).stage != ChangeStage.DONE:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def keeps_up(cluster: LiveCluster, leader: str, survivor: str) -> None:
    """The survivor has applied all that the leader had committed when this was called."""
    ahead = await cluster.status(leader)
    assert ahead is not None
    async with asyncio.timeout(20):
        while True:
            behind = await cluster.status(survivor)
            if behind is not None and behind.applied_index >= ahead.commit_index:
                return


async def more(load: Load, count: int) -> None:
    """So many more tasks are acknowledged."""
    goal = len(load.acknowledged) + count
    async with asyncio.timeout(20):
        while len(load.acknowledged) < goal:  # noqa: ASYNC110 - the load has no event for it
            await asyncio.sleep(0.01)


async def stays_outside(cluster: LiveCluster, name: str, cluster_id: str) -> None:
    """An old member with its old disk gets nowhere, and disturbs nobody."""
    cluster.start([name])
    await cluster.nodes[name].serving()
    await asyncio.sleep(1.5)  # longer than an election takes
    status = await cluster.status(name)
    assert status is not None
    assert (status.leader, status.cluster_id == cluster_id) == ("", False)
    cluster.kill(name)


async def test_one_survivor_of_three_goes_on_and_grows(tmp_path: Path) -> None:
    with LiveCluster(tmp_path) as cluster:
        cluster.start()
        await cluster.whole()
        leader = await cluster.leader()
        survivor, other = (name for name in cluster.nodes if name != leader)
        async with loaded(cluster.url) as load:
            await more(load, 300)
            held = list(load.acknowledged)
            await keeps_up(cluster, leader, survivor)
            cluster.pause(survivor)
            await more(load, 100)  # the other two go on without it: that is what will be lost
            cluster.kill(*cluster.nodes)

        folders = [("--data-dir", node.folder) for node in cluster.nodes.values()]
        told = await taskq("cluster", "examine", *(word for pair in folders for word in pair))
        assert f"{survivor} has most" not in told
        folder = cluster.nodes[survivor].folder
        before = examine(folder)
        await taskq("cluster", "recover", "--data-dir", folder, "--accept-loss", "--yes")

        cluster.start([survivor])
        async with AsyncClient(cluster.nodes[survivor].url, timeout=20) as client:
            gone = set(await missing(client, load.acknowledged))
            assert not gone & set(held), "the survivor held them"
            assert gone, "it never heard of the last ones"
            status = await cluster.status(survivor)
            assert status is not None
            assert status.cluster_id != before.cluster_id
            await stays_outside(cluster, other, status.cluster_id)
            await grow(cluster, survivor, client)
            after = (await client.submit("after")).id
        await cluster.whole()
        cluster.kill(await cluster.leader())
        async with AsyncClient(cluster.url, timeout=20) as client:
            kept = [one for one in load.acknowledged if one not in gone]
            assert await missing(client, [*kept, after]) == []
