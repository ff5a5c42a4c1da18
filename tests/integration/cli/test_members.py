"""`taskq cluster status` beside a change of the members, with real nodes."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from chaos.live.cluster import LiveCluster
from chaos.live.members import grow, shrink
from taskq.commands import AddMember
from tests.integration.cli.conftest import TASKQ


async def taskq(*arguments: str) -> tuple[int | None, str]:
    """A command as people run it: exit code, standard output."""
    process = await asyncio.create_subprocess_exec(
        *TASKQ,
        *arguments,
        env={**os.environ, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


@pytest.mark.slow
async def test_status_right_after_a_change_of_the_members(tmp_path: Path) -> None:
    with LiveCluster(tmp_path, count=1) as cluster:
        cluster.start()
        await cluster.whole()
        for name in ("n2", "n3"):
            await grow(cluster, name)
            code, shown = await taskq("cluster", "status", "--url", cluster.urls[0])
            assert (code, "no member yet" in shown) == (0, False), shown
        # One that is to be added and does not run is no member, and so no lost one.
        await cluster.ask(await cluster.leader(), AddMember("n9", "127.0.0.1:1"))
        _, shown = await taskq("cluster", "status", "--url", cluster.urls[0])
        assert "All 3 members serve" in shown
        (row,) = [line.split() for line in shown.splitlines() if line.split()[:1] == ["n9"]]
        assert row[1] == "learner"
        assert row[-3:] == ["cannot", "be", "reached"]
        await shrink(cluster, "n9")
        removed = await cluster.leader()
        await shrink(cluster, removed)
        urls = [cluster.nodes[removed].url]
        urls += [node.url for name, node in cluster.nodes.items() if name != removed]
        url = ",".join([urls[0], *(one.rpartition("/")[2] for one in urls[1:])])

        # The removed node answers first, also where the url names no other.
        for where in (url, urls[0]):
            code, shown = await taskq("cluster", "status", "--url", where)
            assert code == 0, shown
            *_, serve, nothing = shown.splitlines()
            assert serve.startswith("All 2 members serve"), shown
            assert nothing.startswith(f"{removed} counts for nothing: "), shown
            _, text = await taskq("cluster", "status", "--json", "--url", where)
            members = {one["node_id"]: one["role"] for one in json.loads(text)["members"]}
            assert members.pop(removed) == "removed"
            assert sorted(members.values()) == ["follower", "leader"]
