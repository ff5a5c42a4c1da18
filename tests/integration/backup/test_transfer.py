"""Backups from real nodes: from any of them, while leaders change and nodes die."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.live.cluster import LiveCluster
from taskq import AsyncClient
from taskq.backup.contents import Contents
from taskq.client.backup import BackupInterrupted, open_backup
from taskq.commands import TransferLeadership
from tests.integration.backup.backed_up import fetch, reader_of
from tests.integration.serving import whole_cluster

# Several chunks of 256 KiB.
TASKS, SIZE = 3_000, 1_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    with whole_cluster(tmp_path_factory.mktemp("cluster")) as made:
        asyncio.run(_fill(made.url))
        yield made


async def _fill(url: str) -> None:
    async with AsyncClient(url) as client:
        tasks = [{"queue": "q", "payload": bytes(SIZE)} for _ in range(TASKS)]
        assert not any(isinstance(one, Exception) for one in await client.submit_many(tasks))


def contents_of(path: Path) -> Contents:
    contents = Contents()
    for chunk in reader_of(path).chunks():
        contents.add(chunk)
    contents.check()
    return contents


async def test_every_node_gives_what_was_acknowledged_before(
    cluster: LiveCluster, tmp_path: Path
) -> None:
    leader = await cluster.leader()
    async with AsyncClient(cluster.url) as client:
        for number, node in enumerate(cluster.nodes, 1):
            await client.submit("more")
            await fetch(cluster.url, tmp_path / node, node=node)
            reader = reader_of(tmp_path / node)
            assert (reader.head.node_id, reader.head.stale) == (node, False)
            assert contents_of(tmp_path / node).tasks == TASKS + number
        await fetch(cluster.url, tmp_path / "any")
        assert reader_of(tmp_path / "any").head.node_id != leader
        with pytest.raises(ValueError, match="members are n1, n2, n3"):
            await fetch(cluster.url, tmp_path / "none", node="n9")


async def test_a_change_of_leader_meanwhile_does_not_matter(
    cluster: LiveCluster, tmp_path: Path
) -> None:
    for node in cluster.nodes:  # one of them leads before, another afterwards
        contents = Contents()
        async with await open_backup(cluster.url, node=node) as source:
            chunks = source.chunks()
            contents.add(await anext(chunks))
            async with AsyncClient(cluster.url) as client:
                before = await cluster.leader()
                assert (await client.call(TransferLeadership())).leader != before
                await client.submit("later")
            async for chunk in chunks:
                contents.add(chunk)
        contents.check()
        assert contents.tasks >= TASKS


async def test_the_end_of_the_node_ends_it_and_another_one_gives_it(
    cluster: LiveCluster, tmp_path: Path
) -> None:
    leader = await cluster.leader()
    async with await open_backup(cluster.url) as source:
        chunks = source.chunks()
        await anext(chunks)
        cluster.kill(source.head.node_id)
        cluster.start([source.head.node_id])
        with pytest.raises(BackupInterrupted, match=f"{source.head.node_id} does not give"):
            async for _ in chunks:
                pass
    assert source.head.node_id != leader
    await fetch(cluster.url, tmp_path / "again")
    assert contents_of(tmp_path / "again").tasks >= TASKS
    await cluster.whole()


async def test_without_a_leader_a_stale_one_can_be_taken(
    cluster: LiveCluster, tmp_path: Path
) -> None:
    leader = await cluster.leader()
    behind = next(name for name in cluster.nodes if name != leader)
    others = [name for name in cluster.nodes if name not in (leader, behind)]
    cluster.pause(leader)
    cluster.pause(others[0])
    try:
        await fetch(cluster.nodes[behind].url, tmp_path / "stale", node=behind, stale=True)
        head = reader_of(tmp_path / "stale").head
        assert (head.node_id, head.stale) == (behind, True)
        assert contents_of(tmp_path / "stale").tasks >= TASKS
    finally:
        cluster.resume(leader)
        cluster.resume(others[0])
    await cluster.whole()
